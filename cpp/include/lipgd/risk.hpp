#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "lipgd/layer_pass.hpp"
#include "lipgd/loss.hpp"
#include "lipgd/strip_pass.hpp"

namespace lipgd {

/// The mean loss over the samples and its gradient, in one pass over blocks of rows.
template <class Scalar>
class RiskSweep {
 public:
  /// trained: one flag per group of parameters; the others get no gradient, and if it is empty
  /// only risk() may be called. The sums are divided by total_samples, if these samples are a part
  /// of so many.
  RiskSweep(const Architecture& net, const Loss& loss, const std::vector<bool>& trained,
            Index n_samples, int workers, Arena& arena, Index total_samples = 0)
      : net_(&net),
        logistic_(loss.kind == LossKind::logistic),
        plan_(plan_risk_sweep(net, n_samples, sizeof(Scalar))),
        divisor_(static_cast<double>(total_samples > 0 ? total_samples : n_samples)) {
    if (plan_.in_strips)
      strips_.emplace(net, trained, plan_, workers, arena);
    else
      layers_.emplace(net, trained, plan_, workers, arena);
    for (int worker = 0; worker < workers; ++worker)
      losses_.emplace_back(loss, net.n_outputs(), plan_.block, arena);
    lane_risks_ = arena.take<double>(plan_.lanes);
  }

  const SweepPlan& plan() const { return plan_; }

  /// The risk; fills gradient (n_parameters), times e^shift for the logistic loss. Not meaningful
  /// once the team is cancelled.
  double gradient(Team& team, const Scalar* parameters, const Inputs<Scalar>& inputs,
                  const Targets<Scalar>& targets, Scalar* gradient, double shift = 0.0) {
    for (BlockLoss<Scalar>& loss : losses_) loss.begin(shift);
    with_pass([&](auto& pass) {
      pass.set(parameters);
      team.run(plan_.lanes, [&](Index lane, int worker) {
        pass.begin(worker, lane);
        lane_risks_[lane] = each_block(team, lane, worker, [&](Index first, Index count) {
          Scalar* outputs = pass.forward(team, worker, inputs, first, count);
          const double value = losses_[static_cast<std::size_t>(worker)].derivative(
              outputs, targets, first, count, net_->output_scale(), 1.0 / divisor_);
          pass.backward(team, worker);
          return value;
        });
      });
      pass.add(team, gradient);
    });
    return total_risk();
  }

  /// The gradient as e^log_scale times what is filled in: log_scale is 0 but where the logistic
  /// loss is so small that its derivatives come near the underflow.
  double gradient_in_range(Team& team, const Scalar* parameters, const Inputs<Scalar>& inputs,
                           const Targets<Scalar>& targets, Scalar* gradient, double& log_scale) {
    const double risk = this->gradient(team, parameters, inputs, targets, gradient);
    const double margin = smallest_margin();
    log_scale = 0.0;
    if (!logistic_ || !(risk < near_underflow) || !(margin > 0.0) || !std::isfinite(margin))
      return risk;
    log_scale = -margin;
    return this->gradient(team, parameters, inputs, targets, gradient, margin);
  }

  /// The smallest margin that the last gradient met.
  double smallest_margin() const {
    double smallest = std::numeric_limits<double>::infinity();
    for (const BlockLoss<Scalar>& loss : losses_)
      smallest = std::min(smallest, loss.smallest_margin());
    return smallest;
  }

  /// The risk alone.
  double risk(Team& team, const Scalar* parameters, const Inputs<Scalar>& inputs,
              const Targets<Scalar>& targets) {
    with_pass([&](auto& pass) {
      pass.set(parameters);
      team.run(plan_.lanes, [&](Index lane, int worker) {
        lane_risks_[lane] = each_block(team, lane, worker, [&](Index first, Index count) {
          return losses_[static_cast<std::size_t>(worker)].value(
              pass.forward(team, worker, inputs, first, count), targets, first, count,
              net_->output_scale());
        });
      });
    });
    return total_risk();
  }

 private:
  template <class BlockLoss>
  double each_block(Team& team, Index lane, int worker, const BlockLoss& block_loss) const {
    double total = 0.0;
    const Index end = plan_.lane_begin(lane + 1);
    for (Index first = plan_.lane_begin(lane); first < end && team.keep_going(worker);
         first += plan_.block)
      total += block_loss(first, std::min(plan_.block, end - first));
    return total;
  }

  template <class Function>
  void with_pass(const Function& f) {
    if (strips_)
      f(*strips_);
    else
      f(*layers_);
  }

  double total_risk() const {
    double total = 0.0;
    for (Index lane = 0; lane < plan_.lanes; ++lane) total += lane_risks_[lane];
    return total / divisor_;
  }

  /// Below this some of what a gradient adds up could be flushed to zero, and count.
  static constexpr double near_underflow = sizeof(Scalar) == sizeof(double) ? 1e-250 : 1e-22;

  const Architecture* net_;
  bool logistic_;
  SweepPlan plan_;
  double divisor_;
  std::optional<StripPass<Scalar>> strips_;
  std::optional<LayerPass<Scalar>> layers_;  ///< one of the two
  std::vector<BlockLoss<Scalar>> losses_;
  double* lane_risks_;
};

}  // namespace lipgd
