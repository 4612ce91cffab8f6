// What every mixer has: advance(segment, state) -> (outputs of the segment, state').
#pragma once
#include "core/base/error.h"
#include "core/model/state.h"
#include "core/ops/causal_conv1d.h"
#include "core/ops/tensors.h"

namespace dnamamba::model {

/// What a mixer is asked over one segment of S ragged sequences.
struct SegmentCall {
  ops::OptionalTensor offsets = {};   ///< int64 [S + 1] on the host
  const LayerState* state = nullptr;  ///< what the segments before left; null or monostate: nothing was read
  bool want_state = false;            ///< whether a segment follows
};

/// The state before the segment; null if nothing was read. @throws base::Error for the state of another kind of mixer.
template <typename MixerState>
const MixerState* state_before(const SegmentCall& call) {
  if (call.state == nullptr || std::holds_alternative<std::monostate>(*call.state)) return nullptr;
  const auto* const state = std::get_if<MixerState>(call.state);
  if (state == nullptr) throw base::Error("the state of another kind of layer can't be continued");
  return state;
}

/// Rows [first, first + count) of a weight or bias that may be absent.
inline ops::OptionalTensor rows(const ops::OptionalTensor& tensor, std::int64_t first, std::int64_t count) {
  return ops::given(tensor) ? ops::OptionalTensor(tensor->narrow(0, first, count)) : std::nullopt;
}

/// The convolution that mixers begin with, and SiLU: x [T, E] by a weight [E, 1, K] and a bias that may be absent, from
/// the state before the segment -> ([T, E], the state after, if it is wanted).
template <typename MixerState>
std::tuple<at::Tensor, at::Tensor> convolve(const at::Tensor& x, const at::Tensor& weight,
                                            const ops::OptionalTensor& bias, bool reverse, const SegmentCall& call) {
  const auto* const before = state_before<MixerState>(call);
  return ops::causal_conv1d({.x = x,
                             .weight = weight.squeeze(1),
                             .bias = bias,
                             .offsets = call.offsets,
                             .initial_state = before ? ops::OptionalTensor(before->conv) : std::nullopt,
                             .want_final_state = call.want_state,
                             .silu = true,
                             .reverse = reverse});
}

}  // namespace dnamamba::model
