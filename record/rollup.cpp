#include "record/rollup.h"

#include <algorithm>
#include <cmath>

#include "base/bytes.h"
#include "record/column_codec.h"
#include "record/directory.h"
#include "record/frame.h"
#include "record/rollup_writer.h"

namespace argus::record {
namespace {

constexpr std::string_view kMagic = "ARGR";
constexpr std::string_view kWhat = "a rollup of observations";
constexpr std::uint64_t kCellsMax = std::uint64_t{1} << 16;
constexpr std::uint8_t kStepsPart = 255;
constexpr std::uint8_t kDecisionPart = 128;  // + DecisionSeries; below it, engine::Field

std::uint8_t part_of(SeriesId id) {
  return static_cast<std::uint8_t>((id.source == SeriesSource::kDecision ? kDecisionPart : 0) + id.index);
}

void add_value(Cell& cell, double value) {
  if (!std::isfinite(value)) {
    ++cell.non_finite;
    return;
  }
  cell.min = cell.count == 0 ? value : std::min(cell.min, value);
  cell.max = cell.count == 0 ? value : std::max(cell.max, value);
  cell.sum += value;
  ++cell.count;
}

template <class Get>
void append_reals(const std::vector<Cell>& cells, Get get, std::string& out) {
  std::vector<double> values;
  for (const Cell& c : cells) values.push_back(get(c));
  std::string bytes;
  encode_reals(values, bytes);
  ByteWriter(out).text(bytes);
}

template <class Get>
void append_integers(const std::vector<Cell>& cells, Get get, std::string& out) {
  std::vector<std::int64_t> values;
  for (const Cell& c : cells) values.push_back(get(c));
  std::string bytes;
  encode_integers(values, bytes);
  ByteWriter(out).text(bytes);
}

// Reads one column into the cells; false when it is torn or of another length.
template <class Set>
bool read_reals(ByteReader& r, std::vector<Cell>& cells, Set set) {
  std::vector<double> values;
  if (!decode_reals(r.text(), cells.size(), values) || values.size() != cells.size()) return false;
  for (std::size_t i = 0; i < cells.size(); ++i) set(cells[i], values[i]);
  return true;
}

template <class Set>
bool read_integers(ByteReader& r, std::vector<Cell>& cells, Set set) {
  std::vector<std::int64_t> values;
  if (!decode_integers(r.text(), cells.size(), values) || values.size() != cells.size()) return false;
  for (std::size_t i = 0; i < cells.size(); ++i) set(cells[i], values[i]);
  return true;
}

}  // namespace

RollupWriter::RollupWriter() : cells_(all_series().size()) {}

void RollupWriter::add(const Observation& observation) {
  const bool begins = observations_++ % kCellObservations == 0;
  const std::int64_t step = observation.message.head.step;
  for (std::size_t s = 0; s < cells_.size(); ++s) {
    if (begins) {
      Cell cell;
      cell.first_step = cell.last_step = step;
      cells_[s].push_back(cell);
    }
    Cell& cell = cells_[s].back();
    cell.first_step = std::min(cell.first_step, step);
    cell.last_step = std::max(cell.last_step, step);
    if (const std::optional<double> value = series_value(observation, all_series()[s])) add_value(cell, *value);
  }
}

std::string RollupWriter::finish() {
  DirectoryWriter parts;
  const std::vector<Cell>& steps = cells_.front();
  const std::uint64_t count = steps.size();
  std::string part;
  append_integers(
      steps, [](const Cell& c) { return c.first_step; }, part);
  append_integers(
      steps, [](const Cell& c) { return c.last_step; }, part);
  parts.add(kStepsPart, part);
  for (std::size_t s = 0; s < cells_.size(); ++s) {
    const std::vector<Cell>& cells = cells_[s];
    const auto has_data = [](const Cell& c) { return c.count + c.non_finite > 0; };
    if (!std::any_of(cells.begin(), cells.end(), has_data)) continue;
    part.clear();
    append_reals(
        cells, [](const Cell& c) { return c.min; }, part);
    append_reals(
        cells, [](const Cell& c) { return c.max; }, part);
    append_reals(
        cells, [](const Cell& c) { return c.sum; }, part);
    append_integers(
        cells, [](const Cell& c) { return static_cast<std::int64_t>(c.count); }, part);
    append_integers(
        cells, [](const Cell& c) { return static_cast<std::int64_t>(c.non_finite); }, part);
    parts.add(part_of(all_series()[s]), part);
  }
  *this = RollupWriter();
  return parts.finish(kMagic, count);
}

Result<std::vector<Cell>> read_rollup(std::string_view rollup, SeriesId id) {
  const Result<Directory> directory = Directory::open(kMagic, rollup, kCellsMax, kWhat);
  if (!directory) return directory.error();
  std::vector<Cell> cells(directory->count);
  ByteReader steps(directory->parts[kStepsPart]);
  if (!read_integers(steps, cells, [](Cell& c, std::int64_t v) { c.first_step = v; }) ||
      !read_integers(steps, cells, [](Cell& c, std::int64_t v) { c.last_step = v; }) || !steps.at_end()) {
    return malformed(kWhat);
  }
  const std::string_view part = directory->parts[part_of(id)];
  if (part.empty()) return cells;
  ByteReader r(part);
  const bool is_whole =
      read_reals(r, cells, [](Cell& c, double v) { c.min = v; }) &&
      read_reals(r, cells, [](Cell& c, double v) { c.max = v; }) &&
      read_reals(r, cells, [](Cell& c, double v) { c.sum = v; }) &&
      read_integers(r, cells, [](Cell& c, std::int64_t v) { c.count = static_cast<std::uint32_t>(v); }) &&
      read_integers(r, cells, [](Cell& c, std::int64_t v) { c.non_finite = static_cast<std::uint32_t>(v); });
  if (!is_whole || !r.at_end()) return malformed(kWhat);
  return cells;
}

}  // namespace argus::record
