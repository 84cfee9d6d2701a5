// What the store reads: one statement each, so each sees one consistent view on every database.
#pragma once

#include <string>
#include <vector>

#include "store/postgres/connection.h"

namespace argus::store::postgres {

Tried<std::optional<RunInfo>> find_run(Connection& db, const RunKey& key);
Tried<std::optional<Snapshot>> find_snapshot(Connection& db, const RunKey& key);
Tried<std::vector<Record>> read_records(Connection& db, const RunKey& key, const RecordQuery& query);
Tried<std::vector<RunInfo>> list_runs(Connection& db, const std::string& schema, const RunQuery& query);
Tried<std::uint64_t> count_runs(Connection& db, const std::string& schema, const RunQuery& query);
Tried<std::optional<Document>> find_document(Connection& db, std::string_view kind, std::string_view id);
Tried<std::vector<Document>> list_documents(Connection& db, std::string_view kind, std::string_view after_id,
                                            std::size_t limit);
Tried<std::vector<std::string>> list_analytics(Connection& db, const RunKey& key, std::size_t limit);
Tried<std::uint64_t> size_bytes(Connection& db);

}  // namespace argus::store::postgres
