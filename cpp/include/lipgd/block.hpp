#pragma once

#include <algorithm>
#include <vector>

#include "lipgd/narrow.hpp"
#include "lipgd/product.hpp"
#include "lipgd/samples.hpp"

namespace lipgd {

/// How much of a pass over the layers is kept.
enum class Keep { values, slopes, curvatures };

/// The layers of one block of samples, in the scratch memory of one worker.
template <class Scalar>
class Block {
 public:
  Block(const Architecture& architecture, Index capacity, Keep keep, Arena& arena)
      : architecture_(&architecture), keep_(keep) {
    staged_ = arena.take<Scalar>(checked_product(architecture.n_inputs(), capacity));
    Index widest = 0;
    for (Index layer = 0; layer + 1 < architecture.depth(); ++layer)
      widest = std::max(widest, checked_product(architecture.outputs(layer), capacity));
    for (Index layer = 0; layer + 1 < architecture.depth(); ++layer) {
      const Index size = architecture.outputs(layer) * capacity;
      if (keep == Keep::values) {
        // Two buffers in turn: only the neighbour is needed.
        values_.push_back(layer < 2 ? arena.take<Scalar>(widest) : values_[values_.size() - 2]);
        continue;
      }
      values_.push_back(arena.take<Scalar>(size));
      slopes_.push_back(arena.take<Scalar>(size));
      if (keep == Keep::curvatures) curvatures_.push_back(arena.take<Scalar>(size));
    }
    if (keep != Keep::values) product_ = arena.take<Scalar>(widest);
    outputs_ = arena.take<Scalar>(checked_product(architecture.n_outputs(), capacity));
    if (narrow::applies(architecture))
      partial_ = arena.take<Scalar>(checked_product(narrow::lanes_of<Scalar>, capacity));
  }

  /// Runs the samples first, ..., first + count - 1 through the layers; the outputs are those
  /// before the output scale.
  void forward(const PreparedParameters<Scalar>& parameters, const Inputs<Scalar>& inputs,
               Index first, Index count, const Sharing& sharing = {}) {
    const Architecture& net = *architecture_;
    count_ = count;
    inputs_ = inputs.block(first, count, staged_);
    const Scalar* h = inputs_;
    const Index last = net.depth() - 1;
    for (Index layer = 0; layer < last; ++layer) {
      Scalar* z = values_[static_cast<std::size_t>(layer)];
      if (const Scalar* narrow_layer = parameters.narrow_layer(layer))
        narrow::affine(narrow_layer, narrow_layer + net.inputs(layer) * net.outputs(layer), h,
                       net.inputs(layer), net.outputs(layer), count, z);
      else if (const Scalar* panels = parameters.panels(layer))
        affine_packed(panels, net.bias(parameters.flat(), layer), h, net.inputs(layer),
                      net.outputs(layer), count, z, sharing);
      else
        affine<Scalar>(net.weights(parameters.flat(), layer), net.bias(parameters.flat(), layer), h,
                       count, z, sharing);
      sharing.split(net.outputs(layer) * count,
                    [&](Index begin, Index size) { apply_activation(layer, begin, size); });
      h = z;
    }
    affine_last<Scalar>(net.weights(parameters.flat(), last), net.bias(parameters.flat(), last), h,
                        count, outputs_);
  }

  /// The same for a network that narrow passes are for; features and slopes hold their strips then.
  void forward_narrow(const PreparedParameters<Scalar>& parameters, const Inputs<Scalar>& inputs,
                      Index first, Index count) {
    const Architecture& net = *architecture_;
    count_ = count;
    inputs_ = inputs.block(first, count, staged_);
    const Scalar* w = parameters.narrow_layer(0);
    const Scalar* outer_bias = net.bias(parameters.flat(), 1);
    narrow::forward(net.activation(), w, w + net.inputs(0) * net.outputs(0),
                    net.weights(parameters.flat(), 1).data(),
                    outer_bias == nullptr ? Scalar(0) : outer_bias[0], inputs_, net.inputs(0),
                    net.outputs(0), count, values_[0], keep_ == Keep::values ? nullptr : slopes_[0],
                    keep_ == Keep::curvatures ? curvatures_[0] : nullptr, outputs_, partial_);
  }

  Index count() const { return count_; }
  /// The input of a layer: (inputs(layer), count).
  const Scalar* features(Index layer) const {
    return layer == 0 ? inputs_ : values_[static_cast<std::size_t>(layer) - 1];
  }
  Scalar* slopes(Index layer) { return slopes_[static_cast<std::size_t>(layer)]; }
  Scalar* curvatures(Index layer) { return curvatures_[static_cast<std::size_t>(layer)]; }
  /// (count, n_outputs): the samples of one output are next to each other.
  Scalar* outputs() { return outputs_; }
  /// Room for one layer of the block.
  Scalar* product() { return product_; }

 private:
  void apply_activation(Index layer, Index begin, Index size) {
    const Activation& activation = architecture_->activation();
    Scalar* z = values_[static_cast<std::size_t>(layer)] + begin;
    if (keep_ == Keep::values)
      activate(activation, size, z, z);
    else if (keep_ == Keep::slopes)
      activate(activation, size, z, z, slopes(layer) + begin);
    else
      activate(activation, size, z, z, slopes(layer) + begin, curvatures(layer) + begin);
  }

  const Architecture* architecture_;
  Keep keep_;
  Index count_ = 0;
  const Scalar* inputs_ = nullptr;
  Scalar* staged_;
  Scalar* product_ = nullptr;
  Scalar* outputs_;
  Scalar* partial_ = nullptr;
  std::vector<Scalar*> values_, slopes_, curvatures_;
};

}  // namespace lipgd
