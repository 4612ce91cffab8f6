# A release: `cpack` of the build folder packs what `cmake --install` gives, and with it every shared library but
# glibc's, LibTorch among them, so that it runs where it is unpacked. .tar.gz, as a bare system unpacks no zstd.
install(CODE "set(libtorch \"${LIBTORCH_ROOT}\")\nset(arrow \"${ARROW_ROOT}\")\nset(lib ${CMAKE_INSTALL_LIBDIR})\nset(doc ${CMAKE_INSTALL_DOCDIR})" COMPONENT bundle EXCLUDE_FROM_ALL)
install(SCRIPT ${PROJECT_SOURCE_DIR}/core/cmake/bundle.cmake COMPONENT bundle EXCLUDE_FROM_ALL)
install(FILES LICENSE DESTINATION . COMPONENT bundle EXCLUDE_FROM_ALL)

set(CPACK_GENERATOR TGZ)
set(CPACK_PACKAGE_FILE_NAME dnamamba-${PROJECT_VERSION}-linux-${CMAKE_SYSTEM_PROCESSOR})
set(CPACK_PACKAGE_CHECKSUM SHA256)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_CMAKE_PROJECTS
  "${PROJECT_BINARY_DIR};dnamamba;ALL;/;${PROJECT_BINARY_DIR};dnamamba;bundle;/")
set(CPACK_VERBATIM_VARIABLES ON)
include(CPack)
