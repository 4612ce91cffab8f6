// Writes a token store: sequences of any length, in constant memory, compressed by several threads.
#pragma once
#include <cstdint>
#include <deque>
#include <future>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/files/atomic_file.h"
#include "core/tokens/alphabet.h"
#include "core/tokens/token_store_format.h"

namespace dnamamba::tokens {

/// The whole blocks at the begin of a store that was not finished.
struct StoredBlocks {
  std::vector<BlockHeader> headers;
  std::int64_t bytes = 0;  ///< to here the file is good; 0: not even the head is

  /// Files that were packed to their end.
  [[nodiscard]] std::int64_t sources() const;
};

/// Reads and checks every block from the front, to the first that is cut short or damaged, or the index.
/// @throws base::IoError if the file can't be read.
StoredBlocks read_stored_blocks(const std::string& path);

/// One thread at a time; it starts others. The bytes depend on what was put in alone, neither on the number of threads
/// nor on how sequences were cut into pieces.
///
///     writer.append(ids, lower_case); … writer.end_record("chr1"); … writer.end_source("genome.fa"); writer.finish();
class TokenStoreWriter {
 public:
  /// `file` outlives this. If it is not empty it holds `stored`: the same is put in again and compared with it, apart
  /// from sources that are skipped.
  TokenStoreWriter(files::AtomicFile& file, const Alphabet& alphabet, std::int64_t threads, StoredBlocks stored = {});
  ~TokenStoreWriter();
  TokenStoreWriter(const TokenStoreWriter&) = delete;
  TokenStoreWriter& operator=(const TokenStoreWriter&) = delete;

  /// More of the present record. `lower_case`: as many, 1 where soft-masked.
  /// @throws base::IoError if the file can't be written, or holds something else in its place.
  void append(std::span<const std::uint8_t> ids, std::span<const std::uint8_t> lower_case);
  void end_record(std::string_view name);
  void end_source(const std::string& name);

  /// In the place of a whole source that the file holds; one of stored.sources().
  void skip_source();

  /// Writes what is left, the index and the end; the caller commits the file.
  void finish();

 private:
  using Compressed = std::vector<std::vector<std::byte>>;

  void end_frame();
  void end_records();
  void put(RawBlock block);
  void start_batch();
  void write_oldest();

  files::AtomicFile& file_;
  const std::int64_t threads_;
  const std::vector<BlockHeader> stored_;
  std::size_t compared_ = 0;                    // of the stored blocks
  std::vector<std::byte> headers_;              // of all blocks so far
  std::vector<std::uint8_t> ids_, lower_case_;  // of the present frame
  std::int64_t length_ = 0;                     // of the present record, tokens
  RawBlock records_{BlockKind::kRecords};
  std::uint32_t source_records_ = 0;
  std::vector<RawBlock> batch_;
  std::deque<std::future<Compressed>> running_;  // in the order of the file; destroyed futures wait for their threads
};

}  // namespace dnamamba::tokens
