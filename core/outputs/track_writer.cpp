#include "core/outputs/track_writer.h"

#include <algorithm>
#include <cctype>
#include <iterator>
#include <string>

#include "core/base/error.h"
#include "core/outputs/bigwig_writer.h"
#include "core/outputs/text_tracks.h"

namespace dnamamba::outputs {
namespace {

using base::concat;

struct Suffix {
  std::string_view suffix;  // in lower case
  TrackFormat format;
};

constexpr Suffix kSuffixes[] = {
    {".bw", TrackFormat::kBigWig},         {".bigwig", TrackFormat::kBigWig},
    {".bedgraph", TrackFormat::kBedGraph}, {".bedgraph.gz", TrackFormat::kBedGraphGz},
    {".tsv", TrackFormat::kTsv},           {".tsv.gz", TrackFormat::kTsvGz},
};

Compression compression_of(TrackFormat format) {
  const bool compressed = format == TrackFormat::kBedGraphGz || format == TrackFormat::kTsvGz;
  return compressed ? Compression::kBgzf : Compression::kNone;
}

}  // namespace

TrackFormat track_format_of(const std::filesystem::path& path) {
  if (path == "-") return TrackFormat::kTsv;
  std::string name = path.filename().string();
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  const auto* known = std::find_if(std::begin(kSuffixes), std::end(kSuffixes),
                                   [&](const Suffix& one) { return name.ends_with(one.suffix); });
  if (known == std::end(kSuffixes))
    throw base::UsageError(concat(path.string(), ": suffix '", path.extension().string(),
                                  "' names no format for one number a base; use .bw, .bedGraph, .bedGraph.gz, .tsv or "
                                  ".tsv.gz"));
  return known->format;
}

std::unique_ptr<TrackWriter> open_track_writer(const std::filesystem::path& path, const TrackWriterOptions& options) {
  const TrackFormat format = track_format_of(path);
  if (format == TrackFormat::kBigWig) return std::make_unique<BigWigWriter>(path, options.force);
  if (has_each_base(format)) return std::make_unique<BedGraphWriter>(path, options.force, compression_of(format));
  return std::make_unique<WindowMeans>(path, compression_of(format), options);
}

}  // namespace dnamamba::outputs
