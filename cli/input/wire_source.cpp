#include <fmt/format.h>

#include <utility>

#include "cli/input/step_source.h"
#include "wire/step_reader.h"

namespace argus::cli {
namespace {

Error export_error() {
  return {ErrorCode::kUnsupported,
          "this is an export of a run that was judged, not a log of steps",
          {},
          "argus runs import FILE --home DIR, then argus runs show RUN --home DIR"};
}

class WireSource final : public StepSource {
 public:
  WireSource(LineReader lines, const InputOptions& options)
      : lines_(std::move(lines)), line_bytes_max_(options.line_bytes_max), reader_({options.run_id}) {}

  Next next() override {
    for (;;) {
      switch (lines_.next()) {
        case LineReader::Next::kEnd:
          return Next::kEnd;
        case LineReader::Next::kBroken:
          return fail(lines_.error(), Next::kBroken);
        case LineReader::Next::kTooLong:
          return fail({ErrorCode::kTooLarge,
                       fmt::format("a line of more than {} bytes", line_bytes_max_),
                       {},
                       "is this a file of one step per line?"},
                      Next::kRefused);
        case LineReader::Next::kLine:
          break;
      }
      std::string_view line = lines_.line();
      if (lines_.number() == 1 && line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);
      if (line.find_first_not_of(" \t") == line.npos) continue;
      auto body = reader_.read(line);
      if (!body) {
        if (!has_read_ && line.starts_with("{\"argus_export\":")) return fail(export_error(), Next::kBroken);
        has_read_ = true;
        return fail(body.error(), Next::kRefused);
      }
      has_read_ = true;
      body_ = *body;
      return Next::kRecord;
    }
  }

  std::span<const wire::StepMessage> steps() const override { return body_.steps; }
  bool is_pack() const override { return body_.is_pack; }
  std::uint64_t line() const override { return lines_.number(); }
  const Error& error() const override { return error_; }
  std::uint64_t position() const override { return lines_.source().position(); }
  std::optional<std::uint64_t> size() const override { return lines_.source().size(); }

 private:
  Next fail(Error error, Next how) {
    error_ = std::move(error);
    return how;
  }

  LineReader lines_;
  std::size_t line_bytes_max_;
  wire::StepReader reader_;
  wire::StepBody body_;
  bool has_read_ = false;
  Error error_;
};

}  // namespace

std::unique_ptr<StepSource> read_wire(LineReader lines, const InputOptions& options) {
  return std::make_unique<WireSource>(std::move(lines), options);
}

}  // namespace argus::cli
