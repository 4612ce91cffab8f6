# Completions and man pages, made by asking the program itself: they can't differ from what it does.
set(completions ${PROJECT_BINARY_DIR}/completions)
# The models that are offered are those of this source tree, whatever DNAMAMBA_PRETRAINED says to who builds.
set(ask ${CMAKE_COMMAND} -E env DNAMAMBA_PRETRAINED=${PROJECT_SOURCE_DIR}/pretrained)
file(GLOB cards CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/pretrained/*/config.json)
add_custom_command(
  OUTPUT ${completions}/dnamamba ${completions}/_dnamamba
  COMMAND ${CMAKE_COMMAND} -E make_directory ${completions}
  COMMAND ${ask} $<TARGET_FILE:dnamamba> completion bash > ${completions}/dnamamba
  COMMAND ${ask} $<TARGET_FILE:dnamamba> completion zsh > ${completions}/_dnamamba
  DEPENDS dnamamba ${cards}
  COMMENT "Completions for bash and zsh" VERBATIM)
set(manners ${completions}/dnamamba ${completions}/_dnamamba)
install(FILES ${completions}/dnamamba DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${completions}/_dnamamba DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)

find_program(DNAMAMBA_HELP2MAN help2man)
if(DNAMAMBA_HELP2MAN)
  # Which commands there are, and so which pages, only the program knows: the rule's output is a stamp.
  set(pages ${PROJECT_BINARY_DIR}/man)
  add_custom_command(
    OUTPUT ${pages}/made
    COMMAND ${CMAKE_COMMAND} -DPROGRAM=$<TARGET_FILE:dnamamba> -DVERSION=${PROJECT_VERSION}
            -DHELP2MAN=${DNAMAMBA_HELP2MAN} -DPAGES=${pages} -P ${PROJECT_SOURCE_DIR}/core/cmake/man_pages.cmake
    DEPENDS dnamamba ${PROJECT_SOURCE_DIR}/core/cmake/man_pages.cmake
    COMMENT "Man pages" VERBATIM)
  list(APPEND manners ${pages}/made)
  install(DIRECTORY ${pages}/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 FILES_MATCHING PATTERN "*.1")
else()
  message(STATUS "no help2man: no man pages")
endif()

# All that `cmake --install` puts somewhere, without the tests.
add_custom_target(installed ALL DEPENDS dnamamba dnamamba_ops ${manners})
