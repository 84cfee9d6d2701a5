// The part of a request's target behind '?': names and values, decoded and checked.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace argus::server {

/// %XX decoded; '+' stays what it is unless `plus_is_space`. nullopt: a bad escape, a NUL, or bytes that are no UTF-8.
std::optional<std::string> percent_decoded(std::string_view text, bool plus_is_space);

class Query {
 public:
  /// Splits and decodes. Errors (kInvalid, field: the parameter): a bad escape, a name given twice, more than 64
  /// parameters, and, when `accepted` is given, a name that is not in it.
  static Result<Query> parse(std::string_view text, std::optional<std::span<const std::string>> accepted);

  /// nullopt: not given.
  std::optional<std::string_view> text(std::string_view name) const;
  /// nullopt: not given. Errors: kInvalid when it is no decimal integer from `min` to `max`.
  Result<std::optional<std::int64_t>> integer(std::string_view name, std::int64_t min, std::int64_t max) const;
  /// The value when it is one of `words`, else kInvalid; nullopt: not given.
  Result<std::optional<std::string_view>> word(std::string_view name, std::span<const std::string_view> words) const;

 private:
  std::vector<std::pair<std::string, std::string>> values_;
};

}  // namespace argus::server
