// The exact gradient of a loss over sequences of any length, in the memory of one segment.
//
// A left fold runs the segments without a graph and keeps only the state at each cut. A right fold recomputes each
// segment from its state, back-propagates its loss together with the gradient that arrived for its final state, and
// hands the gradient of its initial state (convolution tails and SSM states of all layers) to the segment on its left.
// Cost: one forward more. With a segment as long as the longest sequence it is plain back-propagation and costs nothing
// more.
//
// Truncated, the state is carried but no gradient crosses a cut: what is common elsewhere, one forward less, inexact.
#pragma once
#include <functional>
#include <span>

#include "core/model/backbone.h"
#include "core/train/next_token_batch.h"

namespace dnamamba::train {

struct LossSum {
  double loss = 0;    ///< sum of weight * cross-entropy, nats
  double weight = 0;  ///< sum of the weights
};

/// How a batch goes through the memory of the device.
struct Streaming {
  std::int64_t segment = 16'384;  ///< tokens of each sequence at a time
  bool truncated = false;         ///< no gradient from one segment to the one before
  bool states_on_host = false;    ///< the states at the cuts wait in the host's memory; the same bits
};

/// Adds d(sum of w·ce / total_weight)/dp to p.grad() of every parameter p of the backbone that requires one.
/// `total_weight` is that of the whole optimiser step, all its batches and ranks; 0 gives loss 0 and no gradient.
/// A loss that is not finite is given back as it is.
LossSum streamed_gradient(const model::Backbone& backbone, const NextTokenBatch& batch, const Streaming& streaming,
                          double total_weight);

/// Told of a segment, the place of its first token in each sequence, and weight * cross-entropy of its tokens, float32
/// [T] on the host.
using SegmentLosses =
    std::function<void(const NextTokenBatch& segment, std::int64_t first, std::span<const float> losses)>;

/// The loss alone, as a left fold: any length, no graph.
LossSum streamed_loss(const model::Backbone& backbone, const NextTokenBatch& batch, std::int64_t segment,
                      const SegmentLosses& told = {});

}  // namespace dnamamba::train
