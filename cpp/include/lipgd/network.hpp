#pragma once

#include <vector>

#include "lipgd/activation.hpp"
#include "lipgd/check.hpp"

namespace lipgd {

/// What defines a dense network besides the values of its parameters:
/// f(x) = output_scale * (W_L s(... s(W_1 x + b_1) ...) + b_L).
///
/// The parameters are one flat array: W_1, b_1, W_2, b_2, ..., where each W_l is a C-order array
/// (outputs, inputs) of its layer, and a layer without bias has none.
class Architecture {
 public:
  /// One weight matrix or one bias vector within the flat array.
  struct Group {
    Index layer;
    bool is_bias;
    Index offset;
    Index size;
  };

  /// sizes: inputs, hidden widths, outputs; has_bias: one flag per layer.
  Architecture(std::vector<Index> sizes, const std::vector<bool>& has_bias, Activation activation,
               double output_scale)
      : sizes_(std::move(sizes)), activation_(activation), output_scale_(output_scale) {
    require(sizes_.size() >= 2, "a network needs at least one layer");
    require(has_bias.size() == sizes_.size() - 1, "one bias flag per layer is needed");
    for (const Index size : sizes_) require(size > 0, "layer sizes must be positive");
    for (Index layer = 0; layer < depth(); ++layer) {
      weight_offsets_.push_back(n_parameters_);
      append({layer, false, n_parameters_, checked_product(outputs(layer), inputs(layer))});
      const bool bias = has_bias[static_cast<std::size_t>(layer)];
      bias_offsets_.push_back(bias ? n_parameters_ : Index{-1});
      if (bias) append({layer, true, n_parameters_, outputs(layer)});
    }
  }

  /// The number of weight matrices.
  Index depth() const { return static_cast<Index>(sizes_.size()) - 1; }
  Index inputs(Index layer) const { return sizes_[static_cast<std::size_t>(layer)]; }
  Index outputs(Index layer) const { return sizes_[static_cast<std::size_t>(layer) + 1]; }
  Index n_inputs() const { return sizes_.front(); }
  Index n_outputs() const { return sizes_.back(); }
  Index n_parameters() const { return n_parameters_; }
  const std::vector<Index>& sizes() const { return sizes_; }
  const std::vector<Group>& groups() const { return groups_; }
  const Activation& activation() const { return activation_; }
  double output_scale() const { return output_scale_; }

  Index weight_offset(Index layer) const {
    return weight_offsets_[static_cast<std::size_t>(layer)];
  }
  /// The position of a layer's bias, or -1.
  Index bias_offset(Index layer) const { return bias_offsets_[static_cast<std::size_t>(layer)]; }

  /// The transpose of W_l as a column-major matrix (inputs, outputs).
  template <class Scalar>
  ConstMatrixMap<Scalar> weights(const Scalar* parameters, Index layer) const {
    return {parameters + weight_offset(layer), inputs(layer), outputs(layer)};
  }
  template <class Scalar>
  MatrixMap<Scalar> weights(Scalar* parameters, Index layer) const {
    return {parameters + weight_offset(layer), inputs(layer), outputs(layer)};
  }
  /// The bias of a layer, or null.
  template <class Scalar>
  Scalar* bias(Scalar* parameters, Index layer) const {
    const Index offset = bias_offset(layer);
    return offset < 0 ? nullptr : parameters + offset;
  }

 private:
  void append(const Group& group) {
    groups_.push_back(group);
    n_parameters_ += group.size;
  }

  std::vector<Index> sizes_;
  Activation activation_;
  double output_scale_;
  Index n_parameters_ = 0;
  std::vector<Group> groups_;
  std::vector<Index> weight_offsets_;
  std::vector<Index> bias_offsets_;
};

}  // namespace lipgd
