// What reads the tables. Each function is one consistent view.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "store/sqlite/connection.h"
#include "store/store.h"

namespace argus::store::sqlite {

Result<std::optional<RunInfo>> find_run(Connection& db, const RunKey& key);
Result<std::optional<Snapshot>> find_snapshot(Connection& db, const RunKey& key);
Result<std::vector<Record>> read_records(Connection& db, const RunKey& key, const RecordQuery& query);
Result<std::vector<RunInfo>> list_runs(Connection& db, const RunQuery& query);
Result<std::uint64_t> count_runs(Connection& db, const RunQuery& query);
Result<std::optional<Document>> find_document(Connection& db, std::string_view kind, std::string_view id);
Result<std::vector<Document>> list_documents(Connection& db, std::string_view kind, std::string_view after_id,
                                             std::size_t limit);
Result<std::vector<std::string>> list_analytics(Connection& db, const RunKey& key, std::size_t limit);
Result<std::uint64_t> size_bytes(Connection& db);

}  // namespace argus::store::sqlite
