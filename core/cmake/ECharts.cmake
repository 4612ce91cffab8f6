# Apache ECharts, drawn from by the pages that `--report` writes: its code is put into the program, and from there into
# each page. Bars, lines and scatter are in the "common" build.
#   ECHARTS_ROOT  the folder that holds dist/echarts.common.min.js: in .tools/, where ./do puts it
set(ECHARTS_ROOT ${PROJECT_SOURCE_DIR}/.tools/echarts CACHE PATH "Apache ECharts: the folder that holds dist/ and LICENSE")
if(NOT EXISTS ${ECHARTS_ROOT}/dist/echarts.common.min.js)
  message(FATAL_ERROR "no ECharts: run ./do build, which fetches it, or "
                      "cmake -DFOLDER=${ECHARTS_ROOT} -P core/cmake/fetch_echarts.cmake")
endif()
file(STRINGS ${ECHARTS_ROOT}/VERSION ECHARTS_VERSION)
message(STATUS "ECharts ${ECHARTS_VERSION} in ${ECHARTS_ROOT}")
# Its code is in the program, so its licence goes where the program goes.
foreach(file LICENSE NOTICE licenses/LICENSE-d3)
  get_filename_component(name ${file} NAME)
  install(FILES ${ECHARTS_ROOT}/${file} DESTINATION ${CMAKE_INSTALL_DOCDIR}/licences RENAME echarts-${name})
endforeach()
