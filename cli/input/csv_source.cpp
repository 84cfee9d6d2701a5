#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "cli/input/csv_columns.h"
#include "cli/input/observation.h"
#include "cli/input/step_source.h"
#include "wire/field_error.h"
#include "wire/utf8.h"

namespace argus::cli {
namespace {

// Splits a record at `separator`; false when it ends inside quotes, and goes on in the next line.
bool split(std::string_view record, char separator, std::vector<std::string>& cells) {
  cells.clear();
  cells.emplace_back();
  bool quoted = false;
  for (std::size_t i = 0; i < record.size(); ++i) {
    const char c = record[i];
    if (quoted && c == '"' && i + 1 < record.size() && record[i + 1] == '"') {
      cells.back() += '"';
      ++i;
    } else if (c == '"' && (quoted || cells.back().find_first_not_of(' ') == std::string::npos)) {
      quoted = !quoted;
    } else if (c == separator && !quoted) {
      cells.emplace_back();
    } else {
      cells.back() += c;
    }
  }
  return !quoted;
}

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

bool is_absent(std::string_view cell) {
  return cell.empty() || cell == "None" || cell == "none" || cell == "null" || cell == "NULL" || cell == "NA" ||
         cell == "N/A" || cell == "-";
}

class CsvSource final : public StepSource {
 public:
  CsvSource(LineReader lines, const InputOptions& options) : lines_(std::move(lines)), options_(options) {}

  Next next() override {
    if (columns_.empty()) {
      const Next header = read_header();
      if (header != Next::kRecord) return header;
    }
    const Next row = read_record();
    if (row != Next::kRecord) return row;
    if (Status s = fill(); !s) return fail(s.error(), Next::kRefused);
    return Next::kRecord;
  }

  std::span<const wire::StepMessage> steps() const override { return {&message_, 1}; }
  std::uint64_t line() const override { return line_; }
  const Error& error() const override { return error_; }
  std::uint64_t position() const override { return lines_.source().position(); }
  std::optional<std::uint64_t> size() const override { return lines_.source().size(); }

 private:
  Next fail(Error error, Next how) {
    error_ = std::move(error);
    return how;
  }

  // The next record that is not blank, into cells_.
  Next read_record() {
    record_.clear();
    for (;;) {
      const auto got = lines_.next();
      if (record_.empty()) line_ = lines_.number();
      if (got == LineReader::Next::kBroken) return fail(lines_.error(), Next::kBroken);
      if (got == LineReader::Next::kTooLong) return fail(too_long(), Next::kRefused);
      if (got == LineReader::Next::kEnd) {
        if (record_.empty()) return Next::kEnd;
        return fail({ErrorCode::kMalformed, "a quoted cell that is never closed", {}, {}}, Next::kBroken);
      }
      if (record_.empty() && trimmed(lines_.line()).empty()) continue;
      record_ += lines_.line();
      if (record_.size() > options_.line_bytes_max) return fail(too_long(), Next::kBroken);
      if (split(record_, separator_, cells_)) return Next::kRecord;
      record_ += '\n';
    }
  }

  Error too_long() const {
    return {ErrorCode::kTooLarge, fmt::format("a line of more than {} bytes", options_.line_bytes_max), {}, {}};
  }

  // Any error in the header makes the whole file unreadable.
  Next read_header() {
    Next got = read_record();
    if (got == Next::kRefused) return Next::kBroken;
    if (got != Next::kRecord) return got;
    if (record_.starts_with("\xEF\xBB\xBF")) record_.erase(0, 3);
    if (!wire::is_valid_utf8(record_)) {
      return fail({ErrorCode::kMalformed, "neither JSON nor a table: the first line is not valid UTF-8", {}, {}},
                  Next::kBroken);
    }
    std::ptrdiff_t most = -1;
    for (const char c : {',', '\t', ';'}) {
      const auto n = std::count(record_.begin(), record_.end(), c);
      if (n > most) {
        most = n;
        separator_ = c;
      }
    }
    split(record_, separator_, cells_);
    header_.clear();
    for (const std::string& cell : cells_) header_.emplace_back(trimmed(cell));
    auto columns = find_columns(header_, options_.columns);
    if (!columns) return fail(columns.error(), Next::kBroken);
    columns_ = std::move(*columns);
    return Next::kRecord;
  }

  Status fill() {
    message_.clear();
    message_.text(wire::Text::kRunId) = options_.run_id;
    const std::int64_t row = rows_++;  // refused rows count too: the others keep their numbers
    if (cells_.size() > header_.size()) {
      return Error{ErrorCode::kInvalid,
                   fmt::format("{} cells; accepted: at most {}, as in the header", cells_.size(), header_.size()),
                   {},
                   {}};
    }
    bool has_step = false;
    bool names_step = false;
    for (const CsvColumn& column : columns_) {
      names_step = names_step || !column.field;
      const std::string_view cell = column.index < cells_.size() ? trimmed(cells_[column.index]) : std::string_view();
      if (is_absent(cell)) continue;
      const auto value = number_from_text(cell);
      if (!value) return refuse(column, cell, "a number, nan, inf, -inf or an empty cell");
      if (column.field) {
        if (Status s = set_observation(message_, *column.field, *value, column.name); !s) return s;
        continue;
      }
      const auto step = step_number(*value);
      if (!step) return refuse(column, cell, "an integer >= 0");
      message_.head.step = *step;
      has_step = true;
    }
    if (!names_step) message_.head.step = row;
    if (names_step && !has_step)
      return Error{ErrorCode::kInvalid, "the step is missing; accepted: an integer >= 0", "step", {}};
    message_.head.content_hash = wire::content_hash(message_);
    return {};
  }

  static Status refuse(const CsvColumn& column, std::string_view cell, std::string_view accepted) {
    std::string shown(cell.substr(0, limits::kQuotedBytesMax));
    std::replace_if(
        shown.begin(), shown.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == '\x7f'; }, '?');
    if (!wire::is_valid_utf8(shown)) shown = "not UTF-8";
    return wire::refused(column.name, fmt::format("\"{}\"", shown), accepted);
  }

  LineReader lines_;
  InputOptions options_;
  char separator_ = ',';
  std::vector<std::string> header_;
  std::vector<CsvColumn> columns_;
  std::string record_;
  std::vector<std::string> cells_;
  wire::StepMessage message_;
  std::int64_t rows_ = 0;
  std::uint64_t line_ = 0;
  Error error_;
};

}  // namespace

std::unique_ptr<StepSource> read_csv(LineReader lines, const InputOptions& options) {
  return std::make_unique<CsvSource>(std::move(lines), options);
}

}  // namespace argus::cli
