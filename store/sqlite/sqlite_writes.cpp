#include "store/sqlite/sqlite_writes.h"

#include <fmt/format.h>

namespace argus::store::sqlite {
namespace {

// Prepares, binds, runs.
template <class Bind>
Result<int> run(Connection& db, const char* sql, Bind bind) {
  Result<Statement> s = db.prepare(sql);
  if (!s) return s.error();
  bind(*s);
  return s->run();
}

Status done(const Result<int>& ran) { return ran ? Status() : Status(ran.error()); }

void bind_row(Statement& s, const RunInfo& run) {
  s.bind_key(run.key).bind_text(run.owner).bind_text(run.run_id).bind_unsigned(run.version);
  s.bind_unsigned(run.compacted).bind(static_cast<std::int64_t>(run.status)).bind(run.pressure).bind(run.last_step);
  s.bind_unsigned(run.observations).bind_unsigned(run.bytes).bind(run.created_ms).bind(run.updated_ms);
  s.bind_blob(run.head);
}

Result<int> insert_row(Connection& db, const RunInfo& run) {
  return sqlite::run(db,
                     "INSERT INTO runs (run, owner, run_id, version, compacted, status, pressure, last_step, "
                     "observations, bytes, created_ms, updated_ms, head) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?) "
                     "ON CONFLICT (run) DO NOTHING",
                     [&](Statement& s) { bind_row(s, run); });
}

Result<int> move_row(Connection& db, const RunInfo& run) {
  if (run.version == 1) {
    RunInfo created = run;
    created.compacted = 0;
    return insert_row(db, created);
  }
  // Most appends leave status and pressure as they are: then the indexes that hold them, but not the time, stay
  // untouched.
  const Result<int> moved =
      sqlite::run(db,
                  "UPDATE runs SET version=?, last_step=?, observations=?, bytes=?, updated_ms=?, head=? "
                  "WHERE run=? AND version=? AND status=? AND pressure=?",
                  [&](Statement& s) {
                    s.bind_unsigned(run.version).bind(run.last_step).bind_unsigned(run.observations);
                    s.bind_unsigned(run.bytes).bind(run.updated_ms).bind_blob(run.head).bind_key(run.key);
                    s.bind_unsigned(run.version - 1).bind(static_cast<std::int64_t>(run.status)).bind(run.pressure);
                  });
  if (!moved || *moved == 1) return moved;
  return sqlite::run(db,
                     "UPDATE runs SET version=?, status=?, pressure=?, last_step=?, observations=?, bytes=?, "
                     "updated_ms=?, head=? WHERE run=? AND version=?",
                     [&](Statement& s) {
                       s.bind_unsigned(run.version).bind(static_cast<std::int64_t>(run.status)).bind(run.pressure);
                       s.bind(run.last_step).bind_unsigned(run.observations).bind_unsigned(run.bytes);
                       s.bind(run.updated_ms).bind_blob(run.head).bind_key(run.key).bind_unsigned(run.version - 1);
                     });
}

Status insert_pack(Connection& db, const RunKey& key, const Pack& pack) {
  return done(run(db,
                  "INSERT INTO packs (run, version, first_index, count, min_step, max_step, events, body) "
                  "VALUES (?,?,?,?,?,?,?,?)",
                  [&](Statement& s) {
                    s.bind_key(key).bind_unsigned(pack.version).bind_unsigned(pack.first_index).bind(pack.count);
                    s.bind(pack.min_step).bind(pack.max_step).bind_text(pack.events).bind_blob(pack.body);
                  }));
}

Status insert_columns(Connection& db, const RunKey& key, std::uint64_t version, std::int64_t part,
                      std::string_view body) {
  return done(run(db, "INSERT INTO chunk_columns (run, version, part, body) VALUES (?,?,?,?)",
                  [&](Statement& s) { s.bind_key(key).bind_unsigned(version).bind(part).bind_blob(body); }));
}

Status insert_chunk(Connection& db, const RunKey& key, const Chunk& chunk) {
  const Status kept =
      done(run(db,
               "INSERT INTO chunks (run, version, from_version, first_index, count, min_step, max_step, events, "
               "rollup) VALUES (?,?,?,?,?,?,?,?,?)",
               [&](Statement& s) {
                 s.bind_key(key).bind_unsigned(chunk.version).bind_unsigned(chunk.from_version);
                 s.bind_unsigned(chunk.first_index).bind(chunk.count).bind(chunk.min_step).bind(chunk.max_step);
                 s.bind_text(chunk.events).bind_blob(chunk.rollup);
               }));
  if (!kept) return kept;
  if (Status telemetry = insert_columns(db, key, chunk.version, kTelemetryPart, chunk.telemetry); !telemetry) {
    return telemetry;
  }
  return insert_columns(db, key, chunk.version, kDecisionsPart, chunk.decisions);
}

Status overwrite_document(Connection& db, const Document& d) {
  return done(run(db,
                  "INSERT INTO documents (kind, id, version, body) VALUES (?,?,1,?) "
                  "ON CONFLICT (kind, id) DO UPDATE SET version=version+1, body=excluded.body",
                  [&](Statement& s) { s.bind_text(d.kind).bind_text(d.id).bind_blob(d.body); }));
}

}  // namespace

Result<AppendOutcome> append(Connection& db, const Append& append) {
  const Result<int> moved = move_row(db, append.after);
  if (!moved) return moved.error();
  if (*moved == 0) return AppendOutcome::kConflict;
  if (append.pack) {
    if (Status kept = insert_pack(db, append.after.key, *append.pack); !kept) return kept.error();
  }
  for (const Document& document : append.documents) {
    if (Status kept = overwrite_document(db, document); !kept) return kept.error();
  }
  return AppendOutcome::kDurable;
}

Status put_snapshot(Connection& db, const RunKey& key, const Snapshot& snapshot) {
  // Only of a run that is there: one deleted meanwhile must not leave its state behind.
  return done(run(db,
                  "INSERT INTO snapshots (run, version, observations, body) SELECT ?,?,?,? "
                  "WHERE EXISTS (SELECT 1 FROM runs WHERE run=?) "
                  "ON CONFLICT (run) DO UPDATE SET version=excluded.version, observations=excluded.observations, "
                  "body=excluded.body WHERE excluded.version > snapshots.version",
                  [&](Statement& s) {
                    s.bind_key(key).bind_unsigned(snapshot.version).bind_unsigned(snapshot.observations);
                    s.bind_blob(snapshot.body).bind_key(key);
                  }));
}

Status put_analytics(Connection& db, const RunKey& key, std::int64_t at_ms, std::string_view body) {
  return done(run(db, "INSERT INTO analytics (run, at_ms, body) VALUES (?,?,?)",
                  [&](Statement& s) { s.bind_key(key).bind(at_ms).bind_blob(body); }));
}

Result<bool> compact(Connection& db, const RunKey& key, const Chunk& chunk) {
  const Result<int> moved =
      run(db, "UPDATE runs SET compacted=? WHERE run=? AND compacted=? AND version>=?", [&](Statement& s) {
        s.bind_unsigned(chunk.version).bind_key(key).bind_unsigned(chunk.from_version).bind_unsigned(chunk.version);
      });
  if (!moved) return moved.error();
  if (*moved == 0) return false;
  const Result<int> deleted = run(db, "DELETE FROM packs WHERE run=? AND version>? AND version<=?", [&](Statement& s) {
    s.bind_key(key).bind_unsigned(chunk.from_version).bind_unsigned(chunk.version);
  });
  if (!deleted) return deleted.error();
  if (Status kept = insert_chunk(db, key, chunk); !kept) return kept.error();
  return true;
}

Result<bool> delete_run(Connection& db, const RunKey& key) {
  static constexpr const char* kDeletions[] = {
      "DELETE FROM packs WHERE run=?",     "DELETE FROM chunks WHERE run=?",    "DELETE FROM chunk_columns WHERE run=?",
      "DELETE FROM snapshots WHERE run=?", "DELETE FROM analytics WHERE run=?", "DELETE FROM runs WHERE run=?"};
  int deleted = 0;
  for (const char* const sql : kDeletions) {
    const Result<int> ran = run(db, sql, [&](Statement& s) { s.bind_key(key); });
    if (!ran) return ran.error();
    deleted = *ran;  // of the last one: the row itself
  }
  return deleted == 1;
}

Status insert_run(Connection& db, const RunInfo& info, const ChunkSource& chunks, std::span<const Pack> packs) {
  const Result<int> inserted = insert_row(db, info);
  if (!inserted) return inserted.error();
  if (*inserted == 0) {
    return Error{ErrorCode::kConflict, "the store has a run " + info.run_id + " already", "run_id", "delete it first"};
  }
  for (std::size_t i = 0; i < chunks.count; ++i) {
    const Result<Chunk> chunk = chunks.at(i);
    if (!chunk) return chunk.error();
    if (Status kept = insert_chunk(db, info.key, *chunk); !kept) return kept;
  }
  for (const Pack& pack : packs) {
    if (Status kept = insert_pack(db, info.key, pack); !kept) return kept;
  }
  return {};
}

Result<bool> put_document(Connection& db, const Document& d) {
  const Result<int> changed =
      d.version == 0
          ? run(db,
                "INSERT INTO documents (kind, id, version, body) VALUES (?,?,1,?) ON CONFLICT (kind, id) DO NOTHING",
                [&](Statement& s) { s.bind_text(d.kind).bind_text(d.id).bind_blob(d.body); })
          : run(db, "UPDATE documents SET version=version+1, body=? WHERE kind=? AND id=? AND version=?",
                [&](Statement& s) { s.bind_blob(d.body).bind_text(d.kind).bind_text(d.id).bind_unsigned(d.version); });
  if (!changed) return changed.error();
  return *changed == 1;
}

Status ping(Connection& db) {
  // A real write: a full or read-only disk lets an empty transaction pass.
  return done(run(db, "UPDATE store_state SET value=value+1 WHERE name='pings'", [](Statement&) {}));
}

Status give_back(Connection& db, int pages, std::int64_t& left) {
  if (Status given = db.execute(fmt::format("PRAGMA incremental_vacuum({})", pages).c_str()); !given) return given;
  Result<Statement> s = db.prepare("PRAGMA freelist_count");
  if (!s) return s.error();
  const Result<bool> row = s->next();
  if (!row) return row.error();
  left = s->integer(0);
  return {};
}

Result<bool> delete_document(Connection& db, std::string_view kind, std::string_view id) {
  const Result<int> deleted =
      run(db, "DELETE FROM documents WHERE kind=? AND id=?", [&](Statement& s) { s.bind_text(kind).bind_text(id); });
  if (!deleted) return deleted.error();
  return *deleted == 1;
}

}  // namespace argus::store::sqlite
