#include "core/base/bounded_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

namespace dnamamba::base {
namespace {

using namespace std::chrono_literals;

TEST(BoundedQueue, GivesItemsInTheOrderTheyCame) {
  BoundedQueue<int> queue(3);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(queue.push(i));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(queue.pop(), i);
}

TEST(BoundedQueue, HoldsTheProducerBackWhileItIsFull) {
  BoundedQueue<int> queue(2);
  std::atomic<int> pushed = 0;
  std::thread producer([&] {
    for (int i = 0; i < 10; ++i)
      if (queue.push(i)) ++pushed;
  });
  std::this_thread::sleep_for(20ms);
  EXPECT_LE(pushed, 2);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(queue.pop(), i);
  producer.join();
  EXPECT_EQ(pushed, 10);
}

TEST(BoundedQueue, DrainsWhatIsLeftAfterCloseThenEnds) {
  BoundedQueue<int> queue(4);
  ASSERT_TRUE(queue.push(1));
  ASSERT_TRUE(queue.push(2));
  queue.close();
  EXPECT_FALSE(queue.push(3));
  EXPECT_EQ(queue.pop(), 1);
  EXPECT_EQ(queue.pop(), 2);
  EXPECT_EQ(queue.pop(), std::nullopt);
  EXPECT_EQ(queue.pop(), std::nullopt);
}

TEST(BoundedQueue, CloseWakesThoseWhoWaitOnEitherSide) {
  BoundedQueue<int> full(1), empty(1);
  ASSERT_TRUE(full.push(1));
  bool taken = true;
  std::optional<int> got = 1;
  std::thread producer([&] { taken = full.push(2); });
  std::thread consumer([&] { got = empty.pop(); });
  std::this_thread::sleep_for(10ms);
  full.close();
  empty.close();
  producer.join();
  consumer.join();
  EXPECT_FALSE(taken);
  EXPECT_EQ(got, std::nullopt);
}

TEST(BoundedQueue, LosesAndDoublesNothingBetweenManyThreads) {
  constexpr int kThreads = 4, kItems = 5'000;
  BoundedQueue<int> queue(7);
  std::vector<std::atomic<int>> seen(kThreads * kItems);
  std::vector<std::thread> producers, consumers;
  for (int t = 0; t < kThreads; ++t) {
    producers.emplace_back([&, t] {
      for (int i = 0; i < kItems; ++i) EXPECT_TRUE(queue.push(t * kItems + i));
    });
    consumers.emplace_back([&] {
      while (const std::optional<int> item = queue.pop()) ++seen[*item];
    });
  }
  for (std::thread& producer : producers) producer.join();
  queue.close();
  for (std::thread& consumer : consumers) consumer.join();
  for (const std::atomic<int>& times : seen) ASSERT_EQ(times, 1);
}

TEST(BoundedQueue, CarriesThingsThatCanOnlyBeMoved) {
  BoundedQueue<std::unique_ptr<int>> queue(1);
  ASSERT_TRUE(queue.push(std::make_unique<int>(5)));
  EXPECT_EQ(**queue.pop(), 5);
}

}  // namespace
}  // namespace dnamamba::base
