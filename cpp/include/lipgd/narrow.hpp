#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "lipgd/arena.hpp"
#include "lipgd/panel.hpp"
#include "lipgd/reduce.hpp"

// Layers with few inputs. A general product spends more on packing and on moving its result than on
// these sums, so they have kernels that keep the sums over the inputs in registers.

namespace lipgd {

namespace narrow {

constexpr Index max_inputs = 16;

/// Whether a layer has kernels here.
inline bool applies(const Architecture& net, Index layer) {
  return net.inputs(layer) <= max_inputs && net.outputs(layer) >= 2 * net.inputs(layer);
}

/// Whether a network is one narrow hidden layer and one output: it has whole passes here.
inline bool applies(const Architecture& net) {
  return net.depth() == 2 && net.n_outputs() == 1 && applies(net, 0);
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

using panel::register_bytes;

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

/// z = b + w_1 x_1 + ... for so many registers of neurons; the columns of w (outputs, inputs) and
/// of z lie apart by their strides.
template <int inputs, int registers, int lanes, class Scalar>
inline void affine_tile(const Scalar* w, Index w_stride, const Scalar* bias, const Scalar* x,
                        Index count, Scalar* z, Index z_stride) {
  using Lane = Eigen::Array<Scalar, lanes, 1>;
  using ConstMap = Eigen::Map<const Lane>;
  Lane weights[std::size_t{registers}][std::size_t{inputs}], shift[std::size_t{registers}];
  for (int r = 0; r < registers; ++r) {
    for (int j = 0; j < inputs; ++j) weights[r][j] = ConstMap(w + j * w_stride + r * lanes);
    shift[r] = ConstMap(bias + r * lanes);
  }
  for (Index n = 0; n < count; ++n) {
    Lane sum[std::size_t{registers}];
    for (int r = 0; r < registers; ++r) sum[r] = shift[r];
    for (int j = 0; j < inputs; ++j)
      for (int r = 0; r < registers; ++r) sum[r] += weights[r][j] * x[n * inputs + j];
    for (int r = 0; r < registers; ++r) Eigen::Map<Lane>(z + n * z_stride + r * lanes) = sum[r];
  }
}

template <class Scalar>
void affine(const Scalar* w, const Scalar* bias, const Scalar* x, Index inputs, Index outputs,
            Index count, Scalar* z) {
  with_inputs(inputs, [&](auto n_inputs) {
    for_tiles<Scalar, registers_for<n_inputs>()>(outputs, [&](Index i, auto registers, auto lanes) {
      affine_tile<n_inputs, registers, lanes>(w + i, outputs, bias + i, x, count, z + i, outputs);
    });
  });
}

// A network with one narrow hidden layer and one output goes forward and backward in strips of
// neurons: what a strip leaves, (neurons, samples) without gaps, is read and written in one stream.

template <class Scalar>
constexpr Index strip_size = 512 / static_cast<Index>(sizeof(Scalar));

template <class Scalar>
constexpr int lanes_of = register_bytes / static_cast<int>(sizeof(Scalar));

/// partial (lanes, samples) += outer h, lane by lane.
template <class Scalar>
void add_outputs(const Scalar* outer, const Scalar* h, Index neurons, Index count,
                 Scalar* partial) {
  constexpr int lanes = lanes_of<Scalar>;
  using Lane = Eigen::Array<Scalar, lanes, 1>;
  using ConstMap = Eigen::Map<const Lane>;
  for (Index n = 0; n < count; ++n, h += neurons, partial += lanes) {
    Eigen::Map<Lane> stored(partial);
    Lane sum = stored;
    Index i = 0;
    for (; i + lanes <= neurons; i += lanes) sum += ConstMap(outer + i) * ConstMap(h + i);
    stored = sum;
    for (Index lane = 0; i < neurons; ++i, ++lane) partial[lane] += outer[i] * h[i];
  }
}

/// The forward pass; w is (width, inputs), h, slope and curvature (or null, from the last) hold the
/// strips, f the outputs, partial has room for lanes_of numbers per sample.
template <class Scalar>
void forward(const Activation& activation, const Scalar* w, const Scalar* bias, const Scalar* outer,
             Scalar outer_bias, const Scalar* x, Index inputs, Index width, Index count, Scalar* h,
             Scalar* slope, Scalar* curvature, Scalar* f, Scalar* partial) {
  constexpr Index lanes = lanes_of<Scalar>;
  std::fill_n(partial, lanes * count, Scalar(0));
  for (Index begin = 0; begin < width; begin += strip_size<Scalar>) {
    const Index neurons = std::min(strip_size<Scalar>, width - begin);
    Scalar* strip = h + begin * count;
    with_inputs(inputs, [&](auto n_inputs) {
      for_tiles<Scalar, registers_for<n_inputs>()>(
          neurons, [&](Index i, auto registers, auto n_lanes) {
            affine_tile<n_inputs, registers, n_lanes>(w + begin + i, width, bias + begin + i, x,
                                                      count, strip + i, neurons);
          });
    });
    if (slope == nullptr)
      activate(activation, neurons * count, strip, strip);
    else if (curvature == nullptr)
      activate(activation, neurons * count, strip, strip, slope + begin * count);
    else
      activate(activation, neurons * count, strip, strip, slope + begin * count,
               curvature + begin * count);
    add_outputs(outer + begin, strip, neurons, count, partial);
  }
  for (Index n = 0; n < count; ++n)
    f[n] = outer_bias + detail::add_lanes<static_cast<std::size_t>(lanes)>(partial + n * lanes);
}

/// Where the gradient is added.
template <class Scalar>
struct Sums {
  Scalar* weights;        ///< (width, inputs) of the narrow layer
  Scalar* bias;           ///< (width)
  Scalar* outer_weights;  ///< (width)
};

/// The backward pass for so many registers of neurons of a strip: the sums over the samples stay in
/// registers, and so does the signal slope * q.
template <int inputs, int registers, int lanes, class Scalar>
inline void backward_tile(const Scalar* outer, const Scalar* q, const Scalar* h,
                          const Scalar* slope, const Scalar* x, Index neurons, Index width,
                          Index count, const Sums<Scalar>& sums) {
  using Lane = Eigen::Array<Scalar, lanes, 1>;
  using Map = Eigen::Map<Lane>;
  using ConstMap = Eigen::Map<const Lane>;
  Lane weights[std::size_t{registers}][std::size_t{inputs}], bias[std::size_t{registers}],
      outer_weights[std::size_t{registers}], signal[std::size_t{registers}];
  for (int r = 0; r < registers; ++r) {
    for (int j = 0; j < inputs; ++j) weights[r][j].setZero();
    bias[r].setZero();
    outer_weights[r].setZero();
  }
  for (Index n = 0; n < count; ++n) {
    for (int r = 0; r < registers; ++r) {
      const Index at = n * neurons + r * lanes;
      signal[r] = ConstMap(slope + at) * q[n];
      outer_weights[r] += ConstMap(h + at) * q[n];
      bias[r] += signal[r];
    }
    for (int j = 0; j < inputs; ++j)
      for (int r = 0; r < registers; ++r) weights[r][j] += signal[r] * x[n * inputs + j];
  }
  // The factor of the outer weight is the same for all samples.
  for (int r = 0; r < registers; ++r) {
    const Lane out = ConstMap(outer + r * lanes);
    for (int j = 0; j < inputs; ++j)
      Map(sums.weights + j * width + r * lanes) += weights[r][j] * out;
    Map(sums.bias + r * lanes) += bias[r] * out;
    Map(sums.outer_weights + r * lanes) += outer_weights[r];
  }
}

/// The backward pass of what forward left; q are the derivatives by the outputs.
template <class Scalar>
void backward(const Scalar* outer, const Scalar* q, const Scalar* h, const Scalar* slope,
              const Scalar* x, Index inputs, Index width, Index count, const Sums<Scalar>& sums) {
  for (Index begin = 0; begin < width; begin += strip_size<Scalar>) {
    const Index neurons = std::min(strip_size<Scalar>, width - begin), at = begin * count;
    with_inputs(inputs, [&](auto n_inputs) {
      for_tiles<Scalar, registers_for<n_inputs>()>(
          neurons, [&](Index i, auto registers, auto lanes) {
            const Index j = begin + i;
            const Sums<Scalar> part{sums.weights + j, sums.bias + j, sums.outer_weights + j};
            backward_tile<n_inputs, registers, lanes>(outer + j, q, h + at + i, slope + at + i, x,
                                                      neurons, width, count, part);
          });
    });
  }
}

}  // namespace narrow

/// Parameters as the products of a sweep want them: narrow layers also as (outputs, inputs), with a
/// bias of zeros where there is none; other layers of few inputs in panels of outputs.
template <class Scalar>
class PreparedParameters {
 public:
  PreparedParameters(const Architecture& net, Arena& arena)
      : net_(&net), copies_(static_cast<std::size_t>(net.depth()), nullptr) {
    for (Index layer = 0; layer + 1 < net.depth(); ++layer) {
      Scalar*& copy = copies_[static_cast<std::size_t>(layer)];
      if (narrow::applies(net, layer))
        copy = arena.take<Scalar>((net.inputs(layer) + 1) * net.outputs(layer));
      else if (panel::applies(net, layer))
        copy =
            arena.take<Scalar>(panel::packed_size<Scalar>(net.outputs(layer), net.inputs(layer)));
    }
  }

  void set(const Scalar* parameters) {
    parameters_ = parameters;
    for (Index layer = 0; layer + 1 < net_->depth(); ++layer) {
      Scalar* copy = copies_[static_cast<std::size_t>(layer)];
      if (copy == nullptr) continue;
      const Index inputs = net_->inputs(layer), outputs = net_->outputs(layer);
      const Scalar* weights = parameters + net_->weight_offset(layer);
      if (narrow::applies(*net_, layer))
        set_narrow(weights, net_->bias(parameters, layer), inputs, outputs, copy);
      else
        panel::pack_all(weights, inputs, Index{1}, outputs, inputs, copy);
    }
  }

  const Scalar* flat() const { return parameters_; }
  /// (outputs, inputs + 1), the bias last, or null.
  const Scalar* narrow_layer(Index layer) const {
    return narrow::applies(*net_, layer) ? copies_[static_cast<std::size_t>(layer)] : nullptr;
  }
  /// The panels of a layer that is not narrow, or null.
  const Scalar* panels(Index layer) const {
    return narrow::applies(*net_, layer) ? nullptr : copies_[static_cast<std::size_t>(layer)];
  }

 private:
  static void set_narrow(const Scalar* weights, const Scalar* bias, Index inputs, Index outputs,
                         Scalar* copy) {
    for (Index i = 0; i < outputs; ++i)
      for (Index j = 0; j < inputs; ++j) copy[j * outputs + i] = weights[i * inputs + j];
    for (Index i = 0; i < outputs; ++i)
      copy[inputs * outputs + i] = bias == nullptr ? Scalar(0) : bias[i];
  }

  const Architecture* net_;
  const Scalar* parameters_ = nullptr;
  std::vector<Scalar*> copies_;
};

}  // namespace lipgd
