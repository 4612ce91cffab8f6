# dnamamba_embed_texts(<target> <namespace> <name>=<file> ...): each file as `extern const std::string_view <name>` in the
# target. String literals, so that the program needs no file at run time.
function(dnamamba_embed_texts target namespace)
  set(script ${PROJECT_SOURCE_DIR}/core/cmake/embed_texts.cmake)
  foreach(text IN LISTS ARGN)
    string(REGEX MATCH "^([^=]+)=(.+)$" _ "${text}")
    set(name ${CMAKE_MATCH_1})
    get_filename_component(file ${CMAKE_MATCH_2} ABSOLUTE)
    set(source ${CMAKE_CURRENT_BINARY_DIR}/${name}.cpp)
    add_custom_command(OUTPUT ${source}
      COMMAND ${CMAKE_COMMAND} -DFILE=${file} -DNAMESPACE=${namespace} -DNAME=${name} -DSOURCE=${source} -P ${script}
      DEPENDS ${file} ${script} VERBATIM)
    target_sources(${target} PRIVATE ${source})
  endforeach()
endfunction()

if(CMAKE_SCRIPT_MODE_FILE AND FILE)
  file(READ "${FILE}" text)
  file(WRITE "${SOURCE}" "#include <string_view>\n\nnamespace ${NAMESPACE} {\nextern const std::string_view ${NAME};\n"
                         "const std::string_view ${NAME} = R\"~~~~(${text})~~~~\";\n}  // namespace ${NAMESPACE}\n")
endif()
