#include "runs/signing_key.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "runs/certificate.h"
#include "runs/testing/temp_store.h"

namespace argus::runs {
namespace {

constexpr const char* kPayload = R"({"type":"argus.certificate","version":1,"run_id":"r"})";

CertificateVerdict verdict(store::Store& store, const std::string& certificate) {
  std::vector<PublicKey> trusted;
  const auto keys = SigningKeys::list(store);
  for (const SigningKeyInfo& key : *keys) trusted.push_back(key.public_key);
  return check_certificate(certificate, trusted).verdict;
}

class SigningKeysTest : public ::testing::Test {
 protected:
  SystemClock clock_;
  testing::TempStore home_;
  store::Store& store_ = home_.store();
};

TEST_F(SigningKeysTest, AreMadeOnFirstUseAndKept) {
  EXPECT_TRUE(SigningKeys::list(store_)->empty());
  const std::string first = *(*SigningKeys::open(store_, clock_))->sign(kPayload);
  const std::string second = *(*SigningKeys::open(store_, clock_))->sign(kPayload);
  EXPECT_EQ(first, second) << "Ed25519 is deterministic: the same key signs the same";
  EXPECT_EQ(SigningKeys::list(store_)->size(), 1u);
  EXPECT_EQ(verdict(store_, first), CertificateVerdict::kValid);
}

TEST_F(SigningKeysTest, AreOneForReplicasThatStartTogether) {
  std::vector<std::string> sealed(8);
  std::vector<std::thread> replicas;
  for (std::string& into : sealed) {
    replicas.emplace_back([&] { into = *(*SigningKeys::open(store_, clock_))->sign(kPayload); });
  }
  for (std::thread& replica : replicas) replica.join();
  EXPECT_EQ(std::set<std::string>(sealed.begin(), sealed.end()).size(), 1u);
}

TEST_F(SigningKeysTest, TrustOldKeysAfterARotation) {
  auto keys = SigningKeys::open(store_, clock_);
  auto other_replica = SigningKeys::open(store_, clock_);
  const std::string before = *(*keys)->sign(kPayload);
  const auto fresh = (*keys)->rotate();
  ASSERT_TRUE(fresh.has_value());
  const std::string after = *(*other_replica)->sign(kPayload);
  EXPECT_NE(after.find(fresh->key_id), std::string::npos) << "the other replica signs with the new key at once";
  EXPECT_EQ(verdict(store_, before), CertificateVerdict::kValid);
  EXPECT_EQ(verdict(store_, after), CertificateVerdict::kValid);
  const auto all = SigningKeys::list(store_);
  ASSERT_EQ(all->size(), 2u);
  EXPECT_GT((*all)[0].retired_ms, 0);
  EXPECT_EQ((*all)[1].retired_ms, 0);
}

TEST_F(SigningKeysTest, ForgetTheSecretOfARetiredKey) {
  auto keys = SigningKeys::open(store_, clock_);
  const auto seed_of = [&] {
    const std::string body = (**store_.find_document("signing_key", "server")).body;
    const std::size_t at = body.find("\"seed\":\"") + 8;
    return body.substr(at, 43);
  };
  const std::string old_seed = seed_of();
  ASSERT_TRUE((*keys)->rotate().has_value());
  EXPECT_EQ((**store_.find_document("signing_key", "server")).body.find(old_seed), std::string::npos);
  EXPECT_TRUE(PrivateKey::from_text(seed_of()).has_value());
}

TEST_F(SigningKeysTest, RefuseADocumentThatIsNotTheirs) {
  for (const char* body : {"", "{}", "null", R"({"version":1,"seed":"x","keys":[]})", R"({"version":2})"}) {
    static_cast<void>(store_.delete_document("signing_key", "server"));
    ASSERT_TRUE(*store_.put_document({"signing_key", "server", 0, body}));
    const auto keys = SigningKeys::open(store_, clock_);
    ASSERT_FALSE(keys.has_value()) << body;
    EXPECT_EQ(keys.error().code, ErrorCode::kMalformed);
  }
}

}  // namespace
}  // namespace argus::runs
