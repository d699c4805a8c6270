#pragma once

#include <algorithm>

#include "lipgd/narrow.hpp"

// Derivatives along a direction in the space of the parameters of a network with one narrow hidden
// layer and one output, in the strips that the forward pass left. Reading those is most of the
// work, so one register of neurons at a time is enough.

namespace lipgd::narrow {

/// A direction, by the two layers.
template <class Scalar>
struct Direction {
  const Scalar* weights;  ///< (width, inputs) of the narrow layer
  const Scalar* bias;     ///< (width)
  const Scalar* outer;    ///< (width)
  Scalar outer_bias;

  Direction from(Index neuron) const {
    return {weights + neuron, bias + neuron, outer + neuron, outer_bias};
  }
};

/// What a forward pass left of the hidden layer.
template <class Scalar>
struct Strips {
  const Scalar* h;
  const Scalar* slope;
  const Scalar* curvature;  ///< needed by pull alone

  Strips from(Index at) const {
    return {h + at, slope + at, curvature == nullptr ? nullptr : curvature + at};
  }
};

/// z = V x + c for a register of neurons, and partial (lanes, samples) += what they add to the
/// derivative of the output.
template <int inputs, int lanes, class Scalar>
inline void push_tile(const Scalar* outer, const Direction<Scalar>& direction, const Scalar* x,
                      Index neurons, Index width, Index count, const Strips<Scalar>& strip,
                      Scalar* z, Scalar* partial) {
  using Lane = Eigen::Array<Scalar, lanes, 1>;
  using Map = Eigen::Map<Lane>;
  using ConstMap = Eigen::Map<const Lane>;
  Lane weights[std::size_t{inputs}];
  for (int j = 0; j < inputs; ++j) weights[j] = ConstMap(direction.weights + j * width);
  const Lane shift = ConstMap(direction.bias), out = ConstMap(outer),
             out_direction = ConstMap(direction.outer);
  for (Index n = 0; n < count; ++n, partial += lanes_of<Scalar>) {
    Lane sum = shift;
    for (int j = 0; j < inputs; ++j) sum += weights[j] * x[n * inputs + j];
    Map(z + n * neurons) = sum;
    Map(partial) += out * (ConstMap(strip.slope + n * neurons) * sum) +
                    out_direction * ConstMap(strip.h + n * neurons);
  }
}

/// Fills z with the derivatives of what the hidden layer applies its activation to, in strips, and
/// f with those of the outputs; partial has room for lanes_of numbers per sample.
template <class Scalar>
void push(const Scalar* outer, const Direction<Scalar>& direction, const Scalar* x, Index inputs,
          Index width, Index count, const Strips<Scalar>& strips, Scalar* z, Scalar* f,
          Scalar* partial) {
  constexpr Index lanes = lanes_of<Scalar>;
  std::fill_n(partial, lanes * count, Scalar(0));
  for (Index begin = 0; begin < width; begin += strip_size<Scalar>) {
    const Index neurons = std::min(strip_size<Scalar>, width - begin), at = begin * count;
    with_inputs(inputs, [&](auto n_inputs) {
      for_tiles<Scalar, 1>(neurons, [&](Index i, auto, auto n_lanes) {
        push_tile<n_inputs, n_lanes>(outer + begin + i, direction.from(begin + i), x, neurons,
                                     width, count, strips.from(at + i), z + at + i, partial);
      });
    });
  }
  for (Index n = 0; n < count; ++n)
    f[n] = direction.outer_bias +
           detail::add_lanes<static_cast<std::size_t>(lanes)>(partial + n * lanes);
}

/// The derivative of backward along the direction that z is of, for a register of neurons: q and
/// q_tangent are the derivative by the outputs and its own.
template <int inputs, int lanes, class Scalar>
inline void pull_tile(const Scalar* outer, const Scalar* outer_direction, const Scalar* q,
                      const Scalar* q_tangent, const Strips<Scalar>& strip, const Scalar* z,
                      const Scalar* x, Index neurons, Index width, Index count,
                      const Sums<Scalar>& sums) {
  using Lane = Eigen::Array<Scalar, lanes, 1>;
  using Map = Eigen::Map<Lane>;
  using ConstMap = Eigen::Map<const Lane>;
  Lane weights[std::size_t{inputs}], bias = Lane::Zero(), outer_weights = Lane::Zero();
  for (int j = 0; j < inputs; ++j) weights[j].setZero();
  const Lane out = ConstMap(outer), out_direction = ConstMap(outer_direction);
  for (Index n = 0; n < count; ++n) {
    const Index at = n * neurons;
    const ConstMap slope(strip.slope + at), along(z + at);
    const Lane signal = slope * (out * q_tangent[n] + out_direction * q[n]) +
                        ConstMap(strip.curvature + at) * along * (out * q[n]);
    outer_weights += ConstMap(strip.h + at) * q_tangent[n] + slope * along * q[n];
    bias += signal;
    for (int j = 0; j < inputs; ++j) weights[j] += signal * x[n * inputs + j];
  }
  for (int j = 0; j < inputs; ++j) Map(sums.weights + j * width) += weights[j];
  Map(sums.bias) += bias;
  Map(sums.outer_weights) += outer_weights;
}

template <class Scalar>
void pull(const Scalar* outer, const Scalar* outer_direction, const Scalar* q,
          const Scalar* q_tangent, const Strips<Scalar>& strips, const Scalar* z, const Scalar* x,
          Index inputs, Index width, Index count, const Sums<Scalar>& sums) {
  for (Index begin = 0; begin < width; begin += strip_size<Scalar>) {
    const Index neurons = std::min(strip_size<Scalar>, width - begin), at = begin * count;
    with_inputs(inputs, [&](auto n_inputs) {
      for_tiles<Scalar, 1>(neurons, [&](Index i, auto, auto n_lanes) {
        const Index j = begin + i;
        const Sums<Scalar> part{sums.weights + j, sums.bias + j, sums.outer_weights + j};
        pull_tile<n_inputs, n_lanes>(outer + j, outer_direction + j, q, q_tangent,
                                     strips.from(at + i), z + at + i, x, neurons, width, count,
                                     part);
      });
    });
  }
}

}  // namespace lipgd::narrow
