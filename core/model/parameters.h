// The named tensors of a model: which there must be, how they begin, and which of them decay.
#pragma once
#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "core/model/config.h"

namespace dnamamba::model {

/// How a parameter begins (specs of Mamba-1, of Mamba-2 and of their wrapper).
enum class Init {
  kOnes,
  kZeros,
  kNormal,      ///< N(0, scale)
  kUniform,     ///< U(-scale, scale)
  kConstant,    ///< scale everywhere
  kLogRange,    ///< ln(1 … N) in every row: A_log of Mamba-1
  kLogUniform,  ///< ln of U(A_init_range): A_log of Mamba-2
  kDtBias,      ///< inverse softplus of a log-uniform dt
};

struct ParameterSpec {
  std::string name;  ///< mamba-ssm's
  std::vector<std::int64_t> shape;
  Init init = Init::kZeros;
  double scale = 0;
  bool decays = true;  ///< weight decay applies
};

/// Every parameter of a model, in a fixed order. Names are mamba-ssm's; layers that share weights have one set, named
/// by its number. A tied lm_head.weight is not among them.
std::vector<ParameterSpec> parameter_specs(const ModelConfig& config);

using Parameters = std::map<std::string, at::Tensor>;

/// Fresh fp32 parameters; the same seed gives the same bits.
Parameters initialise_parameters(const ModelConfig& config, std::uint64_t seed);

/// @throws base::Error naming the first tensor that is missing, unknown, misshapen or holds a NaN or infinity.
void check_parameters(const ModelConfig& config, const Parameters& parameters, const std::string& where);

/// The number of values in all parameters.
std::int64_t count_parameters(const ModelConfig& config);

/// Where nothing is trained: the weights of mixers' products rounded once to the type that products take them in.
void round_weights_of_products(Parameters& parameters, at::ScalarType dtype);

}  // namespace dnamamba::model
