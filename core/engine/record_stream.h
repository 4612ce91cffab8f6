// Records out of files as token spools, read and tokenised by a thread of their own while others compute.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/files/spool.h"
#include "core/io/sequence_reader.h"
#include "core/tokens/tokenizer.h"

namespace dnamamba::engine {

/// One whole record: its tokens can be read from either end, whatever the length, in constant memory.
struct TokenizedRecord {
  std::int64_t index = 0;  ///< over all inputs
  std::string file;
  std::string name;
  std::int64_t length = 0;            ///< tokens
  files::Spool tokens{kSpoolMemory};  ///< [length] uint8

  static constexpr std::int64_t kSpoolMemory = 4 << 20;  ///< bytes; longer records wait in a temporary file
};

/// How far the reader is, for progress.
struct ReadingProgress {
  std::int64_t tokens = 0;    ///< read so far
  double fraction = 0;        ///< of the bytes of all inputs; 0 where it is not known
  std::int64_t invalid = 0;   ///< letters that were taken as N or dropped
  std::int64_t left_out = 0;  ///< alignments that the filter left out
};

/// Reads the inputs one after the other. Records come in order; short ones many at a time, so that threads rarely meet.
class RecordStream {
 public:
  RecordStream(std::vector<std::string> inputs, tokens::Tokenizer tokenizer, io::SequenceReaderOptions reading);
  ~RecordStream();  ///< stops the reader

  /// The next record, or nullptr after the last. @throws what the reader threw.
  std::unique_ptr<TokenizedRecord> next();

  [[nodiscard]] ReadingProgress progress() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dnamamba::engine
