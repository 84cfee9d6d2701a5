#include "client/array_split.h"

namespace argus::client {
namespace {

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) + 1 - first);
}

}  // namespace

std::vector<std::string_view> split_array(std::string_view json) {
  json = trimmed(json);
  if (json.size() < 2 || json.front() != '[') return {};
  std::vector<std::string_view> elements;
  std::size_t begin = 1;
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 1; i < json.size(); ++i) {
    const char c = json[i];
    if (in_string) {
      if (c == '\\') ++i;
      in_string = c != '"';
      continue;
    }
    if (c == '"') in_string = true;
    if (c == '{' || c == '[') ++depth;
    if (depth == 0 && (c == ',' || c == ']')) {
      const std::string_view element = trimmed(json.substr(begin, i - begin));
      if (!element.empty()) elements.push_back(element);
      begin = i + 1;
    }
    if (c == '}' || c == ']') --depth;
  }
  return elements;
}

}  // namespace argus::client
