// Strict reading of a JSON object: every key is asked for, of the right type, and none is left over.
#pragma once
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>

#include "core/base/error.h"
#include "core/base/json_text.h"

namespace dnamamba::model {

class JsonReader {
 public:
  /// `where` begins every message: "config.json" or "config.json: layers[3]". @throws base::Error unless `object` is an
  /// object.
  JsonReader(const nlohmann::json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is_object()) throw base::Error(where_ + ": expected a JSON object");
  }

  [[nodiscard]] bool has(const std::string& key) const { return object_.contains(key) && !object_.at(key).is_null(); }

  /// @throws base::Error if the key is missing or of another type.
  template <typename T>
  T get(const std::string& key) {
    seen_.insert(key);
    if (!object_.contains(key)) throw base::Error(where_ + ": missing key \"" + key + "\"");
    return convert<T>(key);
  }

  /// The same, with a default for a missing or null key.
  template <typename T>
  T get(const std::string& key, T fallback) {
    seen_.insert(key);
    return has(key) ? convert<T>(key) : fallback;
  }

  /// A list of two numbers. JSON has no infinity: the second may be null, or
  /// {"__float__": "Infinity"} as Transformers writes it.
  std::pair<double, double> range(const std::string& key) {
    const nlohmann::json& ends = raw(key);
    const bool two = ends.is_array() && ends.size() == 2 && ends[0].is_number();
    const bool open = two && (ends[1].is_null() || ends[1] == nlohmann::json{{"__float__", "Infinity"}});
    if (!two || (!open && !ends[1].is_number()))
      throw base::Error(where_ + ": \"" + key + "\" is not a list of two numbers: " + ends.dump());
    return {ends[0].get<double>(), open ? std::numeric_limits<double>::infinity() : ends[1].get<double>()};
  }

  [[nodiscard]] const nlohmann::json& raw(const std::string& key) {
    seen_.insert(key);
    if (!object_.contains(key)) throw base::Error(where_ + ": missing key \"" + key + "\"");
    return object_.at(key);
  }

  /// A key that says nothing about the numbers a model answers.
  void ignore(const std::string& key) { seen_.insert(key); }

  /// @throws base::Error naming the first key that nobody asked for.
  void refuse_unknown() const {
    for (const auto& item : object_.items())
      if (!seen_.contains(item.key()))
        throw base::Error(where_ + ": option \"" + item.key() + "\" is not known to this version and may change the " +
                          "model's answers; it is refused rather than ignored");
  }

  [[nodiscard]] const std::string& where() const { return where_; }

 private:
  template <typename T>
  T convert(const std::string& key) const {
    const nlohmann::json& value = object_.at(key);
    bool right = value.is_string();
    if constexpr (std::is_same_v<T, bool>) {
      right = value.is_boolean();
    } else if constexpr (std::is_integral_v<T>) {
      right = value.is_number_integer();
    } else if constexpr (std::is_floating_point_v<T>) {
      right = value.is_number();
    }
    if (!right) throw base::Error(where_ + ": \"" + key + "\" has the wrong type: " + base::json_text(value));
    return value.get<T>();
  }

  const nlohmann::json& object_;
  std::string where_;
  std::set<std::string> seen_;
};

}  // namespace dnamamba::model
