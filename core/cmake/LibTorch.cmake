# Imported targets over the LibTorch inside the PyPI torch wheel (or an unpacked libtorch), without Torch's own CMake
# files: find_package(Torch) of a CUDA wheel stops where no CUDA toolkit is, and rewrites CUDA flags and architectures.
#   LIBTORCH_ROOT  the folder that holds include/ and lib/: in .tools/, where ./do puts it, else python3's own torch
if(NOT LIBTORCH_ROOT)
  file(GLOB _candidates ${PROJECT_SOURCE_DIR}/.tools/venv/lib/python3*/site-packages/torch)
  if(_candidates)
    list(GET _candidates 0 _root)
  else()
    find_package(Python3 COMPONENTS Interpreter REQUIRED)
    execute_process(
      COMMAND "${Python3_EXECUTABLE}" -c
        "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
      OUTPUT_VARIABLE _root OUTPUT_STRIP_TRAILING_WHITESPACE)
  endif()
  if(NOT _root)
    message(FATAL_ERROR "no LibTorch: run ./do build, which installs it, or give -DLIBTORCH_ROOT=/path/to/torch")
  endif()
  set(LIBTORCH_ROOT "${_root}" CACHE PATH "LibTorch: the folder that holds include/ and lib/" FORCE)
endif()

file(READ "${LIBTORCH_ROOT}/include/torch/headeronly/version.h" _version)
string(REGEX MATCH "TORCH_VERSION_MAJOR ([0-9]+).*TORCH_VERSION_MINOR ([0-9]+).*TORCH_VERSION_PATCH ([0-9]+)"
       _ "${_version}")
set(LIBTORCH_VERSION "${CMAKE_MATCH_1}.${CMAKE_MATCH_2}.${CMAKE_MATCH_3}")
if(NOT LIBTORCH_VERSION MATCHES "^2\\.11\\.")
  message(WARNING "LibTorch ${LIBTORCH_VERSION}: only 2.11 is tested")
endif()
message(STATUS "LibTorch ${LIBTORCH_VERSION} in ${LIBTORCH_ROOT}")

function(_libtorch name)
  add_library(libtorch::${name} SHARED IMPORTED GLOBAL)
  set_target_properties(libtorch::${name} PROPERTIES IMPORTED_LOCATION "${LIBTORCH_ROOT}/lib/lib${name}.so")
  target_include_directories(libtorch::${name} SYSTEM INTERFACE
    "${LIBTORCH_ROOT}/include" "${LIBTORCH_ROOT}/include/torch/csrc/api/include")
endfunction()
_libtorch(c10)
_libtorch(torch_cpu)

find_package(OpenMP REQUIRED COMPONENTS CXX)  # at::parallel_for runs in parallel only where OpenMP is on
add_library(dnamamba_torch INTERFACE)
target_link_libraries(dnamamba_torch INTERFACE libtorch::torch_cpu libtorch::c10)
# As flags, not as the library of OpenMP::OpenMP_CXX: at run time it is to be LibTorch's own copy, never a second one.
target_compile_options(dnamamba_torch INTERFACE ${OpenMP_CXX_FLAGS})
target_link_options(dnamamba_torch INTERFACE ${OpenMP_CXX_FLAGS})
# The wheel's libraries name the nvidia wheels by $ORIGIN-relative RPATH; the linker needs them only at run time.
target_link_options(dnamamba_torch INTERFACE -Wl,--allow-shlib-undefined)

# An installed program finds our own libraries beside it, and LibTorch where it was found at build time.
# As RPATH, not RUNPATH, which would not hold for the libraries of libraries, such as those that a release brings for htslib.
target_link_options(dnamamba_torch INTERFACE -Wl,--disable-new-dtags)
set(CMAKE_INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}" "${LIBTORCH_ROOT}/lib")
