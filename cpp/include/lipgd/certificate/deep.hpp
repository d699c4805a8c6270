#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include <Eigen/Cholesky>

#include "lipgd/certificate/problem.hpp"
#include "lipgd/reduce.hpp"
#include "lipgd/spectral.hpp"
#include "lipgd/types.hpp"

// The certificate of any depth (certificates.md, sections 4 and 9). With t = 1 / N per neuron, the
// matrix Phi(t, rho) of section 9 is block tridiagonal in (x_0, ..., x_H); if it is positive
// semidefinite, F^2 <= rho. Its block Cholesky factorization is the recursion of the ellipsoids
// S_l: the Schur complement that belongs to layer l is the inverse of S_l. So one factorization
// up to the last block, whose smallest rho is a norm, is recursion and proof at once.

namespace lipgd {

class DeepBound {
 public:
  DeepBound(const CertificateProblem& problem, std::function<bool()> keep_going)
      : problem_(problem), layers_(problem.hidden_layers()), keep_going_(std::move(keep_going)) {}

  /// The smallest F that the numbers t of each hidden layer prove; infinite if they prove none. If
  /// not rigorous, rounding is not counted.
  double operator()(const std::vector<Vector<double>>& t, bool rigorous) {
    scale(t);
    const double shift = rigorous ? rounding_shift() : 0.0;
    start();
    for (std::size_t l = 0; l < layers_; ++l)
      if (!keep_going_() || !advance(l, shift)) return infinity();
    const double squared = last_block(shift, rigorous);
    return squared < infinity() ? std::sqrt(squared) * (1.0 + 4.0 * detail::unit_roundoff)
                                : infinity();
  }

  /// The multipliers of the closed form, N = h (h + |m|) |Y_l|, never worse than the product of
  /// norms; empty if arithmetic failed.
  std::vector<Vector<double>> closed_form() {
    weights_.clear();
    t_.clear();
    for (std::size_t l = 0; l <= layers_; ++l) weights_.push_back(problem_.weights(l));
    first_.setOnes(weights_[0].rows());
    start();
    for (std::size_t l = 0; l < layers_; ++l) {
      Matrix<double> factor = schur_;
      if (!keep_going_() || !factorize(factor)) return {};
      const Vector<double> given = problem_.given_proportions(l);
      Matrix<double> half = weights_[l] * given.asDiagonal();
      factor.triangularView<Eigen::Lower>().solveInPlace(half);
      const double norm = norm_(half.data(), half.rows(), half.cols(), 1e-6).upper;
      Vector<double> t(problem_.width(l));
      double smallest = infinity();
      for (Index i = 0; i < t.size(); ++i) {
        const double h = problem_.half(l)[i], m = std::abs(problem_.middle(l)[i]);
        t[i] = given[i] * given[i] / (h * (h + std::max(m, 1e-3 * h)) * norm * norm);
        if (h > 0.0) smallest = std::min(smallest, t[i]);
      }
      if (smallest == infinity()) smallest = 1.0 / (norm * norm);
      t = (problem_.half(l).array() > 0.0).select(t, 1e7 * smallest);
      t /= 1.0 + 1e-9;
      t_.push_back(t);
      if (!advance(l, 0.0)) return {};
    }
    return t_;
  }

 private:
  static double infinity() { return std::numeric_limits<double>::infinity(); }

  /// Rescales inputs and neurons by powers of two so that the diagonal of Phi is about one.
  void scale(const std::vector<Vector<double>>& t) {
    weights_.clear();
    t_.clear();
    Vector<double> diagonal = Vector<double>::Ones(problem_.weights(0).rows());
    Vector<double> inputs = roots(diagonal, t, 0);
    first_ = inputs.array().square();
    for (std::size_t l = 0; l < layers_; ++l) {
      const Vector<double> outputs = roots(t[l], t, l + 1);
      weights_.push_back(inputs.asDiagonal() * problem_.weights(l) *
                         outputs.cwiseInverse().asDiagonal());
      t_.push_back(t[l].array() * outputs.array().square());
      inputs = outputs;
    }
    weights_.push_back(inputs.asDiagonal() * problem_.weights(layers_));
  }

  /// Powers of two near the inverse roots of the diagonal of Phi that belongs to the inputs of a
  /// layer, where a positive curvature is left out.
  Vector<double> roots(Vector<double> diagonal, const std::vector<Vector<double>>& t,
                       std::size_t layer) const {
    if (layer < layers_)
      for (Index i = 0; i < t[layer].size(); ++i) {
        const double h = problem_.half(layer)[i], m = problem_.middle(layer)[i];
        if (std::abs(m) > h)
          diagonal.array() += t[layer][i] * ((std::abs(m) - h) * (std::abs(m) + h)) *
                              problem_.weights(layer).col(i).array().square();
      }
    for (double& x : diagonal)
      x = std::ldexp(1.0, -static_cast<int>(std::floor(0.5 * std::ilogb(x))));
    return diagonal;
  }

  /// What is to be subtracted from the diagonal so that a completed factorization proves that the
  /// exact Phi, without its output term, is positive semidefinite.
  double rounding_shift() {
    depth_ = 0;
    for (std::size_t l = 0; l < layers_; ++l)
      depth_ = std::max(depth_, weights_[l].rows() + weights_[l].cols());
    depth_ += 32;
    double diagonal_error = 0.0, off_diagonal = 0.0, largest = first_.maxCoeff();
    double trace = first_.sum();
    for (std::size_t l = 0; l < layers_; ++l) {
      double sizes = 0.0, coupling = 0.0;
      for (Index i = 0; i < t_[l].size(); ++i) {
        const double square = sum_of_squares(weights_[l].col(i).data(), weights_[l].rows());
        const double m = problem_.middle(l)[i] * t_[l][i];
        sizes += std::abs(curvature(l, i)) * square;
        coupling += m * m * square;
        largest = std::max(largest, t_[l][i]);
      }
      diagonal_error = std::max(diagonal_error, detail::rounding(t_[l].size() + depth_) * sizes);
      off_diagonal = std::max(off_diagonal, std::sqrt(coupling));
      trace += sizes + sum(t_[l].data(), t_[l].size());
    }
    const double unit = detail::unit_roundoff;
    const double pivots = detail::rounding(depth_);
    const double formed = diagonal_error + 8.0 * unit * off_diagonal + 4.0 * pivots * largest;
    return (formed + (pivots / (1.0 - pivots) + 4.0 * unit) * trace) * (1.0 + 1e-6);
  }

  /// t (h^2 - m^2).
  double curvature(std::size_t l, Index i) const {
    const double h = problem_.half(l)[i], m = problem_.middle(l)[i];
    return t_[l][i] * ((h - m) * (h + m));
  }

  void start() { schur_ = first_.asDiagonal(); }

  static bool factorize(Matrix<double>& a) {
    return Eigen::internal::llt_inplace<double, Eigen::Lower>::blocked(a) < 0 &&
           std::isfinite(a.diagonal().sum());
  }

  /// From the Schur complement of x_{l-1} to that of x_l.
  bool advance(std::size_t l, double shift) {
    const Matrix<double>& w = weights_[l];
    const Vector<double>& t = t_[l];
    Vector<double> curvatures(t.size());
    for (Index i = 0; i < t.size(); ++i) curvatures[i] = curvature(l, i);
    if ((curvatures.array() != 0.0).any()) {
      const Matrix<double> scaled = w * curvatures.asDiagonal();
      schur_.triangularView<Eigen::Lower>() -= scaled * w.transpose();
    }
    schur_.diagonal().array() -= shift;
    if (!factorize(schur_)) return false;
    coupling_ = w * (t.array() * problem_.middle(l).array()).matrix().asDiagonal();
    schur_.triangularView<Eigen::Lower>().solveInPlace(coupling_);
    schur_.setZero(t.size(), t.size());
    schur_.selfadjointView<Eigen::Lower>().rankUpdate(coupling_.transpose(), -1.0);
    schur_.diagonal() += t;
    return true;
  }

  /// The smallest rho for which the last block is positive definite, without and with rounding.
  double last_block(double shift, bool rigorous) {
    const Matrix<double>& w = weights_[layers_];
    Matrix<double> factor = schur_;
    factor.diagonal().array() -= shift;
    if (!factorize(factor)) return infinity();
    Matrix<double> reach = w;
    factor.triangularView<Eigen::Lower>().solveInPlace(reach);
    const double norm = norm_(reach.data(), reach.rows(), reach.cols(), 1e-9).upper;
    if (!rigorous || !std::isfinite(norm)) return norm * norm;
    const double size = sum_of_squares(w.data(), w.size());
    double growth = 1e-11;
    for (int attempt = 0; attempt < 8; ++attempt, growth *= 10.0) {
      const double rho = norm * norm * (1.0 + growth);
      // The output term w w^T / rho is in the trace with a minus sign, so only its error counts.
      const double error = detail::rounding(w.cols() + depth_) * size / rho * (1.0 + 1e-6);
      factor = schur_;
      factor.selfadjointView<Eigen::Lower>().rankUpdate(w, -1.0 / rho);
      factor.diagonal().array() -= shift + error;
      if (factorize(factor)) return rho;
    }
    return infinity();
  }

  const CertificateProblem& problem_;
  std::size_t layers_;
  std::function<bool()> keep_going_;
  Index depth_ = 0;
  std::vector<Matrix<double>> weights_;
  Vector<double> first_;  ///< the square of the scale of the inputs
  std::vector<Vector<double>> t_;
  Matrix<double> schur_, coupling_;
  SpectralNorm norm_;
};

}  // namespace lipgd
