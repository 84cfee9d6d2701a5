// What the server counts, for Prometheus: GET /metrics. prometheus-cpp stays in metrics.cpp.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "runs/run_service.h"
#include "server/router.h"

namespace argus::server {

/// Thread-safe. Every label comes from a closed list (routes, statuses, outcomes): never a run, an owner, a key or an
/// address, so the number of series is bounded by the program.
class Metrics {
 public:
  explicit Metrics(std::string_view engine_version);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  void answered(const Answered& answered);
  void committed(const runs::Committed& committed);

  /// A number that is asked for when somebody reads /metrics; before the first render(). `name` without the prefix
  /// argus_; `label` empty or `name="value"` given as two texts. Those of one name share `help`.
  struct Source {
    std::string name;
    std::string help;
    std::string label;  ///< name of the one label; empty: none
    std::string label_value;
    bool is_counter = false;  ///< only ever rises
    std::function<double()> value;
  };
  void add_source(Source source);

  /// The text format, version 0.0.4.
  std::string render();

  /// GET /metrics, at that path itself too. With keys it takes one of read scope: the numbers are of all owners
  /// together. On a loopback server without keys everybody who can reach it may read them.
  void add_route(Router& router);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace argus::server
