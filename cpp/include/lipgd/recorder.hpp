#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "lipgd/jacobian.hpp"
#include "lipgd/layer_norms.hpp"

namespace lipgd {

/// What a column of a history holds.
enum class Quantity : int {
  risk,
  gradient_norm,
  rate,
  spectral_norm,
  spectral_norm_lower,
  lipschitz_upper,
  lipschitz_lower,
  validation_risk,
  parameter_norm,
  displacement,
  path_length,
};

/// One column: part is the group of parameters, the layer of a spectral norm, or -1 for the whole.
struct Column {
  Quantity quantity;
  Index part;
  double* values;
};

/// What a step knows of itself when its row is written.
template <class Scalar>
struct RowFacts {
  const Scalar* parameters;
  const Scalar* initial;
  const Scalar* gradient;  ///< of the risk over all samples, if a column asks for it
  double risk;
  double validation_risk;
  const double* rates;        ///< one per group
  const double* path_length;  ///< one per group, or null
};

/// Fills rows of a history.
template <class Scalar>
class Recorder {
 public:
  Recorder(const Architecture& net, std::vector<Column> columns, double activation_lipschitz,
           const Inputs<Scalar>& points, int workers, Arena& arena)
      : net_(&net),
        columns_(std::move(columns)),
        activation_lipschitz_(activation_lipschitz),
        points_(points),
        norms_(net) {
    if (!wants(Quantity::lipschitz_lower)) return;
    jacobians_.emplace_back(net, points.n_samples(), true, workers, arena);
    point_norms_ = arena.take<double>(points.n_samples());
  }

  bool wants(Quantity quantity) const {
    for (const Column& column : columns_)
      if (column.quantity == quantity) return true;
    return false;
  }
  bool wants_gradient() const { return wants(Quantity::risk) || wants(Quantity::gradient_norm); }
  bool empty() const { return columns_.empty(); }
  LayerNorms& norms() { return norms_; }

  void write(Team& team, Index row, const RowFacts<Scalar>& facts) {
    if (wants(Quantity::spectral_norm) || wants(Quantity::spectral_norm_lower) ||
        wants(Quantity::lipschitz_upper))
      norms_.measure(facts.parameters);
    for (const Column& column : columns_) column.values[row] = value(team, column, facts);
  }

  /// Corrects the rates of a row.
  void write_rates(Index row, const std::vector<double>& rates) {
    for (const Column& column : columns_)
      if (column.quantity == Quantity::rate)
        column.values[row] = rates[static_cast<std::size_t>(column.part)];
  }

 private:
  double value(Team& team, const Column& column, const RowFacts<Scalar>& facts) {
    switch (column.quantity) {
      case Quantity::risk:
        return facts.risk;
      case Quantity::gradient_norm:
        return norm(facts.gradient, column.part);
      case Quantity::rate:
        return facts.rates[column.part];
      case Quantity::spectral_norm:
        return norms_.bracket(column.part).upper;
      case Quantity::spectral_norm_lower:
        return norms_.bracket(column.part).lower;
      case Quantity::lipschitz_upper:
        return norms_.product(activation_lipschitz_);
      case Quantity::lipschitz_lower:
        return largest_jacobian_norm(team, facts.parameters);
      case Quantity::validation_risk:
        return facts.validation_risk;
      case Quantity::parameter_norm:
        return norm(facts.parameters, column.part);
      case Quantity::displacement:
        return distance(facts.parameters, facts.initial, column.part);
      case Quantity::path_length:
        return facts.path_length[column.part];
    }
    return std::numeric_limits<double>::quiet_NaN();
  }

  double norm(const Scalar* flat, Index part) const {
    double squares = 0.0;
    for_groups(part, [&](const Architecture::Group& group) {
      squares += sum_of_squares(flat + group.offset, group.size);
    });
    return std::sqrt(squares);
  }
  double distance(const Scalar* a, const Scalar* b, Index part) const {
    double squares = 0.0;
    for_groups(part, [&](const Architecture::Group& group) {
      squares += squared_distance(a + group.offset, b + group.offset, group.size);
    });
    return std::sqrt(squares);
  }
  template <class Use>
  void for_groups(Index part, const Use& use) const {
    for (std::size_t g = 0; g < net_->groups().size(); ++g)
      if (part < 0 || part == static_cast<Index>(g)) use(net_->groups()[g]);
  }

  /// A lower value of the Lipschitz constant: the largest spectral norm of a Jacobian.
  double largest_jacobian_norm(Team& team, const Scalar* parameters) {
    jacobians_.front().jacobian_norms(team, parameters, points_, point_norms_);
    double largest = 0.0;
    for (Index n = 0; n < points_.n_samples(); ++n)
      largest = point_norms_[n] <= largest ? largest : point_norms_[n];
    return largest;
  }

  const Architecture* net_;
  std::vector<Column> columns_;
  double activation_lipschitz_;
  Inputs<Scalar> points_;
  LayerNorms norms_;
  std::vector<InputSweep<Scalar>> jacobians_;
  double* point_norms_ = nullptr;
};

}  // namespace lipgd
