#include "runs/certificate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

namespace argus::runs {
namespace {

using nlohmann::json;

// A run of which everything a certificate can state has happened.
struct Eventful {
  store::RunInfo run;
  RunHead head;
  TimelineFold timeline;
  DataQuality quality;

  Eventful() {
    run.owner = "lab";
    run.run_id = "gpt-small.7";
    run.status = store::RunStatus::kFailed;
    run.observations = 5000;
    run.last_step = 5123;
    run.created_ms = 1767225600123;
    head.model_type = "transformer";
    head.ended_ms = 1767312000456;
    head.duration_s = 86400.333;
    head.error = "CUDA \"out of\\memory\"\n\tat caf\xc3\xa9 \xf0\x9f\x98\x80";
    head.first_step = 0;
    head.segment = 2;
    head.late = 3;
    head.gaps = 4;
    head.skipped_steps = 120;
    head.steps_at_pressure = {4800, 150, 40, 10};
    head.ms_at_pressure = {86000000, 300000, 80000, 20000};
    head.chain.add("a row");
    timeline.resets = 1;
    timeline.episodes = {{1, 900, 1200, 2}, {2, 5000, -1, 3}};
    timeline.interventions = {
        {1, "REDUCE_LR", "recovered", 905, 1100, 906, true, "lr 1e-4 -> 5e-5", {"gradient_explosion"}},
        {2, "ROLLBACK", "proposed", 5005, 5005, -1, false, "", {"loss_divergence", "gradient_explosion"}}};
    timeline.checkpoints = {{800, "SAVE", 1, "certified calm"}, {901, "SAVE_NOW", 2, "something is developing"}};
    timeline.anchors = {{905, 800, 893, "certified_calm", 0.98}, {5002, 4800, 4990, "certified_calm", 0.5}};
    quality = {0.731, 0.9, 0.75, 0.95, 0.999, 5000, 5};
  }
  CertificateFacts facts() const { return {run, head, timeline, {"0.3.0", "0.4.0"}, quality}; }
};

class Certificate : public testing::Test {
 protected:
  Certificate() : sealed_(*seal_certificate(certificate_payload(eventful_.facts()), key_)) {}

  CertificateVerdict verdict(const std::string& text) const {
    const PublicKey trusted[] = {PrivateKey::generate().public_key(), key_.public_key()};
    return check_certificate(text, trusted).verdict;
  }
  json parsed() const { return json::parse(sealed_); }

  const PrivateKey key_ = PrivateKey::generate();
  const Eventful eventful_;
  const std::string sealed_;
};

void walk(const json& node, const json::json_pointer& at, const std::function<void(const json::json_pointer&)>& visit) {
  visit(at);
  if (node.is_object()) {
    for (const auto& [key, value] : node.items()) walk(value, at / key, visit);
  } else if (node.is_array()) {
    for (std::size_t i = 0; i < node.size(); ++i) walk(node[i], at / i, visit);
  }
}

json changed(const json& value) {
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_number_float()) return value.get<double>() * 1.0000001 + 1e-9;
  if (value.is_number()) return value.get<std::int64_t>() + 1;
  if (value.is_null()) return 0;
  if (value.is_array()) return json::object();
  if (value.is_object()) return json::array();
  std::string text = value.get<std::string>();
  if (text.empty()) return "x";
  text[0] = text[0] == 'A' ? 'B' : 'A';
  return text;
}

TEST_F(Certificate, StatesWhatHappened) {
  const json c = parsed();
  EXPECT_EQ(c["type"], "argus.certificate");
  EXPECT_EQ(c["version"], 1);
  EXPECT_EQ(c["run_id"], "gpt-small.7");
  EXPECT_EQ(c["owner"], "lab");
  EXPECT_EQ(c["status"], "FAILED");
  EXPECT_EQ(c["created"], "2026-01-01T00:00:00.123Z");
  EXPECT_EQ(c["completed"], "2026-01-02T00:00:00.456Z");
  EXPECT_EQ(c["segments"], 3);
  EXPECT_EQ(c["chain"]["end"], eventful_.head.chain.hex());
  EXPECT_EQ(c["at_pressure"]["observations"], json({4800, 150, 40, 10}));
  EXPECT_EQ(c["episodes"][0]["onset_step"], 893);
  EXPECT_EQ(c["episodes"][1]["closed_step"], nullptr);
  EXPECT_EQ(c["interventions"][0]["outcome"], "recovered");
  EXPECT_EQ(c["interventions"][1]["applied_step"], nullptr);
  EXPECT_EQ(c["data_quality"]["index"], 0.731);
  EXPECT_EQ(c["engine_versions"], json({"0.3.0", "0.4.0"}));
  EXPECT_EQ(c["error"], eventful_.head.error);
}

TEST_F(Certificate, OfARunWithoutObservationsSaysSo) {
  Eventful empty;
  empty.run.observations = 0;
  empty.run.last_step = -1;
  empty.head = {};
  empty.quality = {};
  const json c = json::parse(certificate_payload(empty.facts()));
  EXPECT_EQ(c["first_step"], nullptr);
  EXPECT_EQ(c["last_step"], nullptr);
  EXPECT_EQ(c["segments"], 0);
  EXPECT_EQ(c["data_quality"]["index"], nullptr);
}

TEST_F(Certificate, IsValidAsItWasSealed) { EXPECT_EQ(verdict(sealed_), CertificateVerdict::kValid); }

TEST_F(Certificate, IsValidHoweverItIsWrittenAnew) {
  const json c = parsed();
  EXPECT_EQ(verdict(c.dump()), CertificateVerdict::kValid) << "keys sorted";
  EXPECT_EQ(verdict(c.dump(3)), CertificateVerdict::kValid) << "indented";
  EXPECT_EQ(verdict(c.dump(-1, ' ', true)), CertificateVerdict::kValid) << "ASCII only";
  json floats = c;  // as a language without integers writes it
  walk(c, json::json_pointer(), [&](const json::json_pointer& at) {
    if (c[at].is_number()) floats[at] = c[at].get<double>();
  });
  EXPECT_NE(floats.dump(), c.dump());
  EXPECT_EQ(verdict(floats.dump()), CertificateVerdict::kValid) << "1.0 for 1";
}

TEST_F(Certificate, IsValidWithItsKeysInAnyOrder) {
  const auto ordered = nlohmann::ordered_json::parse(sealed_);
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    std::vector<std::string> keys;
    for (const auto& item : ordered.items()) keys.push_back(item.key());
    std::shuffle(keys.begin(), keys.end(), random);
    nlohmann::ordered_json shuffled;
    for (const std::string& key : keys) shuffled[key] = ordered[key];
    ASSERT_EQ(verdict(shuffled.dump()), CertificateVerdict::kValid) << "seed " << seed;
  }
}

TEST_F(Certificate, IsTamperedWhenAnyValueIsChanged) {
  const json c = parsed();
  std::size_t tried = 0;
  walk(c, json::json_pointer(), [&](const json::json_pointer& at) {
    if (at.empty()) return;
    json other = c;
    other[at] = changed(c[at]);
    ++tried;
    EXPECT_EQ(verdict(other.dump()), CertificateVerdict::kTampered) << at.to_string();
  });
  EXPECT_GT(tried, 80u);
}

TEST_F(Certificate, IsTamperedWhenAnythingIsRemoved) {
  const json c = parsed();
  walk(c, json::json_pointer(), [&](const json::json_pointer& at) {
    if (at.empty()) return;
    json other = c;
    json& parent = other[at.parent_pointer()];
    if (parent.is_array()) {
      parent.erase(static_cast<std::size_t>(std::stoul(at.back())));
    } else {
      parent.erase(at.back());
    }
    EXPECT_EQ(verdict(other.dump()), CertificateVerdict::kTampered) << at.to_string();
  });
}

TEST_F(Certificate, IsTamperedWhenAnythingIsAdded) {
  const json c = parsed();
  walk(c, json::json_pointer(), [&](const json::json_pointer& at) {
    if (!c[at].is_structured()) return;
    json other = c;
    if (other[at].is_array()) {
      other[at].push_back(0);
    } else {
      other[at]["added"] = nullptr;
    }
    EXPECT_EQ(verdict(other.dump()), CertificateVerdict::kTampered) << at.to_string();
  });
}

TEST_F(Certificate, IsTamperedWhenAnArrayIsReordered) {
  json c = parsed();
  std::swap(c["episodes"][0], c["episodes"][1]);
  EXPECT_EQ(verdict(c.dump()), CertificateVerdict::kTampered);
}

TEST_F(Certificate, IsTamperedWithAKeyTwice) {
  std::string twice = sealed_;
  twice.insert(1, "\"run_id\":\"gpt-small.7\",");
  EXPECT_EQ(verdict(twice), CertificateVerdict::kTampered);
}

TEST_F(Certificate, IsTamperedAtEveryByteThatMeansSomething) {
  // A changed byte either leaves the statement what it was (an escape spelled otherwise) or is noticed.
  const json before = parsed();
  for (std::size_t i = 0; i < sealed_.size(); ++i) {
    std::string other = sealed_;
    other[i] = static_cast<char>(other[i] ^ 1);
    const json after = json::parse(other, nullptr, false);
    if (!after.is_discarded() && after == before) continue;
    ASSERT_EQ(verdict(other), CertificateVerdict::kTampered) << "byte " << i;
  }
}

TEST_F(Certificate, OfAnotherKeyIsUnknownNeverValid) {
  const std::string foreign = *seal_certificate(certificate_payload(eventful_.facts()), PrivateKey::generate());
  EXPECT_EQ(verdict(foreign), CertificateVerdict::kUnknownKey);
  EXPECT_EQ(check_certificate(sealed_, {}).verdict, CertificateVerdict::kUnknownKey);
}

TEST_F(Certificate, CannotBorrowATrustedKey) {
  // Sealed by a forger, who then writes the trusted key over his own.
  json forged = json::parse(*seal_certificate(certificate_payload(eventful_.facts()), PrivateKey::generate()));
  forged["signature"]["public_key"] = public_key_text(key_.public_key());
  EXPECT_EQ(verdict(forged.dump()), CertificateVerdict::kTampered);
  forged["signature"]["key_id"] = key_id(key_.public_key());
  EXPECT_EQ(verdict(forged.dump()), CertificateVerdict::kTampered);
}

TEST_F(Certificate, IsNothingElseThatTheKeySigned) {
  for (const char* payload : {"{}", R"({"type":"argus.certificate","version":2})", R"({"type":"x","version":1})"}) {
    EXPECT_EQ(verdict(*seal_certificate(payload, key_)), CertificateVerdict::kTampered) << payload;
  }
  EXPECT_FALSE(seal_certificate("[]", key_).has_value());
  EXPECT_FALSE(seal_certificate(R"({"signature":1})", key_).has_value());
}

TEST_F(Certificate, ChecksAnyBytes) {
  for (const char* text : {"", "null", "[]", "{}", "{", "\xff", R"({"signature":1})", R"({"signature":{}})",
                           R"({"signature":{"algorithm":"Ed25519","key_id":"","public_key":"","value":""}})"}) {
    EXPECT_EQ(verdict(text), CertificateVerdict::kTampered) << text;
  }
}

TEST_F(Certificate, IsFoundInTheAnswerThatBroughtIt) {
  const std::string answer = R"({"completed": true, "certificate": )" + parsed().dump(2) + "}";
  EXPECT_EQ(verdict(*certificate_in(answer)), CertificateVerdict::kValid);
  EXPECT_EQ(verdict(*certificate_in(sealed_)), CertificateVerdict::kValid);
  EXPECT_FALSE(certificate_in(R"({"completed":true})").has_value());
  EXPECT_FALSE(certificate_in(R"({"certificate":"no"})").has_value());
}

TEST_F(Certificate, NamesTheChainItRestsOn) {
  const Result<CertificateChain> chain = certificate_chain(sealed_);
  ASSERT_TRUE(chain.has_value());
  EXPECT_EQ(chain->run_id, "gpt-small.7");
  EXPECT_EQ(chain->observations, 5000u);
  EXPECT_EQ(chain->end_hex, eventful_.head.chain.hex());
  EXPECT_FALSE(certificate_chain("{}").has_value());
}

// RFC 8032, section 7.1, test 2.
TEST(Signature, IsEd25519AsTheRfcHasIt) {
  const auto key = PrivateKey::from_text("TM0Imyj_ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U-4pvs");
  ASSERT_TRUE(key.has_value());
  EXPECT_EQ(public_key_text(key->public_key()), "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw");
  EXPECT_EQ(base64url(key->sign("r")),
            "kqAJqfDUyrhyDoILX2QlQKKye1QWUD-Ps3YiI-vbadoIWsHkPhWZbkWPNhPQ8R2MOHsurrQwKu6wDSkWErsMAA");
  EXPECT_TRUE(verify_signature(key->public_key(), "r", key->sign("r")));
  EXPECT_FALSE(verify_signature(key->public_key(), "s", key->sign("r")));
  EXPECT_FALSE(verify_signature(key->public_key(), "r", ""));
}

TEST(Signature, ReadsKeysStrictly) {
  const std::string text = public_key_text(PrivateKey::generate().public_key());
  EXPECT_TRUE(public_key_from_text(text).has_value());
  EXPECT_FALSE(public_key_from_text(text + "=").has_value());
  EXPECT_FALSE(public_key_from_text(text + "\n").has_value());
  EXPECT_FALSE(public_key_from_text(text.substr(1)).has_value());
  EXPECT_FALSE(public_key_from_text("").has_value());
  EXPECT_FALSE(from_base64url("AB").has_value()) << "spare bits";
  EXPECT_EQ(from_base64url("AA"), std::string(1, '\0'));
}

}  // namespace
}  // namespace argus::runs
