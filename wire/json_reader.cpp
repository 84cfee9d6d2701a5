#include "wire/json_reader.h"

// The input is copied with padding behind it, which the vectorised string scan may read.
#if defined(__SSE2__)
#define RAPIDJSON_SSE2
#endif
#include <fmt/format.h>
#include <rapidjson/error/en.h>
#include <rapidjson/reader.h>

#include <algorithm>
#include <charconv>
#include <string>
#include <utility>
#include <vector>

#include "base/limits.h"
#include "wire/utf8.h"

namespace argus::wire {
namespace {

// Numbers arrive as text and are converted here: the library's own "full precision" turns 1.8e308 into NaN and
// 17976931348623159e292 into infinity.
constexpr unsigned kFlags = rapidjson::kParseInsituFlag | rapidjson::kParseNanAndInfFlag |
                            rapidjson::kParseNumbersAsStringsFlag | rapidjson::kParseIterativeFlag;
constexpr std::size_t kPaddingBytes = 32;

struct Token {
  JsonEvent event = JsonEvent::kEnd;
  bool flag = false;  // the boolean; the sign of an integer
  std::uint32_t text_size = 0;
  union {
    std::uint64_t magnitude = 0;
    double real;
    const char* text;
  };
};

// Whether a literal that from_chars calls out of range is huge (else: tiny), by the decimal exponent of its first
// significant digit.
bool is_huge(std::string_view literal) {
  long exponent = 0;
  if (const std::size_t e = literal.find_first_of("eE"); e != literal.npos) {
    const std::string_view digits = literal.substr(e + (literal[e + 1] == '+' ? 2 : 1));
    if (std::from_chars(digits.data(), digits.data() + digits.size(), exponent).ec != std::errc{})
      return digits[0] != '-';
    literal = literal.substr(0, e);
  }
  const std::size_t first = literal.find_first_of("123456789");
  const std::size_t point = std::min(literal.find('.'), literal.size());
  return exponent + static_cast<long>(point) - static_cast<long>(std::min(first, literal.size())) > 0;
}

// `literal` follows JSON's grammar for numbers, or is a bare NaN, Inf or Infinity with an optional '-'.
bool convert(std::string_view literal, Token& token) {
  const char* const begin = literal.data();
  const char* const end = begin + literal.size();
  const bool negative = *begin == '-';
  if (literal.find_first_not_of("0123456789", negative ? 1 : 0) == literal.npos) {
    std::uint64_t magnitude = 0;
    if (std::from_chars(begin + (negative ? 1 : 0), end, magnitude).ec == std::errc{}) {
      token.event = JsonEvent::kInteger;
      token.flag = negative;
      token.magnitude = magnitude;
      return true;
    }
  }
  token.event = JsonEvent::kReal;
  double value = 0.0;
  const auto [stop, ec] = std::from_chars(begin, end, value);
  if (ec == std::errc::result_out_of_range && is_huge(literal)) return false;
  token.real = ec == std::errc{} ? value : 0.0;
  return true;
}

// RapidJSON's handler concept: lays the document out as a flat tape.
class Tape {
 public:
  std::vector<Token> tokens;
  enum class Refusal { kNone, kDepth, kCount, kOverflow, kSurrogate } refusal = Refusal::kNone;

  // `has_escapes`: the document spells characters as \uXXXX, which the library lets be half a surrogate pair.
  void clear(bool has_escapes = false) {
    has_escapes_ = has_escapes;
    tokens.clear();
    refusal = Refusal::kNone;
    depth_ = 0;
  }

  bool Null() { return add(JsonEvent::kNull) != nullptr; }
  bool Bool(bool b) {
    Token* t = add(JsonEvent::kBool);
    if (t != nullptr) t->flag = b;
    return t != nullptr;
  }
  bool Int(int) { return false; }
  bool Uint(unsigned) { return false; }
  bool Int64(std::int64_t) { return false; }
  bool Uint64(std::uint64_t) { return false; }
  bool Double(double) { return false; }
  bool RawNumber(const char* s, rapidjson::SizeType n, bool) {
    Token* t = add(JsonEvent::kInteger);
    if (t == nullptr) return false;
    const bool ok = convert({s, n}, *t);
    if (!ok) refusal = Refusal::kOverflow;
    return ok;
  }
  bool String(const char* s, rapidjson::SizeType n, bool) { return text(JsonEvent::kString, s, n); }
  bool Key(const char* s, rapidjson::SizeType n, bool) { return text(JsonEvent::kKey, s, n); }
  bool StartObject() { return open(JsonEvent::kBeginObject); }
  bool StartArray() { return open(JsonEvent::kBeginArray); }
  bool EndObject(rapidjson::SizeType) { return close(JsonEvent::kEndObject); }
  bool EndArray(rapidjson::SizeType) { return close(JsonEvent::kEndArray); }

 private:
  Token* add(JsonEvent event) {
    if (tokens.size() >= limits::kJsonTokensMax) {
      refusal = Refusal::kCount;
      return nullptr;
    }
    Token& t = tokens.emplace_back();
    t.event = event;
    return &t;
  }
  bool text(JsonEvent event, const char* s, rapidjson::SizeType n) {
    if (has_escapes_ && !is_valid_utf8({s, n})) {
      refusal = Refusal::kSurrogate;
      return false;
    }
    Token* t = add(event);
    if (t == nullptr) return false;
    t->text = s;
    t->text_size = n;
    return true;
  }
  bool open(JsonEvent event) {
    if (++depth_ > limits::kJsonDepthMax) {
      refusal = Refusal::kDepth;
      return false;
    }
    return add(event) != nullptr;
  }
  bool close(JsonEvent event) {
    --depth_;
    return add(event) != nullptr;
  }

  int depth_ = 0;
  bool has_escapes_ = false;
};

Error refused_number(std::size_t byte) {
  return {ErrorCode::kMalformed,
          fmt::format("the number at byte {} is beyond the range of a double", byte + 1),
          {},
          "send \"Infinity\" or \"-Infinity\" for an overflowed value"};
}

}  // namespace

struct JsonReader::Impl {
  rapidjson::Reader parser;
  std::vector<char> buffer;
  Tape tape;
  std::size_t at = 0;  // of the next token
  Token current;

  Status start(std::string_view text) {
    tape.clear(text.find("\\u") != text.npos);
    at = 0;
    current = {};
    Status status = read(text);
    if (!status) tape.clear();
    return status;
  }

  Status read(std::string_view text) {
    if (text.size() > limits::kBodyBytesMax) {
      return Error{ErrorCode::kTooLarge,
                   fmt::format("{} bytes; accepted: at most {}", text.size(), limits::kBodyBytesMax),
                   {},
                   {}};
    }
    if (const std::size_t nul = text.find('\0'); nul != text.npos) {
      return Error{ErrorCode::kMalformed, fmt::format("not JSON: a NUL byte at byte {}", nul + 1), {}, {}};
    }
    if (!is_valid_utf8(text)) return Error{ErrorCode::kMalformed, "not JSON: the text is not valid UTF-8", {}, {}};
    buffer.resize(std::max(buffer.size(), text.size() + kPaddingBytes));
    std::copy(text.begin(), text.end(), buffer.begin());
    std::fill_n(buffer.begin() + static_cast<std::ptrdiff_t>(text.size()), kPaddingBytes, '\0');

    rapidjson::InsituStringStream stream(buffer.data());
    if (parser.Parse<kFlags>(stream, tape)) return {};
    return explain(text);
  }

  Error explain(std::string_view text) const {
    if (tape.refusal == Tape::Refusal::kDepth) {
      return {ErrorCode::kMalformed, fmt::format("nested deeper than {} levels", limits::kJsonDepthMax), {}, {}};
    }
    if (tape.refusal == Tape::Refusal::kSurrogate) {
      return {ErrorCode::kMalformed, "not valid JSON: a string holds half a surrogate pair", {}, {}};
    }
    if (tape.refusal == Tape::Refusal::kCount) {
      return {ErrorCode::kTooLarge, fmt::format("more than {} JSON values", limits::kJsonTokensMax), {}, {}};
    }
    if (text.find_first_not_of(" \t\r\n") == text.npos) return {ErrorCode::kMalformed, "not JSON: empty", {}, {}};
    const auto code = parser.GetParseErrorCode();
    const std::size_t byte = parser.GetErrorOffset();
    if (code == rapidjson::kParseErrorNumberTooBig || tape.refusal == Tape::Refusal::kOverflow)
      return refused_number(byte);
    std::string what = rapidjson::GetParseError_En(code);
    if (!what.empty() && what.back() == '.') what.pop_back();
    return {ErrorCode::kMalformed, fmt::format("not valid JSON at byte {}: {}", byte + 1, what), {}, {}};
  }
};

JsonReader::JsonReader() : impl_(std::make_unique<Impl>()) {}
JsonReader::~JsonReader() = default;
JsonReader::JsonReader(JsonReader&&) noexcept = default;
JsonReader& JsonReader::operator=(JsonReader&&) noexcept = default;

Status JsonReader::start(std::string_view text) { return impl_->start(text); }

JsonEvent JsonReader::next() {
  if (impl_->at == impl_->tape.tokens.size()) return JsonEvent::kEnd;
  impl_->current = impl_->tape.tokens[impl_->at++];
  return impl_->current.event;
}

void JsonReader::skip(JsonEvent first) {
  int depth = 0;
  for (JsonEvent e = first;; e = next()) {
    if (e == JsonEvent::kBeginObject || e == JsonEvent::kBeginArray) ++depth;
    if (e == JsonEvent::kEndObject || e == JsonEvent::kEndArray) --depth;
    if (depth == 0 || e == JsonEvent::kEnd) return;
  }
}

bool JsonReader::boolean() const { return impl_->current.flag; }
bool JsonReader::negative() const { return impl_->current.flag; }
std::uint64_t JsonReader::magnitude() const { return impl_->current.magnitude; }
std::string_view JsonReader::text() const { return {impl_->current.text, impl_->current.text_size}; }

double JsonReader::real() const {
  const Token& t = impl_->current;
  if (t.event == JsonEvent::kReal) return t.real;
  const auto absolute = static_cast<double>(t.magnitude);
  return t.flag ? -absolute : absolute;
}

}  // namespace argus::wire
