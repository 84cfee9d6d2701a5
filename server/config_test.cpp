#include "server/config.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace argus::server {
namespace {

TEST(Config, FileThenEnvironmentThenFlag) {
  ServerConfig config;
  ASSERT_TRUE(apply_toml(config, "host = \"0.0.0.0\"\nport = 1\n[log]\nlevel = \"warn\"\n", "a.toml"));
  const std::map<std::string, std::string> variables = {{"ARGUS_PORT", "2"}, {"ARGUS_HOST", ""}};
  ASSERT_TRUE(apply_environment(config, [&](const char* name) -> const char* {
    const auto at = variables.find(name);
    return at == variables.end() ? nullptr : at->second.c_str();
  }));
  EXPECT_EQ(config.http.port, 2);
  EXPECT_EQ(config.http.host, "0.0.0.0") << "an empty variable is one that was not set";
  ASSERT_TRUE(apply_setting(config, "port", "3"));
  EXPECT_EQ(config.http.port, 3);
  EXPECT_EQ(config.log_level, LogLevel::kWarn);
}

TEST(Config, RefusesUnknownKeysByNameAndLine) {
  ServerConfig config;
  const Status s = apply_toml(config, "port = 1\n\n[tls]\ncertificat = \"x\"\n", "a.toml");
  ASSERT_FALSE(s);
  EXPECT_EQ(s.error().field, "tls.certificat");
  EXPECT_NE(s.error().message.find("a.toml:4"), std::string::npos) << s.error().message;
  EXPECT_EQ(apply_toml(config, "port = [", "a.toml").error().code, ErrorCode::kMalformed);
  EXPECT_FALSE(apply_toml(config, "port = 2026-01-01\n", "a.toml"));
}

TEST(Config, NamesWhatAValueMayBe) {
  for (const auto& [key, value] : std::map<std::string, std::string>{{"port", "65536"},
                                                                     {"port", "-1"},
                                                                     {"port", "80 "},
                                                                     {"log.level", "loud"},
                                                                     {"sync", "maybe"},
                                                                     {"database", "mysql://x"},
                                                                     {"limits.steps_per_s", "nan"},
                                                                     {"retention.size", "10X"},
                                                                     {"host", ""}}) {
    ServerConfig config;
    const Status s = apply_setting(config, key, value);
    ASSERT_FALSE(s) << key << "=" << value;
    EXPECT_EQ(s.error().field, key);
    EXPECT_NE(s.error().message.find("accepted"), std::string::npos);
  }
}

TEST(Config, ReadsSizes) {
  ServerConfig config;
  for (const auto& [text, bytes] : std::map<std::string, std::uint64_t>{
           {"0", 0}, {"500", 500}, {"2K", 2048}, {"1.5GiB", 1610612736}, {"1TB", std::uint64_t{1} << 40}}) {
    ASSERT_TRUE(apply_setting(config, "retention.size", text)) << text;
    EXPECT_EQ(config.retention.max_bytes, bytes) << text;
  }
}

TEST(Config, KeepsWebhooksAsTables) {
  ServerConfig config;
  ASSERT_TRUE(
      apply_toml(config, "[[webhooks]]\nurl = \"https://x\"\npressure = 2\nevents = [\"a\", \"b\"]\n", "a.toml"));
  ASSERT_EQ(config.webhooks.size(), 1u);
  EXPECT_EQ(config.webhooks[0].line, 1);
  const std::map<std::string, std::string> values(config.webhooks[0].values.begin(), config.webhooks[0].values.end());
  EXPECT_EQ(values, (std::map<std::string, std::string>{{"url", "https://x"}, {"pressure", "2"}, {"events", "a,b"}}));
}

TEST(Config, EverySettingIsNamedOnce) {
  std::map<std::string_view, int> seen;
  for (const Setting& setting : settings()) {
    EXPECT_EQ(++seen[setting.key], 1) << setting.key;
    if (!setting.environment.empty()) {
      EXPECT_EQ(++seen[setting.environment], 1) << setting.environment;
    }
  }
}

}  // namespace
}  // namespace argus::server
