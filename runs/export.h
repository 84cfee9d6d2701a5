// A whole run as JSON lines, and back: what `argus runs export` and `import` exchange (docs/formats/export.md).
//
// Each observation's line holds the row it was kept as, in base64: the hash chain is recomputed from those alone, and
// the step and the answer beside it are what that row says.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "record/chain.h"
#include "record/chunk.h"
#include "runs/chunk_file.h"
#include "store/store.h"

namespace argus::runs {

inline constexpr int kExportVersion = 1;

/// Takes one line without its newline; false stops the export.
using LineSink = std::function<bool(std::string_view line)>;

/// What the header says of how the run was registered.
enum class ExportSecrets : std::uint8_t {
  kKept,     ///< all: for who owns the store
  kLeftOut,  ///< not the hash of the intervention secret, nor the idempotency key: for who may only read
};

/// A run's lines as it stood when the export was opened, whatever is appended or compacted meanwhile: memory for a
/// record of the log. Not thread-safe.
class RunExport {
 public:
  /// Blocking. kNotFound when there is no such run.
  static Result<RunExport> open(store::Store& store, const store::RunKey& key,
                                ExportSecrets secrets = ExportSecrets::kKept);
  ~RunExport();
  RunExport(RunExport&&) noexcept;
  RunExport& operator=(RunExport&&) noexcept;

  /// Gives the next lines to `sink`: a few hundred kilobytes, or one record that is larger. False: those were the last,
  /// or `sink` wanted no more. Blocking.
  Result<bool> next(const LineSink& sink);

 private:
  struct State;
  explicit RunExport(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// All lines in one call.
Status export_run(store::Store& store, const store::RunKey& key, const LineSink& sink,
                  ExportSecrets secrets = ExportSecrets::kKept);

/// Reads an export line by line, in order, and holds it against itself: rows must continue the chain, steps and answers
/// must be what the rows say, the last line must state the count and the end of the chain. Not thread-safe. Memory: one
/// chunk; those made so far lie in a temporary file, unless `keeps_chunks` is false.
class ExportReader {
 public:
  explicit ExportReader(bool keeps_chunks) : keeps_chunks_(keeps_chunks) {}

  /// kMalformed or kInvalid, naming the line, when it is not what export_run() writes.
  Status add(std::string_view line);
  /// kMalformed when the export ends too early.
  Status finish();

  /// Whole after finish().
  const store::RunInfo& run() const { return run_; }
  std::uint64_t observations() const { return observations_; }
  const record::Chain& chain() const { return chain_; }
  const std::string& certificate() const { return certificate_; }  ///< empty: none

  /// Puts the run into the store, with its certificate. kConflict when it is there. `owner`: whose it becomes; empty:
  /// the one it had.
  Status store_in(store::Store& store, std::string_view owner);

 private:
  Status add_header(std::string_view line);
  Status add_observation(std::string_view line);
  Status add_end(std::string_view line);
  Status close_chunk();
  Error wrong(std::string_view what) const;

  bool keeps_chunks_;
  std::uint64_t lines_ = 0;
  bool ended_ = false;
  store::RunInfo run_;
  std::string engine_version_;  // of the program that wrote the export: its answers state it
  std::uint64_t observations_ = 0;
  record::Chain chain_;
  std::string certificate_;
  record::ChunkWriter writer_;
  std::size_t writer_bytes_ = 0;
  std::string events_;
  std::uint64_t chunk_begin_ = 0;  // index of the first observation in the chunk in the making
  ChunkFile chunks_;
};

}  // namespace argus::runs
