// The next-token head: what a model says comes next, and how much of a surprise the truth is.
#pragma once
#include <ATen/core/Tensor.h>

#include "core/model/backbone.h"

namespace dnamamba::heads {

/// hidden [T, d_model] -> logits [T, vocabulary], in the type of the activations.
at::Tensor next_token_logits(const model::Backbone& backbone, const at::Tensor& hidden);

/// Cross-entropy of every token in nats, times its weight, [T]; targets uint8 [T], weights float32 [T]. Differentiable.
at::Tensor next_token_loss(const model::Backbone& backbone, const at::Tensor& hidden, const at::Tensor& targets,
                           const at::Tensor& weights);

}  // namespace dnamamba::heads
