// A CUDA stream, for those who don't know CUDA: the opaque pointer that cudaStream_t is.
#pragma once

struct CUstream_st;

namespace dnamamba::kernels::cuda {

using Stream = CUstream_st*;

}  // namespace dnamamba::kernels::cuda
