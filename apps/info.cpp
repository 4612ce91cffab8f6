// dnamamba info: what a sequence file or a model folder holds.
#include <array>
#include <cctype>
#include <filesystem>
#include <functional>
#include <iomanip>
#include <iostream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apps/commands.h"
#include "apps/input_options.h"
#include "apps/progress.h"
#include "apps/read_counts.h"
#include "apps/stored_records.h"
#include "core/base/error.h"
#include "core/base/stop.h"
#include "core/io/sequence_reader.h"
#include "core/tokens/token_store.h"

namespace dnamamba::apps {
namespace {

struct InfoCommand {
  std::vector<std::string> inputs;
  cli::InputOptions input;
  bool records = false;
  bool bases = false;
};

std::optional<InfoCommand> parse_info(const Arguments& arguments) {
  namespace po = cli::po;
  InfoCommand command;
  cli::Description description(
      "info", "[options] FILES|STORES|MODELS...",
      "Says what sequence files and token stores hold, read to the end, so that a damaged one is found; and what a "
      "model folder is.");
  description.positional("inputs", po::value(&command.inputs)->value_name("FILE|MODEL"));
  cli::add_input(description.group("Input"), &command.input);
  description.group("Output").add_options()("records", po::bool_switch(&command.records),
                                            "a line for each record: name, length, GC, N, soft-masked")(
      "bases", po::bool_switch(&command.bases), "the bases themselves, as FASTA: what the other commands get to see");
  description.example("a genome at a glance", "dnamamba info genome.fa.gz");
  description.example("its contigs as a table", "dnamamba info --records genome.fa.gz");
  if (!cli::parse(arguments, description)) return std::nullopt;
  cli::require(!command.records || !command.bases, "--records and --bases contradict each other");
  cli::require(!command.inputs.empty(), "name sequence files, - for standard input, or model folders");
  return command;
}

/// How often each letter came. In four tables: where letters repeat, a count would wait for the one before it.
class BaseCounts {
 public:
  void add(const std::string& bases) {
    const auto* letters = reinterpret_cast<const unsigned char*>(bases.data());
    std::size_t i = 0;
    for (; i + 4 <= bases.size(); i += 4)
      for (std::size_t table = 0; table < 4; ++table) ++tables_[table][letters[i + table]];
    for (; i < bases.size(); ++i) ++tables_[0][letters[i]];
  }
  [[nodiscard]] std::int64_t of(int letter) const {
    std::int64_t sum = 0;
    for (const auto& table : tables_) sum += table[letter];
    return sum;
  }
  [[nodiscard]] std::int64_t of(std::string_view set) const {
    std::int64_t sum = 0;
    for (const char letter : set) sum += of(static_cast<unsigned char>(letter));
    return sum;
  }
  [[nodiscard]] std::int64_t between(int first, int last) const {
    std::int64_t sum = 0;
    for (int letter = first; letter <= last; ++letter) sum += of(letter);
    return sum;
  }
  [[nodiscard]] std::int64_t total() const { return between(0, 255); }
  [[nodiscard]] std::int64_t masked() const { return between('a', 'z'); }
  [[nodiscard]] double gc() const {
    const std::int64_t known = of("ACGTUacgtu");
    return known == 0 ? 0.0 : 100.0 * static_cast<double>(of("GCgc")) / static_cast<double>(known);
  }

 private:
  std::array<std::array<std::int64_t, 256>, 4> tables_{};
};

using NextChunk = std::function<std::optional<io::SequenceChunk>()>;

void write_fasta(const NextChunk& next) {
  while (const auto chunk = next()) {
    if (chunk->offset == 0)
      std::cout << '>' << chunk->name << (chunk->description.empty() ? "" : " ") << chunk->description << '\n';
    std::cout << chunk->bases;
    if (chunk->ends_record) std::cout << '\n';
    if (!std::cout) throw base::IoError("standard output can't be written");
  }
}

constexpr std::int64_t kBasesPerLook = 1 << 16;  // at the clock: reads are short

struct Totals {
  BaseCounts bases;
  std::int64_t records = 0, longest = 0, shortest = -1;
};

// Reads to the end; a line for each record if that is wanted.
Totals count(const NextChunk& next, bool records) {
  Totals totals;
  BaseCounts record;
  std::int64_t bases = 0, shown = 0;
  Progress progress("info", "bases");
  if (records) std::cout << "#record\tlength\tgc\tn\tsoft_masked\n";
  while (const auto chunk = next()) {
    (records ? record : totals.bases).add(chunk->bases);
    bases += static_cast<std::int64_t>(chunk->bases.size());
    if (bases - shown >= kBasesPerLook) progress.update(shown = bases);
    if (!chunk->ends_record) continue;
    const std::int64_t length = chunk->offset + static_cast<std::int64_t>(chunk->bases.size());
    ++totals.records;
    totals.longest = std::max(totals.longest, length);
    totals.shortest = totals.shortest < 0 ? length : std::min(totals.shortest, length);
    if (!records) continue;
    std::cout << chunk->name << "\t" << length << "\t" << std::fixed << std::setprecision(2) << record.gc() << "\t"
              << record.of("Nn") << "\t" << record.masked() << "\n";
    record = {};
  }
  return totals;
}

void show(const Totals& totals) {
  const BaseCounts& all = totals.bases;
  std::cout << "\n  records      " << totals.records << "\n  bases        " << all.total() << "\n  longest      "
            << totals.longest << "\n  shortest     " << totals.shortest << std::fixed << std::setprecision(2)
            << "\n  GC           " << all.gc() << " %\n  N            " << all.of("Nn") << "\n  soft-masked  "
            << all.masked() << "\n  other        " << all.total() - all.of("ACGTUNacgtun") << "\n";
}

void show_sequences(const std::string& path, const InfoCommand& command, const io::SequenceReaderOptions& reading) {
  io::SequenceReader reader(path, reading);
  const NextChunk next = [&] { return reader.next(); };
  if (command.bases) return write_fasta(next);
  const Totals totals = count(next, command.records);
  if (command.records) return;
  std::cout << path << "\n  format       " << io::format_name(reader.format());
  show(totals);
  if (reader.left_out() > 0)
    std::cout << "  left out     " << reader.left_out()
              << " alignments (--exclude-flags, --min-mapq, or without bases)\n";
}

void show_store(const std::string& path, const InfoCommand& command) {
  cli::require(command.input.regions.empty() && command.input.regions_file.empty(),
               path + ": regions are cut out of sequence files, not of token stores");
  const tokens::TokenStore store(path);
  StoredRecords stored(store);
  const NextChunk next = [&] {
    base::throw_if_stopped();
    return stored.next();
  };
  if (command.bases) return write_fasta(next);
  const Totals totals = count(next, command.records);
  if (command.records) return;
  std::cout << path << "\n  format       token store, version " << tokens::kStoreVersion << "\n  alphabet     "
            << store.alphabet().name() << "\n  files        " << store.sources().size();
  show(totals);
  for (const auto& source : store.sources())
    std::cout << "  packed from  " << source.name << " (" << counted(source.sequences, "record") << ")\n";
}

}  // namespace

int run_info(const Arguments& arguments) {
  const auto command = parse_info(arguments);
  if (!command) return 0;
  const io::SequenceReaderOptions reading = cli::reading(command->input);
  for (const std::string& input : command->inputs) {
    if (std::filesystem::is_directory(input)) {
      run_models({"show", input});
    } else if (tokens::is_token_store(input)) {
      show_store(input, *command);
    } else {
      show_sequences(input, *command, reading);
    }
  }
  return 0;
}

}  // namespace dnamamba::apps
