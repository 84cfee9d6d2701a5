#include "store/postgres/postgres_reads.h"

#include <fmt/format.h>

#include <algorithm>

namespace argus::store::postgres {
namespace {

constexpr std::size_t kListMax = 1000;

std::int64_t clamped(std::size_t value) { return static_cast<std::int64_t>(std::min<std::uint64_t>(value, INT64_MAX)); }

// kRunColumns
RunInfo run_at(const Rows& rows, int row) {
  RunInfo run;
  const std::string_view key = rows.bytes(row, 0);
  std::copy_n(key.begin(), std::min(key.size(), run.key.size()), run.key.begin());
  run.owner = rows.text(row, 1);
  run.run_id = rows.text(row, 2);
  run.version = rows.unsigned_integer(row, 3);
  run.compacted = rows.unsigned_integer(row, 4);
  run.status = static_cast<RunStatus>(std::clamp<std::int64_t>(rows.integer(row, 5), 0, 3));
  run.pressure = static_cast<int>(rows.integer(row, 6));
  run.last_step = rows.integer(row, 7);
  run.observations = rows.unsigned_integer(row, 8);
  run.bytes = rows.unsigned_integer(row, 9);
  run.created_ms = rows.integer(row, 10);
  run.updated_ms = rows.integer(row, 11);
  run.head = rows.text(row, 12);
  return run;
}

// The columns of kReadRecords.
Record record_at(const Rows& rows, int row) {
  if (rows.integer(row, 0) == 1) {
    Pack p;
    p.version = rows.unsigned_integer(row, 1);
    p.first_index = rows.unsigned_integer(row, 3);
    p.count = static_cast<std::uint32_t>(rows.integer(row, 4));
    p.min_step = rows.integer(row, 5);
    p.max_step = rows.integer(row, 6);
    p.events = rows.text(row, 7);
    p.body = rows.text(row, 11);
    return {std::nullopt, std::move(p)};
  }
  Chunk c;
  c.version = rows.unsigned_integer(row, 1);
  c.from_version = rows.unsigned_integer(row, 2);
  c.first_index = rows.unsigned_integer(row, 3);
  c.count = static_cast<std::uint32_t>(rows.integer(row, 4));
  c.min_step = rows.integer(row, 5);
  c.max_step = rows.integer(row, 6);
  c.events = rows.text(row, 7);
  c.rollup = rows.text(row, 8);
  c.telemetry = rows.text(row, 9);
  c.decisions = rows.text(row, 10);
  return {std::move(c), std::nullopt};
}

Document document_at(const Rows& rows, int row) {
  return {rows.text(row, 0), rows.text(row, 1), rows.unsigned_integer(row, 2), rows.text(row, 3)};
}

// A statement whose parameters are numbered as they are added. Not prepared: planned for the filters it has.
class Composed {
 public:
  explicit Composed(std::string text) : text_(std::move(text)) {}
  void add(std::string_view text) { text_ += text; }
  void filter(std::string_view before, std::int64_t value, std::string_view after = "") {
    place(before, after, 'i');
    values_.push_back({value, {}, true});
  }
  void filter(std::string_view before, std::string_view value, std::string_view after = "") {
    place(before, after, 'b');
    values_.push_back({0, value, false});
  }
  void add_to(Batch& batch, const std::string& schema) const {
    Command& command = batch.add(with_schema(text_, schema), types_);
    for (const Value& v : values_) v.is_number ? command.integer(v.number) : command.bytes(v.bytes);
  }

 private:
  struct Value {
    std::int64_t number;
    std::string_view bytes;
    bool is_number;
  };
  void place(std::string_view before, std::string_view after, char type) {
    types_ += type;
    text_ += fmt::format("{}${}{}", before, types_.size(), after);
  }
  std::string text_, types_;
  std::vector<Value> values_;
};

Composed filtered(std::string select, const RunQuery& q) {
  Composed sql(std::move(select) + " FROM @runs WHERE TRUE");
  if (q.owner) sql.filter(" AND owner=", std::string_view(*q.owner));
  if (q.status) sql.filter(" AND status=", static_cast<std::int64_t>(*q.status));
  if (q.pressure_min) sql.filter(" AND pressure>=", std::int64_t{*q.pressure_min});
  if (!q.contains.empty()) sql.filter(" AND position(", std::string_view(q.contains), " in run_id)>0");
  if (q.updated_before_ms) sql.filter(" AND updated_ms<", *q.updated_before_ms);
  return sql;
}

const char* order_sql(RunOrder order) {
  switch (order) {
    case RunOrder::kCreated:
      return " ORDER BY created_ms DESC, run";
    case RunOrder::kPressure:
      return " ORDER BY pressure DESC, updated_ms DESC, run";
    case RunOrder::kRunId:
      return " ORDER BY run_id, run";
    case RunOrder::kUpdated:
      break;
  }
  return " ORDER BY updated_ms DESC, run";
}

}  // namespace

Tried<std::optional<RunInfo>> find_run(Connection& db, const RunKey& key) {
  Batch batch;
  batch.add(Sql::kFindRun).key(key);
  std::vector<Rows> rows;
  if (std::optional<Failure> failed = db.run(batch, rows)) return *std::move(failed);
  if (rows[0].count() == 0) return std::optional<RunInfo>();
  return std::optional<RunInfo>(run_at(rows[0], 0));
}

Tried<std::optional<Snapshot>> find_snapshot(Connection& db, const RunKey& key) {
  Batch batch;
  batch.add(Sql::kFindSnapshot).key(key);
  std::vector<Rows> rows;
  if (std::optional<Failure> failed = db.run(batch, rows)) return *std::move(failed);
  if (rows[0].count() == 0) return std::optional<Snapshot>();
  return std::optional<Snapshot>(
      Snapshot{rows[0].unsigned_integer(0, 0), rows[0].unsigned_integer(0, 1), rows[0].text(0, 2)});
}

Tried<std::vector<Record>> read_records(Connection& db, const RunKey& key, const RecordQuery& q) {
  Batch batch;
  Command& command = batch.add(Sql::kReadRecords).key(key).integer(clamped(q.after_version));
  command.integer(q.min_step).integer(q.max_step).integer(q.only_with_events ? 1 : 0);
  command.integer(q.parts.events ? 1 : 0).integer(q.parts.rollup ? 1 : 0).integer(q.parts.telemetry ? 1 : 0);
  command.integer(q.parts.decisions ? 1 : 0).integer(q.parts.packs ? 1 : 0);
  command.integer(clamped(q.bytes_max)).integer(clamped(q.count_max));
  std::vector<Rows> rows;
  if (std::optional<Failure> failed = db.run(batch, rows)) return *std::move(failed);
  std::vector<Record> records;
  records.reserve(static_cast<std::size_t>(rows[0].count()));
  for (int i = 0; i < rows[0].count(); ++i) records.push_back(record_at(rows[0], i));
  return records;
}

Tried<std::vector<RunInfo>> list_runs(Connection& db, const std::string& schema, const RunQuery& q) {
  Composed sql = filtered(std::string("SELECT ") + kRunColumns, q);
  sql.add(order_sql(q.order));
  sql.filter(" LIMIT ", clamped(std::min(q.limit, kListMax)));
  sql.filter(" OFFSET ", clamped(q.offset));
  Batch batch;
  sql.add_to(batch, schema);
  std::vector<Rows> rows;
  if (std::optional<Failure> failed = db.run(batch, rows)) return *std::move(failed);
  std::vector<RunInfo> runs;
  for (int i = 0; i < rows[0].count(); ++i) runs.push_back(run_at(rows[0], i));
  return runs;
}

Tried<std::uint64_t> count_runs(Connection& db, const std::string& schema, const RunQuery& q) {
  Batch batch;
  filtered("SELECT COUNT(*)", q).add_to(batch, schema);
  std::vector<Rows> rows;
  if (std::optional<Failure> failed = db.run(batch, rows)) return *std::move(failed);
  return rows[0].unsigned_integer(0, 0);
}

Tried<std::optional<Document>> find_document(Connection& db, std::string_view kind, std::string_view id) {
  Batch batch;
  batch.add(Sql::kFindDocument).bytes(kind).bytes(id);
  std::vector<Rows> rows;
  if (std::optional<Failure> failed = db.run(batch, rows)) return *std::move(failed);
  if (rows[0].count() == 0) return std::optional<Document>();
  return std::optional<Document>(document_at(rows[0], 0));
}

Tried<std::vector<Document>> list_documents(Connection& db, std::string_view kind, std::string_view after_id,
                                            std::size_t limit) {
  Batch batch;
  batch.add(Sql::kListDocuments).bytes(kind).bytes(after_id).integer(clamped(limit));
  std::vector<Rows> rows;
  if (std::optional<Failure> failed = db.run(batch, rows)) return *std::move(failed);
  std::vector<Document> documents;
  for (int i = 0; i < rows[0].count(); ++i) documents.push_back(document_at(rows[0], i));
  return documents;
}

Tried<std::vector<std::string>> list_analytics(Connection& db, const RunKey& key, std::size_t limit) {
  Batch batch;
  batch.add(Sql::kListAnalytics).key(key).integer(clamped(limit));
  std::vector<Rows> rows;
  if (std::optional<Failure> failed = db.run(batch, rows)) return *std::move(failed);
  std::vector<std::string> bodies;
  for (int i = 0; i < rows[0].count(); ++i) bodies.push_back(rows[0].text(i, 0));
  return bodies;
}

Tried<std::uint64_t> size_bytes(Connection& db) {
  Batch batch;
  batch.add(Sql::kSizeBytes);
  std::vector<Rows> rows;
  if (std::optional<Failure> failed = db.run(batch, rows)) return *std::move(failed);
  return rows[0].unsigned_integer(0, 0);
}

}  // namespace argus::store::postgres
