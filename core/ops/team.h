// Threads that work side by side and wait for one another within a call: for work so short that a parallel region for
// each part of it would cost more than the parts.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>

namespace dnamamba::ops {

/// Where the threads of a team wait until all have come. Spins: what is waited for takes microseconds. A thread that
/// has waited longer lets others run.
class TeamBarrier {
 public:
  /// `threads`: of the team, the same in every call of a round.
  void wait(int threads) noexcept;

 private:
  // On lines of their own: those who wait read one while those who come write the other.
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<std::uint32_t> round_{0};
};

/// One thread's place in its team.
struct TeamMember {
  int thread = 0;
  int threads = 1;
  TeamBarrier* barrier = nullptr;

  void wait() const noexcept { barrier->wait(threads); }
  /// This thread's part of [0, count): [first, last). Parts lie in the order of the threads.
  [[nodiscard]] std::pair<std::int64_t, std::int64_t> part(std::int64_t count) const {
    return {count * thread / threads, count * (thread + 1) / threads};
  }
};

/// Calls body(member) once on each of `threads` of LibTorch's threads, all at the same time, or on fewer where it has
/// no more to give; within a parallel region on the caller's alone. Returns when all have ended. `body` must not throw.
void run_team(int threads, TeamBarrier& barrier, const std::function<void(const TeamMember&)>& body);

}  // namespace dnamamba::ops
