// AdamW with gradient clipping over the named parameters of a model, a few launches a step on any device.
#pragma once
#include <memory>

#include "core/files/tensor_file.h"
#include "core/model/parameters.h"

namespace dnamamba::train {

/// Defaults are those of the Mamba paper (appendix E): beta (0.9, 0.95), weight decay 0.1, clip 1.0.
struct AdamWOptions {
  double weight_decay = 0.1;  ///< not on norms, biases, A_log, D, embeddings
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double clip = 1.0;  ///< largest global norm of the gradient; 0: no clipping
};

class AdamW {
 public:
  /// The parameters become leaves that ask for gradients; the optimiser shares them.
  AdamW(const model::ModelConfig& config, model::Parameters& parameters, const AdamWOptions& options);
  ~AdamW();
  AdamW(const AdamW&) = delete;
  AdamW& operator=(const AdamW&) = delete;

  /// The norm of the whole gradient, added up in double in one order whatever the number of threads. Waits for the
  /// device, once.
  [[nodiscard]] double gradient_norm() const;

  /// Clips, updates at this learning rate and clears the gradients, whose norm is `norm`.
  /// @throws base::Error if it is not finite; parameters and moments are as before.
  void step(double rate, double norm);
  /// Clears the gradients and changes nothing else.
  void skip();

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
