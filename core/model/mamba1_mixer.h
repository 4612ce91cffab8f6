// The Mamba-1 block: projections, convolution, selective scan, gate (Gu & Dao 2023, figure 3).
#pragma once
#include <ATen/core/Tensor.h>

#include <utility>

#include "core/model/config.h"
#include "core/model/mixer.h"
#include "core/model/parameters.h"

namespace dnamamba::model {

class Mamba1Mixer {
 public:
  /// The tensors named `prefix`… of `parameters`, shared with it.
  Mamba1Mixer(const Mamba1Config& config, Direction direction, const Parameters& parameters, const std::string& prefix);

  /// advance(segment, state) -> (outputs, state'): input [T, d_model] -> output [T, d_model].
  [[nodiscard]] std::pair<at::Tensor, LayerState> advance(const at::Tensor& input, const SegmentCall& call) const;

 private:
  [[nodiscard]] at::Tensor decay_rates() const;  // A = -exp(A_log)

  Mamba1Config config_;
  bool reverse_;
  at::Tensor in_proj_, conv_weight_, x_proj_, dt_proj_, dt_bias_, a_log_, d_, out_proj_;
  ops::OptionalTensor in_bias_, conv_bias_, out_bias_;
  at::Tensor fixed_rates_;  // A, where A_log is not trained; of the version below
  std::uint32_t fixed_version_ = 0;
};

}  // namespace dnamamba::model
