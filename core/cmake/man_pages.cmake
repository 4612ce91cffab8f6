# cmake -DPROGRAM=… -DVERSION=… -DHELP2MAN=… -DPAGES=folder -P man_pages.cmake: dnamamba.1, and dnamamba-COMMAND.1 for
# each command that `dnamamba --help` lists.

# output gets what a command printed.
function(run output)
  execute_process(COMMAND ${ARGN} OUTPUT_VARIABLE text RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}: ${status}")
  endif()
  set(${output} "${text}" PARENT_SCOPE)
endfunction()

# What help2man can't know: that examples are lines, that the exit statuses are a section, and that the page of
# `dnamamba embed` is dnamamba-embed, as apropos looks for it.
function(polish text page see_also)
  string(TOUPPER ${page} title)
  string(REGEX REPLACE "\n\\.TH [A-Z-]+ " "\n.TH ${title} " text "${text}")
  string(REGEX REPLACE "(\n\\.SH NAME\n)[^\n]* \\\\- " "\\1${page} \\\\- " text "${text}")
  if(text MATCHES "^(.*\n\\.SH EXAMPLES\n)\\.IP\n(.*)\n\\.PP\n(Numbers may be .*)$")
    set(before "${CMAKE_MATCH_1}")
    set(after "${CMAKE_MATCH_3}")
    string(REPLACE "\n# " "\n.sp\n# " examples "${CMAKE_MATCH_2}")
    set(text "${before}.nf\n${examples}\n.fi\n.SH NOTES\n${after}")
  endif()
  string(REPLACE "\nExit status: " "\n.SH \"EXIT STATUS\"\n" text "${text}")
  file(WRITE ${PAGES}/${page}.1 "${text}.SH \"SEE ALSO\"\n${see_also}")
endfunction()

# The page is made of `dnamamba ARGUMENTS --help`.
function(man_page page summary see_also)
  run(text ${HELP2MAN} --no-info --version-string=${VERSION} --name=${summary} --source=dnamamba\ ${VERSION}
      --manual=dnamamba "${PROGRAM} ${ARGN}")
  polish("${text}" ${page} "${see_also}")
endfunction()

file(REMOVE_RECURSE ${PAGES})
run(overview ${PROGRAM} --help)
string(REGEX MATCH "Commands:\n(  [^\n]*\n)+" commands "${overview}")
string(REGEX MATCHALL "  [a-z][^\n]*\n" commands "${commands}")
set(pages)
foreach(line IN LISTS commands)
  string(REGEX MATCH "^  ([a-z-]+) +([^\n]+)" _ "${line}")
  man_page(dnamamba-${CMAKE_MATCH_1} "${CMAKE_MATCH_2}" ".BR dnamamba (1)\n" ${CMAKE_MATCH_1})
  string(APPEND pages ".BR dnamamba-${CMAKE_MATCH_1} (1)\n")
endforeach()
man_page(dnamamba "very long DNA through state-carrying sequence models" "${pages}")
file(TOUCH ${PAGES}/made)
