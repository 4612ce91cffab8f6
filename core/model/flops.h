// How much arithmetic a model needs, for comparing a run's speed with what its device could do.
#pragma once
#include "core/model/config.h"

namespace dnamamba::model {

/// Floating point operations of a token on its way forward: 2 for each weight of a product or convolution, head
/// included, and 7 (Mamba-1) or 5 (Mamba-2) for each state of each channel of a scan. Norms, gates and the embedding's
/// look-up are not counted. Training counts three times as many, however often segments are computed again.
double forward_flops(const ModelConfig& config);

}  // namespace dnamamba::model
