#include "runs/certificate.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "record/row.h"
#include "runs/canonical_json.h"
#include "runs/timeline.h"
#include "wire/json_reader.h"
#include "wire/json_writer.h"

namespace argus::runs {
namespace {

using wire::JsonEvent;
using wire::JsonReader;
using wire::JsonWriter;

constexpr std::string_view kType = "argus.certificate";
constexpr std::string_view kChainAlgorithm = "blake2b-256";
constexpr std::string_view kSignatureAlgorithm = "Ed25519";
constexpr std::string_view kSignatureKey = "signature";

// ---- stating
// ---------------------------------------------------------------------------------------------------------

std::string digits(std::int64_t value, std::size_t width) {
  std::string text = std::to_string(value);
  return text.size() < width ? std::string(width - text.size(), '0') + text : text;
}

// RFC 3339, UTC, to the millisecond.
std::string utc(std::int64_t wall_ms) {
  const std::chrono::milliseconds since{wall_ms};
  const auto day = std::chrono::floor<std::chrono::days>(since);
  const std::chrono::year_month_day date{std::chrono::sys_days{day}};
  const std::int64_t ms = (since - day).count();
  return digits(static_cast<int>(date.year()), 4) + '-' + digits(static_cast<unsigned>(date.month()), 2) + '-' +
         digits(static_cast<unsigned>(date.day()), 2) + 'T' + digits(ms / 3600000, 2) + ':' +
         digits(ms / 60000 % 60, 2) + ':' + digits(ms / 1000 % 60, 2) + '.' + digits(ms % 1000, 3) + 'Z';
}

// Text of a client: valid UTF-8 by the protocol's rules, so only escapes are needed.
class Statement {
 public:
  explicit Statement(std::string& out) : w_(out) {}

  void text(std::string_view key, std::string_view value) {
    w_.key(key);
    w_.string(value);
  }
  template <class Number>
  void number(std::string_view key, Number value) {
    w_.key(key);
    w_.number(value);
  }
  // A step number, or null where there is none.
  void step(std::string_view key, std::optional<std::int64_t> value) {
    w_.key(key);
    if (value) {
      w_.number(*value);
    } else {
      w_.null();
    }
  }
  template <class Range>
  void numbers(std::string_view key, const Range& values) {
    w_.key(key);
    w_.begin_array();
    for (const auto value : values) w_.number(value);
    w_.end_array();
  }
  void texts(std::string_view key, const std::vector<std::string>& values) {
    w_.key(key);
    w_.begin_array();
    for (const std::string& value : values) w_.string(value);
    w_.end_array();
  }
  template <class Write>
  void object(std::string_view key, Write write) {
    w_.key(key);
    w_.begin_object();
    write();
    w_.end_object();
  }
  template <class Range, class Write>
  void objects(std::string_view key, const Range& items, Write write) {
    w_.key(key);
    w_.begin_array();
    for (const auto& item : items) {
      w_.begin_object();
      write(item);
      w_.end_object();
    }
    w_.end_array();
  }
  JsonWriter& writer() { return w_; }

 private:
  JsonWriter w_;
};

// The engine's estimate of where an episode really began: of the newest anchor that it named while the episode was
// open.
std::optional<std::int64_t> onset_of(const EpisodeFact& episode, const std::vector<AnchorFact>& anchors) {
  std::optional<std::int64_t> onset;
  for (const AnchorFact& anchor : anchors) {
    if (anchor.step < episode.opened_step || (episode.closed_step >= 0 && anchor.step > episode.closed_step)) continue;
    if (anchor.collapse_step <= anchor.step) onset = anchor.collapse_step;
  }
  return onset;
}

std::optional<std::int64_t> unless_negative(std::int64_t step) { return step < 0 ? std::nullopt : std::optional(step); }

void state_run(const CertificateFacts& facts, Statement& s) {
  const RunHead& head = facts.head;
  s.text("run_id", facts.run.run_id);
  s.text("owner", facts.run.owner);
  s.text("status", status_word(facts.run.status));
  if (!head.error.empty()) s.text("error", head.error);
  if (!head.model_type.empty()) s.text("model_type", head.model_type);
  s.text("created", utc(facts.run.created_ms));
  s.text("completed", utc(head.ended_ms));
  s.writer().key("duration_s");  // as the client measured it
  if (head.duration_s > 0.0) {
    s.writer().number(head.duration_s);
  } else {
    s.writer().null();
  }
  s.texts("engine_versions", facts.engine_versions);
}

void state_steps(const CertificateFacts& facts, Statement& s) {
  const RunHead& head = facts.head;
  s.number("observations", facts.run.observations);
  s.number("late_arrivals", head.late);
  s.step("first_step", unless_negative(head.first_step));
  s.step("last_step", unless_negative(facts.run.last_step));
  s.number("segments", facts.run.observations == 0 ? 0 : head.segment + 1);
  s.number("resets", facts.timeline.resets);
  s.object("gaps", [&] {
    s.number("count", head.gaps);
    s.number("steps", head.skipped_steps);
  });
  s.object("chain", [&] {
    s.text("algorithm", kChainAlgorithm);
    s.number("row_version", record::kRowVersion);
    s.number("observations", facts.run.observations);
    s.text("end", head.chain.hex());
  });
}

void state_health(const CertificateFacts& facts, Statement& s) {
  s.object("at_pressure", [&] {
    s.numbers("observations", facts.head.steps_at_pressure);
    s.numbers("wall_ms", facts.head.ms_at_pressure);
  });
  s.objects("episodes", facts.timeline.episodes, [&](const EpisodeFact& episode) {
    s.number("id", episode.id);
    s.number("opened_step", episode.opened_step);
    s.step("closed_step", unless_negative(episode.closed_step));
    s.number("peak_pressure", episode.peak_pressure);
    s.step("onset_step", onset_of(episode, facts.timeline.anchors));
  });
  s.objects("interventions", facts.timeline.interventions, [&](const InterventionFact& it) {
    s.number("id", it.id);
    s.text("kind", it.kind);
    s.text("outcome", it.state);
    s.texts("signals", it.signals);
    s.number("proposed_step", it.proposed_step);
    s.number("outcome_step", it.changed_step);
    s.step("applied_step", unless_negative(it.applied_step));
    if (it.applied_step < 0) return;
    s.writer().key("applied_ok");
    s.writer().boolean(it.applied_ok);
    if (!it.detail.empty()) s.text("detail", it.detail);
  });
  s.number("checkpoints_advised", facts.timeline.checkpoints.size());
  s.number("anchors_named", facts.timeline.anchors.size());
  s.number("facts_left_out", facts.timeline.dropped);
}

void state_quality(const DataQuality& quality, Statement& s) {
  s.object("data_quality", [&] {
    s.writer().key("index");
    if (quality.index) {
      s.writer().number(*quality.index);
      s.number("coherence", quality.coherence);
      s.number("spread", quality.spread);
      s.number("retention", quality.retention);
      s.number("finite", quality.finite);
    } else {
      s.writer().null();
    }
    s.number("losses", quality.observed);
    s.number("non_finite", quality.non_finite);
  });
}

// ---- checking
// --------------------------------------------------------------------------------------------------------

Error not_a_certificate(std::string message, std::string field = {}) {
  return {ErrorCode::kInvalid, std::move(message), std::move(field), {}};
}

const CanonicalMember* find(const std::vector<CanonicalMember>& members, std::string_view key) {
  const auto at = std::find_if(members.begin(), members.end(), [&](const auto& m) { return m.key == key; });
  return at == members.end() ? nullptr : &*at;
}

// The text that a canonical value denotes; nullopt when it is no string.
std::optional<std::string> text_in(const std::vector<CanonicalMember>& members, std::string_view key) {
  const CanonicalMember* member = find(members, key);
  JsonReader json;
  if (member == nullptr || !json.start(member->value) || json.next() != JsonEvent::kString) return std::nullopt;
  return std::string(json.text());
}

std::optional<std::uint64_t> count_in(const std::vector<CanonicalMember>& members, std::string_view key) {
  const CanonicalMember* member = find(members, key);
  JsonReader json;
  if (member == nullptr || !json.start(member->value) || json.next() != JsonEvent::kInteger || json.negative())
    return std::nullopt;
  return json.magnitude();
}

struct Signature {
  PublicKey key{};
  std::string key_id;
  std::string value;
};

// Everything in it is checked by its form, so that nothing of a certificate can be changed unseen.
Result<Signature> read_signature(std::string_view json) {
  Result<std::vector<CanonicalMember>> members = canonical_members(json);
  if (!members) return members.error();
  Signature signature;
  signature.key_id = text_in(*members, "key_id").value_or("");
  if (members->size() != 4 || text_in(*members, "algorithm") != kSignatureAlgorithm)
    return not_a_certificate("not {algorithm: Ed25519, key_id, public_key, value}", "signature");
  const std::optional<PublicKey> key = public_key_from_text(text_in(*members, "public_key").value_or(""));
  if (!key) return not_a_certificate("not 43 characters of base64url", "signature.public_key");
  signature.key = *key;
  if (signature.key_id != key_id(*key)) return not_a_certificate("not the id of that public key", "signature.key_id");
  const std::optional<std::string> value = from_base64url(text_in(*members, "value").value_or(""));
  if (!value || value->size() != 64) return not_a_certificate("not 86 characters of base64url", "signature.value");
  signature.value = *value;
  return signature;
}

std::string explain(const Error& error) {
  return error.field.empty() ? error.message : error.field + ": " + error.message;
}

}  // namespace

std::string certificate_payload(const CertificateFacts& facts) {
  std::string out;
  Statement s(out);
  s.writer().begin_object();
  s.text("type", kType);
  s.number("version", kCertificateVersion);
  state_run(facts, s);
  state_steps(facts, s);
  state_health(facts, s);
  state_quality(facts.quality, s);
  s.writer().end_object();
  return out;
}

Result<std::string> seal_certificate(std::string_view payload, const PrivateKey& key) {
  Result<std::vector<CanonicalMember>> members = canonical_members(payload);
  if (!members) return members.error();
  if (find(*members, kSignatureKey) != nullptr) return not_a_certificate("is there already", "signature");
  const std::string value = key.sign(canonical_object(*members));

  std::string sealed(payload.substr(0, payload.find_last_of('}')));
  if (!members->empty()) sealed += ',';
  sealed += "\"signature\":";
  Statement s(sealed);
  s.writer().begin_object();
  s.text("algorithm", kSignatureAlgorithm);
  s.text("key_id", key_id(key.public_key()));
  s.text("public_key", public_key_text(key.public_key()));
  s.text("value", base64url(value));
  s.writer().end_object();
  sealed += '}';
  return sealed;
}

CertificateCheck check_certificate(std::string_view json, std::span<const PublicKey> trusted) {
  CertificateCheck check;
  Result<std::vector<CanonicalMember>> members = canonical_members(json);
  if (!members) {
    check.reason = explain(members.error());
    return check;
  }
  const CanonicalMember* sealed = find(*members, kSignatureKey);
  if (sealed == nullptr) {
    check.reason = "it has no signature";
    return check;
  }
  Result<Signature> signature = read_signature(sealed->value);
  if (!signature) {
    check.reason = explain(signature.error());
    return check;
  }
  check.key_id = signature->key_id;
  members->erase(members->begin() + (sealed - members->data()));
  if (!verify_signature(signature->key, canonical_object(*members), signature->value)) {
    check.reason = "the signature is not of this statement";
    return check;
  }
  if (text_in(*members, "type") != kType || count_in(*members, "version") != kCertificateVersion) {
    check.reason = "not a run's certificate of a version this program knows";
    return check;
  }
  const bool is_trusted = std::find(trusted.begin(), trusted.end(), signature->key) != trusted.end();
  check.verdict = is_trusted ? CertificateVerdict::kValid : CertificateVerdict::kUnknownKey;
  if (!is_trusted) check.reason = "signed by key " + signature->key_id + ", which is not trusted here";
  return check;
}

Result<std::string> certificate_in(std::string_view json) {
  Result<std::vector<CanonicalMember>> members = canonical_members(json);
  if (!members) return members.error();
  if (find(*members, kSignatureKey) != nullptr) return canonical_object(*members);
  const CanonicalMember* inner = find(*members, "certificate");
  if (inner == nullptr || !inner->value.starts_with('{'))
    return not_a_certificate("neither a certificate nor an answer of /v2/complete that holds one");
  return inner->value;
}

Result<CertificateChain> certificate_chain(std::string_view json) {
  Result<std::vector<CanonicalMember>> members = canonical_members(json);
  if (!members) return members.error();
  const CanonicalMember* chain = find(*members, "chain");
  if (chain == nullptr) return not_a_certificate("missing", "chain");
  Result<std::vector<CanonicalMember>> parts = canonical_members(chain->value);
  if (!parts) return parts.error();
  if (text_in(*parts, "algorithm") != kChainAlgorithm || count_in(*parts, "row_version") != record::kRowVersion)
    return not_a_certificate("a hash chain this program does not know", "chain");
  const std::optional<std::string> run_id = text_in(*members, "run_id");
  const std::optional<std::string> owner = text_in(*members, "owner");
  const std::optional<std::string> end = text_in(*parts, "end");
  const std::optional<std::uint64_t> observations = count_in(*parts, "observations");
  if (!run_id || !owner) return not_a_certificate("missing", "run_id, owner");
  if (!end || !observations) return not_a_certificate("missing", "chain.end, chain.observations");
  return CertificateChain{*run_id, *owner, *end, *observations};
}

}  // namespace argus::runs
