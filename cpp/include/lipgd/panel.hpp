#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "lipgd/elementwise.hpp"
#include "lipgd/network.hpp"
#include "lipgd/parallel.hpp"

// Products of matrices with one operand in panels: a few registers of neighbouring rows, one inner
// index after the other. A hidden layer's products have an inner dimension of a hundred or so, over
// which a general product spends much of its time on packing both operands anew for every block.

namespace lipgd::panel {

// One vector register.
#if defined(__AVX512F__)
constexpr int register_bytes = 64;
#elif defined(__AVX__)
constexpr int register_bytes = 32;
#else
constexpr int register_bytes = 16;
#endif

constexpr Index max_inputs = 128;

/// Whether a hidden layer's products are made here, with its outputs as rows: beyond so many inputs
/// a general product, which packs both operands, is faster.
inline bool applies(const Architecture& net, Index layer) {
  return layer + 1 < net.depth() && net.inputs(layer) <= max_inputs &&
         net.inputs(layer) < net.outputs(layer);
}

/// Sums of so many registers by so many columns stay in the register file.
constexpr int max_registers = 3;
constexpr int tile_columns = register_bytes == 64 ? 8 : 4;
/// Panels are packed for so long an inner dimension that they stay in the first-level cache.
constexpr Index chunk = 128;

template <class Scalar>
constexpr Index lanes = register_bytes / static_cast<Index>(sizeof(Scalar));
/// Rows of a whole panel; the last one may have fewer registers.
template <class Scalar>
constexpr Index max_rows = max_registers * lanes<Scalar>;

/// Rows of the panel that begins at a row, with those that fill its last register.
template <class Scalar>
Index padded_rows(Index rows) {
  return (std::min(rows, max_rows<Scalar>) + lanes<Scalar> - 1) / lanes<Scalar> * lanes<Scalar>;
}

/// The right-hand operand: b(k, c) = data[k * step + c * column].
template <class Scalar>
struct Operand {
  const Scalar* data;
  Index step;
  Index column;
};

/// out(i, c) += sum over k of panel(i, k) b(k, c), one k after the other; the bits do not depend on
/// the cut into tiles. Columns beyond count repeat the last one.
template <int registers, int columns, class Scalar>
void add_tile(const Scalar* panel, const Operand<Scalar>& b, Index depth, Index count, Scalar* out,
              Index out_column) {
  constexpr int width = static_cast<int>(lanes<Scalar>);
  using Lane = Eigen::Array<Scalar, width, 1>;
  Lane sum[std::size_t{columns}][std::size_t{registers}];
  Index offset[std::size_t{columns}];
  for (int c = 0; c < columns; ++c) {
    offset[c] = std::min(Index{c}, count - 1) * b.column;
    for (int r = 0; r < registers; ++r)
      sum[c][r] = Eigen::Map<const Lane>(out + c * out_column + r * width);
  }
  const Scalar* factor = b.data;
  for (Index k = 0; k < depth; ++k, panel += registers * width, factor += b.step) {
    Lane row[std::size_t{registers}];
    for (int r = 0; r < registers; ++r) row[r] = Eigen::Map<const Lane>(panel + r * width);
    for (int c = 0; c < columns; ++c)
      for (int r = 0; r < registers; ++r) sum[c][r] += row[r] * factor[offset[c]];
  }
  for (int c = 0; c < columns; ++c)
    for (int r = 0; r < registers; ++r)
      Eigen::Map<Lane>(out + c * out_column + r * width) = sum[c][r];
}

/// The same for a tile that is not whole, by way of one that is.
template <int registers, int columns, class Scalar>
LIPGD_NEVER_INLINE void add_part_of_tile(const Scalar* panel, const Operand<Scalar>& b, Index depth,
                                         Index rows, Index count, Scalar* out, Index out_column) {
  constexpr Index width = registers * lanes<Scalar>;
  const auto bytes = static_cast<std::size_t>(rows) * sizeof(Scalar);
  alignas(64) Scalar whole[std::size_t{columns} * static_cast<std::size_t>(width)] = {};
  for (Index c = 0; c < count; ++c) std::memcpy(whole + c * width, out + c * out_column, bytes);
  add_tile<registers, columns>(panel, b, depth, count, whole, width);
  for (Index c = 0; c < count; ++c) std::memcpy(out + c * out_column, whole + c * width, bytes);
}

template <int registers, int columns, class Scalar>
void add_columns(const Scalar* panel, const Operand<Scalar>& b, Index depth, Index rows,
                 Index count, Scalar* out, Index out_column) {
  if (rows == registers * lanes<Scalar> && count == columns)
    add_tile<registers, columns>(panel, b, depth, count, out, out_column);
  else
    add_part_of_tile<registers, columns>(panel, b, depth, rows, count, out, out_column);
}

/// out(i, c) += sum over k of panel(i, k) b(k, c) for i < rows, c < count, k < depth, where the
/// panel holds so many registers of rows.
template <int registers, class Scalar>
void add_panel(const Scalar* panel, const Operand<Scalar>& b, Index depth, Index rows, Index count,
               Scalar* out, Index out_column) {
  constexpr Index half = tile_columns / 2;
  for (Index c = 0; c < count;) {
    const Operand<Scalar> part{b.data + c * b.column, b.step, b.column};
    const Index size = std::min(Index{tile_columns}, count - c);
    Scalar* to = out + c * out_column;
    if (size > half)
      add_columns<registers, tile_columns>(panel, part, depth, rows, size, to, out_column);
    else if (size > 1)
      add_columns<registers, half>(panel, part, depth, rows, size, to, out_column);
    else
      add_columns<registers, 1>(panel, part, depth, rows, size, to, out_column);
    c += size;
  }
}

template <class Scalar>
void add_product(const Scalar* panel, const Operand<Scalar>& b, Index depth, Index rows,
                 Index count, Scalar* out, Index out_column) {
  const Index registers = padded_rows<Scalar>(rows) / lanes<Scalar>;
  if (registers == 3)
    add_panel<3>(panel, b, depth, rows, count, out, out_column);
  else if (registers == 2)
    add_panel<2>(panel, b, depth, rows, count, out, out_column);
  else
    add_panel<1>(panel, b, depth, rows, count, out, out_column);
}

/// Room for all panels of a matrix.
template <class Scalar>
Index packed_size(Index rows, Index depth) {
  return (rows + lanes<Scalar> - 1) / lanes<Scalar> * lanes<Scalar> * depth;
}

/// Packs the panel of some rows, a(i, k) = data[i * row + k * step]; rows that are not there are
/// zeros.
template <class Scalar>
void pack(const Scalar* data, Index row, Index step, Index rows, Index depth, Scalar* panel) {
  constexpr auto whole = static_cast<std::size_t>(max_rows<Scalar>) * sizeof(Scalar);
  if (row == 1 && rows == max_rows<Scalar>) {
    for (Index k = 0; k < depth; ++k) std::memcpy(panel + k * rows, data + k * step, whole);
    return;
  }
  const Index padded = padded_rows<Scalar>(rows);
  for (Index k = 0; k < depth; ++k, data += step, panel += padded) {
    for (Index i = 0; i < rows; ++i) panel[i] = data[i * row];
    std::fill(panel + rows, panel + padded, Scalar(0));
  }
}

/// Packs all panels of a matrix.
template <class Scalar>
void pack_all(const Scalar* data, Index row, Index step, Index rows, Index depth, Scalar* panels) {
  for (Index begin = 0; begin < rows; begin += max_rows<Scalar>) {
    const Index size = std::min(max_rows<Scalar>, rows - begin);
    pack(data + begin * row, row, step, size, depth, panels + begin * depth);
  }
}

/// out(i, c) += sum over k of a(i, k) b(k, c) for the panel of packed rows that begins at a row.
template <class Scalar>
void add_packed(const Scalar* panels, Index begin, Index rows, Index depth,
                const Operand<Scalar>& b, Index count, Scalar* out, Index out_column) {
  const Scalar* packed = panels + begin * depth;
  const Index padded = padded_rows<Scalar>(rows);
  for (Index k = 0; k < depth; k += chunk) {
    const Operand<Scalar> part{b.data + k * b.step, b.step, b.column};
    add_product(packed + k * padded, part, std::min(chunk, depth - k), rows, count, out,
                out_column);
  }
}

/// The same for rows that lie next to each other, a(i, k) = data[i + k * step], packed on the way.
template <class Scalar>
void add_rows(const Scalar* data, Index step, Index rows, Index depth, const Operand<Scalar>& b,
              Index count, Scalar* out, Index out_column) {
  alignas(64) Scalar packed[static_cast<std::size_t>(max_rows<Scalar> * chunk)];
  for (Index k = 0; k < depth; k += chunk) {
    const Index size = std::min(chunk, depth - k);
    pack(data + k * step, Index{1}, step, rows, size, packed);
    add_product(packed, {b.data + k * b.step, b.step, b.column}, size, rows, count, out,
                out_column);
  }
}

/// Calls f(begin, rows) for all panels.
template <class Scalar, class Function>
void for_panels(Index rows, const Sharing& sharing, const Function& f) {
  sharing.split(
      rows,
      [&](Index first, Index size) {
        for (Index begin = first; begin < first + size; begin += max_rows<Scalar>)
          f(begin, std::min(max_rows<Scalar>, first + size - begin));
      },
      max_rows<Scalar>);
}

}  // namespace lipgd::panel
