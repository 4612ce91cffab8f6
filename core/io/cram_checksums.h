// The checksums of CRAM, compared before a decoder sees what they are of.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "core/files/raw_input.h"

namespace dnamamba::io {

/// Walks the structure of a CRAM file (CRAM 3.1 specification, hts-specs: file definition, containers, blocks) from its
/// first byte and gives what it walks over to `send`, which says false once nobody wants more. The last bytes of a
/// container's header and of a block are given only if its CRC32 is right: htslib 1.16, which leaves blocks that are
/// stored uncompressed unchecked, never has damage whole. CRAM 2.1 has no checksums: of it the structure alone is
/// checked. Memory is constant.
///
/// With `containers`, their offsets in the file in rising order, only these follow the header, then the end marker;
/// `input` must be a regular file.
/// @throws base::IoError naming the file and the byte if a checksum is wrong, a length can't be, the file is cut
///         anywhere or goes on behind its end marker, or it is of another version of CRAM.
void copy_checked_cram(files::RawInput& input, const std::function<bool(std::string_view)>& send,
                       const std::optional<std::vector<std::int64_t>>& containers = std::nullopt);

}  // namespace dnamamba::io
