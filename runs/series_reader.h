// A run's series in at most so many points: what charts are drawn from, however long the run.
//
//   SeriesQuery query{.fields = {*record::series_from_name("loss")}, .points = 2000};
//   Result<Series> series = read_series(store, run, query);
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "record/chunk.h"
#include "store/store.h"

namespace argus::runs {

inline constexpr std::size_t kSeriesFieldsMax = 16;
inline constexpr std::size_t kSeriesPointsMax = 10000;

struct SeriesQuery {
  std::vector<record::SeriesId> fields;  ///< 1 to kSeriesFieldsMax
  std::int64_t from_step = INT64_MIN;
  std::int64_t to_step = INT64_MAX;
  std::size_t points = 1000;  ///< 1 to kSeriesPointsMax
};

/// Over the observations of one bucket; non-finite values are counted apart. count 0: the rest is 0.
struct SeriesValues {
  double min = 0.0, max = 0.0, sum = 0.0;
  std::uint64_t count = 0;
  std::uint64_t non_finite = 0;
};

/// Observations that follow one another among those within the range of steps.
struct SeriesBucket {
  std::uint64_t first_index = 0;  ///< position in the run of its first observation
  std::uint64_t observations = 0;
  std::int64_t first_step = 0, last_step = 0;  ///< smallest and largest step number
  std::uint64_t segment = 0;
};

struct Series {
  std::vector<SeriesBucket> buckets;
  std::vector<SeriesValues> values;  ///< of bucket b and field f: values[b * fields + f]
  std::uint64_t observations = 0;    ///< within the range: the sum over the buckets
};

/// Exact: a bucket's values are those of exactly the observations it counts, and together the buckets hold each
/// observation within [from_step, to_step] once, in the order observed. A bucket lies within one segment, unless there
/// are more than points / 2 segments: then it carries that of its first observation.
///
/// Reads rollups where a bucket spans many observations, else only the columns asked for. Blocking. Cost:
/// docs/reading.md. Memory: 16 times what is returned. Errors: kUnavailable; kMalformed, kUnsupported for records of
/// another version.
Result<Series> read_series(store::Store& store, const store::RunInfo& run, const SeriesQuery& query);

}  // namespace argus::runs
