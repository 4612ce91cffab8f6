// What a command says at its end of the input that it did not take as it was.
#pragma once
#include <cstdint>
#include <string>

#include "core/base/error.h"
#include "core/base/log.h"

namespace dnamamba::apps {

/// "1 base", "2 bases".
inline std::string counted(std::int64_t count, const std::string& thing) {
  return base::concat(count, " ", thing, count == 1 ? "" : "s");
}

/// Letters without IUPAC code, and alignments that were left out, if there were any. `policy` is the word of --invalid.
inline void report_input(std::int64_t invalid, const std::string& policy, std::int64_t left_out) {
  if (invalid > 0)
    base::log_warning(
        base::concat(counted(invalid, "letter"), " without IUPAC code ", policy == "n" ? "taken as N" : "left out"));
  if (left_out > 0)
    base::log_info(
        base::concat(counted(left_out, "alignment"), " left out (--exclude-flags, --min-mapq, or without bases)"));
}

}  // namespace dnamamba::apps
