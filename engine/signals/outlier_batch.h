// A few samples of the batch have losses far beyond the rest, as never before.
#pragma once

#include "engine/constants.h"
#include "engine/view.h"

namespace argus::engine {

class OutlierBatch {
 public:
  static constexpr SignalKind kKind = SignalKind::kOutlierBatch;
  Reading observe(const View& v) {
    Reading r;
    r.severity = v.t.samples.outlier().evidence() / constants::kConfirm;
    r.describe(v.t.samples.outlier(), v.t.samples.outlier_last(), [](double x) { return x; });
    return r;
  }
  template <class Archive>
  void visit(Archive&) {}
};

}  // namespace argus::engine
