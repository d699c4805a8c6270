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
  HessianSweep(const Architecture& net, const Loss& loss, const std::vector<bool>& trained,
               Index n_samples, int workers, Arena& arena)
      : net_(&net),
        plan_(plan_sweep(net, n_samples, sizeof(Scalar))),
        sums_(net, trained, plan_, arena),
        parameters_(net, arena) {
    for (int worker = 0; worker < workers; ++worker) scratch_.emplace_back(net, loss, plan_, arena);
  }

  /// Fills product (n_parameters), times e^shift for the logistic loss; direction is zero where
  /// nothing is trained.
  void operator()(Team& team, const Scalar* parameters, const Scalar* direction,
                  const Inputs<Scalar>& inputs, const Targets<Scalar>& targets, Scalar* product,
                  double shift = 0.0) {
    parameters_.set(parameters);
    for (Scratch& scratch : scratch_) scratch.loss.begin(shift);
    team.run(plan_.lanes, [&](Index lane, int worker) {
      const GradientSums<Scalar> sums = sums_.clear(lane);
      const Index end = plan_.lane_begin(lane + 1);
      for (Index first = plan_.lane_begin(lane); first < end && team.keep_going(worker);
           first += plan_.block)
        add_block(scratch_[static_cast<std::size_t>(worker)], parameters, direction, inputs,
                  targets, first, std::min(plan_.block, end - first), sums);
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
  /// A block, its tangents, and the signals that come back with theirs.
  struct Scratch {
    Scratch(const Architecture& net, const Loss& loss_kind, const SweepPlan& plan, Arena& arena)
        : block(net, plan.block, Keep::curvatures, arena),
          loss(loss_kind, net.n_outputs(), plan.block, arena),
          tangents(net, plan.block, arena) {
      Index widest = net.n_outputs() * plan.block;
      for (Index layer = 0; layer + 1 < net.depth(); ++layer)
        widest = std::max(widest, net.outputs(layer) * plan.block);
      for (Scalar*& signal : signals) signal = arena.take<Scalar>(widest);
    }
    Block<Scalar> block;
    BlockLoss<Scalar> loss;
    Tangents<Scalar> tangents;
    Scalar* signals[4];
  };
  using Map = MatrixMap<Scalar>;
  using ConstMap = ConstMatrixMap<Scalar>;

  void add_block(Scratch& s, const Scalar* parameters, const Scalar* direction,
                 const Inputs<Scalar>& inputs, const Targets<Scalar>& targets, Index first,
                 Index count, const GradientSums<Scalar>& sums) const {
    s.block.forward(parameters_, inputs, first, count);
    s.tangents.push(s.block, parameters, direction);
    const Index n_outputs = net_->n_outputs();
    const double factor = 1.0 / static_cast<double>(plan_.n_samples);
    s.loss.second_derivative(s.block.outputs(), s.tangents.outputs(), targets, first, count,
                             net_->output_scale(), factor);
    s.loss.derivative(s.block.outputs(), targets, first, count, net_->output_scale(), factor);
    // From here on a signal is (outputs of its layer, count), on the last layer too.
    Map(s.signals[0], n_outputs, count) = ConstMap(s.block.outputs(), count, n_outputs).transpose();
    Map(s.signals[1], n_outputs, count) =
        ConstMap(s.tangents.outputs(), count, n_outputs).transpose();
    pull_back_tangents(s, parameters, direction, count, sums);
  }

  void pull_back_tangents(Scratch& s, const Scalar* parameters, const Scalar* direction,
                          Index count, const GradientSums<Scalar>& sums) const {
    Scalar *signal = s.signals[0], *signal_tangent = s.signals[1];
    Scalar *next = s.signals[2], *next_tangent = s.signals[3];
    for (Index layer = net_->depth() - 1;; --layer) {
      add_gradient_tangent(s, layer, signal, signal_tangent, count, sums);
      if (layer == sums_.lowest_trained()) return;
      const Index in = net_->inputs(layer), out = net_->outputs(layer), size = in * count;
      const ConstMap delta(signal, out, count), delta_tangent(signal_tangent, out, count);
      Map(next, in, count).noalias() = net_->weights(parameters, layer) * delta;
      Map(next_tangent, in, count).noalias() = net_->weights(parameters, layer) * delta_tangent;
      Map(next_tangent, in, count).noalias() += net_->weights(direction, layer) * delta;
      const Scalar *slope = s.block.slopes(layer - 1), *curvature = s.block.curvatures(layer - 1);
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

  void add_gradient_tangent(Scratch& s, Index layer, const Scalar* signal,
                            const Scalar* signal_tangent, Index count,
                            const GradientSums<Scalar>& sums) const {
    const Index in = net_->inputs(layer), out = net_->outputs(layer);
    const bool transposed = sums_.transposed(layer);
    add_gradient(s.block.features(layer), signal_tangent, in, out, count, transposed,
                 sums.weights(layer), sums.bias(layer));
    if (layer > 0)
      add_gradient<Scalar>(s.tangents.features(layer), signal, in, out, count, transposed,
                           sums.weights(layer), nullptr);
  }

  const Architecture* net_;
  SweepPlan plan_;
  LaneSums<Scalar> sums_;
  PreparedParameters<Scalar> parameters_;
  std::vector<Scratch> scratch_;
};

}  // namespace lipgd
