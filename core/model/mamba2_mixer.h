// The Mamba-2 block: one projection, convolution, ssd, gated norm (Dao & Gu 2024, figure 6).
#pragma once
#include <ATen/core/Tensor.h>

#include <tuple>
#include <utility>

#include "core/model/config.h"
#include "core/model/mixer.h"
#include "core/model/parameters.h"

namespace dnamamba::model {

class Mamba2Mixer {
 public:
  /// The tensors named `prefix`… of `parameters`, shared with it. `norm_epsilon`: of the norm behind the gate.
  Mamba2Mixer(const Mamba2Config& config, double norm_epsilon, Direction direction, const Parameters& parameters,
              const std::string& prefix);

  /// advance(segment, state) -> (outputs, state'): input [T, d_model] -> output [T, d_model].
  [[nodiscard]] std::pair<at::Tensor, LayerState> advance(const at::Tensor& input, const SegmentCall& call) const;

 private:
  /// Rows [first, first + count) of in_proj, applied.
  [[nodiscard]] at::Tensor project(const at::Tensor& input, std::int64_t first, std::int64_t count) const;
  [[nodiscard]] at::Tensor gate(const at::Tensor& y, const at::Tensor& z) const;

  Mamba2Config config_;
  double norm_epsilon_;
  bool reverse_;
  at::Tensor in_proj_, conv_weight_, dt_bias_, a_log_, d_, norm_weight_, out_proj_;
  ops::OptionalTensor in_bias_, conv_bias_, out_bias_;
};

}  // namespace dnamamba::model
