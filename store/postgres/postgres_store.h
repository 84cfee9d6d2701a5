// Runs in PostgreSQL, or in what speaks its protocol and SQL (docs/formats/store.md says what each needs): any number
// of replicas over one database.
//
//   Result<std::unique_ptr<Store>> store = open_postgres({.connection = "host=db dbname=argus user=argus"});
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "base/result.h"
#include "store/store.h"

namespace argus::store {

struct PostgresOptions {
  std::string connection;             ///< libpq's connection string or URI; what it sets wins over the timeouts below
  std::string schema = "argus";       ///< holds our tables, made where it is missing; [a-z_][a-z0-9_]{0,62}
  std::size_t pool = 4;               ///< connections for reads and blocking writes, beside the committing one
  int connect_timeout_s = 5;          ///< libpq takes at least 2
  int statement_timeout_ms = 10'000;  ///< a server silent for 5 s longer counts as lost
  int outage_wait_ms = 3'000;         ///< how long appends wait for a lost database before they are refused
};

/// Applies missing migrations; several processes may start at once. kInvalid (the schema's name), kUnavailable (not to
/// be reached, no rights, ...), kUnsupported (tables made by a later version).
///
/// Afterwards the store survives the loss of the database: calls fail with kUnavailable while it lasts, and work again
/// once it is back. A session pooler between must pool sessions, not transactions.
Result<std::unique_ptr<Store>> open_postgres(const PostgresOptions& options);

}  // namespace argus::store
