// A causal network one token at a time: for generation, on the CPU.
#pragma once
#include <memory>
#include <span>

#include "core/model/config.h"
#include "core/model/parameters.h"
#include "core/model/state.h"
#include "kernels/step.h"

namespace dnamamba::model {

class StepNetwork;
struct StepMemories;

/// What Backbone::advance gives for segments of one token of one sequence, without its cost for each call: weights lie
/// packed for it, one parallel region a token, nothing is allocated. fp32. What a step gives does not depend, in any
/// bit, on at::get_num_threads().
class Stepper {
 public:
  /// Copies of the parameters; changes to those don't show. kBfloat16 rounds the weights of the matrix products to 8
  /// bits of mantissa, which halves what a step reads, and moves its answers by some parts in a thousand (0.6 % of the
  /// hidden vector's norm for 8 layers of 256).
  /// @throws base::Error for a config with reverse layers, and parameters that are missing or not float32.
  Stepper(const ModelConfig& config, const Parameters& parameters,
          kernels::StepWeights weights = kernels::StepWeights::kFloat32);
  Stepper(Stepper&&) noexcept;
  Stepper& operator=(Stepper&&) noexcept;
  ~Stepper();

  /// Valid until the next step.
  struct Output {
    std::span<const float> hidden;  ///< [d_model] after the final norm
    std::span<const float> logits;  ///< [vocabulary] of the next token
  };
  /// @throws base::Error for a token that is not below the vocabulary.
  Output step(std::uint8_t token);

  /// The next step begins where `state`, of one sequence, ended; an empty one: at the beginning of a sequence, as a new
  /// Stepper does. @throws base::Error for a state of another model, of several sequences, or not float32.
  void begin(const State& state);
  /// What was read so far, for Backbone::advance or another Stepper.
  [[nodiscard]] State state() const;

  [[nodiscard]] const ModelConfig& config() const;
  /// Bytes of weights that a step reads.
  [[nodiscard]] std::int64_t weight_bytes() const;

 private:
  std::unique_ptr<StepNetwork> network_;
};

}  // namespace dnamamba::model
