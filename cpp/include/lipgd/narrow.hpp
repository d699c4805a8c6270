#pragma once

#include <utility>
#include <vector>

#include "lipgd/arena.hpp"
#include "lipgd/network.hpp"

// Layers with few inputs. A general product spends more on packing and on moving its result than on
// these sums, so they have kernels that keep the sums over the inputs in registers.

namespace lipgd {

namespace narrow {

constexpr Index max_inputs = 16;

/// Whether a layer has kernels here.
inline bool applies(const Architecture& net, Index layer) {
  return net.inputs(layer) <= max_inputs && net.outputs(layer) >= 2 * net.inputs(layer);
}

/// Calls f(std::integral_constant<int, inputs>) for 1 <= inputs <= max_inputs.
template <class Function, int... below>
void with_inputs(Index inputs, const Function& f, std::integer_sequence<int, below...>) {
  static_cast<void>(
      ((inputs == below + 1 && (f(std::integral_constant<int, below + 1>{}), true)) || ...));
}
template <class Function>
void with_inputs(Index inputs, const Function& f) {
  with_inputs(inputs, f, std::make_integer_sequence<int, static_cast<int>(max_inputs)>{});
}

/// z = b + w_1 x_1 + ... for so many columns at once; w is (outputs, inputs).
template <int inputs, int columns, class Scalar>
inline void affine_columns(const Scalar* w, const Scalar* bias, const Scalar* x, Index outputs,
                           Scalar* z) {
  Scalar factor[columns][inputs];
  for (int c = 0; c < columns; ++c)
    for (int j = 0; j < inputs; ++j) factor[c][j] = x[c * inputs + j];
  LIPGD_ELEMENTWISE_LOOP
  for (Index i = 0; i < outputs; ++i) {
    Scalar sum[columns];
    for (int c = 0; c < columns; ++c) sum[c] = bias[i];
    for (int j = 0; j < inputs; ++j)
      for (int c = 0; c < columns; ++c) sum[c] += w[j * outputs + i] * factor[c][j];
    for (int c = 0; c < columns; ++c) z[c * outputs + i] = sum[c];
  }
}

template <class Scalar>
void affine(const Scalar* w, const Scalar* bias, const Scalar* x, Index inputs, Index outputs,
            Index count, Scalar* z) {
  with_inputs(inputs, [&](auto n_inputs) {
    Index n = 0;
    for (; n + 4 <= count; n += 4)
      affine_columns<n_inputs, 4>(w, bias, x + n * inputs, outputs, z + n * outputs);
    for (; n < count; ++n)
      affine_columns<n_inputs, 1>(w, bias, x + n * inputs, outputs, z + n * outputs);
  });
}

/// Where the gradient of a network with one narrow hidden layer and one output is added.
template <class Scalar>
struct Sums {
  Scalar* weights;        ///< (outputs, inputs) of the narrow layer
  Scalar* bias;           ///< (outputs)
  Scalar* outer_weights;  ///< (outputs)
};

/// The backward pass of so many samples in one go: the signal slope * outer * q never leaves the
/// registers.
template <int inputs, int columns, class Scalar>
inline void backward_columns(const Scalar* outer, const Scalar* q, const Scalar* h,
                             const Scalar* slope, const Scalar* x, Index outputs,
                             const Sums<Scalar>& sums) {
  Scalar factor[columns][inputs], derivative[columns];
  for (int c = 0; c < columns; ++c) {
    derivative[c] = q[c];
    for (int j = 0; j < inputs; ++j) factor[c][j] = x[c * inputs + j];
  }
  Scalar *weights = sums.weights, *bias = sums.bias, *outer_weights = sums.outer_weights;
  LIPGD_ELEMENTWISE_LOOP
  for (Index i = 0; i < outputs; ++i) {
    Scalar signal[columns], outer_sum = outer_weights[i], bias_sum = bias[i];
    for (int c = 0; c < columns; ++c) {
      signal[c] = slope[c * outputs + i] * (outer[i] * derivative[c]);
      outer_sum += h[c * outputs + i] * derivative[c];
      bias_sum += signal[c];
    }
    outer_weights[i] = outer_sum;
    bias[i] = bias_sum;
    for (int j = 0; j < inputs; ++j) {
      Scalar sum = weights[j * outputs + i];
      for (int c = 0; c < columns; ++c) sum += signal[c] * factor[c][j];
      weights[j * outputs + i] = sum;
    }
  }
}

template <class Scalar>
void backward(const Scalar* outer, const Scalar* q, const Scalar* h, const Scalar* slope,
              const Scalar* x, Index inputs, Index outputs, Index count, const Sums<Scalar>& sums) {
  with_inputs(inputs, [&](auto n_inputs) {
    Index n = 0;
    for (; n + 4 <= count; n += 4)
      backward_columns<n_inputs, 4>(outer, q + n, h + n * outputs, slope + n * outputs,
                                    x + n * inputs, outputs, sums);
    for (; n < count; ++n)
      backward_columns<n_inputs, 1>(outer, q + n, h + n * outputs, slope + n * outputs,
                                    x + n * inputs, outputs, sums);
  });
}

}  // namespace narrow

/// Parameters as the products of a sweep want them: narrow layers also as (outputs, inputs), with a
/// bias of zeros where there is none.
template <class Scalar>
class PreparedParameters {
 public:
  PreparedParameters(const Architecture& net, Arena& arena)
      : net_(&net), narrow_(static_cast<std::size_t>(net.depth()), nullptr) {
    for (Index layer = 0; layer + 1 < net.depth(); ++layer)
      if (narrow::applies(net, layer))
        narrow_[static_cast<std::size_t>(layer)] =
            arena.take<Scalar>((net.inputs(layer) + 1) * net.outputs(layer));
  }

  void set(const Scalar* parameters) {
    parameters_ = parameters;
    for (Index layer = 0; layer + 1 < net_->depth(); ++layer) {
      Scalar* copy = narrow_[static_cast<std::size_t>(layer)];
      if (copy == nullptr) continue;
      const Index inputs = net_->inputs(layer), outputs = net_->outputs(layer);
      const Scalar* weights = parameters + net_->weight_offset(layer);
      for (Index i = 0; i < outputs; ++i)
        for (Index j = 0; j < inputs; ++j) copy[j * outputs + i] = weights[i * inputs + j];
      const Scalar* bias = net_->bias(parameters, layer);
      for (Index i = 0; i < outputs; ++i)
        copy[inputs * outputs + i] = bias == nullptr ? Scalar(0) : bias[i];
    }
  }

  const Scalar* flat() const { return parameters_; }
  /// (outputs, inputs + 1), the bias last, or null.
  const Scalar* narrow_layer(Index layer) const { return narrow_[static_cast<std::size_t>(layer)]; }

 private:
  const Architecture* net_;
  const Scalar* parameters_ = nullptr;
  std::vector<Scalar*> narrow_;
};

}  // namespace lipgd
