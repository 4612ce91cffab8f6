// Which source reads an input: told by its content.
#pragma once
#include <memory>
#include <string>

#include "core/io/sequence_reader.h"
#include "core/io/sequence_source.h"

namespace dnamamba::io {

/// @throws IoError if `path` can't be read, has no records or is in no format that is read here.
std::unique_ptr<SequenceSource> open_source(const std::string& path, const SequenceReaderOptions& options);

}  // namespace dnamamba::io
