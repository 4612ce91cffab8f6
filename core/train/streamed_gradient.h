// The exact gradient of a loss over sequences of any length, in the memory of one segment.
//
// A left fold runs the segments without a graph and keeps only the state at each cut. A right fold recomputes each
// segment from its state, back-propagates its loss together with the gradient that arrived for its final state, and
// hands the gradient of its initial state (convolution tails and SSM states of all layers) to the segment on its left.
// Cost: one forward more. With a segment as long as the longest sequence it is plain back-propagation and costs nothing
// more.
#pragma once
#include "core/model/backbone.h"
#include "core/train/next_token_batch.h"

namespace dnamamba::train {

struct LossSum {
  double loss = 0;    ///< sum of weight * cross-entropy, nats
  double weight = 0;  ///< sum of the weights
};

/// Adds d(sum of w·ce / total_weight)/dp to p.grad() of every parameter p of the backbone that requires one.
/// `total_weight` is that of the whole optimiser step, all its batches and ranks; 0 gives loss 0 and no gradient.
/// `segment`: tokens of each sequence at a time.
LossSum streamed_gradient(const model::Backbone& backbone, const NextTokenBatch& batch, std::int64_t segment,
                          double total_weight);

/// The loss alone, as a left fold: any length, no graph.
LossSum streamed_loss(const model::Backbone& backbone, const NextTokenBatch& batch, std::int64_t segment);

}  // namespace dnamamba::train
