#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <utility>

#include "lipgd/types.hpp"

// Products of a matrix that lies in the cache with one or two vectors, and sums of up to four,
// where general products spend their time on getting started. Vectors have zeros up to a whole
// number of lanes, so that only the matrix, which is the caller's, may have rows that fill no
// register.

namespace lipgd::few {

constexpr Index lanes = 8;
using Lane = Eigen::Array<double, lanes, 1>;
using ConstLane = Eigen::Map<const Lane>;
using LaneMap = Eigen::Map<Lane>;

template <std::size_t n>
using Row = std::array<double, n>;
template <std::size_t n>
using Square = std::array<Row<n>, n>;

/// The size that vectors of so many elements are kept with.
inline Index padded(Index size) { return (size + lanes - 1) / lanes * lanes; }

/// Sizes are padded from here on, but those of matrices.
inline double dot(const double* a, const double* b, Index size) {
  Lane sum = Lane::Zero();
  for (Index i = 0; i < size; i += lanes) sum += ConstLane(a + i) * ConstLane(b + i);
  return sum.sum();
}

/// to = direction less its part in the span of orthonormal vectors; the lengths of both.
inline std::pair<double, double> remove(const double* vectors, Index count, const double* direction,
                                        double* to, Index size) {
  double along[4], inside = 0.0;
  for (Index j = 0; j < count; ++j) {
    along[j] = dot(vectors + j * size, direction, size);
    inside += along[j] * along[j];
  }
  Lane squares = Lane::Zero();
  for (Index i = 0; i < size; i += lanes) {
    Lane left = ConstLane(direction + i);
    for (Index j = 0; j < count; ++j) left -= along[j] * ConstLane(vectors + j * size + i);
    squares += left * left;
    LaneMap(to + i) = left;
  }
  return {std::sqrt(squares.sum()), std::sqrt(inside)};
}

/// So many registers of rows of the images.
template <int vectors, int registers>
inline void multiply_rows(const double* a, Index rows, Index cols, const double* v, Index stride,
                          double* to, Index to_stride) {
  Lane sum[std::size_t{vectors}][std::size_t{registers}];
  for (int k = 0; k < vectors; ++k)
    for (int r = 0; r < registers; ++r) sum[k][r].setZero();
  for (Index j = 0; j < cols; ++j)
    for (int r = 0; r < registers; ++r) {
      const Lane column = ConstLane(a + j * rows + r * lanes);
      for (int k = 0; k < vectors; ++k) sum[k][r] += v[k * stride + j] * column;
    }
  for (int k = 0; k < vectors; ++k)
    for (int r = 0; r < registers; ++r) LaneMap(to + k * to_stride + r * lanes) = sum[k][r];
}

template <int vectors>
inline void multiply(ConstMatrixMap<double> a, const double* v, Index stride, double* to,
                     Index to_stride) {
  const Index rows = a.rows();
  Index i = 0;
  for (; i + 4 * lanes <= rows; i += 4 * lanes)
    multiply_rows<vectors, 4>(a.data() + i, rows, a.cols(), v, stride, to + i, to_stride);
  for (; i + lanes <= rows; i += lanes)
    multiply_rows<vectors, 1>(a.data() + i, rows, a.cols(), v, stride, to + i, to_stride);
  if (i == rows) return;
  // The last rows with some that are done: the same sums again.
  i = rows - lanes;
  multiply_rows<vectors, 1>(a.data() + i, rows, a.cols(), v, stride, to + i, to_stride);
}

/// The images of one or two vectors.
inline void multiply(ConstMatrixMap<double> a, const double* v, Index stride, Index vectors,
                     double* to, Index to_stride) {
  if (a.rows() < lanes) {
    for (Index k = 0; k < vectors; ++k)
      Eigen::Map<Vector<double>>(to + k * to_stride, a.rows()).noalias() =
          a * ConstVectorMap<double>(v + k * stride, a.cols());
  } else if (vectors == 1) {
    multiply<1>(a, v, stride, to, to_stride);
  } else {
    multiply<2>(a, v, stride, to, to_stride);
  }
}

/// So many elements of the images under the transpose.
template <int vectors, int columns>
inline void dot_columns(const double* a, Index rows, const double* u, Index stride,
                        const Lane (&rest)[std::size_t{vectors}], double* to, Index to_stride) {
  Lane sum[std::size_t{vectors}][std::size_t{columns}];
  for (int c = 0; c < columns; ++c) {
    const Lane last = ConstLane(a + c * rows + rows - lanes);
    for (int k = 0; k < vectors; ++k) sum[k][c] = rest[k] * last;
  }
  for (Index i = 0; i + lanes < rows; i += lanes)
    for (int c = 0; c < columns; ++c) {
      const Lane part = ConstLane(a + c * rows + i);
      for (int k = 0; k < vectors; ++k) sum[k][c] += part * ConstLane(u + k * stride + i);
    }
  for (int k = 0; k < vectors; ++k)
    for (int c = 0; c < columns; ++c) to[k * to_stride + c] = sum[k][c].sum();
}

template <int vectors>
inline void multiply_transposed(ConstMatrixMap<double> a, const double* u, Index stride, double* to,
                                Index to_stride) {
  const Index rows = a.rows(), before = (rows - 1) / lanes * lanes;
  // The last rows, those taken in whole lanes before them with weights of zero.
  Lane rest[std::size_t{vectors}];
  for (int k = 0; k < vectors; ++k)
    for (Index l = 0; l < lanes; ++l) {
      const Index i = rows - lanes + l;
      rest[k][l] = i < before ? 0.0 : u[k * stride + i];
    }
  Index j = 0;
  for (; j + 4 <= a.cols(); j += 4)
    dot_columns<vectors, 4>(a.data() + j * rows, rows, u, stride, rest, to + j, to_stride);
  for (; j < a.cols(); ++j)
    dot_columns<vectors, 1>(a.data() + j * rows, rows, u, stride, rest, to + j, to_stride);
}

/// The images of one or two vectors under the transpose.
inline void multiply_transposed(ConstMatrixMap<double> a, const double* u, Index stride,
                                Index vectors, double* to, Index to_stride) {
  if (a.rows() < lanes) {
    for (Index k = 0; k < vectors; ++k)
      Eigen::Map<Vector<double>>(to + k * to_stride, a.cols()).noalias() =
          a.transpose() * ConstVectorMap<double>(u + k * stride, a.rows());
  } else if (vectors == 1) {
    multiply_transposed<1>(a, u, stride, to, to_stride);
  } else {
    multiply_transposed<2>(a, u, stride, to, to_stride);
  }
}

/// The inner products of vectors that lie one after the other.
template <std::size_t n>
inline void gram(const double* vectors, Index size, Square<n>& to) {
  Lane sum[n][n];
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j <= i; ++j) sum[i][j].setZero();
  for (Index r = 0; r < size; r += lanes) {
    Lane part[n];
    for (std::size_t i = 0; i < n; ++i)
      part[i] = ConstLane(vectors + static_cast<Index>(i) * size + r);
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j <= i; ++j) sum[i][j] += part[i] * part[j];
  }
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j <= i; ++j) to[i][j] = to[j][i] = sum[i][j].sum();
}

template <std::size_t n>
inline Lane combination(const double* vectors, Index size, const Row<n>& weights) {
  Lane sum = weights[0] * ConstLane(vectors);
  for (std::size_t j = 1; j < n; ++j)
    sum += weights[j] * ConstLane(vectors + static_cast<Index>(j) * size);
  return sum;
}
template <std::size_t n>
inline void combine(const double* vectors, Index size, const Row<n>& weights, double* to) {
  for (Index i = 0; i < size; i += lanes)
    LaneMap(to + i) = combination<n>(vectors + i, size, weights);
}
/// The first vectors become two combinations of all.
template <std::size_t n>
inline void combine_two(double* vectors, Index size, const Row<n>& first, const Row<n>& second) {
  for (Index i = 0; i < size; i += lanes) {
    const Lane a = combination<n>(vectors + i, size, first);
    const Lane b = combination<n>(vectors + i, size, second);
    LaneMap(vectors + i) = a;
    if (n > 1) LaneMap(vectors + size + i) = b;
  }
}

template <std::size_t n>
inline void rotate(Row<n>& x, Row<n>& y, double c, double s) {
  for (std::size_t k = 0; k < n; ++k) {
    const double before = x[k];
    x[k] = c * before - s * y[k];
    y[k] = s * before + c * y[k];
  }
}

/// Jacobi's rotations of a symmetric matrix: values are left on its diagonal, vectors are the rows.
/// Entries beside the diagonal may keep a share of what lies on it.
template <std::size_t n>
inline void diagonalize(Square<n>& a, Square<n>& vectors, double kept) {
  constexpr int most_sweeps = 12;
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j) vectors[i][j] = i == j ? 1.0 : 0.0;
  const double negligible = kept * kept;
  bool rotated = true;
  for (int sweep = 0; sweep < most_sweeps && rotated; ++sweep) {
    rotated = false;
    for (std::size_t p = 0; p < n; ++p)
      for (std::size_t q = p + 1; q < n; ++q) {
        const double beside = a[p][q];
        if (!(beside * beside > negligible * std::abs(a[p][p] * a[q][q]))) continue;
        rotated = true;
        const double half = 0.5 * (a[q][q] - a[p][p]);
        const double t =
            beside / (half + std::copysign(std::sqrt(half * half + beside * beside), half));
        const double c = 1.0 / std::sqrt(1.0 + t * t), s = c * t;
        const double first = a[p][p] - t * beside, second = a[q][q] + t * beside;
        rotate<n>(a[p], a[q], c, s);
        rotate<n>(vectors[p], vectors[q], c, s);
        a[p][p] = first;
        a[q][q] = second;
        a[p][q] = a[q][p] = 0.0;
        for (std::size_t k = 0; k < n; ++k)
          if (k != p && k != q) {
            a[k][p] = a[p][k];
            a[k][q] = a[q][k];
          }
      }
  }
}

/// The vector of the largest value, which is not taken again.
template <std::size_t n>
inline void take_largest(Square<n>& values, const Square<n>& vectors, Row<n>& to) {
  std::size_t top = 0;
  for (std::size_t j = 1; j < n; ++j)
    if (values[j][j] > values[top][top]) top = j;
  values[top][top] = -1.0;
  to = vectors[top];
}

}  // namespace lipgd::few
