#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "lipgd/check.hpp"
#include "lipgd/reduce.hpp"
#include "lipgd/types.hpp"

// Symmetric matrices in tiles of 8 x 8: Gram matrix, product with a vector, Cholesky factor. Every
// order of summation is a function of the sizes alone, whatever the address, cache or thread.

namespace lipgd {

namespace detail {

constexpr Index tile_width = 8;
constexpr Index tile_size = tile_width * tile_width;
using TileColumn = Eigen::Array<double, 8, 1>;
using TileColumnMap = Eigen::Map<TileColumn>;
using ConstTileColumnMap = Eigen::Map<const TileColumn>;

// Accumulators of eight doubles that fit the registers and hide the latency of a multiply-add.
#if defined(__AVX512F__)
constexpr int tile_chains = 8;
#elif defined(__AVX__)
constexpr int tile_chains = 4;
#else
constexpr int tile_chains = 2;
#endif

/// out(:, j) = sum over c < count of x(:, c) y(j, c), in `chains` partial sums; count % 8 = 0.
template <int columns, int chains>
inline void panel_product(const double* x, const double* y, Index count, double* out) {
  TileColumn partial[std::size_t{chains}][std::size_t{columns}];
  for (int chain = 0; chain < chains; ++chain)
    for (int j = 0; j < columns; ++j) partial[chain][j].setZero();
  for (Index c = 0; c < count; c += chains)
    for (int chain = 0; chain < chains; ++chain) {
      const TileColumn xc = ConstTileColumnMap(x + (c + chain) * tile_width);
      const double* yc = y + (c + chain) * tile_width;
      for (int j = 0; j < columns; ++j) partial[chain][j] += xc * yc[j];
    }
  for (int j = 0; j < columns; ++j) {
    for (int chain = 1; chain < chains; ++chain) partial[0][j] += partial[chain][j];
    TileColumnMap(out + j * tile_width) = partial[0][j];
  }
}

/// The first columns of x y^T for two panels, eight rows by count columns each.
inline void tile_product(const double* x, const double* y, Index count, Index columns,
                         double* out) {
  Index j = 0;
  for (; j + tile_chains <= columns; j += tile_chains)
    panel_product<tile_chains, 1>(x, y + j, count, out + j * tile_width);
  for (; j + 2 <= columns; j += 2)
    panel_product<2, tile_chains / 2>(x, y + j, count, out + j * tile_width);
  if (j < columns) panel_product<1, tile_chains>(x, y + j, count, out + j * tile_width);
}

/// Tiles of one block column that are worked on together while a block row is in cache.
constexpr Index tile_group = 4;

}  // namespace detail

/// The lower half of a symmetric matrix in tiles, one block column after the other, padded with
/// zeros to a multiple of eight. The tiles on the diagonal are full.
class TiledSymmetric {
 public:
  void reset(Index size) {
    size_ = size;
    blocks_ = (size + detail::tile_width - 1) / detail::tile_width;
    data_.setZero(checked_product(blocks_ * (blocks_ + 1) / 2, detail::tile_size));
  }

  Index size() const { return size_; }
  Index blocks() const { return blocks_; }
  Index padded_size() const { return blocks_ * detail::tile_width; }

  /// Element (8 p + r, 8 q + j) is at [8 j + r], for p >= q.
  double* tile(Index p, Index q) { return data_.data() + offset(p, q); }
  const double* tile(Index p, Index q) const { return data_.data() + offset(p, q); }

  double trace() const {
    double result = 0.0;
    for (Index p = 0; p < blocks_; ++p)
      for (Index j = 0; j < detail::tile_width; ++j)
        result += tile(p, p)[j * (detail::tile_width + 1)];
    return result;
  }

  /// y = this x; both have the padded size.
  void multiply(const double* x, double* y) const {
    using namespace detail;
    std::fill(y, y + padded_size(), 0.0);
    for (Index q = 0; q < blocks_; ++q) {
      const double* t = tile(q, q);
      const double* xq = x + q * tile_width;
      TileColumnMap yq(y + q * tile_width);
      for (Index j = 0; j < tile_width; ++j) yq += ConstTileColumnMap(t + j * tile_width) * xq[j];
      TileColumn mirrored[tile_width];
      for (Index j = 0; j < tile_width; ++j) mirrored[j].setZero();
      for (Index p = q + 1; p < blocks_; ++p) {
        t += tile_size;
        const TileColumn xp = ConstTileColumnMap(x + p * tile_width);
        TileColumn yp = TileColumnMap(y + p * tile_width);
        for (Index j = 0; j < tile_width; ++j) {
          const TileColumn column = ConstTileColumnMap(t + j * tile_width);
          yp += column * xq[j];
          mirrored[j] += column * xp;
        }
        TileColumnMap(y + p * tile_width) = yp;
      }
      for (Index j = 0; j < tile_width; ++j) yq[j] += add_lanes<8>(mirrored[j].data());
    }
  }

 private:
  Index offset(Index p, Index q) const {
    return (q * blocks_ - q * (q - 1) / 2 + p - q) * detail::tile_size;
  }

  Index size_ = 0;
  Index blocks_ = 0;
  Vector<double> data_;
};

/// Forms the product of a matrix with its transpose, of the smaller side, scaled and in double.
class GramBuilder {
 public:
  /// The most roundings that any product in a sum of so many passes through.
  static Index depth(Index length) { return std::min(length, chunk) + length / chunk + 2; }

  /// `a` is column-major rows x cols; the factor is a power of two.
  template <class Scalar>
  void operator()(const Scalar* a, Index rows, Index cols, double factor, TiledSymmetric& gram) {
    const Index size = std::min(rows, cols);
    const Index length = std::max(rows, cols);
    gram.reset(size);
    // The padding is never written below, so it stays zero as long as the size does.
    if (packed_size_ != size) panels_.setZero(chunk * gram.padded_size());
    packed_size_ = size;
    for (Index start = 0; start < length; start += chunk) {
      const Index count = std::min(chunk, length - start);
      if (rows <= cols)
        pack_columns(a + start * rows, size, count, factor);
      else
        pack_rows(a + start, rows, size, count, factor);
      add_chunk(pad(count), gram);
    }
  }

 private:
  static constexpr Index chunk = 128;

  static Index pad(Index count) { return (count + 7) / 8 * 8; }

  /// Panel p holds the elements 8 p, ..., 8 p + 7 of all columns of the chunk.
  template <class Scalar>
  void pack_columns(const Scalar* a, Index size, Index count, double factor) {
    for (Index i = 0; i < size; i += detail::tile_width) {
      double* panel = panels_.data() + i * chunk;
      const Index width = std::min(detail::tile_width, size - i);
      const Scalar* from = a + i;
      if (width == detail::tile_width)
        for (Index c = 0; c < count; ++c)
          detail::TileColumnMap(panel + c * 8) =
              Eigen::Map<const Eigen::Array<Scalar, 8, 1>>(from + c * size)
                  .template cast<double>() *
              factor;
      else
        for (Index c = 0; c < count; ++c)
          for (Index r = 0; r < width; ++r)
            panel[c * 8 + r] = static_cast<double>(from[c * size + r]) * factor;
      clear_tail(panel, count);
    }
  }

  template <class Scalar>
  void pack_rows(const Scalar* a, Index stride, Index size, Index count, double factor) {
    for (Index i = 0; i < size; i += detail::tile_width) {
      double* panel = panels_.data() + i * chunk;
      const Index width = std::min(detail::tile_width, size - i);
      for (Index r = 0; r < width; ++r) {
        const Scalar* from = a + (i + r) * stride;
        for (Index c = 0; c < count; ++c) panel[c * 8 + r] = static_cast<double>(from[c]) * factor;
      }
      clear_tail(panel, count);
    }
  }

  static void clear_tail(double* panel, Index count) {
    std::fill(panel + count * detail::tile_width, panel + pad(count) * detail::tile_width, 0.0);
  }

  void add_chunk(Index count, TiledSymmetric& gram) {
    using namespace detail;
    for (Index first = 0; first < gram.blocks(); first += tile_group)
      for (Index p = first; p < gram.blocks(); ++p)
        for (Index q = first; q <= std::min(p, first + tile_group - 1); ++q)
          add_tile(p, q, count, gram);
  }

  void add_tile(Index p, Index q, Index count, TiledSymmetric& gram) {
    using namespace detail;
    const double* xp = panels_.data() + p * tile_width * chunk;
    const double* xq = panels_.data() + q * tile_width * chunk;
    const Index width = std::min(tile_width, gram.size() - p * tile_width);
    double* tile = gram.tile(p, q);
    alignas(64) double product[tile_size];
    if (width == tile_width) {
      tile_product(xp, xq, count, tile_width, product);
      for (Index i = 0; i < tile_size; ++i) tile[i] += product[i];
    } else {  // the last block row, mostly padding: its rows as columns take fewer multiplications
      tile_product(xq, xp, count, width, product);
      for (Index r = 0; r < width; ++r)
        for (Index j = 0; j < tile_width; ++j) tile[j * 8 + r] += product[r * 8 + j];
    }
  }

  Index packed_size_ = 0;
  Vector<double> panels_;
};

/// Floating-point Cholesky factorization, kept in block rows of eight.
class TiledCholesky {
 public:
  /// Whether the factorization of shift * I - a runs to completion.
  bool factor(const TiledSymmetric& a, double shift) {
    using namespace detail;
    const Index blocks = a.blocks();
    blocks_ = blocks;
    rows_.resize(checked_product(blocks * (blocks + 1) / 2, tile_size));
    inverse_.resize(blocks * tile_width);
    for (Index first = 0; first < blocks; first += tile_group)
      for (Index p = first; p < blocks; ++p)
        for (Index q = first; q <= std::min(p, first + tile_group - 1); ++q) {
          start_tile(a, shift, p, q);
          if (p != q)
            divide(diagonal(q), inverse(q), row(p) + q * tile_size);
          else if (!factor_diagonal(diagonal(q), inverse(q)))
            return false;
        }
    return true;
  }

  /// Solves with the factorized matrix, in place; x has the padded size.
  void solve(double* x) const {
    using namespace detail;
    for (Index p = 0; p < blocks_; ++p) {
      TileColumn sum = TileColumnMap(x + p * tile_width);
      for (Index c = 0; c < p * tile_width; ++c)
        sum -= ConstTileColumnMap(row(p) + c * tile_width) * x[c];
      for (Index j = 0; j < tile_width; ++j) {
        const double value = sum[j] * inverse(p)[j];
        sum -= ConstTileColumnMap(diagonal(p) + j * tile_width) * value;
        x[p * tile_width + j] = value;
      }
    }
    for (Index p = blocks_ - 1; p >= 0; --p) {
      double* xp = x + p * tile_width;
      for (Index j = tile_width - 1; j >= 0; --j) {
        const double* column = diagonal(p) + j * tile_width;
        for (Index i = j + 1; i < tile_width; ++i) xp[j] -= column[i] * xp[i];
        xp[j] *= inverse(p)[j];
      }
      const TileColumn known = ConstTileColumnMap(xp);
      for (Index c = 0; c < p * tile_width; ++c) {
        TileColumn product = ConstTileColumnMap(row(p) + c * tile_width) * known;
        x[c] -= add_lanes<8>(product.data());
      }
    }
  }

 private:
  double* row(Index p) { return rows_.data() + p * (p + 1) / 2 * detail::tile_size; }
  const double* row(Index p) const { return rows_.data() + p * (p + 1) / 2 * detail::tile_size; }
  double* diagonal(Index p) { return row(p) + p * detail::tile_size; }
  const double* diagonal(Index p) const { return row(p) + p * detail::tile_size; }
  double* inverse(Index p) { return inverse_.data() + p * detail::tile_width; }
  const double* inverse(Index p) const { return inverse_.data() + p * detail::tile_width; }

  /// Tile (p, q) of shift * I - a minus the products of the block columns on its left.
  void start_tile(const TiledSymmetric& a, double shift, Index p, Index q) {
    using namespace detail;
    alignas(64) double product[tile_size];
    tile_product(row(p), row(q), q * tile_width, tile_width, product);
    const double* from = a.tile(p, q);
    double* to = row(p) + q * tile_size;
    for (Index i = 0; i < tile_size; ++i) to[i] = -from[i] - product[i];
    if (p != q) return;
    for (Index j = 0; j < tile_size; j += tile_width + 1) to[j] = (shift - from[j]) - product[j];
  }

  static bool factor_diagonal(double* tile, double* inverse) {
    using namespace detail;
    for (Index j = 0; j < tile_width; ++j) {
      const double pivot = tile[j * (tile_width + 1)];
      if (!(pivot > 0.0)) return false;
      inverse[j] = 1.0 / std::sqrt(pivot);
      const TileColumn column = TileColumnMap(tile + j * tile_width) * inverse[j];
      TileColumnMap(tile + j * tile_width) = column;
      for (Index i = j + 1; i < tile_width; ++i)
        TileColumnMap(tile + i * tile_width) -= column * column[i];
    }
    return true;
  }

  static void divide(const double* diagonal, const double* inverse, double* tile) {
    using namespace detail;
    TileColumn columns[tile_width];
    for (Index j = 0; j < tile_width; ++j) columns[j] = TileColumnMap(tile + j * tile_width);
    for (Index j = 0; j < tile_width; ++j) {
      columns[j] *= inverse[j];
      for (Index i = j + 1; i < tile_width; ++i)
        columns[i] -= columns[j] * diagonal[j * tile_width + i];
      TileColumnMap(tile + j * tile_width) = columns[j];
    }
  }

  Index blocks_ = 0;
  Vector<double> rows_;
  Vector<double> inverse_;  ///< of the factor's diagonal
};

}  // namespace lipgd
