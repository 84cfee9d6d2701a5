// What changes the tables, within the caller's transaction. One statement list for the committing thread.
#pragma once

#include <span>
#include <string_view>

#include "base/result.h"
#include "store/sqlite/connection.h"
#include "store/store.h"

namespace argus::store::sqlite {

Result<AppendOutcome> append(Connection& db, const Append& append);
Status put_snapshot(Connection& db, const RunKey& key, const Snapshot& snapshot);
Status put_analytics(Connection& db, const RunKey& key, std::int64_t at_ms, std::string_view body);
Result<bool> compact(Connection& db, const RunKey& key, const Chunk& chunk);
Result<bool> delete_run(Connection& db, const RunKey& key);
Status insert_run(Connection& db, const RunInfo& run, const ChunkSource& chunks, std::span<const Pack> packs);
Result<bool> put_document(Connection& db, const Document& document);
Result<bool> delete_document(Connection& db, std::string_view kind, std::string_view id);

Status ping(Connection& db);
/// Cuts up to `pages` free pages off the file, outside a transaction; `left` are free still.
Status give_back(Connection& db, int pages, std::int64_t& left);

/// Values of chunk_columns.part. On disk: never renumber.
inline constexpr std::int64_t kTelemetryPart = 0;
inline constexpr std::int64_t kDecisionsPart = 1;

}  // namespace argus::store::sqlite
