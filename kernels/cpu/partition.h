// Cuts of the work that depend on sizes alone, never on the number of threads: sums come out the same on any machine of
// a kind.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace dnamamba::kernels::cpu {

inline std::int64_t ceil_div(std::int64_t count, std::int64_t size) {
  return (count + size - 1) / size;
}
inline std::int64_t round_up(std::int64_t count, std::int64_t multiple) {
  return ceil_div(count, multiple) * multiple;
}

/// The bytes of a vector register of the widest instruction set, and the alignment of all buffers.
inline constexpr std::int64_t kBlockBytes = 64;

/// [0, count) in `parts` nearly equal parts.
struct Partition {
  std::int64_t count = 0;
  std::int64_t parts = 1;

  /// Parts of at least `smallest` each, at most `most` of them, at least one.
  static Partition of(std::int64_t count, std::int64_t smallest, std::int64_t most) {
    return {count, std::clamp<std::int64_t>(count / smallest, 1, most)};
  }
  /// First item of part i; i = parts gives count.
  [[nodiscard]] std::int64_t begin(std::int64_t i) const {
    const std::int64_t rest = count % parts;
    return count / parts * i + std::min(i, rest);
  }
};

/// Deals out pieces of a workspace, each aligned to kBlockBytes; with null, only counts the bytes.
class Workspace {
 public:
  explicit Workspace(void* memory) : memory_(static_cast<std::byte*>(memory)) {}

  template <typename T>
  T* take(std::int64_t count) {
    std::byte* const piece = memory_ == nullptr ? nullptr : memory_ + bytes_;
    bytes_ += round_up(count * static_cast<std::int64_t>(sizeof(T)), kBlockBytes);
    return reinterpret_cast<T*>(piece);
  }
  [[nodiscard]] std::int64_t bytes() const { return bytes_; }

 private:
  std::byte* memory_;
  std::int64_t bytes_ = 0;
};

}  // namespace dnamamba::kernels::cpu
