#include "runs/run_head.h"

#include "base/bytes.h"

namespace argus::runs {
namespace {

constexpr std::uint8_t kHeadVersion = 1;

// One list of fields for both directions: what is written is what is read.
template <class Archive, class Head>
void visit(Archive& ar, Head& h) {
  ar.byte(h.family, static_cast<std::uint8_t>(engine::kModelFamilyCount - 1));
  ar.text(h.model_type);
  ar.text(h.sdk_version);
  ar.signed_number(h.total_steps);
  ar.real(h.total_epochs);
  ar.text(h.secret_hash);
  ar.text(h.idempotency_key);
  ar.hash(h.chain.head);
  ar.number(h.segment);
  ar.flag(h.reset_pending);
  ar.signed_number(h.reset_step);
  ar.signed_number(h.first_step);
  ar.number(h.late);
  ar.number(h.gaps);
  ar.number(h.skipped_steps);
  for (auto& n : h.steps_at_pressure) ar.number(n);
  for (auto& n : h.ms_at_pressure) ar.signed_number(n);
  ar.signed_number(h.observed_ms);
  ar.text(h.engine_version);
  ar.byte(h.command, 3);
  ar.flag(h.start_granted);
  ar.number(h.certified_observations);
  ar.flag(h.certified);
  ar.signed_number(h.ended_ms);
  ar.real(h.duration_s);
  ar.text(h.error);
}

struct HeadWriter {
  ByteWriter w;
  template <class Enum>
  void byte(Enum v, std::uint8_t) {
    w.u8(static_cast<std::uint8_t>(v));
  }
  void flag(bool v) { w.u8(v ? 1 : 0); }
  void number(std::uint64_t v) { w.varint(v); }
  void signed_number(std::int64_t v) { w.svarint(v); }
  void real(double v) { w.f64(v); }
  void text(const std::string& v) { w.text(v); }
  void hash(const std::array<std::uint8_t, 32>& v) {
    for (const std::uint8_t b : v) w.u8(b);
  }
};

struct HeadReader {
  ByteReader r;
  template <class Enum>
  void byte(Enum& v, std::uint8_t max) {
    const std::uint8_t b = r.u8();
    if (b > max) return r.fail();
    v = static_cast<Enum>(b);
  }
  void flag(bool& v) {
    const std::uint8_t b = r.u8();
    if (b > 1) return r.fail();
    v = b == 1;
  }
  void number(std::uint64_t& v) { v = r.varint(); }
  void signed_number(std::int64_t& v) { v = r.svarint(); }
  void real(double& v) { v = r.f64(); }
  void text(std::string& v) { v = r.text(); }
  void hash(std::array<std::uint8_t, 32>& v) {
    for (std::uint8_t& b : v) b = r.u8();
  }
};

}  // namespace

std::string write_head(const RunHead& head) {
  std::string out;
  HeadWriter w{ByteWriter(out)};
  w.w.u8(kHeadVersion);
  visit(w, head);
  return out;
}

Result<RunHead> read_head(std::string_view bytes) {
  HeadReader r{ByteReader(bytes)};
  const std::uint8_t version = r.r.u8();
  if (r.r.ok() && version > kHeadVersion) {
    return Error{ErrorCode::kUnsupported, "the run was written by a later version of Argus", "", "use that version"};
  }
  RunHead head;
  visit(r, head);
  if (!r.r.at_end() || version == 0) {
    return Error{ErrorCode::kMalformed, "the run's row holds bytes that no version of Argus writes", "", ""};
  }
  return head;
}

}  // namespace argus::runs
