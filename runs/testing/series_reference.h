// What a series is, said slowly: every observation of the log, one by one.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runs/log_cursor.h"
#include "runs/series_reader.h"

namespace argus::runs::testing {

struct PlainObservation {
  std::uint64_t index = 0;
  std::int64_t step = 0;
  std::uint64_t segment = 0;
  std::vector<std::optional<double>> values;  ///< by field
};

inline std::vector<PlainObservation> read_all(store::Store& store, const store::RunKey& key,
                                              const std::vector<record::SeriesId>& fields) {
  std::vector<PlainObservation> all;
  LogCursor cursor(store, key, {.telemetry = true, .decisions = true, .packs = true});
  while (true) {
    const Result<const store::Record*> record = cursor.next();
    if (!record || *record == nullptr) return all;
    const auto visit = [&](std::uint64_t index, std::string_view, const record::Observation& o, std::int64_t) {
      PlainObservation plain{index, o.message.head.step, o.segment, {}};
      for (const record::SeriesId id : fields) plain.values.push_back(record::series_value(o, id));
      all.push_back(std::move(plain));
      return true;
    };
    if (!visit_record(**record, visit)) return all;
  }
}

/// Empty: `series` is what `query` asks of those observations; else what is wrong.
inline std::string compare(const Series& series, const SeriesQuery& query, const std::vector<PlainObservation>& all) {
  const std::size_t fields = query.fields.size();
  if (series.buckets.size() > query.points) return "more buckets than points";
  if (series.values.size() != series.buckets.size() * fields) return "values and buckets do not match";
  std::size_t at = 0;
  const auto next = [&]() -> const PlainObservation* {
    for (; at < all.size(); ++at) {
      if (all[at].step >= query.from_step && all[at].step <= query.to_step) return &all[at++];
    }
    return nullptr;
  };
  std::uint64_t counted = 0;
  for (std::size_t b = 0; b < series.buckets.size(); ++b) {
    const SeriesBucket& bucket = series.buckets[b];
    const std::string where = "bucket " + std::to_string(b) + ": ";
    std::vector<SeriesValues> expected(fields);
    std::int64_t low = INT64_MAX, high = INT64_MIN;
    for (std::uint64_t n = 0; n < bucket.observations; ++n) {
      const PlainObservation* o = next();
      if (o == nullptr) return where + "counts more observations than there are";
      if (n == 0 && (o->index != bucket.first_index || o->segment != bucket.segment)) return where + "begins elsewhere";
      low = std::min(low, o->step);
      high = std::max(high, o->step);
      for (std::size_t f = 0; f < fields; ++f) {
        if (!o->values[f]) continue;
        SeriesValues& v = expected[f];
        if (!std::isfinite(*o->values[f])) {
          ++v.non_finite;
          continue;
        }
        v.min = v.count == 0 ? *o->values[f] : std::min(v.min, *o->values[f]);
        v.max = v.count == 0 ? *o->values[f] : std::max(v.max, *o->values[f]);
        v.sum += *o->values[f];
        ++v.count;
      }
    }
    counted += bucket.observations;
    if (low != bucket.first_step || high != bucket.last_step) return where + "states another range of steps";
    for (std::size_t f = 0; f < fields; ++f) {
      const SeriesValues& got = series.values[b * fields + f];
      const SeriesValues& want = expected[f];
      const double scale = std::max(std::abs(want.min), std::abs(want.max)) * static_cast<double>(want.count);
      if (got.min != want.min || got.max != want.max || got.count != want.count || got.non_finite != want.non_finite ||
          !(std::abs(got.sum - want.sum) <= 1e-12 * scale)) {
        return where + "has other values in field " + std::to_string(f);
      }
    }
  }
  if (next() != nullptr) return "observations are left over";
  if (counted != series.observations) return "the total is another";
  return {};
}

}  // namespace argus::runs::testing
