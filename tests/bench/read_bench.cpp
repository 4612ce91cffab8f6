// How fast sequences are read: `./do bench read FILE...` beside `samtools view -c`, which decodes no bases, for
// alignments.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include "core/io/sequence_reader.h"

namespace {

using dnamamba::io::SequenceFormat;

constexpr int kRounds = 5;

struct Cost {
  double seconds = 1e300, processor = 1e300;  // the least of all rounds; user and system time of all threads

  void add(const Cost& other) {
    seconds = std::min(seconds, other.seconds);
    processor = std::min(processor, other.processor);
  }
};

double processor_time(int who) {
  rusage usage{};
  getrusage(who, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/// `who`: RUSAGE_SELF or RUSAGE_CHILDREN.
template <typename Work>
Cost cost_of(int who, Work&& work) {
  const auto start = std::chrono::steady_clock::now();
  const double processor = processor_time(who);
  work();
  return {std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(),
          processor_time(who) - processor};
}

struct Reading {
  SequenceFormat format{};
  std::int64_t bases = 0, records = 0;
};

Reading read(const std::string& path, int threads) {
  dnamamba::io::SequenceReaderOptions options;
  options.decompression_threads = threads;
  dnamamba::io::SequenceReader reader(path, options);
  Reading reading{.format = reader.format()};
  while (const auto chunk = reader.next()) reading.bases += static_cast<std::int64_t>(chunk->bases.size());
  reading.records = reader.records_read();
  return reading;
}

void run_samtools(const std::string& path, int threads) {
  const std::string command = "samtools view -c -@ " + std::to_string(threads) + " '" + path + "' >/dev/null";
  if (std::system(command.c_str()) != 0) std::printf("%s: samtools failed\n", path.c_str());
}

void measure(const std::string& path, int threads) {
  Reading reading;
  Cost own, samtools;
  bool alignments = false;
  for (int round = 0; round < kRounds; ++round) {  // in turns, so that both meet the same neighbours
    own.add(cost_of(RUSAGE_SELF, [&] { reading = read(path, threads); }));
    alignments = reading.format != SequenceFormat::kFasta && reading.format != SequenceFormat::kFastq;
    if (alignments) samtools.add(cost_of(RUSAGE_CHILDREN, [&] { run_samtools(path, threads); }));
  }
  std::printf("%s\t%d\t%lld\t%lld\t%.3f\t%.3f\t%.1f", path.c_str(), threads, static_cast<long long>(reading.records),
              static_cast<long long>(reading.bases), own.seconds, own.processor,
              static_cast<double>(reading.bases) / own.processor / 1e6);
  if (alignments)
    std::printf("\t%.3f\t%.3f\t%.2f\t%.2f", samtools.seconds, samtools.processor, own.seconds / samtools.seconds,
                own.processor / samtools.processor);
  std::printf("\n");
}

}  // namespace

int main(int count, char** words) try {
  if (count < 2) return std::fprintf(stderr, "usage: ./do bench read FILE...\n"), 2;
  std::printf(
      "#file\tthreads\trecords\tbases\tseconds\tprocessor\tMB/s of processor\tsamtools\tits processor\tratio\tof "
      "processor\n");
  for (int i = 1; i < count; ++i)
    for (const int threads : {0, 2}) measure(words[i], threads);
  return 0;
} catch (const std::exception& error) {
  return std::fprintf(stderr, "%s\n", error.what()), 1;
}
