#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include <Eigen/Eigenvalues>

#include "lipgd/certificate/power_iteration.hpp"
#include "lipgd/reduce.hpp"
#include "lipgd/spectral.hpp"
#include "lipgd/tiles.hpp"
#include "lipgd/types.hpp"

namespace lipgd {

/// Up to this size eigenvalues are exact but for rounding.
constexpr Index dense_eigenvalues = 96;

/// The largest eigenvalue of a symmetric matrix to about the tolerance, from below up to rounding;
/// x is a guess of its eigenvector and becomes a better one. The lower triangle is read.
inline double top_eigenvalue(const Matrix<double>& a, double tolerance, Vector<double>& x) {
  const Index n = a.rows();
  if (n <= dense_eigenvalues) {
    const Eigen::SelfAdjointEigenSolver<Matrix<double>> solver(a, Eigen::EigenvaluesOnly);
    return solver.eigenvalues()[n - 1];
  }
  // A guess may be orthogonal to the top eigenvector, or nearly an eigenvector of another one: the
  // random part must be large enough to show within a few products.
  detail::Randoms random(11);
  const double length = std::sqrt(sum_of_squares(x.data(), n));
  const double part = length > 0.0 ? 0.3 * length / std::sqrt(static_cast<double>(n)) : 1.0;
  for (Index i = 0; i < n; ++i) x[i] += part * random.next();

  const Index capacity = std::min<Index>(n, 300);
  Matrix<double> basis(n, capacity);
  Vector<double> image = x;
  detail::TopRitz ritz;
  ritz.reset(capacity);
  double coupling = std::sqrt(sum_of_squares(image.data(), n));
  Index quiet = 0;
  for (Index j = 0; j < capacity; ++j) {
    basis.col(j) = image / coupling;
    image.noalias() = a.selfadjointView<Eigen::Lower>() * basis.col(j);
    const double diagonal = basis.col(j).dot(image);
    for (int pass = 0; pass < 2; ++pass) {
      const Vector<double> components = basis.leftCols(j + 1).transpose() * image;
      image.noalias() -= basis.leftCols(j + 1) * components;
    }
    const double before = ritz.value();
    ritz.append(diagonal, j == 0 ? 0.0 : coupling);
    coupling = std::sqrt(sum_of_squares(image.data(), n));
    quiet = ritz.value() - before <= 0.01 * tolerance * std::abs(ritz.value()) ? quiet + 1 : 0;
    if (quiet >= 5 || !(coupling > 1e-14 * std::abs(ritz.value()))) break;
  }
  const Index count = ritz.count();
  x.noalias() = basis.leftCols(count) * ConstVectorMap<double>(ritz.weights(), count);
  return ritz.value();
}

}  // namespace lipgd
