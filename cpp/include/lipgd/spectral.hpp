#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "lipgd/check.hpp"
#include "lipgd/parallel.hpp"
#include "lipgd/reduce.hpp"
#include "lipgd/tiles.hpp"
#include "lipgd/types.hpp"

namespace lipgd {

/// Two numbers that enclose the largest singular value; certified unless the matrix is not finite.
struct SpectralBracket {
  double lower = 0.0;
  double upper = std::numeric_limits<double>::infinity();
  Index iterations = 0;  ///< products and solutions with the Gram matrix
  bool certified = false;
};

constexpr double default_spectral_tolerance = 1e-6;  ///< of upper / lower - 1
constexpr int default_spectral_iterations = 500;

// How the bracket of a matrix B holds in floating point, rounded to nearest and with subnormals.
// Let u = 2^-53, gamma(n) = n u / (1 - n u), G = B B^T with B of k rows, G' the computed G and t
// its computed trace. When t is far from 1, B is scaled by a power of two; what underflow may still
// take away is below 2^-300 t and vanishes in the last outward factors.
//
// (1) A product in a sum of depth d passes through at most d roundings, so elementwise
//     |G' - G| <= gamma(d) |B||B|^T, whose norm is at most gamma(d) |B|_F^2, and
//     |B|_F^2 <= t / (1 - gamma(d + k)).
// (2) Lower: x.G'x / x.x for the last vector x; computing it errs by at most
//     gamma(3 k + 8) |B|_F^2.
// (3) Upper: if the Cholesky factorization of the computed A = c I - G' runs to completion, then
//     lambda_min(A) >= -gamma(k + 8) / (1 - gamma(k + 8)) tr A: Rump, Verification of positive
//     definiteness (2006); Higham, Accuracy and Stability of Numerical Algorithms, theorem 10.3;
//     certificates.md, section 9, lemma 7. The 8 covers the reciprocals of the pivots' roots.
//     Forming the diagonal of A adds u tr A. So |G|_2 <= c plus the errors of (3) and (1).
//
// The error terms are enlarged by 1e-6, which covers the rounding of the terms themselves.

namespace detail {

constexpr double unit_roundoff = std::numeric_limits<double>::epsilon() / 2;
constexpr double safely = 1.0 + 1e-6;

inline double rounding(Index n) {
  const double x = static_cast<double>(n) * unit_roundoff;
  return x / (1.0 - x);
}

/// The error terms (1) to (3), in terms of the square of the norm.
struct SpectralErrors {
  SpectralErrors(Index side, Index length, double gram_trace)
      : size(static_cast<double>(side)),
        trace(gram_trace),
        gram(rounding(GramBuilder::depth(length)) * gram_trace * safely),
        quotient(rounding(3 * side + 8) * gram_trace * safely),
        pivot((rounding(side + 8) + 4.0 * unit_roundoff) * safely) {}

  /// What a Rayleigh quotient proves from below, and a factorized shift from above.
  double below(double value) const { return std::max(value - quotient - gram, 0.0); }
  double above(double shift) const {
    return shift + pivot * (size * shift * safely - trace) + gram;
  }
  /// How far above the quotient a shift may be for above(shift) <= goal * below(quotient).
  double allowance(double value, double goal) const {
    const double room = goal * below(value) - (above(goal * value) - goal * value) - value;
    const double attainable = 4.0 * (size + 4.0) * unit_roundoff * std::max(value, trace / size);
    return std::max(room, attainable);
  }

  double size, trace, gram, quotient, pivot;
};

/// Where the top eigenvalue of a computed Gram matrix is looked for.
struct SpectralSearch {
  double value = 0.0;   ///< the largest Rayleigh quotient so far
  double wanted = 0.0;  ///< how far above it a proved shift is good enough
  double failed = 0.0;  ///< the largest shift without a factorization
  double proved = std::numeric_limits<double>::infinity();  ///< the smallest shift with one

  bool done() const { return proved <= value + wanted; }
  double next() const {
    if (value + wanted > failed) return value + wanted;
    if (std::isinf(proved)) return value + 4.0 * (failed - value);
    return value + std::sqrt((failed - value) * (proved - value));
  }
};

/// Largest Ritz value of a Lanczos process, updated by one row of its tridiagonal matrix at a time.
class TopRitz {
 public:
  void reset(Index capacity) {
    diagonal_.resize(capacity);
    off_.resize(capacity);
    pivot_.resize(capacity);
    weights_.resize(capacity);
    count_ = 0;
    value_ = 0.0;
  }

  double value() const { return value_; }
  const double* weights() const { return weights_.data(); }
  Index count() const { return count_; }

  /// Appends a diagonal element and the element that couples it to the one before.
  void append(double diagonal, double coupling) {
    diagonal_[count_] = diagonal;
    off_[count_] = coupling;
    ++count_;
    if (count_ == 1) {
      value_ = diagonal;
      weights_[0] = 1.0;
      return;
    }
    // The larger eigenvalue on the span of the last Ritz vector and the new vector is not above the
    // new Ritz value, and from there Newton's method on the last pivot, which is concave, climbs.
    const double reach = coupling * weights_[count_ - 2];
    const double half = 0.5 * std::abs(value_ - diagonal);
    const double size = std::sqrt(half * half + reach * reach);
    double x = std::max(value_, diagonal);
    if (size > 0.0) x += reach * reach / (size + half);
    weights_[count_ - 1] = 0.0;
    bool good = false;
    for (int pass = 0; pass < 50; ++pass) {
      double slope = 1.0;
      good = pivots(x, slope);
      if (!good) break;
      const double step = -pivot_[count_ - 1] / slope;
      if (!(step > unit_roundoff * x)) break;
      x += step;
    }
    if (good) solve_weights();
    value_ = std::max(value_, x);
  }

 private:
  /// Pivots of x I - T; false when one but the last is not positive: x is the old value, rounded.
  bool pivots(double x, double& slope) {
    pivot_[0] = x - diagonal_[0];
    for (Index i = 1; i < count_; ++i) {
      if (!(pivot_[i - 1] > 0.0)) return false;
      const double ratio = off_[i] / pivot_[i - 1];
      pivot_[i] = x - diagonal_[i] - off_[i] * ratio;
      slope = 1.0 + ratio * ratio * slope;
    }
    return true;
  }

  void solve_weights() {
    double* w = weights_.data();
    w[count_ - 1] = 1.0;
    for (Index i = count_ - 1; i > 0; --i) w[i - 1] = off_[i] * w[i] / pivot_[i - 1];
    const double scale = 1.0 / std::sqrt(sum_of_squares(w, count_));
    for (Index i = 0; i < count_; ++i) w[i] *= scale;
  }

  Vector<double> diagonal_, off_, pivot_, weights_;
  Index count_ = 0;
  double value_ = 0.0;
};

}  // namespace detail

/// The spectral norm of a matrix, as a bracket. The object keeps scratch memory and the last top
/// singular vector, from which the next call on a matrix of the same shape starts.
class SpectralNorm {
 public:
  /// `a` is column-major rows x cols. Stops when upper <= lower (1 + tolerance), which rounding
  /// permits down to about 2e-16 k^2 + 2e-14 k for a smaller side of k, or after so many products.
  template <class Scalar>
  SpectralBracket operator()(const Scalar* a, Index rows, Index cols,
                             double tolerance = default_spectral_tolerance,
                             int max_iterations = default_spectral_iterations) {
    require(rows > 0 && cols > 0, "a is empty, expected at least one element");
    const SubnormalMode keep_subnormals(false);
    if (rows != rows_ || cols != cols_) forget();
    rows_ = rows;
    cols_ = cols;
    double trace = square(a, 1.0);
    int exponent = 0;
    // Outside of this window squares may overflow or lose bits by underflow.
    if (!(trace >= 0x1p-200 && trace <= 0x1p200)) {
      const Index size = checked_product(rows, cols);
      if (!all_finite(a, size)) return {};
      double largest = 0.0;
      for (Index i = 0; i < size; ++i)
        largest = std::max(largest, std::abs(static_cast<double>(a[i])));
      if (largest == 0.0) return {0.0, 0.0, 0, true};
      exponent = std::clamp(std::ilogb(largest), -1000, 1000);
      trace = square(a, std::ldexp(1.0, -exponent));
    }
    SpectralBracket squared = std::min(rows, cols) == 1
                                  ? vector_bracket(trace)
                                  : matrix_bracket(trace, tolerance, max_iterations);
    return root(squared, exponent);
  }

  /// The warm start as numbers: rows, columns and the last top singular vector (of the smaller
  /// side, padded to a multiple of eight); empty before the first call. With it a later call
  /// repeats the bits of an uninterrupted run.
  std::vector<double> memory() const {
    if (direction_.size() == 0) return {};
    std::vector<double> numbers{static_cast<double>(rows_), static_cast<double>(cols_)};
    numbers.insert(numbers.end(), direction_.data(), direction_.data() + direction_.size());
    return numbers;
  }
  void set_memory(const std::vector<double>& numbers) {
    forget();
    if (numbers.size() < 3) return;
    const double squared =
        sum_of_squares(numbers.data() + 2, static_cast<Index>(numbers.size()) - 2);
    if (!(squared > 0.5 && squared < 2.0)) return;  // not a direction of ours
    rows_ = static_cast<Index>(numbers[0]);
    cols_ = static_cast<Index>(numbers[1]);
    direction_ = ConstVectorMap<double>(numbers.data() + 2, static_cast<Index>(numbers.size()) - 2);
  }
  void forget() { direction_.resize(0); }

 private:
  /// The trace of the Gram matrix of factor * a, which is left in gram_ unless it is a number.
  template <class Scalar>
  double square(const Scalar* a, double factor) {
    if (std::min(rows_, cols_) == 1)
      return detail::reduce<double>(rows_ * cols_, [a, factor](Index i) {
        const double value = static_cast<double>(a[i]) * factor;
        return value * value;
      });
    build_(a, rows_, cols_, factor, gram_);
    return gram_.trace();
  }

  SpectralBracket vector_bracket(double sum) const {
    const double error = detail::rounding(reduction_depth(std::max(rows_, cols_))) * detail::safely;
    return {sum * (1.0 - error), sum * (1.0 + error), 0, true};
  }

  SpectralBracket matrix_bracket(double trace, double tolerance, int max_iterations) {
    const detail::SpectralErrors errors(gram_.size(), std::max(rows_, cols_), trace);
    tolerance = std::min(std::max(0.0, tolerance), 1.0);
    const double goal = (1.0 + tolerance) * (1.0 + tolerance) - 64.0 * detail::unit_roundoff;
    detail::SpectralSearch search;
    SpectralBracket result;
    bool factored = false;
    if (direction_.size() != gram_.padded_size()) start_at_random(0);
    for (int attempt = 0; !search.done(); ++attempt) {
      if (result.certified && (result.iterations >= max_iterations || attempt > 60)) break;
      if (factored)
        iterate_inversely(result.iterations);
      else if (attempt < 2)
        lanczos(0.25 * tolerance, trace, max_iterations, result.iterations);
      search.value = std::max(search.value, quotient(result.iterations));
      search.wanted = errors.allowance(search.value, goal);
      const double shift = search.next();
      factored = cholesky_.factor(gram_, shift);
      (factored ? search.proved : search.failed) = shift;
      result.certified = result.certified || factored;
      // A Ritz value below the top may have missed it, or its vector: look elsewhere, once.
      if (!factored && attempt == 0) start_at_random(1);
    }
    result.lower = errors.below(search.value);
    result.upper = errors.above(search.proved);
    return result;
  }

  /// Adds fixed pseudo-random numbers to the last direction, or starts with them.
  void start_at_random(int seed) {
    const Index size = gram_.size();
    if (direction_.size() != gram_.padded_size()) direction_.setZero(gram_.padded_size());
    const double scale = 0x1p-31 / std::sqrt(static_cast<double>(size));
    std::uint64_t state = 0x9e3779b97f4a7c15u * (static_cast<std::uint64_t>(seed) + 1);
    for (Index i = 0; i < size; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      direction_[i] += scale * static_cast<double>(static_cast<std::int32_t>(state >> 32));
    }
  }

  /// Turns the direction to the top eigenvector, the nearest one to the factorized shift.
  void iterate_inversely(Index& iterations) {
    for (int pass = 0; pass < 4; ++pass) {
      cholesky_.solve(direction_.data());
      direction_ /= std::sqrt(sum_of_squares(direction_.data(), direction_.size()));
      ++iterations;
    }
  }

  /// The Rayleigh quotient of the direction.
  double quotient(Index& iterations) {
    const Index n = gram_.padded_size();
    gram_.multiply(direction_.data(), image_.data());
    ++iterations;
    return dot(direction_.data(), image_.data(), n) / sum_of_squares(direction_.data(), n);
  }

  /// Turns the direction into the top Ritz vector of a Lanczos run that starts from it.
  void lanczos(double target, double trace, int max_iterations, Index& iterations) {
    const Index n = gram_.padded_size();
    const Index capacity = std::min(gram_.size(), largest_basis);
    const double smallest = detail::unit_roundoff * trace;
    basis_.resize(n, capacity);
    image_.resize(n);
    ritz_.reset(capacity);
    double* w = image_.data();
    std::copy(direction_.data(), direction_.data() + n, w);
    double coupling = std::sqrt(sum_of_squares(w, n));
    double gain = 0.0;
    bool done = false;
    for (Index j = 0; j < capacity && !done; ++j) {
      double* q = basis_.col(j).data();
      for (Index i = 0; i < n; ++i) q[i] = w[i] / coupling;
      gram_.multiply(q, w);
      ++iterations;
      const double last_value = ritz_.value();
      const double last_gain = gain;
      double diagonal = orthogonalize(w, j);
      double next = std::sqrt(sum_of_squares(w, n));
      if (next < 0.1 * diagonal) {  // cancellation: what is left is orthogonal only to few digits
        diagonal += orthogonalize(w, j);
        next = std::sqrt(sum_of_squares(w, n));
      }
      ritz_.append(diagonal, j == 0 ? 0.0 : coupling);
      gain = ritz_.value() - last_value;
      coupling = next;
      const double limit = std::max(target, 4.0 * detail::unit_roundoff) * ritz_.value();
      // Gains that shrink by a steady ratio add up to a geometric series.
      const double ratio = j > 1 ? std::min(gain / last_gain, 0.95) : 0.5;
      done = (j > 0 && gain * ratio <= limit * (1.0 - ratio)) || !(coupling > smallest) ||
             iterations + 1 >= max_iterations;
    }
    std::fill(direction_.data(), direction_.data() + n, 0.0);
    for (Index j = 0; j < ritz_.count(); ++j) {
      const double weight = ritz_.weights()[j];
      const double* q = basis_.col(j).data();
      for (Index i = 0; i < n; ++i) direction_[i] += weight * q[i];
    }
  }

  /// Removes the components along the first vectors of the basis; the one along the last of them.
  double orthogonalize(double* w, Index last) const {
    const Index n = gram_.padded_size();
    double component = 0.0;
    for (Index i = 0; i <= last; ++i) {
      const double* q = basis_.col(i).data();
      component = dot(q, w, n);
      for (Index r = 0; r < n; ++r) w[r] -= component * q[r];
    }
    return component;
  }

  /// Turns a bracket of the square of the scaled norm into one of the norm itself.
  static SpectralBracket root(SpectralBracket result, int exponent) {
    const double outward = 4.0 * detail::unit_roundoff;
    result.lower = std::sqrt(std::max(result.lower, 0.0)) * (1.0 - outward);
    result.upper = std::sqrt(result.upper) * (1.0 + outward);
    if (exponent == 0) return result;
    result.lower = std::ldexp(result.lower, exponent);
    result.upper = std::ldexp(result.upper, exponent);
    // Subnormal results are rounded to nearest, and results beyond the largest number to infinity.
    result.lower = std::min(std::nextafter(result.lower, 0.0), std::numeric_limits<double>::max());
    result.upper = std::nextafter(result.upper, std::numeric_limits<double>::infinity());
    result.certified = std::isfinite(result.upper);
    return result;
  }

  static constexpr Index largest_basis = 128;

  Index rows_ = 0;
  Index cols_ = 0;
  GramBuilder build_;
  TiledSymmetric gram_;
  TiledCholesky cholesky_;
  detail::TopRitz ritz_;
  Matrix<double> basis_;
  Vector<double> direction_, image_;
};

}  // namespace lipgd
