#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "lipgd/tangent.hpp"

// Margins of the logistic loss, in the log domain and in double throughout: large-stepsize.md,
// section 4.

namespace lipgd {

/// log log(1 + e^-q), also where the loss underflows (section 4.2).
inline double log_logistic(double q) {
  if (q > 20.0) {
    const double e = std::exp(-q);
    return -q - e * (0.5 - 5.0 / 24.0 * e);
  }
  if (q > 0.0) return std::log(std::log1p(std::exp(-q)));
  return std::log(-q + std::log1p(std::exp(q)));
}

/// The margin whose loss is e^-u: iota(u) = -log(exp(e^-u) - 1) (section 4.2).
inline double margin_of_loss(double u) {
  const double total = std::exp(-u);
  if (total < 1e-2) {
    const double square = total * total;
    return u - total / 2.0 - square / 24.0 + square * square / 2880.0;
  }
  if (total < 1.0) return -std::log(std::expm1(total));
  return -total - std::log1p(-std::exp(-total));
}

/// What the margins q_i = y_i f(x_i) of all samples say together.
struct MarginFacts {
  double smallest = 0.0;  ///< q_min
  double log_risk = 0.0;  ///< log L
  double smoothed = 0.0;  ///< iota(-log(n L)), not above q_min
};

inline MarginFacts margin_facts(const double* q, Index n) {
  MarginFacts facts;
  facts.smallest = std::numeric_limits<double>::infinity();
  // A NaN must become the smallest, so that it is seen.
  for (Index i = 0; i < n; ++i) facts.smallest = q[i] >= facts.smallest ? facts.smallest : q[i];
  const double largest = log_logistic(facts.smallest);
  const double sum = detail::reduce<double>(
      n, [q, largest](Index i) { return std::exp(log_logistic(q[i]) - largest); });
  facts.log_risk = largest + std::log(sum / static_cast<double>(n));
  facts.smoothed = margin_of_loss(-(largest + std::log(sum)));
  return facts;
}

/// What the records of margins need to know of a run.
struct MarginRule {
  std::vector<bool> trained;     ///< one flag per group: norms count these
  double degree = 1.0;           ///< of homogeneity in the trained parameters
  double homogeneity_gap = 0.0;  ///< kappa of the modified margin
};

/// How a step changed log(smoothed margin / norm^degree): by its direction and along the ray.
struct StepParts {
  double direction;
  double scaling;
};

/// Margins of a network with one output on labels -1 and +1.
template <class Scalar>
class MarginSweep {
 public:
  MarginSweep(const Architecture& net, const MarginRule& rule, const Inputs<Scalar>& inputs,
              const Scalar* labels, int workers, Arena& arena)
      : net_(&net),
        rule_(rule),
        inputs_(in_double(inputs)),
        labels_(labels),
        sweep_(net, inputs.n_samples(), workers, arena) {
    const Index size = net.n_parameters(), n = inputs.n_samples();
    parameters_ = arena.take<double>(size);
    direction_ = arena.take<double>(size);
    margins_ = arena.take<double>(n);
    slopes_ = arena.take<double>(n);
  }

  /// Computes the margins, and on demand their derivatives along the trained parameters.
  void measure(Team& team, const Scalar* parameters, bool with_slopes) {
    std::copy_n(parameters, net_->n_parameters(), parameters_);
    if (with_slopes) {
      std::fill_n(direction_, net_->n_parameters(), 0.0);
      for_trained([&](Index offset, Index size) {
        std::copy_n(parameters_ + offset, size, direction_ + offset);
      });
    }
    norm_ = norm(parameters_);
    facts_ = evaluate(team, with_slopes);
  }

  const MarginFacts& facts() const { return facts_; }
  const double* margins() const { return margins_; }
  /// y_i <grad f(x_i), w>, of the last network measured with them.
  const double* slopes() const { return slopes_; }
  /// The norm of the trained parameters.
  double norm() const { return norm_; }
  /// value / norm^degree; the margin of no network at all counts as zero.
  double normalized(double value) const {
    return value == 0.0 ? 0.0 : value / std::pow(norm_, rule_.degree);
  }
  double modified() const { return normalized(facts_.smoothed - rule_.homogeneity_gap); }

  /// max_i (degree q_i - y_i <grad f(x_i), w>)_+ / degree (section 4.1).
  double homogeneity_error() const {
    double largest = 0.0;
    for (Index i = 0; i < inputs_.n_samples(); ++i) {
      const double error = rule_.degree * margins_[i] - slopes_[i];
      largest = error <= largest ? largest : error;
    }
    return largest / rule_.degree;
  }

  /// The parts of the step from before to after (section 4.1); NaN where a smoothed margin is not
  /// positive.
  StepParts parts(Team& team, const Scalar* before, const Scalar* after) {
    measure(team, before, false);
    const double old_margin = facts_.smoothed, old_norm = norm_;
    measure(team, after, false);
    const double new_margin = facts_.smoothed, growth = log_growth(before, after, old_norm);
    for_trained([&](Index offset, Index size) {
      const double factor = std::exp(-growth);
      for (Index i = offset; i < offset + size; ++i) parameters_[i] *= factor;
    });
    const double on_sphere = evaluate(team, false).smoothed;
    if (!(old_margin > 0.0 && on_sphere > 0.0 && new_margin > 0.0))
      return {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::quiet_NaN()};
    return {log_ratio(on_sphere, old_margin),
            log_ratio(new_margin, on_sphere) - rule_.degree * growth};
  }

 private:
  static Inputs<double> in_double(const Inputs<Scalar>& inputs) {
    return {inputs.data,       inputs.is_float,      inputs.n_rows,    inputs.n_columns,
            inputs.row_stride, inputs.column_stride, inputs.selection, inputs.n_selected};
  }

  MarginFacts evaluate(Team& team, bool with_slopes) {
    sweep_(team, parameters_, with_slopes ? direction_ : nullptr, inputs_, margins_, slopes_);
    const Index n = inputs_.n_samples();
    for (Index i = 0; i < n; ++i) margins_[i] *= static_cast<double>(labels_[i]);
    if (with_slopes)
      for (Index i = 0; i < n; ++i) slopes_[i] *= static_cast<double>(labels_[i]);
    return margin_facts(margins_, n);
  }

  /// log(N_+ / N), without the cancellation where the step is small.
  double log_growth(const Scalar* before, const Scalar* after, double old_norm) const {
    double change = 0.0;
    for_trained([&](Index offset, Index size) {
      change += detail::reduce<double>(size, [&](Index i) {
        const auto a = static_cast<double>(before[offset + i]);
        const auto b = static_cast<double>(after[offset + i]);
        return (b - a) / old_norm * ((b + a) / old_norm);
      });
    });
    return 0.5 * std::log1p(change);
  }

  static double log_ratio(double a, double b) { return std::log1p((a - b) / b); }

  double norm(const double* parameters) const {
    return norm_of_pieces<double>([&](const auto& use) {
      for_trained([&](Index offset, Index size) { use(parameters + offset, size); });
    });
  }

  template <class Use>
  void for_trained(const Use& use) const {
    for (std::size_t g = 0; g < rule_.trained.size(); ++g)
      if (rule_.trained[g]) use(net_->groups()[g].offset, net_->groups()[g].size);
  }

  const Architecture* net_;
  MarginRule rule_;
  Inputs<double> inputs_;
  const Scalar* labels_;
  TangentSweep<double> sweep_;
  MarginFacts facts_;
  double norm_ = 0.0;
  double *parameters_, *direction_, *margins_, *slopes_;
};

}  // namespace lipgd
