#include "server/auth/origin.h"

#include <gtest/gtest.h>

namespace argus::server {
namespace {

HttpRequest request(std::vector<std::pair<std::string, std::string>> headers) {
  HttpRequest r;
  r.headers = std::move(headers);
  return r;
}

TEST(Origin, KnowsItsOwnMachine) {
  for (const char* host : {"localhost", "LocalHost", "127.0.0.1", "127.255.3.4", "::1", "[::1]"})
    EXPECT_TRUE(is_loopback_host(host)) << host;
  for (const char* host :
       {"", "localhost.evil.com", "127.0.0.1.evil.com", "128.0.0.1", "127.1", "127.0.0.256", "0.0.0.0", "0177.0.0.1",
        "127.0.0.1.", "127..0.1", "2130706433", "::", "10.0.0.1", "127.0.0.1.1"})
    EXPECT_FALSE(is_loopback_host(host)) << host;
}

TEST(Origin, SplitsHostAndPort) {
  EXPECT_EQ(host_of("localhost:8088"), "localhost");
  EXPECT_EQ(host_of("[::1]:8088"), "[::1]");
  EXPECT_EQ(host_of("[::1]"), "[::1]");
  EXPECT_EQ(host_of("localhost:80:80"), "");
  EXPECT_EQ(host_of("localhost:evil"), "");
  EXPECT_EQ(host_of("[::1"), "");
}

TEST(Origin, RefusesWebPages) {
  EXPECT_FALSE(is_foreign(request({{"host", "127.0.0.1:8088"}})));
  EXPECT_FALSE(is_foreign(request({{"host", "localhost:9"}, {"origin", "http://localhost:9"}})));
  EXPECT_FALSE(is_foreign(request({})));
  EXPECT_TRUE(is_foreign(request({{"host", "evil.example:8088"}}))) << "rebound name";
  EXPECT_TRUE(is_foreign(request({{"host", "localhost:9"}, {"origin", "http://localhost:3000"}})));
  EXPECT_TRUE(is_foreign(request({{"host", "localhost:9"}, {"origin", "https://localhost:9"}})));
  EXPECT_TRUE(is_foreign(request({{"host", "localhost:9"}, {"origin", "null"}})));
  EXPECT_TRUE(is_foreign(request({{"host", "localhost:9"}, {"sec-fetch-site", "cross-site"}})));
  EXPECT_TRUE(is_foreign(request({{"host", "localhost:9"}, {"sec-fetch-site", "same-site"}})));
  EXPECT_FALSE(is_foreign(request({{"host", "localhost:9"}, {"sec-fetch-site", "same-origin"}})));
  EXPECT_FALSE(
      is_foreign(request({{"host", "localhost:9"}, {"sec-fetch-site", "cross-site"}, {"sec-fetch-mode", "navigate"}})))
      << "a link to the dashboard";
}

TEST(Origin, KnowsCrossSiteRequests) {
  EXPECT_FALSE(is_cross_site(request({{"host", "argus.example"}})));
  EXPECT_FALSE(is_cross_site(request({{"host", "argus.example"}, {"origin", "https://argus.example"}})));
  EXPECT_TRUE(is_cross_site(request({{"host", "argus.example"}, {"origin", "https://argus.example:444"}})));
  EXPECT_TRUE(is_cross_site(request({{"host", "argus.example"}, {"origin", "https://site.example"}})));
  EXPECT_TRUE(is_cross_site(request({{"host", "argus.example"}, {"origin", "null"}})));
  EXPECT_TRUE(is_cross_site(request({{"host", "argus.example"}, {"sec-fetch-site", "cross-site"}})));
}

}  // namespace
}  // namespace argus::server
