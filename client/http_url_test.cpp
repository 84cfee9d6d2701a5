#include "client/http_url.h"

#include <gtest/gtest.h>

namespace argus::client {
namespace {

TEST(BaseUrl, EndsInTheProtocolsPrefix) {
  for (const auto& [given, base] : std::vector<std::pair<std::string, std::string>>{
           {"http://localhost:8088", "http://localhost:8088/v2"},
           {"http://localhost:8088/", "http://localhost:8088/v2"},
           {"http://localhost:8088/v2", "http://localhost:8088/v2"},
           {"http://localhost:8088/v2/", "http://localhost:8088/v2"},
           {"https://example.org/api/v2", "https://example.org/api/v2"},
           {"https://example.org/argus//", "https://example.org/argus/v2"},
           {"https://example.org/argus/api/v2/", "https://example.org/argus/api/v2"},
           {"https://example.org/xv2", "https://example.org/xv2/v2"},
           {"HTTP://Example.org", "http://Example.org/v2"},
           {"http://[::1]:80", "http://[::1]:80/v2"}}) {
    const auto read = base_url_from(given);
    ASSERT_TRUE(read.has_value()) << given << ": " << read.error().message;
    EXPECT_EQ(*read, base) << given;
  }
}

TEST(BaseUrl, KnowsThisMachine) {
  for (const char* url :
       {"http://localhost:8088/v2", "http://127.0.0.1/v2", "https://[::1]:1/v2", "http://localhost/v2"})
    EXPECT_TRUE(is_loopback(url)) << url;
  for (const char* url : {"http://localhost.example.org/v2", "http://128.0.0.1/v2", "http://h/127.0.0.1", "127.0.0.1"})
    EXPECT_FALSE(is_loopback(url)) << url;
}

TEST(BaseUrl, RefusesWhatNoServerLiesAt) {
  const std::string long_url = "http://h/" + std::string(2048, 'a');
  for (const std::string& given :
       {std::string(), std::string("localhost"), std::string("localhost:8088"), std::string("ftp://h"),
        std::string("file:///etc/passwd"), std::string("http://"), std::string("http:///v2"),
        std::string("http://h:99999"), std::string("http://ada:s3cret@h"), std::string("http://ada@h"),
        std::string("http://h/?a=1"), std::string("http://h/#a"), std::string("http://h /"), std::string("http://h\n/"),
        std::string("http://h\xc3\xa9"), long_url}) {
    const auto read = base_url_from(given);
    ASSERT_FALSE(read.has_value()) << given;
    EXPECT_EQ(read.error().code, ErrorCode::kInvalid);
    EXPECT_EQ(read.error().field, "url");
    EXPECT_EQ(read.error().message.find("s3cret"), std::string::npos);
    EXPECT_FALSE(read.error().hint.empty());
  }
}

}  // namespace
}  // namespace argus::client
