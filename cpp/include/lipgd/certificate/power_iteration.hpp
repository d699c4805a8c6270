#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "lipgd/certificate/problem.hpp"
#include "lipgd/certificate/row_products.hpp"
#include "lipgd/reduce.hpp"
#include "lipgd/tiles.hpp"
#include "lipgd/types.hpp"

// Dilated power iteration (certificates.md, section 5): ascent on the primal form of LipSDP-Neuron,
// in which every scalar slope is replaced by a contraction of `columns` dimensions. Each neuron
// owns a row of so many contiguous doubles.

namespace lipgd {

/// The point of a dilated power iteration: inputs X0 and one unit row per neuron. For one hidden
/// layer the outputs Y are kept in place of the units, which have the directions of b_i Y.
struct IterationState {
  int columns = 0;
  Vector<double> inputs;
  std::vector<Vector<double>> units;
  Vector<double> outputs = {};
};

/// What the last sweep says of the neurons of a hidden layer.
struct NeuronGuess {
  Vector<double> loss;  ///< what the value loses if this neuron's contraction becomes a slope
  /// A column for each of some random projections: the end, -1 or 1, of the interval of slopes.
  Matrix<double> ends;
};

/// What an iteration does, whatever its number of columns.
class PowerIteration {
 public:
  virtual ~PowerIteration() = default;

  /// One sweep; the value before it, which is a lower bound of LipSDP-Neuron.
  virtual double sweep() = 0;
  virtual IterationState state() const = 0;
  /// Row i of column l: |g| and |z| of every neuron after the last sweep; tau = value g / (2 h z).
  virtual const Vector<double>& gains(std::size_t layer) const = 0;
  virtual const Vector<double>& sizes(std::size_t layer) const = 0;
  /// The outputs of the last sweep: a row of columns for each, of the length value.
  virtual const Vector<double>& outputs() const = 0;
  virtual NeuronGuess guess(std::size_t layer, Index projections) const = 0;
  /// The first columns of inputs and outputs after the last sweep: a guess of a top eigenvector.
  virtual void direction(double* inputs, double* outputs) const = 0;
};

namespace detail {

/// Copies rows of some columns to rows of more, filled up with small random numbers; all are random
/// if there are none that fit.
inline void fill_columns(int given, const Vector<double>& from, int columns, Vector<double>& to,
                         Randoms& random) {
  const Index rows = to.size() / columns;
  const bool usable = given > 0 && given <= columns && from.size() == rows * given;
  const double noise = usable ? 1e-3 : 1.0;
  for (Index i = 0; i < rows; ++i)
    for (int c = 0; c < columns; ++c) {
      const bool known = usable && c < given;
      to[i * columns + c] = known ? from[i * given + c] : noise * random.next();
      if (known && given == columns) continue;
      if (to[i * columns + c] == 0.0) to[i * columns + c] = 1e-12;
    }
}

}  // namespace detail

template <int columns>
class DilatedIteration final : public PowerIteration {
 public:
  DilatedIteration(const CertificateProblem& problem, const IterationState& start)
      : problem_(problem), layers_(problem.hidden_layers()) {
    for (std::size_t l = 0; l < layers_; ++l) {
      const Index n = problem.width(l);
      transposed_.push_back(problem.weights(l).transpose());
      z_.emplace_back(n * columns);
      unit_.emplace_back(n * columns);
      sizes_.emplace_back(n);
      gains_.emplace_back(n);
      widest_ = std::max({widest_, n, problem.weights(l).rows()});
    }
    transposed_.push_back(problem.weights(layers_).transpose());
    widest_ = std::max(widest_, problem.weights(layers_).cols());
    input_.resize(problem.weights(0).rows() * columns);
    output_.resize(problem.weights(layers_).cols() * columns);
    front_.resize(widest_ * columns);
    back_.resize(widest_ * columns);
    begin(start);
  }

  double sweep() override {
    double value = forward();
    if (value < value_ * (1.0 - 1e-14) && momentum_ > 0.0) {
      input_ = plain_input_;
      unit_ = plain_unit_;
      momentum_ = 0.0;
      value = forward();
    }
    value_ = value;
    if (value > 0.0 && std::isfinite(value)) {
      backward();
      momentum_ = std::min(0.95, momentum_ + 0.1);
    }
    return value;
  }

  IterationState state() const override { return {columns, plain_input_, plain_unit_, {}}; }
  const Vector<double>& gains(std::size_t layer) const override { return gains_[layer]; }
  const Vector<double>& sizes(std::size_t layer) const override { return sizes_[layer]; }

  const Vector<double>& outputs() const override { return output_; }

  void direction(double* inputs, double* outputs) const override {
    for (Index i = 0; i * columns < input_.size(); ++i) inputs[i] = combine(input_, i);
    for (Index i = 0; i * columns < output_.size(); ++i) outputs[i] = combine(output_, i) / value_;
  }

  NeuronGuess guess(std::size_t layer, Index projections) const override {
    const Index n = problem_.width(layer);
    NeuronGuess result{Vector<double>(n), Matrix<double>(n, projections)};
    for (Index i = 0; i < n; ++i) {
      const double* u = unit_[layer].data() + i * columns;
      const double* z = z_[layer].data() + i * columns;
      const double size = sizes_[layer][i];
      const double inner = size > 0.0 ? dot(u, z, columns) / size : 1.0;
      result.loss[i] = problem_.half(layer)[i] * size * gains_[layer][i] * (1.0 - std::abs(inner));
    }
    detail::Randoms random(23);
    Vector<double> along(columns);
    for (Index r = 0; r < projections; ++r) {
      for (double& x : along) x = random.next() + random.next() + random.next();
      for (Index i = 0; i < n; ++i)
        result.ends(i, r) =
            (dot(unit_[layer].data() + i * columns, along.data(), columns) < 0.0) ==
                    (dot(z_[layer].data() + i * columns, along.data(), columns) < 0.0)
                ? 1.0
                : -1.0;
    }
    return result;
  }

 private:
  /// Fixed weights, so that no column is left out.
  static double combine(const Vector<double>& rows, Index i) {
    double sum = 0.0;
    for (int c = 0; c < columns; ++c) sum += rows[i * columns + c] / (1.0 + 0.3 * c);
    return sum;
  }

  void begin(const IterationState& start) {
    detail::Randoms random(7);
    detail::fill_columns(start.columns, start.inputs, columns, input_, random);
    input_ /= std::sqrt(sum_of_squares(input_.data(), input_.size()));
    for (std::size_t l = 0; l < layers_; ++l) {
      const Vector<double> none;
      detail::fill_columns(start.columns, start.units.size() == layers_ ? start.units[l] : none,
                           columns, unit_[l], random);
      for (Index i = 0; i < problem_.width(l); ++i) {
        double* row = unit_[l].data() + i * columns;
        const double norm = detail::row_norm<columns>(row);
        for (int c = 0; c < columns; ++c) row[c] /= norm;
      }
    }
    plain_input_ = input_;
    plain_unit_ = unit_;
  }

  double forward() {
    const double* x = input_.data();
    for (std::size_t l = 0; l < layers_; ++l) {
      const Matrix<double>& w = problem_.weights(l);
      detail::multiply_rows<columns>(w.data(), w.cols(), w.rows(), x, z_[l].data());
      const double* m = problem_.middle(l).data();
      const double* h = problem_.half(l).data();
      for (Index i = 0; i < w.cols(); ++i) {
        const double* z = z_[l].data() + i * columns;
        const double* u = unit_[l].data() + i * columns;
        const double size = detail::row_norm<columns>(z);
        sizes_[l][i] = size;
        const double reach = h[i] * size;
        for (int c = 0; c < columns; c += 8)
          detail::TileColumnMap(front_.data() + i * columns + c) =
              detail::ConstTileColumnMap(z + c) * m[i] + detail::ConstTileColumnMap(u + c) * reach;
      }
      x = front_.data();
    }
    const Matrix<double>& w = problem_.weights(layers_);
    detail::multiply_rows<columns>(w.data(), w.cols(), w.rows(), x, output_.data());
    return std::sqrt(sum_of_squares(output_.data(), output_.size()));
  }

  void backward() {
    const double factor = 1.0 / value_;
    for (Index i = 0; i < output_.size(); ++i) back_[i] = output_[i] * factor;
    for (std::size_t l = layers_; l > 0; --l) {
      pull_back(l);
      turn(l - 1);
    }
    pull_back(0);
    step_inputs();
  }

  /// front = W^T back for the layer that takes the outputs of hidden layer l - 1.
  void pull_back(std::size_t layer) {
    const Matrix<double>& t = transposed_[layer];
    detail::multiply_rows<columns>(t.data(), t.cols(), t.rows(), back_.data(), front_.data());
  }

  /// Turns the units of a hidden layer to the gradient in front_, and carries that to back_.
  void turn(std::size_t l) {
    const double* m = problem_.middle(l).data();
    const double* h = problem_.half(l).data();
    for (Index i = 0; i < problem_.width(l); ++i) {
      const double* g = front_.data() + i * columns;
      const double* z = z_[l].data() + i * columns;
      const double gain = detail::row_norm<columns>(g);
      gains_[l][i] = gain;
      const double ratio = sizes_[l][i] > 0.0 ? h[i] * gain / sizes_[l][i] : 0.0;
      for (int c = 0; c < columns; c += 8)
        detail::TileColumnMap(back_.data() + i * columns + c) =
            detail::ConstTileColumnMap(g + c) * m[i] + detail::ConstTileColumnMap(z + c) * ratio;
      if (gain > 0.0)
        step(g, 1.0 / gain, unit_[l].data() + i * columns, plain_unit_[l].data() + i * columns);
    }
  }

  /// next = new + momentum (new - last), of length one, and last = new, for new = factor * from.
  void step(const double* from, double factor, double* next, double* last) const {
    constexpr int pieces = columns / 8;
    detail::TileColumn moved[std::size_t{pieces}];
    detail::TileColumn squares = detail::TileColumn::Zero();
    for (int c = 0; c < pieces; ++c) {
      const detail::TileColumn now = detail::ConstTileColumnMap(from + c * 8) * factor;
      moved[c] = now + (now - detail::ConstTileColumnMap(last + c * 8)) * momentum_;
      squares += moved[c].square();
      detail::TileColumnMap(last + c * 8) = now;
    }
    const double square = detail::add_lanes<8>(squares.data());
    const double inverse = square > 0.0 ? 1.0 / std::sqrt(square) : 0.0;
    for (int c = 0; c < pieces; ++c) detail::TileColumnMap(next + c * 8) = moved[c] * inverse;
  }

  void step_inputs() {
    const Index size = input_.size();
    const double factor = 1.0 / std::sqrt(sum_of_squares(front_.data(), size));
    for (Index c = 0; c < size; ++c) {
      const double now = front_[c] * factor;
      input_[c] = now + momentum_ * (now - plain_input_[c]);
      plain_input_[c] = now;
    }
    input_ /= std::sqrt(sum_of_squares(input_.data(), size));
  }

  const CertificateProblem& problem_;
  std::size_t layers_;
  Index widest_ = 0;
  double value_ = 0.0;
  double momentum_ = 0.0;
  std::vector<Matrix<double>> transposed_;
  std::vector<Vector<double>> z_, unit_, plain_unit_, sizes_, gains_;
  Vector<double> input_, plain_input_, output_, front_, back_;
};

}  // namespace lipgd
