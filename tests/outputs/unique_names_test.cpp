#include "core/outputs/unique_names.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/base/error.h"

namespace dnamamba::outputs {
namespace {

std::vector<std::string> unique(const std::vector<std::string>& names) {
  RecordTable table;
  for (const std::string& name : names) table.add(name, 1);
  const UniqueNames unique(table);
  std::vector<std::string> made;
  for (std::int64_t i = 0; i < table.count(); ++i) made.push_back(unique.name(i));
  return made;
}

TEST(UniqueNames, NamesThatDifferStayAsTheyAre) {
  EXPECT_TRUE(unique({}).empty());
  EXPECT_EQ(unique({"b", "", "a", "ü"}), (std::vector<std::string>{"b", "", "a", "ü"}));
}

TEST(UniqueNames, LaterRecordsOfTheSameNameGetTheirIndex) {
  EXPECT_EQ(unique({"a", "b", "a", "a"}), (std::vector<std::string>{"a", "b", "a#2", "a#3"}));
}

TEST(UniqueNames, AMadeNameIsNotAnotherRecords) {
  EXPECT_EQ(unique({"a", "a", "a#1"}), (std::vector<std::string>{"a", "a#1", "a#1#2"}));
}

TEST(UniqueNames, WhatIsNoUtf8IsReplacedAndStaysUnique) {
  EXPECT_EQ(utf8_of("\xff"), "\ufffd");
  EXPECT_EQ(utf8_of("a\"\\"), "a\"\\");
  EXPECT_EQ(unique({"\xff", "\xfe"}), (std::vector<std::string>{"\ufffd", "\ufffd#1"}));
}

TEST(UniqueNames, MoreRecordsThanAreComparedAtATimeAreToldApart) {
  RecordTable table;
  for (int i = 0; i < 1000; ++i) table.add(std::to_string(i % 900), 1);
  const UniqueNames unique(table, 64);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(unique.name(i), i < 900 ? std::to_string(i) : base::concat(i - 900, "#", i));
}

}  // namespace
}  // namespace dnamamba::outputs
