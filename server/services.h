// What handlers work with: made once by the server, outliving every request.
#pragma once

#include "base/clock.h"
#include "runs/run_service.h"
#include "server/worker_pool.h"
#include "store/store.h"

namespace argus::server {

struct Services {
  store::Store& store;
  runs::RunService& runs;
  const Clock& clock;
  WorkerPool& workers;
};

}  // namespace argus::server
