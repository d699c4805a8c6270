#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>

#include <Eigen/Eigenvalues>

#include "lipgd/certificate/power_iteration.hpp"
#include "lipgd/certificate/problem.hpp"
#include "lipgd/certificate/two_layer.hpp"
#include "lipgd/reduce.hpp"
#include "lipgd/types.hpp"

// The optimum of LipSDP-Neuron for a hidden layer that is much wider than its inputs, and one
// output b. By the proofs of theorems 1 to 3 of certificates.md it is the largest of
//   |J0 X^(1/2)| + sum h_i |b_i| sqrt(w_i.X w_i)   over X >= 0 of trace 1,
// whose gradient is, but for a factor, K(theta) for theta_i = |b_i| / sqrt(w_i.X w_i).
// For many neurons the Hessian is near a multiple of the identity, so that projected gradients with
// steps of Barzilai and Borwein need some ten evaluations. Every theta on the way is a proof.

namespace lipgd {

class GramAscent {
 public:
  GramAscent(const CertificateProblem& problem, TwoLayerBound& bound, double tolerance)
      : problem_(problem), bound_(bound), tolerance_(tolerance), size_(problem.weights(0).rows()) {
    recent_.fill(std::numeric_limits<double>::infinity());
    point_ = Matrix<double>::Identity(size_, size_) / static_cast<double>(size_);
    decompose(point_, false);
    trial_ = point_;
    evaluate();
    keep();
  }

  /// Whether this is the best method: for one output, where eigenvalues of X are cheap beside a
  /// pass over the weights.
  static bool suits(const CertificateProblem& problem) {
    const Index size = problem.weights(0).rows();
    return problem.hidden_layers() == 1 && problem.weights(1).cols() == 1 && size >= 16 &&
           size <= 128 && problem.width(0) >= 40 * size;
  }

  /// What the last evaluation found: a lower bound of the optimum but for rounding, and multipliers
  /// with the largest eigenvalue of their K.
  double value() const { return value_; }
  double eigenvalue() const { return eigenvalue_; }
  const Vector<double>& theta() const { return theta_; }

  /// Goes to the next point and evaluates it.
  void step() {
    if (accepted_) {
      aim();
    } else {
      shorten();
    }
    evaluate();
    judge();
  }

  /// The last point.
  IterationState state() const {
    IterationState result;
    result.columns = 8;
    while (result.columns < 64 && result.columns < root_.cols()) result.columns *= 2;
    const Index known = std::min<Index>(result.columns, root_.cols());
    const Matrix<double> root = root_.rightCols(known);  // of the largest eigenvalues
    Matrix<double> inputs = Matrix<double>::Zero(result.columns, size_);
    inputs.topRows(known) = root.transpose();
    result.inputs = Eigen::Map<const Vector<double>>(inputs.data(), inputs.size());
    const Vector<double> along = root.transpose() * bound_.linear().transpose();
    result.outputs.setZero(result.columns);
    result.outputs.head(known) = along;
    if (!(along.squaredNorm() > 0.0)) result.outputs[known - 1] = 1.0;
    return result;
  }

 private:
  static constexpr double floor_ = 1e-7;  ///< added to X in evaluations, so that no term has a kink
  static constexpr double longest_ = 50.0;
  static constexpr Index strip_ = 256;

  /// Sets root_ to a factor of a symmetric matrix, or of the nearest positive semidefinite one of
  /// trace one.
  void decompose(const Matrix<double>& a, bool project) {
    const Eigen::SelfAdjointEigenSolver<Matrix<double>> solver(a);
    Vector<double> values = solver.eigenvalues();
    if (project) {
      double sum = 0.0, shift = 0.0;
      for (Index i = size_; i-- > 0;) {
        sum += values[i];
        const double mean = (sum - 1.0) / static_cast<double>(size_ - i);
        if (values[i] > mean) shift = mean;
      }
      values.array() -= shift;
    }
    Index rank = 1;
    while (rank < size_ && values[size_ - 1 - rank] > 1e-12) ++rank;
    root_ = solver.eigenvectors().rightCols(rank) *
            values.tail(rank).cwiseMax(0.0).cwiseSqrt().asDiagonal();
  }

  /// A new goal along the gradient; the whole way to it is tried first.
  void aim() {
    decompose(point_ + step_ * gradient_, true);
    trial_.noalias() = root_ * root_.transpose();
    way_ = trial_ - point_;
    slope_ =
        0.5 * way_.cwiseProduct(gradient_).sum();  // the objective is homogeneous of degree 1/2
    fraction_ = 1.0;
  }

  void shorten() {
    const double curvature = 2.0 * (trial_level_ - level_ - fraction_ * slope_);
    const double best = curvature < 0.0 ? -slope_ * fraction_ * fraction_ / curvature : 0.0;
    fraction_ = std::clamp(best, 0.1 * fraction_, 0.5 * fraction_);
    trial_ = point_ + fraction_ * way_;
    decompose(trial_, false);
  }

  /// The level may fall below the last one, but not below the last five.
  void judge() {
    const double worst = *std::min_element(recent_.begin(), recent_.end());
    accepted_ = trial_level_ >= worst + 1e-4 * fraction_ * slope_ - 1e-12 || fraction_ < 1e-6;
    if (!accepted_) return;
    const double moved = fraction_ * fraction_ * way_.squaredNorm();
    const double bent = fraction_ * way_.cwiseProduct(gradient_ - trial_gradient_).sum();
    step_ = bent > 0.0 ? moved / bent : 2.0 * step_;
    step_ = std::isfinite(step_) ? std::clamp(step_, 1e-3, longest_) : 0.5;
    keep();
  }

  void keep() {
    point_ = trial_;
    gradient_ = trial_gradient_;
    level_ = trial_level_;
    recent_[next_++ % recent_.size()] = level_;
    accepted_ = true;
  }

  void evaluate() {
    const double trace = root_.squaredNorm() + floor_ * static_cast<double>(size_);
    const Vector<double> inner = lengths(problem_.weights(0));
    const Vector<double> outer = bound_.outer().cwiseAbs().transpose().col(0);
    theta_ = floored(outer).cwiseQuotient(floored(inner)).cwiseMax(0x1p-400).cwiseMin(0x1p400);
    eigenvalue_ = bound_.estimate(theta_, tolerance_);
    const double coupled = coupling();
    double sum = coupled;
    for (Index i = 0; i < inner.size(); ++i) sum += problem_.half(0)[i] * inner[i] * outer[i];
    value_ = sum / std::sqrt(trace);
    trial_level_ = std::log(value_);

    trial_gradient_ = bound_.matrix().topLeftCorner(size_, size_).selfadjointView<Eigen::Lower>();
    if (coupled > 0.0)
      trial_gradient_.noalias() += bound_.linear().transpose() * (bound_.linear() / coupled);
    trial_gradient_ /= value_;
  }

  /// |J0 X^(1/2)|.
  double coupling() const {
    const Matrix<double> moved = bound_.linear() * root_;
    return std::sqrt(moved.squaredNorm() + floor_ * bound_.linear().squaredNorm());
  }

  /// sqrt(a.(R R^T + floor I) a) for every column a.
  Vector<double> lengths(const Matrix<double>& columns) const {
    const Matrix<double> transposed = root_.transpose();
    Vector<double> result(columns.cols());
    Matrix<double> image(transposed.rows(), strip_);
    for (Index begin = 0; begin < columns.cols(); begin += strip_) {
      const Index count = std::min(strip_, columns.cols() - begin);
      image.leftCols(count).noalias() = transposed * columns.middleCols(begin, count);
      result.segment(begin, count) =
          (image.leftCols(count).colwise().squaredNorm() +
           floor_ * columns.middleCols(begin, count).colwise().squaredNorm())
              .cwiseSqrt()
              .transpose();
    }
    return result;
  }

  static Vector<double> floored(const Vector<double>& numbers) {
    return numbers.cwiseMax(1e-12 * numbers.maxCoeff());
  }

  const CertificateProblem& problem_;
  TwoLayerBound& bound_;
  double tolerance_;
  Index size_;
  bool accepted_ = true;
  double step_ = 0.5, fraction_ = 1.0, slope_ = 0.0;
  double value_ = 0.0, eigenvalue_ = 0.0, level_ = 0.0, trial_level_ = 0.0;
  std::array<double, 5> recent_{};
  std::size_t next_ = 0;
  Vector<double> theta_;
  Matrix<double> point_, trial_, way_, gradient_, trial_gradient_, root_;
};

}  // namespace lipgd
