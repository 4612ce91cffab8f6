// The directions along which rows differ most.
#pragma once
#include <cstdint>
#include <vector>

#include "core/outputs/covariance.h"

namespace dnamamba::engine {

struct PrincipalAxes {
  std::vector<std::vector<double>> axes;  ///< [count][width], of length 1, the widest spread first
  std::vector<double> shares;             ///< [count] of the variance; 0 where there is none
};

/// The first `count` eigenvectors of the covariance (fewer if the rows are narrower). Each is turned so that its
/// largest element is positive. The same covariance gives the same bits, whatever the number of threads.
PrincipalAxes principal_axes(outputs::Covariance& covariance, std::int64_t count);

}  // namespace dnamamba::engine
