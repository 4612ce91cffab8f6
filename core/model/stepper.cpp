#include "core/model/stepper.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <map>
#include <optional>

#include "core/base/error.h"
#include "core/model/step_layers.h"
#include "core/ops/team.h"

namespace dnamamba::model {
namespace {

using kernels::kStepPanel;
using kernels::step_padded;

/// The weights of a layer; layers with the same weights have one of these.
struct LayerStep {
  kernels::StepNorm norm;
  MixerStep mixer;
  kernels::StepNorm mlp_norm;
  std::optional<MlpStep> mlp;
};

/// What is to be added to the residual stream.
struct Pending {
  StepOutput output;
  const float* parts = nullptr;
  const float* factors = nullptr;  ///< of each part, or null
};

/// What each thread has for itself. All hold the same residual stream.
struct OwnBuffers {
  float *residual = nullptr, *normed = nullptr, *factors = nullptr, *own = nullptr;
};

kernels::StepNorm pack_norm(const ModelConfig& model, NormKind kind, const std::string& name,
                            const StepPacker& packer) {
  const auto places = StepPacker::range(0, model.d_model);
  const bool layer_norm = kind == NormKind::kLayer;
  return {.columns = model.d_model,
          .weight = packer.vector(name + ".weight", places),
          .bias = layer_norm ? packer.vector(name + ".bias", places) : nullptr,
          .epsilon = model.norm_epsilon,
          .layer_norm = layer_norm};
}

LayerStep pack_layer(const ModelConfig& model, const LayerConfig& layer, const StepPacker& packer) {
  const std::string prefix = base::concat("backbone.layers.", layer.weights, ".");
  struct MakeMixer {
    const ModelConfig& model;
    const std::string& prefix;
    const StepPacker& packer;
    MixerStep operator()(const Mamba1Config& config) const {
      return Mamba1Step(config, model.d_model, prefix + "mixer.", packer);
    }
    MixerStep operator()(const Mamba2Config& config) const {
      return Mamba2Step(config, model.norm_epsilon, model.d_model, prefix + "mixer.", packer);
    }
  };
  LayerStep step{.norm = pack_norm(model, layer.norm, prefix + "norm", packer),
                 .mixer = std::visit(MakeMixer{model, prefix, packer}, layer.mixer),
                 .mlp_norm = {},
                 .mlp = std::nullopt};
  if (!layer.mlp) return step;
  step.mlp_norm = pack_norm(model, layer.norm, prefix + "norm2", packer);
  step.mlp.emplace(*layer.mlp, model.d_model, prefix + "mlp.", packer);
  return step;
}

const StepStateMap& state_map(const LayerStep& layer) {
  return std::visit([](const auto& mixer) -> const StepStateMap& { return mixer.state_map(); }, layer.mixer);
}

/// Calls body(row and channel of a matrix [rows, channels], its place in panels of 16 channels).
template <typename Body>
void for_each_place(const std::vector<std::int64_t>& channels, std::int64_t rows, Body&& body) {
  for (std::int64_t p = 0; p < static_cast<std::int64_t>(channels.size()); ++p)
    for (std::int64_t i = 0; i < rows && channels[p] >= 0; ++i)
      body(i, channels[p], (p / kStepPanel * rows + i) * kStepPanel + p % kStepPanel);
}

/// Calls body(value in the tensors of `layer`, value in `step`) for all values of a layer's state.
template <typename Tensors, typename Body>
void for_each_value(Tensors& layer, const StepStateMap& map, const StepState& step, Body&& body) {
  const std::int64_t channels = layer.conv.size(2);
  float *const conv = layer.conv.template mutable_data_ptr<float>(), *const ssm =
                                                                         layer.ssm.template mutable_data_ptr<float>();
  for_each_place(map.conv_channels, map.kept, [&](std::int64_t k, std::int64_t channel, std::int64_t place) {
    body(conv[k * channels + channel], step.conv[place]);
  });
  for_each_place(map.ssm_channels, map.states, [&](std::int64_t n, std::int64_t channel, std::int64_t place) {
    body(ssm[channel * map.states + n], step.ssm[place]);
  });
}
template <typename Body>
void for_each_value(std::monostate&, const StepStateMap&, const StepState&, Body&&) {}

/// `given`, or zeros where nothing was read, with tensors of its own. @throws base::Error unless it is what `expected`
/// is.
LayerState checked_state(const LayerState& given, const LayerState& expected) {
  if (std::holds_alternative<std::monostate>(given)) return expected;
  if (given.index() != expected.index()) throw base::Error("the state of another kind of layer can't be continued");
  State one{{given}}, other{{expected}};
  const auto tensors = tensors_of(one), shapes = tensors_of(other);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i]->sizes() != shapes[i]->sizes() || tensors[i]->scalar_type() != at::kFloat)
      throw base::Error(base::concat("a step continues a float32 state ", shapes[i]->sizes(), ", not ",
                                     tensors[i]->scalar_type(), " ", tensors[i]->sizes()));
    *tensors[i] = tensors[i]->detach().clone(at::MemoryFormat::Contiguous);
  }
  return one.layers.front();
}

}  // namespace

class StepNetwork {
 public:
  StepNetwork(const ModelConfig& config, const Parameters& parameters, kernels::StepWeights weights);

  Stepper::Output step(std::uint8_t token);
  void begin(const State& state);
  [[nodiscard]] State state() const;
  [[nodiscard]] const ModelConfig& config() const { return config_; }
  [[nodiscard]] std::int64_t weight_bytes() const { return weights_.bytes(); }

 private:
  void add_layers(const StepPacker& packer);
  void make_buffers();
  void make_members(std::size_t count);
  void run(const ops::TeamMember& member);
  void run_layer(std::size_t i, const ops::TeamMember& member, StepBuffers& buffers, Pending& pending);
  void add_and_norm(const Pending& pending, const kernels::StepNorm& norm, const OwnBuffers& own) const;
  template <typename Body>
  void copy_states(State& state, Body&& body) const;

  ModelConfig config_;
  StepMemory weights_, numbers_;
  std::vector<LayerStep> layers_;
  std::vector<std::size_t> layer_of_;  // of each layer of the config, its weights
  std::vector<StepState> states_;
  at::Tensor embedding_;
  kernels::StepNorm final_norm_;
  kernels::StepMatrix head_;
  std::int64_t width_;  // d_model in whole panels
  std::int64_t slots_ = 1, own_floats_ = 0;
  StepBuffers shared_;
  float* mlp_parts_ = nullptr;  // apart from the mixer's: another thread may still be reading those
  float* logits_ = nullptr;
  std::vector<OwnBuffers> members_;
  ops::TeamBarrier barrier_;
  std::uint8_t token_ = 0;
};

StepNetwork::StepNetwork(const ModelConfig& config, const Parameters& parameters, kernels::StepWeights weights)
    : config_(config), width_(step_padded(config.d_model)) {
  const StepPacker packer(parameters, weights, weights_);
  embedding_ = packer.values("backbone.embedding.weight").clone();
  add_layers(packer);
  final_norm_ = pack_norm(config, config.final_norm, "backbone.norm_f", packer);
  head_ = packer.matrix(config.tie_embeddings ? "backbone.embedding.weight" : "lm_head.weight",
                        StepPacker::range(0, config.vocabulary), StepPacker::range(0, config.d_model));
  make_buffers();
}

void StepNetwork::add_layers(const StepPacker& packer) {
  std::map<std::int64_t, std::size_t> known;
  for (const LayerConfig& layer : config_.layers) {
    if (layer.direction == Direction::kReverse)
      throw base::Error("a model with reverse layers can't be run from left to right");
    if (const auto [at, is_new] = known.emplace(layer.weights, layers_.size()); is_new)
      layers_.push_back(pack_layer(config_, layer, packer));
    layer_of_.push_back(known.at(layer.weights));
  }
}

void StepNetwork::make_buffers() {
  StepSizes sizes;
  for (const LayerStep& layer : layers_) {
    sizes.cover(std::visit([](const auto& mixer) { return mixer.sizes(); }, layer.mixer));
    if (layer.mlp) sizes.cover(layer.mlp->sizes());
  }
  slots_ = std::max<std::int64_t>(1, sizes.slots);
  own_floats_ = sizes.own;
  shared_.part_stride = width_ + kStepPanel;
  shared_.x = numbers_.floats(sizes.channels);
  shared_.z = numbers_.floats(sizes.channels);
  shared_.dt = numbers_.floats(sizes.steps);
  shared_.exchange = numbers_.floats(sizes.exchange);
  shared_.parts = numbers_.floats(slots_ * shared_.part_stride);
  mlp_parts_ = numbers_.floats(slots_ * shared_.part_stride);
  logits_ = numbers_.floats(head_.rows);
  for (const std::size_t i : layer_of_) {
    const StepStateMap& map = state_map(layers_[i]);
    states_.push_back({numbers_.floats(map.conv_size()), numbers_.floats(map.ssm_size())});
  }
}

void StepNetwork::make_members(std::size_t count) {
  while (members_.size() < count)
    members_.push_back(
        {numbers_.floats(width_), numbers_.floats(width_), numbers_.floats(slots_), numbers_.floats(own_floats_)});
}

Stepper::Output StepNetwork::step(std::uint8_t token) {
  if (token >= config_.vocabulary)
    throw base::Error(base::concat("token ", int{token}, " is not below ", config_.vocabulary));
  token_ = token;
  const auto threads = static_cast<int>(std::min<std::int64_t>(at::get_num_threads(), slots_));
  make_members(static_cast<std::size_t>(threads));
  ops::run_team(threads, barrier_, [this](const ops::TeamMember& member) { run(member); });
  return {{members_.front().normed, static_cast<std::size_t>(config_.d_model)},
          {logits_, static_cast<std::size_t>(config_.vocabulary)}};
}

void StepNetwork::add_and_norm(const Pending& pending, const kernels::StepNorm& norm, const OwnBuffers& own) const {
  if (pending.parts != nullptr)
    kernels::cpu::step_sum_parts(width_, pending.output.slots, pending.parts, shared_.part_stride, pending.factors,
                                 pending.output.bias, true, own.residual);
  kernels::cpu::step_norm(norm, own.residual, own.normed);
}

void StepNetwork::run_layer(std::size_t i, const ops::TeamMember& member, StepBuffers& buffers, Pending& pending) {
  const LayerStep& layer = layers_[layer_of_[i]];
  const OwnBuffers& own = members_[member.thread];
  add_and_norm(pending, layer.norm, own);
  buffers.parts = shared_.parts;
  std::visit(
      [&](const auto& mixer) {
        mixer.first_half(member, buffers, states_[i]);
        member.wait();
        mixer.second_half(member, buffers, states_[i]);
        member.wait();
        pending = {mixer.output(), buffers.parts, mixer.factors(buffers, own.factors) ? own.factors : nullptr};
      },
      layer.mixer);
  if (!layer.mlp) return;
  add_and_norm(pending, layer.mlp_norm, own);
  buffers.parts = mlp_parts_;
  layer.mlp->advance(member, buffers);
  member.wait();
  pending = {layer.mlp->output(), buffers.parts, nullptr};
}

void StepNetwork::run(const ops::TeamMember& member) {
  const OwnBuffers& own = members_[member.thread];
  StepBuffers buffers = shared_;
  buffers.own = own.own;
  buffers.input = own.normed;
  std::copy_n(embedding_.const_data_ptr<float>() + token_ * config_.d_model, config_.d_model, own.residual);
  Pending pending;
  for (std::size_t i = 0; i < layer_of_.size(); ++i) run_layer(i, member, buffers, pending);
  add_and_norm(pending, final_norm_, own);
  const auto [first, last] = member.part(head_.rows / kStepPanel);
  kernels::cpu::step_product(head_, first, last, own.normed, nullptr, logits_);
}

template <typename Body>
void StepNetwork::copy_states(State& state, Body&& body) const {
  for (std::size_t i = 0; i < layer_of_.size(); ++i)
    std::visit([&](auto& layer) { for_each_value(layer, state_map(layers_[layer_of_[i]]), states_[i], body); },
               state.layers[i]);
}

void StepNetwork::begin(const State& state) {
  State from = zero_state(config_, 1, at::kFloat);
  if (!state.empty() && state.layers.size() != from.layers.size())
    throw base::Error(
        base::concat("a state of ", state.layers.size(), " layers can't be continued through ", from.layers.size()));
  for (std::size_t i = 0; i < state.layers.size(); ++i) from.layers[i] = checked_state(state.layers[i], from.layers[i]);
  copy_states(from, [](float& value, float& place) { place = value; });
}

State StepNetwork::state() const {
  State state = zero_state(config_, 1, at::kFloat);
  copy_states(state, [](float& value, float& place) { value = place; });
  return state;
}

Stepper::Stepper(const ModelConfig& config, const Parameters& parameters, kernels::StepWeights weights)
    : network_(std::make_unique<StepNetwork>(config, parameters, weights)) {}
Stepper::Stepper(Stepper&&) noexcept = default;
Stepper& Stepper::operator=(Stepper&&) noexcept = default;
Stepper::~Stepper() = default;

Stepper::Output Stepper::step(std::uint8_t token) {
  return network_->step(token);
}
void Stepper::begin(const State& state) {
  network_->begin(state);
}
State Stepper::state() const {
  return network_->state();
}
const ModelConfig& Stepper::config() const {
  return network_->config();
}
std::int64_t Stepper::weight_bytes() const {
  return network_->weight_bytes();
}

}  // namespace dnamamba::model
