// Argus for a C++ training loop: this header and the CMake package `argus` are all it takes.
//
//   #include <argus/client.h>
//
//   argus::WatchOptions options;
//   options.model_type = "transformer";
//   auto watched = argus::Run::watch(options);            // runs are kept in ~/.argus; options.url: by a server
//   if (!watched.run) { std::cerr << watched.error << '\n'; return 1; }
//   argus::Run& run = *watched.run;
//   for (std::int64_t step = 0; step < steps; ++step) {
//     ... forward, backward, optimizer ...
//     argus::Step s;
//     s.step = step;
//     s.loss = loss;
//     s.grad_norm = grad_norm;
//     if (run.observe(s) >= 2) std::cerr << run.decision().summary() << '\n';
//     if (run.take_command() == argus::Command::stop) break;
//   }
//   run.complete(argus::Outcome::completed);
//
//   find_package(argus REQUIRED)
//   target_link_libraries(my_training PRIVATE argus::client)
//
// Nothing here throws, waits for a network or a device in observe(), or lets a failure of its own reach the loop: what
// goes wrong is told by take_notices(), once, and training goes on.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#define ARGUS_API __attribute__((visibility("default")))

namespace argus {

/// What a run is watched with. Texts are UTF-8 of at most 256 bytes.
struct WatchOptions {
  std::string run_id;  ///< 1 to 128 characters of [A-Za-z0-9._:-]; empty: made of the time and a number
  std::string model_type =
      "other";                   ///< transformer, llm, cnn, vision, rnn, mlp, diffusion, rl, gan, moe, ssm, gnn, other
  std::int64_t total_steps = 0;  ///< planned length in optimizer steps; 0: unknown
  bool automatic = false;        ///< AUTO: decisions carry what is to be done, and report() closes the loop
  std::string url;               ///< http[s]://HOST[:PORT] of a server; empty: ARGUS_URL, else the home keeps the run
  std::string key;               ///< the server's; empty: ARGUS_API_KEY
  std::string home;              ///< folder of records; empty: ARGUS_HOME, else ~/.argus
  bool record = true;            ///< false: judged only, nothing is written or sent
};

/// One optimizer step. Absent is "not measured", which is different from NaN and from 0.
struct Step {
  std::int64_t step = 0;                      ///< 0 to 2^53; below the last one: a rewind
  std::optional<double> loss;                 ///< any real, task units
  std::optional<double> grad_norm;            ///< global L2 norm, best before clipping, >= 0
  std::optional<double> gradient_similarity;  ///< cosine to the previous step's gradient, [-1, 1]
  std::optional<double> update_norm;          ///< L2 of the parameter change, >= 0
  std::optional<double> val_loss;             ///< where validation ran
  std::optional<double> learning_rate;        ///< in force, >= 0
  std::optional<double> loss_scale;           ///< of a mixed-precision scaler, > 0
  std::optional<double> weights_l1;           ///< of all trainable parameters, >= 0
  std::optional<double> weights_l2;           ///< of all trainable parameters, >= 0
  std::optional<double> epoch;                ///< >= 0
  std::optional<double> batch_size;           ///< samples, >= 1
  bool skipped = false;                       ///< the scaler found an overflow and the optimizer did not step
  bool lr_restarted = false;                  ///< the schedule restarts here on purpose
  bool is_anchor = false;                     ///< a checkpoint known to be good was taken here
  /// Per-sample values: each empty or of one common length, at most 65,536; above 1,024 every n-th is taken. NaN: not
  /// known. Read during observe() only.
  std::span<const double> sample_losses, sample_confidences, sample_margins, sample_entropies, sample_correct;
  std::span<const std::int64_t> sample_ids;  ///< empty, or of that length
};

/// An active signal: evidence, not a diagnosis.
struct Signal {
  std::string_view name;         ///< loss_divergence, gradient_explosion, ...
  double severity = 0.0;         ///< evidence in units of what confirms it: >= 1
  std::int64_t since_step = 0;   ///< estimated onset
  double value = 0.0;            ///< now, in its own units
  double low = 0.0, high = 0.0;  ///< this run's own baseline
};

/// What is recommended; `kind` is REDUCE_LR, RESTORE_LR, RESET_OPTIMIZER, ROLLBACK, FILTER_SAMPLES or PAUSE.
struct Recommendation {
  std::uint64_t id = 0;  ///< unique in the run; act at most once on each
  std::string_view kind;
  std::string_view state;                   ///< proposed, applied, watching, recovered, released, failed, superseded
  double lr_factor = 1.0;                   ///< REDUCE_LR, RESTORE_LR: relative to the rate in force
  std::optional<std::int64_t> anchor_step;  ///< ROLLBACK: the checkpoint to go back to
  std::int64_t expires_step = 0;            ///< not to be acted on after it
};

/// What was said about one step. A copy: later steps do not change it.
struct Decision {
  std::int64_t step = 0;
  int harm_pressure = 0;    ///< 0 within expectation, 1 watch, 2 confirmed, 3 critical
  bool calibrating = true;  ///< this run's own baseline does not exist yet
  std::vector<Signal> signals;
  std::optional<Recommendation> recommendation;
  std::optional<double> lr_factor;     ///< AUTO: multiply the rate in force by it, once
  bool reset_optimizer = false;        ///< AUTO
  std::string_view checkpoint_signal;  ///< NONE, SAVE (a certified healthy moment), SAVE_NOW (freeze what you have)
  std::vector<std::uint32_t> spike_samples;  ///< positions in the step's arrays that outlier_batch rests on

  /// "step 812: pressure 2 (loss_divergence since 796)".
  ARGUS_API std::string summary() const;
};

enum class Command : std::uint8_t { none, pause, stop };
enum class Outcome : std::uint8_t { completed, failed, stopped };

/// What became of the steps.
struct Delivery {
  std::uint64_t observed = 0;   ///< judged here
  std::uint64_t delivered = 0;  ///< acknowledged by who keeps the run
  std::uint64_t waiting = 0;    ///< on disk, or on their way to it
  std::uint64_t dropped = 0;    ///< judged, but not in the record
};

/// A watched run. Methods marked (trainer) belong to one thread at a time; the others may be called from any. In the
/// child of a fork it does nothing. Destroying it ends recording as close() does, within a quarter of a second for what
/// can still be delivered.
class ARGUS_API Run {
 public:
  struct Watched;
  /// Begins to watch, or goes on with the run of that id. Blocking for milliseconds: opens files, no network. Only
  /// options that cannot be meant are errors; without a disk or server the run is judged all the same.
  static Watched watch(const WatchOptions& options);

  ~Run();
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  /// (trainer) Judges one step: harm pressure, 0 to 3. A step number or array lengths that cannot be meant change
  /// nothing: the last pressure, and a notice. About two microseconds with scalars; no allocation, lock or system call.
  int observe(const Step& step) noexcept;
  /// (trainer) The newest decision. Allocates.
  Decision decision() const;
  /// (trainer) What was done about a recommendation: goes out with the next step. False: no such kind, or too many
  /// wait.
  bool report(std::uint64_t recommendation_id, std::string_view kind, std::int64_t step, bool ok,
              std::string_view detail = {});
  /// (trainer) A checkpoint was restored and the optimizer reset: a new segment begins with the next step.
  void reset(std::int64_t step);

  /// A person's command, once. A load when there is none.
  Command take_command();
  /// Lines worth showing, each once.
  std::vector<std::string> take_notices();
  Delivery delivery() const;

  /// The run has ended. Waits at most so long; the signed certificate, JSON, or empty: it is then completed later.
  std::string complete(Outcome outcome, std::string_view error = {},
                       std::chrono::milliseconds wait = std::chrono::seconds(10));
  /// Waits until all observed so far is acknowledged. True: it is.
  bool flush(std::chrono::milliseconds wait);
  /// As flush(), and ends recording: what is not delivered stays on disk for a later run of this id.
  bool close(std::chrono::milliseconds wait);

  const std::string& run_id() const;

 private:
  struct Impl;
  explicit Run(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Either a run, or what is wrong with the options.
struct Run::Watched {
  std::unique_ptr<Run> run;
  std::string error;
};

/// The version of this library.
ARGUS_API std::string_view version();

}  // namespace argus
