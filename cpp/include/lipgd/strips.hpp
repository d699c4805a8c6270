#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <type_traits>

#include "lipgd/narrow.hpp"
#include "lipgd/panel.hpp"

// A network with one hidden layer and one output goes forward and backward in strips of neurons, as
// many as a panel has rows. What a strip leaves, (neurons, samples) without gaps, goes through
// memory once each way; it is a panel itself, from which the gradient is multiplied without
// packing. Neurons that fill the last strip up have zeros for weights.

namespace lipgd::strips {

inline bool applies(const Architecture& net) {
  return net.depth() == 2 && net.n_outputs() == 1 && !narrow::applies(net, 0);
}

/// Inputs, or samples, of one tile of a product.
constexpr Index columns = panel::tile_columns;
/// Neurons of a whole strip.
template <class Scalar>
constexpr Index neurons = panel::max_rows<Scalar>;

/// Strips that are worked on together: beyond one chunk of inputs the samples of a block leave the
/// caches before the next strip wants them.
inline Index together(Index inputs) { return inputs > panel::chunk ? 4 : 1; }

/// Calls f(begin, size) for chunks of about one length, at most that of a panel.
template <class Function>
void for_chunks(Index length, const Function& f) {
  const Index chunks = (length + panel::chunk - 1) / panel::chunk;
  for (Index i = 0; i < chunks; ++i) {
    const Index begin = length * i / chunks;
    f(begin, length * (i + 1) / chunks - begin);
  }
}

/// Calls f(begin, size) for groups of neurons of so many strips.
template <class Scalar, class Function>
void for_groups(Index width, Index strips, const Function& f) {
  const Index step = strips * neurons<Scalar>;
  for (Index begin = 0; begin < width; begin += step) f(begin, std::min(step, width - begin));
}

/// Calls f(begin, rows) for the strips of a group, with the rows that fill the last one up.
template <class Scalar, class Function>
void for_strips(Index begin, Index size, const Function& f) {
  for (Index i = begin; i < begin + size; i += neurons<Scalar>)
    f(i, panel::padded_rows<Scalar>(begin + size - i));
}

/// Samples (inputs, count) as groups of so many inputs, (columns, count) each; zeros fill the last
/// group up.
template <class Scalar>
void pack_inputs(const Scalar* x, Index inputs, Index count, Scalar* groups) {
  for (Index j = 0; j < inputs; j += columns, groups += columns * count) {
    const Index valid = std::min(columns, inputs - j);
    for (Index n = 0; n < count; ++n) {
      Scalar* to = groups + n * columns;
      if (valid == columns) {
        std::memcpy(to, x + n * inputs + j, static_cast<std::size_t>(columns) * sizeof(Scalar));
      } else {
        std::copy_n(x + n * inputs + j, valid, to);
        std::fill(to + valid, to + columns, Scalar(0));
      }
    }
  }
}

/// Adds W H to some strips of z; panels are those of W, h is (inputs, count).
template <class Scalar>
void add_product(const Scalar* panels, Index begin, Index size, Index inputs, const Scalar* h,
                 Index count, Scalar* z) {
  const Index step = size > neurons<Scalar> ? columns : count;
  for_chunks(inputs, [&](Index k, Index depth) {
    for (Index n = 0; n < count; n += step)
      for_strips<Scalar>(begin, size, [&](Index i, Index rows) {
        panel::add_product<Scalar>(panels + i * inputs + k * rows, {h + n * inputs + k, 1, inputs},
                                   depth, rows, std::min(step, count - n), z + i * count + n * rows,
                                   rows);
      });
  });
}

/// What a strip adds to the gradient of its neurons, without the factor of the outer weights.
template <class Scalar>
struct StripSums {
  Scalar bias[static_cast<std::size_t>(neurons<Scalar>)];
  Scalar outer[static_cast<std::size_t>(neurons<Scalar>)];
};

/// slope *= q for every sample of a strip, and the sums over them.
template <int registers, class Scalar>
void make_signal(const Scalar* q, const Scalar* h, Scalar* slope, Index count,
                 StripSums<Scalar>& sums) {
  constexpr int lanes = static_cast<int>(panel::lanes<Scalar>);
  using Lane = Eigen::Array<Scalar, lanes, 1>;
  Lane bias[std::size_t{registers}], outer[std::size_t{registers}];
  for (int r = 0; r < registers; ++r) {
    bias[r].setZero();
    outer[r].setZero();
  }
  for (Index n = 0; n < count; ++n, h += registers * lanes, slope += registers * lanes)
    for (int r = 0; r < registers; ++r) {
      const Lane signal = Eigen::Map<const Lane>(slope + r * lanes) * q[n];
      Eigen::Map<Lane>(slope + r * lanes) = signal;
      bias[r] += signal;
      outer[r] += Eigen::Map<const Lane>(h + r * lanes) * q[n];
    }
  for (int r = 0; r < registers; ++r) {
    Eigen::Map<Lane>(sums.bias + r * lanes) = bias[r];
    Eigen::Map<Lane>(sums.outer + r * lanes) = outer[r];
  }
}

/// out(i, j) += outer(i) times the sum over samples of signal(i, n) x(j, n), for one strip and one
/// group of inputs, of which so many are there. What is fresh has no value yet.
template <int registers, class Scalar>
void add_gradient_tile(const Scalar* signal, const Scalar* x, Index count, const Scalar* outer,
                       Index inputs, bool fresh, Scalar* out) {
  constexpr int lanes = static_cast<int>(panel::lanes<Scalar>), width = registers * lanes;
  using Lane = Eigen::Array<Scalar, lanes, 1>;
  Lane sum[static_cast<std::size_t>(columns)][std::size_t{registers}];
  for (auto& column : sum)
    for (Lane& lane : column) lane.setZero();
  for (Index n = 0; n < count; ++n, signal += width, x += columns) {
    Lane row[std::size_t{registers}];
    for (int r = 0; r < registers; ++r) row[r] = Eigen::Map<const Lane>(signal + r * lanes);
    for (Index c = 0; c < columns; ++c)
      for (int r = 0; r < registers; ++r) sum[c][r] += row[r] * x[c];
  }
  for (Index c = 0; c < columns; ++c) {
    if (c >= inputs) continue;
    for (int r = 0; r < registers; ++r) {
      Eigen::Map<Lane> total(out + c * width + r * lanes);
      const Lane part = sum[c][r] * Eigen::Map<const Lane>(outer + r * lanes);
      total = fresh ? part : Lane(total + part);
    }
  }
}

/// Calls f(std::integral_constant<int, registers>) for the registers of a strip.
template <class Scalar, class Function>
void with_registers(Index rows, const Function& f) {
  if (rows == 3 * panel::lanes<Scalar>)
    f(std::integral_constant<int, 3>{});
  else if (rows == 2 * panel::lanes<Scalar>)
    f(std::integral_constant<int, 2>{});
  else
    f(std::integral_constant<int, 1>{});
}

/// Adds the gradient of the weights of some strips, (rows, inputs) each, or sets it if it is fresh:
/// signals are the strips, groups the packed inputs.
template <class Scalar>
void add_gradient(const Scalar* signals, Index begin, Index size, const Scalar* groups,
                  Index inputs, Index count, const Scalar* outer, bool fresh, Scalar* weights) {
  for_chunks(count, [&](Index n, Index samples) {
    for (Index j = 0; j < inputs; j += columns)
      for_strips<Scalar>(begin, size, [&](Index i, Index rows) {
        with_registers<Scalar>(rows, [&](auto registers) {
          add_gradient_tile<registers>(
              signals + i * count + n * rows, groups + j * count + n * columns, samples, outer + i,
              std::min(columns, inputs - j), fresh && n == 0, weights + i * inputs + j * rows);
        });
      });
  });
}

}  // namespace lipgd::strips
