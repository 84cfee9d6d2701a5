// Attention heads over a run, from a few scans: which collapsed onto a few keys, which no longer tell keys apart.
//
// A head is read as two numbers: the entropy of its weights over the keys it may see, as a share of the greatest
// possible (0: one key, 1: all alike), and the spread of its logits over those keys (standard deviation, nats, the
// softmax's own unit). Heads that learn to look sharply are healthy: they get there over many steps, and slower the
// sharper they are. So what is judged is the jump of log(1 + spread) from one scan to the next against the head's own
// fastest recent course, then that it stays.
// Learning to look begins small and grows by a factor in each interval, long before it shows in the entropy: while that
// is seen, scans are wanted closer together, so that the course of a head that learns is not taken for a jump.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "probe/finding.h"

namespace argus::probe {

/// One head's history: below 200 bytes. Used by AttentionJudge.
class AttentionHead {
 public:
  enum class Departure : std::uint8_t { kNone, kSharp, kUniform };

  void observe(std::int64_t step, double entropy, double spread);

  bool seen() const { return visits_ > 0; }
  bool judged() const { return visits_ > kFirst; }
  /// Evidence that more looks would confirm or refute.
  bool suspected() const { return departure_ != Departure::kNone; }
  Departure departed() const { return hits_ >= kConfirm ? departure_ : Departure::kNone; }
  /// Far beyond what a finding needs, and it stayed.
  bool grave() const { return hits_ >= kConfirm + kLasting && grave_; }
  std::int64_t since() const { return since_; }
  std::int64_t last_good() const { return last_good_; }
  double entropy() const { return entropy_; }
  double spread() const { return spread_; }
  double usual_entropy() const { return usual_entropy_; }
  double usual_spread() const { return usual_spread_; }
  /// In [0, 1].
  double severity() const;

 private:
  static constexpr int kFirst = 3;    // scans taken as they are
  static constexpr int kConfirm = 3;  // scans in a row that show the departure
  static constexpr int kLasting = 5;  // further scans until it may be called grave
  static constexpr int kRecall = 4;   // intervals whose speed is remembered

  void trust(std::int64_t step, double entropy, double spread);
  Departure look(double entropy, double spread) const;
  double sharp_jump() const;

  std::array<double, kRecall> speeds_{};  // of log(1 + spread), per step, upward
  int visits_ = 0;
  int hits_ = 0;
  int misses_ = 0;
  Departure departure_ = Departure::kNone;
  bool grave_ = false;
  double allowed_ = 0.0;  // jump a healthy head may make over the interval now judged
  std::int64_t since_ = -1;
  std::int64_t last_good_ = -1;
  double entropy_ = 0.0;
  double spread_ = 0.0;
  double usual_entropy_ = 0.0;
  double usual_spread_ = 0.0;
};

/// All attention layers of a model. At most kHeads heads a layer are watched: below 13 KiB a layer. Not thread-safe.
class AttentionJudge {
 public:
  static constexpr int kHeads = 64;
  static constexpr int kConfirmSteps = 10;
  static constexpr int kMovingSteps = 25;

  /// A layer by its qualified name and the parametrised layers that make its queries and keys; the number to observe it
  /// by.
  int add(std::string layer, std::vector<std::string> chain);

  /// One scan of layer `at` (from `add`) at `step`: a value a head. Heads beyond kHeads are left out; a head that is
  /// not finite is not observed; another number of heads than before starts the layer's history anew. Returns the steps
  /// after which the next scan is wanted: kConfirmSteps to settle a suspicion, kMovingSteps while heads are learning to
  /// look, else 0 (whenever it suits). Cost: well under a microsecond a head.
  int observe(int at, std::int64_t step, std::span<const double> entropy, std::span<const double> spread);

  Findings findings() const;
  /// Forgets the histories, not the layers.
  void reset();

 private:
  struct Layer {
    std::string name;
    std::vector<std::string> chain;
    std::vector<AttentionHead> heads;
    bool moving = false;
    double severity = 0.0;
    double severity_before = 0.0;
  };
  std::vector<Layer> layers_;
};

}  // namespace argus::probe
