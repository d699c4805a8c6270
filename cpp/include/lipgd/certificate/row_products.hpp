#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "lipgd/reduce.hpp"
#include "lipgd/tiles.hpp"
#include "lipgd/types.hpp"

// Products of weights with narrow matrices of `columns` contiguous columns, 8 to 64.

namespace lipgd {

namespace detail {

// Rows of weights that are worked on together: their sums and a row of x fit the registers.
#if defined(__AVX512F__)
constexpr Index iteration_doubles = 128;
#elif defined(__AVX__)
constexpr Index iteration_doubles = 32;
#else
constexpr Index iteration_doubles = 16;
#endif

template <int columns>
constexpr int group_rows =
    static_cast<int>(iteration_doubles / columns > 0 ? iteration_doubles / columns : 1);

/// out(r, :) = sum over j of w(r, j) x(j, :) for a group of rows of w, which has C order.
template <int columns, int rows>
inline void multiply_group(const double* w, Index n, const double* x, double* out) {
  constexpr int pieces = columns / 8;
  TileColumn sum[std::size_t{rows}][std::size_t{pieces}];
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < pieces; ++c) sum[r][c].setZero();
  for (Index j = 0; j < n; ++j) {
    TileColumn xj[std::size_t{pieces}];
    for (int c = 0; c < pieces; ++c) xj[c] = ConstTileColumnMap(x + j * columns + c * 8);
    for (int r = 0; r < rows; ++r) {
      const double factor = w[r * n + j];
      for (int c = 0; c < pieces; ++c) sum[r][c] += xj[c] * factor;
    }
  }
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < pieces; ++c) TileColumnMap(out + r * columns + c * 8) = sum[r][c];
}

/// out = w x for w of rows x n in C order, and x and out with `columns` contiguous columns.
template <int columns>
inline void multiply_rows(const double* w, Index rows, Index n, const double* x, double* out) {
  constexpr int group = group_rows<columns>;
  Index i = 0;
  for (; i + group <= rows; i += group)
    multiply_group<columns, group>(w + i * n, n, x, out + i * columns);
  if constexpr (group > 2)
    for (; i + 2 <= rows; i += 2) multiply_group<columns, 2>(w + i * n, n, x, out + i * columns);
  for (; i < rows; ++i) multiply_group<columns, 1>(w + i * n, n, x, out + i * columns);
}

/// out(j, :) += sum over a group of rows of w(r, j) v(r, :), the transpose of multiply_group.
template <int columns, int rows>
inline void spread_group(const double* w, Index n, const double* v, double* out) {
  constexpr int pieces = columns / 8;
  TileColumn factor[std::size_t{rows}][std::size_t{pieces}];
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < pieces; ++c) factor[r][c] = ConstTileColumnMap(v + r * columns + c * 8);
  for (Index j = 0; j < n; ++j) {
    TileColumn sum[std::size_t{pieces}];
    for (int c = 0; c < pieces; ++c) sum[c] = ConstTileColumnMap(out + j * columns + c * 8);
    for (int r = 0; r < rows; ++r) {
      const double wj = w[r * n + j];
      for (int c = 0; c < pieces; ++c) sum[c] += factor[r][c] * wj;
    }
    for (int c = 0; c < pieces; ++c) TileColumnMap(out + j * columns + c * 8) = sum[c];
  }
}

/// The sum of eight numbers, in registers.
EIGEN_ALWAYS_INLINE double add_eight(const TileColumn& x) {
  const Eigen::Array<double, 4, 1> four = x.head<4>() + x.tail<4>();
  const Eigen::Array<double, 2, 1> two = four.head<2>() + four.tail<2>();
  return two[0] + two[1];
}

/// The length of a row.
template <int columns>
EIGEN_ALWAYS_INLINE double row_norm(const double* row) {
  TileColumn squares = ConstTileColumnMap(row).square();
  for (int c = 1; c < columns / 8; ++c) squares += ConstTileColumnMap(row + c * 8).square();
  return std::sqrt(add_eight(squares));
}

/// Fixed pseudo-random numbers between -1 and 1.
class Randoms {
 public:
  explicit Randoms(std::uint64_t seed) : state_(0x9e3779b97f4a7c15u * (seed + 1)) {}
  double next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return 0x1p-31 * static_cast<double>(static_cast<std::int32_t>(state_ >> 32U));
  }

 private:
  std::uint64_t state_;
};

}  // namespace detail

}  // namespace lipgd
