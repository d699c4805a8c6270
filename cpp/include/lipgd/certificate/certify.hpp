#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lipgd/certificate/deep.hpp"
#include "lipgd/certificate/gram_ascent.hpp"
#include "lipgd/certificate/power_iteration.hpp"
#include "lipgd/certificate/problem.hpp"
#include "lipgd/certificate/two_layer.hpp"
#include "lipgd/parallel.hpp"
#include "lipgd/types.hpp"

// An upper bound of the formal constant of a network, at the optimum of LipSDP-Neuron up to a
// tolerance that is known (certificates.md, sections 3 to 5 and 9).

namespace lipgd {

struct CertificateOptions {
  double tolerance = 1e-4;  ///< of 1 - primal / value
  Index max_sweeps = 3000;
  bool rigorous = true;  ///< whether every rounding error is counted
  double seconds = std::numeric_limits<double>::infinity();
  Index projections = 0;  ///< how many guesses of slopes are wanted
};

/// A multiplier per neuron of one hidden layer, t 2^exponent; zero for neurons that never act.
struct LayerMultipliers {
  Vector<double> t;
  std::vector<Index> exponents;
};

struct SdpCertificate {
  double value = std::numeric_limits<double>::quiet_NaN();  ///< an upper bound, or not a number
  double primal = 0.0;  ///< a lower bound of LipSDP-Neuron, but for rounding
  std::vector<LayerMultipliers> multipliers;
  Index sweeps = 0;
  std::string reason;                ///< why there is no value
  std::vector<NeuronGuess> neurons;  ///< of each hidden layer; zeros for neurons that never act
  IterationState state;
};

namespace detail {

class Certifier {
 public:
  Certifier(const CertificateProblem& problem, const CertificateOptions& options, Team& team)
      : problem_(problem),
        options_(options),
        team_(team),
        begin_(std::chrono::steady_clock::now()),
        deep_(problem, [this] { return !team_.cancelled() && team_.keep_going(0); }) {
    if (problem.hidden_layers() == 1) two_layer_ = std::make_unique<TwoLayerBound>(problem);
  }

  SdpCertificate run(const IterationState& start) {
    warm_ = start.columns > 0;
    if (options_.max_sweeps > 0) iterate(start);
    if (!(gap() <= options_.tolerance)) try_closed_form();
    prove_the_rest();
    if (!(best_ < infinity())) {
      result_.reason = "no multipliers were proved: the arithmetic overflowed or lost definiteness";
    } else {
      export_multipliers();
    }
    return std::move(result_);
  }

 private:
  static double infinity() { return std::numeric_limits<double>::infinity(); }
  double gap() const { return best_ < infinity() ? 1.0 - primal_ / best_ : infinity(); }

  bool in_time() const {
    if (team_.cancelled() || !team_.keep_going(0)) return false;
    if (std::isinf(options_.seconds)) return true;
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begin_;
    return spent.count() < options_.seconds;
  }

  /// Sweeps until the gap is closed; on Gram matrices or with more columns where it does not close.
  void iterate(IterationState state) {
    bool wide = two_layer_ && GramAscent::suits(problem_);
    if (wide && !warm_ && GramAscent::is_best(problem_)) {
      state = ascend_wide(nullptr);
      wide = false;
    }
    for (int columns = first_columns(state);; columns *= 2) {
      const bool last = columns >= most_columns;
      if (gap() <= options_.tolerance && options_.projections == 0) break;
      std::unique_ptr<PowerIteration> iteration = make(columns, state);
      const Index sweeps = wide ? few_sweeps() : options_.max_sweeps;
      const bool done = ascend(*iteration, !last, sweeps);
      state = iteration->state();
      if (options_.projections > 0) guess(*iteration);
      if (!done && wide) state = ascend_wide(iteration.get());
      wide = false;
      if (done || last) break;
    }
    result_.state = std::move(state);
  }

  /// Sweeps before Gram matrices are tried: they are the better, the wider the layer.
  Index few_sweeps() const { return problem_.width(0) >= 40 * two_layer_->size() ? 12 : 24; }

  /// Evaluations on Gram matrices until the gap is closed or no longer narrows.
  IterationState ascend_wide(const PowerIteration* from) {
    constexpr Index patience = 12;
    GramAscent ascent(problem_, *two_layer_, options_.tolerance, from);
    double last_gap = infinity();
    for (Index count = 1; in_time() && std::isfinite(ascent.value()); ++count) {
      primal_ = std::max(primal_, ascent.value());
      offer(ascent.eigenvalue(), {ascent.theta()});
      ++result_.sweeps;
      if (gap() <= options_.tolerance || result_.sweeps >= options_.max_sweeps) break;
      if (count % patience == 0) {
        const double hoped = 1.0 - primal_ / std::min(best_, promising_);
        if (hoped > 0.5 * last_gap) break;
        last_gap = hoped;
      }
      ascent.step();
    }
    return ascent.state();
  }

  void guess(const PowerIteration& iteration) {
    result_.neurons.clear();
    for (std::size_t l = 0; l < problem_.hidden_layers(); ++l) {
      const NeuronGuess found = iteration.guess(l, options_.projections);
      const Index given = problem_.given_width(l);
      NeuronGuess spread{Vector<double>::Zero(given),
                         Matrix<double>::Ones(given, options_.projections)};
      for (Index i = 0; i < problem_.width(l); ++i) {
        const Index neuron = problem_.kept(l)[static_cast<std::size_t>(i)];
        spread.loss[neuron] = found.loss[i];
        spread.ends.row(neuron) = found.ends.row(i);
      }
      result_.neurons.push_back(std::move(spread));
    }
  }

  /// Few columns are cheap, but too few may end at a point that is no optimum. Sweeps over large
  /// matrices wait for memory, not for products.
  int first_columns(const IterationState& state) const {
    const Index sides =
        problem_.weights(0).rows() + problem_.weights(problem_.hidden_layers()).cols();
    Index widest = 0;
    for (std::size_t l = 0; l < problem_.hidden_layers(); ++l)
      widest = std::max(widest, problem_.width(l));
    const int fewest = two_layer_ ? (sides <= 24 ? 8 : 16) : (widest <= 96 ? 16 : 32);
    return std::max(state.columns, fewest);
  }

  std::unique_ptr<PowerIteration> make(int columns, const IterationState& state) const {
    if (columns <= 8) return std::make_unique<DilatedIteration<8>>(problem_, state);
    if (columns <= 16) return std::make_unique<DilatedIteration<16>>(problem_, state);
    if (columns <= 32) return std::make_unique<DilatedIteration<32>>(problem_, state);
    return std::make_unique<DilatedIteration<most_columns>>(problem_, state);
  }

  /// True when nothing is left to do, false when something else may help.
  bool ascend(PowerIteration& iteration, bool may_stall, Index sweeps) {
    const Index first = result_.sweeps;
    const Index last = std::min(options_.max_sweeps, first + sweeps);
    const Index pace = warm_ ? 4 : check_pace();
    Index next_check = first + (warm_ ? 2 : pace);
    double last_gap = infinity(), last_value = 0.0;
    Index slow = 0;
    while (result_.sweeps < last && in_time()) {
      const double value = iteration.sweep();
      ++result_.sweeps;
      if (!(value > 0.0) || !std::isfinite(value)) return true;
      primal_ = std::max(primal_, value);
      if (gap() <= options_.tolerance) return true;
      if (result_.sweeps < next_check) continue;
      // What the last sweeps gained is less than what is left to gain.
      const double hopeful = two_layer_ ? 2.0 : 0.3;  // looks at deep bounds cost more
      const bool rising = value - last_value > hopeful * options_.tolerance * value;
      last_value = value;
      if (rising && result_.sweeps + pace < last) {
        next_check = result_.sweeps + (pace + 1) / 2;
        continue;
      }
      check(iteration);
      if (gap() <= options_.tolerance) return true;
      const double hoped = 1.0 - primal_ / std::min(best_, promising_);
      slow = hoped > 0.7 * last_gap ? slow + 1 : 0;
      if (slow >= 3 && may_stall) return false;
      last_gap = hoped;
      // Of deep networks looks cost much until the gap is nearly closed.
      const bool near = !two_layer_ && gap() < 3.0 * options_.tolerance;
      if (near) slow = 0;
      const Index part = near ? 8 : two_layer_ ? 4 : 2;
      next_check =
          result_.sweeps + std::max(near ? (pace + 1) / 2 : pace, (result_.sweeps - first) / part);
    }
    if (best_ == infinity() && result_.sweeps > first && !team_.cancelled()) check(iteration);
    return result_.sweeps >= options_.max_sweeps || !in_time();
  }

  /// Sweeps that cost about as much as a look at the bound.
  Index check_pace() const {
    double sweep = 0.0, look = 0.0;
    for (std::size_t l = 0; l <= problem_.hidden_layers(); ++l) {
      const auto rows = static_cast<double>(problem_.weights(l).rows());
      const auto columns = static_cast<double>(problem_.weights(l).cols());
      sweep += 64.0 * rows * columns;
      const double side = two_layer_ ? std::min(rows, columns) : std::max(rows, columns);
      look += two_layer_ ? rows * columns * side : 4.0 * rows * columns * side;
    }
    return std::clamp<Index>(static_cast<Index>(look / sweep), 8, 40);
  }

  void check(const PowerIteration& iteration) {
    std::vector<Vector<double>> found = read_multipliers(iteration);
    if (two_layer_) {
      iteration.direction(two_layer_->direction().data(),
                          two_layer_->direction().data() + problem_.weights(0).rows());
      keep_two_layer(found);
    } else {
      find_feasible(found);
    }
  }

  /// theta of one hidden layer, or t = 1 / N of any number, from the last sweep.
  std::vector<Vector<double>> read_multipliers(const PowerIteration& iteration) const {
    std::vector<Vector<double>> result;
    for (std::size_t l = 0; l < problem_.hidden_layers(); ++l) {
      const Vector<double>& h = problem_.half(l);
      const Vector<double> gain = floored(iteration.gains(l));
      const Vector<double> size = floored(iteration.sizes(l));
      Vector<double> multiplier = gain.cwiseQuotient(size);
      if (!two_layer_) {
        double smallest = infinity();
        for (Index i = 0; i < h.size(); ++i) {
          if (!(h[i] > 0.0)) continue;
          multiplier[i] /= primal_ * h[i];
          smallest = std::min(smallest, multiplier[i]);
        }
        if (smallest == infinity()) smallest = 1.0 / size.squaredNorm();
        for (Index i = 0; i < h.size(); ++i)
          if (!(h[i] > 0.0)) multiplier[i] = 1e7 * smallest;
      }
      result.push_back(multiplier.cwiseMax(0x1p-400).cwiseMin(0x1p400));
    }
    return result;
  }

  static Vector<double> floored(const Vector<double>& numbers) {
    const double largest = numbers.maxCoeff();
    return numbers.cwiseMax(largest > 0.0 ? 1e-10 * largest : 1.0);
  }

  /// Inexact multipliers may be infeasible by a hair: N_l (1 + e)^l for a small e. That costs at
  /// most about 0.4 H e of the bound, and often gains far more than it costs, so the first e is the
  /// largest that the tolerance leaves room for.
  void find_feasible(const std::vector<Vector<double>>& t) {
    const std::vector<double>& ladder = inflations();
    const auto depth = static_cast<double>(problem_.hidden_layers());
    std::size_t least = 0;
    while (least + 1 < ladder.size() && ladder[least + 1] * depth <= options_.tolerance) ++least;
    std::size_t rung = std::max(least, rung_);
    bool found = try_inflated(t, ladder[rung]);
    while (!found && rung + 1 < ladder.size() && in_time()) {
      rung = std::min(rung + 3, ladder.size() - 1);
      found = try_inflated(t, ladder[rung]);
    }
    while (found && rung > least && gap() > options_.tolerance && in_time() &&
           0.4 * depth * ladder[rung] > 0.25 * gap() && try_inflated(t, ladder[rung - 1]))
      --rung;
    rung_ = rung > 0 ? rung - 1 : 0;
  }

  bool try_inflated(const std::vector<Vector<double>>& t, double inflation) {
    std::vector<Vector<double>> inflated = t;
    double factor = 1.0;
    for (Vector<double>& layer : inflated) layer /= (factor *= 1.0 + inflation);
    const double bound = deep_(inflated, options_.rigorous);
    keep(bound, inflated);
    return bound < infinity();
  }

  static const std::vector<double>& inflations() {
    static const std::vector<double> ladder{0.0,  1e-8, 1e-7, 1e-6, 3e-6, 1e-5, 3e-5, 1e-4,
                                            3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1,  0.3,  1.0};
    return ladder;
  }

  void try_closed_form() {
    if (two_layer_) {
      std::vector<Vector<double>> theta{two_layer_->closed_form()};
      keep_two_layer(theta);
      return;
    }
    const std::vector<Vector<double>> t = deep_.closed_form();
    if (!t.empty()) keep(deep_(t, options_.rigorous), t);
  }

  void keep(double bound, const std::vector<Vector<double>>& multipliers) {
    if (!(bound < best_)) return;
    best_ = bound;
    multipliers_ = multipliers;
  }

  void keep_two_layer(const std::vector<Vector<double>>& theta) {
    offer(two_layer_->estimate(theta[0], options_.tolerance), theta);
  }

  /// The eigenvalue is an estimate until it is proved, which is worth while once it is good enough.
  void offer(double estimate, const std::vector<Vector<double>>& theta) {
    if (!options_.rigorous) return keep(estimate, theta);
    if (!(estimate < best_)) return;
    if (1.0 - primal_ / estimate <= options_.tolerance) {
      keep(two_layer_->prove(), theta);
    } else if (estimate < promising_) {
      promising_ = estimate;
      promising_theta_ = theta;
    }
  }

  /// The factorization of the deep certificate was its proof.
  void prove_the_rest() {
    if (!two_layer_ || !options_.rigorous || !(promising_ < best_)) return;
    two_layer_->estimate(promising_theta_[0], options_.tolerance);
    keep(two_layer_->prove(), promising_theta_);
  }

  /// In the order of the given neurons; t = theta / (value h) for one hidden layer.
  void export_multipliers() {
    for (std::size_t l = 0; l < problem_.hidden_layers(); ++l) {
      const Index given = problem_.given_width(l);
      LayerMultipliers layer{Vector<double>::Zero(given),
                             std::vector<Index>(static_cast<std::size_t>(given), 0)};
      const Vector<double>& h = problem_.half(l);
      for (Index i = 0; i < problem_.width(l); ++i) {
        const auto at = static_cast<std::size_t>(i);
        const Index neuron = problem_.kept(l)[at];
        double t = multipliers_[l][i];
        if (two_layer_) t = h[i] > 0.0 ? t / (best_ * h[i]) : infinity();
        const int own = std::isfinite(t) ? std::ilogb(t) : 0;
        layer.t[neuron] = std::isfinite(t) ? std::ldexp(t, -own) : t;
        layer.exponents[static_cast<std::size_t>(neuron)] = own - 2 * problem_.exponents(l)[at];
      }
      result_.multipliers.push_back(std::move(layer));
    }
    result_.primal = problem_.restore_below(primal_);
    result_.value = problem_.restore(best_);
    if (std::isfinite(result_.value)) return;
    result_.value = std::numeric_limits<double>::quiet_NaN();
    result_.reason = "the bound exceeds the largest float64";
  }

  static constexpr int most_columns = 64;

  const CertificateProblem& problem_;
  CertificateOptions options_;
  Team& team_;
  std::chrono::steady_clock::time_point begin_;
  std::unique_ptr<TwoLayerBound> two_layer_;
  DeepBound deep_;
  bool warm_ = false;
  std::size_t rung_ = 0;
  double primal_ = 0.0, best_ = infinity(), promising_ = infinity();
  std::vector<Vector<double>> multipliers_, promising_theta_;
  SdpCertificate result_;
};

}  // namespace detail

/// The certificate of a network with at least one hidden layer. Cancelled by the team's poll.
inline SdpCertificate certify(const std::vector<WeightView>& layers,
                              const std::vector<SlopeView>& slopes,
                              const CertificateOptions& options, const IterationState& start,
                              Team& team) {
  require(layers.size() > 1, "a network without hidden layers needs a spectral norm alone");
  const SubnormalMode keep_subnormals(false);
  const CertificateProblem problem(layers, slopes);
  SdpCertificate result;
  if (!problem.reason().empty()) {
    result.reason = problem.reason();
  } else if (problem.is_constant()) {
    result.value = 0.0;
  } else {
    result = detail::Certifier(problem, options, team).run(start);
  }
  return result;
}

}  // namespace lipgd
