#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "lipgd/reduce.hpp"
#include "lipgd/singular.hpp"
#include "lipgd/types.hpp"

namespace lipgd {

enum class ProximalKind : int { none, l1, nuclear, frobenius };

/// strength times the sum of absolute entries, of singular values, or the Frobenius norm of a
/// group.
struct Proximal {
  ProximalKind kind = ProximalKind::none;
  double strength = 0.0;
};

namespace detail {

/// Lowers every singular value by the threshold, not below zero.
template <class Scalar>
void shrink_singular_values(double threshold, MatrixMap<Scalar> matrix) {
  SingularBasis basis;
  basis.compute(ConstMatrixMap<Scalar>(matrix.data(), matrix.rows(), matrix.cols()), true);
  std::vector<double> shares;
  for (const double value : basis.values())
    shares.push_back(value > threshold ? threshold / value : 1.0);
  basis.lower(matrix, shares);
}

}  // namespace detail

/// The proximal step of rate * penalty on a group (rows, columns), in place.
template <class Scalar>
void proximal_step(const Proximal& penalty, double rate, Index rows, Index columns, Scalar* group) {
  const double threshold = rate * penalty.strength;
  const Index size = rows * columns;
  switch (penalty.kind) {
    case ProximalKind::none:
      break;
    case ProximalKind::l1: {
      const auto limit = static_cast<Scalar>(threshold);
      for (Index i = 0; i < size; ++i) {
        const Scalar above = std::max(Scalar(0), std::abs(group[i]) - limit);
        group[i] = group[i] < Scalar(0) ? -above : above;
      }
      break;
    }
    case ProximalKind::nuclear:
      if (threshold > 0.0)
        detail::shrink_singular_values<Scalar>(threshold, MatrixMap<Scalar>(group, rows, columns));
      break;
    case ProximalKind::frobenius: {
      const double norm = std::sqrt(sum_of_squares(group, size));
      const auto factor = static_cast<Scalar>(norm > threshold ? 1.0 - threshold / norm : 0.0);
      for (Index i = 0; i < size; ++i) group[i] *= factor;
      break;
    }
  }
}

}  // namespace lipgd
