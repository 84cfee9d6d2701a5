#include "probe/activation_judge.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <utility>

#include "probe/effective_rank.h"

namespace argus::probe {
namespace {

constexpr float kSilent = 1.0f / 128.0f;   // of the usual range
constexpr float kUsualRate = 0.125f;       // share of a new range in the usual one
constexpr float kPinned = 0.94f;           // of the square of half the range
constexpr float kOneSided = 0.25f;         // a floor this small beside the ceiling is a floor at zero (ReLU, GELU, SiLU), not a rail
constexpr int kRowsWanted = 8;             // rows a visit needs to count; visits of small batches are added up to it
constexpr int kPeersLeast = 4;             // rows a comparison between samples needs
constexpr int kCalibratingVisits = 14;     // eager ones,
constexpr std::int64_t kCalibratingSteps = 96;  // and as many steps: what they do must be known before visits become rare
constexpr double kCrowded = 0.3;           // of the square of half the range, as mean over units: beyond a uniform spread, nearly
constexpr int kRangeVisits = 4;            // visits before the range of a site is believed
constexpr int kOtherBatchVisits = 4;       // visits with another number of samples before that is the new usual one
constexpr double kLeastVariance = 1e-12;   // relative; below it float32 has nothing to say
constexpr int kCriticalVisits = 5;
constexpr double kCriticalShare = 0.5;
constexpr double kCriticalTimes = 2.0;     // of the effect a warning needs

// Sizes: the largest moves of healthy runs stayed below about 0.7 of these (docs/local-detector.md).
constexpr ShiftRule kScaleRule{.upward = true, .sudden = 3.0, .gradual = 4.0, .confirm = 3};
constexpr ShiftRule kCrowdingRule{.upward = true, .sudden = 0.9, .gradual = 1.2, .confirm = 3};
constexpr ShiftRule kVarianceRule{.upward = false, .sudden = 2.5, .gradual = 4.0, .confirm = 3};
constexpr ShiftRule kDirectionsRule{.upward = false, .sudden = 1.0, .gradual = 1.4, .confirm = 3};

/// A Shift with what a report needs beside its verdict.
struct Judged {
  explicit Judged(ShiftRule rule) : shift(rule) {}
  void observe(std::int64_t step, double x) {
    value = x;
    older = newer;
    newer = shift.observe(step, x).effect;
    departed = shift.verdict().departed ? departed + 1 : 0;
  }
  bool suspected() const { return shift.verdict().suspected && !shift.verdict().departed; }
  double severity(double effect) const { return 1.0 - std::exp(-std::max(0.0, effect) / shift.rule().sudden); }

  Shift shift;
  double value = 0.0;
  double newer = 0.0;
  double older = 0.0;
  int departed = 0;  // visits
};

std::string text(const char* format, double a, double b) {
  char buffer[160];
  std::snprintf(buffer, sizeof buffer, format, a, b);
  return buffer;
}

}  // namespace

struct ActivationJudge::Site {
  explicit Site(SiteTraits t) : traits(std::move(t)) {}

  void forget() {
    sample.reset();
    copied.reset();
    usual.clear();
    pending.reset();
    silent = StuckUnits();
    pinned = StuckUnits();
    scale = Judged(kScaleRule);
    crowding = Judged(kCrowdingRule);
    variance = Judged(kVarianceRule);
    directions = Judged(kDirectionsRule);
    low = high = 0.0f;
    visits = readings = peer_rows = other_batch = 0;
  }

  SiteTraits traits;
  std::optional<Sample> sample;  // of the newest geometry
  std::optional<Sample> copied;
  std::vector<float> usual;  // range of each unit where it responds; 0 before it did
  std::unique_ptr<UnitStats> pending;  // of visits too small to count
  StuckUnits silent;
  StuckUnits pinned;
  Judged scale{kScaleRule};
  Judged crowding{kCrowdingRule};
  Judged variance{kVarianceRule};
  Judged directions{kDirectionsRule};
  float low = 0.0f;  // the site's range so far
  float high = 0.0f;
  std::int64_t first_step = 0;
  int visits = 0;    // that counted
  int readings = 0;
  int peer_rows = 0;
  int other_batch = 0;

  float middle() const { return low <= 0.0f && -low <= kOneSided * high ? 0.0f : 0.5f * (low + high); }
  float half_range() const { return low <= 0.0f && -low <= kOneSided * high ? high : 0.5f * (high - low); }

  bool add_pending(UnitStats& stats);
  void find_silent(const UnitStats& stats, std::uint8_t* silent_now);
  void find_pinned(const UnitStats& stats, std::uint8_t* pinned_now) const;
  void widen(const UnitStats& stats);
  void represent(std::int64_t step, float* peers, int rows, int units);
  void crowd(std::int64_t step, const UnitStats& stats);
  Attention attention(std::int64_t step) const;
  void report(std::vector<Finding>& out) const;
  void report_units(std::vector<Finding>& out, Check check, const StuckUnits& units, const char* format) const;
  void report_shift(std::vector<Finding>& out, Check check, const Judged& judged, const char* format) const;
};

ActivationJudge::ActivationJudge() = default;
ActivationJudge::~ActivationJudge() = default;

int ActivationJudge::add_site(SiteTraits traits) {
  sites_.push_back(std::make_unique<Site>(std::move(traits)));
  return sites() - 1;
}

int ActivationJudge::sites() const { return static_cast<int>(sites_.size()); }

void ActivationJudge::reset() {
  for (auto& site : sites_) site->forget();
}

std::vector<std::int64_t> ActivationJudge::offsets(const Geometry& geometry) const {
  const auto sample = Sample::of(geometry);
  return sample.has_value() ? sample->offsets() : std::vector<std::int64_t>{};
}

// The site with a sample of this geometry, its histories begun anew if its units are others than before.
ActivationJudge::Site* ActivationJudge::prepare(int index, const Geometry& geometry) {
  if (index < 0 || index >= sites()) return nullptr;
  Site& site = *sites_[static_cast<std::size_t>(index)];
  if (site.sample.has_value() && site.sample->geometry() == geometry) return &site;
  auto sample = Sample::of(geometry);
  if (!sample.has_value()) return nullptr;
  if (!site.sample.has_value() || site.sample->geometry().units() != geometry.units()) {
    site.forget();
    site.usual.assign(static_cast<std::size_t>(sample->units()), 0.0f);
    site.silent = StuckUnits(sample->units());
    site.pinned = StuckUnits(sample->units());
  }
  site.sample = sample;
  site.copied.reset();
  return &site;
}

Attention ActivationJudge::visit(int index, std::int64_t step, const void* data, DType dtype, const Geometry& geometry) {
  Site* site = prepare(index, geometry);
  if (site == nullptr || data == nullptr) return Attention::kCalm;
  return judge(*site, step, *site->sample, data, dtype);
}

Attention ActivationJudge::visit_copied(int index, std::int64_t step, const float* values, const Geometry& geometry) {
  Site* site = prepare(index, geometry);
  if (site == nullptr || values == nullptr) return Attention::kCalm;
  if (!site->copied.has_value()) site->copied = site->sample->packed();
  return judge(*site, step, *site->copied, values, DType::kF32);
}

Attention ActivationJudge::judge(Site& site, std::int64_t step, const Sample& sample, const void* data, DType dtype) {
  read_units(sample, data, dtype, stats_);
  if (stats_.non_finite > 0) return Attention::kSuspected;
  ++site.readings;
  const bool compare = site.readings % 2 == 0 || site.attention(step) != Attention::kCalm;
  if (compare && sample.peer_rows() >= kPeersLeast) {
    read_peers(sample, data, dtype, peers_.data());
    site.represent(step, peers_.data(), sample.peer_rows(), sample.peer_units());
  }
  if (!site.add_pending(stats_)) return Attention::kCalibrating;
  double square = 0.0;
  for (int u = 0; u < stats_.units; ++u) square += static_cast<double>(stats_.mean_square[static_cast<std::size_t>(u)]);
  if (square > 0.0 && !site.traits.is_output) site.scale.observe(step, 0.5 * std::log(square / stats_.units));
  site.find_silent(stats_, silent_.data());
  site.find_pinned(stats_, pinned_.data());
  site.silent.observe(step, silent_.data());
  if (site.visits >= kRangeVisits && !site.traits.is_output) site.pinned.observe(step, pinned_.data());
  site.widen(stats_);
  if (!site.traits.is_output) site.crowd(step, stats_);
  if (site.visits++ == 0) site.first_step = step;
  return site.attention(step);
}

// Adds visits of few rows up. True when `stats` holds enough.
bool ActivationJudge::Site::add_pending(UnitStats& stats) {
  if (pending != nullptr) {
    const float before = static_cast<float>(pending->rows), now = static_cast<float>(stats.rows);
    for (std::size_t u = 0; u < static_cast<std::size_t>(stats.units); ++u) {
      stats.low[u] = std::min(stats.low[u], pending->low[u]);
      stats.high[u] = std::max(stats.high[u], pending->high[u]);
      stats.mean[u] = (stats.mean[u] * now + pending->mean[u] * before) / (now + before);
      stats.mean_square[u] = (stats.mean_square[u] * now + pending->mean_square[u] * before) / (now + before);
    }
    stats.rows += pending->rows;
  }
  if (stats.rows < kRowsWanted) {
    if (pending == nullptr) pending = std::make_unique<UnitStats>();
    *pending = stats;
    return false;
  }
  pending.reset();
  return true;
}

void ActivationJudge::Site::find_silent(const UnitStats& stats, std::uint8_t* silent_now) {
  for (std::size_t u = 0; u < usual.size(); ++u) {
    const float range = stats.high[u] - stats.low[u];
    const bool responds = range > kSilent * usual[u] && range > 0.0f;
    silent_now[u] = responds ? 0 : 1;
    if (responds) usual[u] += usual[u] == 0.0f ? range : kUsualRate * (range - usual[u]);
  }
}

void ActivationJudge::Site::find_pinned(const UnitStats& stats, std::uint8_t* pinned_now) const {
  const float mid = middle();
  const float enough = kPinned * half_range() * half_range();
  for (std::size_t u = 0; u < usual.size(); ++u) {
    const float square = stats.mean_square[u] - 2.0f * mid * stats.mean[u] + mid * mid;
    pinned_now[u] = square >= enough && enough > 0.0f ? 1 : 0;
  }
}

// Values under suspicion do not teach the range.
void ActivationJudge::Site::widen(const UnitStats& stats) {
  const StuckVerdict& verdict = pinned.verdict();
  if (visits >= kRangeVisits && (verdict.suspected || verdict.since >= 0)) return;
  const auto n = static_cast<std::ptrdiff_t>(usual.size());
  low = std::min(visits == 0 ? std::numeric_limits<float>::max() : low, *std::min_element(stats.low.begin(), stats.low.begin() + n));
  high = std::max(visits == 0 ? std::numeric_limits<float>::lowest() : high, *std::max_element(stats.high.begin(), stats.high.begin() + n));
}

// How much of the energy is at the ends of the range: gates of a recurrent layer saturate without any unit being pinned all the time.
void ActivationJudge::Site::crowd(std::int64_t step, const UnitStats& stats) {
  const auto mid = static_cast<double>(middle()), half = static_cast<double>(half_range());
  if (half <= 0.0) return;
  double square = 0.0;
  for (std::size_t u = 0; u < usual.size(); ++u) {
    square += static_cast<double>(stats.mean_square[u]) - 2.0 * mid * static_cast<double>(stats.mean[u]) + mid * mid;
  }
  crowding.observe(step, std::log(std::max(square / static_cast<double>(usual.size()) / (half * half), kLeastVariance)));
}

void ActivationJudge::Site::represent(std::int64_t step, float* peers, int rows, int units) {
  if (peer_rows != 0 && rows != peer_rows) {
    // Fewer samples span fewer directions: a short last batch is left out, another batch size begins a history of its own.
    if (++other_batch < kOtherBatchVisits) return;
    variance.shift.reset();
    directions.shift.reset();
  }
  peer_rows = rows;
  other_batch = 0;
  const Representation r = probe::represent(peers, rows, units);
  const double relative = r.mean_square > 0.0 ? r.variance / r.mean_square : 0.0;
  variance.observe(step, std::log(std::max(relative, kLeastVariance)));
  if (r.participation > 0.0) directions.observe(step, std::log(r.participation));
}

Attention ActivationJudge::Site::attention(std::int64_t step) const {
  if (visits < kCalibratingVisits || step - first_step < kCalibratingSteps) return Attention::kCalibrating;
  const bool suspected = silent.verdict().suspected || pinned.verdict().suspected || scale.suspected() || crowding.suspected() ||
                         variance.suspected() || directions.suspected();
  return suspected ? Attention::kSuspected : Attention::kCalm;
}

void ActivationJudge::Site::report_units(std::vector<Finding>& out, Check check, const StuckUnits& units, const char* format) const {
  const StuckVerdict& v = units.verdict();
  if (v.since < 0) return;
  Finding f;
  f.check = check;
  f.level = v.share >= kCriticalShare && v.visits >= kCriticalVisits ? Level::kCritical : Level::kWarn;
  f.layer = traits.layer;
  f.chain = traits.chain;
  f.severity = std::min(1.0, v.share);
  f.value = v.share;
  f.change = v.change;
  f.since = v.since;
  f.last_good = v.last_good;
  f.note = text(format, v.stuck, v.free_before);
  out.push_back(std::move(f));
}

void ActivationJudge::Site::report_shift(std::vector<Finding>& out, Check check, const Judged& judged, const char* format) const {
  const ShiftVerdict& v = judged.shift.verdict();
  if (!v.departed) return;
  Finding f;
  f.check = check;
  const bool critical = v.effect >= kCriticalTimes * judged.shift.rule().sudden && judged.departed > kCriticalVisits;
  f.level = critical ? Level::kCritical : Level::kWarn;
  f.layer = traits.layer;
  f.chain = traits.chain;
  f.severity = judged.severity(v.effect);
  f.value = std::exp(judged.value);
  f.baseline = std::exp(v.baseline);
  f.change = f.severity - judged.severity(judged.older);
  f.since = v.since;
  f.last_good = v.last_good;
  f.note = text(format, f.value, f.baseline);
  out.push_back(std::move(f));
}

void ActivationJudge::Site::report(std::vector<Finding>& out) const {
  report_units(out, Check::kDeadNeurons, silent, "%.0f of %.0f sampled units that used to respond are silent for every input");
  report_units(out, Check::kActivationSaturation, pinned, "%.0f of %.0f sampled units are pinned at the ends of their range");
  if (pinned.verdict().since < 0) {
    const std::size_t before = out.size();
    report_shift(out, Check::kActivationSaturation, scale, "activations exploded: RMS %.3g where %.3g was expected");
    if (out.size() == before && crowding.value >= std::log(kCrowded)) {
      report_shift(out, Check::kActivationSaturation, crowding, "values crowd at the ends of their range: mean square %.2f of its half, squared; %.2f before");
    }
  }
  report_shift(out, Check::kRepresentationCollapse, variance, "variance between samples %.2g of the mean square, %.2g before");
  if (!variance.shift.verdict().departed) {
    report_shift(out, Check::kRepresentationCollapse, directions, "outputs use %.1f directions, %.1f before");
  }
}

Findings ActivationJudge::findings() const {
  Findings all;
  for (const auto& site : sites_) {
    site->report(all.standing);
    for (const Check check : {Check::kDeadNeurons, Check::kActivationSaturation, Check::kRepresentationCollapse}) {
      if (check == Check::kActivationSaturation && site->traits.is_output) continue;
      ++all.known[static_cast<int>(check)];
      all.judged[static_cast<int>(check)] += site->visits >= Shift::kCalibration ? 1 : 0;
    }
  }
  // Sites are visited in turn, so onsets are known to within a round: what overlaps the earliest one began with it.
  std::int64_t earliest = std::numeric_limits<std::int64_t>::max();
  for (const Finding& f : all.standing) earliest = std::min(earliest, f.since);
  std::stable_partition(all.standing.begin(), all.standing.end(), [&](const Finding& f) { return f.last_good < earliest; });
  return all;
}

}  // namespace argus::probe
