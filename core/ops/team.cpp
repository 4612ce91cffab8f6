#include "core/ops/team.h"

#include <omp.h>

#include <thread>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace dnamamba::ops {
namespace {

constexpr int kSpins = 4096;  // some 100 us: longer than any wait of a team whose threads all run

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
    return;
  }
  for (int i = 0; round_.load(std::memory_order_acquire) == round; ++i) {
    if (i < kSpins) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }
}

void run_team(int threads, TeamBarrier& barrier, const std::function<void(const TeamMember&)>& body) {
  if (threads <= 1 || omp_in_parallel() != 0) return body({0, 1, &barrier});
#pragma omp parallel num_threads(threads)
  body({omp_get_thread_num(), omp_get_num_threads(), &barrier});
}

}  // namespace dnamamba::ops
