#include "core/model/step_layers.h"

#include <ATen/ops/exp.h>
#include <ATen/ops/neg.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "core/base/error.h"

namespace dnamamba::model {
namespace {

using kernels::kStepPanel;
using kernels::step_padded;
using Places = StepPacker::Places;
namespace cpu = kernels::cpu;

constexpr std::int64_t kSlotChannels = 128;  // fewer: more parts to add up; more: fewer threads have work
constexpr std::int64_t kMostSlots = 16;
constexpr double kLog2OfE = 1.4426950408889634074;

/// How many slots `channels` are cut into.
std::int64_t slot_count(std::int64_t channels) {
  return std::clamp<std::int64_t>(channels / kSlotChannels, 1, kMostSlots);
}

Places padded(Places places) {
  places.resize(static_cast<std::size_t>(step_padded(static_cast<std::int64_t>(places.size()))), -1);
  return places;
}

void append(Places& to, const Places& more) {
  to.insert(to.end(), more.begin(), more.end());
}

std::int64_t size_of(const Places& places) {
  return static_cast<std::int64_t>(places.size());
}

/// `places`, each moved on by `offset`.
Places shifted(Places places, std::int64_t offset) {
  for (std::int64_t& place : places)
    if (place >= 0) place += offset;
  return places;
}

const float* bias_or_null(bool given, const std::string& name, const Places& places, const StepPacker& packer) {
  return given ? packer.vector(name, places) : nullptr;
}

kernels::StepConvolution pack_convolution(const Places& channels, std::int64_t width, bool bias,
                                          const std::string& prefix, const StepPacker& packer) {
  const std::int64_t count = step_padded(size_of(channels));
  return {.channels = count,
          .width = width,
          .weight = packer.panels(packer.values(prefix + "conv1d.weight"), channels),
          .bias = bias ? packer.vector(prefix + "conv1d.bias", channels) : packer.zeros(count)};
}

/// What the scans take in the place of A_log: A * log2(e).
at::Tensor scaled_decay(const at::Tensor& a_log) {
  return at::neg(at::exp(a_log)).mul(kLog2OfE);
}

/// The whole of a matrix.
void multiply(const kernels::StepMatrix& matrix, const float* x, const float* bias, float* y) {
  cpu::step_product(matrix, 0, matrix.rows / kStepPanel, x, bias, y);
}

float* part_of(const StepBuffers& buffers, std::int64_t slot) {
  return buffers.parts + slot * buffers.part_stride;
}

}  // namespace

float* StepMemory::floats(std::int64_t count) {
  constexpr std::int64_t kBlock = std::int64_t{1} << 20;
  count = step_padded(count);
  if (blocks_.empty() || used_ + count > blocks_.back().numel()) {
    blocks_.push_back(at::zeros({std::max(kBlock, count)}, at::kFloat));  // LibTorch's CPU allocator aligns to 64 bytes
    used_ = 0;
  }
  used_ += count;
  total_ += count;
  return blocks_.back().mutable_data_ptr<float>() + used_ - count;
}

at::Tensor StepPacker::values(const std::string& name) const {
  const auto found = parameters_->find(name);
  if (found == parameters_->end()) throw base::Error("tensor " + name + " is missing");
  if (found->second.scalar_type() != at::kFloat)
    throw base::Error(base::concat("a step takes float32 weights; ", name, " is ", found->second.scalar_type()));
  return found->second.detach().contiguous();
}

Places StepPacker::range(std::int64_t first, std::int64_t count) {
  Places places(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) places[i] = first + i;
  return places;
}

kernels::StepMatrix StepPacker::matrix(const std::string& name, Places rows, const Places& columns) const {
  const at::Tensor from = values(name);
  rows = padded(std::move(rows));
  std::vector<float> plain(rows.size() * columns.size(), 0.0F);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    if (rows[r] < 0) continue;
    const float* const row = from.const_data_ptr<float>() + rows[r] * from.size(1);
    for (std::size_t c = 0; c < columns.size(); ++c)
      if (columns[c] >= 0) plain[r * columns.size() + c] = row[columns[c]];
  }
  const std::int64_t bytes = cpu::step_matrix_bytes(size_of(rows), size_of(columns), type_);
  return cpu::step_pack(plain.data(), size_of(rows), size_of(columns), type_,
                        memory_->floats(bytes / static_cast<std::int64_t>(sizeof(float))));
}

const float* StepPacker::panels(const at::Tensor& values, const Places& places) const {
  const at::Tensor matrix = values.reshape({values.size(0), -1}).contiguous();
  const std::int64_t width = matrix.size(1);
  const float* const from = matrix.const_data_ptr<float>();
  float* const to = memory_->floats(step_padded(size_of(places)) * width);
  for (std::int64_t p = 0; p < size_of(places); ++p)
    for (std::int64_t i = 0; i < width && places[p] >= 0; ++i)
      to[(p / kStepPanel * width + i) * kStepPanel + p % kStepPanel] = from[places[p] * width + i];
  return to;
}

const float* StepPacker::vector(const std::string& name, const Places& places) const {
  return panels(values(name), places);
}

const std::int32_t* StepPacker::indices(const Places& values) const {
  static_assert(sizeof(std::int32_t) == sizeof(float));
  auto* const to = reinterpret_cast<std::int32_t*>(memory_->floats(size_of(values)));
  std::copy(values.begin(), values.end(), to);
  return to;
}

void StepSizes::cover(const StepSizes& other) {
  channels = std::max(channels, other.channels);
  steps = std::max(steps, other.steps);
  exchange = std::max(exchange, other.exchange);
  own = std::max(own, other.own);
  slots = std::max(slots, other.slots);
}

Mamba1Step::Mamba1Step(const Mamba1Config& config, std::int64_t d_model, const std::string& prefix,
                       const StepPacker& packer)
    : rank_(config.dt_rank), states_(config.d_state) {
  const std::int64_t inner = config.d_inner, panels = step_padded(inner) / kStepPanel, count = slot_count(inner);
  const Places inputs = StepPacker::range(0, d_model);
  const at::Tensor A2 = scaled_decay(packer.values(prefix + "A_log"));
  std::vector<Places> channels_of;
  for (std::int64_t s = 0; s < count; ++s) {
    const std::int64_t first = panels * s / count * kStepPanel, last = panels * (s + 1) / count * kStepPanel;
    const Places channels = StepPacker::range(first, std::min(last, inner) - first), gates = shifted(channels, inner);
    Slot slot;
    slot.at = first;
    slot.in_x = packer.matrix(prefix + "in_proj.weight", channels, inputs);
    slot.in_x_bias = bias_or_null(config.bias, prefix + "in_proj.bias", channels, packer);
    slot.in_z = packer.matrix(prefix + "in_proj.weight", gates, inputs);
    slot.in_z_bias = bias_or_null(config.bias, prefix + "in_proj.bias", gates, packer);
    slot.convolution = pack_convolution(channels, config.d_conv, config.conv_bias, prefix, packer);
    slot.x_proj = packer.matrix(prefix + "x_proj.weight", StepPacker::range(0, rank_ + 2 * states_), padded(channels));
    slots_.push_back(slot);
    channels_of.push_back(channels);
    append(state_map_.conv_channels, padded(channels));
  }
  for (std::int64_t s = 0; s < count; ++s) {
    const Places& channels = channels_of[s];
    slots_[s].dt_proj = packer.matrix(prefix + "dt_proj.weight", channels, StepPacker::range(0, rank_));
    slots_[s].scan = {.channels = step_padded(size_of(channels)),
                      .states = states_,
                      .A2 = packer.panels(A2, channels),
                      .D = packer.vector(prefix + "D", channels),
                      .delta_bias = packer.vector(prefix + "dt_proj.bias", channels)};
    slots_[s].out = packer.matrix(prefix + "out_proj.weight", inputs, padded(channels));
  }
  out_bias_ = bias_or_null(config.bias, prefix + "out_proj.bias", inputs, packer);
  state_map_.ssm_channels = state_map_.conv_channels;
  state_map_.kept = config.d_conv - 1;
  state_map_.states = states_;
}

StepSizes Mamba1Step::sizes() const {
  const auto slots = static_cast<std::int64_t>(slots_.size());
  const std::int64_t channels = size_of(state_map_.conv_channels), projected = step_padded(rank_ + 2 * states_);
  return {.channels = channels, .steps = channels, .exchange = slots * projected, .own = projected, .slots = slots};
}

void Mamba1Step::first_half(const ops::TeamMember& member, const StepBuffers& buffers, const StepState& state) const {
  const auto [first, last] = member.part(static_cast<std::int64_t>(slots_.size()));
  for (std::int64_t s = first; s < last; ++s) {
    const Slot& slot = slots_[s];
    float* const x = buffers.x + slot.at;
    multiply(slot.in_x, buffers.input, slot.in_x_bias, x);
    multiply(slot.in_z, buffers.input, slot.in_z_bias, buffers.z + slot.at);
    cpu::step_convolution(slot.convolution, x, state.conv + slot.at * state_map_.kept, x);
    multiply(slot.x_proj, x, nullptr, buffers.exchange + s * slot.x_proj.rows);
  }
}

void Mamba1Step::second_half(const ops::TeamMember& member, const StepBuffers& buffers, const StepState& state) const {
  const auto [first, last] = member.part(static_cast<std::int64_t>(slots_.size()));
  const std::int64_t rows = slots_.front().x_proj.rows;
  float* const projected = buffers.own;  // dt_rank | B | C
  cpu::step_sum_parts(rows, static_cast<std::int64_t>(slots_.size()), buffers.exchange, rows, nullptr, nullptr, false,
                      projected);
  const float* const B = projected + rank_;
  for (std::int64_t s = first; s < last; ++s) {
    const Slot& slot = slots_[s];
    float *const x = buffers.x + slot.at, *const dt = buffers.dt + slot.at;
    multiply(slot.dt_proj, projected, nullptr, dt);
    cpu::step_selective_scan(slot.scan, x, dt, buffers.z + slot.at, B, B + states_, state.ssm + slot.at * states_, x);
    multiply(slot.out, x, nullptr, part_of(buffers, s));
  }
}

Mamba2Step::Mamba2Step(const Mamba2Config& config, double norm_epsilon, std::int64_t d_model, const std::string& prefix,
                       const StepPacker& packer)
    : config_(config), norm_epsilon_(norm_epsilon), d_model_(d_model) {
  const std::vector<Plan> all = plans();
  for (const Plan& plan : all) add_first_half(plan, prefix, packer);
  add_shared(prefix, packer);
  for (std::size_t s = 0; s < all.size(); ++s) add_second_half(all[s], prefix, packer, slots_[s]);
  out_bias_ = bias_or_null(config.bias, prefix + "out_proj.bias", inputs(), packer);
  state_map_.kept = config.d_conv - 1;
  state_map_.states = config.d_state;
}

/// Slots of whole heads of one group, then those that are only gated.
std::vector<Mamba2Step::Plan> Mamba2Step::plans() const {
  std::vector<Plan> all;
  const std::int64_t heads = config_.heads() / config_.ngroups, dim = config_.headdim;
  const std::int64_t most = std::max<std::int64_t>(1, slot_count(config_.d_ssm) / config_.ngroups);
  for (std::int64_t group = 0; group < config_.ngroups; ++group) {
    const std::int64_t slots = std::min(heads, most);
    for (std::int64_t s = 0; s < slots; ++s) {
      const std::int64_t first = group * heads + heads * s / slots, last = group * heads + heads * (s + 1) / slots;
      all.push_back(
          {group, StepPacker::range(first * dim, (last - first) * dim), StepPacker::range(first, last - first)});
    }
  }
  const std::int64_t aside = config_.gated_only(), slots = slot_count(aside);
  for (std::int64_t s = 0; aside > 0 && s < slots; ++s)
    all.push_back({-1, StepPacker::range(aside * s / slots, aside * (s + 1) / slots - aside * s / slots), {}});
  return all;
}

void Mamba2Step::add_first_half(const Plan& plan, const std::string& prefix, const StepPacker& packer) {
  // Rows of in_proj: gate and value of the channels that are only gated, z, x, B, C, dt.
  const std::int64_t aside = config_.gated_only(), z_at = 2 * aside, x_at = z_at + config_.d_ssm;
  const bool scanned = plan.group >= 0;
  const Places x = shifted(plan.channels, scanned ? x_at : aside), z = shifted(plan.channels, scanned ? z_at : 0);
  const std::string in = prefix + "in_proj.";
  Slot slot;
  slot.at = places_;
  slot.heads_at = head_places_;
  slot.group = plan.group;
  slot.channels = step_padded(size_of(plan.channels));
  slot.in_z = packer.matrix(in + "weight", z, inputs());
  slot.in_z_bias = bias_or_null(config_.bias, in + "bias", z, packer);
  slot.in_x = packer.matrix(in + "weight", x, inputs());
  slot.in_x_bias = bias_or_null(config_.bias, in + "bias", x, packer);
  if (scanned) {
    const Places dt = shifted(plan.heads, x_at + config_.conv_channels());
    slot.in_dt = packer.matrix(in + "weight", dt, inputs());
    slot.in_dt_bias = bias_or_null(config_.bias, in + "bias", dt, packer);
    slot.convolution = pack_convolution(plan.channels, config_.d_conv, config_.conv_bias, prefix, packer);
    append(state_map_.conv_channels, padded(plan.channels));
    head_places_ += slot.in_dt.rows;
  }
  places_ += slot.channels;
  slots_.push_back(slot);
}

void Mamba2Step::add_shared(const std::string& prefix, const StepPacker& packer) {
  const Places channels = StepPacker::range(config_.d_ssm, config_.conv_channels() - config_.d_ssm);
  const Places rows = shifted(channels, 2 * config_.gated_only() + config_.d_ssm);
  in_shared_ = packer.matrix(prefix + "in_proj.weight", rows, inputs());
  in_shared_bias_ = bias_or_null(config_.bias, prefix + "in_proj.bias", rows, packer);
  shared_convolution_ = pack_convolution(channels, config_.d_conv, config_.conv_bias, prefix, packer);
  state_map_.ssm_channels = state_map_.conv_channels;
  scan_places_ = size_of(state_map_.ssm_channels);
  append(state_map_.conv_channels, padded(channels));
}

void Mamba2Step::add_second_half(const Plan& plan, const std::string& prefix, const StepPacker& packer,
                                 Slot& slot) const {
  const std::int64_t aside = config_.gated_only();
  const bool scanned = plan.group >= 0;
  if (scanned) {
    Places head(static_cast<std::size_t>(slot.channels), 0), D = plan.channels;
    for (std::int64_t i = 0; i < size_of(plan.channels); ++i) {
      head[i] = i / config_.headdim;
      if (!config_.D_has_hdim) D[i] = plan.channels[i] / config_.headdim;
    }
    slot.ssd = {.channels = slot.channels,
                .heads = slot.in_dt.rows,
                .states = config_.d_state,
                .head = packer.indices(head),
                .A2 = packer.panels(scaled_decay(packer.values(prefix + "A_log")), plan.heads),
                .dt_bias = packer.vector(prefix + "dt_bias", plan.heads),
                .D = packer.vector(prefix + "D", D),
                .dt_min = config_.dt_limit_min,
                .dt_max = config_.dt_limit_max};
    if (config_.rmsnorm) slot.norm = packer.vector(prefix + "norm.weight", plan.channels);
  }
  slot.out = packer.matrix(prefix + "out_proj.weight", inputs(), padded(shifted(plan.channels, scanned ? aside : 0)));
}

StepSizes Mamba2Step::sizes() const {
  return {.channels = places_,
          .steps = head_places_,
          .exchange = in_shared_.rows,
          .own = 0,
          .slots = static_cast<std::int64_t>(slots_.size())};
}

void Mamba2Step::convolve_shared(const ops::TeamMember& member, const StepBuffers& buffers,
                                 const StepState& state) const {
  const auto [first, last] = member.part(in_shared_.rows / kStepPanel);
  const std::int64_t at = first * kStepPanel, kept = state_map_.kept;
  float* const x = buffers.exchange + at;
  cpu::step_product(in_shared_, first, last, buffers.input, in_shared_bias_, buffers.exchange);
  const kernels::StepConvolution part{.channels = (last - first) * kStepPanel,
                                      .width = config_.d_conv,
                                      .weight = shared_convolution_.weight + at * config_.d_conv,
                                      .bias = shared_convolution_.bias + at};
  cpu::step_convolution(part, x, state.conv + (scan_places_ + at) * kept, x);
}

void Mamba2Step::first_half(const ops::TeamMember& member, const StepBuffers& buffers, const StepState& state) const {
  const auto [first, last] = member.part(static_cast<std::int64_t>(slots_.size()));
  for (std::int64_t s = first; s < last; ++s) {
    const Slot& slot = slots_[s];
    float *const x = buffers.x + slot.at, *const z = buffers.z + slot.at;
    multiply(slot.in_z, buffers.input, slot.in_z_bias, z);
    multiply(slot.in_x, buffers.input, slot.in_x_bias, x);
    if (slot.group < 0) {
      cpu::step_gate(kernels::StepGate::kAlone, slot.channels, x, z, nullptr, x);
      continue;
    }
    multiply(slot.in_dt, buffers.input, slot.in_dt_bias, buffers.dt + slot.heads_at);
    cpu::step_convolution(slot.convolution, x, state.conv + slot.at * state_map_.kept, x);
  }
  convolve_shared(member, buffers, state);
}

void Mamba2Step::second_half(const ops::TeamMember& member, const StepBuffers& buffers, const StepState& state) const {
  using kernels::StepGate;
  const StepGate gate = !config_.rmsnorm           ? StepGate::kAlone
                        : config_.norm_before_gate ? StepGate::kAfterNorm
                                                   : StepGate::kThenNorm;
  const std::int64_t states = config_.d_state, C_at = config_.ngroups * states;
  const auto [first, last] = member.part(static_cast<std::int64_t>(slots_.size()));
  for (std::int64_t s = first; s < last; ++s) {
    const Slot& slot = slots_[s];
    float *const x = buffers.x + slot.at, *const part = part_of(buffers, s);
    if (slot.group >= 0) {
      const float* const B = buffers.exchange + slot.group * states;
      cpu::step_ssd(slot.ssd, x, buffers.dt + slot.heads_at, B, B + C_at, state.ssm + slot.at * states, x);
      part[slot.out.rows] = cpu::step_gate(gate, slot.channels, x, buffers.z + slot.at, slot.norm, x);
    }
    multiply(slot.out, x, nullptr, part);
  }
}

bool Mamba2Step::factors(const StepBuffers& buffers, float* factors) const {
  if (!config_.rmsnorm) return false;
  const auto channels = static_cast<float>(config_.d_ssm / config_.ngroups);
  for (std::size_t s = 0; s < slots_.size();) {
    std::size_t end = s;
    float squares = 0;
    for (; end < slots_.size() && slots_[end].group == slots_[s].group; ++end)
      squares += part_of(buffers, static_cast<std::int64_t>(end))[slots_[end].out.rows];
    const float scale =
        slots_[s].group < 0 ? 1.0F : 1 / std::sqrt(squares / channels + static_cast<float>(norm_epsilon_));
    std::fill(factors + s, factors + end, scale);
    s = end;
  }
  return true;
}

MlpStep::MlpStep(const MlpConfig& config, std::int64_t d_model, const std::string& prefix, const StepPacker& packer) {
  const std::int64_t hidden = config.d_hidden, panels = step_padded(hidden) / kStepPanel, count = slot_count(hidden);
  const Places inputs = StepPacker::range(0, d_model);
  for (std::int64_t s = 0; s < count; ++s) {
    const std::int64_t first = panels * s / count * kStepPanel, last = panels * (s + 1) / count * kStepPanel;
    const Places channels = StepPacker::range(first, std::min(last, hidden) - first);
    slots_.push_back({.at = first,
                      .y = packer.matrix(prefix + "fc1.weight", channels, inputs),
                      .gate = packer.matrix(prefix + "fc1.weight", shifted(channels, hidden), inputs),
                      .out = packer.matrix(prefix + "fc2.weight", inputs, padded(channels))});
  }
}

StepSizes MlpStep::sizes() const {
  const auto slots = static_cast<std::int64_t>(slots_.size());
  return {.channels = slots_.back().at + slots_.back().y.rows, .slots = slots};
}

void MlpStep::advance(const ops::TeamMember& member, const StepBuffers& buffers) const {
  const auto [first, last] = member.part(static_cast<std::int64_t>(slots_.size()));
  for (std::int64_t s = first; s < last; ++s) {
    const Slot& slot = slots_[s];
    float *const y = buffers.x + slot.at, *const gate = buffers.z + slot.at;
    multiply(slot.y, buffers.input, nullptr, y);
    multiply(slot.gate, buffers.input, nullptr, gate);
    cpu::step_gate(kernels::StepGate::kAlone, slot.y.rows, y, gate, nullptr, y);
    multiply(slot.out, y, nullptr, part_of(buffers, s));
  }
}

}  // namespace dnamamba::model
