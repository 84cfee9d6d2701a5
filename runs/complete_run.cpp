#include "runs/complete_run.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "record/chunk.h"
#include "record/pack.h"
#include "runs/certificate.h"
#include "runs/timeline.h"
#include "runs/timeline_fold.h"

namespace argus::runs {
namespace {

constexpr std::size_t kRecordsPerRead = 64;

// One pass over the log: its timeline, and the losses in the order they were observed.
class Gathering {
 public:
  Status read(store::Store& store, const store::RunKey& key) {
    store::RecordQuery query;
    query.count_max = kRecordsPerRead;
    query.parts.events = query.parts.telemetry = query.parts.packs = true;
    while (true) {
      const Result<std::vector<store::Record>> records = store.read_records(key, query);
      if (!records) return records.error();
      for (const store::Record& record : *records) {
        const Status added = record.chunk ? add_chunk(*record.chunk) : add_pack(*record.pack);
        if (!added) return added;
      }
      if (records->empty()) return {};
      query.after_version = records->back().version();
    }
  }

  TimelineFold timeline;
  QualityIndex quality;

 private:
  static constexpr record::SeriesId kLoss{record::SeriesSource::kTelemetry,
                                          static_cast<std::uint8_t>(engine::Field::kLoss)};

  Status add_chunk(const store::Chunk& chunk) {
    timeline.add(chunk.events);
    if (chunk.count == 0) return {};
    const Result<record::Column> losses = record::read_column(chunk.telemetry, kLoss);
    if (!losses) return losses.error();
    for (std::size_t i = 0; i < losses->values.size(); ++i) {
      if (losses->present[i]) quality.add(losses->values[i]);
    }
    return {};
  }

  Status add_pack(const store::Pack& pack) {
    timeline.add(pack.events);
    if (pack.count == 0) return {};
    return record::read_pack(pack.body, [this](std::string_view, const record::Observation& o, std::int64_t) {
      if (const std::optional<double> loss = record::series_value(o, kLoss)) quality.add(*loss);
      return true;
    });
  }
};

std::vector<std::string> engine_versions_of(const RunHead& head, const TimelineFold& timeline) {
  std::vector<std::string> versions = timeline.engine_versions;
  if (versions.empty() && !head.engine_version.empty()) versions.push_back(head.engine_version);
  return versions;
}

}  // namespace

std::string certificate_document_id(const store::RunKey& key) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string id;
  for (const std::uint8_t byte : key) {
    id += kDigits[byte >> 4];
    id += kDigits[byte & 15];
  }
  return id;
}

Result<bool> complete_run(Change& change, const Completion& completion, std::string& certificate) {
  store::Store& store = change.context.store;
  const std::string id = certificate_document_id(change.info.key);
  if (change.head.certified && change.head.certified_observations == change.info.observations) {
    Result<std::optional<store::Document>> signed_before = store.find_document(kCertificateKind, id);
    if (!signed_before) return signed_before.error();
    if (*signed_before) {
      certificate = std::move((*signed_before)->body);
      return false;
    }
  }
  Gathering gathering;
  if (Status read = gathering.read(store, change.info.key); !read) return read.error();

  change.info.status = completion.status;
  change.head.ended_ms = change.now_ms;
  change.head.error = completion.error;
  change.head.duration_s = completion.duration_s.value_or(0.0);
  change.head.certified = true;
  change.head.certified_observations = change.info.observations;
  const CertificateFacts facts{change.info, change.head, gathering.timeline,
                               engine_versions_of(change.head, gathering.timeline), gathering.quality.finish()};
  Result<std::string> sealed = change.context.signer.sign(certificate_payload(facts));
  if (!sealed) return sealed.error();
  certificate = std::move(*sealed);
  change.documents.push_back({std::string(kCertificateKind), id, 0, certificate});
  write_completed({change.now_ms, -1, 0}, completion.status, completion.error, change.events);
  return true;
}

}  // namespace argus::runs
