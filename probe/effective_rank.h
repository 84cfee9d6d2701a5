// How different a layer's outputs are from sample to sample, and in how many directions.
#pragma once

namespace argus::probe {

struct Representation {
  double variance = 0.0;       ///< mean over units of the variance between rows, unit of the values squared; 0: all rows are equal
  double mean_square = 0.0;    ///< mean of the squared values
  double participation = 0.0;  ///< (tr S)^2 / tr(S^2) of the covariance S: directions in use, 1 to min(rows - 1, units); 0 without variance
};

/// Of a dense row-major matrix of `rows` x `units` finite values, which is centred in place. The smaller of the two Gram matrices is summed,
/// no eigenvalues: about 15 us for 32 x 64. Fewer than two rows give no variance.
Representation represent(float* matrix, int rows, int units);

}  // namespace argus::probe
