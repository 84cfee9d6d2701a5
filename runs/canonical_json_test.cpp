#include "runs/canonical_json.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>

namespace argus::runs {
namespace {

std::string canonical(std::string_view json) {
  const Result<std::string> result = canonical_json(json);
  return result ? *result : "refused: " + result.error().message;
}

bool is_refused(std::string_view json) { return !canonical_json(json).has_value(); }

std::string number(double value) {
  std::string out;
  append_canonical_number(value, out);
  return out;
}

// RFC 8785, appendix B: the bits of a double and how it is written.
TEST(CanonicalNumber, WritesTheTableOfTheRfc) {
  const struct {
    std::uint64_t bits;
    const char* text;
  } rows[] = {
      {0x0000000000000000, "0"},
      {0x8000000000000000, "0"},
      {0x0000000000000001, "5e-324"},
      {0x8000000000000001, "-5e-324"},
      {0x7fefffffffffffff, "1.7976931348623157e+308"},
      {0xffefffffffffffff, "-1.7976931348623157e+308"},
      {0x4340000000000000, "9007199254740992"},
      {0xc340000000000000, "-9007199254740992"},
      {0x4430000000000000, "295147905179352830000"},
      {0x44b52d02c7e14af5, "9.999999999999997e+22"},
      {0x44b52d02c7e14af6, "1e+23"},
      {0x44b52d02c7e14af7, "1.0000000000000001e+23"},
      {0x444b1ae4d6e2ef4e, "999999999999999700000"},
      {0x444b1ae4d6e2ef4f, "999999999999999900000"},
      {0x444b1ae4d6e2ef50, "1e+21"},
      {0x3eb0c6f7a0b5ed8c, "9.999999999999997e-7"},
      {0x3eb0c6f7a0b5ed8d, "0.000001"},
      {0x41b3de4355555553, "333333333.3333332"},
      {0x41b3de4355555554, "333333333.33333325"},
      {0x41b3de4355555555, "333333333.3333333"},
      {0x41b3de4355555556, "333333333.3333334"},
      {0x41b3de4355555557, "333333333.33333343"},
      {0xbecbf647612f3696, "-0.0000033333333333333333"},
      {0x43143ff3c1cb0959, "1424953923781206.2"},
  };
  for (const auto& row : rows) EXPECT_EQ(number(std::bit_cast<double>(row.bits)), row.text);
}

TEST(CanonicalNumber, ReadsBackAsTheSameDouble) {
  std::mt19937_64 random(8785);
  for (int i = 0; i < 100000; ++i) {
    const double value = std::bit_cast<double>(random());
    if (!(value - value == 0.0)) continue;  // not finite
    ASSERT_EQ(std::strtod(number(value).c_str(), nullptr), value) << "case " << i << " of seed 8785";
  }
}

// RFC 8785, section 3.2.2 and 3.2.4.
TEST(CanonicalJson, WritesTheExampleOfTheRfc) {
  EXPECT_EQ(canonical(R"({
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    })"),
            "{\"literals\":[null,true,false],"
            "\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],"
            "\"string\":\"\xe2\x82\xac$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}");
}

// RFC 8785, section 3.2.3.
TEST(CanonicalJson, OrdersKeysByUtf16CodeUnits) {
  EXPECT_EQ(canonical(R"({
      "\u20ac": "Euro Sign",
      "\r": "Carriage Return",
      "\ufb33": "Hebrew Letter Dalet With Dagesh",
      "1": "One",
      "\ud83d\ude00": "Emoji: Grinning Face",
      "\u0080": "Control",
      "\u00f6": "Latin Small Letter O With Diaeresis"
    })"),
            "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\xc2\x80\":\"Control\","
            "\"\xc3\xb6\":\"Latin Small Letter O With Diaeresis\",\"\xe2\x82\xac\":\"Euro Sign\","
            "\"\xf0\x9f\x98\x80\":\"Emoji: Grinning Face\",\"\xef\xac\xb3\":\"Hebrew Letter Dalet With Dagesh\"}");
}

TEST(CanonicalJson, IsOneForEverySpelling) {
  EXPECT_EQ(canonical(R"({"a":1,"b":[1.5,"é"]})"), canonical("{ \"b\" : [15e-1 , \"\\u00e9\"],\n \"a\" : 1.0 }"));
  EXPECT_EQ(canonical("-0"), "0");
  EXPECT_EQ(canonical("[1E400e]").substr(0, 7), "refused");
}

TEST(CanonicalJson, IsItsOwnCanonicalForm) {
  const std::string once = canonical(R"({"z":{"\u0007":[1e300,{}],"":[]},"a":"\u2028\u007f\b\t\f"})");
  EXPECT_EQ(canonical(once), once);
}

TEST(CanonicalJson, EscapesOnlyWhatMustBeEscaped) {
  EXPECT_EQ(canonical(R"("\u0008\u0009\u000a\u000b\u000c\u000d\u001f\u007f\/")"),
            "\"\\b\\t\\n\\u000b\\f\\r\\u001f\x7f/\"");
}

TEST(CanonicalJson, RefusesAKeyGivenTwice) {
  EXPECT_TRUE(is_refused(R"({"a":1,"a":1})"));
  EXPECT_TRUE(is_refused(R"([{"b":{"\u0061":1,"a":2}}])"));
  EXPECT_FALSE(is_refused(R"([{"a":1},{"a":1}])"));
}

TEST(CanonicalJson, RefusesWhatIsNotStrictJson) {
  for (const char* text : {"NaN", "[Infinity]", "{\"a\":-Infinity}", "{", "", "{'a':1}", "[1,]", "01", "\"\\ud800\""}) {
    EXPECT_TRUE(is_refused(text)) << text;
  }
}

TEST(CanonicalMembers, TakesAnObjectApart) {
  const auto members = canonical_members(R"({"b":{"y":1,"x":2.0},"a":"t"})");
  ASSERT_TRUE(members.has_value());
  ASSERT_EQ(members->size(), 2u);
  EXPECT_EQ((*members)[0].key, "a");
  EXPECT_EQ((*members)[1].value, R"({"x":2,"y":1})");
  EXPECT_EQ(canonical_object(*members), R"({"a":"t","b":{"x":2,"y":1}})");
  EXPECT_FALSE(canonical_members("[1]").has_value());
}

}  // namespace
}  // namespace argus::runs
