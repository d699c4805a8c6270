#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <Eigen/Cholesky>

#include "lipgd/check.hpp"
#include "lipgd/reduce.hpp"
#include "lipgd/spectral.hpp"
#include "lipgd/types.hpp"

// A network as certificates see it (certificates.md, section 1): weight matrices and intervals of
// slopes, cleared of what never acts and brought to numbers near one. All changes are exact, or are
// made so that the formal constant F can only grow.

namespace lipgd {

/// A weight matrix in C order, one row per neuron.
struct WeightView {
  const double* data = nullptr;
  Index rows = 0;
  Index cols = 0;
};

/// The intervals of slopes of one hidden layer.
struct SlopeView {
  const double* lower = nullptr;
  const double* upper = nullptr;
};

namespace detail {

/// The difference a - b, rounded up.
inline double subtract_upward(double a, double b) {
  const double difference = a - b;
  const double back = difference - a;
  const double error = (a - (difference - back)) - (b + back);
  return error > 0.0 ? std::nextafter(difference, std::numeric_limits<double>::infinity())
                     : difference;
}

constexpr Index exponent_bias = 1023;

/// floor(log2 |x|) of a finite number that is not zero.
inline Index exponent_of(double x) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, &x, sizeof bits);
  const auto biased = static_cast<Index>(bits >> 52U & 0x7ffU);
  return biased > 0 ? biased - exponent_bias : std::ilogb(x);
}

/// The largest |x| of some finite numbers, whose bits are in the order of their sizes.
inline double largest_magnitude(const double* x, Index n) {
  std::uint64_t largest = 0;
  for (Index i = 0; i < n; ++i) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, x + i, sizeof bits);
    largest = std::max(largest, bits & 0x7fffffffffffffffU);
  }
  double result = 0.0;
  std::memcpy(&result, &largest, sizeof result);
  return result;
}

/// 2^exponent, to nearest.
inline double power_of_two(Index exponent) {
  if (exponent <= -exponent_bias || exponent > exponent_bias)
    return std::ldexp(1.0, static_cast<int>(std::clamp<Index>(exponent, -5000, 5000)));
  const auto bits = static_cast<std::uint64_t>(exponent + exponent_bias) << 52U;
  double result = 0.0;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

/// x 2^exponent, to nearest.
inline double scaled(double x, Index exponent) {
  return std::ldexp(x, static_cast<int>(std::clamp<Index>(exponent, -5000, 5000)));
}

}  // namespace detail

class CertificateProblem {
 public:
  CertificateProblem(const std::vector<WeightView>& layers, const std::vector<SlopeView>& slopes) {
    require(!layers.empty() && slopes.size() + 1 == layers.size(),
            "weights and slopes do not fit together");
    if (!finite(layers, slopes)) return;
    for (const WeightView& layer : layers) given_widths_.push_back(layer.rows);
    find_living(layers, slopes);
    if (nothing_) return;
    scale(layers, slopes);
    reduce_inputs();
    reduce_outputs();
  }

  /// Why nothing can be proved; empty if all is well.
  const std::string& reason() const { return reason_; }
  /// Whether no input acts on any output: the constant is zero.
  bool is_constant() const { return nothing_; }

  std::size_t hidden_layers() const { return middle_.size(); }
  /// Weights in columns, one per neuron: n_in x n_out.
  const Matrix<double>& weights(std::size_t layer) const { return weights_[layer]; }
  /// Slopes are in [middle - half, middle + half].
  const Vector<double>& middle(std::size_t layer) const { return middle_[layer]; }
  const Vector<double>& half(std::size_t layer) const { return half_[layer]; }
  Index width(std::size_t layer) const { return middle_[layer].size(); }
  /// The width of a hidden layer as it was given.
  Index given_width(std::size_t layer) const { return given_widths_[layer]; }

  /// The neurons of a hidden layer that act, and the exponents of two by which their outputs were
  /// divided.
  const std::vector<Index>& kept(std::size_t layer) const { return kept_[layer + 1]; }
  const std::vector<Index>& exponents(std::size_t layer) const { return exponents_[layer + 1]; }
  /// The powers of two, at most one, by which rows of weights must be multiplied to be in the given
  /// proportions again.
  Vector<double> given_proportions(std::size_t layer) const {
    const std::vector<Index>& rows = row_exponents_[layer];
    const Index largest = *std::max_element(rows.begin(), rows.end());
    Vector<double> result(static_cast<Index>(rows.size()));
    for (std::size_t i = 0; i < rows.size(); ++i)
      result[static_cast<Index>(i)] =
          detail::power_of_two(std::max<Index>(rows[i] - largest, -150));
    return result;
  }

  /// A bound of this problem as one of the given network, rounded up. Underflow in the scaling
  /// changed no matrix by more than 2^-1030 of its Frobenius norm.
  double restore(double bound) const {
    if (lossy_) bound = (bound + loss()) * (1.0 + 4.0 * detail::unit_roundoff);
    const double value = detail::scaled(bound, exponent_);
    const bool exact = value >= 0x1p-1000;
    return exact ? value : std::nextafter(value, std::numeric_limits<double>::infinity());
  }
  double restore_below(double value) const { return detail::scaled(value, exponent_); }

 private:
  bool finite(const std::vector<WeightView>& layers, const std::vector<SlopeView>& slopes) {
    for (std::size_t l = 0; l < layers.size(); ++l)
      if (!all_finite(layers[l].data, checked_product(layers[l].rows, layers[l].cols))) {
        reason_ = "weights[" + std::to_string(l) + "] has an entry that is not finite";
        return false;
      }
    for (std::size_t l = 0; l < slopes.size(); ++l) {
      const Index n = layers[l].rows;
      if (!all_finite(slopes[l].lower, n) || !all_finite(slopes[l].upper, n)) {
        reason_ = "the slopes of hidden layer " + std::to_string(l + 1) + " are not finite";
        return false;
      }
      for (Index i = 0; i < n; ++i)
        require(slopes[l].lower[i] <= slopes[l].upper[i], "a slope interval is empty");
    }
    return true;
  }

  /// Lists the neurons that inputs reach and that reach outputs through weights and slopes that are
  /// not zero.
  void find_living(const std::vector<WeightView>& layers, const std::vector<SlopeView>& slopes) {
    std::vector<std::vector<char>> alive{
        std::vector<char>(static_cast<std::size_t>(layers[0].cols), 1)};
    for (std::size_t l = 0; l < layers.size(); ++l) {
      alive.emplace_back(static_cast<std::size_t>(layers[l].rows), 0);
      for (Index i = 0; i < layers[l].rows; ++i) {
        const bool flat = l < slopes.size() && slopes[l].lower[i] == 0 && slopes[l].upper[i] == 0;
        const double* row = layers[l].data + i * layers[l].cols;
        for (Index j = 0; j < layers[l].cols && !flat; ++j)
          if (row[j] != 0.0 && alive[l][static_cast<std::size_t>(j)] != 0) {
            alive[l + 1][static_cast<std::size_t>(i)] = 1;
            break;
          }
      }
    }
    for (std::size_t l = layers.size(); l-- > 0;) {
      std::vector<char> used(static_cast<std::size_t>(layers[l].cols), 0);
      for (Index i = 0; i < layers[l].rows && used != alive[l]; ++i)
        if (alive[l + 1][static_cast<std::size_t>(i)] != 0)
          for (Index j = 0; j < layers[l].cols; ++j)
            if (layers[l].data[i * layers[l].cols + j] != 0.0)
              used[static_cast<std::size_t>(j)] = alive[l][static_cast<std::size_t>(j)];
      alive[l] = std::move(used);
    }
    for (const std::vector<char>& layer : alive) {
      kept_.emplace_back();
      for (std::size_t i = 0; i < layer.size(); ++i)
        if (layer[i] != 0) kept_.back().push_back(static_cast<Index>(i));
      nothing_ = nothing_ || kept_.back().empty();
    }
  }

  void scale(const std::vector<WeightView>& layers, const std::vector<SlopeView>& slopes) {
    exponents_.emplace_back(kept_[0].size(), 0);
    for (std::size_t l = 0; l < layers.size(); ++l) {
      Matrix<double> part = living_part(layers[l], l);
      std::vector<Index> rows = largest_exponents(part, l);
      const bool last = l + 1 == layers.size();
      if (last) {
        const Index largest = *std::max_element(rows.begin(), rows.end());
        std::fill(rows.begin(), rows.end(), largest);
      }
      scale_part(part, l, rows);
      const Index shift = typical_exponent(part);
      part *= std::ldexp(1.0, static_cast<int>(-shift));
      weights_.push_back(std::move(part));
      for (Index& row : rows) row += shift;
      if (last) {
        exponent_ = rows[0];
      } else {
        row_exponents_.push_back(rows);
        copy_slopes(slopes[l], l, rows);
        exponents_.push_back(std::move(rows));
      }
    }
  }

  /// The rows and columns that act, a column per neuron.
  Matrix<double> living_part(const WeightView& layer, std::size_t l) const {
    const auto& inputs = kept_[l];
    const auto& outputs = kept_[l + 1];
    const auto n_inputs = static_cast<Index>(inputs.size());
    const auto n_outputs = static_cast<Index>(outputs.size());
    if (n_inputs == layer.cols && n_outputs == layer.rows)
      return ConstMatrixMap<double>(layer.data, n_inputs, n_outputs);
    Matrix<double> part(n_inputs, n_outputs);
    for (std::size_t i = 0; i < outputs.size(); ++i)
      for (std::size_t j = 0; j < inputs.size(); ++j)
        part(static_cast<Index>(j), static_cast<Index>(i)) =
            layer.data[outputs[i] * layer.cols + inputs[j]];
    return part;
  }

  /// The exponent of the largest entry of each column, with the inputs' exponents.
  std::vector<Index> largest_exponents(const Matrix<double>& part, std::size_t l) const {
    const std::vector<Index>& own = exponents_[l];
    const bool same = std::count(own.begin(), own.end(), own[0]) == std::ptrdiff_t(own.size());
    std::vector<Index> result(static_cast<std::size_t>(part.cols()),
                              std::numeric_limits<Index>::min());
    for (std::size_t i = 0; i < result.size(); ++i) {
      const double* column = part.col(static_cast<Index>(i)).data();
      if (same) {
        const double size = detail::largest_magnitude(column, part.rows());
        if (size > 0.0) result[i] = detail::exponent_of(size) + own[0];
        continue;
      }
      for (std::size_t j = 0; j < own.size(); ++j)
        if (column[j] != 0.0)
          result[i] = std::max(result[i], detail::exponent_of(column[j]) + own[j]);
    }
    return result;
  }

  /// Multiplies column i by 2^-exponents[i] and row j by the power of its input.
  void scale_part(Matrix<double>& part, std::size_t l, const std::vector<Index>& exponents) {
    const std::vector<Index>& own = exponents_[l];
    std::vector<double> powers;  // of the inputs, if none of them is extreme
    powers.reserve(own.size());
    for (const Index exponent : own)
      if (std::abs(exponent) < 500) powers.push_back(detail::power_of_two(exponent));
    const Index before = (part.array() != 0.0).count();
    for (std::size_t i = 0; i < exponents.size(); ++i) {
      double* column = part.col(static_cast<Index>(i)).data();
      if (powers.size() == own.size() && std::abs(exponents[i]) < 500) {
        const double factor = detail::power_of_two(-exponents[i]);
        for (std::size_t j = 0; j < own.size(); ++j) column[j] *= powers[j] * factor;
      } else {
        for (std::size_t j = 0; j < own.size(); ++j)
          column[j] = shifted(column[j], own[j] - exponents[i]);
      }
    }
    lossy_ = lossy_ || (part.array().abs() >= 0x1p-900).count() < before;
  }

  static double shifted(double x, Index exponent) {
    return std::abs(exponent) < 1000 ? x * detail::power_of_two(exponent)
                                     : detail::scaled(x, exponent);
  }

  /// The exponent of |W|_F / sqrt(min(n_in, n_out)), near that of the gain of the layer.
  static Index typical_exponent(const Matrix<double>& w) {
    const double square = sum_of_squares(w.data(), w.size());
    return std::ilogb(std::sqrt(square / static_cast<double>(std::min(w.rows(), w.cols()))));
  }

  void copy_slopes(const SlopeView& slopes, std::size_t l, std::vector<Index>& rows) {
    const auto n = static_cast<Index>(rows.size());
    Vector<double> middle(n), half(n);
    double last_low = 0.0, last_high = 0.0;
    int exponent = 0;
    for (Index i = 0; i < n; ++i) {
      const Index from = kept_[l + 1][static_cast<std::size_t>(i)];
      const double low = slopes.lower[from], high = slopes.upper[from];
      if (i > 0 && low == last_low && high == last_high) {  // mostly all intervals are the same
        middle[i] = middle[i - 1];
        half[i] = half[i - 1];
        rows[static_cast<std::size_t>(i)] += exponent;
        continue;
      }
      last_low = low;
      last_high = high;
      const double m = 0.5 * low + 0.5 * high;
      const double h = std::max(detail::subtract_upward(high, m), detail::subtract_upward(m, low));
      exponent = std::ilogb(std::max(std::abs(m), h));
      middle[i] = std::ldexp(m, -exponent);
      half[i] = std::ldexp(h, -exponent);
      // Only what is far below the larger of the two can have lost bits here.
      if (half[i] != 0.0 && half[i] < 0x1p-900) half[i] = 0x1p-900;
      lossy_ = lossy_ || (m != 0.0 && std::abs(middle[i]) < 0x1p-900);
      rows[static_cast<std::size_t>(i)] += exponent;
    }
    middle_.push_back(std::move(middle));
    half_.push_back(std::move(half));
  }

  double loss() const {
    double exponent = -1000.0;
    for (const Matrix<double>& w : weights_)
      exponent += 1.0 + 0.5 * std::log2(sum_of_squares(w.data(), w.size()));
    return std::exp2(exponent + static_cast<double>(2 * middle_.size()));
  }

  /// A triangular R with R R^T >= a a^T in the order of symmetric matrices, for wide a.
  ///
  /// The computed Gram matrix errs by at most gamma(n) |a|_F^2, and the computed factor of it plus
  /// a shift by gamma(k) of its trace (certificates.md, lemma 7): the shift covers both.
  static Matrix<double> dominating_factor(const Matrix<double>& a) {
    const Index k = a.rows();
    Matrix<double> gram = Matrix<double>::Zero(k, k);
    gram.selfadjointView<Eigen::Lower>().rankUpdate(a);
    const double trace = gram.trace();
    const double unit = detail::rounding(a.cols() + k + 16);
    double shift = (2.0 * unit + detail::rounding(k + 16)) * trace * detail::safely;
    for (int attempt = 0; attempt < 20; ++attempt, shift *= 2.0) {
      Matrix<double> factor = gram;
      const double needed =
          (unit * trace + detail::rounding(k + 16) * (trace + static_cast<double>(k) * shift)) *
          (1.0 + 1e-3);
      if (shift < needed) continue;
      factor.diagonal().array() += shift;
      if (Eigen::internal::llt_inplace<double, Eigen::Lower>::blocked(factor) >= 0) continue;
      return factor.triangularView<Eigen::Lower>();
    }
    return {};
  }

  /// F depends on the first matrix through its Gram matrix only, and grows with it.
  void reduce_inputs() {
    if (middle_.empty() || weights_[0].rows() <= weights_[0].cols()) return;
    const Matrix<double> factor = dominating_factor(weights_[0].transpose());
    if (factor.size() != 0) weights_[0] = factor.transpose();
  }
  void reduce_outputs() {
    if (middle_.empty() || weights_.back().cols() <= weights_.back().rows()) return;
    Matrix<double> factor = dominating_factor(weights_.back());
    if (factor.size() != 0) weights_.back() = std::move(factor);
  }

  std::string reason_;
  bool nothing_ = false;
  bool lossy_ = false;
  Index exponent_ = 0;
  std::vector<Index> given_widths_;
  std::vector<Matrix<double>> weights_;
  std::vector<Vector<double>> middle_, half_;
  std::vector<std::vector<Index>> row_exponents_;
  std::vector<std::vector<Index>> kept_, exponents_;  // with inputs and outputs
};

}  // namespace lipgd
