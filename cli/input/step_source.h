// Steps of a file, whatever its format: the seam between readers and whoever replays.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/limits.h"
#include "base/result.h"
#include "cli/input/line_reader.h"
#include "wire/step_message.h"

namespace argus::cli {

/// A record is what one answer is for: a line of wire JSONL (a step or a pack), a row of a CSV, a log row of a
/// trainer_state.json. Memory does not grow with the file. Not thread-safe.
class StepSource {
 public:
  enum class Next : std::uint8_t {
    kRecord,  ///< steps(), is_pack()
    kEnd,
    kRefused,  ///< this record is invalid: error(); the next call goes on behind it
    kBroken,   ///< the file can not be read any further: error()
  };

  virtual ~StepSource() = default;
  virtual Next next() = 0;

  /// Valid until the next call of next(). Never empty for a record.
  virtual std::span<const wire::StepMessage> steps() const = 0;
  virtual bool is_pack() const { return false; }
  /// Line of the newest record (or error) in the unpacked file, counted from 1; 0: none.
  virtual std::uint64_t line() const = 0;
  virtual const Error& error() const = 0;
  /// Bytes of the file consumed, before unpacking, and the size of the file if known.
  virtual std::uint64_t position() const = 0;
  virtual std::optional<std::uint64_t> size() const = 0;
  /// What the reader wants said once at the end, in one sentence; empty: nothing.
  virtual std::string remark() const { return {}; }
};

enum class InputFormat : std::uint8_t { kGuess, kWire, kTrainerState, kCsv };

/// Names of CSV columns given by the user; empty: recognised by the usual names.
struct ColumnNames {
  std::string step;
  std::string epoch;
  std::string loss;
  std::string grad_norm;
  std::string learning_rate;
  std::string val_loss;
};

struct InputOptions {
  InputFormat format = InputFormat::kGuess;
  std::string run_id;  ///< of steps that name none; a valid one
  ColumnNames columns;
  std::size_t line_bytes_max = limits::kBodyBytesMax;
};

/// Opens a file ("-": standard input) and finds out what it is. Errors: kUnavailable; kMalformed (empty, binary, of no
/// known format).
Result<std::unique_ptr<StepSource>> open_steps(const std::string& path, const InputOptions& options);

/// The readers behind it.
std::unique_ptr<StepSource> read_wire(LineReader lines, const InputOptions& options);
std::unique_ptr<StepSource> read_trainer_state(LineReader lines, const InputOptions& options);
std::unique_ptr<StepSource> read_csv(LineReader lines, const InputOptions& options);

}  // namespace argus::cli
