#include "runs/row_index.h"

#include <algorithm>
#include <unordered_set>
#include <vector>

#include "base/bytes.h"
#include "record/chunk.h"
#include "record/pack.h"
#include "record/row.h"

namespace argus::runs {
namespace {

constexpr std::size_t kRecordsPerRead = 64;

std::uint64_t identity(const wire::StepMessage& message) {
  const engine::Step& h = message.head;
  if (!h.seq) return h.content_hash ^ static_cast<std::uint64_t>(h.step) * 0x9E3779B97F4A7C15u;
  return (*h.seq * 0xD6E8FEB86659FD93u ^ h.segment.value_or(0)) +
         static_cast<std::uint64_t>(h.step) * 0x9E3779B97F4A7C15u;
}

}  // namespace

bool is_same_observation(const wire::StepMessage& a, const wire::StepMessage& b) {
  if (a.head.seq || b.head.seq) {
    return a.head.seq == b.head.seq && a.head.step == b.head.step &&
           a.head.segment.value_or(0) == b.head.segment.value_or(0);
  }
  return a.head.step == b.head.step && a.head.content_hash == b.head.content_hash;
}

void RowIndex::clear() {
  offsets_.clear();
  indexed_ = 0;
}

std::optional<record::Observation> RowIndex::find(std::string_view rows, const wire::StepMessage& message) {
  record::Observation o;
  ByteReader unread(rows.substr(std::min(indexed_, rows.size())));
  while (unread.remaining() > 0) {
    const std::size_t at = rows.size() - unread.remaining();
    if (!record::read_row(unread, o)) break;  // rows are our own: none is torn
    offsets_[identity(o.message)] = at;
  }
  indexed_ = rows.size();
  const auto found = offsets_.find(identity(message));
  if (found == offsets_.end()) return std::nullopt;
  ByteReader row(rows.substr(found->second));
  if (!record::read_row(row, o) || !is_same_observation(o.message, message)) return std::nullopt;
  return o;
}

Result<std::string> read_same_rows(store::Store& store, const store::RunKey& key,
                                   std::span<const record::Observation> steps) {
  std::unordered_set<std::uint64_t> wanted;
  store::RecordQuery query;
  query.min_step = INT64_MAX;
  query.max_step = INT64_MIN;
  for (const record::Observation& o : steps) {
    wanted.insert(identity(o.message));
    query.min_step = std::min(query.min_step, o.message.head.step);
    query.max_step = std::max(query.max_step, o.message.head.step);
  }
  query.count_max = kRecordsPerRead;
  query.parts.telemetry = query.parts.decisions = query.parts.packs = true;
  std::string rows;
  const auto visit = [&](std::string_view row, const record::Observation& o, std::int64_t) {
    if (wanted.contains(identity(o.message))) rows += row;
    return true;
  };
  while (true) {
    Result<std::vector<store::Record>> records = store.read_records(key, query);
    if (!records) return records.error();
    for (const store::Record& record : *records) {
      const Status read = record.chunk ? record::read_chunk(record.chunk->telemetry, record.chunk->decisions, visit)
                                       : record::read_pack(record.pack->body, visit);
      if (!read) return read.error();
    }
    if (records->empty()) return rows;
    query.after_version = records->back().version();
  }
}

Result<std::vector<std::uint64_t>> read_known_seqs(store::Store& store, const store::RunKey& key,
                                                   std::span<const record::Observation> steps) {
  std::unordered_set<std::uint64_t> wanted;
  for (const record::Observation& o : steps) {
    if (o.message.head.seq) wanted.insert(*o.message.head.seq);
  }
  std::vector<std::uint64_t> known;
  const auto take = [&](std::uint64_t seq) {
    if (wanted.erase(seq) == 1) known.push_back(seq);
  };
  store::RecordQuery query;
  query.count_max = kRecordsPerRead;
  query.parts.telemetry = query.parts.packs = true;
  while (!wanted.empty()) {
    const Result<std::vector<store::Record>> records = store.read_records(key, query);
    if (!records) return records.error();
    if (records->empty()) break;
    for (const store::Record& record : *records) {
      if (record.chunk && record.chunk->count > 0) {
        const Result<std::vector<std::int64_t>> seqs = record::read_seqs(record.chunk->telemetry);
        if (!seqs) return seqs.error();
        for (const std::int64_t seq : *seqs) take(static_cast<std::uint64_t>(seq));
      } else if (record.pack && record.pack->count > 0) {
        const Status read =
            record::read_pack(record.pack->body, [&](std::string_view, const record::Observation& o, std::int64_t) {
              if (o.message.head.seq) take(*o.message.head.seq);
              return true;
            });
        if (!read) return read.error();
      }
    }
    query.after_version = records->back().version();
  }
  std::sort(known.begin(), known.end());
  return known;
}

}  // namespace argus::runs
