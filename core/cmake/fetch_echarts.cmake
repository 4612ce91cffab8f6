# Fetches Apache ECharts, the chart library of reports, into a folder: cmake -DFOLDER=.tools/echarts -P fetch_echarts.cmake
# The folder is there only when it is whole; ECharts.cmake says what it is for.
set(version 6.1.0)
set(sha512
  ab4c9a14f8200bd15476c587e1b95abd15859b176b22875b92828d02326e74023a080f6034fc47b55d917193447a9655964e32bc16243a46e4e87215a48c8764)
set(files dist/echarts.common.min.js LICENSE NOTICE licenses/LICENSE-d3)

set(archive "${FOLDER}.tgz")
file(DOWNLOAD https://registry.npmjs.org/echarts/-/echarts-${version}.tgz "${archive}"
     EXPECTED_HASH SHA512=${sha512} TLS_VERIFY ON INACTIVITY_TIMEOUT 60)
list(TRANSFORM files PREPEND package/ OUTPUT_VARIABLE packed)
file(ARCHIVE_EXTRACT INPUT "${archive}" DESTINATION "${FOLDER}.unpacked" PATTERNS ${packed})
file(REMOVE "${archive}")
file(WRITE "${FOLDER}.unpacked/package/VERSION" ${version})
file(REMOVE_RECURSE "${FOLDER}")
file(RENAME "${FOLDER}.unpacked/package" "${FOLDER}")
file(REMOVE_RECURSE "${FOLDER}.unpacked")
