// A token store (`.dnaz`): tokenised sequences of many files in one, read from anywhere.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/files/descriptor.h"
#include "core/tokens/alphabet.h"
#include "core/tokens/token_store_format.h"

namespace dnamamba::tokens {

/// Whether the file begins as a token store does; never by its name. False for what can't be opened, for pipes and for
/// "-". @throws base::IoError if it is one that is damaged or of a later version.
bool is_token_store(const std::string& path);

/// What is read is checked: the index and the lists of records at opening, each frame of tokens when it is decoded.
/// Memory: names, 16 bytes a record, 32 bytes a frame of kFrameTokens, and the frames that were decoded last. Any
/// number of threads may read.
class TokenStore {
 public:
  /// A file that was packed.
  struct Source {
    std::string name;                 ///< as it was given
    std::int64_t first_sequence = 0;  ///< of the store's
    std::int64_t sequences = 0;
  };

  /// `cached_frames` decoded frames are kept, at least 1.
  /// @throws base::IoError naming the file and the byte if it is no token store, cut short, damaged or of a later
  /// version.
  explicit TokenStore(std::string path, std::int64_t cached_frames = 64);
  ~TokenStore();
  TokenStore(const TokenStore&) = delete;
  TokenStore& operator=(const TokenStore&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const Alphabet& alphabet() const { return *alphabet_; }
  [[nodiscard]] const std::vector<Source>& sources() const { return sources_; }
  [[nodiscard]] std::int64_t sequences() const { return static_cast<std::int64_t>(begins_.size()) - 1; }
  [[nodiscard]] std::int64_t tokens() const { return begins_.back(); }
  [[nodiscard]] std::string_view name(std::int64_t sequence) const;
  [[nodiscard]] std::int64_t length(std::int64_t sequence) const { return begins_[sequence + 1] - begins_[sequence]; }

  /// Fills `tokens` from `position` of the sequence on, and `soft_masked`, unless that is empty, with 1 where the
  /// letter was lower case and 0 elsewhere. @throws std::invalid_argument outside of the sequence; base::IoError naming
  /// the file and the byte if a frame is damaged.
  void read(std::int64_t sequence, std::int64_t position, std::span<std::uint8_t> tokens,
            std::span<std::uint8_t> soft_masked = {}) const;

 private:
  struct Frame {
    std::int64_t begin = 0;   // its first token, of the store's
    std::int64_t offset = 0;  // of its header, bytes
    BlockHeader header;
  };
  struct DecodedFrame;
  struct CacheSlot {
    std::int64_t frame = -1;
    std::shared_ptr<const DecodedFrame> content;
  };

  [[noreturn]] void fail(std::int64_t offset, const std::string& what) const;
  std::vector<std::byte> block_at(std::int64_t offset, const BlockHeader& header) const;
  std::vector<BlockHeader> read_index() const;
  void take_records(std::int64_t offset, const BlockHeader& header);
  void take_source(std::int64_t offset, const BlockHeader& header, std::int64_t frames_end);
  std::shared_ptr<const DecodedFrame> frame(std::int64_t index) const;
  std::shared_ptr<const DecodedFrame> decode(const Frame& frame) const;

  std::string path_;
  files::Descriptor file_;
  std::unique_ptr<const Alphabet> alphabet_;
  std::vector<Source> sources_;
  std::vector<std::int64_t> begins_{0};   // [sequences + 1] first token of each, of the store's
  std::string names_;                     // end to end
  std::vector<std::int64_t> name_ends_;   // [sequences]
  std::vector<Frame> frames_;             // by their begin
  mutable std::mutex mutex_;              // of the cache
  mutable std::vector<CacheSlot> cache_;  // frame i has slot i % size
};

}  // namespace dnamamba::tokens
