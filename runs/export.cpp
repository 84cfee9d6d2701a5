#include "runs/export.h"

#include <fmt/format.h>
#include <sodium.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/bytes.h"
#include "engine/engine.h"
#include "record/pack.h"
#include "record/row.h"
#include "runs/complete_run.h"
#include "runs/log_cursor.h"
#include "runs/observation_json.h"
#include "runs/run_head.h"
#include "runs/timeline.h"
#include "wire/json_reader.h"
#include "wire/json_writer.h"
#include "wire/object_reader.h"

namespace argus::runs {
namespace {

constexpr std::string_view kEventPrefix = "{\"event\":";
constexpr std::string_view kCertificatePrefix = "{\"certificate\":";
constexpr std::string_view kEndPrefix = "{\"end\":";
constexpr std::string_view kObservationPrefix = "{\"index\":";
constexpr std::size_t kRecordsPerRead = 256;
constexpr std::size_t kBytesPerRead = std::size_t{128} << 10;  // compressed: a chunk's worth
constexpr std::size_t kChunkRowBytesMax = std::size_t{8} << 20;

std::string base64(std::string_view bytes) {
  std::string text(sodium_base64_encoded_len(bytes.size(), sodium_base64_VARIANT_ORIGINAL), '\0');
  sodium_bin2base64(text.data(), text.size(), reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
                    sodium_base64_VARIANT_ORIGINAL);
  text.pop_back();  // its terminating NUL
  return text;
}

std::optional<std::string> from_base64(std::string_view text) {
  std::string bytes(text.size() / 4 * 3 + 3, '\0');
  std::size_t size = 0;
  const char* end = nullptr;
  const int code = sodium_base642bin(reinterpret_cast<unsigned char*>(bytes.data()), bytes.size(), text.data(),
                                     text.size(), nullptr, &size, &end, sodium_base64_VARIANT_ORIGINAL);
  if (code != 0 || end != text.data() + text.size()) return std::nullopt;
  bytes.resize(size);
  return bytes;
}

std::string header_line(const store::RunInfo& run) {
  std::string line;
  wire::JsonWriter w(line);
  w.begin_object();
  w.key("argus_export");
  w.number(kExportVersion);
  w.key("engine_version");
  w.word(engine::kEngineVersion);
  w.key("run_id");
  w.word(run.run_id);
  w.key("owner");
  w.string(run.owner);
  w.key("status");
  w.word(status_word(run.status));
  w.key("observations");
  w.number(run.observations);
  w.key("pressure");
  w.number(run.pressure);
  w.key("last_step");
  w.number(run.last_step);
  w.key("bytes");
  w.number(run.bytes);
  w.key("created_ms");
  w.number(run.created_ms);
  w.key("updated_ms");
  w.number(run.updated_ms);
  w.key("head");
  w.word(base64(run.head));
  w.end_object();
  return line;
}

// Made from the row alone, and so the same at export and at check.
std::string observation_line(std::uint64_t index, std::int64_t received_ms, std::string_view run_id,
                             std::string_view row, std::string_view engine_version, const record::Observation& o) {
  std::string line;
  write_observation_json(index, received_ms, run_id, engine_version, o, line);
  line.back() = ',';  // its closing brace: the row is one more field
  return line + "\"row\":\"" + base64(row) + "\"}";
}

std::string end_line(std::uint64_t observations, const record::Chain& chain) {
  return fmt::format(R"({{"end":true,"observations":{},"chain":"{}"}})", observations, chain.hex());
}

class Exporter {
 public:
  explicit Exporter(const store::RunInfo& run) : run_(run) {}

  Status add(const store::Record& record, const LineSink& sink) {
    std::uint64_t at = first_index_of(record);
    const bool overlaps = at < index_;  // a chunk made, while we read, of packs that were read before
    const auto visit = [&](std::string_view row, const record::Observation& o, std::int64_t received_ms) {
      if (at++ < index_) return true;
      if (index_ == run_.observations) return true;  // came while we read: the row does not count it
      chain_.add(row);
      goes_on_ = sink(observation_line(index_++, received_ms, run_.run_id, row, engine::kEngineVersion, o));
      return goes_on_;
    };
    Status read;
    if (record.chunk && record.chunk->count > 0) {
      read = record::read_chunk(record.chunk->telemetry, record.chunk->decisions, visit);
    } else if (record.pack && record.pack->count > 0) {
      read = record::read_pack(record.pack->body, visit);
    }
    if (read) add_events(events_of(record), overlaps, sink);
    return read;
  }
  bool goes_on() const { return goes_on_; }
  void end(const LineSink& sink) const { sink(end_line(index_, chain_)); }

 private:
  void add_events(std::string_view events, bool overlaps, const LineSink& sink) {
    std::vector<std::string_view> lines;
    std::size_t first_new = 0;
    for_each_line(events, [&](std::string_view line) {
      if (event_number(line, "index").value_or(-1) >= static_cast<std::int64_t>(run_.observations)) return;
      lines.push_back(line);
      if (overlaps && line == last_event_) first_new = lines.size();
    });
    for (std::size_t i = first_new; goes_on_ && i < lines.size(); ++i) {
      goes_on_ = sink(fmt::format("{}{}}}", kEventPrefix, lines[i]));
    }
    if (!lines.empty()) last_event_ = lines.back();
  }

  const store::RunInfo& run_;
  std::uint64_t index_ = 0;
  record::Chain chain_;
  std::string last_event_;
  bool goes_on_ = true;
};

Status leave_out_secrets(store::RunInfo& run) {
  Result<RunHead> head = read_head(run.head);
  if (!head) return head.error();
  head->secret_hash.clear();
  head->idempotency_key.clear();
  run.head = write_head(*head);
  return {};
}

}  // namespace

struct RunExport::State {
  State(store::Store& s, store::RunInfo r) : store(s), run(std::move(r)), lines(run) {
    query.count_max = kRecordsPerRead;
    query.bytes_max = kBytesPerRead;
    query.parts.events = query.parts.telemetry = query.parts.decisions = query.parts.packs = true;
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  store::Store& store;
  const store::RunInfo run;
  Exporter lines;
  store::RecordQuery query;
  bool has_header = false;

  // True: the log goes on.
  Result<bool> add_records(const LineSink& sink) {
    const Result<std::vector<store::Record>> records = store.read_records(run.key, query);
    if (!records) return records.error();
    for (const store::Record& record : *records) {
      if (record.pack && record.version() > run.version) return false;
      if (Status added = lines.add(record, sink); !added) return added.error();
    }
    if (records->empty()) return false;
    query.after_version = records->back().version();
    return query.after_version < run.version;
  }

  Status end(const LineSink& sink) {
    const auto certificate = store.find_document(kCertificateKind, certificate_document_id(run.key));
    if (!certificate) return certificate.error();
    if (*certificate) sink(fmt::format("{}{}}}", kCertificatePrefix, (*certificate)->body));
    lines.end(sink);
    return {};
  }
};

RunExport::RunExport(std::unique_ptr<State> state) : state_(std::move(state)) {}
RunExport::~RunExport() = default;
RunExport::RunExport(RunExport&&) noexcept = default;
RunExport& RunExport::operator=(RunExport&&) noexcept = default;

Result<RunExport> RunExport::open(store::Store& store, const store::RunKey& key, ExportSecrets secrets) {
  Result<std::optional<store::RunInfo>> row = store.find_run(key);
  if (!row) return row.error();
  if (!*row)
    return Error{ErrorCode::kNotFound, "there is no such run", "run_id", "argus runs list shows what there is"};
  if (secrets == ExportSecrets::kLeftOut) {
    if (Status left_out = leave_out_secrets(**row); !left_out) return left_out.error();
  }
  return RunExport(std::make_unique<State>(store, std::move(**row)));
}

Result<bool> RunExport::next(const LineSink& sink) {
  if (!std::exchange(state_->has_header, true) && !sink(header_line(state_->run))) return false;
  const Result<bool> goes_on = state_->add_records(sink);
  if (!goes_on) return goes_on.error();
  if (!state_->lines.goes_on()) return false;
  if (*goes_on) return true;
  if (Status ended = state_->end(sink); !ended) return ended.error();
  return false;
}

Status export_run(store::Store& store, const store::RunKey& key, const LineSink& sink, ExportSecrets secrets) {
  Result<RunExport> lines = RunExport::open(store, key, secrets);
  if (!lines) return lines.error();
  while (true) {
    const Result<bool> goes_on = lines->next(sink);
    if (!goes_on) return goes_on.error();
    if (!*goes_on) return {};
  }
}

Error ExportReader::wrong(std::string_view what) const {
  return Error{ErrorCode::kMalformed, fmt::format("line {} of the export {}", lines_, what), "",
               "an export is read as `argus runs export` wrote it"};
}

Status ExportReader::add(std::string_view line) {
  ++lines_;
  if (lines_ == 1) return add_header(line);
  if (ended_) return wrong("comes after its end");
  if (line.starts_with(kObservationPrefix)) return add_observation(line);
  if (line.starts_with(kEndPrefix)) return add_end(line);
  const bool is_event = line.starts_with(kEventPrefix);
  if (!is_event && !line.starts_with(kCertificatePrefix)) return wrong("is none that an export has");
  wire::JsonReader json;
  if (!json.start(line)) return wrong("is not JSON");
  if (is_event) {
    line.remove_prefix(kEventPrefix.size());
    line.remove_suffix(1);
    events_ += line;
    events_ += '\n';
  } else {
    line.remove_prefix(kCertificatePrefix.size());
    line.remove_suffix(1);
    certificate_ = line;
  }
  return {};
}

Status ExportReader::add_header(std::string_view line) {
  std::optional<std::int64_t> version, observations, bytes, created_ms, updated_ms;
  std::optional<double> last_step;
  std::optional<std::int64_t> pressure;
  std::string head, status;
  const wire::ObjectField fields[] = {wire::required(wire::integer_field("argus_export", version)),
                                      wire::run_id_field(run_.run_id),
                                      wire::required(wire::text_field("engine_version", engine_version_)),
                                      wire::text_field("owner", run_.owner),
                                      wire::text_field("status", status),
                                      wire::required(wire::integer_field("observations", observations)),
                                      wire::integer_field("pressure", pressure),
                                      wire::number_field("last_step", last_step),
                                      wire::integer_field("bytes", bytes),
                                      wire::integer_field("created_ms", created_ms),
                                      wire::integer_field("updated_ms", updated_ms),
                                      wire::required(wire::text_field("head", head, 65536))};
  wire::JsonReader json;
  if (Status read = wire::read_object(json, line, fields); !read) return read;
  if (*version != kExportVersion) {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("the export has version {}, this Argus reads {}", *version, kExportVersion),
                 "argus_export", "use a later version of Argus"};
  }
  const std::optional<std::string> head_bytes = from_base64(head);
  if (!head_bytes) return wrong("holds a head that is not base64");
  if (Result<RunHead> read = read_head(*head_bytes); !read) return read.error();
  run_.head = *head_bytes;
  run_.observations = static_cast<std::uint64_t>(*observations);
  run_.pressure = static_cast<int>(std::clamp<std::int64_t>(pressure.value_or(0), 0, 3));
  run_.last_step = static_cast<std::int64_t>(last_step.value_or(-1));
  run_.bytes = static_cast<std::uint64_t>(bytes.value_or(0));
  run_.created_ms = created_ms.value_or(0);
  run_.updated_ms = updated_ms.value_or(0);
  for (const auto known : {store::RunStatus::kRunning, store::RunStatus::kCompleted, store::RunStatus::kFailed,
                           store::RunStatus::kStopped}) {
    if (status_word(known) == status) run_.status = known;
  }
  return {};
}

Status ExportReader::add_observation(std::string_view line) {
  std::optional<std::int64_t> received_ms;
  std::string text;
  const wire::ObjectField fields[] = {wire::required(wire::integer_field("received_ms", received_ms)),
                                      wire::required(wire::text_field("row", text, limits::kBodyBytesMax))};
  wire::JsonReader json;
  if (Status read = wire::read_object(json, line, fields); !read) return read;
  const std::optional<std::string> row = from_base64(text);
  if (!row) return wrong("holds a row that is not base64");
  ByteReader bytes(*row);
  record::Observation o;
  if (Status read = record::read_row(bytes, o); !read) return read;
  if (!bytes.at_end()) return wrong("holds bytes behind its row");
  if (observation_line(observations_, *received_ms, run_.run_id, *row, engine_version_, o) != line) {
    return wrong("does not show what its row says, or is out of order");
  }
  chain_.add(*row);
  ++observations_;
  if (!keeps_chunks_) return {};
  if (writer_.count() == record::kChunkObservations || writer_bytes_ > kChunkRowBytesMax) {
    if (Status closed = close_chunk(); !closed) return closed;
  }
  o.message.text(wire::Text::kRunId).clear();
  writer_.add(o, *received_ms);
  writer_bytes_ += row->size();
  return {};
}

Status ExportReader::add_end(std::string_view line) {
  if (line != end_line(observations_, chain_)) return wrong("states another count or chain than its rows have");
  ended_ = true;
  return {};
}

Status ExportReader::close_chunk() {
  store::Chunk chunk;
  chunk.from_version = chunks_.count();
  chunk.version = chunks_.count() + 1;
  chunk.count = writer_.count();
  chunk.first_index = std::exchange(chunk_begin_, chunk_begin_ + chunk.count);
  chunk.min_step = writer_.min_step();
  chunk.max_step = writer_.max_step();
  chunk.events = std::exchange(events_, {});
  record::ChunkWriter::Bytes bytes = writer_.finish();
  chunk.telemetry = std::move(bytes.telemetry);
  chunk.decisions = std::move(bytes.decisions);
  chunk.rollup = std::move(bytes.rollup);
  writer_bytes_ = 0;
  return chunks_.add(chunk);
}

Status ExportReader::finish() {
  if (!ended_) return wrong("is not the last: the export is cut off");
  const Result<RunHead> head = read_head(run_.head);
  if (!head) return head.error();
  if (observations_ != run_.observations || chain_.hex() != head->chain.hex()) {
    return wrong("ends a log that its head does not describe");
  }
  return {};
}

Status ExportReader::store_in(store::Store& store, std::string_view owner) {
  if (!owner.empty()) run_.owner = owner;
  run_.key = store::run_key(run_.owner, run_.run_id);
  if (writer_.count() > 0 || chunks_.count() == 0) {
    if (Status closed = close_chunk(); !closed) return closed;
  }
  if (!events_.empty()) {
    if (Status added = chunks_.append_events(std::exchange(events_, {})); !added) return added;
  }
  run_.version = run_.compacted = chunks_.count();
  const store::ChunkSource source{chunks_.count(), [this](std::size_t i) { return chunks_.read(i); }};
  if (Status kept = store.insert_run(run_, source, {}); !kept) return kept;
  if (certificate_.empty()) return {};
  const Result<bool> put =
      store.put_document({std::string(kCertificateKind), certificate_document_id(run_.key), 0, certificate_});
  return put ? Status() : Status(put.error());
}

}  // namespace argus::runs
