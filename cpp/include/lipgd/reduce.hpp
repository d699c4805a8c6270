#pragma once

#include <cmath>
#include <cstddef>

#include "lipgd/types.hpp"

// Sums whose order depends on the length alone. Eigen's own reductions peel the start of an array
// by its address, so their last bits move with the alignment of the caller's memory. Here lane l
// takes the elements l, l + lanes, l + 2 lanes, ..., and the lanes are added pairwise.

namespace lipgd {

namespace detail {

// Enough independent chains to hide the latency of an addition: 8 registers, 4 with AVX-512.
#if defined(__AVX__)
constexpr std::size_t reduction_bytes = 256;
#else
constexpr std::size_t reduction_bytes = 128;
#endif

template <std::size_t lanes, class Sum>
inline Sum add_lanes(Sum* lane) {
  if constexpr (lanes == 1) {
    return lane[0];
  } else {
    Sum half[lanes / 2];
    for (std::size_t l = 0; l < lanes / 2; ++l) half[l] = lane[l] + lane[l + lanes / 2];
    return add_lanes<lanes / 2>(half);
  }
}

/// The sum of term(0), ..., term(n - 1) in the fixed order of so many lanes.
template <std::size_t lanes, class Sum, class Term>
inline Sum reduce_lanes(Index n, const Term& term) {
  Sum lane[lanes] = {};
  constexpr Index step = static_cast<Index>(lanes);
  Index i = 0;
  for (; i + step <= n; i += step)
    for (Index l = 0; l < step; ++l) lane[l] += term(i + l);
  for (Index l = 0; l < n - i; ++l) lane[l] += term(i + l);
  return add_lanes<lanes>(lane);
}

/// Few lanes for short sums, where adding up the lanes would cost more than the sum.
template <class Sum, class Term>
inline Sum reduce(Index n, const Term& term) {
  constexpr std::size_t lanes = reduction_bytes / sizeof(Sum);
  if (n < static_cast<Index>(2 * lanes)) return reduce_lanes<8, Sum>(n, term);
  return reduce_lanes<lanes, Sum>(n, term);
}

}  // namespace detail

/// The most roundings, a product's own included, that any of n terms passes through in these sums.
inline Index reduction_depth(Index n) { return n / 8 + 8; }

/// The inner product, summed in the precision of its arguments.
template <class Scalar>
Scalar dot(const Scalar* a, const Scalar* b, Index n) {
  return detail::reduce<Scalar>(n, [a, b](Index i) { return a[i] * b[i]; });
}

/// The sum, added up in double.
template <class Scalar>
double sum(const Scalar* a, Index n) {
  return detail::reduce<double>(n, [a](Index i) { return static_cast<double>(a[i]); });
}

/// The sum of squares, squared and added up in double.
template <class Scalar>
double sum_of_squares(const Scalar* a, Index n) {
  return detail::reduce<double>(n, [a](Index i) {
    const double value = static_cast<double>(a[i]);
    return value * value;
  });
}

/// The sum of squared differences, in double.
template <class Scalar>
double squared_distance(const Scalar* a, const Scalar* b, Index n) {
  return detail::reduce<double>(n, [a, b](Index i) {
    const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    return difference * difference;
  });
}

/// The Euclidean norm of what for_pieces(use) hands over piece by piece, use(values, size); right
/// where squares overflow or underflow, too.
template <class Scalar, class Pieces>
double norm_of_pieces(const Pieces& for_pieces) {
  double squares = 0.0;
  for_pieces([&](const Scalar* a, Index n) { squares += sum_of_squares(a, n); });
  if (squares > 1e-280 && squares < 1e300) return std::sqrt(squares);
  double largest = 0.0;
  for_pieces([&](const Scalar* a, Index n) {
    for (Index i = 0; i < n; ++i) {
      const double size = std::abs(static_cast<double>(a[i]));
      largest = size <= largest ? largest : size;
    }
  });
  if (!(largest > 0.0) || !std::isfinite(largest)) return largest;
  squares = 0.0;
  for_pieces([&](const Scalar* a, Index n) {
    squares += detail::reduce<double>(n, [a, largest](Index i) {
      const double value = static_cast<double>(a[i]) / largest;
      return value * value;
    });
  });
  return largest * std::sqrt(squares);
}

/// Whether no element is infinite or NaN.
template <class Scalar>
bool all_finite(const Scalar* a, Index n) {
  // x * 0 is 0 or -0 for finite x, else NaN; NaN survives every addition.
  return detail::reduce<Scalar>(n, [a](Index i) { return a[i] * Scalar(0); }) == Scalar(0);
}

}  // namespace lipgd
