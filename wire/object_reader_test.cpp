#include "wire/object_reader.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace argus::wire {
namespace {

struct ObjectReaderTest : testing::Test {
  JsonReader json;
  std::string run_id;
  std::string name;
  std::string hash;
  std::optional<std::int64_t> step;
  std::optional<double> duration;
  std::vector<std::string> vendors;

  Status read(std::string_view body) {
    const ObjectField fields[] = {run_id_field(run_id),        text_field("name", name),
                                  integer_field("step", step), amount_field("duration_s", duration),
                                  hex_field("hash", hash, 4),  devices()};
    return read_object(json, body, fields);
  }

  ObjectField devices() {
    return {
        "devices", false, "an array of objects", {}, [this](JsonReader& j, JsonEvent first, const std::string& path) {
          if (first != JsonEvent::kBeginArray) return Status(Error{ErrorCode::kInvalid, "no array", path, {}});
          for (JsonEvent e = j.next(); e != JsonEvent::kEndArray; e = j.next()) {
            vendors.emplace_back();
            const ObjectField inner[] = {text_field("vendor", vendors.back())};
            if (Status s = read_members(j, path + "[].", inner); !s) return s;
          }
          return Status();
        }};
  }
};

TEST_F(ObjectReaderTest, ReadsKnownFieldsAndPassesOverOthers) {
  ASSERT_TRUE(read(R"({"x":{"step":[1,{"run_id":2}]},"run_id":"a","step":7.0,"name":null,"hash":"AbC1",
                       "devices":[{"vendor":"v","model":"secret"},{}],"duration_s":1.5})"));
  EXPECT_EQ(run_id, "a");
  EXPECT_EQ(step, 7);
  EXPECT_EQ(hash, "abc1");
  EXPECT_EQ(duration, 1.5);
  EXPECT_EQ(vendors, (std::vector<std::string>{"v", ""}));
}

TEST_F(ObjectReaderTest, NamesTheFieldItRefuses) {
  const std::vector<std::pair<std::string, std::string>> refusals = {
      {R"({})", "run_id"},
      {R"({"run_id":null})", "run_id"},
      {R"({"run_id":"a b"})", "run_id"},
      {R"({"run_id":"a","run_id":"a"})", "run_id"},
      {R"({"run_id":"a","step":-1})", "step"},
      {R"({"run_id":"a","step":"1"})", "step"},
      {R"({"run_id":"a","step":9007199254740994})", "step"},
      {R"({"run_id":"a","step":{}})", "step"},
      {R"({"run_id":"a","duration_s":NaN})", "duration_s"},
      {R"({"run_id":"a","hash":"xyz1"})", "hash"},
      {R"({"run_id":"a","devices":[{"vendor":1}]})", "devices[].vendor"},
      {R"([])", "the body"},
  };
  for (const auto& [body, field] : refusals) {
    const Status s = read(body);
    ASSERT_FALSE(s) << body;
    EXPECT_EQ(s.error().code, ErrorCode::kInvalid) << body;
    EXPECT_EQ(s.error().field, field) << body;
    EXPECT_NE(s.error().message.find(field), std::string::npos) << s.error().message;
  }
  EXPECT_EQ(read("{").error().code, ErrorCode::kMalformed);
}

TEST_F(ObjectReaderTest, CutsTextAtACharacter) {
  const ObjectField fields[] = {cut_text_field("name", name, 4)};
  ASSERT_TRUE(read_object(json, R"({"name":"abc€d"})", fields));
  EXPECT_EQ(name, "abc");
}

}  // namespace
}  // namespace argus::wire
