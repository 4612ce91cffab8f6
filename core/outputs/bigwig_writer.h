// The bigWig format, as Kent, Zweig, Barber, Hinrichs and Karolchik, Bioinformatics 26 (2010), and its supplement
// describe it. libBigWig writes it too, but keeps the zoom levels in memory (14 bytes a base), does not survive a full
// disk, and brings curl.
//
// A file is: header, places of the zoom levels, total summary, tree of record names, values with their index, and each
// zoom level with its index. Values and levels are in blocks, each compressed by zlib.
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/files/atomic_file.h"
#include "core/outputs/bigwig_blocks.h"
#include "core/outputs/track_writer.h"

namespace dnamamba::outputs {

/// Memory does not depend on the length of the records; it grows with their number by what a name takes. Values wait,
/// compressed, in a temporary file: the names stand before them.
class BigWigWriter : public TrackWriter {
 public:
  /// Positions are 32-bit in this format.
  static constexpr std::int64_t kLongestRecord = 0xffff'ffff;

  /// @throws base::IoError as files::AtomicFile.
  BigWigWriter(const std::filesystem::path& path, bool force);

  /// @throws base::Error naming the record if it is too long, its name was there before, or is empty.
  void begin_record(std::string_view name, std::int64_t length) override;
  void append(std::span<const float> values) override;
  void close() override;

 private:
  struct Record {
    std::uint32_t id;  // in the order of the input
    std::uint32_t length;
  };
  // Bases [start, end) of a record, those of them that have a value summed up.
  struct Summary {
    std::uint32_t record = 0;
    std::uint32_t start = 0;
    std::uint32_t end = 0;
    std::int64_t count = 0;
    double least = 0;
    double most = 0;
    double sum = 0;
    double sum_of_squares = 0;
  };
  struct Level {
    Summary open;               // its last one, which may grow
    std::vector<Summary> full;  // of the next block
    BigWigBlocks blocks;
  };
  static constexpr std::int64_t kFirstReduction = 32;  // bases that a summary of the first level stands for
  static constexpr std::int64_t kReductionStep = 4;    // from one level to the next
  static constexpr std::size_t kLevels = 10;           // the last: 8 million bases

  static std::int64_t reduction(std::size_t level);
  static void merge(Summary& into, const Summary& more);
  void end_run();
  void end_record();
  void add_to_level(std::size_t level, const Summary& summary);
  void end_summary(std::size_t level);
  void write_summaries(Level& level);
  std::size_t useful_levels() const;
  void write_names();

  std::string name_;  // of the file, for errors
  files::AtomicFile file_;
  std::map<std::string, Record, std::less<>> records_;
  std::int64_t longest_ = 0;
  std::uint32_t record_ = 0;   // the open one
  std::int64_t length_ = 0;    // of it
  std::int64_t position_ = 0;  // bases of it so far
  std::vector<float> run_;     // values without a gap, before position_
  BigWigBlocks values_;
  std::array<Level, kLevels> levels_;
  Summary total_;
};

}  // namespace dnamamba::outputs
