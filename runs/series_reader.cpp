#include "runs/series_reader.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <optional>
#include <utility>

#include "record/rollup.h"
#include "runs/log_cursor.h"
#include "runs/run_head.h"

namespace argus::runs {
namespace {

using record::kCellObservations;
using record::SeriesSource;

constexpr std::size_t kAtomsPerPoint = 16;
constexpr std::size_t kBytesPerRead = std::size_t{2} << 20;  // few chunks at a time: memory is used again
constexpr std::size_t kPiecesPerPoint = 8;                   // observations are joined at once where there are more

// Where segments begin, by position in the run.
class Segments {
 public:
  Status read(store::Store& store, const store::RunInfo& run) {
    const Result<RunHead> head = read_head(run.head);
    if (!head) return head.error();
    if (head->segment == 0) return {};
    store::RecordQuery query;
    query.only_with_events = query.parts.events = true;
    while (true) {
      const Result<std::vector<store::Record>> records = store.read_records(run.key, query);
      if (!records) return records.error();
      for (const store::Record& record : *records) for_each_line(events_of(record), [this](auto line) { add(line); });
      if (records->empty()) return {};
      query.after_version = records->back().version();
    }
  }

  std::uint64_t of(std::uint64_t index) const {
    const auto after = std::upper_bound(begins_.begin(), begins_.end(), index, is_before);
    return after == begins_.begin() ? 0 : std::prev(after)->segment;
  }
  /// Whether one begins within (first, last].
  bool begins_within(std::uint64_t first, std::uint64_t last) const {
    const auto after = std::upper_bound(begins_.begin(), begins_.end(), first, is_before);
    return after != begins_.end() && after->index <= last;
  }

 private:
  struct Begin {
    std::uint64_t index, segment;
  };
  static bool is_before(std::uint64_t index, const Begin& b) { return index < b.index; }

  void add(std::string_view line) {
    if (event_kind(line) != "segment") return;
    const auto index = event_number(line, "index");
    const auto segment = event_number(line, "segment");
    if (!index || !segment) return;
    const Begin begin{static_cast<std::uint64_t>(*index), static_cast<std::uint64_t>(*segment)};
    // The log is read in pieces: a chunk made meanwhile brings lines again.
    if (begins_.empty() || begins_.back().index < begin.index) begins_.push_back(begin);
  }

  std::vector<Begin> begins_;
};

// Buckets in the making: pieces come in order, and are joined where there are far more than are asked for.
class Pieces {
 public:
  Pieces(std::size_t fields, std::size_t points) : fields_(fields), pieces_max_(kAtomsPerPoint * points) {}

  /// Single observations are joined until `observations` of them make a piece.
  void join_singles(std::uint64_t observations) { single_ = std::max<std::uint64_t>(1, observations); }

  /// A piece of its own; its values are to be set.
  SeriesValues* add(const SeriesBucket& bucket) {
    if (buckets_.size() >= pieces_max_) halve();
    buckets_.push_back(bucket);
    values_.resize(values_.size() + fields_);
    return values_.data() + (buckets_.size() - 1) * fields_;
  }
  /// One observation; its values are to be added.
  SeriesValues* add_single(std::uint64_t index, std::int64_t step, std::uint64_t segment) {
    if (buckets_.empty() || buckets_.back().observations >= single_ || buckets_.back().segment != segment) {
      return add({index, 1, step, step, segment});
    }
    SeriesBucket& b = buckets_.back();
    ++b.observations;
    b.first_step = std::min(b.first_step, step);
    b.last_step = std::max(b.last_step, step);
    return values_.data() + (buckets_.size() - 1) * fields_;
  }

  Series finish(std::size_t points) {
    Series series;
    std::uint64_t segments = buckets_.empty() ? 0 : 1;
    for (std::size_t i = 0; i < buckets_.size(); ++i) {
      series.observations += buckets_[i].observations;
      if (i > 0 && buckets_[i].segment != buckets_[i - 1].segment) ++segments;
    }
    const bool by_segment = segments <= points / 2 || segments <= 1;
    const std::uint64_t room = std::max<std::uint64_t>(1, points - (by_segment && segments > 1 ? segments : 0));
    // Every bucket but the last of each segment holds at least `wanted`: never more than `points` of them.
    const std::uint64_t wanted = (series.observations + room - 1) / room;
    join(wanted, by_segment);
    series.buckets = std::move(buckets_);
    series.values = std::move(values_);
    return series;
  }

 private:
  // Joins neighbours until each holds `wanted` observations.
  void join(std::uint64_t wanted, bool by_segment) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < buckets_.size(); ++i) {
      const bool joins = kept > 0 && buckets_[kept - 1].observations < wanted &&
                         (!by_segment || buckets_[kept - 1].segment == buckets_[i].segment);
      if (joins) {
        merge(kept - 1, i);
      } else {
        move(kept++, i);
      }
    }
    buckets_.resize(kept);
    values_.resize(kept * fields_);
  }

  void halve() {
    std::uint64_t largest = 0;
    for (const SeriesBucket& b : buckets_) largest = std::max(largest, b.observations);
    const std::size_t before = buckets_.size();
    join(2 * largest, true);
    if (buckets_.size() > before / 2 + before / 4) join(2 * largest, false);  // a segment for every few cells
  }

  void move(std::size_t to, std::size_t from) {
    if (to == from) return;
    buckets_[to] = buckets_[from];
    std::copy_n(values_.begin() + static_cast<std::ptrdiff_t>(from * fields_), fields_,
                values_.begin() + static_cast<std::ptrdiff_t>(to * fields_));
  }

  void merge(std::size_t to, std::size_t from) {
    SeriesBucket& b = buckets_[to];
    const SeriesBucket& a = buckets_[from];
    b.observations += a.observations;
    b.first_step = std::min(b.first_step, a.first_step);
    b.last_step = std::max(b.last_step, a.last_step);
    for (std::size_t f = 0; f < fields_; ++f) {
      SeriesValues& v = values_[to * fields_ + f];
      const SeriesValues& w = values_[from * fields_ + f];
      v.non_finite += w.non_finite;
      if (w.count == 0) continue;
      v.min = v.count == 0 ? w.min : std::min(v.min, w.min);
      v.max = v.count == 0 ? w.max : std::max(v.max, w.max);
      v.sum += w.sum;
      v.count += w.count;
    }
  }

  const std::size_t fields_;
  const std::size_t pieces_max_;
  std::uint64_t single_ = 1;
  std::vector<SeriesBucket> buckets_;
  std::vector<SeriesValues> values_;
};

void add_value(SeriesValues& v, double value) {
  if (!std::isfinite(value)) {
    ++v.non_finite;
    return;
  }
  v.min = v.count == 0 ? value : std::min(v.min, value);
  v.max = v.count == 0 ? value : std::max(v.max, value);
  v.sum += value;
  ++v.count;
}

class SeriesReading {
 public:
  SeriesReading(store::Store& store, const store::RunInfo& run, const SeriesQuery& query)
      : store_(store), run_(run), query_(query), pieces_(query.fields.size(), query.points) {}

  Result<Series> read() {
    if (Status segments = segments_.read(store_, run_); !segments) return segments.error();
    const Result<std::uint64_t> estimate = estimate_observations();
    if (!estimate) return estimate.error();
    by_cells_ = *estimate / query_.points >= kCellObservations;
    pieces_.join_singles(*estimate / (kPiecesPerPoint * query_.points));
    store::RecordQuery records;
    records.min_step = query_.from_step;
    records.max_step = query_.to_step;
    records.bytes_max = kBytesPerRead;
    records.parts.packs = true;
    if (by_cells_) {
      records.parts.rollup = true;
    } else {
      ask_for_columns(records.parts);
    }
    while (true) {
      const Result<std::vector<store::Record>> batch = store_.read_records(run_.key, records);
      if (!batch) return batch.error();
      for (const store::Record& record : *batch) {
        if (Status taken = take(record); !taken) return taken.error();
      }
      if (batch->empty()) return pieces_.finish(query_.points);
      records.after_version = batch->back().version();
    }
  }

 private:
  void ask_for_columns(store::Parts& parts) const {
    parts.telemetry = true;  // the step numbers at least
    for (const record::SeriesId id : query_.fields) {
      if (id.source == SeriesSource::kDecision) parts.decisions = true;
    }
  }

  // From the records' own ranges: a record that lies half in the range counts half.
  Result<std::uint64_t> estimate_observations() {
    store::RecordQuery records;
    records.min_step = query_.from_step;
    records.max_step = query_.to_step;
    const Result<std::vector<store::Record>> all = store_.read_records(run_.key, records);
    if (!all) return all.error();
    double sum = 0.0;
    for (const store::Record& r : *all) {
      const auto low = static_cast<double>(r.chunk ? r.chunk->min_step : r.pack->min_step);
      const auto high = static_cast<double>(r.chunk ? r.chunk->max_step : r.pack->max_step);
      const double from = std::max(low, static_cast<double>(query_.from_step));
      const double to = std::min(high, static_cast<double>(query_.to_step));
      sum += count_of(r) * std::max(0.0, to - from + 1.0) / (high - low + 1.0);
    }
    return static_cast<std::uint64_t>(sum);
  }

  Status take(const store::Record& record) {
    const std::uint64_t end = first_index_of(record) + count_of(record);
    if (end <= next_index_) return {};
    Status taken;
    if (record.pack) {
      taken = take_pack(*record.pack);
    } else if (by_cells_ && first_index_of(record) >= next_index_) {
      taken = take_cells(*record.chunk);
    } else {
      taken = take_observations(*record.chunk, next_index_, end);
    }
    next_index_ = end;
    return taken;
  }

  bool is_within(std::int64_t step) const { return step >= query_.from_step && step <= query_.to_step; }

  Status take_pack(const store::Pack& pack) {
    std::uint64_t index = pack.first_index;
    return record::read_pack(pack.body, [&](std::string_view, const record::Observation& o, std::int64_t) {
      const std::uint64_t at = index++;
      const std::int64_t step = o.message.head.step;
      if (at < next_index_ || !is_within(step)) return true;
      SeriesValues* values = pieces_.add_single(at, step, o.segment);
      for (std::size_t f = 0; f < query_.fields.size(); ++f) {
        const std::optional<double> value = record::series_value(o, query_.fields[f]);
        if (value) add_value(values[f], *value);
      }
      return true;
    });
  }

  Status take_cells(const store::Chunk& chunk) {
    std::vector<std::vector<record::Cell>> cells;
    for (const record::SeriesId id : query_.fields) {
      Result<std::vector<record::Cell>> of_field = record::read_rollup(chunk.rollup, id);
      if (!of_field) return of_field.error();
      cells.push_back(std::move(*of_field));
    }
    columns_of_ = 0;
    for (std::size_t c = 0; c < cells[0].size(); ++c) {
      const std::uint64_t first = chunk.first_index + c * kCellObservations;
      const std::uint64_t end = std::min(first + kCellObservations, chunk.first_index + chunk.count);
      const record::Cell& range = cells[0][c];
      if (range.last_step < query_.from_step || range.first_step > query_.to_step || end <= first) continue;
      const bool is_whole =
          is_within(range.first_step) && is_within(range.last_step) && !segments_.begins_within(first, end - 1);
      if (!is_whole) {
        if (Status taken = take_observations(chunk, first, end); !taken) return taken;
        continue;
      }
      SeriesValues* values = pieces_.add({first, end - first, range.first_step, range.last_step, segments_.of(first)});
      for (std::size_t f = 0; f < cells.size(); ++f) {
        const record::Cell& cell = cells[f][c];
        values[f] = {cell.min, cell.max, cell.sum, cell.count, cell.non_finite};
      }
    }
    return {};
  }

  // Those at positions [first, end) of the run, one by one.
  Status take_observations(const store::Chunk& chunk, std::uint64_t first, std::uint64_t end) {
    if (columns_of_ != chunk.version) {
      if (Status read = read_columns(chunk); !read) return read;
    }
    for (std::uint64_t index = std::max(first, chunk.first_index); index < end; ++index) {
      const std::size_t at = index - chunk.first_index;
      if (at >= steps_.size()) break;
      if (!is_within(steps_[at])) continue;
      SeriesValues* values = pieces_.add_single(index, steps_[at], segments_.of(index));
      for (std::size_t f = 0; f < columns_.size(); ++f) {
        const record::Column& column = columns_[f];
        if (at < column.values.size() && column.present[at]) add_value(values[f], column.values[at]);
      }
    }
    return {};
  }

  Status read_columns(const store::Chunk& chunk) {
    if (!chunk.telemetry.empty()) return unpack(chunk);
    store::RecordQuery again;
    again.after_version = chunk.from_version;
    again.count_max = 1;
    ask_for_columns(again.parts);
    const Result<std::vector<store::Record>> records = store_.read_records(run_.key, again);
    if (!records) return records.error();
    if (records->empty() || !records->front().chunk || records->front().version() != chunk.version) {
      return Error{ErrorCode::kUnavailable, "the run was deleted while it was read", "", ""};
    }
    return unpack(*records->front().chunk);
  }

  Status unpack(const store::Chunk& chunk) {
    Result<std::vector<std::int64_t>> steps = record::read_steps(chunk.telemetry);
    if (!steps) return steps.error();
    steps_ = std::move(*steps);
    columns_.clear();
    for (const record::SeriesId id : query_.fields) {
      Result<record::Column> column =
          record::read_column(id.source == SeriesSource::kTelemetry ? chunk.telemetry : chunk.decisions, id);
      if (!column) return column.error();
      columns_.push_back(std::move(*column));
    }
    columns_of_ = chunk.version;
    return {};
  }

  store::Store& store_;
  const store::RunInfo& run_;
  const SeriesQuery& query_;
  Segments segments_;
  Pieces pieces_;
  bool by_cells_ = false;
  std::uint64_t next_index_ = 0;  // observations below it were taken
  std::uint64_t columns_of_ = 0;  // version of the chunk that is unpacked; 0: none
  std::vector<std::int64_t> steps_;
  std::vector<record::Column> columns_;
};

}  // namespace

Result<Series> read_series(store::Store& store, const store::RunInfo& run, const SeriesQuery& query) {
  return SeriesReading(store, run, query).read();
}

}  // namespace argus::runs
