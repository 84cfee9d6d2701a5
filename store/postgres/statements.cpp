#include "store/postgres/statements.h"

#include <iterator>

namespace argus::store::postgres {
namespace {

#define ARGUS_RUN_COLUMNS                                                                                  \
  "run, owner, run_id, version, compacted, status, pressure, last_step, observations, bytes, created_ms, " \
  "updated_ms, head"
#define ARGUS_PACK_COLUMNS "run, version, first_index, count, min_step, max_step, events, body"

// One shape for every append: the row moves, and only from `moved` can a pack come; its own row says whether it did.
#define ARGUS_CREATED                                    \
  "WITH moved AS (INSERT INTO @runs (" ARGUS_RUN_COLUMNS \
  ", stored_bytes) VALUES "                              \
  "($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14) ON CONFLICT (run) DO NOTHING RETURNING run)"
#define ARGUS_MOVED                                                                                               \
  "WITH moved AS (UPDATE @runs SET version=$3, status=$4, pressure=$5, last_step=$6, observations=$7, bytes=$8, " \
  "updated_ms=$9, head=$10, stored_bytes=stored_bytes+$11 WHERE run=$1 AND version=$2 RETURNING run)"
#define ARGUS_ANSWER " SELECT 1 FROM moved"

// A record of no observations passes only the full range. Sums lengths, so that a query reads no more values than its
// caller takes: only rows that are returned have their large values fetched.
#define ARGUS_RANGE                                                                                \
  " WHERE run=$1 AND version>$2 AND ((count>0 AND max_step>=$3 AND min_step<=$4) OR (count=0 AND " \
  "$3=(-9223372036854775807)-1 AND $4=9223372036854775807)) AND ($5=0 OR octet_length(events)>0)"
#define ARGUS_RECORDS                                                                                          \
  "SELECT is_pack, version, from_version, first_index, count, min_step, max_step, events, rollup, telemetry, " \
  "decisions, body FROM (SELECT r.*, SUM(octet_length(events)+octet_length(rollup)+octet_length(telemetry)+"   \
  "octet_length(decisions)+octet_length(body)) OVER (ORDER BY version ROWS BETWEEN UNBOUNDED PRECEDING AND "   \
  "1 PRECEDING) AS bytes_before FROM ("                                                                        \
  "SELECT CAST(0 AS BIGINT) AS is_pack, version, from_version, first_index, count, min_step, max_step, "       \
  "CASE WHEN $6=1 THEN events ELSE CAST('' AS BYTEA) END AS events, "                                          \
  "CASE WHEN $7=1 THEN rollup ELSE CAST('' AS BYTEA) END AS rollup, "                                          \
  "CASE WHEN $8=1 THEN telemetry ELSE CAST('' AS BYTEA) END AS telemetry, "                                    \
  "CASE WHEN $9=1 THEN decisions ELSE CAST('' AS BYTEA) END AS decisions, "                                    \
  "CAST('' AS BYTEA) AS body FROM @chunks" ARGUS_RANGE                                                         \
  " UNION ALL SELECT CAST(1 AS BIGINT), version, version-1, first_index, count, min_step, max_step, "          \
  "CASE WHEN $6=1 THEN events ELSE CAST('' AS BYTEA) END, CAST('' AS BYTEA), CAST('' AS BYTEA), "              \
  "CAST('' AS BYTEA), CASE WHEN $10=1 THEN body ELSE CAST('' AS BYTEA) END FROM @packs" ARGUS_RANGE            \
  ") AS r) AS s WHERE COALESCE(bytes_before, 0) < $11 ORDER BY version LIMIT $12"

constexpr StatementText kStatements[] = {
    {Sql::kCreate, "bbbiiiiiiiiibi", ARGUS_CREATED ARGUS_ANSWER},
    {Sql::kCreateWithPack, "bbbiiiiiiiiibiiiiiibb",
     ARGUS_CREATED ", packed AS (INSERT INTO @packs (" ARGUS_PACK_COLUMNS
                   ") SELECT run,$15,$16,$17,$18,$19,$20,$21 FROM moved)" ARGUS_ANSWER},
    {Sql::kMove, "biiiiiiiibi", ARGUS_MOVED ARGUS_ANSWER},
    {Sql::kMoveWithPack, "biiiiiiiibiiiiiibb",
     ARGUS_MOVED ", packed AS (INSERT INTO @packs (" ARGUS_PACK_COLUMNS
                 ") SELECT run,$12,$13,$14,$15,$16,$17,$18 FROM moved)" ARGUS_ANSWER},
    // Under the row's lock, so that one deleted meanwhile leaves no state behind.
    {Sql::kPutSnapshot, "biib",
     "INSERT INTO @snapshots AS s (run, version, observations, body) SELECT r.run,$2,$3,$4 FROM "
     "(SELECT run FROM @runs WHERE run=$1 FOR UPDATE) AS r ON CONFLICT (run) DO UPDATE SET "
     "version=excluded.version, observations=excluded.observations, body=excluded.body "
     "WHERE excluded.version>s.version"},
    {Sql::kPutAnalytics, "bib",
     "INSERT INTO @analytics (run, at_ms, n, body) SELECT r.run,$2,(SELECT COALESCE(MAX(a.n),-1)+1 FROM @analytics "
     "AS a WHERE a.run=$1 AND a.at_ms=$2),$3 FROM (SELECT run FROM @runs WHERE run=$1 FOR UPDATE) AS r"},
    {Sql::kOverwriteDocument, "tbb",
     "INSERT INTO @documents AS d (kind, id, version, body) VALUES ($1,$2,1,$3) ON CONFLICT (kind, id) DO UPDATE SET "
     "version=d.version+1, body=excluded.body"},
    {Sql::kInsertDocument, "tbb",
     "INSERT INTO @documents (kind, id, version, body) VALUES ($1,$2,1,$3) ON CONFLICT (kind, id) DO NOTHING"},
    {Sql::kUpdateDocument, "tbbi",
     "UPDATE @documents SET version=version+1, body=$3 WHERE kind=$1 AND id=$2 AND version=$4"},
    {Sql::kDeleteDocument, "tb", "DELETE FROM @documents WHERE kind=$1 AND id=$2"},
    {Sql::kFindDocument, "tb", "SELECT kind, id, version, body FROM @documents WHERE kind=$1 AND id=$2"},
    {Sql::kListDocuments, "tbi",
     "SELECT kind, id, version, body FROM @documents WHERE kind=$1 AND id>$2 ORDER BY id LIMIT $3"},
    {Sql::kFindRun, "b", "SELECT " ARGUS_RUN_COLUMNS " FROM @runs WHERE run=$1"},
    {Sql::kFindSnapshot, "b", "SELECT version, observations, body FROM @snapshots WHERE run=$1"},
    {Sql::kReadRecords, "biiiiiiiiiii", ARGUS_RECORDS},
    {Sql::kListAnalytics, "bi", "SELECT body FROM @analytics WHERE run=$1 ORDER BY at_ms DESC, n DESC LIMIT $2"},
    {Sql::kSizeBytes, "", "SELECT CAST(COALESCE(SUM(stored_bytes), 0) AS BIGINT) FROM @runs"},
    // A real write: a standby, a full disk or read-only mode lets an empty transaction pass.
    {Sql::kTryWrite, "", "UPDATE @schema_version SET pings=pings+1 WHERE id=1"},
    {Sql::kCompactRow, "bii", "UPDATE @runs SET compacted=$3 WHERE run=$1 AND compacted=$2 AND version>=$3"},
    {Sql::kDeletePacks, "bii",
     "WITH gone AS (DELETE FROM @packs WHERE run=$1 AND version>$2 AND version<=$3 RETURNING "
     "octet_length(events)+octet_length(body) AS size) SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM gone"},
    {Sql::kAddStored, "bi", "UPDATE @runs SET stored_bytes=stored_bytes+$2 WHERE run=$1"},
    {Sql::kInsertRun, "bbbiiiiiiiiibi",
     "INSERT INTO @runs (" ARGUS_RUN_COLUMNS
     ", stored_bytes) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14) ON CONFLICT (run) DO NOTHING"},
    {Sql::kInsertChunk, "biiiiiibbbb",
     "INSERT INTO @chunks (run, version, from_version, first_index, count, min_step, max_step, events, rollup, "
     "telemetry, decisions) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11)"},
    {Sql::kInsertPack, "biiiiibb", "INSERT INTO @packs (" ARGUS_PACK_COLUMNS ") VALUES ($1,$2,$3,$4,$5,$6,$7,$8)"},
    {Sql::kDeleteRun, "b", "DELETE FROM @runs WHERE run=$1"},
    {Sql::kDeletePacksOfRun, "b", "DELETE FROM @packs WHERE run=$1"},
    {Sql::kDeleteChunksOfRun, "b", "DELETE FROM @chunks WHERE run=$1"},
    {Sql::kDeleteSnapshotOfRun, "b", "DELETE FROM @snapshots WHERE run=$1"},
    {Sql::kDeleteAnalyticsOfRun, "b", "DELETE FROM @analytics WHERE run=$1"},
};
static_assert(std::size(kStatements) == static_cast<std::size_t>(Sql::kCount));
constexpr bool are_in_order() {
  for (std::size_t i = 0; i < std::size(kStatements); ++i) {
    if (static_cast<std::size_t>(kStatements[i].sql) != i) return false;
  }
  return true;
}
static_assert(are_in_order());

}  // namespace

const char* const kRunColumns = ARGUS_RUN_COLUMNS;

const StatementText& statement_text(Sql sql) { return kStatements[static_cast<std::size_t>(sql)]; }

std::string with_schema(std::string_view text, std::string_view schema) {
  std::string sql;
  for (const char c : text) {
    if (c == '@') {
      sql += '"';
      sql += schema;
      sql += "\".";
    } else {
      sql += c;
    }
  }
  return sql;
}

}  // namespace argus::store::postgres
