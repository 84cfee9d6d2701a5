// The contract over PostgreSQL, and what only a server can do to us: vanish, refuse, restart, be shared.
#include "store/postgres/postgres_store.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <mutex>
#include <set>
#include <thread>

#include "store/testing/contract.h"
#include "store/testing/temporary_postgres.h"

namespace argus::store {
namespace {

using testing::append_and_wait;
using testing::append_of;
using testing::chunk_of;
using testing::TemporaryPostgres;

// One server for the contract's tests, a database for each.
TemporaryPostgres* shared_server() {
  static const std::unique_ptr<TemporaryPostgres> server = TemporaryPostgres::start();
  return server.get();
}

class PostgresPlace final : public testing::Place {
 public:
  explicit PostgresPlace(TemporaryPostgres& server) : connection_(server.connection(server.make_database())) {}
  Result<std::unique_ptr<Store>> open() override { return open_postgres({.connection = connection_}); }

 private:
  std::string connection_;
};

const bool kEnrolled = testing::enrol({"postgres", []() -> std::unique_ptr<testing::Place> {
                                         TemporaryPostgres* const server = shared_server();
                                         return server == nullptr ? nullptr : std::make_unique<PostgresPlace>(*server);
                                       }});

}  // namespace
}  // namespace argus::store
