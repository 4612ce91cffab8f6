// Tables as text: plain or BGZF, to a file or to standard output.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "core/files/atomic_file.h"
#include "core/files/bgzf_writer.h"

namespace dnamamba::outputs {

enum class Compression { kNone, kBgzf };

/// One thread at a time.
class TextOutput {
 public:
  /// "-" is standard output. @throws base::IoError as files::AtomicFile.
  TextOutput(const std::filesystem::path& path, bool force, Compression compression);

  /// @throws base::IoError, e.g. if the disk is full.
  void append(std::string_view text);
  /// Makes the file whole and gives it its name. @throws base::IoError.
  void commit();

 private:
  files::AtomicFile file_;
  std::optional<files::BgzfWriter> bgzf_;  // into file_, if compressed
};

/// Adds the fewest digits that give the same number when read back; "nan" and "inf" as such.
void put_number(float value, std::string& line);

}  // namespace dnamamba::outputs
