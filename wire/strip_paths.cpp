#include "wire/strip_paths.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace argus::wire {
namespace {

bool is_separator(char c) { return c == '/' || c == '\\'; }

// What ends a path in a message: quotes, brackets, blanks, and the signs that stand around file names.
bool ends_path(char c) {
  return static_cast<unsigned char>(c) <= 0x20 ||
         std::string_view("\"'`()[]{}<>,;|=").find(c) != std::string_view::npos;
}

}  // namespace

void strip_paths(std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    if (ends_path(text[i])) {
      out += text[i++];
      continue;
    }
    const std::size_t begin = i;
    while (i < text.size() && !ends_path(text[i])) ++i;
    std::string_view word(text.data() + begin, i - begin);
    while (!word.empty() && is_separator(word.back())) word.remove_suffix(1);
    const auto last = std::find_if(word.rbegin(), word.rend(), is_separator);
    out += word.substr(static_cast<std::size_t>(word.rend() - last));
  }
  text = std::move(out);
}

}  // namespace argus::wire
