# cmake -DBUILD=… -DPREFIX=… -DHELP2MAN=ON|OFF -P install_test.cmake: what is installed where, and that it runs from there.
file(REMOVE_RECURSE ${PREFIX})
execute_process(COMMAND ${CMAKE_COMMAND} --install ${BUILD} --prefix ${PREFIX} OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
set(expected
  bin/dnamamba share/dnamamba/pretrained/dnamamba-tiny/model.safetensors share/doc/dnamamba/LICENSE
  share/doc/dnamamba/licences/echarts-NOTICE
  share/bash-completion/completions/dnamamba share/zsh/site-functions/_dnamamba)
if(HELP2MAN)
  list(APPEND expected share/man/man1/dnamamba.1 share/man/man1/dnamamba-embed.1 share/man/man1/dnamamba-score.1 share/man/man1/dnamamba-doctor.1)
endif()
foreach(file IN LISTS expected)
  if(NOT EXISTS ${PREFIX}/${file})
    message(SEND_ERROR "${file} is not installed")
  endif()
endforeach()
execute_process(COMMAND ${PREFIX}/bin/dnamamba doctor OUTPUT_VARIABLE said COMMAND_ERROR_IS_FATAL ANY)
string(FIND "${said}" "dnamamba-tiny in ${PREFIX}/share/dnamamba/pretrained" place)
if(place EQUAL -1)
  message(SEND_ERROR "the installed program finds other models than those installed with it:\n${said}")
endif()
file(REMOVE_RECURSE ${PREFIX})
