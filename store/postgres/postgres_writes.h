// What changes the store: the statements of an append for the committing thread, and the calls that block.
#pragma once

#include <span>
#include <string_view>

#include "store/postgres/connection.h"

namespace argus::store::postgres {

/// One statement: its row (none: conflict) says that run and pack moved. Documents are add_document()'s.
void add_append(Batch& batch, const Append& append);
void add_document(Batch& batch, const Document& document);
void add_snapshot(Batch& batch, const RunKey& key, const Snapshot& snapshot);
void add_analytics(Batch& batch, const RunKey& key, std::int64_t at_ms, std::string_view body);

Tried<bool> compact(Connection& db, const RunKey& key, const Chunk& chunk);
Tried<bool> delete_run(Connection& db, const RunKey& key);
/// False: it exists.
Tried<bool> insert_run(Connection& db, const RunInfo& run, const ChunkSource& chunks, std::span<const Pack> packs);
Tried<bool> put_document(Connection& db, const Document& document);
Tried<bool> delete_document(Connection& db, std::string_view kind, std::string_view id);
Tried<bool> ping(Connection& db);

}  // namespace argus::store::postgres
