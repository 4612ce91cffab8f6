#include "core/train/data_options.h"

#include <limits>

namespace dnamamba::train {

std::string_view name_of(SampleBy by) {
  return by == SampleBy::kLength ? "length" : by == SampleBy::kFile ? "file" : "sequence";
}

std::int64_t context_at(const DataOptions& options, std::int64_t longest, std::int64_t steps, std::int64_t step) {
  const std::int64_t last = options.context == 0 ? longest : options.context;
  const auto warmup = static_cast<std::int64_t>(options.context_warmup * static_cast<double>(steps));
  if (options.context_start == 0 || step >= warmup) return options.context;
  std::vector<std::int64_t> lengths;
  for (std::int64_t length = options.context_start; length < last; length *= 2) {
    lengths.push_back(length);
    if (length > std::numeric_limits<std::int64_t>::max() / 2) break;
  }
  if (lengths.empty()) return options.context;
  return lengths[static_cast<std::int64_t>(lengths.size()) * step / warmup];
}

}  // namespace dnamamba::train
