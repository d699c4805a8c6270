#pragma once

#include <vector>

#include "lipgd/risk.hpp"

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

  /// Fills product (n_parameters); direction is zero where nothing is trained.
  void operator()(Team& team, const Scalar* parameters, const Scalar* direction,
                  const Inputs<Scalar>& inputs, const Targets<Scalar>& targets, Scalar* product) {
    parameters_.set(parameters);
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

 private:
  /// The tangents of all layers of a block: those of pre-activations, of features, of signals.
  struct Scratch {
    Scratch(const Architecture& net, const Loss& loss_kind, const SweepPlan& plan, Arena& arena)
        : block(net, plan.block, Keep::curvatures, arena),
          loss(loss_kind, net.n_outputs(), plan.block, arena) {
      Index widest = net.n_outputs() * plan.block;
      for (Index layer = 0; layer + 1 < net.depth(); ++layer) {
        const Index size = net.outputs(layer) * plan.block;
        pre_tangents.push_back(arena.take<Scalar>(size));
        tangents.push_back(arena.take<Scalar>(size));
        widest = std::max(widest, size);
      }
      for (Scalar*& signal : signals) signal = arena.take<Scalar>(widest);
      output_tangent = arena.take<Scalar>(net.n_outputs() * plan.block);
    }
    Block<Scalar> block;
    BlockLoss<Scalar> loss;
    std::vector<Scalar*> pre_tangents, tangents;
    Scalar* signals[4];
    Scalar* output_tangent;
  };
  using Map = MatrixMap<Scalar>;
  using ConstMap = ConstMatrixMap<Scalar>;

  void add_block(Scratch& s, const Scalar* parameters, const Scalar* direction,
                 const Inputs<Scalar>& inputs, const Targets<Scalar>& targets, Index first,
                 Index count, const GradientSums<Scalar>& sums) const {
    s.block.forward(parameters_, inputs, first, count);
    push_tangents(s, parameters, direction, count);
    const Index n_outputs = net_->n_outputs();
    const double factor = 1.0 / static_cast<double>(plan_.n_samples);
    s.loss.second_derivative(s.block.outputs(), s.output_tangent, targets, first, count,
                             net_->output_scale(), factor);
    s.loss.derivative(s.block.outputs(), targets, first, count, net_->output_scale(), factor);
    // From here on a signal is (outputs of its layer, count), on the last layer too.
    Map(s.signals[0], n_outputs, count) = ConstMap(s.block.outputs(), count, n_outputs).transpose();
    Map(s.signals[1], n_outputs, count) = ConstMap(s.output_tangent, count, n_outputs).transpose();
    pull_back_tangents(s, parameters, direction, count, sums);
  }

  /// The derivative of every layer along the direction.
  void push_tangents(Scratch& s, const Scalar* parameters, const Scalar* direction,
                     Index count) const {
    const Index last = net_->depth() - 1;
    for (Index layer = 0; layer <= last; ++layer) {
      const Index in = net_->inputs(layer), out = net_->outputs(layer), size = out * count;
      Scalar* z = layer == last ? s.signals[0] : s.pre_tangents[static_cast<std::size_t>(layer)];
      affine<Scalar>(net_->weights(direction, layer), net_->bias(direction, layer),
                     s.block.features(layer), count, z);
      if (layer > 0)
        Map(z, out, count).noalias() +=
            net_->weights(parameters, layer).transpose() *
            ConstMap(s.tangents[static_cast<std::size_t>(layer) - 1], in, count);
      if (layer == last) {
        Map(s.output_tangent, count, out) = ConstMap(z, out, count).transpose();
        return;
      }
      const Scalar* slope = s.block.slopes(layer);
      Scalar* tangent = s.tangents[static_cast<std::size_t>(layer)];
      LIPGD_ELEMENTWISE_LOOP
      for (Index i = 0; i < size; ++i) tangent[i] = slope[i] * z[i];
    }
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
      const Scalar* z = s.pre_tangents[static_cast<std::size_t>(layer) - 1];
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
      add_gradient<Scalar>(s.tangents[static_cast<std::size_t>(layer) - 1], signal, in, out, count,
                           transposed, sums.weights(layer), nullptr);
  }

  const Architecture* net_;
  SweepPlan plan_;
  LaneSums<Scalar> sums_;
  PreparedParameters<Scalar> parameters_;
  std::vector<Scratch> scratch_;
};

}  // namespace lipgd
