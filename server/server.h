// A whole server: the store, the runs in it, and HTTP in front of them.
//
//   Result<std::unique_ptr<Server>> server = Server::open(config, clock);
//   (*server)->start();  ...  (*server)->stop();
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "server/config.h"
#include "server/router.h"
#include "store/store.h"

namespace argus::server {

/// The store that a config names: `database`, else the embedded one in `home`. Blocking.
Result<std::unique_ptr<store::Store>> open_store(const ServerConfig& config);

/// Not thread-safe; the clock outlives it.
class Server {
 public:
  /// Opens the store, makes its tables and its signing key where they are missing, and binds. Blocking. Errors:
  /// kUnavailable (store, address, certificate), kForbidden (beyond loopback without keys), kInvalid (config).
  static Result<std::unique_ptr<Server>> open(const ServerConfig& config, const Clock& clock);
  ~Server();  ///< as stop()
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// http://127.0.0.1:8088, with the port that was bound.
  std::string url() const;
  std::uint16_t port() const;
  bool needs_keys() const;
  std::vector<const Route*> routes_for_test() const;

  void start();
  /// /ready says no; nothing new is accepted; what was accepted is committed and answered within the grace. Blocking,
  /// once; later calls do nothing.
  void stop();

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace argus::server
