#include "core/ops/team.h"

#include <omp.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace dnamamba::ops {
namespace {

constexpr int kSpins = 500;  // some 20 us: longer than the waits of a team whose threads all run

void pause() noexcept {
#if defined(__SSE2__)
  _mm_pause();
#endif
}

}  // namespace

void TeamBarrier::wait(int threads) noexcept {
  if (threads == 1) return;
  const std::uint32_t round = round_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads) {
    arrived_.store(0, std::memory_order_relaxed);
    round_.store(round + 1, std::memory_order_release);
    round_.notify_all();
    return;
  }
  for (int i = 0; i < kSpins; ++i) {
    if (round_.load(std::memory_order_acquire) != round) return;
    pause();
  }
  // Others have the processors: whoever is waited for may need this one.
  round_.wait(round, std::memory_order_acquire);
}

void run_team(int threads, TeamBarrier& barrier, const std::function<void(const TeamMember&)>& body) {
  if (threads <= 1 || omp_in_parallel() != 0) return body({0, 1, &barrier});
#pragma omp parallel num_threads(threads)
  body({omp_get_thread_num(), omp_get_num_threads(), &barrier});
}

}  // namespace dnamamba::ops
