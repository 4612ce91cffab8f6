// AdamW with gradient clipping and a warm-up-and-cosine rate, over the named parameters of a model.
#pragma once
#include <filesystem>
#include <memory>

#include "core/files/tensor_file.h"
#include "core/model/parameters.h"

namespace dnamamba::train {

/// Defaults are those of the Mamba paper (appendix E): beta (0.9, 0.95), weight decay 0.1, clip 1.0, 10 % warm-up.
struct AdamWOptions {
  double rate = 4e-3;         ///< the highest
  double final_rate = 0.05;   ///< of the highest, at the end of the cosine
  double warmup = 0.1;        ///< of all steps
  double weight_decay = 0.1;  ///< not on norms, biases, A_log, D, embeddings
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double clip = 1.0;       ///< largest global norm of the gradient; 0: no clipping
  std::int64_t steps = 1;  ///< all of them: the length of the schedule
};

/// The rate of step `step`, 0-based: linear warm-up, then half a cosine.
double rate_at(const AdamWOptions& options, std::int64_t step);

class AdamW {
 public:
  /// The parameters become leaves that ask for gradients; the optimiser shares them.
  AdamW(const model::ModelConfig& config, model::Parameters& parameters, const AdamWOptions& options);
  ~AdamW();
  AdamW(const AdamW&) = delete;
  AdamW& operator=(const AdamW&) = delete;

  /// Clips, updates and clears the gradients of step `step`. The norm of the gradient before clipping.
  /// @throws base::Error if it is not finite; the parameters are as before.
  double step(std::int64_t step);

  /// First and second moments by "<parameter>.exp_avg" and ".exp_avg_sq", and the number of updates, and back again,
  /// for a run that goes on later with the same bits. Nothing before the first update.
  /// @throws base::Error naming a parameter whose moments are missing or misshapen.
  [[nodiscard]] files::TensorMap moments() const;
  void set_moments(const files::TensorMap& moments);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dnamamba::train
