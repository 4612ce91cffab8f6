#include "core/engine/generate.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <random>

#include "core/base/error.h"
#include "core/base/stop.h"
#include "core/engine/record_job.h"
#include "core/model/stepper.h"

namespace dnamamba::engine {
namespace {

constexpr std::int64_t kLine = 60;  // bases

/// Draws bases, the same ones for the same numbers in any build: the standard says what this generator gives, and
/// nothing of the library's distributions is used.
class BaseDrawer {
 public:
  BaseDrawer(const GenerateOptions& options, std::int64_t prompt, std::int64_t sequence) : options_(options) {
    std::seed_seq seeds{static_cast<std::uint32_t>(options.seed), static_cast<std::uint32_t>(options.seed >> 32),
                        static_cast<std::uint32_t>(prompt), static_cast<std::uint32_t>(sequence)};
    generator_.seed(seeds);
  }

  /// 0 … 3.
  int evenly() { return static_cast<int>(4 * uniform()); }

  /// The number of a base whose logit is in `logits`.
  int draw(const std::array<double, 4>& logits) {
    std::array<int, 4> order{0, 1, 2, 3};
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
    if (options_.temperature == 0) return order[0];
    std::array<double, 4> weights{};
    double total = 0;
    for (std::int64_t i = 0; i < options_.top_k; ++i)
      total += weights[i] = std::exp((logits[order[i]] - logits[order[0]]) / options_.temperature);
    double left = uniform() * total;
    for (std::int64_t i = 0; i + 1 < options_.top_k; ++i)
      if ((left -= weights[i]) < 0) return order[i];
    return order[options_.top_k - 1];
  }

 private:
  /// In [0, 1).
  double uniform() { return static_cast<double>(generator_() >> 11) * 0x1p-53; }

  const GenerateOptions& options_;
  std::mt19937_64 generator_;
};

/// A prompt's state before its last token, which the first step reads.
struct Prompt {
  std::string name;
  std::int64_t index = 0;
  model::State state = {};
  std::vector<std::uint8_t> last = {};  ///< one token, or none so far
};

class Generator {
 public:
  Generator(const GenerateOptions& options, const model::Model& model, files::AtomicFile& out,
            const std::function<void(std::int64_t)>& progress)
      : options_(options),
        alphabet_(alphabet_of(model)),
        backbone_(model.config, model.parameters),
        stepper_(model.config, model.parameters, options.weights),
        out_(out),
        progress_(progress) {}

  GenerateCounts run() {
    if (options_.inputs.empty()) continue_prompt({.name = "generated"});
    for (const std::string& input : options_.inputs) read_prompts(input);
    return counts_;
  }

 private:
  void read_prompts(const std::string& input) {
    const tokens::Tokenizer tokenizer(alphabet_, options_.invalid, options_.soft_mask);
    io::SequenceReaderOptions reading = options_.reading;
    reading.chunk_length = options_.segment;
    io::SequenceReader reader(input, reading);
    Prompt prompt;
    while (const auto chunk = reader.next()) {
      if (chunk->offset == 0) prompt = {.name = chunk->name, .index = counts_.prompts++};
      std::vector<std::uint8_t> tokens = prompt.last;
      counts_.invalid += tokenizer.append(chunk->bases, {input, chunk->name, chunk->offset}, tokens).invalid;
      read_but_last(prompt, std::move(tokens));
      if (!chunk->ends_record) continue;
      if (prompt.last.empty())
        throw base::Error(base::concat(input, ": the prompt ", base::shown_name(prompt.name), " has no bases"));
      continue_prompt(prompt);
    }
  }

  void read_but_last(Prompt& prompt, std::vector<std::uint8_t> tokens) const {
    base::throw_if_stopped();
    prompt.last.clear();
    if (tokens.empty()) return;
    prompt.last = {tokens.back()};
    if (tokens.size() == 1) return;
    const at::Tensor ids = at::from_blob(tokens.data(), {static_cast<std::int64_t>(tokens.size()) - 1}, at::kByte);
    prompt.state = backbone_.advance({.tokens = ids, .state = &prompt.state, .want_state = true}).state;
  }

  void continue_prompt(const Prompt& prompt) {
    for (std::int64_t i = 0; i < options_.number; ++i) {
      out_.append(base::concat(">", prompt.name, "_", i + 1, "\n"));
      BaseDrawer drawer(options_, prompt.index, i);
      stepper_.begin(prompt.state);
      write_bases(prompt, drawer);
      ++counts_.sequences;
    }
  }

  void write_bases(const Prompt& prompt, BaseDrawer& drawer) {
    std::string line;
    std::uint8_t token = prompt.last.empty() ? 0 : prompt.last.front();
    for (std::int64_t i = 0; i < options_.length; ++i) {
      const int base = prompt.last.empty() && i == 0 ? drawer.evenly() : drawer.draw(logits_after(token));
      token = alphabet_.bases()[base];
      line += "ACGT"[base];
      ++counts_.bases;
      if (std::ssize(line) < kLine && i + 1 < options_.length) continue;
      out_.append(line + "\n");
      line.clear();
      progress_(counts_.bases);
      base::throw_if_stopped();
    }
  }

  std::array<double, 4> logits_after(std::uint8_t token) {
    const auto all = stepper_.step(token).logits;
    std::array<double, 4> logits{};
    for (int i = 0; i < 4; ++i) {
      logits[i] = all[alphabet_.bases()[i]];
      if (!std::isfinite(logits[i])) throw base::Error("the model's answer is no number; are its weights sound?");
    }
    return logits;
  }

  const GenerateOptions& options_;
  const tokens::Alphabet& alphabet_;
  const model::Backbone backbone_;
  model::Stepper stepper_;
  files::AtomicFile& out_;
  const std::function<void(std::int64_t)>& progress_;
  GenerateCounts counts_;
};

}  // namespace

GenerateCounts generate(const GenerateOptions& options, const model::Model& model, files::AtomicFile& out,
                        const std::function<void(std::int64_t)>& progress) {
  const at::NoGradGuard no_graph;
  return Generator(options, model, out, progress).run();
}

}  // namespace dnamamba::engine
