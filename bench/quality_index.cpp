// The Data Quality Index of loss series: one a line on standard input, numbers apart by spaces (NaN, Infinity,
// -Infinity as words); one line "index coherence spread retention finite" each on standard output, "-" where there is
// no index. What bench/quality_index.py prints tables from.
#include "runs/quality_index.h"

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>

int main() {
  std::string line;
  while (std::getline(std::cin, line)) {
    argus::runs::QualityIndex quality;
    const char* at = line.c_str();
    for (char* end = nullptr;; at = end) {
      const double loss = std::strtod(at, &end);
      if (end == at) break;
      quality.add(loss);
    }
    const argus::runs::DataQuality q = quality.finish();
    if (q.index) {
      std::printf("%.6f %.6f %.6f %.6f %.6f\n", *q.index, q.coherence, q.spread, q.retention, q.finite);
    } else {
      std::puts("-");
    }
  }
  return 0;
}
