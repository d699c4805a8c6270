#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>
#include <vector>

#include "lipgd/certificate/power_iteration.hpp"
#include "lipgd/certificate/problem.hpp"
#include "lipgd/certificate/row_products.hpp"
#include "lipgd/certificate/two_layer.hpp"
#include "lipgd/reduce.hpp"
#include "lipgd/types.hpp"

// The optimum of LipSDP-Neuron for one hidden layer, on factors. By the proofs of theorems 1 to 3
// of certificates.md it is the largest of
//   2 <J0 X, Y> + 2 sum h_i |w_i X| |b_i Y|   over X and Y of some columns, |X|^2 = |Y|^2 = 1/2,
// whose gradient is 2 K(theta) (X; Y) for theta_i = |b_i Y| / |w_i X|: one pass over the weights,
// which are read once. Power iteration, whose steps have a fixed length, stalls where eigenvalues
// of K are clustered; L-BFGS takes some forty evaluations there.

namespace lipgd {

class FactorAscent {
 public:
  /// Begins at a point of a power iteration of at most so many columns, or at random.
  FactorAscent(const CertificateProblem& problem, const TwoLayerBound& bound, int columns,
               const IterationState& start)
      : problem_(problem),
        bound_(bound),
        columns_(columns),
        inputs_(problem.weights(0).rows()),
        outputs_(problem.weights(1).cols()),
        linear_rows_(bound.linear().transpose()),
        sizes_(problem.width(0)),
        gains_(problem.width(0)) {
    detail::Randoms random(7);
    trial_.resize((inputs_ + outputs_) * columns);
    Vector<double> x(inputs_ * columns), y(outputs_ * columns);
    detail::fill_columns(start.columns, start.inputs, columns, x, random);
    detail::fill_columns(start.columns, start.outputs, columns, y, random);
    trial_ << x, y;
    normalize();
    evaluate();
    if (value_ < 0.0) {  // for slopes that are almost fixed; the other sign of Y has the other sign
      trial_.tail(outputs_ * columns) *= -1.0;
      evaluate();
    }
    keep();
  }

  /// The objective, a lower bound of the optimum but for rounding.
  double value() const { return value_; }
  /// |K R / value - R| of the last point R = (X; Y): zero at a stationary one.
  double residual() const { return residual_; }
  /// Whether the last evaluation was at a better point.
  bool improved() const { return improved_; }
  /// Whether arithmetic finds no higher point along the gradient.
  bool exhausted() const { return exhausted_; }

  /// Goes to the next point and evaluates it.
  void step() {
    if (shorten_) {
      fraction_ *= 0.4;
    } else {
      aim();
    }
    trial_ = point_ + fraction_ * way_;
    normalize();
    evaluate();
    judge();
  }

  /// The multipliers of the last point.
  Vector<double> theta() const {
    return floored(gains_).cwiseQuotient(floored(sizes_)).cwiseMax(0x1p-400).cwiseMin(0x1p400);
  }

  /// A combination of the columns: a guess of a top eigenvector.
  Vector<double> direction() const {
    Vector<double> result = Vector<double>::Zero(inputs_ + outputs_);
    for (Index i = 0; i < result.size(); ++i)
      for (int c = 0; c < columns_; ++c) result[i] += point_[i * columns_ + c] / (1.0 + 0.3 * c);
    return result;
  }

  /// The best point.
  IterationState state() const {
    IterationState result;
    result.columns = columns_;
    result.inputs = point_.head(inputs_ * columns_) * std::sqrt(2.0);
    result.outputs = point_.tail(outputs_ * columns_) * std::sqrt(2.0);
    return result;
  }

 private:
  static constexpr std::size_t memory_ = 10;

  /// A step, the change of the gradient along it, and the inverse of their product.
  struct Pair {
    Vector<double> moved, bent;
    double inverse;
  };

  /// The objective does not change if X grows as Y shrinks.
  void normalize() {
    const Index split = inputs_ * columns_;
    scale(trial_.data(), split);
    scale(trial_.data() + split, trial_.size() - split);
  }
  static void scale(double* part, Index size) {
    const double square = sum_of_squares(part, size);
    if (square > 0.0) VectorMap<double>(part, size) *= std::sqrt(0.5 / square);
  }

  /// The way of L-BFGS, or the gradient if that leads down.
  void aim() {
    way_ = -gradient_;
    if (!pairs_.empty()) {
      std::vector<double> along(pairs_.size());
      for (std::size_t i = pairs_.size(); i-- > 0;) {
        along[i] = pairs_[i].inverse * inner(pairs_[i].moved, way_);
        way_ -= along[i] * pairs_[i].bent;
      }
      const Pair& last = pairs_.back();
      way_ /= last.inverse * inner(last.bent, last.bent);
      for (std::size_t i = 0; i < pairs_.size(); ++i)
        way_ += (along[i] - pairs_[i].inverse * inner(pairs_[i].bent, way_)) * pairs_[i].moved;
    }
    slope_ = inner(way_, gradient_);
    if (!(slope_ < 0.0)) {
      pairs_.clear();
      way_ = -gradient_;
      slope_ = inner(way_, gradient_);
    }
    fraction_ = 1.0;
  }

  void judge() {
    improved_ = trial_level_ <= level_ + 1e-4 * fraction_ * slope_ + 1e-14;
    shorten_ = !improved_ && fraction_ > 1e-4;
    if (shorten_) return;
    if (!improved_) {  // the next step is along the gradient, unless this one was
      exhausted_ = pairs_.empty();
      pairs_.clear();
      return;
    }
    Pair pair{trial_ - point_, trial_gradient_ - gradient_, 0.0};
    const double product = inner(pair.moved, pair.bent);
    if (product > 1e-10 * inner(pair.moved, pair.moved)) {
      pair.inverse = 1.0 / product;
      pairs_.push_back(std::move(pair));
      if (pairs_.size() > memory_) pairs_.erase(pairs_.begin());
    }
    keep();
  }

  void keep() {
    point_.swap(trial_);
    gradient_.swap(trial_gradient_);
    level_ = trial_level_;
    residual_ = std::sqrt(inner(gradient_, gradient_));
    exhausted_ = !std::isfinite(level_);
  }

  static double inner(const Vector<double>& a, const Vector<double>& b) {
    return dot(a.data(), b.data(), a.size());
  }

  /// The objective at the trial point; its level is -log(objective) / 2.
  void evaluate() {
    switch (columns_) {
      case 8:
        evaluate_as<8>();
        break;
      case 16:
        evaluate_as<16>();
        break;
      case 32:
        evaluate_as<32>();
        break;
      default:
        evaluate_as<64>();
    }
    trial_level_ = -0.5 * std::log(value_);
    trial_gradient_ = trial_ - trial_gradient_ / value_;
  }

  template <int columns>
  void evaluate_as() {
    trial_gradient_.setZero(trial_.size());
    double sum = 0.0;
    if ((linear_rows_.array() != 0.0).any())
      for (Index k = 0; k < outputs_; ++k) sum += add_linear<columns>(k);
    constexpr int group = detail::group_rows<columns>;
    const Index width = problem_.width(0);
    Index i = 0;
    for (; i + group <= width; i += group) sum += add_neurons<columns, group>(i);
    for (; i < width; ++i) sum += add_neurons<columns, 1>(i);
    value_ = 2.0 * sum;
  }

  /// Adds row k of J0 to K R, and returns its part of <J0 X, Y>.
  template <int columns>
  double add_linear(Index k) {
    const double* row = linear_rows_.col(k).data();
    const Index place = (inputs_ + k) * columns;
    alignas(64) double image[std::size_t{columns}];
    detail::multiply_group<columns, 1>(row, inputs_, trial_.data(), image);
    detail::spread_group<columns, 1>(row, inputs_, trial_.data() + place, trial_gradient_.data());
    trial_gradient_.segment(place, columns) += ConstVectorMap<double>(image, columns);
    return dot(image, trial_.data() + place, columns);
  }

  /// Adds some neurons to K R, and returns the sum of their h |w X| |b Y|.
  template <int columns, int rows>
  double add_neurons(Index first) {
    using namespace detail;
    alignas(64) double z[std::size_t{rows * columns}], g[std::size_t{rows * columns}];
    const double* w = problem_.weights(0).col(first).data();
    const double* b = bound_.outer().col(first).data();
    multiply_group<columns, rows>(w, inputs_, trial_.data(), z);
    multiply_group<columns, rows>(b, outputs_, trial_.data() + inputs_ * columns, g);
    double sum = 0.0;
    for (int r = 0; r < rows; ++r) {
      const double size = row_norm<columns>(z + r * columns);
      const double gain = row_norm<columns>(g + r * columns);
      const double h = problem_.half(0)[first + r];
      sizes_[first + r] = size;
      gains_[first + r] = gain;
      sum += h * size * gain;
      const double inner = size > 0.0 ? h * gain / size : 0.0;
      const double outer = gain > 0.0 ? h * size / gain : 0.0;
      for (int c = 0; c < columns; c += 8) {
        TileColumnMap(z + r * columns + c) *= inner;
        TileColumnMap(g + r * columns + c) *= outer;
      }
    }
    spread_group<columns, rows>(w, inputs_, z, trial_gradient_.data());
    spread_group<columns, rows>(b, outputs_, g, trial_gradient_.data() + inputs_ * columns);
    return sum;
  }

  static Vector<double> floored(const Vector<double>& numbers) {
    const double largest = numbers.maxCoeff();
    return numbers.cwiseMax(largest > 0.0 ? 1e-10 * largest : 1.0);
  }

  const CertificateProblem& problem_;
  const TwoLayerBound& bound_;
  int columns_;
  Index inputs_, outputs_;
  Matrix<double> linear_rows_;  ///< J0^T, so that its rows are contiguous
  bool improved_ = true, shorten_ = false, exhausted_ = false;
  double value_ = 0.0, residual_ = 0.0, level_ = 0.0, trial_level_ = 0.0;
  double slope_ = 0.0, fraction_ = 1.0;
  std::vector<Pair> pairs_;
  Vector<double> sizes_, gains_, point_, gradient_, trial_, trial_gradient_, way_;
};

}  // namespace lipgd
