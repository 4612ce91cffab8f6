#include "core/heads/language_head.h"

#include "core/ops/linear.h"
#include "core/ops/token_loss.h"

namespace dnamamba::heads {

at::Tensor next_token_logits(const model::Backbone& backbone, const at::Tensor& hidden) {
  return ops::linear(hidden, backbone.head_weight());
}

at::Tensor next_token_loss(const model::Backbone& backbone, const at::Tensor& hidden, const at::Tensor& targets,
                           const at::Tensor& weights) {
  return ops::token_loss(
      {.hidden = hidden, .weight = backbone.head_weight(), .targets = targets, .token_weights = weights});
}

}  // namespace dnamamba::heads
