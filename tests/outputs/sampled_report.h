// Reports of made-up records, as large and as odd as a test asks.
#pragma once
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "core/outputs/embedding_report.h"

namespace dnamamba::test {

struct SampledReport {
  std::int64_t records = 3;
  std::int64_t windows = 4;  ///< of each record
  std::int64_t length = 1000;
  std::vector<std::string> names = {};  ///< of the first records; the others are called contig_I
  bool with_n = true;
  double seconds = 40;  ///< of the run
};

/// Windows of a few kinds, each with its own place on the map and GC.
inline void write_report(const std::string& path, const SampledReport& sampled) {
  outputs::EmbeddingReport report(path, /*force=*/true);
  outputs::WindowMap map{.points = {}, .step = 1, .shares = {0.412, 0.173}};
  std::mt19937 random(7);
  std::normal_distribution<double> normal;
  for (std::int64_t record = 0; record < sampled.records; ++record) {
    const std::int64_t kind = record % 5;
    const std::string name = record < static_cast<std::int64_t>(sampled.names.size())
                                 ? sampled.names[record]
                                 : "contig_" + std::to_string(record + 1);
    tokens::BaseCounts all;
    for (std::int64_t i = 0; i < sampled.windows; ++i) {
      const std::int64_t unknown = sampled.with_n && (i + record) % 9 == 0 ? sampled.length / 10 : 0;
      const std::int64_t known = sampled.length - unknown;
      const double gc = std::clamp(0.3 + 0.08 * static_cast<double>(kind) + 0.03 * normal(random), 0.0, 1.0);
      const tokens::BaseCounts counts{.known = known, .gc = static_cast<std::int64_t>(gc * static_cast<double>(known))};
      all += counts;
      report.add_window(sampled.length, counts, true);
      const double angle = 1.3 * static_cast<double>(kind);
      map.points.push_back({.record = record,
                            .start = i * sampled.length,
                            .end = (i + 1) * sampled.length,
                            .counts = counts,
                            .x = 3 * std::cos(angle) + 8 * (gc - 0.4) + 0.6 * normal(random),
                            .y = 2 * std::sin(angle) + 0.5 * normal(random)});
    }
    report.add_record(name, sampled.windows * sampled.length, all, sampled.windows);
  }
  outputs::ThroughputTrace throughput;
  for (int i = 1; i <= 200 && sampled.seconds > 0; ++i)
    throughput.add(sampled.seconds * i / 200, sampled.records * sampled.windows * sampled.length * i / 200);
  report.write({.title = "Embeddings of made_up.fa.gz",
                .program = "dnamamba 0.1.0",
                .command = "dnamamba embed made_up.fa.gz -o made_up.npz --report made_up.html",
                .inputs = {"made_up.fa.gz"},
                .settings = {{"Model", "dnamamba-tiny: Mamba-1, 4 layers of 128"}, {"Made", "2026-11-22 14:05 UTC"}}},
               throughput, map);
  report.commit();
}

}  // namespace dnamamba::test
