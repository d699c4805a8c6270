#pragma once

#include <cstddef>
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

// One vector register.
#if defined(__AVX512F__)
constexpr int register_bytes = 64;
#elif defined(__AVX__)
constexpr int register_bytes = 32;
#else
constexpr int register_bytes = 16;
#endif

/// Calls tile(i, registers, lanes) for pieces of so many elements: as many registers at a time as
/// wanted, then single ones, then single elements.
template <class Scalar, int registers, class Tile>
inline void for_tiles(Index size, const Tile& tile) {
  using Lanes = std::integral_constant<int, register_bytes / static_cast<int>(sizeof(Scalar))>;
  using One = std::integral_constant<int, 1>;
  Index i = 0;
  for (; i + registers * Lanes{} <= size; i += registers * Lanes{})
    tile(i, std::integral_constant<int, registers>{}, Lanes{});
  for (; i + Lanes{} <= size; i += Lanes{}) tile(i, One{}, Lanes{});
  for (; i < size; ++i) tile(i, One{}, One{});
}

/// How many registers of neurons work side by side, so that 2 + inputs of each fit the register
/// file.
template <int inputs>
constexpr int registers_for() {
  constexpr int available = register_bytes == 64 ? 28 : 14;
  return 2 * (inputs + 2) <= available ? 2 : 1;
}

/// z = b + w_1 x_1 + ... for so many registers of neurons; w is (outputs, inputs).
template <int inputs, int registers, int lanes, class Scalar>
inline void affine_tile(const Scalar* w, const Scalar* bias, const Scalar* x, Index outputs,
                        Index count, Scalar* z) {
  using Lane = Eigen::Array<Scalar, lanes, 1>;
  using ConstMap = Eigen::Map<const Lane>;
  Lane weights[std::size_t{registers}][std::size_t{inputs}], shift[std::size_t{registers}];
  for (int r = 0; r < registers; ++r) {
    for (int j = 0; j < inputs; ++j) weights[r][j] = ConstMap(w + j * outputs + r * lanes);
    shift[r] = ConstMap(bias + r * lanes);
  }
  for (Index n = 0; n < count; ++n)
    for (int r = 0; r < registers; ++r) {
      Lane sum = shift[r];
      for (int j = 0; j < inputs; ++j) sum += weights[r][j] * x[n * inputs + j];
      Eigen::Map<Lane>(z + n * outputs + r * lanes) = sum;
    }
}

template <class Scalar>
void affine(const Scalar* w, const Scalar* bias, const Scalar* x, Index inputs, Index outputs,
            Index count, Scalar* z) {
  with_inputs(inputs, [&](auto n_inputs) {
    for_tiles<Scalar, registers_for<n_inputs>()>(outputs, [&](Index i, auto registers, auto lanes) {
      affine_tile<n_inputs, registers, lanes>(w + i, bias + i, x, outputs, count, z + i);
    });
  });
}

/// Where the gradient of a network with one narrow hidden layer and one output is added.
template <class Scalar>
struct Sums {
  Scalar* weights;        ///< (outputs, inputs) of the narrow layer
  Scalar* bias;           ///< (outputs)
  Scalar* outer_weights;  ///< (outputs)
};

/// The backward pass for so many registers of neurons: the sums over the samples stay in registers,
/// and so does the signal slope * outer * q.
template <int inputs, int registers, int lanes, class Scalar>
inline void backward_tile(const Scalar* outer, const Scalar* q, const Scalar* h,
                          const Scalar* slope, const Scalar* x, Index outputs, Index count,
                          const Sums<Scalar>& sums) {
  using Lane = Eigen::Array<Scalar, lanes, 1>;
  using Map = Eigen::Map<Lane>;
  using ConstMap = Eigen::Map<const Lane>;
  Lane weights[std::size_t{registers}][std::size_t{inputs}], bias[std::size_t{registers}],
      outer_weights[std::size_t{registers}], out[std::size_t{registers}];
  for (int r = 0; r < registers; ++r) {
    for (int j = 0; j < inputs; ++j) weights[r][j].setZero();
    bias[r].setZero();
    outer_weights[r].setZero();
    out[r] = ConstMap(outer + r * lanes);
  }
  for (Index n = 0; n < count; ++n) {
    for (int r = 0; r < registers; ++r) {
      const Index at = n * outputs + r * lanes;
      const Lane signal = ConstMap(slope + at) * (out[r] * q[n]);
      outer_weights[r] += ConstMap(h + at) * q[n];
      bias[r] += signal;
      for (int j = 0; j < inputs; ++j) weights[r][j] += signal * x[n * inputs + j];
    }
  }
  for (int r = 0; r < registers; ++r) {
    for (int j = 0; j < inputs; ++j) Map(sums.weights + j * outputs + r * lanes) += weights[r][j];
    Map(sums.bias + r * lanes) += bias[r];
    Map(sums.outer_weights + r * lanes) += outer_weights[r];
  }
}

template <class Scalar>
void backward(const Scalar* outer, const Scalar* q, const Scalar* h, const Scalar* slope,
              const Scalar* x, Index inputs, Index outputs, Index count, const Sums<Scalar>& sums) {
  with_inputs(inputs, [&](auto n_inputs) {
    for_tiles<Scalar, registers_for<n_inputs>()>(outputs, [&](Index i, auto registers, auto lanes) {
      const Sums<Scalar> part{sums.weights + i, sums.bias + i, sums.outer_weights + i};
      backward_tile<n_inputs, registers, lanes>(outer + i, q, h + i, slope + i, x, outputs, count,
                                                part);
    });
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
