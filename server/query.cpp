#include "server/query.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "base/limits.h"
#include "wire/field_error.h"
#include "wire/utf8.h"

namespace argus::server {
namespace {

constexpr std::size_t kParametersMax = 64;

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string shown(std::string_view text) {
  std::string out(text.substr(0, limits::kQuotedBytesMax));
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7F || c == '"') c = '?';
  }
  return fmt::format("\"{}\"", out);
}

}  // namespace

std::optional<std::string> percent_decoded(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      if (i + 2 >= text.size()) return std::nullopt;
      const int high = hex_digit(text[i + 1]);
      const int low = hex_digit(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      c = static_cast<char>(high * 16 + low);
      i += 2;
    } else if (c == '+' && plus_is_space) {
      c = ' ';
    }
    if (c == '\0') return std::nullopt;
    out += c;
  }
  if (!wire::is_valid_utf8(out)) return std::nullopt;
  return out;
}

Result<Query> Query::parse(std::string_view text, std::optional<std::span<const std::string>> accepted) {
  Query query;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('&'), text.size());
    const std::string_view part = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (part.empty()) continue;
    const std::size_t equals = std::min(part.find('='), part.size());
    auto name = percent_decoded(part.substr(0, equals), true);
    auto value = percent_decoded(part.substr(std::min(equals + 1, part.size())), true);
    if (!name || !value)
      return wire::refused(name ? shown(*name) : "the query", shown(part), "parameters in UTF-8, escaped as %XX");
    if (accepted && std::find(accepted->begin(), accepted->end(), *name) == accepted->end()) {
      return Error{ErrorCode::kInvalid,
                   fmt::format("{} is not a parameter of this call; accepted: {}", shown(*name),
                               accepted->empty() ? "none" : fmt::format("{}", fmt::join(*accepted, ", "))),
                   *name,
                   {}};
    }
    if (query.text(*name)) return wire::refused(*name, "given twice", "each parameter once");
    if (query.values_.size() == kParametersMax)
      return wire::refused("the query", "too long", fmt::format("at most {} parameters", kParametersMax));
    query.values_.emplace_back(std::move(*name), std::move(*value));
  }
  return query;
}

std::optional<std::string_view> Query::text(std::string_view name) const {
  for (const auto& [n, value] : values_) {
    if (n == name) return value;
  }
  return std::nullopt;
}

Result<std::optional<std::int64_t>> Query::integer(std::string_view name, std::int64_t min, std::int64_t max) const {
  const auto value = text(name);
  if (!value) return std::optional<std::int64_t>();
  std::int64_t number = 0;
  const char* const end = value->data() + value->size();
  const auto [stop, error] = std::from_chars(value->data(), end, number);
  if (error != std::errc() || stop != end || number < min || number > max)
    return wire::refused(std::string(name), shown(*value), fmt::format("an integer from {} to {}", min, max));
  return std::optional(number);
}

Result<std::optional<std::string_view>> Query::word(std::string_view name,
                                                    std::span<const std::string_view> words) const {
  const auto value = text(name);
  if (value && std::find(words.begin(), words.end(), *value) == words.end())
    return wire::refused(std::string(name), shown(*value), fmt::format("{}", fmt::join(words, ", ")));
  return value;
}

}  // namespace argus::server
