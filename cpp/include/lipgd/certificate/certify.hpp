#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "lipgd/certificate/best_bound.hpp"
#include "lipgd/certificate/deep.hpp"
#include "lipgd/certificate/factor_ascent.hpp"
#include "lipgd/certificate/gram_ascent.hpp"
#include "lipgd/certificate/power_iteration.hpp"
#include "lipgd/certificate/problem.hpp"
#include "lipgd/certificate/two_layer.hpp"
#include "lipgd/parallel.hpp"
#include "lipgd/types.hpp"

// An upper bound of the formal constant of a network, at the optimum of LipSDP-Neuron up to a
// tolerance that is known (certificates.md, sections 3 to 5 and 9).

namespace lipgd {

namespace detail {

class Certifier {
 public:
  Certifier(const CertificateProblem& problem, const CertificateOptions& options, Team& team)
      : problem_(problem),
        options_(options),
        team_(team),
        begin_(std::chrono::steady_clock::now()),
        two_layer_(problem.hidden_layers() == 1 ? std::make_unique<TwoLayerBound>(problem)
                                                : nullptr),
        bounds_(problem, options_, two_layer_.get()),
        deep_(problem, [this] { return !team_.cancelled() && team_.keep_going(0); }) {}

  SdpCertificate run(const IterationState& start) {
    warm_ = fits(start);
    if (options_.max_sweeps > 0)
      result_.state = iterate(warm_ || !two_layer_ ? start : IterationState{});
    if (!bounds_.closed()) try_closed_form();
    bounds_.prove_the_rest();
    bounds_.write(result_);
    return std::move(result_);
  }

 private:
  static double infinity() { return std::numeric_limits<double>::infinity(); }

  /// Whether the start is of a network whose neurons that act are as many.
  bool fits(const IterationState& start) const {
    bool same =
        start.columns > 0 && start.inputs.size() == problem_.weights(0).rows() * start.columns;
    if (two_layer_)
      return same && start.outputs.size() == problem_.weights(1).cols() * start.columns;
    if (start.units.size() != problem_.hidden_layers()) return false;
    for (std::size_t l = 0; l < start.units.size(); ++l)
      same = same && start.units[l].size() == problem_.width(l) * start.columns;
    return same;
  }

  bool in_time() const {
    if (team_.cancelled() || !team_.keep_going(0)) return false;
    if (std::isinf(options_.seconds)) return true;
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begin_;
    return spent.count() < options_.seconds;
  }
  bool goes_on() const { return result_.sweeps < options_.max_sweeps && in_time(); }

  IterationState iterate(IterationState state) {
    if (two_layer_) {
      state = ascend_one_layer(std::move(state));
      if (options_.projections == 0) return state;
      const std::unique_ptr<PowerIteration> iteration = make(state.columns, with_units(state));
      iteration->sweep();
      guess(*iteration);
      return state;
    }
    for (int columns = first_columns(state);; columns *= 2) {
      const bool last = columns >= most_columns;
      std::unique_ptr<PowerIteration> iteration = make(columns, state);
      const bool done = ascend(*iteration, !last, options_.max_sweeps);
      state = iteration->state();
      if (options_.projections > 0) guess(*iteration);
      if (done || last) return state;
    }
  }

  /// One hidden layer: on a small Gram matrix for many neurons, on factors of more and more columns
  /// where that does not close the gap.
  IterationState ascend_one_layer(IterationState state) {
    if (!warm_ && GramAscent::suits(problem_)) state = ascend_wide();
    for (int columns = first_columns(state); !bounds_.closed() && goes_on(); columns *= 2) {
      state = ascend_factors(columns, state);
      if (columns >= enough_columns()) break;
    }
    return state;
  }

  /// What is maximized depends on (X; Y) (X; Y)^T alone: more columns than K has add nothing.
  int enough_columns() const {
    int columns = least_columns;
    while (columns < most_columns && columns < two_layer_->size()) columns *= 2;
    return columns;
  }

  IterationState with_units(IterationState state) const {
    if (state.columns == 0) return state;
    const Eigen::Map<const Matrix<double>> y(state.outputs.data(), state.columns,
                                             problem_.weights(1).cols());
    Matrix<double> units = y * two_layer_->outer();
    for (Index i = 0; i < units.cols(); ++i) {
      const double size = units.col(i).norm();
      if (size > 0.0)
        units.col(i) /= size;
      else
        units(0, i) = 1.0;
    }
    state.units = {ConstVectorMap<double>(units.data(), units.size())};
    return state;
  }

  /// Evaluations on Gram matrices until the gap is closed or no longer narrows.
  IterationState ascend_wide() {
    constexpr Index patience = 12;
    GramAscent ascent(problem_, *two_layer_, options_.tolerance);
    double last_gap = infinity();
    for (Index count = 1; in_time() && std::isfinite(ascent.value()); ++count) {
      bounds_.raise(ascent.value());
      bounds_.offer(ascent.eigenvalue(), ascent.theta());
      ++result_.sweeps;
      if (bounds_.closed() || result_.sweeps >= options_.max_sweeps) break;
      if (count % patience == 0) {
        if (bounds_.hoped() > 0.5 * last_gap) break;
        last_gap = bounds_.hoped();
      }
      ascent.step();
    }
    return ascent.state();
  }

  /// Evaluations on factors until the gap is closed or no longer narrows. What multipliers show is
  /// above the primal value by about the residual, times a factor that the looks tell.
  IterationState ascend_factors(int columns, const IterationState& start) {
    FactorAscent ascent(problem_, *two_layer_, columns, start);
    double aim = warm_ && result_.sweeps == 0 ? infinity() : 0.7 * options_.tolerance;
    double last_gap = infinity();
    Index slow = 0;
    while (true) {
      ++result_.sweeps;
      if (std::isfinite(ascent.value())) bounds_.raise(ascent.value());
      const bool last = ascent.exhausted() || !goes_on();
      if (last || (ascent.improved() && ascent.residual() <= aim)) {
        two_layer_->direction() = ascent.direction();
        bounds_.look(ascent.theta());
        const double gap = bounds_.hoped();
        slow = gap > 0.7 * last_gap ? slow + 1 : 0;
        // A saddle of too few columns: stationary, but far from the optimum.
        const bool saddle = slow >= 1 && gap > 100.0 * ascent.residual();
        if (bounds_.closed() || last || ((slow >= 3 || saddle) && columns < enough_columns()))
          break;
        last_gap = gap;
        aim = ascent.residual() * std::clamp(0.6 * options_.tolerance / gap, 0.1, 0.6);
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
    if (two_layer_) {
      const Index sides = two_layer_->size();
      const int fewest =
          (sides <= 24 ? 1 : 2) * (problem_.width(0) < 100 * sides ? 1 : 2) * least_columns;
      return std::min(std::max(state.columns, fewest), enough_columns());
    }
    Index widest = 0;
    for (std::size_t l = 0; l < problem_.hidden_layers(); ++l)
      widest = std::max(widest, problem_.width(l));
    return std::max(state.columns, widest <= 96 ? 16 : 32);
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
      bounds_.raise(value);
      if (bounds_.closed()) return true;
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
      if (bounds_.closed()) return true;
      const double hoped = bounds_.hoped();
      slow = hoped > 0.7 * last_gap ? slow + 1 : 0;
      if (slow >= 3 && may_stall) return false;
      last_gap = hoped;
      // Of deep networks looks cost much until the gap is nearly closed.
      const bool near = !two_layer_ && bounds_.gap() < 3.0 * options_.tolerance;
      if (near) slow = 0;
      const Index part = near ? 8 : two_layer_ ? 4 : 2;
      next_check =
          result_.sweeps + std::max(near ? (pace + 1) / 2 : pace, (result_.sweeps - first) / part);
    }
    if (!bounds_.exists() && result_.sweeps > first && !team_.cancelled()) check(iteration);
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
      bounds_.look(found[0]);
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
          multiplier[i] /= bounds_.primal() * h[i];
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
    while (found && rung > least && !bounds_.closed() && in_time() &&
           0.4 * depth * ladder[rung] > 0.25 * bounds_.gap() && try_inflated(t, ladder[rung - 1]))
      --rung;
    rung_ = rung > 0 ? rung - 1 : 0;
  }

  bool try_inflated(const std::vector<Vector<double>>& t, double inflation) {
    std::vector<Vector<double>> inflated = t;
    double factor = 1.0;
    for (Vector<double>& layer : inflated) layer /= (factor *= 1.0 + inflation);
    const double bound = deep_(inflated, options_.rigorous);
    bounds_.keep(bound, inflated);
    return bound < infinity();
  }

  static const std::vector<double>& inflations() {
    static const std::vector<double> ladder{0.0,  1e-8, 1e-7, 1e-6, 3e-6, 1e-5, 3e-5, 1e-4,
                                            3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1,  0.3,  1.0};
    return ladder;
  }

  void try_closed_form() {
    if (two_layer_) {
      bounds_.look(two_layer_->closed_form());
      return;
    }
    const std::vector<Vector<double>> t = deep_.closed_form();
    if (!t.empty()) bounds_.keep(deep_(t, options_.rigorous), t);
  }

  static constexpr int least_columns = 8;
  static constexpr int most_columns = 64;

  const CertificateProblem& problem_;
  CertificateOptions options_;
  Team& team_;
  std::chrono::steady_clock::time_point begin_;
  std::unique_ptr<TwoLayerBound> two_layer_;
  BestBound bounds_;
  DeepBound deep_;
  bool warm_ = false;
  std::size_t rung_ = 0;
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
