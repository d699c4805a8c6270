#pragma once

#include <vector>

#include "lipgd/block.hpp"
#include "lipgd/spectral.hpp"
#include "lipgd/sweep.hpp"

namespace lipgd {

/// The outputs of a network and their derivatives by the inputs, block by block. The partition and
/// so the bits depend on the shapes alone.
template <class Scalar>
class InputSweep {
 public:
  InputSweep(const Architecture& net, Index n_samples, bool with_jacobian, int workers,
             Arena& arena)
      : net_(&net),
        parameters_(net, arena),
        n_samples_(n_samples),
        block_size_(detail::block_size(net, static_cast<Index>(sizeof(Scalar)))) {
    const Index jacobian_size = checked_product(net.n_inputs(), net.n_outputs());
    if (with_jacobian) block_size_ = std::min(block_size_, jacobian_elements / jacobian_size);
    block_size_ = std::max(Index{1}, std::min(block_size_, n_samples));
    for (int worker = 0; worker < workers; ++worker) {
      blocks_.emplace_back(net, block_size_, with_jacobian ? Keep::slopes : Keep::values, arena);
      if (!with_jacobian) continue;
      signals_.push_back(arena.take<Scalar>(checked_product(2 * widest(), block_size_)));
      jacobians_.push_back(arena.take<Scalar>(checked_product(jacobian_size, block_size_)));
    }
  }

  /// Writes f(x) of every sample: out (n_samples, n_outputs) in C order.
  void outputs(Team& team, const Scalar* parameters, const Inputs<Scalar>& inputs, Scalar* out) {
    const auto scale = static_cast<Scalar>(net_->output_scale());
    parameters_.set(parameters);
    each_block(team, [&](Index first, Index count, int worker) {
      Block<Scalar>& block = blocks_[static_cast<std::size_t>(worker)];
      block.forward(parameters_, inputs, first, count);
      const Index n_outputs = net_->n_outputs();
      for (Index j = 0; j < n_outputs; ++j)
        for (Index n = 0; n < count; ++n)
          out[(first + n) * n_outputs + j] = scale * block.outputs()[j * count + n];
    });
  }

  /// Calls use(first, count, jacobians, worker) per block; jacobians holds (n_outputs, n_inputs) in
  /// C order for each of its samples.
  template <class Use>
  void jacobians(Team& team, const Scalar* parameters, const Inputs<Scalar>& inputs,
                 const Use& use) {
    parameters_.set(parameters);
    each_block(team, [&](Index first, Index count, int worker) {
      Block<Scalar>& block = blocks_[static_cast<std::size_t>(worker)];
      block.forward(parameters_, inputs, first, count);
      Scalar* jacobians = jacobians_[static_cast<std::size_t>(worker)];
      for (Index j = 0; j < net_->n_outputs(); ++j)
        pull_back_output(block, parameters, j, signals_[static_cast<std::size_t>(worker)],
                         jacobians);
      use(first, count, jacobians, worker);
    });
  }

  /// Writes the spectral norm of every sample's Jacobian, from below: norms (n_samples).
  void jacobian_norms(Team& team, const Scalar* parameters, const Inputs<Scalar>& inputs,
                      double* norms) {
    const Index rows = net_->n_outputs(), columns = net_->n_inputs();
    jacobians(team, parameters, inputs,
              [&](Index first, Index count, Scalar* jacobians, int worker) {
                SpectralNorm norm;
                for (Index n = 0; n < count && team.keep_going(worker); ++n) {
                  // Every sample starts afresh: its result must not depend on its neighbours.
                  norm.forget();
                  const Scalar* jacobian = jacobians + n * rows * columns;
                  norms[first + n] = norm(jacobian, columns, rows).lower;
                }
              });
  }

 private:
  template <class BlockFunction>
  void each_block(Team& team, const BlockFunction& f) const {
    const Index blocks = (n_samples_ + block_size_ - 1) / block_size_;
    team.run(blocks, [&](Index task, int worker) {
      if (!team.keep_going(worker)) return;
      const Index first = task * block_size_;
      f(first, std::min(block_size_, n_samples_ - first), worker);
    });
  }

  /// The gradient of output j by the inputs, into its row of every sample's Jacobian.
  void pull_back_output(Block<Scalar>& block, const Scalar* parameters, Index j, Scalar* signal,
                        Scalar* jacobians) const {
    const Index last = net_->depth() - 1, count = block.count(), in = net_->n_inputs();
    const Scalar* row = net_->weights(parameters, last).data() + j * net_->inputs(last);
    for (Index n = 0; n < count; ++n)
      std::copy_n(row, net_->inputs(last), signal + n * net_->inputs(last));
    Scalar* other = signal + widest() * block_size_;
    for (Index layer = last; layer > 0; --layer) {
      const Index size = net_->inputs(layer) * count;
      const Scalar* slope = block.slopes(layer - 1);
      LIPGD_ELEMENTWISE_LOOP
      for (Index i = 0; i < size; ++i) signal[i] *= slope[i];
      MatrixMap<Scalar>(other, net_->inputs(layer - 1), count).noalias() =
          net_->weights(parameters, layer - 1) *
          ConstMatrixMap<Scalar>(signal, net_->outputs(layer - 1), count);
      std::swap(signal, other);
    }
    const auto scale = static_cast<Scalar>(net_->output_scale());
    for (Index n = 0; n < count; ++n)
      for (Index i = 0; i < in; ++i)
        jacobians[(n * net_->n_outputs() + j) * in + i] = scale * signal[n * in + i];
  }

  static constexpr Index jacobian_elements = Index{1} << 18;

  Index widest() const {
    Index size = 1;
    for (Index layer = 0; layer < net_->depth(); ++layer)
      size = std::max(size, net_->inputs(layer));
    return size;
  }

  const Architecture* net_;
  PreparedParameters<Scalar> parameters_;
  Index n_samples_;
  Index block_size_;
  std::vector<Block<Scalar>> blocks_;
  std::vector<Scalar*> signals_, jacobians_;
};

}  // namespace lipgd
