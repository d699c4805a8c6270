#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include <Eigen/Eigenvalues>

#include "lipgd/reduce.hpp"
#include "lipgd/types.hpp"

namespace lipgd {

/// The singular values of a matrix with the vectors of its smaller side, by the eigenvalues of its
/// Gram matrix in double: what that does to small values is below the rounding of the large ones.
/// Of large matrices only the largest are found, approximately, by a Lanczos process.
class SingularBasis {
 public:
  /// Sides up to this are decomposed completely.
  static constexpr Index largest_complete = 256;

  template <class Scalar>
  void compute(ConstMatrixMap<Scalar> matrix, bool complete) {
    const Index side = std::min(matrix.rows(), matrix.cols());
    if (side == 1) {
      const double norm = std::sqrt(sum_of_squares(matrix.data(), matrix.size()));
      if (norm > 0.0 && std::isfinite(norm)) {
        values_.assign(1, norm);
        vectors_.setOnes(1, 1);
        return;
      }
    }
    const int exponent = take(matrix);
    if (complete || side <= largest_complete) {
      gram_.noalias() = tall_.transpose() * tall_;
      solver_.compute(gram_);
      vectors_ = solver_.eigenvectors().rowwise().reverse();
    } else {
      lanczos();
      vectors_.noalias() = basis_ * solver_.eigenvectors().rowwise().reverse();
    }
    const Index count = solver_.eigenvalues().size();
    values_.resize(static_cast<std::size_t>(count));
    for (Index i = 0; i < count; ++i)
      values_[static_cast<std::size_t>(i)] =
          std::ldexp(std::sqrt(std::max(0.0, solver_.eigenvalues()[count - 1 - i])), exponent);
  }

  /// From the largest to the smallest.
  const std::vector<double>& values() const { return values_; }

  /// Lowers each of the largest singular values of the matrix that was given to compute by a share
  /// of itself; where the shares end, the others stay.
  template <class Scalar>
  void lower(MatrixMap<Scalar> matrix, const std::vector<double>& shares) {
    const auto count = static_cast<Index>(shares.size());
    if (count == 0) return;
    const auto vectors = vectors_.leftCols(count);
    shared_ = vectors * Eigen::Map<const Vector<double>>(shares.data(), count).asDiagonal();
    if (matrix.rows() < matrix.cols()) {
      const Matrix<double> wide = matrix.template cast<double>();
      image_.noalias() = vectors.transpose() * wide;
      matrix = (wide - shared_ * image_).template cast<Scalar>();
    } else {
      const Matrix<double> tall = matrix.template cast<double>();
      image_.noalias() = tall * vectors;
      matrix = (tall - image_ * shared_.transpose()).template cast<Scalar>();
    }
  }

 private:
  static constexpr Index lanczos_steps = 64;

  /// Takes a copy whose squares neither overflow nor vanish: it is the matrix over 2^exponent.
  template <class Scalar>
  int take(ConstMatrixMap<Scalar> matrix) {
    double largest = 0.0;
    for (Index i = 0; i < matrix.size(); ++i)
      largest = std::max(largest, std::abs(static_cast<double>(matrix.data()[i])));
    const int exponent = largest > 0.0 ? std::clamp(std::ilogb(largest), -1000, 1000) : 0;
    const double factor = std::ldexp(1.0, -exponent);
    if (matrix.rows() < matrix.cols())
      tall_ = matrix.transpose().template cast<double>() * factor;
    else
      tall_ = matrix.template cast<double>() * factor;
    return exponent;
  }

  /// Ritz values and vectors of the Gram matrix on a Krylov space. The vectors are orthonormal, so
  /// that lowering along them raises no singular value, converged or not.
  void lanczos() {
    const Index side = tall_.cols();
    basis_.resize(side, lanczos_steps);
    Vector<double> diagonal(lanczos_steps), off(lanczos_steps), next(side);
    std::uint64_t state = 0x9e3779b97f4a7c15u;
    for (double& value : next) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      value = static_cast<double>(static_cast<std::int32_t>(state >> 32));
    }
    Index count = 0;
    for (double spent = 0.0; count < lanczos_steps; ++count) {
      const Index j = count;
      off[j] = next.norm();
      if (!(off[j] > 1e-14 * spent)) break;  // the matrix has a smaller rank
      basis_.col(j) = next / off[j];
      image_.noalias() = tall_ * basis_.col(j);
      next.noalias() = tall_.transpose() * image_;
      diagonal[j] = basis_.col(j).dot(next);
      spent = std::max(spent, diagonal[j]);
      for (int pass = 0; pass < 2; ++pass)
        next -= basis_.leftCols(j + 1) * (basis_.leftCols(j + 1).transpose() * next).eval();
    }
    basis_.conservativeResize(side, count);
    solver_.computeFromTridiagonal(diagonal.head(count).eval(), off.segment(1, count - 1).eval());
  }

  std::vector<double> values_;
  Matrix<double> tall_, gram_, basis_, vectors_, shared_, image_;
  Eigen::SelfAdjointEigenSolver<Matrix<double>> solver_;
};

}  // namespace lipgd
