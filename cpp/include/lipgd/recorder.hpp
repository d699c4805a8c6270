#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "lipgd/constraint.hpp"
#include "lipgd/jacobian.hpp"
#include "lipgd/layer_norms.hpp"
#include "lipgd/leading_pair.hpp"
#include "lipgd/margins.hpp"
#include "lipgd/sharpness.hpp"

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
  log_risk,
  margin,
  normalized_margin,
  smoothed_margin,
  modified_margin,
  homogeneity_error,
  margin_direction,
  margin_scaling,
  sharpness,
  sharpness_residual,
  lipschitz_upper_sdp,
  first_order,
  elsewhere,  ///< filled in by the caller
};

/// One column: part is the group of parameters, the layer of a spectral norm, or -1 for the whole.
struct Column {
  Quantity quantity;
  Index part;
  double* values;
};

/// What stays the same over all rows.
template <class Scalar>
struct RecordRule {
  std::vector<Column> columns;
  SlopeConstants slopes;
  bool limits_product;    ///< whether the steps keep the product of norms below a limit
  Inputs<Scalar> points;  ///< of the Jacobians
  Loss loss;
  Inputs<Scalar> inputs;
  Targets<Scalar> targets;
  MarginRule margins;
};

/// What a step knows of itself when its row is written.
template <class Scalar>
struct RowFacts {
  const Scalar* parameters;
  const Scalar* initial;
  const Scalar* gradient;  ///< of the risk over all samples, if a column asks for it
  double log_scale;        ///< e^log_scale is its factor
  double risk;
  double validation_risk;
  const double* rates;        ///< one per group
  const double* path_length;  ///< one per group, or null
  double proved;              ///< a bound of the Lipschitz constant from the steps, or infinity
};

/// Fills rows of a history.
template <class Scalar>
class Recorder {
 public:
  Recorder(const Architecture& net, RecordRule<Scalar> rule, int workers, Arena& arena)
      : net_(&net),
        rule_(std::move(rule)),
        norms_(net),
        sdp_(net, rule_.slopes.lower, rule_.slopes.upper) {
    if (wants(Quantity::lipschitz_lower)) {
      jacobians_.emplace_back(net, rule_.points.n_samples(), true, workers, arena);
      point_norms_ = arena.take<double>(rule_.points.n_samples());
    }
    if (wants_margins() || wants_step())
      margins_.emplace_back(net, rule_.margins, rule_.inputs, rule_.targets.values, workers, arena);
    if (wants(Quantity::first_order)) pairs_.resize(static_cast<std::size_t>(net.depth()));
    if (wants(Quantity::sharpness) || wants(Quantity::sharpness_residual))
      sharpness_.emplace_back(net, rule_.loss, rule_.margins.trained, rule_.inputs, rule_.targets,
                              workers, arena);
  }

  bool wants(Quantity quantity) const {
    for (const Column& column : rule_.columns)
      if (column.quantity == quantity) return true;
    return false;
  }
  bool wants_gradient() const { return wants(Quantity::risk) || wants(Quantity::gradient_norm); }
  bool empty() const { return rule_.columns.empty(); }
  /// Whether a column says how a step changed the margin.
  bool wants_step() const {
    return wants(Quantity::margin_direction) || wants(Quantity::margin_scaling);
  }
  LayerNorms& norms() { return norms_; }
  SdpBound& sdp() { return sdp_; }
  /// The leading pairs of the layers, none if they are not recorded.
  std::vector<LeadingPair>& pairs() { return pairs_; }
  /// The warm start of the sharpness, null if that is not recorded.
  Sharpness<Scalar>* sharpness() { return sharpness_.empty() ? nullptr : &sharpness_.front(); }

  /// What must see the state of every step.
  void follow(const Scalar* parameters, Index step) {
    for (std::size_t l = 0; l < pairs_.size(); ++l)
      pairs_[l].follow(net_->weights(parameters, static_cast<Index>(l)), step);
  }

  void write(Team& team, Index row, const RowFacts<Scalar>& facts) {
    if (wants(Quantity::spectral_norm) || wants(Quantity::spectral_norm_lower) ||
        wants(Quantity::lipschitz_upper) || needs_product())
      norms_.measure(facts.parameters);
    if (wants_margins())
      margins_.front().measure(team, facts.parameters, wants(Quantity::homogeneity_error));
    if (!sharpness_.empty())
      top_ = sharpness_.front()(team, facts.parameters, sharpness_tolerance, sharpness_products);
    for (const Column& column : rule_.columns)
      if (column.quantity != Quantity::elsewhere) column.values[row] = value(team, column, facts);
    // A row that was cancelled is measured again, from the same start.
    if (!sharpness_.empty() && !team.cancelled()) sharpness_.front().commit();
  }

  /// Fills in what the step after a row did to the margin, if the state before is known.
  void write_step(Team& team, Index row, const Scalar* before, const Scalar* after) {
    if (!all_finite(before, net_->n_parameters())) return;
    const StepParts parts = margins_.front().parts(team, before, after);
    for (const Column& column : rule_.columns) {
      if (column.quantity == Quantity::margin_direction) column.values[row] = parts.direction;
      if (column.quantity == Quantity::margin_scaling) column.values[row] = parts.scaling;
    }
  }

  /// Corrects the rates of a row.
  void write_rates(Index row, const std::vector<double>& rates) {
    for (const Column& column : rule_.columns)
      if (column.quantity == Quantity::rate)
        column.values[row] = rates[static_cast<std::size_t>(column.part)];
  }

 private:
  double value(Team& team, const Column& column, const RowFacts<Scalar>& facts) {
    switch (column.quantity) {
      case Quantity::risk:
        return facts.risk;
      case Quantity::gradient_norm:
        return norm(facts.gradient, column.part, false) * std::exp(facts.log_scale);
      case Quantity::rate:
        return facts.rates[column.part];
      case Quantity::spectral_norm:
        return norms_.bracket(column.part).upper;
      case Quantity::spectral_norm_lower:
        return norms_.bracket(column.part).lower;
      case Quantity::lipschitz_upper:
        return norms_.product(rule_.slopes.lipschitz);
      case Quantity::lipschitz_lower:
        return largest_jacobian_norm(team, facts.parameters);
      case Quantity::validation_risk:
        return facts.validation_risk;
      case Quantity::parameter_norm:
        return norm(facts.parameters, column.part, true);
      case Quantity::displacement:
        return distance(facts.parameters, facts.initial, column.part);
      case Quantity::path_length:
        return facts.path_length[column.part];
      case Quantity::lipschitz_upper_sdp:
        return tight_bound(facts);
      case Quantity::log_risk:
        return margins_.front().facts().log_risk;
      case Quantity::margin:
        return margins_.front().facts().smallest;
      case Quantity::normalized_margin:
        return margins_.front().normalized(margins_.front().facts().smallest);
      case Quantity::smoothed_margin:
        return margins_.front().normalized(margins_.front().facts().smoothed);
      case Quantity::modified_margin:
        return margins_.front().modified();
      case Quantity::homogeneity_error:
        return margins_.front().homogeneity_error();
      case Quantity::sharpness:
        return top_.value;
      case Quantity::sharpness_residual:
        return top_.residual;
      case Quantity::first_order:
        return first_order(column.part);
      case Quantity::margin_direction:
      case Quantity::margin_scaling:
      case Quantity::elsewhere:
        break;  // known after the step, or to the caller
    }
    return std::numeric_limits<double>::quiet_NaN();
  }

  bool wants_margins() const {
    for (const Quantity quantity :
         {Quantity::log_risk, Quantity::margin, Quantity::normalized_margin,
          Quantity::smoothed_margin, Quantity::modified_margin, Quantity::homogeneity_error})
      if (wants(quantity)) return true;
    return false;
  }

  bool needs_product() const {
    return rule_.limits_product && wants(Quantity::lipschitz_upper_sdp);
  }
  /// The own bound is at most its tolerance above the optimum, which a limit may equal: what a
  /// target has proved of the same weights is a bound too.
  double tight_bound(const RowFacts<Scalar>& facts) {
    double bound = std::min(sdp_(facts.parameters), facts.proved);
    if (needs_product()) bound = std::min(bound, norms_.product(rule_.slopes.lipschitz));
    return bound;
  }

  /// The norm of a part, or of the whole: then perhaps of the trained parameters alone.
  double norm(const Scalar* flat, Index part, bool only_trained) const {
    return norm_of_pieces<Scalar>([&](const auto& use) {
      for (std::size_t g = 0; g < net_->groups().size(); ++g) {
        const Architecture::Group& group = net_->groups()[g];
        const bool counts =
            part < 0 ? !only_trained || rule_.margins.trained[g] : part == static_cast<Index>(g);
        if (counts) use(flat + group.offset, group.size);
      }
    });
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

  /// Of a layer, or of all.
  double first_order(Index layer) const {
    if (layer >= 0) return pairs_[static_cast<std::size_t>(layer)].total();
    double total = 0.0;
    for (const LeadingPair& pair : pairs_) total += pair.total();
    return total;
  }

  /// A lower value of the Lipschitz constant: the largest spectral norm of a Jacobian.
  double largest_jacobian_norm(Team& team, const Scalar* parameters) {
    jacobians_.front().jacobian_norms(team, parameters, rule_.points, point_norms_);
    double largest = 0.0;
    for (Index n = 0; n < rule_.points.n_samples(); ++n)
      largest = point_norms_[n] <= largest ? largest : point_norms_[n];
    return largest;
  }

  // A relative residual that is far below what a figure shows, and products that suffice for it.
  static constexpr double sharpness_tolerance = 1e-3;
  static constexpr Index sharpness_products = 200;

  const Architecture* net_;
  RecordRule<Scalar> rule_;
  LayerNorms norms_;
  SdpBound sdp_;
  std::vector<LeadingPair> pairs_;
  std::vector<InputSweep<Scalar>> jacobians_;
  std::vector<MarginSweep<Scalar>> margins_;
  std::vector<Sharpness<Scalar>> sharpness_;
  TopEigenvalue top_;
  double* point_norms_ = nullptr;
};

}  // namespace lipgd
