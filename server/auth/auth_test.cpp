#include "server/auth/auth.h"

#include <gtest/gtest.h>

#include "runs/testing/temp_store.h"
#include "server/testing/held_clock.h"

namespace argus::server {
namespace {

struct AuthTest : testing::Test {
  HeldClock clock;
  runs::testing::TempStore temp;
  WorkerPool workers{1};
  std::unique_ptr<Auth> auth;
  Route ingest;
  Route admin;

  AuthTest() {
    ingest.scope = Scope::kIngest;
    ingest.changes_state = true;
    admin.scope = Scope::kAdmin;
  }
  ~AuthTest() override { workers.stop(); }

  void open(const RateLimits& limits = {}) {
    auto opened = Auth::open(temp.store(), clock, workers, {"127.0.0.1", limits});
    ASSERT_TRUE(opened) << opened.error().message;
    auth = std::move(*opened);
  }
  CreatedKey make_key(const std::string& owner, std::uint8_t scopes, std::int64_t days = 0) {
    auto created = create_key(temp.store(), clock, {owner, scopes, days});
    EXPECT_TRUE(created);
    return *created;
  }
  static HttpRequest with(std::string name, std::string value) {
    HttpRequest request;
    request.peer = "10.0.0.1";
    request.headers.emplace_back(std::move(name), std::move(value));
    return request;
  }
  static HttpRequest with_key(const std::string& text) { return with("authorization", "Bearer " + text); }
  int status(const HttpRequest& request, const Route& route) {
    const auto verdict = auth->admit(request, route);
    return verdict.who ? 200 : verdict.refusal.status;
  }
};

constexpr auto kIngestOnly = static_cast<std::uint8_t>(Scope::kIngest);
constexpr std::uint8_t kAll = 7;

TEST_F(AuthTest, WithoutKeysEverybodyIsLocalAndKeysAreIgnored) {
  open();
  EXPECT_FALSE(auth->needs_keys());
  for (const HttpRequest& request : {HttpRequest(), with_key("anything"), with("x-api-key", "x")}) {
    const auto verdict = auth->try_admit(request, admin);
    ASSERT_TRUE(verdict && verdict->who);
    EXPECT_EQ(verdict->who->owner, "local");
  }
  EXPECT_TRUE(auth->refuse_foreign(with("host", "evil.example")));
  EXPECT_FALSE(auth->refuse_foreign(with("host", "localhost:8088")));
}

TEST_F(AuthTest, BeyondLoopbackItNeedsKeys) {
  for (const char* host : {"0.0.0.0", "::", "10.1.2.3", "example.org"}) {
    const auto opened = Auth::open(temp.store(), clock, workers, {host, {}});
    ASSERT_FALSE(opened) << host;
    EXPECT_NE(opened.error().hint.find("argus keys create"), std::string::npos);
  }
  make_key("ada", kAll);
  EXPECT_TRUE(Auth::open(temp.store(), clock, workers, {"0.0.0.0", {}}));
}

TEST_F(AuthTest, KeysOpenTheirOwnersRunsWithinTheirScopes) {
  const CreatedKey key = make_key("ada", kIngestOnly);
  open();
  EXPECT_TRUE(key.text.starts_with("argus_" + key.key.id + "_"));
  auto verdict = auth->admit(with_key(key.text), ingest);
  ASSERT_TRUE(verdict.who);
  EXPECT_EQ(verdict.who->owner, "ada");
  EXPECT_EQ(verdict.who->key_id, key.key.id);
  EXPECT_TRUE(auth->try_admit(with("x-api-key", key.text), ingest)->who) << "known by now: no reading";
  EXPECT_TRUE(auth->admit(with("authorization", "bearer " + key.text), ingest).who);
  EXPECT_EQ(status(with_key(key.text), admin), 403);
  EXPECT_EQ(status(HttpRequest(), ingest), 401);
  EXPECT_EQ(status(with("authorization", "Basic eDp5"), ingest), 401);
}

TEST_F(AuthTest, NothingNearAKeyIsOne) {
  const std::string text = make_key("ada", kAll).text;
  open({.failures_burst = 1000});
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::string near = text;
    near[i] = near[i] == 'A' ? 'B' : 'A';
    EXPECT_EQ(status(with_key(near), ingest), 401) << i;
  }
  for (const std::string& near : {text + "A", text.substr(1), text.substr(0, text.size() - 1), std::string("argus_")})
    EXPECT_EQ(status(with_key(near), ingest), 401) << near;
}

TEST_F(AuthTest, TheStoreHoldsNoKey) {
  const CreatedKey key = make_key("ada", kAll);
  const std::string secret = key.text.substr(key.text.size() - 43);
  const auto documents = temp.store().list_documents("api_key", "", 10);
  ASSERT_TRUE(documents);
  ASSERT_EQ(documents->size(), 1u);
  EXPECT_EQ((*documents)[0].body.find(secret), std::string::npos);
}

TEST_F(AuthTest, ExpiredKeysAreRefused) {
  const CreatedKey key = make_key("ada", kAll, 1);
  open();
  EXPECT_EQ(status(with_key(key.text), ingest), 200);
  clock.advance_ms(86'400'000);
  EXPECT_EQ(status(with_key(key.text), ingest), 401);
}

TEST_F(AuthTest, RevocationIsFeltAtOnceHereAndSoonElsewhere) {
  const CreatedKey key = make_key("ada", kAll);
  open();
  auto other = Auth::open(temp.store(), clock, workers, {"127.0.0.1", {}});
  ASSERT_TRUE(other);
  EXPECT_EQ(status(with_key(key.text), ingest), 200);
  EXPECT_TRUE((*other)->admit(with_key(key.text), ingest).who);
  ASSERT_TRUE(*auth->revoke_key(key.key.id));
  EXPECT_EQ(status(with_key(key.text), ingest), 401);
  clock.advance_ms(5000);
  EXPECT_FALSE((*other)->try_admit(with_key(key.text), ingest)) << "too old to be trusted: must be read";
  EXPECT_FALSE((*other)->admit(with_key(key.text), ingest).who);
  EXPECT_FALSE(*auth->revoke_key("0000000000000000"));
  workers.stop();  // before `other` goes
}

TEST_F(AuthTest, AServerThatNeededKeysStaysClosed) {
  const CreatedKey key = make_key("ada", kAll);
  ASSERT_TRUE(*revoke_key(temp.store(), clock, key.key.id));
  open();
  EXPECT_TRUE(auth->needs_keys());
  EXPECT_EQ(status(HttpRequest(), ingest), 401);
}

TEST_F(AuthTest, TheFirstKeyClosesAnOpenServer) {
  open();
  make_key("ada", kAll);
  clock.advance_ms(5000);
  auth->refuse_foreign(HttpRequest());
  workers.stop();
  EXPECT_TRUE(auth->needs_keys());
}

TEST_F(AuthTest, SessionsNeedTheirCsrfTokenToChangeAnything) {
  const CreatedKey key = make_key("ada", kAll);
  open();
  const auto opened = auth->open_session({"ada", key.key.id, kAll, false});
  ASSERT_TRUE(opened);
  HttpRequest request = with("cookie", "a=b; argus_session=" + opened->token + "; c=d");
  Route reading = ingest;
  reading.changes_state = false;
  EXPECT_EQ(status(request, reading), 200);
  EXPECT_EQ(status(request, ingest), 403);
  request.headers.emplace_back("x-csrf-token", opened->csrf_token);
  EXPECT_EQ(status(request, ingest), 200);
  EXPECT_EQ(auth->csrf_token(request), opened->csrf_token);
  const auto sessions = temp.store().list_documents("session", "", 10);
  ASSERT_EQ(sessions->size(), 1u);
  EXPECT_EQ(((*sessions)[0].id + (*sessions)[0].body).find(opened->token), std::string::npos) << "kept as a hash";
  ASSERT_TRUE(auth->close_session(request));
  EXPECT_EQ(status(request, reading), 401);
}

TEST_F(AuthTest, SessionsEndWithTimeAndWithTheirKey) {
  const CreatedKey key = make_key("ada", kAll);
  open();
  const Identity who{"ada", key.key.id, kAll, false};
  const auto first = auth->open_session(who);
  Route reading = ingest;
  reading.changes_state = false;
  clock.advance_ms(12 * 3'600'000);
  EXPECT_EQ(status(with("cookie", "argus_session=" + first->token), reading), 401);
  const auto second = auth->open_session(who);
  EXPECT_EQ(status(with("cookie", "argus_session=" + second->token), reading), 200);
  ASSERT_TRUE(*auth->revoke_key(key.key.id));
  EXPECT_EQ(status(with("cookie", "argus_session=" + second->token), reading), 401);
}

TEST_F(AuthTest, LimitsRequestsAndStepsOfAKey) {
  const CreatedKey key = make_key("ada", kAll);
  open({.requests_per_s = 2, .steps_per_s = 10, .burst_s = 1});
  EXPECT_EQ(status(with_key(key.text), ingest), 200);
  EXPECT_EQ(status(with_key(key.text), ingest), 200);
  const auto refused = auth->admit(with_key(key.text), ingest);
  ASSERT_FALSE(refused.who);
  EXPECT_EQ(refused.refusal.status, 429);
  EXPECT_EQ(refused.refusal.headers.back().first, "Retry-After");
  const Identity who{"ada", key.key.id, kAll, false};
  EXPECT_FALSE(auth->charge_steps(who, 100));
  EXPECT_EQ(auth->charge_steps(who, 1)->status, 429);
  EXPECT_FALSE(auth->charge_steps({"local", "", kAll, false}, 1 << 30)) << "an open server is its owner's own";
}

TEST_F(AuthTest, BoundsFailuresOfAnAddressButNotItsKnownKeys) {
  const CreatedKey known = make_key("ada", kAll);
  const CreatedKey fresh = make_key("bob", kAll);
  open({.failures_per_s = 1, .failures_burst = 3});
  EXPECT_EQ(status(with_key(known.text), ingest), 200);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(status(with_key("argus_nonsense"), ingest), 401);
  EXPECT_EQ(status(with_key("argus_nonsense"), ingest), 429);
  EXPECT_EQ(status(with_key(fresh.text), ingest), 429) << "no further reading of the store for this address";
  EXPECT_EQ(status(with_key(known.text), ingest), 200);
  HttpRequest elsewhere = with_key(fresh.text);
  elsewhere.peer = "10.0.0.2";
  EXPECT_EQ(status(elsewhere, ingest), 200);
}

TEST_F(AuthTest, NotesTheLastUseNowAndThen) {
  const CreatedKey key = make_key("ada", kAll);
  open();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(status(with_key(key.text), ingest), 200);
  workers.stop();
  const auto found = find_key(temp.store(), key.key.id);
  EXPECT_EQ((*found)->last_used_ms, clock.wall_ms());
}

TEST_F(AuthTest, RefusesOddOwnersAndScopes) {
  for (const std::string& owner :
       {std::string(), std::string("a b"), std::string(65, 'a'), std::string("a/b"), std::string("a\n")})
    EXPECT_EQ(create_key(temp.store(), clock, {owner, kAll, 0}).error().field, "owner") << owner;
  EXPECT_EQ(create_key(temp.store(), clock, {"a", 0, 0}).error().field, "scopes");
  EXPECT_EQ(create_key(temp.store(), clock, {"a", kAll, -1}).error().field, "expires_days");
  EXPECT_EQ(*scopes_from_text("read, ingest"), 3);
  EXPECT_FALSE(scopes_from_text("read,write"));
  EXPECT_FALSE(scopes_from_text(""));
}

}  // namespace
}  // namespace argus::server
