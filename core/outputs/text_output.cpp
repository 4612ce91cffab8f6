#include "core/outputs/text_output.h"

#include <charconv>
#include <cmath>

namespace dnamamba::outputs {

TextOutput::TextOutput(const std::filesystem::path& path, bool force, Compression compression)
    : file_(path == "-" ? files::AtomicFile::standard_output() : files::AtomicFile(path, force)) {
  if (compression == Compression::kBgzf) bgzf_.emplace(file_);
}

void TextOutput::append(std::string_view text) {
  if (bgzf_) {
    bgzf_->append(text);
  } else {
    file_.append(text);
  }
}

void TextOutput::commit() {
  if (bgzf_) bgzf_->finish();
  file_.commit();
}

void put_number(float value, std::string& line) {
  if (std::isnan(value)) {
    line += "nan";  // to_chars may write a sign
    return;
  }
  char digits[32];
  line.append(digits, std::to_chars(digits, digits + sizeof(digits), value).ptr);
}

}  // namespace dnamamba::outputs
