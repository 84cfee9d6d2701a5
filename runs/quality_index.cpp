#include "runs/quality_index.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <span>

namespace argus::runs {
namespace {

constexpr std::size_t kCellsMax = 128;           // the smoothed loss: medians over equal shares of the observations
constexpr std::size_t kCellObservationsMin = 4;  // fewer make no median worth the name
constexpr std::size_t kDoublingsMax = 7;         // log2 of kCellsMax
// Standard errors of a cell's median that count as no movement: the range of 128 medians of noise alone is about that.
constexpr double kNoiseErrors = 5.0;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Upper median; consumes the order of `values`, which are not empty.
double median(std::span<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// A non-finite loss is worse than any finite one.
double ordered(double loss) { return std::isfinite(loss) ? loss : kInfinity; }

std::vector<double> cell_medians(std::span<const double> losses) {
  const std::size_t cells = std::min(kCellsMax, losses.size() / kCellObservationsMin);
  std::vector<double> medians;
  std::vector<double> cell;
  for (std::size_t k = 0; k < cells; ++k) {
    const std::size_t begin = k * losses.size() / cells;
    const std::size_t end = (k + 1) * losses.size() / cells;
    cell.clear();
    for (const double loss : losses.subspan(begin, end - begin)) cell.push_back(ordered(loss));
    medians.push_back(median(cell));
  }
  return medians;
}

// The standard error of a cell's median, from the differences of neighbours: the trend hardly shows in them.
double cell_error(std::span<const double> losses, std::size_t cells) {
  std::vector<double> differences;
  differences.reserve(losses.size());
  for (std::size_t i = 1; i < losses.size(); ++i) {
    const double difference = std::fabs(losses[i] - losses[i - 1]);
    if (std::isfinite(difference)) differences.push_back(difference);
  }
  if (differences.empty()) return 0.0;
  constexpr double kDeviationOfMedian = 0.6745 * 1.4142135623730951;  // median |x - y| over sigma, x and y normal
  constexpr double kErrorOfMedian = 1.2533141373155003;               // sqrt(pi / 2), relative to the mean's
  const double sigma = median(differences) / kDeviationOfMedian;
  return kErrorOfMedian * sigma / std::sqrt(static_cast<double>(losses.size()) / static_cast<double>(cells));
}

// Which doubling of time a cell lies in: 0 is the last half of the run, 1 the quarter before it, ...
std::size_t doubling_of(std::size_t cell, std::size_t cells, std::size_t doublings) {
  std::size_t doubling = 0;
  while (doubling + 1 < doublings && ((cell + 1) << (doubling + 1)) <= cells) ++doubling;
  return doubling;
}

struct Movement {
  double total = 0.0;   // of the path, rises and falls
  double lowest = 0.0;  // where it was best
  std::array<double, kDoublingsMax> progress{};
};

// Follows the medians and leaves out what turns by less than `noise`: a path of falls and rises that are more than
// that.
Movement follow(std::span<const double> medians, double noise, std::size_t doublings) {
  Movement m;
  m.lowest = medians[0];
  double turn = medians[0];     // where the leg began
  double reached = medians[0];  // how far it went
  int direction = 0;
  for (std::size_t k = 1; k < medians.size(); ++k) {
    const double value = medians[k];
    const bool is_further =
        direction == 0 ? std::fabs(value - turn) > noise : (direction < 0 ? value < reached : value > reached);
    const bool is_back = direction != 0 && std::fabs(value - reached) > noise && !is_further;
    if (is_back) {
      m.total += std::fabs(reached - turn);
      turn = reached;
    }
    if (is_further || is_back) {
      reached = value;
      direction = reached < turn ? -1 : 1;
    }
    if (direction < 0 && reached < m.lowest) {
      m.progress[doubling_of(k, medians.size(), doublings)] += m.lowest - reached;
      m.lowest = reached;
    }
  }
  m.total += std::fabs(reached - turn);
  return m;
}

// Entropy of the shares over its greatest value.
double evenness(std::span<const double> parts, double whole) {
  double entropy = 0.0;
  for (const double part : parts) {
    if (part > 0.0) entropy -= part / whole * std::log(part / whole);
  }
  return std::clamp(entropy / std::log(static_cast<double>(parts.size())), 0.0, 1.0);
}

}  // namespace

void QualityIndex::add(double loss) {
  if (observed_ % stride_ == 0) {
    if (kept_.size() == kKeptMax) {
      for (std::size_t i = 0; 2 * i < kept_.size(); ++i) kept_[i] = kept_[2 * i];
      kept_.resize(kKeptMax / 2);
      stride_ *= 2;
    }
    if (observed_ % stride_ == 0) kept_.push_back(loss);
  }
  ++observed_;
  if (!std::isfinite(loss)) ++non_finite_;
}

DataQuality QualityIndex::finish() const {
  DataQuality q;
  q.observed = observed_;
  q.non_finite = non_finite_;
  if (observed_ < kObservationsMin) return q;
  q.finite = static_cast<double>(observed_ - non_finite_) / static_cast<double>(observed_);
  q.index = 0.0;

  std::vector<double> losses = kept_;
  // Differences of the largest doubles overflow. The index knows no units, so a power of two changes nothing else.
  for (double& loss : losses) loss *= 0x1p-12;
  std::vector<double> medians = cell_medians(losses);
  const double first = medians.front();
  const double best = *std::min_element(medians.begin(), medians.end());
  if (!std::isfinite(first) || !(best < first)) return q;  // nothing was ever gained on the start
  // A rise counts at most to as far above the start as the best lies below it: one explosion is one loss of everything.
  const double ceiling = first + (first - best);
  for (double& value : medians) value = std::min(value, ceiling);

  const double noise = kNoiseErrors * cell_error(losses, medians.size());
  const std::size_t doublings = std::bit_width(medians.size()) - 1;
  const Movement moved = follow(medians, noise, doublings);
  const double gained = first - moved.lowest;
  if (!(gained > 0.0)) return q;
  // A gain just above what noise alone could make counts little; from twice that on it counts in full.
  const double certainty = noise > 0.0 ? std::clamp(gained / noise - 1.0, 0.0, 1.0) : 1.0;
  q.coherence = certainty * std::clamp(gained / moved.total, 0.0, 1.0);
  q.spread = evenness(std::span(moved.progress).first(doublings), gained);
  q.retention = std::clamp((first - medians.back() + noise) / gained, 0.0, 1.0);
  q.index = q.coherence * (0.5 + 0.5 * q.spread) * q.retention * q.finite;
  return q;
}

}  // namespace argus::runs
