#include "client/answer.h"

#include <gtest/gtest.h>

namespace argus::client {
namespace {

KeeperAnswer read(std::string_view text) {
  wire::JsonReader json;
  const auto answer = read_answer(json, text);
  EXPECT_TRUE(answer.has_value()) << text;
  return answer ? *answer : KeeperAnswer();
}

TEST(Answer, APersonsCommandIsAnActionWithoutItsRecommendation) {
  EXPECT_EQ(read(R"({"run_id":"r","action":"STOP","recommendation":null})").command, Command::kStop);
  EXPECT_EQ(read(R"({"run_id":"r","action":"PAUSE","recommendation":{"id":1,"kind":"REDUCE_LR"}})").command,
            Command::kPause);
  EXPECT_EQ(read(R"({"run_id":"r","recommendation":{"kind":"PAUSE","x":[{"kind":"no"}]},"action":"PAUSE"})").command,
            Command::kNone);
  EXPECT_EQ(read(R"({"run_id":"r","action":"SET_LR"})").command, Command::kNone);
  EXPECT_EQ(read(R"({"run_id":"r","steps":[{"action":"STOP"}],"action":"CONTINUE"})").command, Command::kNone);
}

TEST(Answer, NotAWholeObjectIsNoAnswer) {
  wire::JsonReader json;
  for (const std::string_view text : {"", "{\"run_id\":\"r\"", "[]", "<html></html>", "3"})
    EXPECT_FALSE(read_answer(json, text).has_value()) << text;
}

TEST(Answer, MustNameTheRun) {
  EXPECT_EQ(fault_of(read(R"({"run_id":"r"})"), MessageKind::kPack, "r"), "");
  EXPECT_NE(fault_of(read(R"({"run_id":"q"})"), MessageKind::kPack, "r"), "");
  EXPECT_NE(fault_of(read(R"({"ok":true})"), MessageKind::kPack, "r"), "");
  EXPECT_EQ(fault_of(read(R"({"completed":true,"certificate":{}})"), MessageKind::kComplete, "r"), "");
  EXPECT_NE(fault_of(read(R"({"run_id":"r"})"), MessageKind::kComplete, "r"), "");
  EXPECT_NE(fault_of(read(R"({"completed":true,"run_id":"q"})"), MessageKind::kComplete, "r"), "");
}

TEST(Answer, GivesTheCertificateAsItWasSent) {
  const std::string certificate = R"({ "a" : "}\"certificate\":{", "n":[1.50,{}] })";
  EXPECT_EQ(
      read("{\"note\":\"certificate\",\"completed\":true,\"certificate\":" + certificate + ",\"z\":{}}").certificate,
      certificate);
  EXPECT_EQ(read(R"({"completed":true,"certificate":null,"x":{"y":1}})").certificate, "");
}

}  // namespace
}  // namespace argus::client
