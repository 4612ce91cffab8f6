# nvcc, and LibTorch's CUDA libraries as the target dnamamba_torch_cuda. nvcc is the one in .tools/cuda, where ./do puts it, else the
# system's.
if(NOT CMAKE_CUDA_COMPILER AND EXISTS ${PROJECT_SOURCE_DIR}/.tools/cuda/bin/nvcc)
  set(CMAKE_CUDA_COMPILER ${PROJECT_SOURCE_DIR}/.tools/cuda/bin/nvcc CACHE FILEPATH "nvcc" FORCE)
  set(CUDAToolkit_ROOT ${PROJECT_SOURCE_DIR}/.tools/cuda CACHE PATH "CUDA" FORCE)
endif()
# Hopper's own code; "90a-real;80-virtual" adds an intermediate one that drivers compile for other GPUs.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES "90a-real")
endif()
if(DNAMAMBA_CCACHE AND NOT DEFINED CMAKE_CUDA_COMPILER_LAUNCHER)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${DNAMAMBA_CCACHE})
endif()
enable_language(CUDA)
if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know C++20 of nvcc 13
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA20_COMPILE_FEATURES cuda_std_20)
  list(APPEND CMAKE_CUDA_COMPILE_FEATURES cuda_std_20)
endif()
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_EXTENSIONS OFF)
set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)  # LibTorch's own: two runtimes would not know of each other
find_package(CUDAToolkit 13.0 REQUIRED)

_libtorch(c10_cuda)
_libtorch(torch_cuda)
add_library(dnamamba_torch_cuda INTERFACE)
# No symbol asks for torch_cuda; what it registers when it is loaded is LibTorch's CUDA.
target_link_options(dnamamba_torch_cuda INTERFACE -Wl,--no-as-needed)
target_link_libraries(dnamamba_torch_cuda INTERFACE libtorch::torch_cuda libtorch::c10_cuda dnamamba_torch CUDA::cudart)
message(STATUS "CUDA ${CUDAToolkit_VERSION} in ${CUDAToolkit_ROOT}")
