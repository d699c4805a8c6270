#pragma once

#include <algorithm>
#include <vector>

#include "lipgd/block.hpp"
#include "lipgd/sweep.hpp"

namespace lipgd {

/// The passes of a network layer by layer: parameters, blocks of the workers, and the gradients of
/// the lanes.
template <class Scalar>
class LayerPass {
 public:
  /// trained: as for a RiskSweep.
  LayerPass(const Architecture& net, const std::vector<bool>& trained, const SweepPlan& plan,
            int workers, Arena& arena)
      : net_(&net), plan_(plan), sums_(net, trained, plan, arena), parameters_(net, arena) {
    if (narrow::applies(net))
      unwanted_ = arena.take<Scalar>(checked_product(workers, net.outputs(0) * net.inputs(0)));
    for (int worker = 0; worker < workers; ++worker)
      blocks_.emplace_back(net, plan.block, trained.empty() ? Keep::values : Keep::slopes, arena);
    lane_sums_.resize(static_cast<std::size_t>(workers));
  }

  void set(const Scalar* parameters) { parameters_.set(parameters); }

  /// The outputs of a block, before the output scale; they may be overwritten.
  Scalar* forward(Team& team, int worker, const Inputs<Scalar>& inputs, Index first, Index count) {
    Block<Scalar>& block = blocks_[static_cast<std::size_t>(worker)];
    if (unwanted_ != nullptr)
      block.forward_narrow(parameters_, inputs, first, count);
    else
      block.forward(parameters_, inputs, first, count, sharing(team));
    return block.outputs();
  }

  /// A worker begins a lane, whose sums are zero then.
  void begin(int worker, Index lane) {
    lane_sums_[static_cast<std::size_t>(worker)] = sums_.clear(lane);
  }

  /// Adds the gradient of a worker's last block, whose outputs have become the derivatives of the
  /// loss.
  void backward(Team& team, int worker) {
    Block<Scalar>& block = blocks_[static_cast<std::size_t>(worker)];
    const GradientSums<Scalar>& sums = lane_sums_[static_cast<std::size_t>(worker)];
    if (unwanted_ != nullptr)
      backward_narrow(block, worker, sums);
    else
      backward_layers(block, sums, sharing(team));
  }

  void add(Team& team, Scalar* gradient) const { sums_.add(team, gradient); }

 private:
  /// One lane leaves the threads to the products of its blocks.
  Sharing sharing(Team& team) const { return plan_.shares_blocks ? Sharing(team) : Sharing(); }

  /// Adds the gradient of one block, whose outputs hold the derivative of the loss.
  void backward_layers(Block<Scalar>& block, const GradientSums<Scalar>& sums,
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

  const Architecture* net_;
  SweepPlan plan_;
  LaneSums<Scalar> sums_;
  PreparedParameters<Scalar> parameters_;
  Scalar* unwanted_ = nullptr;  ///< takes the sums of what is not trained
  std::vector<Block<Scalar>> blocks_;
  std::vector<GradientSums<Scalar>> lane_sums_;  ///< of the lanes at work
};

}  // namespace lipgd
