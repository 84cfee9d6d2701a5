// The tables, and how a database comes to have them.
#pragma once

#include <string>

#include "base/result.h"
#include "store/postgres/connection.h"

namespace argus::store::postgres {

/// Applies what is missing, under the lock of one row, so that processes that start at once wait for each other.
/// `schema` is a valid name. kUnsupported: tables of a later version.
Status migrate(Connection& connection, const std::string& schema);

}  // namespace argus::store::postgres
