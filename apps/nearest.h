// What someone who mistyped a name may have meant.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace dnamamba::apps {

/// The candidate that the fewest insertions, deletions, substitutions and swaps of neighbours turn `name` into, or that
/// `name` begins; nullopt if none is near.
std::optional<std::string> nearest(std::string_view name, std::span<const std::string> candidates);

}  // namespace dnamamba::apps
