// One run's life, used alike by the server and in-process: register, observe, rewind or reset, complete, certificate.
//
//   RunService runs(store, clock, {});
//   runs.observe("local", steps, AnswerForm::kAll, [](Result<Observed> r) { ... });
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "engine/decision.h"
#include "runs/certificate_signer.h"
#include "runs/run_head.h"
#include "store/store.h"
#include "wire/step_message.h"

namespace argus::runs {

/// Which answers observe() makes.
enum class AnswerForm : std::uint8_t {
  kAll,   ///< a single step's object, or the pack answer with every step's
  kLast,  ///< the newest step's object alone
};

struct Observed {
  std::string answer;        ///< JSON, as wire.md's answer table
  engine::Decision newest;   ///< the newest step's decision
  std::uint32_t stored = 0;  ///< observations that were new: late arrivals count, resent ones do not
};

struct Registration {
  std::string run_id;
  std::string model_type = {};
  std::string sdk_version = {};
  std::int64_t total_steps = 0;  ///< 0: unknown
  double total_epochs = 0.0;
  std::string secret_hash = {};  ///< SHA-256 in hex of the intervention secret, or empty
  std::string idempotency_key = {};
};

struct Registered {
  bool created = false;  ///< false: the run was there before
  store::RunInfo run;
};

struct Completion {
  std::string run_id;
  store::RunStatus status = store::RunStatus::kCompleted;
  std::optional<std::int64_t> step = {};
  std::string error = {};
  std::optional<double> duration_s = {};
};

/// What became durable, for live views, alerts and metrics. Called on the committing thread: must not block.
struct Committed {
  store::RunInfo run;  ///< the row as it is now
  std::string events;  ///< timeline events of this append, one JSON object a line
  int pressure_before = 0;
  std::uint32_t observations = 0;  ///< added by it, late arrivals included
  std::uint32_t duplicates = 0;    ///< acknowledged again
  std::uint32_t late = 0;          ///< late arrivals among the observations
  std::uint32_t conflicts = 0;     ///< tries that lost to another process before this one
  std::int64_t append_ms = 0;      ///< from handing it to the store until it was durable
};

struct RunServiceOptions {
  std::size_t live_runs_max = 6000;      ///< engines kept in memory, 40 KiB each; others are read back when needed
  std::uint32_t snapshot_every = 512;    ///< observations between snapshots of the engine's state
  std::uint32_t compact_every = 4096;    ///< observations in packs that become a chunk; at most record/chunk.h's
  std::size_t waiting_per_run_max = 64;  ///< requests that wait for one run's append; more are kUnavailable
  std::function<void(const Committed&)> on_committed = {};
  unsigned background_threads = 2;  ///< that read runs back, compact, and sign
  /// Takes the place of those threads: a simulation runs the work when it likes.
  std::function<void(std::function<void()>)> background_for_test = {};
};

/// Thread-safe. Calls that take a `done` return at once, and report exactly once on some thread, never under a lock;
/// nothing is reported before it is durable. A call without `done` blocks. Errors of all: kInvalid, kNotFound (also for
/// a run of another owner), kUnavailable (nothing was applied, or nobody knows: send it again).
class RunService {
 public:
  RunService(store::Store& store, const Clock& clock, CertificateSigner& signer, RunServiceOptions options);
  ~RunService();  ///< waits until all that was accepted is reported
  RunService(const RunService&) = delete;
  RunService& operator=(const RunService&) = delete;

  using ObserveDone = std::function<void(Result<Observed>)>;
  /// A pack of one run, or a single step: all applied or none, exactly once in effect (wire.md, "Ordering"). The first
  /// one registers the run. `is_pack` chooses the form of the answer. `steps` are read before the call returns.
  void observe(std::string_view owner, std::span<const wire::StepMessage> steps, bool is_pack, AnswerForm form,
               ObserveDone done);

  Result<Registered> register_run(std::string_view owner, const Registration& registration);
  /// `status` as the protocol's words; unknown words are kInvalid.
  Status heartbeat(std::string_view owner, std::string_view run_id, store::RunStatus status);
  /// Begins a new segment at the next observation. Repeated without one between, it changes nothing.
  Status reset(std::string_view owner, std::string_view run_id, std::int64_t step);
  /// Ends the run and signs its certificate; repeated, returns the one that was signed. JSON.
  Result<std::string> complete(std::string_view owner, const Completion& completion);
  /// kForbidden: wrong secret, or none registered; kRateLimited after five wrong ones within a minute (per run).
  Status command(std::string_view owner, std::string_view run_id, CommandKind kind, std::string_view secret);
  /// The client has acted (or reports on a command): kept in the timeline. `body` is the report, bounded by the caller.
  Status note_report(std::string_view owner, std::string_view run_id, std::string_view kind, std::string_view body);
  /// START was granted and not yet taken: taken by this call.
  Result<bool> take_start(std::string_view owner, std::string_view run_id);

  Result<std::optional<store::RunInfo>> find(std::string_view owner, std::string_view run_id);
  /// The signed certificate of a completed run, JSON; nullopt before.
  Result<std::optional<std::string>> certificate(std::string_view owner, std::string_view run_id);
  Result<bool> remove(std::string_view owner, std::string_view run_id);

  /// Commits and reports all that was accepted, and writes snapshots of what is live. For shutdown.
  void drain();
  std::size_t live_runs() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace argus::runs
