#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "lipgd/certificate/problem.hpp"
#include "lipgd/certificate/top_eigenvalue.hpp"
#include "lipgd/reduce.hpp"
#include "lipgd/tiles.hpp"
#include "lipgd/types.hpp"

// The certificate of one hidden layer (certificates.md, section 3): the formal constant is at most
// the largest eigenvalue of K(theta), for every theta > 0. Rounding as in section 9.

namespace lipgd {

class TwoLayerBound {
 public:
  explicit TwoLayerBound(const CertificateProblem& problem) : problem_(problem) {
    const Index n = problem.width(0);
    inputs_ = problem.weights(0).rows();
    outputs_ = problem.weights(1).cols();
    outer_ = problem.weights(1).transpose();  // a column per neuron
    const Matrix<double>& w = problem.weights(0);
    inner_squares_ = squares_of_columns(w);
    outer_squares_ = squares_of_columns(outer_);
    const Vector<double> middle = problem.middle(0).cwiseAbs();
    const Vector<double> lengths = inner_squares_.cwiseProduct(outer_squares_).cwiseSqrt();
    products_ = dot(middle.data(), lengths.data(), n);
    linear_ = outer_ * problem.middle(0).asDiagonal() * w.transpose();
    direction_.setZero(size());
  }

  Index size() const { return inputs_ + outputs_; }
  Vector<double>& direction() { return direction_; }
  /// B^T M W, and B^T with a column per neuron.
  const Matrix<double>& linear() const { return linear_; }
  const Matrix<double>& outer() const { return outer_; }
  /// The lower triangle of the last K.
  const Matrix<double>& matrix() const { return k_; }

  /// Forms K and returns its largest eigenvalue, as far as it is known: no bound yet.
  double estimate(const Vector<double>& theta, double tolerance) {
    form(theta);
    top_ = top_eigenvalue(k_, tolerance, direction_);
    return top_;
  }

  /// The part of the eigenvalue that a proof adds if it succeeds at once.
  double proof_adds(double tolerance) const {
    const double least = 1e-13 * static_cast<double>(size());
    return size() <= dense_eigenvalues ? least : std::max(least, 0.02 * tolerance);
  }

  /// A bound of the formal constant from the K and the eigenvalue of the last estimate, infinite if
  /// none is found. It counts every rounding if it is to be rigorous. Few factorizations are tried
  /// if only bounds below the limit are of use.
  double prove(double limit, double tolerance, bool rigorous) {
    if (!rigorous && size() <= dense_eigenvalues) return top_;
    copy_to(tiled_);
    const double least = proof_adds(tolerance) * std::abs(top_);
    const bool few = size() > dense_eigenvalues && limit < infinity();
    const double shift =
        few ? shift_below(limit * (1.0 - 1e-3 * tolerance), least) : any_shift(least, tolerance);
    return rigorous ? enlarged(shift) : shift;
  }

  /// The better theta of the closed forms: |b_i| / |w_i|, or one number for all given neurons, each
  /// scaled so that both diagonal blocks have the same norm.
  Vector<double> closed_form() {
    const Index n = problem_.width(0);
    Vector<double> neuron(n), layer = problem_.given_proportions(0).array().square();
    for (Index i = 0; i < n; ++i) neuron[i] = std::sqrt(outer_squares_[i] / inner_squares_[i]);
    equalize(neuron);
    equalize(layer);
    const double first = estimate(neuron, 1e-3);
    return first <= estimate(layer, 1e-3) ? neuron : layer;
  }

 private:
  static double infinity() { return std::numeric_limits<double>::infinity(); }

  /// |a_i|^2 of every column, eight sums at a time: columns are often short.
  static Vector<double> squares_of_columns(const Matrix<double>& a) {
    constexpr Index together = 8;
    Vector<double> result(a.cols());
    Index i = 0;
    for (; i + together <= a.cols(); i += together) {
      const double* columns = a.col(i).data();
      double sums[together] = {};
      for (Index j = 0; j < a.rows(); ++j)
        for (Index c = 0; c < together; ++c) {
          const double x = columns[c * a.rows() + j];
          sums[c] += x * x;
        }
      std::copy_n(sums, together, result.data() + i);
    }
    for (; i < a.cols(); ++i) result[i] = sum_of_squares(a.col(i).data(), a.rows());
    return result;
  }

  /// A shift s of which s I - K has a factorization, not above a first one; a second one is tried
  /// near the eigenvalue that inverse iteration shows.
  double shift_below(double first, double least) {
    if (!cholesky_.factor(tiled_, first)) return infinity();
    Vector<double> x = Vector<double>::Zero(tiled_.padded_size());
    x.head(size()) = direction_;
    double inverse = 0.0;
    for (int pass = 0; pass < 6; ++pass) {
      x /= std::sqrt(sum_of_squares(x.data(), x.size()));
      const Vector<double> before = x;
      cholesky_.solve(x.data());
      inverse = dot(before.data(), x.data(), x.size());
    }
    top_ = std::max(top_, first - 1.0 / inverse);
    const double second = top_ + std::max(0.3 * (first - top_), least);
    return second < 0.99 * first + 0.01 * top_ && cholesky_.factor(tiled_, second) ? second : first;
  }

  /// A shift s of which s I - K has a factorization, a little above the eigenvalue.
  double any_shift(double least, double tolerance) {
    double proved = infinity(), failed = 0.0;  // steps above the eigenvalue
    double step = least;
    for (int attempt = 0; attempt < 60 && step < infinity(); ++attempt) {
      if (cholesky_.factor(tiled_, top_ + step)) {
        proved = step;
      } else {
        failed = step;
        if (attempt < 2) failed -= look_elsewhere(tolerance);
      }
      if (proved <= std::max(4.0 * failed, least) || proved <= 0.1 * tolerance * top_) break;
      step = proved < infinity() ? std::sqrt(std::max(failed, least) * proved)
                                 : 8.0 * std::max(failed, least);
    }
    return top_ + proved;
  }

  /// Lemma 7 for the computed shift I - K, whose diagonal errs by another rounding, and the errors
  /// of K.
  double enlarged(double shift) const {
    if (!(shift < infinity())) return infinity();
    const auto n = static_cast<double>(size());
    const double trace =
        (n * shift - k_.trace()) * detail::safely + detail::unit_roundoff * n * std::abs(shift);
    const double pivots = (detail::rounding(size() + 16) + 4.0 * detail::unit_roundoff) *
                          std::max(trace, 0.0) * detail::safely;
    return (shift + pivots + error_) * (1.0 + 8.0 * detail::unit_roundoff);
  }

  /// Looks for a larger eigenvalue from a random start; by how much the known one grows.
  double look_elsewhere(double tolerance) {
    Vector<double> start = Vector<double>::Zero(size());
    const double other = top_eigenvalue(k_, 0.01 * tolerance, start);
    const double growth = std::max(other - top_, 0.0);
    top_ += growth;
    return growth;
  }

  void equalize(Vector<double>& theta) {
    clamp(theta);
    form(theta);
    Vector<double> start = Vector<double>::Zero(inputs_);
    const double inner = top_eigenvalue(k_.topLeftCorner(inputs_, inputs_), 1e-3, start);
    start.setZero(outputs_);
    const double outer = top_eigenvalue(k_.bottomRightCorner(outputs_, outputs_), 1e-3, start);
    if (inner > 0.0 && outer > 0.0) theta *= std::sqrt(outer / inner);
    clamp(theta);
  }

  static void clamp(Vector<double>& theta) { theta = theta.cwiseMax(0x1p-400).cwiseMin(0x1p400); }

  /// Each entry of the computed K errs by gamma times a sum of sizes, which as a matrix has at most
  /// the norm of error_ / gamma, by Cauchy and Schwarz.
  void form(const Vector<double>& theta) {
    const Vector<double>& h = problem_.half(0);
    const Index n = h.size();
    const Vector<double> inner = h.cwiseProduct(theta), outer = h.cwiseQuotient(theta);
    scale_columns(problem_.weights(0), inner.cwiseSqrt(), inner_);
    scale_columns(outer_, outer.cwiseSqrt(), scaled_outer_);
    const double squares =
        dot(inner.data(), inner_squares_.data(), n) + dot(outer.data(), outer_squares_.data(), n);
    k_.setZero(size(), size());
    k_.topLeftCorner(inputs_, inputs_).selfadjointView<Eigen::Lower>().rankUpdate(inner_);
    k_.bottomRightCorner(outputs_, outputs_)
        .selfadjointView<Eigen::Lower>()
        .rankUpdate(scaled_outer_);
    k_.bottomLeftCorner(outputs_, inputs_) = linear_;
    error_ = detail::rounding(n + 24) * (squares + products_) * detail::safely;
  }

  static void scale_columns(const Matrix<double>& from, const Vector<double>& by,
                            Matrix<double>& to) {
    to.resize(from.rows(), from.cols());
    for (Index i = 0; i < from.cols(); ++i) {
      const double* a = from.col(i).data();
      double* b = to.col(i).data();
      const double factor = by[i];
      LIPGD_ELEMENTWISE_LOOP
      for (Index j = 0; j < from.rows(); ++j) b[j] = a[j] * factor;
    }
  }

  void copy_to(TiledSymmetric& tiled) const {
    tiled.reset(size());
    for (Index q = 0; q < tiled.blocks(); ++q)
      for (Index p = q; p < tiled.blocks(); ++p)
        for (Index j = 0; j < std::min<Index>(8, size() - 8 * q); ++j)
          for (Index r = 0; r < std::min<Index>(8, size() - 8 * p); ++r) {
            const Index row = 8 * p + r, column = 8 * q + j;
            tiled.tile(p, q)[8 * j + r] = row >= column ? k_(row, column) : k_(column, row);
          }
  }

  const CertificateProblem& problem_;
  Index inputs_ = 0, outputs_ = 0;
  double products_ = 0.0, error_ = 0.0, top_ = 0.0;
  Matrix<double> outer_, linear_, inner_, scaled_outer_, k_;
  Vector<double> inner_squares_, outer_squares_, direction_;
  TiledSymmetric tiled_;
  TiledCholesky cholesky_;
};

}  // namespace lipgd
