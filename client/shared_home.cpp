#include "client/shared_home.h"

#include <filesystem>
#include <map>
#include <mutex>
#include <utility>

#include "client/fork_guard.h"
#include "store/sqlite/home.h"

namespace argus::client {
namespace {

struct Registry {
  std::mutex mutex;
  std::map<std::string, std::weak_ptr<SharedHome>> homes;
  std::uint64_t generation = fork_generation();
};

// Never destroyed: runs may end after static objects do.
Registry& registry() {
  static Registry* const the_registry = new Registry;
  return *the_registry;
}

// Two names of one folder are one home.
std::string real_name(const std::string& folder) {
  std::error_code ec;
  const std::filesystem::path path = std::filesystem::weakly_canonical(folder, ec);
  return ec ? folder : path.string();
}

}  // namespace

SharedHome::SharedHome(std::unique_ptr<store::Store> store, std::unique_ptr<runs::SigningKeys> keys, const Clock& clock)
    : clock_(clock),
      store_(std::move(store)),
      keys_(std::move(keys)),
      runs_(
          std::make_unique<runs::RunService>(*store_, clock, *keys_, runs::RunServiceOptions{.background_threads = 1})),
      background_(1) {}

Result<std::shared_ptr<SharedHome>> SharedHome::open(const std::string& folder, const Clock& clock) {
  Registry& r = registry();
  if (r.generation != fork_generation()) {  // the mutex may be held by a thread that is not here
    return Error{ErrorCode::kUnavailable, "the home was open in the process that this one was forked from", "",
                 "start the process anew (multiprocessing: spawn, not fork), or use a server"};
  }
  const std::lock_guard lock(r.mutex);
  std::weak_ptr<SharedHome>& known = r.homes[real_name(folder)];
  if (std::shared_ptr<SharedHome> open = known.lock()) return open;
  auto store = store::open_home({.folder = folder, .readers = 2});
  if (!store) return store.error();
  auto keys = runs::SigningKeys::open(**store, clock);
  if (!keys) return keys.error();
  std::shared_ptr<SharedHome> home(new SharedHome(std::move(*store), std::move(*keys), clock));
  known = home;
  return home;
}

}  // namespace argus::client
