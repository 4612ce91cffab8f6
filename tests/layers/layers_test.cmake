# Configures small throwaway projects of four layers and checks what dnamamba_layer() accepts and refuses.
cmake_minimum_required(VERSION 3.24)

# A right project: io uses base, ops uses kernels and Torch. `project` is its folder.
function(lay_out project)
  file(REMOVE_RECURSE ${project})
  file(WRITE ${project}/CMakeLists.txt "cmake_minimum_required(VERSION 3.24)
project(throwaway LANGUAGES CXX)
include(${LAYER_CMAKE})
add_library(dnamamba_torch INTERFACE)
foreach(folder kernels core/base core/io core/ops)
  add_subdirectory(\${folder})
endforeach()
")
  file(WRITE ${project}/kernels/CMakeLists.txt "dnamamba_layer(kernels HEADERS scan.h SOURCES scan.cpp)")
  file(WRITE ${project}/kernels/scan.h "#pragma once\n#include <cstdint>\n")
  file(WRITE ${project}/kernels/scan.cpp "#include \"kernels/scan.h\"\n")
  file(WRITE ${project}/core/base/CMakeLists.txt "dnamamba_layer(base HEADERS error.h SOURCES error.cpp)")
  file(WRITE ${project}/core/base/error.h "#pragma once\n")
  file(WRITE ${project}/core/base/error.cpp "#include \"core/base/error.h\"\n")
  file(WRITE ${project}/core/io/CMakeLists.txt "dnamamba_layer(io HEADERS reader.h SOURCES reader.cpp USES base)")
  file(WRITE ${project}/core/io/reader.h "#pragma once\n#include \"core/base/error.h\"\n")
  file(WRITE ${project}/core/io/reader.cpp "#include \"core/io/reader.h\"\n")
  file(WRITE ${project}/core/ops/CMakeLists.txt
       "dnamamba_layer(ops TORCH HEADERS scan.h SOURCES scan.cpp USES kernels)")
  file(WRITE ${project}/core/ops/scan.h "#pragma once\n")
  file(WRITE ${project}/core/ops/scan.cpp
       "#include \"core/ops/scan.h\"\n#include <torch/library.h>\n#include \"kernels/scan.h\"\n")
endfunction()

function(configure project)
  execute_process(COMMAND ${CMAKE_COMMAND} -S ${project} -B ${project}/build -G ${GENERATOR}
                          -DCMAKE_MAKE_PROGRAM=${MAKE_PROGRAM} -DCMAKE_CXX_COMPILER=${CXX}
                          -DCMAKE_CXX_COMPILER_FORCED=ON  # nothing is compiled, so nothing is tried out
                  RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  string(REGEX REPLACE "[ \n]+" " " output "${output}")  # CMake wraps its messages
  set(result "${result}" PARENT_SCOPE)
  set(output "${output}" PARENT_SCOPE)
endfunction()

set(failures 0)
function(check sentence ok)
  if(ok)
    message(STATUS "ok: ${sentence}")
  else()
    message(SEND_ERROR "failed: ${sentence}\nexit ${result}\n${output}")
    math(EXPR failures "${failures} + 1")
    set(failures ${failures} PARENT_SCOPE)
  endif()
endfunction()

# refuses(<sentence> <file> <its text> <what the message must hold>...)
function(refuses sentence file text)
  set(project ${SCRATCH}/${sentence})
  string(REPLACE " " "_" project "${project}")
  lay_out(${project})
  file(WRITE ${project}/${file} "${text}")
  configure(${project})
  set(ok TRUE)
  if(result EQUAL 0)
    set(ok FALSE)
  endif()
  foreach(part IN LISTS ARGN)
    string(FIND "${output}" "${part}" place)
    if(place EQUAL -1)
      set(ok FALSE)
    endif()
  endforeach()
  check("refuses ${sentence}" ${ok})
  set(failures ${failures} PARENT_SCOPE)
endfunction()

lay_out(${SCRATCH}/right)
configure(${SCRATCH}/right)
set(ok FALSE)
if(result EQUAL 0)
  set(ok TRUE)
endif()
check("accepts includes of the layer itself, of those in USES, and Torch where it is said" ${ok})

refuses("an include of a layer that is not in USES" core/io/reader.cpp "#include \"kernels/scan.h\"\n"
        "core/io/reader.cpp" "layer io does not use kernels")
refuses("an include of a layer below" core/base/error.cpp "#include \"core/io/reader.h\"\n"
        "core/base/error.cpp" "layer base does not use io")
refuses("a use of a layer below" core/base/CMakeLists.txt
        "dnamamba_layer(base HEADERS error.h SOURCES error.cpp USES io)" "layer base may not use io")
refuses("a core include in kernels" kernels/scan.cpp "#include \"core/base/error.h\"\n"
        "kernels/scan.cpp" "layer kernels does not use base")
refuses("Torch in a layer that is free of it" core/io/reader.h "#pragma once\n#include <ATen/core/Tensor.h>\n"
        "core/io/reader.h" "layer io may not know Torch")
refuses("Torch in kernels" kernels/scan.h "#pragma once\n#  include <c10/util/Half.h>\n"
        "kernels/scan.h" "layer kernels may not know Torch")
refuses("a wrong include in a header that nobody listed" core/io/hidden.h "#include \"core/ops/scan.h\"\n"
        "core/io/hidden.h" "layer io does not use ops")
refuses("a way around by the parent folder" core/io/reader.cpp "#include \"../ops/scan.h\"\n"
        "core/io/reader.cpp" "written from the root")
refuses("a layer that is not in the order" core/io/CMakeLists.txt "dnamamba_layer(misc SOURCES reader.cpp)"
        "misc is not in DNAMAMBA_LAYERS")

file(REMOVE_RECURSE ${SCRATCH})
if(failures)
  message(FATAL_ERROR "${failures} failed")
endif()
