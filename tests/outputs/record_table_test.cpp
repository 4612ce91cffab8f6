#include "core/outputs/record_table.h"

#include <gtest/gtest.h>

#include "core/base/error.h"

namespace dnamamba::outputs {
namespace {

TEST(RecordTable, GivesBackNamesAndLengths) {
  RecordTable table;
  EXPECT_EQ(table.add("chr1", 100), 0);
  EXPECT_EQ(table.add("", -1), 1);
  EXPECT_EQ(table.add("scaffold|ü 3", 7), 2);
  table.set_length(1, std::int64_t{1} << 40);
  EXPECT_EQ(table.count(), 3);
  EXPECT_EQ(table.name(0), "chr1");
  EXPECT_EQ(table.name(1), "");
  EXPECT_EQ(table.name(2), "scaffold|ü 3");
  EXPECT_EQ(table.length(1), std::int64_t{1} << 40);
  EXPECT_THROW(table.name(3), base::Error);
}

TEST(RecordTable, ANameThatWouldBreakATableIsRefused) {
  RecordTable table;
  EXPECT_THROW(table.add("a\tb", 1), base::Error);
  EXPECT_THROW(table.add("a\nb", 1), base::Error);
  EXPECT_EQ(table.count(), 0);
}

TEST(RecordTable, MillionsOfRecordsAreKept) {
  RecordTable table;
  constexpr std::int64_t kRecords = 6'000'000;  // beyond what stays in memory
  for (std::int64_t i = 0; i < kRecords; ++i) table.add("read" + std::to_string(i), i);
  EXPECT_FALSE(table.names().is_in_memory());
  for (const std::int64_t i : {std::int64_t{0}, kRecords / 2, kRecords - 1}) {
    EXPECT_EQ(table.name(i), "read" + std::to_string(i));
    EXPECT_EQ(table.length(i), i);
  }
}

}  // namespace
}  // namespace dnamamba::outputs
