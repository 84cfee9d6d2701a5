#include "wire/json_reader.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>

#include "base/limits.h"
#include "wire/json_writer.h"

namespace argus::wire {
namespace {

Status read(std::string_view text) { return JsonReader().start(text); }

double number(std::string_view literal) {
  JsonReader json;
  EXPECT_TRUE(json.start(literal).has_value()) << literal;
  const JsonEvent e = json.next();
  EXPECT_TRUE(e == JsonEvent::kReal || e == JsonEvent::kInteger) << literal;
  return json.real();
}

TEST(JsonReader, ReadsTheBareTokensThatPythonWrites) {
  EXPECT_TRUE(std::isnan(number("NaN")));
  EXPECT_EQ(number("Infinity"), std::numeric_limits<double>::infinity());
  EXPECT_EQ(number("-Infinity"), -std::numeric_limits<double>::infinity());
}

TEST(JsonReader, RoundsEveryDoubleCorrectly) {
  for (const char* literal :
       {"0.1", "1e-300", "1e300", "1.7976931348623157e308", "4.9406564584124654e-324", "2.2250738585072011e-308",
        "9007199254740993", "123456789012345678901234567890", "0.30000000000000004"}) {
    EXPECT_EQ(number(literal), std::strtod(literal, nullptr)) << literal;
  }
}

TEST(JsonReader, ReadsAnUnderflowAsZero) { EXPECT_EQ(number("1e-400"), 0.0); }

TEST(JsonReader, RefusesNumbersBeyondADouble) {
  for (const char* literal : {"1e400", "-1e400", "1.8e308", "17976931348623159e292", "[0, 1e999999999999]"}) {
    const Status s = read(literal);
    ASSERT_FALSE(s.has_value()) << literal;
    EXPECT_EQ(s.error().code, ErrorCode::kMalformed) << literal;
    EXPECT_NE(s.error().hint.find("Infinity"), std::string::npos);
  }
}

TEST(JsonReader, RefusesWhatIsNotJson) {
  for (const char* text : {"",
                           "   ",
                           "{",
                           "[1,",
                           "[1] x",
                           "{\"a\":}",
                           "nan",
                           "-inf",
                           "01",
                           "1.",
                           "{'a':1}",
                           "[1,]",
                           "// x",
                           "\"\\ud800\"",
                           "\"\\ude00\"",
                           "{\"\\udc00\":1}",
                           "\"\xff\"",
                           "\"\xc0\xaf\"",
                           "\"\xed\xa0\x80\"",
                           "tru"}) {
    const Status s = read(text);
    ASSERT_FALSE(s.has_value()) << text;
    EXPECT_EQ(s.error().code, ErrorCode::kMalformed) << text;
  }
}

TEST(JsonReader, RefusesNulBytes) {
  EXPECT_FALSE(read(std::string_view("{}\0", 3)).has_value());
  EXPECT_FALSE(read(std::string_view("{\"a\":\0}", 7)).has_value());
}

TEST(JsonReader, RefusesDeepNestingWithoutRecursion) {
  EXPECT_FALSE(read(std::string(5'000'000, '[')).has_value());
  const std::size_t allowed = limits::kJsonDepthMax;
  EXPECT_TRUE(read(std::string(allowed, '[') + std::string(allowed, ']')).has_value());
  EXPECT_FALSE(read(std::string(allowed + 1, '[') + std::string(allowed + 1, ']')).has_value());
}

TEST(JsonReader, RefusesDocumentsThatAreTooLarge) {
  EXPECT_EQ(read(std::string(limits::kBodyBytesMax + 1, ' ')).error().code, ErrorCode::kTooLarge);
  std::string many = "[0";
  for (std::size_t i = 0; i < limits::kJsonTokensMax; ++i) many += ",0";
  EXPECT_EQ(read(many + "]").error().code, ErrorCode::kTooLarge);
}

TEST(JsonReader, IsUsableAfterARefusal) {
  JsonReader json;
  EXPECT_FALSE(json.start("[[[").has_value());
  EXPECT_EQ(json.next(), JsonEvent::kEnd);
  ASSERT_TRUE(json.start("true").has_value());
  EXPECT_EQ(json.next(), JsonEvent::kBool);
  EXPECT_TRUE(json.boolean());
}

TEST(JsonReader, UnescapesText) {
  JsonReader json;
  ASSERT_TRUE(json.start("\"a\\u0041\\n\\ud83d\\ude00\"").has_value());
  json.next();
  EXPECT_EQ(json.text(), "aA\n\xF0\x9F\x98\x80");
}

TEST(JsonWriter, WritesNonFiniteNumbersAsQuotedWords) {
  std::string out;
  JsonWriter w(out);
  w.begin_array();
  w.number(std::nan(""));
  w.number(std::numeric_limits<double>::infinity());
  w.number(-std::numeric_limits<double>::infinity());
  w.number(-0.0);
  w.number(0.1);
  w.number(std::numeric_limits<std::int64_t>::min());
  w.string("a\"\\\x01");
  w.end_array();
  EXPECT_EQ(out, R"(["NaN","Infinity","-Infinity",0,0.1,-9223372036854775808,"a\"\\\u0001"])");
}

}  // namespace
}  // namespace argus::wire
