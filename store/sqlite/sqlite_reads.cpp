#include "store/sqlite/sqlite_reads.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "store/sqlite/sqlite_writes.h"

namespace argus::store::sqlite {
namespace {

constexpr std::size_t kListMax = 1000;

// SQLite reads a negative LIMIT as none.
std::int64_t clamped(std::size_t limit) { return static_cast<std::int64_t>(std::min<std::size_t>(limit, INT64_MAX)); }

// Reads in one transaction: what several statements see belongs together.
class View {
 public:
  explicit View(Connection& db) : db_(db), begun_(db.execute("BEGIN")) {}
  ~View() {
    if (begun_) (void)db_.execute("COMMIT").has_value();
  }
  View(const View&) = delete;
  View& operator=(const View&) = delete;
  const Status& begun() const { return begun_; }

 private:
  Connection& db_;
  Status begun_;
};

// Calls `take` for each row.
template <class Bind, class Take>
Status each(Connection& db, std::string_view sql, Bind bind, Take take) {
  Result<Statement> s = db.prepare(sql);
  if (!s) return s.error();
  bind(*s);
  while (true) {
    const Result<bool> row = s->next();
    if (!row) return row.error();
    if (!*row || !take(*s)) return {};
  }
}

RunInfo run_at(const Statement& s) {
  RunInfo run;
  const std::string key = s.blob(0);
  std::copy_n(key.begin(), std::min(key.size(), run.key.size()), run.key.begin());
  run.owner = s.text(1);
  run.run_id = s.text(2);
  run.version = s.unsigned_integer(3);
  run.compacted = s.unsigned_integer(4);
  run.status = static_cast<RunStatus>(std::clamp<std::int64_t>(s.integer(5), 0, 3));
  run.pressure = static_cast<int>(s.integer(6));
  run.last_step = s.integer(7);
  run.observations = s.unsigned_integer(8);
  run.bytes = s.unsigned_integer(9);
  run.created_ms = s.integer(10);
  run.updated_ms = s.integer(11);
  run.head = s.blob(12);
  return run;
}

#define ARGUS_RUN_COLUMNS                                                                                  \
  "run, owner, run_id, version, compacted, status, pressure, last_step, observations, bytes, created_ms, " \
  "updated_ms, head"

// ---- lists: the keys from one covering index, then the rows of those alone ------------------------------------------

struct ListOrder {
  const char* index;
  const char* by;
};

ListOrder list_order(RunOrder order) {
  switch (order) {
    case RunOrder::kCreated:
      return {"runs_by_created", "created_ms DESC, run"};
    case RunOrder::kPressure:
      return {"runs_by_pressure", "pressure DESC, updated_ms DESC, run"};
    case RunOrder::kRunId:
      return {"runs_by_run_id", "run_id, run"};
    case RunOrder::kUpdated:
      break;
  }
  return {"runs_by_updated", "updated_ms DESC, run"};
}

// Parameters: 1 owner, 2 status, 3 pressure, 4 contained text, 5 updated before, 6 limit, 7 offset.
std::string filter_sql(const RunQuery& q) {
  std::string sql = " WHERE 1";
  if (q.owner) sql += " AND owner=?1";
  if (q.status) sql += " AND status=?2";
  if (q.pressure_min) sql += " AND pressure>=?3";
  if (!q.contains.empty()) sql += " AND instr(run_id,?4)>0";
  if (q.updated_before_ms) sql += " AND updated_ms<?5";
  return sql;
}

void bind_filter(Statement& s, const RunQuery& q) {
  s.bind_at(1).bind_text(q.owner ? *q.owner : std::string_view());
  s.bind(q.status ? static_cast<std::int64_t>(*q.status) : -1).bind(q.pressure_min.value_or(0));
  s.bind_text(q.contains).bind(q.updated_before_ms.value_or(INT64_MAX));
}

// The planner's choice without statistics is not always the index that filters before it reads rows.
std::string list_sql(const RunQuery& q) {
  const ListOrder order = list_order(q.order);
  return fmt::format("SELECT " ARGUS_RUN_COLUMNS
                     " FROM runs WHERE run IN (SELECT run FROM runs INDEXED BY {}{} ORDER BY {} LIMIT ?6 OFFSET ?7)"
                     " ORDER BY {}",
                     order.index, filter_sql(q), order.by, order.by);
}

std::string count_sql(const RunQuery& q) {
  return fmt::format("SELECT count(*) FROM runs INDEXED BY {}{}",
                     q.updated_before_ms ? "runs_by_updated" : "runs_by_run_id", filter_sql(q));
}

// Which records, before which of their parts.
void bind_range(Statement& s, const RunKey& key, const RecordQuery& q) {
  s.bind_key(key).bind_unsigned(q.after_version).bind(q.min_step).bind(q.max_step).bind(q.only_with_events ? 1 : 0);
}

#define ARGUS_RANGE                                                                                \
  " WHERE run=?1 AND version>?2 AND ((count>0 AND max_step>=?3 AND min_step<=?4) OR (count=0 AND " \
  "?3=-9223372036854775807-1 AND ?4=9223372036854775807)) AND (?5=0 OR events<>'')"

Status read_columns(Connection& db, const RunKey& key, std::uint64_t version, std::int64_t part, std::string& out) {
  return each(
      db, "SELECT body FROM chunk_columns WHERE run=? AND version=? AND part=?",
      [&](Statement& s) { s.bind_key(key).bind_unsigned(version).bind(part); },
      [&](const Statement& s) {
        out = s.blob(0);
        return false;
      });
}

std::size_t bytes_of(const Record& r) {
  if (r.pack) return r.pack->body.size() + r.pack->events.size();
  return r.chunk->events.size() + r.chunk->rollup.size() + r.chunk->telemetry.size() + r.chunk->decisions.size();
}

// Bounds what one call returns.
class Budget {
 public:
  explicit Budget(const RecordQuery& q) : records_(q.count_max), bytes_(q.bytes_max) {}
  bool is_spent() const { return records_ == 0 || bytes_ == 0; }
  void take(const Record& r) {
    --records_;
    bytes_ -= std::min(bytes_, bytes_of(r));
  }

 private:
  std::size_t records_, bytes_;
};

Status read_chunks(Connection& db, const RunKey& key, const RecordQuery& q, Budget& budget, std::vector<Record>& out) {
  Status parts;
  const Status read = each(
      db,
      "SELECT version, from_version, first_index, count, min_step, max_step, CASE WHEN ?6 THEN events ELSE '' END, "
      "CASE WHEN ?7 THEN rollup ELSE '' END FROM chunks" ARGUS_RANGE " ORDER BY version",
      [&](Statement& s) {
        bind_range(s, key, q);
        s.bind(q.parts.events ? 1 : 0).bind(q.parts.rollup ? 1 : 0);
      },
      [&](const Statement& s) {
        if (budget.is_spent()) return false;
        Chunk c;
        c.version = s.unsigned_integer(0);
        c.from_version = s.unsigned_integer(1);
        c.first_index = s.unsigned_integer(2);
        c.count = static_cast<std::uint32_t>(s.integer(3));
        c.min_step = s.integer(4);
        c.max_step = s.integer(5);
        c.events = s.text(6);
        c.rollup = s.blob(7);
        if (q.parts.telemetry) parts = read_columns(db, key, c.version, kTelemetryPart, c.telemetry);
        if (parts && q.parts.decisions) parts = read_columns(db, key, c.version, kDecisionsPart, c.decisions);
        out.push_back({std::move(c), std::nullopt});
        budget.take(out.back());
        return parts.has_value();
      });
  return read ? parts : read;
}

Status read_packs(Connection& db, const RunKey& key, const RecordQuery& q, Budget& budget, std::vector<Record>& out) {
  return each(
      db,
      "SELECT version, first_index, count, min_step, max_step, CASE WHEN ?6 THEN events ELSE '' END, "
      "CASE WHEN ?7 THEN body ELSE '' END FROM packs" ARGUS_RANGE " ORDER BY version",
      [&](Statement& s) {
        bind_range(s, key, q);
        s.bind(q.parts.events ? 1 : 0).bind(q.parts.packs ? 1 : 0);
      },
      [&](const Statement& s) {
        if (budget.is_spent()) return false;
        Pack p;
        p.version = s.unsigned_integer(0);
        p.first_index = s.unsigned_integer(1);
        p.count = static_cast<std::uint32_t>(s.integer(2));
        p.min_step = s.integer(3);
        p.max_step = s.integer(4);
        p.events = s.text(5);
        p.body = s.blob(6);
        out.push_back({std::nullopt, std::move(p)});
        budget.take(out.back());
        return true;
      });
}

Document document_at(const Statement& s) { return {s.text(0), s.text(1), s.unsigned_integer(2), s.blob(3)}; }

}  // namespace

Result<std::optional<RunInfo>> find_run(Connection& db, const RunKey& key) {
  std::optional<RunInfo> found;
  const Status read = each(
      db, "SELECT " ARGUS_RUN_COLUMNS " FROM runs WHERE run=?", [&](Statement& s) { s.bind_key(key); },
      [&](const Statement& s) {
        found = run_at(s);
        return false;
      });
  if (!read) return read.error();
  return found;
}

Result<std::optional<Snapshot>> find_snapshot(Connection& db, const RunKey& key) {
  std::optional<Snapshot> found;
  const Status read = each(
      db, "SELECT version, observations, body FROM snapshots WHERE run=?", [&](Statement& s) { s.bind_key(key); },
      [&](const Statement& s) {
        found = Snapshot{s.unsigned_integer(0), s.unsigned_integer(1), s.blob(2)};
        return false;
      });
  if (!read) return read.error();
  return found;
}

Result<std::vector<Record>> read_records(Connection& db, const RunKey& key, const RecordQuery& query) {
  const View view(db);
  if (!view.begun()) return view.begun().error();
  std::vector<Record> records;
  Budget budget(query);
  if (Status read = read_chunks(db, key, query, budget, records); !read) return read.error();
  if (Status read = read_packs(db, key, query, budget, records); !read) return read.error();
  return records;
}

Result<std::vector<RunInfo>> list_runs(Connection& db, const RunQuery& q) {
  std::vector<RunInfo> runs;
  const std::string sql = list_sql(q);
  const Status read = each(
      db, sql,
      [&](Statement& s) {
        bind_filter(s, q);
        s.bind(clamped(std::min(q.limit, kListMax))).bind(clamped(q.offset));
      },
      [&](const Statement& s) {
        runs.push_back(run_at(s));
        return true;
      });
  if (!read) return read.error();
  return runs;
}

Result<std::uint64_t> count_runs(Connection& db, const RunQuery& q) {
  std::uint64_t count = 0;
  const std::string sql = count_sql(q);
  const Status read = each(
      db, sql, [&](Statement& s) { bind_filter(s, q); },
      [&](const Statement& s) {
        count = s.unsigned_integer(0);
        return false;
      });
  if (!read) return read.error();
  return count;
}

Result<std::optional<Document>> find_document(Connection& db, std::string_view kind, std::string_view id) {
  std::optional<Document> found;
  const Status read = each(
      db, "SELECT kind, id, version, body FROM documents WHERE kind=? AND id=?",
      [&](Statement& s) { s.bind_text(kind).bind_text(id); },
      [&](const Statement& s) {
        found = document_at(s);
        return false;
      });
  if (!read) return read.error();
  return found;
}

Result<std::vector<Document>> list_documents(Connection& db, std::string_view kind, std::string_view after_id,
                                             std::size_t limit) {
  std::vector<Document> documents;
  const Status read = each(
      db, "SELECT kind, id, version, body FROM documents WHERE kind=? AND id>? ORDER BY id LIMIT ?",
      [&](Statement& s) { s.bind_text(kind).bind_text(after_id).bind(clamped(limit)); },
      [&](const Statement& s) {
        documents.push_back(document_at(s));
        return true;
      });
  if (!read) return read.error();
  return documents;
}

Result<std::vector<std::string>> list_analytics(Connection& db, const RunKey& key, std::size_t limit) {
  std::vector<std::string> bodies;
  const Status read = each(
      db, "SELECT body FROM analytics WHERE run=? ORDER BY at_ms DESC, rowid DESC LIMIT ?",
      [&](Statement& s) { s.bind_key(key).bind(clamped(limit)); },
      [&](const Statement& s) {
        bodies.push_back(s.blob(0));
        return true;
      });
  if (!read) return read.error();
  return bodies;
}

Result<std::uint64_t> size_bytes(Connection& db) {
  std::uint64_t pages = 0;
  const Status read = each(
      db,
      "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, "
      "pragma_page_size",
      [](Statement&) {},
      [&](const Statement& s) {
        pages = s.unsigned_integer(0);
        return false;
      });
  if (!read) return read.error();
  return pages;
}

}  // namespace argus::store::sqlite
