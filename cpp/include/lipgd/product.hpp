#pragma once

#include "lipgd/network.hpp"
#include "lipgd/reduce.hpp"

// The products of one block of samples. Samples are columns; a weight matrix W (outputs, inputs) is
// given by its transpose, as it lies in memory. Eigen's product packs its operands, so the bits do
// not depend on their alignment.

namespace lipgd {

/// Eigen cuts its products by the sizes of the caches it finds; fixed sizes make the same cuts, and
/// so the same bits, on every machine.
inline void fix_cache_sizes() {
  static const bool fixed = [] {
    Eigen::setCpuCacheSizes(32 * 1024, 1024 * 1024, 4 * 1024 * 1024);
    return true;
  }();
  static_cast<void>(fixed);
}

namespace detail {

/// out += a_1 s_1 + ... + a_4 s_4 for four columns at a time.
template <class Scalar>
void add_scaled_columns(const Scalar* columns, Index rows, Index count, const Scalar* factors,
                        Scalar* out) {
  Index n = 0;
  for (; n + 4 <= count; n += 4) {
    const Scalar* a = columns + n * rows;
    const Scalar *b = a + rows, *c = b + rows, *d = c + rows;
    const Scalar fa = factors[n], fb = factors[n + 1], fc = factors[n + 2], fd = factors[n + 3];
    LIPGD_ELEMENTWISE_LOOP
    for (Index i = 0; i < rows; ++i)
      out[i] += (a[i] * fa + b[i] * fb) + (c[i] * fc + d[i] * fd);
  }
  for (; n < count; ++n) {
    const Scalar* a = columns + n * rows;
    LIPGD_ELEMENTWISE_LOOP
    for (Index i = 0; i < rows; ++i) out[i] += a[i] * factors[n];
  }
}

/// out += the sum of the columns.
template <class Scalar>
void add_columns(const Scalar* columns, Index rows, Index count, Scalar* out) {
  Index n = 0;
  for (; n + 4 <= count; n += 4) {
    const Scalar* a = columns + n * rows;
    const Scalar *b = a + rows, *c = b + rows, *d = c + rows;
    LIPGD_ELEMENTWISE_LOOP
    for (Index i = 0; i < rows; ++i) out[i] += (a[i] + b[i]) + (c[i] + d[i]);
  }
  for (; n < count; ++n) {
    const Scalar* a = columns + n * rows;
    LIPGD_ELEMENTWISE_LOOP
    for (Index i = 0; i < rows; ++i) out[i] += a[i];
  }
}

}  // namespace detail

/// Z = W H + b as columns: weights (inputs, outputs), h (inputs, count), z (outputs, count).
template <class Scalar>
void affine(ConstMatrixMap<Scalar> weights, const Scalar* bias, const Scalar* h, Index count,
            Scalar* z) {
  const Index outputs = weights.cols();
  MatrixMap<Scalar> result(z, outputs, count);
  if (bias != nullptr)
    result.colwise() = ConstVectorMap<Scalar>(bias, outputs);
  else
    result.setZero();
  result.noalias() += weights.transpose() * ConstMatrixMap<Scalar>(h, weights.rows(), count);
}

/// The same for the last layer, with the samples of one output next to each other: z (count, outputs).
template <class Scalar>
void affine_last(ConstMatrixMap<Scalar> weights, const Scalar* bias, const Scalar* h, Index count,
                 Scalar* z) {
  const Index inputs = weights.rows(), outputs = weights.cols();
  if (outputs == 1) {
    const Scalar shift = bias != nullptr ? bias[0] : Scalar(0);
    for (Index n = 0; n < count; ++n) z[n] = shift + dot(weights.data(), h + n * inputs, inputs);
    return;
  }
  MatrixMap<Scalar> result(z, count, outputs);
  for (Index j = 0; j < outputs; ++j)
    result.col(j).setConstant(bias != nullptr ? bias[j] : Scalar(0));
  result.noalias() += ConstMatrixMap<Scalar>(h, inputs, count).transpose() * weights;
}

/// Adds the gradient of a hidden layer: weights += H D^T (inputs, outputs), or its transpose where
/// that is the faster product; bias += D 1.
template <class Scalar>
void add_gradient(const Scalar* h, const Scalar* delta, Index inputs, Index outputs, Index count,
                  bool transposed, Scalar* weights, Scalar* bias) {
  const ConstMatrixMap<Scalar> features(h, inputs, count), signal(delta, outputs, count);
  if (weights != nullptr && transposed)
    MatrixMap<Scalar>(weights, outputs, inputs).noalias() += signal * features.transpose();
  else if (weights != nullptr)
    MatrixMap<Scalar>(weights, inputs, outputs).noalias() += features * signal.transpose();
  if (bias != nullptr) detail::add_columns(delta, outputs, count, bias);
}

/// The same for the last layer: q (count, outputs).
template <class Scalar>
void add_gradient_last(const Scalar* h, const Scalar* q, Index inputs, Index outputs, Index count,
                       Scalar* weights, Scalar* bias) {
  if (weights != nullptr && outputs == 1)
    detail::add_scaled_columns(h, inputs, count, q, weights);
  else if (weights != nullptr)
    MatrixMap<Scalar>(weights, inputs, outputs).noalias() +=
        ConstMatrixMap<Scalar>(h, inputs, count) * ConstMatrixMap<Scalar>(q, count, outputs);
  if (bias == nullptr) return;
  for (Index j = 0; j < outputs; ++j)
    bias[j] += static_cast<Scalar>(sum(q + j * count, count));
}

/// Pulls a signal back through a hidden layer: out = slope * (W^T D), out may be slope.
template <class Scalar>
void pull_back(ConstMatrixMap<Scalar> weights, const Scalar* delta, const Scalar* slope,
               Index count, Scalar* scratch, Scalar* out) {
  const Index inputs = weights.rows(), size = inputs * count;
  MatrixMap<Scalar>(scratch, inputs, count).noalias() =
      weights * ConstMatrixMap<Scalar>(delta, weights.cols(), count);
  LIPGD_ELEMENTWISE_LOOP
  for (Index i = 0; i < size; ++i) out[i] = slope[i] * scratch[i];
}

/// The same from the last layer: q (count, outputs).
template <class Scalar>
void pull_back_last(ConstMatrixMap<Scalar> weights, const Scalar* q, const Scalar* slope,
                    Index count, Scalar* scratch, Scalar* out) {
  const Index inputs = weights.rows(), outputs = weights.cols(), size = inputs * count;
  if (outputs == 1) {
    for (Index n = 0; n < count; ++n) {
      const Scalar factor = q[n];
      const Scalar *w = weights.data(), *s = slope + n * inputs;
      Scalar* to = out + n * inputs;
      LIPGD_ELEMENTWISE_LOOP
      for (Index i = 0; i < inputs; ++i) to[i] = s[i] * (w[i] * factor);
    }
    return;
  }
  MatrixMap<Scalar>(scratch, inputs, count).noalias() =
      weights * ConstMatrixMap<Scalar>(q, count, outputs).transpose();
  LIPGD_ELEMENTWISE_LOOP
  for (Index i = 0; i < size; ++i) out[i] = slope[i] * scratch[i];
}

}  // namespace lipgd
