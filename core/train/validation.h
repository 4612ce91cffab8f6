// Bits per base of a model on sequences that it was not trained on.
#pragma once
#include <array>

#include "core/model/backbone.h"
#include "core/train/hold_out.h"
#include "core/train/streamed_gradient.h"

namespace dnamamba::train {

/// What is validated on under one name: pieces of one file.
struct ValidationSet {
  std::string name;
  std::shared_ptr<const TrainingFile> file;
  std::vector<Piece> pieces;
};

/// All of a file.
ValidationSet all_of(std::shared_ptr<const TrainingFile> file);

struct ValidationOptions {
  std::int64_t context = 0;       ///< the state begins anew every so many bases; 0: never within a piece
  std::int64_t segment = 16'384;  ///< tokens computed at a time
};

/// Losses by how many bases of context their targets had: in part k, 2^k to 2^(k+1) - 1 of them.
struct LossByContext {
  std::array<LossSum, 63> parts;

  void add(std::int64_t bases, double loss, double weight);
};

/// nats / ln 2 / weight; NaN where nothing was counted.
double bits_per_base(const LossSum& sum);

/// Every base but the first of each piece is predicted once, whatever the context; N is no target, soft-masked bases
/// count as others do. `by_context`, if there, gets the same losses added.
LossSum validate(const model::Backbone& backbone, const ValidationSet& set, const tokens::Alphabet& alphabet,
                 const ValidationOptions& options, LossByContext* by_context = nullptr);

}  // namespace dnamamba::train
