#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "lipgd/constraint.hpp"
#include "lipgd/proximal.hpp"
#include "lipgd/retraction.hpp"
#include "lipgd/update.hpp"

namespace lipgd {

/// Everything about a step but the gradient: one entry per group of parameters.
struct StepRule {
  std::vector<bool> trained;
  std::vector<double> weight_decay;
  std::vector<double> clip;  ///< largest norm of a group's gradient, or infinity
  double clip_all = std::numeric_limits<double>::infinity();  ///< of the whole gradient
  std::vector<Proximal> proximal;
  UpdateRule update;
  CapRule caps;
  TargetRule target;
  SlopeConstants slopes;
};

/// The arrays that change from step to step; their owner keeps them, and they are the checkpoint.
template <class Scalar>
struct DescentState {
  Scalar* parameters = nullptr;  ///< theta_s
  Scalar* previous = nullptr;    ///< theta_(s-1), kept for the case that theta_s diverges
  const Scalar* initial = nullptr;
  UpdateMemory<Scalar> memory;
  double* path_length = nullptr;    ///< per group at step s, then those at step s - 1; or null
  double* spent = nullptr;          ///< of the caps' budgets, one per group, or null
  std::int64_t* stalled = nullptr;  ///< how many steps the weights have stood still at the limit
  std::int64_t* carried = nullptr;  ///< 0 off the limit, else 1 + steps since a movement began
};

/// Takes steps: gradient to direction, direction to rates, and what must hold afterwards.
template <class Scalar>
class Stepper {
 public:
  Stepper(const Architecture& net, const StepRule& rule)
      : net_(&net),
        rule_(rule),
        lengths_(net.groups().size(), 0.0),
        norms_(net.groups().size()),
        layers_(net),
        certificate_(net, rule.target.certificate, rule.slopes),
        retraction_(net, {}),
        limit_(rule.target.limit *
               (1.0 - 2.0 * default_spectral_tolerance * static_cast<double>(net.depth()))) {
    for (std::size_t g = 0; g < net.groups().size(); ++g)
      if (!group(g).is_bias && rule.trained[g]) matrices_.push_back(g);
    std::vector<Index> layers;
    for (const std::size_t g : matrices_) layers.push_back(group(g).layer);
    retraction_ = Retraction(net, layers);
  }

  /// Writes theta_(s+1) to state.previous and swaps; rates become those that were applied. The
  /// gradient is e^log_scale times what is given. budgets: one per group, for the caps; last_rates:
  /// those of the step before, where it is accelerated. False if a new parameter is not finite:
  /// nothing is swapped then.
  bool step(Team& team, DescentState<Scalar>& state, Scalar* gradient, double log_scale, Index step,
            const std::vector<double>& budgets, const std::vector<double>& last_rates,
            std::vector<double>& rates) {
    log_scale_ = rescale(gradient, log_scale);
    form_directions(team, state, gradient, step);
    if (rule_.caps.mode != CapMode::none) cap(state, gradient, budgets, rates);
    const double carried = accelerates() ? carry(state, gradient) : 0.0;
    if (!apply(team, state, gradient, rates)) return false;
    if (carried > 0.0 && !add_movement(state, carried, last_rates, rates)) return false;
    if (rule_.target.method == TargetMethod::rates && !control(team, state, gradient, rates))
      return false;
    apply_penalties(state, rates);
    if (rule_.target.method == TargetMethod::retract && !retract(state)) return false;
    account(state, rates);
    std::swap(state.parameters, state.previous);
    return true;
  }

  /// What the method "retract" proves of the state after so many steps: every step ends at or below
  /// the limit. Infinite for the other methods.
  double proved_bound(const Scalar* parameters, Index steps) const {
    if (rule_.target.method != TargetMethod::retract)
      return std::numeric_limits<double>::infinity();
    if (steps > 0 && !matrices_.empty()) return limit_;
    return Certificate(*net_, rule_.target.certificate, rule_.slopes)(parameters);
  }

  bool has_caps() const { return rule_.caps.mode != CapMode::none; }
  bool accelerates() const { return rule_.target.accelerate; }
  Certificate& certificate() { return certificate_; }
  std::vector<SpectralNorm>& direction_states() { return norms_; }
  std::vector<SpectralNorm>& layer_states() { return layers_.states(); }

 private:
  const Architecture::Group& group(std::size_t g) const { return net_->groups()[g]; }

  /// Puts the factor e^log_scale into the gradient, unless the rule can do with the direction
  /// alone: what it returns is the logarithm of a factor that is still to come.
  double rescale(Scalar* gradient, double log_scale) const {
    if (log_scale == 0.0) return 0.0;
    const bool plain = rule_.update.momentum == 0.0 && !has_caps() &&
                       rule_.target.method == TargetMethod::none &&
                       std::all_of(rule_.weight_decay.begin(), rule_.weight_decay.end(),
                                   [](double decay) { return decay == 0.0; });
    if (plain && rule_.update.kind == UpdateKind::sign) return 0.0;
    const auto no_limit = [](double limit) { return !std::isfinite(limit); };
    if (plain && rule_.update.kind == UpdateKind::gradient && no_limit(rule_.clip_all) &&
        std::all_of(rule_.clip.begin(), rule_.clip.end(), no_limit))
      return log_scale;
    const auto factor = static_cast<Scalar>(std::exp(log_scale));
    const Index size = net_->n_parameters();
    LIPGD_ELEMENTWISE_LOOP
    for (Index i = 0; i < size; ++i) gradient[i] *= factor;
    return 0.0;
  }

  void form_directions(Team& team, const DescentState<Scalar>& state, Scalar* gradient,
                       Index step) const {
    clip(gradient);
    for_trained([&](std::size_t g) {
      add_decay(team, rule_.weight_decay[g], group(g).size, state.parameters + group(g).offset,
                gradient + group(g).offset);
    });
    Scalar factor(0);
    if (rule_.update.kind == UpdateKind::conjugate_gradient)
      factor = conjugate_factor(net_->n_parameters(), gradient, state.memory.gradient);
    for_trained([&](std::size_t g) {
      form_direction(team, rule_.update, step, factor, group(g).size, gradient + group(g).offset,
                     state.memory.from(group(g).offset));
    });
  }

  void clip(Scalar* gradient) const {
    const auto scale_down = [](Scalar* values, Index size, double limit) {
      if (!std::isfinite(limit)) return;
      const double norm = std::sqrt(sum_of_squares(values, size));
      if (norm <= limit) return;
      const auto factor = static_cast<Scalar>(limit / norm);
      for (Index i = 0; i < size; ++i) values[i] *= factor;
    };
    for_trained([&](std::size_t g) {
      scale_down(gradient + group(g).offset, group(g).size, rule_.clip[g]);
    });
    scale_down(gradient, net_->n_parameters(), rule_.clip_all);
  }

  /// rate * (|direction| + surcharge) <= what is left of the budget.
  void cap(const DescentState<Scalar>& state, const Scalar* direction,
           const std::vector<double>& budgets, std::vector<double>& rates) {
    for_trained([&](std::size_t g) {
      if (budgets[g] == std::numeric_limits<double>::infinity()) return;
      const Index offset = group(g).offset;
      lengths_[g] = length(g, direction + offset) + rule_.caps.surcharge[g];
      double left = budgets[g];
      if (rule_.caps.mode == CapMode::carry_over) left -= state.spent[g];
      if (rule_.caps.mode == CapMode::displacement)
        left -= displacement(g, state.parameters + offset, state.initial + offset);
      // Negated, so that what is not a number caps too.
      if (lengths_[g] > 0.0 && !(rates[g] * lengths_[g] <= left))
        rates[g] = std::max(0.0, left) / lengths_[g];
    });
  }

  /// The norm of a group in which the budgets count.
  double length(std::size_t g, const Scalar* values) {
    if (rule_.caps.spectral && !group(g).is_bias)
      return norms_[g](values, net_->inputs(group(g).layer), net_->outputs(group(g).layer)).upper;
    return std::sqrt(sum_of_squares(values, group(g).size));
  }
  double displacement(std::size_t g, const Scalar* now, const Scalar* initial) {
    if (!rule_.caps.spectral || group(g).is_bias)
      return std::sqrt(squared_distance(now, initial, group(g).size));
    difference_.resize(static_cast<std::size_t>(group(g).size));
    for (std::size_t i = 0; i < difference_.size(); ++i) difference_[i] = now[i] - initial[i];
    return length(g, difference_.data());
  }

  bool apply(Team& team, const DescentState<Scalar>& state, const Scalar* direction,
             const std::vector<double>& rates) const {
    bool finite = true;
    for (std::size_t g = 0; g < rates.size(); ++g) {
      const Index offset = group(g).offset, size = group(g).size;
      if (rule_.trained[g])
        finite &= apply_direction(team, scaled(rates[g]), size, state.parameters + offset,
                                  direction + offset, state.previous + offset);
      else
        std::copy_n(state.parameters + offset, size, state.previous + offset);
    }
    return finite;
  }

  /// rate e^log_scale, also where one factor alone would overflow or underflow.
  double scaled(double rate) const {
    return log_scale_ == 0.0 || rate == 0.0 ? rate : std::exp(std::log(rate) + log_scale_);
  }

  void apply_penalties(DescentState<Scalar>& state, const std::vector<double>& rates) const {
    for_trained([&](std::size_t g) {
      const Index outputs = net_->outputs(group(g).layer);
      proximal_step(rule_.proximal[g], rates[g], group(g).size / outputs, outputs,
                    state.previous + group(g).offset);
    });
  }

  /// Shortens the step of the weight matrices, from state.parameters to state.previous, so that the
  /// product of all norms stays below the limit; biases take the whole step.
  bool control(Team& team, DescentState<Scalar>& state, const Scalar* direction,
               std::vector<double>& rates) {
    const std::vector<double> wanted = rates;
    const double limit = product_limit();
    std::vector<double> begin = layer_norms(state.parameters), lengths(begin.size(), 0.0);
    const std::vector<double> end = layer_norms(state.previous);
    for (const std::size_t g : matrices_)
      lengths[static_cast<std::size_t>(group(g).layer)] =
          wanted[g] * std::sqrt(sum_of_squares(direction + group(g).offset, group(g).size));
    double reached = 0.0;
    const bool again = rule_.target.controller == Controller::monotone_chord;
    for (int chord = 0; chord < most_chords; ++chord) {
      const double piece = rule_.target.controller == Controller::conservative
                               ? detail::conservative_step(begin, lengths, limit)
                               : detail::chord_step(begin, end, limit);
      reached = piece == 1.0 ? 1.0 : reached + piece * (1.0 - reached);
      if (!again || reached == 1.0 || piece < least_piece) break;
      if (!apply_scaled(team, state, direction, wanted, reached, rates)) return false;
      begin = layer_norms(state.previous);
    }
    return verify_scaled(team, state, direction, wanted, reached, rates);
  }

  /// Rounding of the new weights may exceed the limit by a little: then the step is a little
  /// shorter, and at last none.
  bool verify_scaled(Team& team, DescentState<Scalar>& state, const Scalar* direction,
                     const std::vector<double>& wanted, double reached,
                     std::vector<double>& rates) {
    for (double backing_off = 1e-7;; backing_off *= 8.0) {
      if (!apply_scaled(team, state, direction, wanted, reached, rates)) return false;
      if (reached == 0.0 || certificate_(state.previous) <= limit_) break;
      reached = backing_off < 1.0 ? reached * (1.0 - backing_off) : 0.0;
    }
    if (state.stalled != nullptr) *state.stalled = reached < standstill ? *state.stalled + 1 : 0;
    return true;
  }

  bool apply_scaled(Team& team, DescentState<Scalar>& state, const Scalar* direction,
                    const std::vector<double>& wanted, double t, std::vector<double>& rates) const {
    for (const std::size_t g : matrices_) rates[g] = t * wanted[g];
    return apply(team, state, direction, rates);
  }

  /// What the product of the layers' norms may be.
  double product_limit() const {
    double factor = std::abs(net_->output_scale());
    for (Index layer = 1; layer < net_->depth(); ++layer)
      factor = detail::times_upward(factor, rule_.slopes.lipschitz);
    return limit_ / factor * (1.0 - 1e-12);
  }

  std::vector<double> layer_norms(const Scalar* parameters) {
    layers_.measure(parameters);
    std::vector<double> norms;
    for (Index layer = 0; layer < net_->depth(); ++layer)
      norms.push_back(layers_.bracket(layer).upper);
    return norms;
  }

  /// How much of the last movement goes on at the limit, Polyak's heavy ball: (n - 1) / (n + 2) in
  /// the n-th step of a movement, which begins anew where it would lead uphill. It keeps the last
  /// movement, whose array is about to be overwritten.
  double carry(const DescentState<Scalar>& state, const Scalar* direction) {
    if (*state.carried == 0) return 0.0;
    const auto size = static_cast<std::size_t>(net_->n_parameters());
    difference_.resize(size);
    double slope = 0.0;
    for (std::size_t i = 0; i < size; ++i) {
      difference_[i] = state.parameters[i] - state.previous[i];
      slope += static_cast<double>(direction[i]) * static_cast<double>(difference_[i]);
    }
    *state.carried = slope <= 0.0 ? *state.carried + 1 : 1;
    const auto count = static_cast<double>(*state.carried);
    return (count - 1.0) / (count + 2.0);
  }

  /// A movement slows down with the rates that drive it, and does not gain from their growth.
  bool add_movement(const DescentState<Scalar>& state, double carried,
                    const std::vector<double>& last_rates, const std::vector<double>& rates) const {
    bool finite = true;
    for_trained([&](std::size_t g) {
      const double slowed = rates[g] < last_rates[g] ? rates[g] / last_rates[g] : 1.0;
      const auto factor = static_cast<Scalar>(carried * slowed);
      for (Index i = group(g).offset; i < group(g).offset + group(g).size; ++i) {
        state.previous[i] += factor * difference_[static_cast<std::size_t>(i)];
        finite &= std::isfinite(state.previous[i]);
      }
    });
    return finite;
  }

  /// Brings the certificate down to the limit: singular values are cut until it is near, and what
  /// then is left, mostly rounding, is taken off by one factor for all trained matrices, of each of
  /// which the certificate is a homogeneous function of degree one.
  bool retract(DescentState<Scalar>& state) {
    if (matrices_.empty()) return true;
    Scalar* parameters = state.previous;
    const double goal = limit_ * (1.0 - cut_margin());
    double bound = certificate_(parameters);
    if (accelerates())
      *state.carried = bound > limit_ ? std::max<std::int64_t>(*state.carried, 1) : 0;
    // A cut follows the product of norms, which the tight certificate does not.
    const int cuts = rule_.target.certificate == CertificateKind::sdp ? 0 : most_cuts;
    for (int cut = 0; cut < cuts && bound > limit_ && std::isfinite(bound); ++cut) {
      if (bound <= limit_ * (1.0 + nearly)) break;
      retraction_(parameters, goal / bound);
      bound = certificate_(parameters);
    }
    return shrink(parameters, bound);
  }

  /// How far below the limit a cut aims: the width of the norms' brackets and rounding to Scalar.
  double cut_margin() const {
    const double norms = default_spectral_tolerance * static_cast<double>(net_->depth());
    return norms + 4.0 * static_cast<double>(std::numeric_limits<Scalar>::epsilon());
  }

  /// Multiplies the trained matrices by one factor that takes the certificate from bound to the
  /// limit.
  bool shrink(Scalar* parameters, double bound) {
    const auto count = static_cast<double>(matrices_.size());
    double margin = 4.0 * static_cast<double>(std::numeric_limits<Scalar>::epsilon());
    for (; !(bound <= limit_); bound = certificate_(parameters), margin *= 4.0) {
      if (!std::isfinite(bound) || margin >= 1.0) return false;
      const auto factor =
          static_cast<Scalar>(std::pow(limit_ / bound, 1.0 / count) * (1.0 - margin));
      for (const std::size_t g : matrices_) {
        Scalar* weights = parameters + group(g).offset;
        const Index size = group(g).size;
        LIPGD_ELEMENTWISE_LOOP
        for (Index i = 0; i < size; ++i) weights[i] *= factor;
      }
    }
    return true;
  }

  void account(DescentState<Scalar>& state, const std::vector<double>& rates) {
    if (state.path_length != nullptr)
      std::copy_n(state.path_length, rates.size(), state.path_length + rates.size());
    for (std::size_t g = 0; g < rates.size(); ++g) {
      const Index offset = group(g).offset;
      if (state.path_length != nullptr)
        state.path_length[g] += std::sqrt(
            squared_distance(state.parameters + offset, state.previous + offset, group(g).size));
      // A length that overflows has the rate 0, and spends nothing.
      if (state.spent != nullptr && rule_.trained[g] && rates[g] > 0.0)
        state.spent[g] += rates[g] * lengths_[g];
    }
  }

  template <class Use>
  void for_trained(const Use& use) const {
    for (std::size_t g = 0; g < rule_.trained.size(); ++g)
      if (rule_.trained[g]) use(g);
  }

  static constexpr int most_chords = 12;
  static constexpr double least_piece = 1e-3;
  static constexpr double standstill = 1e-6;
  static constexpr int most_cuts = 3;
  static constexpr double nearly = 1e-6;

  const Architecture* net_;
  StepRule rule_;
  std::vector<std::size_t> matrices_;  ///< the trained weight matrices among the groups
  double log_scale_ = 0.0;             ///< of what the rates have still to be multiplied by
  std::vector<double> lengths_;        ///< of the directions, where budgets count them
  std::vector<Scalar> difference_;
  std::vector<SpectralNorm> norms_;
  LayerNorms layers_;
  Certificate certificate_;
  Retraction retraction_;
  double limit_;  ///< a little lower: whoever brackets the norms again must not find more
};

}  // namespace lipgd
