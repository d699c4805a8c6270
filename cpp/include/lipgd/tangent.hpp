#pragma once

#include <algorithm>
#include <vector>

#include "lipgd/block.hpp"
#include "lipgd/narrow_tangent.hpp"
#include "lipgd/sweep.hpp"

namespace lipgd {

/// The derivative of every layer of a block along a direction in the space of the parameters.
template <class Scalar>
class Tangents {
 public:
  Tangents(const Architecture& net, Index capacity, Arena& arena) : net_(&net) {
    for (Index layer = 0; layer + 1 < net.depth(); ++layer) {
      const Index size = checked_product(net.outputs(layer), capacity);
      pre_activations_.push_back(arena.take<Scalar>(size));
      features_.push_back(arena.take<Scalar>(size));
    }
    const Index size = checked_product(net.n_outputs(), capacity);
    last_ = arena.take<Scalar>(size);
    outputs_ = arena.take<Scalar>(size);
    if (narrow::applies(net))
      partial_ = arena.take<Scalar>(checked_product(narrow::lanes_of<Scalar>, capacity));
  }

  /// For a block that went forward and kept its slopes.
  void push(Block<Scalar>& block, const Scalar* parameters,
            const PreparedParameters<Scalar>& direction) {
    const Index last = net_->depth() - 1, count = block.count();
    for (Index layer = 0; layer <= last; ++layer) {
      const Index in = net_->inputs(layer), out = net_->outputs(layer), size = out * count;
      Scalar* z = layer == last ? last_ : pre_activations_[static_cast<std::size_t>(layer)];
      apply_direction(direction, layer, block.features(layer), count, z);
      if (layer > 0)
        MatrixMap<Scalar>(z, out, count).noalias() +=
            net_->weights(parameters, layer).transpose() *
            ConstMatrixMap<Scalar>(features(layer), in, count);
      if (layer == last) {
        MatrixMap<Scalar>(outputs_, count, out) = ConstMatrixMap<Scalar>(z, out, count).transpose();
        return;
      }
      const Scalar* slope = block.slopes(layer);
      Scalar* tangent = features_[static_cast<std::size_t>(layer)];
      LIPGD_ELEMENTWISE_LOOP
      for (Index i = 0; i < size; ++i) tangent[i] = slope[i] * z[i];
    }
  }

  /// The same for a block that went forward in strips; the pre-activations hold theirs then.
  void push_narrow(Block<Scalar>& block, const Scalar* parameters,
                   const PreparedParameters<Scalar>& direction) {
    const Scalar* v = direction.narrow_layer(0);
    const Scalar* outer_bias = net_->bias(direction.flat(), 1);
    const Index inputs = net_->inputs(0), width = net_->outputs(0);
    narrow::push<Scalar>(net_->weights(parameters, 1).data(),
                         {v, v + inputs * width, net_->weights(direction.flat(), 1).data(),
                          outer_bias == nullptr ? Scalar(0) : outer_bias[0]},
                         block.features(0), inputs, width, block.count(),
                         {block.features(1), block.slopes(0), nullptr}, pre_activations_[0],
                         outputs_, partial_);
  }

  /// Of what a hidden layer applies its activation to, and of the input of a layer above the first:
  /// (neurons, count).
  const Scalar* pre_activations(Index layer) const {
    return pre_activations_[static_cast<std::size_t>(layer)];
  }
  const Scalar* features(Index layer) const {
    return features_[static_cast<std::size_t>(layer) - 1];
  }
  /// (count, n_outputs), before the output scale.
  Scalar* outputs() { return outputs_; }

 private:
  /// z = V h + c with the direction's weights and bias of a layer.
  void apply_direction(const PreparedParameters<Scalar>& direction, Index layer, const Scalar* h,
                       Index count, Scalar* z) const {
    const Index in = net_->inputs(layer), out = net_->outputs(layer);
    const Scalar* bias = net_->bias(direction.flat(), layer);
    if (const Scalar* narrow_layer = direction.narrow_layer(layer))
      narrow::affine(narrow_layer, narrow_layer + in * out, h, in, out, count, z);
    else if (const Scalar* panels = direction.panels(layer))
      affine_packed(panels, bias, h, in, out, count, z);
    else
      affine<Scalar>(net_->weights(direction.flat(), layer), bias, h, count, z);
  }

  const Architecture* net_;
  std::vector<Scalar*> pre_activations_, features_;
  Scalar *last_, *outputs_;
  Scalar* partial_ = nullptr;
};

/// The outputs of a network with one output and their derivatives along a direction, block by
/// block. The partition and so the bits depend on the shapes alone.
template <class Scalar>
class TangentSweep {
 public:
  TangentSweep(const Architecture& net, Index n_samples, int workers, Arena& arena)
      : net_(&net),
        parameters_(net, arena),
        direction_(net, arena),
        n_samples_(n_samples),
        block_size_(std::max(
            Index{1},
            std::min(n_samples, detail::block_size(net, 2 * static_cast<Index>(sizeof(Scalar)))))) {
    require(net.n_outputs() == 1, "margins are those of a network with one output");
    for (int worker = 0; worker < workers; ++worker) {
      blocks_.emplace_back(net, block_size_, Keep::slopes, arena);
      tangents_.emplace_back(net, block_size_, arena);
    }
  }

  /// Writes f(x) and its derivative of every sample: outputs, tangents (n_samples). Without a
  /// direction (null) there are outputs alone.
  void operator()(Team& team, const Scalar* parameters, const Scalar* direction,
                  const Inputs<Scalar>& inputs, Scalar* outputs, Scalar* tangents) {
    const auto scale = static_cast<Scalar>(net_->output_scale());
    parameters_.set(parameters);
    if (direction != nullptr) direction_.set(direction);
    const Index blocks = (n_samples_ + block_size_ - 1) / block_size_;
    team.run(blocks, [&](Index task, int worker) {
      if (!team.keep_going(worker)) return;
      const Index first = task * block_size_, count = std::min(block_size_, n_samples_ - first);
      Block<Scalar>& block = blocks_[static_cast<std::size_t>(worker)];
      Tangents<Scalar>& along = tangents_[static_cast<std::size_t>(worker)];
      block.forward(parameters_, inputs, first, count);
      for (Index n = 0; n < count; ++n) outputs[first + n] = scale * block.outputs()[n];
      if (direction == nullptr) return;
      along.push(block, parameters, direction_);
      for (Index n = 0; n < count; ++n) tangents[first + n] = scale * along.outputs()[n];
    });
  }

 private:
  const Architecture* net_;
  PreparedParameters<Scalar> parameters_, direction_;
  Index n_samples_;
  Index block_size_;
  std::vector<Block<Scalar>> blocks_;
  std::vector<Tangents<Scalar>> tangents_;
};

}  // namespace lipgd
