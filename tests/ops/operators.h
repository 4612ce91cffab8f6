// The operators in a form in which they are alike, so that a property is written once.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace dnamamba::test {

/// One call of one operator on S ragged sequences of T tokens in all.
struct Operator {
  struct Inputs {
    std::vector<at::Tensor> rows;        ///< [T, …] differentiable
    std::vector<at::Tensor> fixed_rows;  ///< [T] not differentiable
    std::vector<at::Tensor> parameters;  ///< shared by all tokens, differentiable
    at::Tensor state;                    ///< [S, …] before the first token read; undefined: none was given
  };
  struct Answer {
    std::vector<at::Tensor> rows;  ///< [T, …]
    at::Tensor state;              ///< [S, …] after the last token read; undefined: the operator has none
  };

  std::string name;
  Inputs inputs;
  std::vector<std::int64_t> offsets;  ///< [S + 1]
  bool reverse = false;               ///< sequences are read from their end
  std::function<Answer(const Inputs&, const at::Tensor& offsets)> call;
};

/// How large, on what, in which type.
struct Setting {
  std::int64_t channels = 3;
  std::vector<std::int64_t> offsets;
  at::ScalarType dtype = at::kDouble;
  std::uint64_t seed = 1;
};

/// `full`: with every optional input there is; otherwise with none.
Operator selective_scan(const Setting& setting, bool full, bool reverse);
Operator ssd(const Setting& setting, bool full, bool reverse);
Operator causal_conv1d(const Setting& setting, std::int64_t width, bool full, bool reverse);
Operator add_rms_norm(const Setting& setting, bool layer_norm, bool full);
Operator gated_rms_norm(const Setting& setting, bool norm_before_gate);
Operator token_loss(const Setting& setting, bool weighted);
Operator embed_tokens(const Setting& setting);

/// All of the above in their variants, on the CPU, and those that GPUs have.
std::vector<Operator> all_operators(const Setting& setting);
std::vector<Operator> operators_of_gpus(const Setting& setting);

/// The same call on a device: rows of `dtype`, parameters and states of its wide type, with the values that they have
/// once rounded to `values_of`.
Operator placed(const Operator& op, at::Device device, at::ScalarType dtype, at::ScalarType values_of);

/// What DNAMAMBA_TEST_DEVICE names (cuda), else the CPU; and the operators that are tested there.
at::Device tested_device();
std::vector<Operator> every_operator(const Setting& setting);

/// int64 [n] on the host.
at::Tensor int64_tensor(const std::vector<std::int64_t>& values);

}  // namespace dnamamba::test
