// Token stores: what is read is what was put in, from anywhere, or an error.
#include "core/tokens/token_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <thread>

#include "core/base/error.h"
#include "core/tokens/token_store_writer.h"
#include "tests/support/damage.h"
#include "tests/support/memory_file.h"
#include "tests/support/temp_dir.h"
#include "tests/support/throws.h"

namespace dnamamba::tokens {
namespace {

using test::content_of;
using test::error_text;
using ::testing::AllOf;
using ::testing::HasSubstr;
using Ids = std::vector<std::uint8_t>;

const Alphabet& alphabet() {
  static const Alphabet kAlphabet = Alphabet::built_in("dnamamba");
  return kAlphabet;
}

struct Record {
  std::string name;
  Ids ids, lower_case;
};
struct Source {
  std::string name;
  std::vector<Record> records;
};

Record random_record(std::mt19937& random, const std::string& name, std::size_t length) {
  Record record{name, Ids(length), Ids(length)};
  for (std::uint8_t& id : record.ids) id = alphabet().id_of("ACGTN"[random() % 5]);
  std::uint8_t lower = 0;
  for (std::uint8_t& mark : record.lower_case) mark = lower ^= random() % 50 == 0 ? 1 : 0;
  return record;
}

// Records that end in frames, at their ends and far behind them, and empty ones.
std::vector<Source> large_sources() {
  std::mt19937 random(5);
  const auto frame = static_cast<std::size_t>(kFrameTokens);
  return {{"a.fa",
           {random_record(random, "chr1", 3 * frame + 7), random_record(random, "", 0),
            random_record(random, "chr2", frame - 7), random_record(random, "chr1", 100)}},
          {"no records.fa", {}},
          {"b.fa", {random_record(random, "empty", 0)}},
          {"c.fa", {random_record(random, "one", 1), random_record(random, "rest", frame / 2)}}};
}

std::vector<Source> small_sources() {
  std::mt19937 random(6);
  return {{"a.fa", {random_record(random, "x", 40), random_record(random, "y", 3)}},
          {"b.fa", {random_record(random, "z", 25)}}};
}

struct Writing {
  std::int64_t threads = 1;
  std::size_t piece = 1'000'000;  // tokens put in at a time
  std::size_t skipped = 0;        // sources
};

void put(TokenStoreWriter& writer, const std::vector<Source>& sources, const Writing& how) {
  for (std::size_t i = 0; i < sources.size(); ++i) {
    if (i < how.skipped) {
      writer.skip_source();
      continue;
    }
    for (const Record& record : sources[i].records) {
      for (std::size_t at = 0; at < record.ids.size(); at += how.piece) {
        const std::size_t count = std::min(how.piece, record.ids.size() - at);
        writer.append(std::span(record.ids).subspan(at, count), std::span(record.lower_case).subspan(at, count));
      }
      writer.end_record(record.name);
    }
    writer.end_source(sources[i].name);
  }
  writer.finish();
}

class TokenStoreTest : public ::testing::Test {
 protected:
  std::string write(const std::vector<Source>& sources, const Writing& how = {}) const {
    const std::string path = folder_.file("store.dnaz");
    files::AtomicFile file(path, /*force=*/true);
    TokenStoreWriter writer(file, alphabet(), how.threads);
    put(writer, sources, how);
    file.commit();
    return path;
  }

  // What an interrupted run left, gone on with.
  std::string go_on(const std::string& left, const std::vector<Source>& sources) const {
    const std::string path = folder_.file("again.dnaz"), partial = folder_.write("again.dnaz.partial", left);
    files::AtomicFile file = files::AtomicFile::going_on(path, /*force=*/true);
    StoredBlocks stored = read_stored_blocks(partial);
    file.cut(stored.bytes);
    const auto skipped = static_cast<std::size_t>(stored.sources());
    TokenStoreWriter writer(file, alphabet(), 2, std::move(stored));
    put(writer, sources, {.skipped = skipped});
    file.commit();
    return path;
  }

  const test::TempDir folder_;
};

void expect_holds(const TokenStore& store, const std::vector<Source>& sources) {
  ASSERT_EQ(store.sources().size(), sources.size());
  std::int64_t sequence = 0;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    EXPECT_EQ(store.sources()[i].name, sources[i].name);
    EXPECT_EQ(store.sources()[i].first_sequence, sequence);
    ASSERT_EQ(store.sources()[i].sequences, static_cast<std::int64_t>(sources[i].records.size()));
    for (const Record& record : sources[i].records) {
      EXPECT_EQ(store.name(sequence), record.name);
      ASSERT_EQ(store.length(sequence), static_cast<std::int64_t>(record.ids.size()));
      Ids ids(record.ids.size()), lower_case(record.ids.size());
      store.read(sequence++, 0, ids, lower_case);
      EXPECT_EQ(ids, record.ids);
      EXPECT_EQ(lower_case, record.lower_case);
    }
  }
  EXPECT_EQ(store.sequences(), sequence);
}

void expect_reads_parts(const TokenStore& store, const Record& record, std::int64_t sequence, std::uint32_t seed) {
  std::mt19937 random(seed);
  for (int i = 0; i < 200; ++i) {
    const std::size_t position = random() % (record.ids.size() + 1);
    const std::size_t count = random() % (record.ids.size() - position + 1);
    Ids ids(count), lower_case(count, 9);
    store.read(sequence, static_cast<std::int64_t>(position), ids, lower_case);
    EXPECT_TRUE(std::ranges::equal(ids, std::span(record.ids).subspan(position, count)));
    EXPECT_TRUE(std::ranges::equal(lower_case, std::span(record.lower_case).subspan(position, count)));
  }
}

TEST_F(TokenStoreTest, GivesBackEveryRecordAndItsSoftMask) {
  const std::vector<Source> sources = large_sources();
  const TokenStore store(write(sources));
  EXPECT_EQ(store.alphabet(), alphabet());
  EXPECT_EQ(store.tokens(), 4 * kFrameTokens + 100 + 1 + kFrameTokens / 2);
  expect_holds(store, sources);
}

TEST_F(TokenStoreTest, ReadsAnyPartInAnyOrderFromAnyThread) {
  const std::vector<Source> sources = large_sources();
  const std::string path = write(sources);
  for (const std::int64_t cached : {1, 64}) {
    const TokenStore store(path, cached);
    std::thread other([&] { expect_reads_parts(store, sources[0].records[2], 2, 1); });
    expect_reads_parts(store, sources[0].records[0], 0, 2);
    other.join();
  }
  const TokenStore store(path);
  Ids two(2);
  EXPECT_THROW(store.read(3, 99, two), std::invalid_argument);
  EXPECT_THROW(store.read(3, -1, two), std::invalid_argument);
  EXPECT_THROW(store.read(7, 0, two), std::invalid_argument);
}

TEST_F(TokenStoreTest, HasTheSameBytesForAnyThreadsAndAnyPieces) {
  const std::vector<Source> sources = large_sources();
  const std::string expected = content_of(write(sources));
  EXPECT_LT(expected.size(), 100'000U) << "five letters are 2.3 bits each";
  EXPECT_EQ(content_of(write(sources, {.threads = 3, .piece = 1'000})), expected);
  EXPECT_EQ(content_of(write(sources, {.threads = 2, .piece = 32'768})), expected);
}

TEST_F(TokenStoreTest, IsToldByItsContent) {
  EXPECT_TRUE(is_token_store(write(small_sources())));
  EXPECT_FALSE(is_token_store(folder_.write("a.dnaz", ">a\nACGT\n")));
  EXPECT_FALSE(is_token_store(folder_.write("empty.dnaz", "")));
  EXPECT_FALSE(is_token_store(folder_.file("absent.dnaz")));
  EXPECT_FALSE(is_token_store("-"));
  EXPECT_THAT(error_text<base::IoError>([&] { TokenStore(folder_.file("a.dnaz")); }),
              AllOf(HasSubstr("a.dnaz: is no token store"), HasSubstr("dnamamba pack")));
}

TEST_F(TokenStoreTest, CutAnywhereIsRefused) {
  const std::string whole = content_of(write(small_sources()));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const test::MemoryFile cut(std::string_view(whole).substr(0, length));
    EXPECT_THAT(error_text<base::IoError>([&] { TokenStore store(cut.path()); }), HasSubstr(cut.path() + ": "));
  }
  const std::string large = content_of(write(large_sources()));
  for (const std::size_t length : test::cuts(large.size())) {
    const test::MemoryFile cut(std::string_view(large).substr(0, length));
    EXPECT_THROW(TokenStore store(cut.path()), base::IoError) << length;
  }
  const test::MemoryFile longer(whole + "x");
  EXPECT_THROW(TokenStore store(longer.path()), base::IoError);
}

TEST_F(TokenStoreTest, WithAnyBitChangedIsRefusedOrReadsTheSame) {
  const std::vector<Source> sources = small_sources();
  const std::string whole = content_of(write(sources));
  int refused = 0;
  for (std::size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    std::string damaged = whole;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    const test::MemoryFile file(damaged);
    try {
      expect_holds(TokenStore(file.path()), sources);
    } catch (const base::IoError& error) {
      EXPECT_THAT(error.what(), HasSubstr(file.path() + ": "));
      ++refused;
    }
  }
  EXPECT_GT(refused, static_cast<int>(4 * whole.size()));
}

TEST_F(TokenStoreTest, ADamagedFrameIsFoundWhenItIsRead) {
  const std::vector<Source> sources = large_sources();
  std::string damaged = content_of(write(sources));
  damaged[20'000] = static_cast<char>(damaged[20'000] ^ 4);  // of the second frame
  const TokenStore store(folder_.write("damaged.dnaz", damaged));
  Ids ids(10);
  store.read(0, 0, ids);
  EXPECT_THAT(error_text<base::IoError>([&] { store.read(0, kFrameTokens + 3, ids); }),
              AllOf(HasSubstr("damaged.dnaz: the token store is damaged"), HasSubstr("(byte "), HasSubstr("pack")));
}

TEST_F(TokenStoreTest, OfALaterVersionIsRefusedByItsVersion) {
  EXPECT_THAT(error_text<base::IoError>([&] {
                std::array<std::byte, kStoreHeadBytes> head = store_head();
                head[8] = std::byte{2};
                is_store_head(head, "x.dnaz");
              }),
              HasSubstr("x.dnaz: the head of the token store is damaged"));
  // Version 2, with its checksum.
  const std::string later("DNAZ\r\n\x1a\n\x02\0\0\0\x37\x64\x0b\x27", 16);
  EXPECT_THAT(error_text<base::IoError>([&] { is_store_head(std::as_bytes(std::span(later)), "x.dnaz"); }),
              HasSubstr("x.dnaz: a token store of version 2 (byte 8); this program reads version 1"));
}

TEST_F(TokenStoreTest, InterruptedAnywhereAndGoneOnWithItHasTheSameBytes) {
  const std::vector<Source> sources = large_sources();
  const std::string whole = content_of(write(sources));
  for (const std::size_t length : test::cuts(whole.size(), 30, 40))
    EXPECT_EQ(content_of(go_on(whole.substr(0, length), sources)), whole) << length;
  EXPECT_EQ(content_of(go_on(whole, sources)), whole);
}

TEST_F(TokenStoreTest, WhatWasDamagedSinceTheInterruptionIsWrittenAgain) {
  const std::vector<Source> sources = large_sources();
  const std::string whole = content_of(write(sources));
  std::mt19937 random(8);
  for (int i = 0; i < 30; ++i) EXPECT_EQ(content_of(go_on(test::with_flipped_bit(whole, random), sources)), whole);
}

TEST_F(TokenStoreTest, OtherInputThanBeforeTheInterruptionIsRefused) {
  std::vector<Source> sources = large_sources();
  const std::string whole = content_of(write(sources)), partial = whole.substr(0, 30'000);
  sources[0].records[0].ids[5] ^= 1;
  EXPECT_THAT(error_text<base::IoError>([&] { go_on(partial, sources); }), HasSubstr("holds something else"));
  sources = large_sources();
  sources[0].records[0] = sources[0].records[3];  // ends before what is stored does
  sources.resize(1);
  sources[0].records.resize(1);
  EXPECT_THAT(error_text<base::IoError>([&] { go_on(partial, sources); }), HasSubstr("holds something else"));
}

}  // namespace
}  // namespace dnamamba::tokens
