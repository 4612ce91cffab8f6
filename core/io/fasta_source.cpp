#include "core/io/fasta_source.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "core/base/error.h"

namespace dnamamba::io {
namespace {

constexpr std::size_t kWholeLine = std::numeric_limits<std::size_t>::max() / 2;
constexpr std::string_view kBlanks = " \t";
constexpr std::size_t kMostReserved = std::size_t{16} << 20;  // bases; longer chunks grow as they are read

/// From '!' to '~'.
bool is_printable(char byte) {
  return static_cast<unsigned char>(byte - 0x21) <= 0x7e - 0x21;
}

bool is_control(char byte) {
  return static_cast<unsigned char>(byte) < 0x20 || byte == 0x7f;
}

/// Where the first byte is that is blank, a control byte or not ASCII; npos if there is none.
std::size_t find_unprintable(std::string_view piece) {
  unsigned char bad = 0;
  for (const char byte : piece) bad |= static_cast<unsigned char>(!is_printable(byte));  // no exit: vectorises
  if (bad == 0) return std::string_view::npos;
  return static_cast<std::size_t>(std::find_if_not(piece.begin(), piece.end(), is_printable) - piece.begin());
}

std::string hex(char byte) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  const unsigned char value = static_cast<unsigned char>(byte);
  return std::string("0x") + kDigits[value >> 4] + kDigits[value & 15];
}

}  // namespace

FastaSource::FastaSource(LineStream lines, SequenceFormat format, std::int64_t chunk_length)
    : lines_(std::move(lines)), format_(format), chunk_length_(static_cast<std::size_t>(chunk_length)) {}

std::optional<SequenceChunk> FastaSource::next() {
  if (!in_record_ && !start_record()) return std::nullopt;
  SequenceChunk chunk;
  chunk.name = name_;
  if (length_ == 0) chunk.description = std::move(description_);
  chunk.offset = length_;
  if (length_ > 0) chunk.bases.reserve(std::min(chunk_length_, kMostReserved));  // a record that goes on is long
  chunk.ends_record = take_bases(chunk.bases);
  length_ += static_cast<std::int64_t>(chunk.bases.size());
  if (chunk.ends_record) {
    if (format_ == SequenceFormat::kFastq) check_qualities();
    in_record_ = false;
  }
  return chunk;
}

ReadProgress FastaSource::progress() const {
  return {lines_.source().compressed_offset(), lines_.source().compressed_size()};
}

/// False at the end of the text.
bool FastaSource::start_record() {
  LinePiece piece = lines_.piece(1);
  while (piece.text.empty() && piece.ends_line) {
    lines_.end_line();
    piece = lines_.piece(1);
  }
  if (piece.text.empty()) return false;
  const char marker = format_ == SequenceFormat::kFasta ? '>' : '@';
  if (piece.text[0] != marker)
    fail(base::concat("is followed by a line that does not begin with '", marker,
                      "': it has more qualities than bases, or the file is damaged: fetch or write it again"));
  lines_.skip(1);
  ++record_number_;
  length_ = 0;
  name_.clear();
  read_header_line();
  split_header();
  in_record_ = true;
  return true;
}

void FastaSource::read_header_line() {
  header_.clear();
  if (!lines_.take_rest_of_line(header_, kMostHeaderBytes))
    fail(base::concat("has a header line of more than ", kMostHeaderBytes,
                      " bytes: shorten it, or check that lines end in \\n"));
}

void FastaSource::split_header() {
  const auto is_blank = [](char byte) { return byte == ' ' || byte == '\t'; };
  const auto name_end = std::find_if(header_.begin(), header_.end(), is_blank);
  name_.assign(header_.begin(), name_end);
  description_.assign(std::find_if_not(name_end, header_.end(), is_blank), header_.end());
  if (name_.empty()) fail("has a header without a name: write one directly after the marker");
  const auto control = std::find_if(name_.begin(), name_.end(), is_control);
  if (control != name_.end())
    fail(base::concat("has the control byte ", hex(*control),
                      " in its name: remove it, or check that lines end in \\n"));
  if (description_.find('\r') != std::string::npos)
    fail("has a carriage return inside its header: make the lines end in \\n");
  // Ends the header's line only now, so that messages name it.
  if (lines_.piece(1).ends_line) lines_.end_line();
}

/// True if the sequence of the record ends here: at the text's end or before a line that begins with its marker.
bool FastaSource::at_end_of_sequence() {
  const std::string_view head = lines_.head(1);
  if (head.empty()) return true;
  if (!lines_.at_line_start()) return false;
  if (format_ == SequenceFormat::kFasta) return head[0] == '>';
  if (head[0] == '@') fail("has no '+' line between its bases and the next record: fetch or write the file again");
  return head[0] == '+';
}

/// Appends up to chunk_length_ bases; true if the record has no more of them.
bool FastaSource::take_bases(std::string& bases) {
  while (!at_end_of_sequence()) {
    if (format_ == SequenceFormat::kFasta) skip_blanks();
    const std::size_t room = chunk_length_ - bases.size();
    const LinePiece piece = lines_.piece(room);
    if (!piece.text.empty() && room == 0) return false;
    const std::string_view taken = piece.text.substr(0, room);
    const std::size_t letters = count_letters(taken, length_ + static_cast<std::int64_t>(bases.size()));
    bases.append(taken.substr(0, letters));
    const bool took_all = letters == piece.text.size();
    lines_.skip(letters);
    if (took_all && piece.ends_line) lines_.end_line();
  }
  return true;
}

/// Blanks among the letters of FASTA are layout, as they are to `samtools faidx`.
void FastaSource::skip_blanks() {
  for (std::string_view head = lines_.head(1); !head.empty(); head = lines_.head(1)) {
    const std::size_t blanks = std::min(head.find_first_not_of(kBlanks), head.size());
    if (blanks == 0) return;
    lines_.skip(blanks);
  }
}

/// How many letters come before the first blank of FASTA, or the end.
std::size_t FastaSource::count_letters(std::string_view piece, std::int64_t position) const {
  const std::size_t bad = find_unprintable(piece);
  if (bad == std::string_view::npos) return piece.size();
  if (format_ == SequenceFormat::kFasta && kBlanks.find(piece[bad]) != std::string_view::npos) return bad;
  fail(base::concat("has the byte ", hex(piece[bad]), " at position ", position + static_cast<std::int64_t>(bad),
                    " (0-based): a sequence is letters without blanks: remove it, or fetch the file again"));
}

void FastaSource::check_qualities() {
  if (lines_.head(1).empty()) fail("is cut short before its '+' line: fetch or write the file again");
  skip_separator_line();
  const std::int64_t count = count_qualities();
  if (count < length_)
    fail(base::concat("is cut short: ", length_, " bases but ", count, " qualities: fetch or write the file again"));
  if (lines_.at_line_start()) return;
  const LinePiece rest = lines_.piece(1);
  if (!rest.text.empty())
    fail(base::concat("has more qualities than its ", length_, " bases: fetch or write the file again"));
  if (rest.ends_line) lines_.end_line();
}

void FastaSource::skip_separator_line() {
  LinePiece piece;
  do {
    piece = lines_.piece(kWholeLine);
    lines_.skip(piece.text.size());
  } while (!piece.ends_line && !piece.text.empty());
  if (piece.ends_line) lines_.end_line();
}

/// Takes qualities until they are as many as the bases, or the text ends; how many they were.
std::int64_t FastaSource::count_qualities() {
  std::int64_t count = 0;
  while (count < length_) {
    const LinePiece piece = lines_.piece(static_cast<std::size_t>(length_ - count));
    if (piece.text.empty() && !piece.ends_line) break;
    const std::string_view taken = piece.text.substr(0, static_cast<std::size_t>(length_ - count));
    check_quality(taken);
    count += static_cast<std::int64_t>(taken.size());
    lines_.skip(taken.size());
    if (count < length_ && piece.ends_line) lines_.end_line();
  }
  return count;
}

void FastaSource::check_quality(std::string_view piece) const {
  const std::size_t bad = find_unprintable(piece);
  if (bad != std::string_view::npos)
    fail(base::concat("has the byte ", hex(piece[bad]), " among its qualities: fetch or write the file again"));
}

void FastaSource::fail(std::string_view what) const {
  std::string record = base::concat("record ", record_number_);
  if (!name_.empty()) record += " '" + base::shown_name(name_) + "'";
  throw base::IoError(base::concat(lines_.source().name(), ": ", record, " (line ", lines_.line_number(), ") ", what));
}

}  // namespace dnamamba::io
