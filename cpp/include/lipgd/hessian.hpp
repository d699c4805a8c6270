#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "lipgd/risk.hpp"
#include "lipgd/tangent.hpp"

namespace lipgd {

/// The Hessian of the risk times a direction, by differentiating the gradient along the direction
/// (Pearlmutter 1994). At kinks the second derivative of the activation is taken as zero.
template <class Scalar>
class HessianSweep {
 public:
  /// Further products with the same parameters find the layers of all samples again if they fit
  /// into kept_bytes; beyond, they go through the layers once more. The bits are the same.
  HessianSweep(const Architecture& net, const Loss& loss, const std::vector<bool>& trained,
               Index n_samples, int workers, Arena& arena, Index kept_bytes = 0)
      : net_(&net),
        plan_(plan_sweep(net, n_samples, sizeof(Scalar))),
        lane_blocks_((plan_.lane_begin(1) + plan_.block - 1) / plan_.block),
        keeps_(all_blocks_bytes() <= kept_bytes),
        sums_(net, trained, plan_, arena),
        parameters_(net, arena),
        direction_(net, arena) {
    if (narrow::applies(net))
      unwanted_ = arena.take<Scalar>(checked_product(workers, net.outputs(0) * net.inputs(0)));
    for (int worker = 0; worker < workers; ++worker) scratch_.emplace_back(net, loss, plan_, arena);
    const Index blocks = keeps_ ? plan_.lanes * lane_blocks_ : workers;
    for (Index block = 0; block < blocks; ++block)
      blocks_.emplace_back(net, plan_.block, Keep::curvatures, arena);
  }

  /// Fills product (n_parameters), times e^shift for the logistic loss; direction is zero where
  /// nothing is trained. again: for the parameters of the last product.
  void operator()(Team& team, const Scalar* parameters, const Scalar* direction,
                  const Inputs<Scalar>& inputs, const Targets<Scalar>& targets, Scalar* product,
                  double shift = 0.0, bool again = false) {
    const bool forward = !(keeps_ && again);
    if (forward) parameters_.set(parameters);
    direction_.set(direction);
    for (Scratch& scratch : scratch_) scratch.loss.begin(shift);
    team.run(plan_.lanes, [&](Index lane, int worker) {
      const GradientSums<Scalar> sums = sums_.clear(lane);
      const Index end = plan_.lane_begin(lane + 1);
      Index place = keeps_ ? lane * lane_blocks_ : worker;
      for (Index first = plan_.lane_begin(lane); first < end && team.keep_going(worker);
           first += plan_.block) {
        Block<Scalar>& block = blocks_[static_cast<std::size_t>(place)];
        const Index count = std::min(plan_.block, end - first);
        if (forward && unwanted_ != nullptr)
          block.forward_narrow(parameters_, inputs, first, count);
        else if (forward)
          block.forward(parameters_, inputs, first, count);
        add_block(block, worker, targets, first, sums);
        if (keeps_) ++place;
      }
    });
    sums_.add(team, product);
  }

  /// The smallest margin that the last product met.
  double smallest_margin() const {
    double smallest = std::numeric_limits<double>::infinity();
    for (const Scratch& scratch : scratch_)
      smallest = std::min(smallest, scratch.loss.smallest_margin());
    return smallest;
  }

 private:
  /// What the blocks of all samples take.
  Index all_blocks_bytes() const {
    Arena counter;
    const Block<Scalar> block(*net_, plan_.block, Keep::curvatures, counter);
    return checked_product(counter.bytes(), plan_.lanes * lane_blocks_);
  }

  /// The tangents of a block, and the signals that come back with theirs.
  struct Scratch {
    Scratch(const Architecture& net, const Loss& loss_kind, const SweepPlan& plan, Arena& arena)
        : loss(loss_kind, net.n_outputs(), plan.block, arena), tangents(net, plan.block, arena) {
      Index widest = net.n_outputs() * plan.block;
      for (Index layer = 0; layer + 1 < net.depth(); ++layer)
        widest = std::max(widest, net.outputs(layer) * plan.block);
      for (Scalar*& signal : signals) signal = arena.take<Scalar>(widest);
      derivatives = arena.take<Scalar>(net.n_outputs() * plan.block);
    }
    BlockLoss<Scalar> loss;
    Tangents<Scalar> tangents;
    Scalar* signals[4];
    Scalar* derivatives;
  };
  using Map = MatrixMap<Scalar>;
  using ConstMap = ConstMatrixMap<Scalar>;

  void add_block(Block<Scalar>& block, int worker, const Targets<Scalar>& targets, Index first,
                 const GradientSums<Scalar>& sums) {
    Scratch& s = scratch_[static_cast<std::size_t>(worker)];
    const Index n_outputs = net_->n_outputs(), count = block.count();
    if (unwanted_ != nullptr)
      s.tangents.push_narrow(block, parameters_.flat(), direction_);
    else
      s.tangents.push(block, parameters_.flat(), direction_);
    const double factor = 1.0 / static_cast<double>(plan_.n_samples);
    s.loss.second_derivative(block.outputs(), s.tangents.outputs(), targets, first, count,
                             net_->output_scale(), factor);
    std::copy_n(block.outputs(), n_outputs * count, s.derivatives);
    s.loss.derivative(s.derivatives, targets, first, count, net_->output_scale(), factor);
    if (unwanted_ != nullptr) {
      pull_back_narrow(block, s, unwanted_ + worker * net_->outputs(0) * net_->inputs(0), sums);
      return;
    }
    // From here on a signal is (outputs of its layer, count), on the last layer too.
    Map(s.signals[0], n_outputs, count) = ConstMap(s.derivatives, count, n_outputs).transpose();
    Map(s.signals[1], n_outputs, count) =
        ConstMap(s.tangents.outputs(), count, n_outputs).transpose();
    pull_back_tangents(block, s, sums);
  }

  void pull_back_narrow(Block<Scalar>& block, Scratch& s, Scalar* unwanted,
                        const GradientSums<Scalar>& sums) const {
    const auto or_unwanted = [&](Scalar* sum) { return sum == nullptr ? unwanted : sum; };
    narrow::pull<Scalar>(
        net_->weights(parameters_.flat(), 1).data(), net_->weights(direction_.flat(), 1).data(),
        s.derivatives, s.tangents.outputs(),
        {block.features(1), block.slopes(0), block.curvatures(0)}, s.tangents.pre_activations(0),
        block.features(0), net_->inputs(0), net_->outputs(0), block.count(),
        {or_unwanted(sums.weights(0)), or_unwanted(sums.bias(0)), or_unwanted(sums.weights(1))});
    if (Scalar* bias = sums.bias(1))
      bias[0] += static_cast<Scalar>(sum(s.tangents.outputs(), block.count()));
  }

  void pull_back_tangents(Block<Scalar>& block, Scratch& s,
                          const GradientSums<Scalar>& sums) const {
    Scalar *signal = s.signals[0], *signal_tangent = s.signals[1];
    Scalar *next = s.signals[2], *next_tangent = s.signals[3];
    for (Index layer = net_->depth() - 1;; --layer) {
      add_gradient_tangent(block, s, layer, signal, signal_tangent, sums);
      if (layer == sums_.lowest_trained()) return;
      const Index in = net_->inputs(layer), size = in * block.count();
      if (net_->outputs(layer) == 1)
        pull_back_one(layer, signal, signal_tangent, block.count(), next, next_tangent);
      else
        pull_back_several(layer, signal, signal_tangent, block.count(), next, next_tangent);
      const Scalar *slope = block.slopes(layer - 1), *curvature = block.curvatures(layer - 1);
      const Scalar* z = s.tangents.pre_activations(layer - 1);
      LIPGD_ELEMENTWISE_LOOP
      for (Index i = 0; i < size; ++i) {
        next_tangent[i] = slope[i] * next_tangent[i] + curvature[i] * z[i] * next[i];
        next[i] *= slope[i];
      }
      std::swap(signal, next);
      std::swap(signal_tangent, next_tangent);
    }
  }

  /// Signals and their tangents by the inputs of a layer.
  void pull_back_several(Index layer, const Scalar* signal, const Scalar* signal_tangent,
                         Index count, Scalar* next, Scalar* next_tangent) const {
    const Index in = net_->inputs(layer), out = net_->outputs(layer);
    const auto weights = net_->weights(parameters_.flat(), layer);
    const ConstMap delta(signal, out, count), delta_tangent(signal_tangent, out, count);
    Map(next, in, count).noalias() = weights * delta;
    Map(next_tangent, in, count).noalias() = weights * delta_tangent;
    Map(next_tangent, in, count).noalias() += net_->weights(direction_.flat(), layer) * delta;
  }

  /// The same for a layer with one output, where products are poor.
  void pull_back_one(Index layer, const Scalar* signal, const Scalar* signal_tangent, Index count,
                     Scalar* next, Scalar* next_tangent) const {
    const Index in = net_->inputs(layer);
    const Scalar* w = parameters_.flat() + net_->weight_offset(layer);
    const Scalar* v = direction_.flat() + net_->weight_offset(layer);
    for (Index n = 0; n < count; ++n) {
      const Scalar delta = signal[n], delta_tangent = signal_tangent[n];
      Scalar *to = next + n * in, *to_tangent = next_tangent + n * in;
      LIPGD_ELEMENTWISE_LOOP
      for (Index i = 0; i < in; ++i) {
        to[i] = w[i] * delta;
        to_tangent[i] = w[i] * delta_tangent + v[i] * delta;
      }
    }
  }

  void add_gradient_tangent(Block<Scalar>& block, Scratch& s, Index layer, const Scalar* signal,
                            const Scalar* signal_tangent, const GradientSums<Scalar>& sums) const {
    const Index in = net_->inputs(layer), out = net_->outputs(layer), count = block.count();
    const bool transposed = sums_.transposed(layer);
    add_gradient(block.features(layer), signal_tangent, in, out, count, transposed,
                 sums.weights(layer), sums.bias(layer));
    if (layer > 0)
      add_gradient<Scalar>(s.tangents.features(layer), signal, in, out, count, transposed,
                           sums.weights(layer), nullptr);
  }

  const Architecture* net_;
  SweepPlan plan_;
  Index lane_blocks_;  ///< the most blocks of a lane
  bool keeps_;
  LaneSums<Scalar> sums_;
  PreparedParameters<Scalar> parameters_, direction_;
  Scalar* unwanted_ = nullptr;  ///< takes the sums of what is not trained, in narrow passes
  std::vector<Block<Scalar>> blocks_;
  std::vector<Scratch> scratch_;
};

}  // namespace lipgd
