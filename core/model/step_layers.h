// The layers of a network as a step of one token wants them: weights packed for products with one vector, in the order
// in which they are read, and work cut into slots of channels that depend on sizes alone.
//
// A layer has two halves with a wait between them. Each slot owns some channels from the first product to the last;
// what a slot adds to the layer's output is a part, and whoever wants the output adds the parts up in their order. So
// two waits a layer are enough, and the number of threads shows in no bit.
#pragma once
#include <ATen/core/Tensor.h>

#include <span>
#include <string>
#include <variant>
#include <vector>

#include "core/model/config.h"
#include "core/model/parameters.h"
#include "core/model/state.h"
#include "core/ops/team.h"
#include "kernels/step.h"

namespace dnamamba::model {

/// Memory that lives as long as the weights in it; pieces that are asked for one after the other lie one after the
/// other.
class StepMemory {
 public:
  /// `count` zeros, 64-byte aligned.
  float* floats(std::int64_t count);
  /// Of all pieces so far.
  [[nodiscard]] std::int64_t bytes() const { return total_ * static_cast<std::int64_t>(sizeof(float)); }

 private:
  std::vector<at::Tensor> blocks_;
  std::int64_t used_ = 0, total_ = 0;  // floats: of the last block, of all
};

/// Takes rows and columns of fp32 parameters by number, -1 for zeros, and lays them out for a step.
class StepPacker {
 public:
  using Places = std::vector<std::int64_t>;

  StepPacker(const Parameters& parameters, kernels::StepWeights type, StepMemory& memory)
      : parameters_(&parameters), type_(type), memory_(&memory) {}

  /// Rows are filled up to whole panels.
  [[nodiscard]] kernels::StepMatrix matrix(const std::string& name, Places rows, const Places& columns) const;
  /// Rows of `values` [rows, …] of n values each as panels [places/16][n][16], filled up with zeros.
  [[nodiscard]] const float* panels(const at::Tensor& values, const Places& places) const;
  [[nodiscard]] const float* vector(const std::string& name, const Places& places) const;
  [[nodiscard]] const float* zeros(std::int64_t count) const { return memory_->floats(count); }
  [[nodiscard]] const std::int32_t* indices(const Places& values) const;
  /// @throws base::Error for a parameter that is missing or not fp32.
  [[nodiscard]] at::Tensor values(const std::string& name) const;
  /// first, first + 1, …: `count` of them.
  [[nodiscard]] static Places range(std::int64_t first, std::int64_t count);

 private:
  const Parameters* parameters_;
  kernels::StepWeights type_;
  StepMemory* memory_;
};

/// Of one layer and one sequence, in the layout of kernels/step.h.
struct StepState {
  float* conv = nullptr;  ///< [places/16][K-1][16]
  float* ssm = nullptr;   ///< [places/16][N][16]
};

/// What a mixer's state is in the layout of a step: the channel at each place, or -1.
struct StepStateMap {
  std::vector<std::int64_t> conv_channels, ssm_channels;
  std::int64_t kept = 0;    ///< K - 1
  std::int64_t states = 0;  ///< N

  [[nodiscard]] std::int64_t conv_size() const { return static_cast<std::int64_t>(conv_channels.size()) * kept; }
  [[nodiscard]] std::int64_t ssm_size() const { return static_cast<std::int64_t>(ssm_channels.size()) * states; }
};

/// Floats that a layer needs beside its weights, for one sequence. Shared by the threads unless said.
struct StepSizes {
  std::int64_t channels = 0;  ///< of x and z each
  std::int64_t steps = 0;     ///< step sizes, of channels or heads
  std::int64_t exchange = 0;  ///< what the slots tell one another between the halves
  std::int64_t own = 0;       ///< of each thread
  std::int64_t slots = 0;

  void cover(const StepSizes& other);
};

/// Where a step's numbers are while it runs; the layers of a network use it one after the other.
struct StepBuffers {
  float *x = nullptr, *z = nullptr, *dt = nullptr;
  float* exchange = nullptr;
  float* own = nullptr;
  const float* input = nullptr;  ///< [d_model] normed
  float* parts = nullptr;        ///< [slots][part_stride]; behind a part's d_model values: its squares
  std::int64_t part_stride = 0;
};

/// hidden = bias + sum over parts of factor * part.
struct StepOutput {
  std::int64_t slots = 0;
  const float* bias = nullptr;  ///< or null
};

class Mamba1Step {
 public:
  Mamba1Step(const Mamba1Config& config, std::int64_t d_model, const std::string& prefix, const StepPacker& packer);

  void first_half(const ops::TeamMember& member, const StepBuffers& buffers, const StepState& state) const;
  void second_half(const ops::TeamMember& member, const StepBuffers& buffers, const StepState& state) const;
  /// False: all factors are 1.
  bool factors(const StepBuffers&, float*) const { return false; }
  [[nodiscard]] StepOutput output() const { return {static_cast<std::int64_t>(slots_.size()), out_bias_}; }
  [[nodiscard]] StepSizes sizes() const;
  [[nodiscard]] const StepStateMap& state_map() const { return state_map_; }

 private:
  struct Slot {
    std::int64_t at = 0;  ///< place of its first channel
    kernels::StepMatrix in_x, in_z, x_proj, dt_proj, out;
    const float *in_x_bias = nullptr, *in_z_bias = nullptr;
    kernels::StepConvolution convolution;
    kernels::StepSelectiveScan scan;
  };
  std::int64_t rank_ = 0, states_ = 0;
  std::vector<Slot> slots_;
  const float* out_bias_ = nullptr;
  StepStateMap state_map_;
};

class Mamba2Step {
 public:
  Mamba2Step(const Mamba2Config& config, double norm_epsilon, std::int64_t d_model, const std::string& prefix,
             const StepPacker& packer);

  void first_half(const ops::TeamMember& member, const StepBuffers& buffers, const StepState& state) const;
  void second_half(const ops::TeamMember& member, const StepBuffers& buffers, const StepState& state) const;
  /// The norm behind the scan as a factor of each part; false: all are 1.
  bool factors(const StepBuffers& buffers, float* factors) const;
  [[nodiscard]] StepOutput output() const { return {static_cast<std::int64_t>(slots_.size()), out_bias_}; }
  [[nodiscard]] StepSizes sizes() const;
  [[nodiscard]] const StepStateMap& state_map() const { return state_map_; }

 private:
  struct Slot {
    std::int64_t at = 0, heads_at = 0;  ///< places of its first channel and head
    std::int64_t group = -1;            ///< -1: channels that are only gated
    std::int64_t channels = 0;          ///< in whole panels
    kernels::StepMatrix in_x, in_z, in_dt, out;
    const float *in_x_bias = nullptr, *in_z_bias = nullptr, *in_dt_bias = nullptr, *norm = nullptr;
    kernels::StepConvolution convolution;
    kernels::StepSsd ssd;
  };
  /// What a slot is made of: channels of the scan and their heads, or channels that are only gated.
  struct Plan {
    std::int64_t group = -1;
    StepPacker::Places channels, heads;
  };
  [[nodiscard]] std::vector<Plan> plans() const;
  void add_first_half(const Plan& plan, const std::string& prefix, const StepPacker& packer);
  void add_shared(const std::string& prefix, const StepPacker& packer);
  void add_second_half(const Plan& plan, const std::string& prefix, const StepPacker& packer, Slot& slot) const;
  void convolve_shared(const ops::TeamMember& member, const StepBuffers& buffers, const StepState& state) const;
  [[nodiscard]] StepPacker::Places inputs() const { return StepPacker::range(0, d_model_); }

  Mamba2Config config_;
  double norm_epsilon_;
  std::int64_t d_model_;
  std::vector<Slot> slots_;
  std::int64_t places_ = 0, head_places_ = 0, scan_places_ = 0;  ///< of all channels, heads, channels of the scan
  kernels::StepMatrix in_shared_;                                ///< B and C of all groups
  const float* in_shared_bias_ = nullptr;
  kernels::StepConvolution shared_convolution_;
  const float* out_bias_ = nullptr;
  StepStateMap state_map_;
};

using MixerStep = std::variant<Mamba1Step, Mamba2Step>;

class MlpStep {
 public:
  MlpStep(const MlpConfig& config, std::int64_t d_model, const std::string& prefix, const StepPacker& packer);

  void advance(const ops::TeamMember& member, const StepBuffers& buffers) const;
  [[nodiscard]] StepOutput output() const { return {static_cast<std::int64_t>(slots_.size()), nullptr}; }
  [[nodiscard]] StepSizes sizes() const;

 private:
  struct Slot {
    std::int64_t at = 0;
    kernels::StepMatrix y, gate, out;
  };
  std::vector<Slot> slots_;
};

}  // namespace dnamamba::model
