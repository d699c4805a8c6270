#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "lipgd/reduce.hpp"
#include "lipgd/types.hpp"

namespace lipgd {

/// The thin singular value decomposition of a small matrix by one-sided Jacobi rotations (Hestenes
/// 1958): columns are rotated against each other until all are orthogonal. Small values and their
/// vectors are as accurate relative to themselves as the large ones, and no threads are involved.
/// Both sides are orthonormal to rounding, of rank-deficient matrices too.
class ThinSvd {
 public:
  /// False if an entry is not finite, or the rotations do not come to rest.
  bool compute(ConstMatrixMap<double> matrix) {
    const bool tall = matrix.rows() >= matrix.cols();
    double largest = 0.0;
    for (Index i = 0; i < matrix.size(); ++i) {
      if (!std::isfinite(matrix.data()[i])) return false;
      largest = std::max(largest, std::abs(matrix.data()[i]));
    }
    // Squares neither overflow nor vanish then.
    const int exponent = largest > 0.0 ? std::clamp(std::ilogb(largest), -1000, 1000) : 0;
    if (tall)
      columns_ = matrix;
    else
      columns_ = matrix.transpose();
    columns_ *= std::ldexp(1.0, -exponent);
    rotations_.setIdentity(columns_.cols(), columns_.cols());
    int sweeps = 0;
    while (sweep())
      if (++sweeps == most_sweeps) return false;
    arrange(exponent, tall);
    return true;
  }

  const Matrix<double>& left() const { return left_; }           ///< (rows, rank)
  const Matrix<double>& right() const { return right_; }         ///< (cols, rank)
  const std::vector<double>& values() const { return values_; }  ///< the largest first

 private:
  static constexpr int most_sweeps = 60;

  double squared(Index k) const {
    return dot(columns_.col(k).data(), columns_.col(k).data(), columns_.rows());
  }

  /// Rotates every pair of columns once; false if all were orthogonal.
  bool sweep() {
    const Index count = columns_.cols(), size = columns_.rows();
    const double tolerance =
        std::numeric_limits<double>::epsilon() * std::sqrt(static_cast<double>(size));
    squares_.resize(static_cast<std::size_t>(count));
    for (Index k = 0; k < count; ++k) squares_[static_cast<std::size_t>(k)] = squared(k);
    bool rotated = false;
    for (Index p = 0; p < count; ++p)
      for (Index q = p + 1; q < count; ++q) {
        double &pp = squares_[static_cast<std::size_t>(p)],
               &qq = squares_[static_cast<std::size_t>(q)];
        const double pq = dot(columns_.col(p).data(), columns_.col(q).data(), size);
        // Negated, so that columns of zeros rest. Vanishing products have no direction.
        if (!(std::abs(pq) > tolerance * std::sqrt(std::abs(pp * qq))) ||
            std::abs(pq) < smallest_product)
          continue;
        rotated = true;
        const double zeta = (qq - pp) / (2.0 * pq);
        const double t = std::copysign(1.0, zeta) / (std::abs(zeta) + std::hypot(1.0, zeta));
        const double c = 1.0 / std::hypot(1.0, t), s = c * t;
        rotate(columns_.col(p).data(), columns_.col(q).data(), size, c, s);
        rotate(rotations_.col(p).data(), rotations_.col(q).data(), count, c, s);
        pp = std::max(0.0, pp - t * pq);
        qq += t * pq;
      }
    return rotated;
  }
  static constexpr double smallest_product = 1e-290;

  static void rotate(double* x, double* y, Index size, double c, double s) {
    LIPGD_ELEMENTWISE_LOOP
    for (Index i = 0; i < size; ++i) {
      const double a = x[i], b = y[i];
      x[i] = c * a - s * b;
      y[i] = s * a + c * b;
    }
  }

  void arrange(int exponent, bool tall) {
    const Index count = columns_.cols(), size = columns_.rows();
    std::vector<double> norms(static_cast<std::size_t>(count));
    std::vector<Index> order(norms.size());
    std::iota(order.begin(), order.end(), Index{0});
    for (Index k = 0; k < count; ++k) norms[static_cast<std::size_t>(k)] = std::sqrt(squared(k));
    std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) {
      return norms[static_cast<std::size_t>(a)] > norms[static_cast<std::size_t>(b)];
    });
    Matrix<double>&outer = tall ? left_ : right_, &inner = tall ? right_ : left_;
    outer.resize(size, count);
    inner.resize(count, count);
    values_.assign(norms.size(), 0.0);
    Index known = 0;
    for (Index k = 0; k < count; ++k) {
      const Index from = order[static_cast<std::size_t>(k)];
      const double norm = norms[static_cast<std::size_t>(from)];
      inner.col(k) = rotations_.col(from);
      values_[static_cast<std::size_t>(k)] = std::ldexp(norm, exponent);
      if (norm > smallest_norm) {
        outer.col(k) = columns_.col(from) / norm;
        known = k + 1;
      }
    }
    complete(outer, known);
  }
  /// Of a matrix of size one: below it a column has no direction that rounding left.
  static constexpr double smallest_norm = 1e-140;

  /// Fills the columns from known on with unit vectors orthogonal to all before.
  static void complete(Matrix<double>& vectors, Index known) {
    Index unit = 0;
    for (Index k = known; k < vectors.cols(); ++k)
      for (double length = 0.0; length < 0.5 / static_cast<double>(vectors.rows()); ++unit) {
        auto column = vectors.col(k);
        column.setZero();
        column[unit] = 1.0;
        for (int pass = 0; pass < 2; ++pass)
          for (Index j = 0; j < k; ++j)
            column -= dot(vectors.col(j).data(), column.data(), vectors.rows()) * vectors.col(j);
        length = dot(column.data(), column.data(), vectors.rows());
        if (length > 0.0) column /= std::sqrt(length);
      }
  }

  Matrix<double> columns_, rotations_, left_, right_;
  std::vector<double> values_, squares_;
};

}  // namespace lipgd
