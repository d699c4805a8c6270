#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "lipgd/block.hpp"
#include "lipgd/loss.hpp"
#include "lipgd/sweep.hpp"

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
        plan_(plan_sweep(net, n_samples, sizeof(Scalar))),
        divisor_(static_cast<double>(total_samples > 0 ? total_samples : n_samples)),
        sums_(net, trained, plan_, arena),
        parameters_(net, arena) {
    if (narrow::applies(net))
      unwanted_ = arena.take<Scalar>(checked_product(workers, net.outputs(0) * net.inputs(0)));
    for (int worker = 0; worker < workers; ++worker) {
      blocks_.emplace_back(net, plan_.block, trained.empty() ? Keep::values : Keep::slopes, arena);
      losses_.emplace_back(loss, net.n_outputs(), plan_.block, arena);
    }
    lane_risks_ = arena.take<double>(plan_.lanes);
  }

  const SweepPlan& plan() const { return plan_; }

  /// The risk; fills gradient (n_parameters), times e^shift for the logistic loss. Not meaningful
  /// once the team is cancelled.
  double gradient(Team& team, const Scalar* parameters, const Inputs<Scalar>& inputs,
                  const Targets<Scalar>& targets, Scalar* gradient, double shift = 0.0) {
    parameters_.set(parameters);
    for (BlockLoss<Scalar>& loss : losses_) loss.begin(shift);
    team.run(plan_.lanes, [&](Index lane, int worker) {
      const GradientSums<Scalar> sums = sums_.clear(lane);
      lane_risks_[lane] = each_block(team, lane, worker, [&](Index first, Index count) {
        return add_block(team, worker, inputs, targets, first, count, sums);
      });
    });
    sums_.add(team, gradient);
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
    parameters_.set(parameters);
    team.run(plan_.lanes, [&](Index lane, int worker) {
      lane_risks_[lane] = each_block(team, lane, worker, [&](Index first, Index count) {
        Block<Scalar>& block = blocks_[static_cast<std::size_t>(worker)];
        forward(block, inputs, first, count, team);
        return losses_[static_cast<std::size_t>(worker)].value(block.outputs(), targets, first,
                                                               count, net_->output_scale());
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

  /// One lane leaves the threads to the products of its blocks.
  Sharing sharing(Team& team) const { return plan_.shares_blocks ? Sharing(team) : Sharing(); }

  void forward(Block<Scalar>& block, const Inputs<Scalar>& inputs, Index first, Index count,
               Team& team) const {
    if (unwanted_ != nullptr)
      block.forward_narrow(parameters_, inputs, first, count);
    else
      block.forward(parameters_, inputs, first, count, sharing(team));
  }

  double add_block(Team& team, int worker, const Inputs<Scalar>& inputs,
                   const Targets<Scalar>& targets, Index first, Index count,
                   const GradientSums<Scalar>& sums) {
    Block<Scalar>& block = blocks_[static_cast<std::size_t>(worker)];
    forward(block, inputs, first, count, team);
    const double factor = 1.0 / divisor_;
    const double value = losses_[static_cast<std::size_t>(worker)].derivative(
        block.outputs(), targets, first, count, net_->output_scale(), factor);
    if (unwanted_ != nullptr)
      backward_narrow(block, worker, sums);
    else
      backward(block, sums, sharing(team));
    return value;
  }

  /// Adds the gradient of one block, whose outputs hold the derivative of the loss.
  void backward(Block<Scalar>& block, const GradientSums<Scalar>& sums,
                const Sharing& sharing) const {
    const Index last = net_->depth() - 1, count = block.count();
    add_gradient_last(block.features(last), block.outputs(), net_->inputs(last),
                      net_->outputs(last), count, sums.weights(last), sums.bias(last), sharing);
    for (Index layer = last; layer > sums_.lowest_trained(); --layer) {
      const auto weights = net_->weights(parameters_.flat(), layer);
      Scalar* slopes = block.slopes(layer - 1);
      if (layer == last)
        pull_back_last<Scalar>(weights, block.outputs(), count, block.product(), slopes, sharing);
      else
        pull_back<Scalar>(weights, block.slopes(layer), count, block.product(), slopes, sharing);
      add_gradient(block.features(layer - 1), slopes, net_->inputs(layer - 1),
                   net_->outputs(layer - 1), count, sums_.transposed(layer - 1),
                   sums.weights(layer - 1), sums.bias(layer - 1), sharing);
    }
  }

  /// The same for one narrow hidden layer and one output.
  void backward_narrow(Block<Scalar>& block, int worker, const GradientSums<Scalar>& sums) const {
    const Index inputs = net_->inputs(0), width = net_->outputs(0), count = block.count();
    Scalar* unwanted = unwanted_ + worker * width * inputs;
    const auto or_unwanted = [&](Scalar* sum) { return sum == nullptr ? unwanted : sum; };
    narrow::backward<Scalar>(
        net_->weights(parameters_.flat(), 1).data(), block.outputs(), block.features(1),
        block.slopes(0), block.features(0), inputs, width, count,
        {or_unwanted(sums.weights(0)), or_unwanted(sums.bias(0)), or_unwanted(sums.weights(1))});
    if (Scalar* bias = sums.bias(1)) bias[0] += static_cast<Scalar>(sum(block.outputs(), count));
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
  LaneSums<Scalar> sums_;
  PreparedParameters<Scalar> parameters_;
  Scalar* unwanted_ = nullptr;  ///< takes the sums of what is not trained
  std::vector<Block<Scalar>> blocks_;
  std::vector<BlockLoss<Scalar>> losses_;
  double* lane_risks_;
};

}  // namespace lipgd
