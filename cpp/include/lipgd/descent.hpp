#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <vector>

#include "lipgd/recorder.hpp"
#include "lipgd/shards.hpp"
#include "lipgd/stepper.hpp"

namespace lipgd {

/// Why a stretch of steps ended.
enum class Stop : int { reached, paused, converged, diverged, cancelled };

/// What stays the same over all steps.
template <class Scalar>
struct DescentProblem {
  const Architecture* net = nullptr;
  Loss loss;
  Inputs<Scalar> inputs;
  Targets<Scalar> targets;
  Inputs<Scalar> validation_inputs;
  Targets<Scalar> validation_targets;
  Inputs<Scalar> points;
  StepRule step;
  double tolerance = 0.0;  ///< stop when the gradient's norm is at most this, if positive
  std::vector<Column> columns;
  Index record_every = 1;
  double degree = 1.0;             ///< of homogeneity in the trained parameters
  double homogeneity_gap = 0.0;    ///< of the modified margin
  std::vector<Index> batch_sizes;  ///< all sizes that occur; empty for the full batch
  Shards shards;                   ///< if the samples are spread over processes
};

/// One number per group and step.
struct StepArray {
  const double* values = nullptr;
  Index group_stride = 0;
  Index step_stride = 1;

  void read(Index step, std::vector<double>& out) const {
    for (std::size_t g = 0; g < out.size(); ++g)
      out[g] = values[static_cast<Index>(g) * group_stride + step * step_stride];
  }
};

/// The steps of one stretch; batch s takes batch_rows[batch_offsets[s - begin]] up to the next
/// offset.
struct Stretch {
  Index begin = 0;
  Index end = 0;
  StepArray rates;
  StepArray budgets;  ///< of the caps, if there are any
  const std::int64_t* batch_rows = nullptr;
  const std::int64_t* batch_offsets = nullptr;
  double seconds = std::numeric_limits<double>::infinity();  ///< pause after this time
};

/// How far a run has come: steps taken and rows written.
struct Progress {
  Index step = 0;
  Index rows = 0;
};

/// Gradient descent with everything it needs in the caller's memory.
template <class Scalar>
class Descent {
 public:
  Descent(const DescentProblem<Scalar>& problem, int workers, Arena& arena)
      : problem_(problem),
        stepper_(*problem.net, problem.step),
        recorder_(*problem.net, record_rule(problem), workers, arena),
        full_(*problem.net, problem.loss,
              full_batch() || row_needs_gradient() ? problem.step.trained : std::vector<bool>{},
              problem.inputs.n_samples(), problem.shards, workers, arena) {
    for (const Index size : problem.batch_sizes)
      batches_.emplace_back(*problem.net, problem.loss, problem.step.trained, size, workers, arena);
    if (recorder_.wants(Quantity::validation_risk))
      validation_.emplace_back(*problem.net, problem.loss, std::vector<bool>{},
                               problem.validation_inputs.n_samples(), workers, arena);
    gradient_ = arena.take<Scalar>(problem.net->n_parameters());
    rates_.resize(problem.net->groups().size());
    budgets_.resize(problem.net->groups().size());
    last_rates_.resize(problem.net->groups().size());
  }

  const SweepPlan& plan() const {
    return batches_.empty() ? full_.plan() : batches_.front().plan();
  }
  /// The warm starts of all spectral norms, always in the same order: they belong to the state.
  std::vector<SpectralNorm*> spectral_norms() {
    std::vector<SpectralNorm*> all;
    for (auto* group :
         {&recorder_.norms().states(), &stepper_.layer_states(), &stepper_.direction_states(),
          &stepper_.certificate().layer_states(), &stepper_.certificate().piece_states()})
      for (SpectralNorm& norm : *group) all.push_back(&norm);
    return all;
  }

  /// Those of the records that follow the leading singular pairs.
  std::vector<LeadingPair>& leading_pairs() { return recorder_.pairs(); }
  /// Those of the certificates that follow the weights.
  std::vector<SdpBound*> sdp_bounds() { return {&recorder_.sdp(), &stepper_.certificate().sdp()}; }
  /// The warm start of the sharpness, which belongs to the state too; null if it is not recorded.
  Sharpness<Scalar>* sharpness() { return recorder_.sharpness(); }

  /// Takes steps until one of the reasons to stop. The state is that of progress.step, whatever
  /// happened; its arrays stay where they were.
  Stop run(Team& team, DescentState<Scalar>& state, const Stretch& stretch, Progress& progress) {
    const auto deadline = deadline_after(stretch.seconds);
    Scalar *const parameters = state.parameters, *const previous = state.previous;
    Stop stop = Stop::reached;
    for (progress.step = stretch.begin; progress.step < stretch.end;) {
      stop = take_step(team, state, stretch, progress);
      if (stop != Stop::reached) break;
      ++progress.step;
      if (progress.step < stretch.end && detail::Clock::now() >= deadline) {
        stop = Stop::paused;
        break;
      }
    }
    if (state.parameters != parameters) {
      std::swap_ranges(parameters, parameters + problem_.net->n_parameters(), previous);
      std::swap(state.parameters, state.previous);
    }
    return stop;
  }

  /// Appends the row of the state after the last step. False if the work was cancelled.
  bool write_last_row(Team& team, const DescentState<Scalar>& state, Progress& progress) {
    const double risk = recorder_.wants_gradient() ? full_gradient(team, state) : not_known;
    std::fill(rates_.begin(), rates_.end(), not_known);
    recorder_.follow(state.parameters, progress.step);
    if (!complete_last_row(team, state, progress.step)) return false;
    return write_row(team, state, risk, progress);
  }

 private:
  static constexpr double not_known = std::numeric_limits<double>::quiet_NaN();

  static RecordRule<Scalar> record_rule(const DescentProblem<Scalar>& problem) {
    return {problem.columns,
            problem.step.slopes,
            problem.step.target.method == TargetMethod::rates,
            problem.points,
            problem.loss,
            problem.inputs,
            problem.targets,
            {problem.step.trained, problem.degree, problem.homogeneity_gap}};
  }

  bool full_batch() const { return problem_.batch_sizes.empty(); }
  /// Whether the gradient over all samples is needed at the steps of a row.
  bool row_needs_gradient() const { return recorder_.wants_gradient() || problem_.tolerance > 0.0; }

  static detail::Clock::time_point deadline_after(double seconds) {
    if (!std::isfinite(seconds)) return detail::Clock::time_point::max();
    return detail::Clock::now() + std::chrono::duration_cast<detail::Clock::duration>(
                                      std::chrono::duration<double>(seconds));
  }

  Stop take_step(Team& team, DescentState<Scalar>& state, const Stretch& stretch,
                 Progress& progress) {
    const Index step = progress.step;
    const bool due = step % problem_.record_every == 0;
    stretch.rates.read(step, rates_);
    if (stepper_.has_caps()) stretch.budgets.read(step, budgets_);
    double risk = not_known;
    const bool evaluated = full_batch() || (due && row_needs_gradient());
    if (evaluated) risk = full_gradient(team, state);
    if (team.cancelled()) return Stop::cancelled;
    if (evaluated && !std::isfinite(risk)) return step_back(state, progress);
    if (!complete_last_row(team, state, step)) return Stop::cancelled;
    recorder_.follow(state.parameters, step);
    // A step that was cancelled after its row has it already; measured again, the warm starts of
    // the spectral norms would not be those of an uninterrupted run.
    const bool row = due && progress.rows == step / problem_.record_every;
    if (row && !write_row(team, state, risk, progress)) return Stop::cancelled;
    if (evaluated && converged()) return Stop::converged;
    if (!full_batch()) {
      risk = batch_gradient(team, state, stretch, step);
      if (team.cancelled()) return Stop::cancelled;
      if (!std::isfinite(risk)) return step_back(state, progress);
    }
    if (stepper_.accelerates() && step > 0) stretch.rates.read(step - 1, last_rates_);
    if (!stepper_.step(team, state, gradient_, log_scale_, step, budgets_, last_rates_, rates_)) {
      forget_previous(state);
      return Stop::diverged;
    }
    // The row of this step learns what became of its rates.
    if (due && !recorder_.empty()) recorder_.write_rates(step / problem_.record_every, rates_);
    return Stop::reached;
  }

  double full_gradient(Team& team, const DescentState<Scalar>& state) {
    return full_.gradient_in_range(team, state.parameters, problem_.inputs, problem_.targets,
                                   gradient_, log_scale_);
  }

  double batch_gradient(Team& team, const DescentState<Scalar>& state, const Stretch& stretch,
                        Index step) {
    const std::int64_t* offset = stretch.batch_offsets + (step - stretch.begin);
    const Index size = offset[1] - offset[0];
    Inputs<Scalar> inputs = problem_.inputs;
    inputs.selection = stretch.batch_rows + offset[0];
    inputs.n_selected = size;
    Targets<Scalar> targets = problem_.targets;
    targets.selection = inputs.selection;
    for (RiskSweep<Scalar>& batch : batches_)
      if (batch.plan().n_samples == size)
        return batch.gradient_in_range(team, state.parameters, inputs, targets, gradient_,
                                       log_scale_);
    throw std::logic_error("a batch has a size that was not announced");
  }

  bool converged() const {
    if (problem_.tolerance == 0.0) return false;
    const double norm = std::sqrt(sum_of_squares(gradient_, problem_.net->n_parameters()));
    return norm * std::exp(log_scale_) <= problem_.tolerance;
  }

  /// The parameters give no finite risk: the last good ones are those of the step before.
  Stop step_back(DescentState<Scalar>& state, Progress& progress) const {
    if (progress.step > 0) {
      std::swap(state.parameters, state.previous);
      forget_previous(state);
      --progress.step;
      progress.rows = std::min(progress.rows, progress.step / problem_.record_every + 1);
      if (state.path_length != nullptr) {
        const Index groups = static_cast<Index>(problem_.net->groups().size());
        std::copy_n(state.path_length + groups, groups, state.path_length);
      }
    }
    return Stop::diverged;
  }

  /// What a step has spoiled is no state before this one.
  void forget_previous(DescentState<Scalar>& state) const {
    std::fill_n(state.previous, problem_.net->n_parameters(),
                std::numeric_limits<Scalar>::quiet_NaN());
  }

  /// Fills in what a row says of the step after it, once both its ends are there and good. The
  /// state of step - 1 is at hand as long as no later step was taken: nothing is lost by cancelling
  /// here.
  bool complete_last_row(Team& team, const DescentState<Scalar>& state, Index step) {
    if (step > 0 && (step - 1) % problem_.record_every == 0 && recorder_.wants_step())
      recorder_.write_step(team, (step - 1) / problem_.record_every, state.previous,
                           state.parameters);
    return !team.cancelled();
  }

  bool write_row(Team& team, const DescentState<Scalar>& state, double risk, Progress& progress) {
    if (recorder_.empty()) return !team.cancelled();
    double validation_risk = not_known;
    if (!validation_.empty())
      validation_risk = validation_.front().risk(team, state.parameters, problem_.validation_inputs,
                                                 problem_.validation_targets);
    const double proved = recorder_.wants(Quantity::lipschitz_upper_sdp)
                              ? stepper_.proved_bound(state.parameters, progress.step)
                              : std::numeric_limits<double>::infinity();
    const RowFacts<Scalar> facts{
        state.parameters, state.initial, gradient_,         log_scale_, risk,
        validation_risk,  rates_.data(), state.path_length, proved};
    recorder_.write(team, progress.rows, facts);
    if (team.cancelled()) return false;
    ++progress.rows;
    return true;
  }

  DescentProblem<Scalar> problem_;
  Stepper<Scalar> stepper_;
  Recorder<Scalar> recorder_;
  ShardedSweep<Scalar> full_;
  std::vector<RiskSweep<Scalar>> batches_, validation_;
  Scalar* gradient_;
  double log_scale_ = 0.0;  ///< the gradient is e^log_scale_ times that
  std::vector<double> rates_, budgets_, last_rates_;
};

}  // namespace lipgd
