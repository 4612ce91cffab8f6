// How fast sequences are read: `./do bench read FILE...` beside `samtools view -c`, which decodes no bases, for
// alignments.
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

template <typename Work>
double seconds(Work&& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
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
  double best = 1e300, peer = 1e300;
  for (int round = 0; round < kRounds; ++round) {  // in turns, so that both meet the same neighbours
    best = std::min(best, seconds([&] { reading = read(path, threads); }));
    const bool alignments = reading.format != SequenceFormat::kFasta && reading.format != SequenceFormat::kFastq;
    if (alignments) peer = std::min(peer, seconds([&] { run_samtools(path, threads); }));
  }
  std::printf("%s\t%d\t%lld\t%lld\t%.3f\t%.1f", path.c_str(), threads, static_cast<long long>(reading.records),
              static_cast<long long>(reading.bases), best, static_cast<double>(reading.bases) / best / 1e6);
  if (peer < 1e300) std::printf("\t%.3f\t%.2f", peer, best / peer);
  std::printf("\n");
}

}  // namespace

int main(int count, char** words) try {
  if (count < 2) return std::fprintf(stderr, "usage: ./do bench read FILE...\n"), 2;
  std::printf("#file\tthreads\trecords\tbases\tseconds\tMB/s of bases\tsamtools view -c\tratio\n");
  for (int i = 1; i < count; ++i)
    for (const int threads : {0, 2}) measure(words[i], threads);
  return 0;
} catch (const std::exception& error) {
  return std::fprintf(stderr, "%s\n", error.what()), 1;
}
