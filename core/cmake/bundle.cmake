# Run by `cpack` over what was installed: adds the libraries that it needs, with their licences, and takes the build
# machine's LibTorch and Arrow out of where it looks for them. libtorch and arrow are LIBTORCH_ROOT and ARROW_ROOT of the
# build; lib and doc are folders of the installation.
set(root "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}")
file(GLOB modules "${root}/${lib}/libdnamamba_*.so")
set(ours "${root}/bin/dnamamba" ${modules})

# What glibc brings is the system's, as it belongs to the kernel's loader and to one another.
file(GET_RUNTIME_DEPENDENCIES
  EXECUTABLES "${root}/bin/dnamamba"
  LIBRARIES ${modules}
  PRE_EXCLUDE_REGEXES "^ld-linux" "^lib(c|m|dl|rt|util|pthread|resolv)\\.so" "^libdnamamba_"
  RESOLVED_DEPENDENCIES_VAR libraries
  UNRESOLVED_DEPENDENCIES_VAR missing)
if(missing)
  message(FATAL_ERROR "not found: ${missing}")
endif()

# The licence of the Debian package that a library is of. Its files are listed with or without /usr.
function(add_licence library)
  string(REGEX REPLACE "^/usr" "" short "${library}")
  execute_process(COMMAND dpkg-query -S "/usr${short}" "${short}"
                  OUTPUT_VARIABLE owner ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(NOT owner MATCHES "^([^:]+):")
    message(FATAL_ERROR "${library}: no Debian package has it, so its licence is unknown")
  endif()
  file(COPY_FILE "/usr/share/doc/${CMAKE_MATCH_1}/copyright" "${root}/${doc}/licences/${CMAKE_MATCH_1}")
endfunction()

file(MAKE_DIRECTORY "${root}/${doc}/licences")
get_filename_component(wheels "${libtorch}" DIRECTORY)
file(REAL_PATH "${wheels}" wheels)
get_filename_component(arrow_wheel "${arrow}" DIRECTORY)
file(REAL_PATH "${arrow_wheel}" arrow_wheel)
foreach(library IN LISTS libraries)
  get_filename_component(name "${library}" NAME)
  file(REAL_PATH "${library}" file)
  message(STATUS "Bundling: ${file}")
  file(COPY_FILE "${file}" "${root}/${lib}/${name}")
  string(FIND "${file}" "${wheels}/" of_libtorch)
  string(FIND "${file}" "${arrow_wheel}/" of_arrow)
  if(NOT of_libtorch EQUAL 0 AND NOT of_arrow EQUAL 0)
    add_licence("${file}")
  endif()
endforeach()
file(GLOB licences RELATIVE "${wheels}" "${wheels}/torch-*.dist-info/licenses/*"
     "${wheels}/nvidia_cuda_*.dist-info/licenses/*")
foreach(licence IN LISTS licences)
  string(REPLACE ".dist-info/licenses/" "-" name "${licence}")
  file(COPY_FILE "${wheels}/${licence}" "${root}/${doc}/licences/${name}")
endforeach()
file(GLOB licences "${arrow_wheel}/pyarrow-*.dist-info/licenses/*")
foreach(licence IN LISTS licences)
  get_filename_component(name "${licence}" NAME)
  file(COPY_FILE "${licence}" "${root}/${doc}/licences/arrow-${name}")
endforeach()

foreach(file IN LISTS ours)
  execute_process(COMMAND chrpath --replace "$ORIGIN/../${lib}" "${file}" COMMAND_ERROR_IS_FATAL ANY)
endforeach()
