// The statements that every connection prepares. SQL that PostgreSQL, Citus, CockroachDB and YugabyteDB share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace argus::store::postgres {

enum class Sql : std::uint8_t {
  kCreate,
  kCreateWithPack,
  kMove,
  kMoveWithPack,
  kPutSnapshot,
  kPutAnalytics,
  kOverwriteDocument,
  kInsertDocument,
  kUpdateDocument,
  kDeleteDocument,
  kFindDocument,
  kListDocuments,
  kFindRun,
  kFindSnapshot,
  kReadRecords,
  kListAnalytics,
  kSizeBytes,
  kTryWrite,
  kCompactRow,
  kDeletePacks,
  kAddStored,
  kInsertRun,
  kInsertChunk,
  kInsertPack,
  kDeleteRun,
  kDeletePacksOfRun,
  kDeleteChunksOfRun,
  kDeleteSnapshotOfRun,
  kDeleteAnalyticsOfRun,
  kCount,
};

/// '@' stands for the schema and its dot. `types`: one letter a parameter, i BIGINT, b BYTEA, t TEXT.
struct StatementText {
  Sql sql;
  const char* types;
  const char* text;
};
const StatementText& statement_text(Sql sql);

/// The columns of a run in the order that run_at() reads.
extern const char* const kRunColumns;

/// Puts the schema's name in place of '@'.
std::string with_schema(std::string_view text, std::string_view schema);

}  // namespace argus::store::postgres
