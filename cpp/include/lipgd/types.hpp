#pragma once

#include <cstddef>
#include <cstdint>

#include <Eigen/Core>

// Loops marked so touch every element once, at the same index on all their arrays: in-place use is
// safe, and the compiler need not prove that the arrays do not overlap.
#if defined(__clang__)
#define LIPGD_ELEMENTWISE_LOOP _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define LIPGD_ELEMENTWISE_LOOP _Pragma("GCC ivdep")
#elif defined(_MSC_VER)
#define LIPGD_ELEMENTWISE_LOOP __pragma(loop(ivdep))
#else
#define LIPGD_ELEMENTWISE_LOOP
#endif

namespace lipgd {

using Index = Eigen::Index;

template <class Scalar>
using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic>;
template <class Scalar>
using Vector = Eigen::Matrix<Scalar, Eigen::Dynamic, 1>;

/// A block of memory seen as a column-major matrix. A C-order (rows, columns) array is the map of
/// its transpose, so samples are columns here.
template <class Scalar>
using MatrixMap = Eigen::Map<Matrix<Scalar>>;
template <class Scalar>
using ConstMatrixMap = Eigen::Map<const Matrix<Scalar>>;
template <class Scalar>
using VectorMap = Eigen::Map<Vector<Scalar>>;
template <class Scalar>
using ConstVectorMap = Eigen::Map<const Vector<Scalar>>;

}  // namespace lipgd
