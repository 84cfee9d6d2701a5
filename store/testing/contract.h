// The list of store implementations that store/contract_test.cpp holds to store.h. An implementation's own test file
// enrols it:
//
//   const bool enrolled = store::testing::enrol({"sqlite", [] { return std::make_unique<SqlitePlace>(); }});
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "store/store.h"

namespace argus::store::testing {

/// A place for one store, empty at first. What lies there goes with it; stores opened from it go before it.
class Place {
 public:
  virtual ~Place() = default;
  /// Another store over the same data, as another process would hold it.
  virtual Result<std::unique_ptr<Store>> open() = 0;
};

struct Implementation {
  std::string name;                              ///< [A-Za-z0-9_]+
  std::function<std::unique_ptr<Place>()> make;  ///< nullptr: this machine lacks what it takes (tests are skipped)
};

inline std::vector<Implementation>& implementations() {
  static std::vector<Implementation> all;
  return all;
}
/// Before main(), from a file-level constant.
inline bool enrol(Implementation implementation) {
  implementations().push_back(std::move(implementation));
  return true;
}

// ---- a small vocabulary
// ----------------------------------------------------------------------------------------------

/// What append() reported, waited for.
Result<AppendOutcome> append_and_wait(Store& store, Append append);

/// The row of run `id` of `owner` at `version`, every field with a value of its own.
RunInfo row_of(const std::string& owner, const std::string& id, std::uint64_t version);

/// Moves that run to `version` with a pack of 4 observations (steps 4 * (version - 1) ...), recognisable by its body.
Append append_of(const std::string& owner, const std::string& id, std::uint64_t version);

/// Packs (from, to] of append_of() as a chunk.
Chunk chunk_of(std::uint64_t from, std::uint64_t to);

}  // namespace argus::store::testing
