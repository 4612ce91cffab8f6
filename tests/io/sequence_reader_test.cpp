#include "core/io/sequence_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "core/base/stop.h"
#include "tests/io/records.h"
#include "tests/support/compress.h"
#include "tests/support/memory_file.h"
#include "tests/support/piped_stdin.h"
#include "tests/support/temp_dir.h"

namespace dnamamba::io {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<Record> records_of(const std::string& text, const SequenceReaderOptions& options = {}) {
  return read_records(test::MemoryFile(text).path(), options);
}

std::string error_in(const std::string& text) {
  return error_of([&] { records_of(text, {.chunk_length = 3}); });
}

TEST(SequenceReader, ReadsNamesDescriptionsAndLines) {
  EXPECT_THAT(records_of(">chr1 \t the first  one\nACGT\nacgtn\n>chr2\nRYK\n"),
              ElementsAre(Record{"chr1", "the first  one", "ACGTacgtn"}, Record{"chr2", "", "RYK"}));
  EXPECT_THAT(records_of("@r1 lane 3\nACGT\n+r1\n@@>+\n@r2\nGG\n+\n!~\n"),
              ElementsAre(Record{"r1", "lane 3", "ACGT"}, Record{"r2", "", "GG"}));
}

TEST(SequenceReader, AcceptsCarriageReturnsEmptyLinesAndNoNewlineAtTheEnd) {
  const auto expected = ElementsAre(Record{"a", "x y", "ACGT"}, Record{"b", "", "GG"});
  EXPECT_THAT(records_of("\n\r\n>a x y\r\nAC\r\n\r\nGT\r\n\r\n>b\r\nGG\r"), expected);
  EXPECT_THAT(records_of("\n>a x y\n\nAC\nGT\n\n\n>b\nGG"), expected);
  EXPECT_THAT(records_of("@a x y\r\nACGT\r\n+\r\nIIII\r\n\r\n@b\r\nGG\r\n+\r\nII\r"), expected);
  EXPECT_THAT(records_of("@a x y\nAC\n\nGT\n+\nI\n\nIII\n\n@b\nGG\n+\nII"), expected);
}

TEST(SequenceReader, GivesAnEmptyRecordOneChunkWithoutBases) {
  EXPECT_THAT(records_of(">a\n>b\n\n\n>c\nA\n>d"),
              ElementsAre(Record{"a", "", ""}, Record{"b", "", ""}, Record{"c", "", "A"}, Record{"d", "", ""}));
  EXPECT_THAT(records_of("@a\n\n+\n\n@b\n+\n@c\nA\n+\nI\n@d\n\n+"),
              ElementsAre(Record{"a", "", ""}, Record{"b", "", ""}, Record{"c", "", "A"}, Record{"d", "", ""}));
}

TEST(SequenceReader, ReadsQualitiesThatLookLikeHeadersAndSeparators) {
  EXPECT_THAT(records_of("@a\nACGT\nAC\n+\n@b\n+x\n@I\n@b\nA\n+\n@\n"),
              ElementsAre(Record{"a", "", "ACGTAC"}, Record{"b", "", "A"}));
}

TEST(SequenceReader, AllowsNamesToRepeatAndJudgesNoLetters) {
  EXPECT_THAT(records_of(">a\nXYZ*-.1\n>a\n;>@\n"), ElementsAre(Record{"a", "", "XYZ*-.1"}, Record{"a", "", ";>@"}));
}

TEST(SequenceReader, TellsFormatProgressAndRecords) {
  const std::string text = ">a\n" + std::string(1'000'000, 'C') + "\n>b\nG\n";
  const test::MemoryFile file(text);
  SequenceReader reader(file.path(), {.chunk_length = 1000});
  EXPECT_EQ(reader.format(), SequenceFormat::kFasta);
  EXPECT_EQ(reader.progress().bytes_total, static_cast<std::int64_t>(text.size()));
  ASSERT_TRUE(reader.next().has_value());
  EXPECT_GT(reader.progress().bytes_read, 1000);
  EXPECT_LT(reader.progress().bytes_read, 600'000);
  EXPECT_EQ(reader.records_read(), 0);
  SequenceReader moved = std::move(reader);
  while (moved.next()) {
  }
  EXPECT_EQ(moved.records_read(), 2);
  EXPECT_EQ(moved.progress().bytes_read, static_cast<std::int64_t>(text.size()));
  EXPECT_EQ(SequenceReader(test::MemoryFile("@a\nA\n+\nI\n").path()).format(), SequenceFormat::kFastq);
  EXPECT_EQ(format_name(SequenceFormat::kFastq), "FASTQ");
}

TEST(SequenceReader, RefusesImpossibleOptions) {
  const test::MemoryFile file(">a\nA\n");
  EXPECT_THROW(SequenceReader(file.path(), {.chunk_length = 0}), base::UsageError);
  EXPECT_THROW(SequenceReader(file.path(), {.decompression_threads = -1}), base::UsageError);
}

TEST(SequenceReader, EndsWhenAStopIsRequested) {
  const auto stopped_while_reading = [] {
    base::install_stop_signals();
    const test::MemoryFile file(">a\nACGT\n");
    SequenceReader reader(file.path(), {.chunk_length = 1});
    (void)reader.next();
    std::raise(SIGTERM);
    try {
      (void)reader.next();
    } catch (const base::Interrupted&) {
      std::_Exit(42);
    }
    std::_Exit(1);
  };
  EXPECT_EXIT(stopped_while_reading(), ::testing::ExitedWithCode(42), "");
}

// ---- what is refused

TEST(SequenceReader, SaysThatAnInputHasNoRecords) {
  for (const std::string text : {"", "\n", "\r\n\n"}) EXPECT_THAT(error_in(text), HasSubstr("no records"));
  EXPECT_THAT(error_in(test::gzipped("")), HasSubstr("no records"));
}

TEST(SequenceReader, RefusesTextThatIsNeitherFastaNorFastq) {
  EXPECT_THAT(error_in("\nACGT\n>a\nA\n"), AllOf(HasSubstr("line 2"), HasSubstr("'A'"), HasSubstr("FASTA")));
  EXPECT_THAT(error_in(std::string("\0\0", 2)), HasSubstr("byte 0x00"));
  EXPECT_THAT(error_in("\xef\xbb\xbf>a\nA\n"), HasSubstr("byte 0xEF"));
}

TEST(SequenceReader, NamesTheRemedyForSamInsideZstd) {
  EXPECT_THAT(error_in(test::zstd_frame("@SQ\tSN:chr1\tLN:5\n")), AllOf(HasSubstr("SAM"), HasSubstr("zstd -dc")));
}

TEST(SequenceReader, RefusesHeadersWithoutAName) {
  for (const std::string text : {">\nA\n", ">", "> a\nA\n", ">a\nA\n>\nC\n", "@\nA\n+\nI\n", "@"})
    EXPECT_THAT(error_in(text), HasSubstr("without a name")) << text;
  EXPECT_THAT(error_in(">a\nA\n> x\nC\n"), AllOf(HasSubstr("record 2"), HasSubstr("line 3")));
}

TEST(SequenceReader, ReadsNamesOfAMegabyteAndRefusesMuchLongerHeaders) {
  const std::string name(1 << 20, 'n');
  EXPECT_THAT(records_of(">" + name + " d\nACGTA\n", {.chunk_length = 2}), ElementsAre(Record{name, "d", "ACGTA"}));
  EXPECT_THAT(error_in(">" + name + name + name + "\nACGT\n"), HasSubstr("header line of more than"));
}

TEST(SequenceReader, TakesBlanksAmongTheLettersOfFastaForLayout) {
  for (const std::int64_t chunk : {1, 2, 3, 8, 100})
    EXPECT_THAT(records_of(">a b\nACGT TGCA  AC \n\tGT\t\t\r\n   \n>b\n  AC >T\n>c\n \n", {.chunk_length = chunk}),
                ElementsAre(Record{"a", "b", "ACGTTGCAACGT"}, Record{"b", "", "AC>T"}, Record{"c", "", ""}))
        << chunk;
}

TEST(SequenceReader, NamesRecordLineAndPositionOfABadByte) {
  EXPECT_THAT(error_in(">a\nACGT\n>b\nACGT\nAC\vGT\n"),
              AllOf(HasSubstr("record 2 'b'"), HasSubstr("line 5"), HasSubstr("0x0B"), HasSubstr("position 6")));
  EXPECT_THAT(error_in(std::string(">a\nAC\0GT\n", 9)), AllOf(HasSubstr("0x00"), HasSubstr("position 2")));
  EXPECT_THAT(error_in(">a\nACGT\xc3\xa9\n"), HasSubstr("0xC3"));
  EXPECT_THAT(error_in(">a\nAC\rGT\n"), AllOf(HasSubstr("0x0D"), HasSubstr("position 2")));
  EXPECT_THAT(error_in(">a\nACGT\r\r\n"), AllOf(HasSubstr("0x0D"), HasSubstr("position 4")));
  EXPECT_THAT(error_in("@a\nAC T\n+\nIIII\n"), AllOf(HasSubstr("0x20"), HasSubstr("position 2")));
  EXPECT_THAT(error_in("@a\nACGT\n+\nII I\n"), AllOf(HasSubstr("0x20"), HasSubstr("qualities")));
  EXPECT_THAT(error_in(std::string(">a\0b\nACGT\n", 10)), HasSubstr("control byte 0x00"));
}

TEST(SequenceReader, RefusesLineEndsOfOldMacs) {
  EXPECT_THAT(error_in(">a\rACGT\r>b\rA\r"), HasSubstr("lines end in"));
  EXPECT_THAT(error_in(">a first\rACGT\r>b\rA\r"), HasSubstr("lines end in"));
}

TEST(SequenceReader, RefusesQualitiesThatAreNotAsManyAsTheBases) {
  EXPECT_THAT(error_in("@a\nACGT\n+\nIII\n"), AllOf(HasSubstr("'a'"), HasSubstr("4 bases but 3 qualities")));
  EXPECT_THAT(error_in("@a\nACGT\n+\nIIIII\n"), HasSubstr("more qualities"));
  EXPECT_THAT(error_in("@a\nACGT\n+\nIIII\nI\n@b\nA\n+\nI\n"), HasSubstr("more qualities"));
  EXPECT_THAT(error_in("@a\nACGT\n+\nIII\n@b\nA\n+\nI\n"), HasSubstr("more qualities"));
  EXPECT_THAT(error_in("@a\nACGT\n@b\nA\n+\nI\n"), AllOf(HasSubstr("'a'"), HasSubstr("no '+' line")));
  EXPECT_THAT(error_in("@a\nACGT\n"), AllOf(HasSubstr("'a'"), HasSubstr("cut short")));
}

TEST(SequenceReader, FailsAgainAfterItFailed) {
  const test::MemoryFile file(">a\nAC\vGT\n>b\nA\n");
  SequenceReader reader(file.path());
  EXPECT_THROW((void)reader.next(), base::IoError);
  EXPECT_THROW((void)reader.next(), base::IoError);
  EXPECT_EQ(reader.records_read(), 0);
}

TEST(SequenceReader, SaysWhyAFileCannotBeRead) {
  EXPECT_THAT(error_of([] { SequenceReader("/nowhere/genome.fa"); }),
              AllOf(HasSubstr("/nowhere/genome.fa"), HasSubstr("No such file")));
}

// ---- the same records however they are stored and cut

/// A random file and the records that are in it.
std::pair<std::string, std::vector<Record>> random_file(std::mt19937& random, bool fastq) {
  std::string text;
  std::vector<Record> records;
  const std::string end = random() % 2 == 0 ? "\n" : "\r\n";
  const int count = 1 + static_cast<int>(random() % 5);
  const auto write_lines = [&](const std::string& letters) {
    for (std::size_t at = 0; at < letters.size();) {
      const std::size_t length = 1 + random() % 9;
      text += letters.substr(at, length) + end;
      at += length;
      if (random() % 8 == 0) text += end;
    }
  };
  for (int i = 0; i < count; ++i) {
    Record record{"r" + std::to_string(i), random() % 2 == 0 ? "" : "some words", ""};
    std::string qualities;
    for (std::size_t left = random() % 40; left > 0; --left) {
      record.bases += "ACGTNacgtn"[random() % 10];
      qualities += static_cast<char>('!' + random() % 94);
    }
    text += (fastq ? "@" : ">") + record.name + (record.description.empty() ? "" : " " + record.description) + end;
    write_lines(record.bases);
    if (fastq) {
      text += "+" + end;
      write_lines(qualities);
    }
    records.push_back(record);
  }
  if (random() % 2 == 0 && !records.back().bases.empty())
    while (text.back() == '\n' || text.back() == '\r') text.pop_back();
  return {text, records};
}

TEST(SequenceReader, GivesTheSameRecordsForEveryChunkLengthAndCompression) {
  std::mt19937 random(20);
  for (int round = 0; round < 100; ++round) {
    const auto [text, expected] = random_file(random, round % 2 == 1);
    for (const std::string& stored : {text, test::gzipped(text), test::bgzipped(text, 50), test::zstd_frame(text)}) {
      const test::MemoryFile file(stored);
      for (const std::int64_t chunk_length : {1, 2, 7, 1 << 20})
        ASSERT_EQ(read_records(file.path(), {.chunk_length = chunk_length, .decompression_threads = round % 3}),
                  expected)
            << text;
    }
  }
}

TEST(SequenceReader, GivesTheSameRecordsThroughAPipe) {
  std::mt19937 random(21);
  for (int round = 0; round < 20; ++round) {
    const auto [text, expected] = random_file(random, round % 2 == 1);
    for (const std::string& stored : {text, test::gzipped(text), test::bgzipped(text, 50), test::zstd_frame(text)}) {
      const test::PipedStdin pipe(stored);
      ASSERT_EQ(read_records("-", {.chunk_length = 7}), expected) << text;
    }
  }
}

TEST(SequenceReader, GivesTheSameRecordsWhereverAPipeBreaksTheText) {
  const std::string text = ">a b\r\nAC\r\nGT\r\n\r\n>c\r\nGG\r\nA\r\n";
  for (std::size_t cut = 1; cut < text.size(); ++cut) {
    const test::PipedStdin pipe([&](const test::PipedStdin::Write& write) {
      write(text.substr(0, cut));
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      write(text.substr(cut));
    });
    ASSERT_THAT(read_records("-", {.chunk_length = 2}), ElementsAre(Record{"a", "b", "ACGT"}, Record{"c", "", "GGA"}));
  }
}

// Lines, headers and line ends that lie across the reader's buffer of 256 KiB.
TEST(SequenceReader, GivesTheSameRecordsWhereverItsBufferEnds) {
  for (std::size_t length = 262'144 - 12; length < 262'144 + 3; ++length) {
    const std::string bases(length, 'A');
    const std::string text = ">x\n" + bases + "\r\nCC\r\n>y z\r\nGG\r\n";
    ASSERT_THAT(records_of(text, {.chunk_length = 100'000}),
                ElementsAre(Record{"x", "", bases + "CC"}, Record{"y", "z", "GG"}));
    const std::string fastq = "@x\n" + bases + "\r\n+\r\n" + bases + "\r\n@y\r\nGG\r\n+\r\nII\r\n";
    ASSERT_THAT(records_of(fastq), ElementsAre(Record{"x", "", bases}, Record{"y", "", "GG"}));
  }
}

// ---- cut files; damage_test.cpp has the compressed ones

std::string fasta_text(std::size_t length) {
  std::mt19937 random(22);
  std::string text = ">chr1 x\n";
  for (std::size_t i = 0; i < length; ++i) text += i % 61 == 60 ? '\n' : "ACGT"[random() % 4];
  return text + "\n";
}

TEST(SequenceReader, SeesEveryCutOfAFastqInsideARecord) {
  for (const std::string end : {"\n", "\r\n"}) {
    std::string text;
    std::vector<std::size_t> unseen;  // where a record is whole, with or without its line's end
    for (int i = 0; i < 8; ++i) {
      text += "@read" + std::to_string(i) + " x" + end + "ACGTACGT" + end + "ACGTA" + end + "+" + end + "IIIIIIII" +
              end + "@III+";
      for (std::size_t more = 0; more <= end.size(); ++more) unseen.push_back(text.size() + more);
      text += end;
    }
    ASSERT_GT(text.size(), 200U);
    std::vector<std::size_t> found;
    for (std::size_t cut = 0; cut <= text.size(); ++cut)
      if (error_in(text.substr(0, cut)).empty()) found.push_back(cut);
    EXPECT_EQ(found, unseen);
  }
}

TEST(SequenceReader, ReadsACutPlainFastaAsAShorterOne) {
  const std::string text = fasta_text(300);
  const std::string whole = records_of(text).at(0).bases;
  for (std::size_t cut = 3; cut < text.size(); ++cut) {
    const std::vector<Record> records = records_of(text.substr(0, cut), {.chunk_length = 7});
    ASSERT_EQ(records.size(), 1U);
    EXPECT_TRUE(whole.starts_with(records[0].bases));
  }
}

}  // namespace
}  // namespace dnamamba::io
