#pragma once

#include <algorithm>

#include "lipgd/panel.hpp"
#include "lipgd/parallel.hpp"
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

/// out += c_1 f_1 + c_2 f_2 + ... for columns of so many rows that lie stride apart.
template <class Scalar>
void add_scaled_columns(const Scalar* columns, Index rows, Index stride, Index count,
                        const Scalar* factors, Scalar* out) {
  Index n = 0;
  for (; n + 4 <= count; n += 4) {
    const Scalar* a = columns + n * stride;
    const Scalar *b = a + stride, *c = b + stride, *d = c + stride;
    const Scalar fa = factors[n], fb = factors[n + 1], fc = factors[n + 2], fd = factors[n + 3];
    LIPGD_ELEMENTWISE_LOOP
    for (Index i = 0; i < rows; ++i) out[i] += (a[i] * fa + b[i] * fb) + (c[i] * fc + d[i] * fd);
  }
  for (; n < count; ++n) {
    const Scalar* a = columns + n * stride;
    LIPGD_ELEMENTWISE_LOOP
    for (Index i = 0; i < rows; ++i) out[i] += a[i] * factors[n];
  }
}

/// out += c_1 + c_2 + ...
template <class Scalar>
void add_columns(const Scalar* columns, Index rows, Index stride, Index count, Scalar* out) {
  Index n = 0;
  for (; n + 4 <= count; n += 4) {
    const Scalar* a = columns + n * stride;
    const Scalar *b = a + stride, *c = b + stride, *d = c + stride;
    LIPGD_ELEMENTWISE_LOOP
    for (Index i = 0; i < rows; ++i) out[i] += (a[i] + b[i]) + (c[i] + d[i]);
  }
  for (; n < count; ++n) {
    const Scalar* a = columns + n * stride;
    LIPGD_ELEMENTWISE_LOOP
    for (Index i = 0; i < rows; ++i) out[i] += a[i];
  }
}

}  // namespace detail

/// Z = W H + b as columns: weights (inputs, outputs), h (inputs, count), z (outputs, count).
template <class Scalar>
void affine(ConstMatrixMap<Scalar> weights, const Scalar* bias, const Scalar* h, Index count,
            Scalar* z, const Sharing& sharing = {}) {
  const Index outputs = weights.cols();
  sharing.split(outputs, [&](Index begin, Index size) {
    auto result = MatrixMap<Scalar>(z, outputs, count).middleRows(begin, size);
    if (bias != nullptr)
      result.colwise() = ConstVectorMap<Scalar>(bias + begin, size);
    else
      result.setZero();
    result.noalias() += weights.middleCols(begin, size).transpose() *
                        ConstMatrixMap<Scalar>(h, weights.rows(), count);
  });
}

/// The same for a layer whose weights are in panels of outputs.
template <class Scalar>
void affine_packed(const Scalar* panels, const Scalar* bias, const Scalar* h, Index inputs,
                   Index outputs, Index count, Scalar* z, const Sharing& sharing = {}) {
  panel::for_panels<Scalar>(outputs, sharing, [&](Index begin, Index rows) {
    for (Index n = 0; n < count; ++n) {
      Scalar* out = z + n * outputs + begin;
      if (bias != nullptr)
        std::copy_n(bias + begin, rows, out);
      else
        std::fill_n(out, rows, Scalar(0));
    }
    panel::add_packed<Scalar>(panels, begin, rows, inputs, {h, 1, inputs}, count, z + begin,
                              outputs);
  });
}

/// The same for the last layer, with the samples of one output next to each other: z (count,
/// outputs).
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
                  bool transposed, Scalar* weights, Scalar* bias, const Sharing& sharing = {}) {
  if (weights != nullptr && transposed)
    panel::for_panels<Scalar>(outputs, sharing, [&](Index begin, Index rows) {
      panel::add_rows<Scalar>(delta + begin, outputs, rows, count, {h, inputs, 1}, inputs,
                              weights + begin, outputs);
    });
  sharing.split(outputs, [&](Index begin, Index size) {
    if (weights != nullptr && !transposed)
      MatrixMap<Scalar>(weights, inputs, outputs).middleCols(begin, size).noalias() +=
          ConstMatrixMap<Scalar>(h, inputs, count) *
          ConstMatrixMap<Scalar>(delta, outputs, count).middleRows(begin, size).transpose();
    if (bias != nullptr) detail::add_columns(delta + begin, size, outputs, count, bias + begin);
  });
}

/// The same for the last layer: q (count, outputs).
template <class Scalar>
void add_gradient_last(const Scalar* h, const Scalar* q, Index inputs, Index outputs, Index count,
                       Scalar* weights, Scalar* bias, const Sharing& sharing = {}) {
  if (weights != nullptr)
    sharing.split(inputs, [&](Index begin, Index size) {
      if (outputs == 1)
        detail::add_scaled_columns(h + begin, size, inputs, count, q, weights + begin);
      else
        MatrixMap<Scalar>(weights, inputs, outputs).middleRows(begin, size).noalias() +=
            ConstMatrixMap<Scalar>(h, inputs, count).middleRows(begin, size) *
            ConstMatrixMap<Scalar>(q, count, outputs);
    });
  if (bias == nullptr) return;
  for (Index j = 0; j < outputs; ++j) bias[j] += static_cast<Scalar>(sum(q + j * count, count));
}

namespace detail {

/// slope *= product for some rows of a block.
template <class Scalar>
void multiply_rows(const Scalar* product, Index begin, Index size, Index rows, Index count,
                   Scalar* slope) {
  if (size == rows) {  // one run over the whole
    size *= count;
    count = 1;
  }
  for (Index n = 0; n < count; ++n) {
    const Scalar* factor = product + n * rows + begin;
    Scalar* out = slope + n * rows + begin;
    LIPGD_ELEMENTWISE_LOOP
    for (Index i = 0; i < size; ++i) out[i] *= factor[i];
  }
}

}  // namespace detail

/// Pulls a signal back through a layer: slope becomes slope * (W^T D).
template <class Scalar>
void pull_back(ConstMatrixMap<Scalar> weights, const Scalar* delta, Index count, Scalar* scratch,
               Scalar* slope, const Sharing& sharing = {}) {
  const Index inputs = weights.rows();
  const ConstMatrixMap<Scalar> signal(delta, weights.cols(), count);
  sharing.split(inputs, [&](Index begin, Index size) {
    MatrixMap<Scalar>(scratch, inputs, count).middleRows(begin, size).noalias() =
        weights.middleRows(begin, size) * signal;
    detail::multiply_rows(scratch, begin, size, inputs, count, slope);
  });
}

/// The same from the last layer: q (count, outputs).
template <class Scalar>
void pull_back_last(ConstMatrixMap<Scalar> weights, const Scalar* q, Index count, Scalar* scratch,
                    Scalar* slope, const Sharing& sharing = {}) {
  const Index inputs = weights.rows(), outputs = weights.cols();
  sharing.split(inputs, [&](Index begin, Index size) {
    if (outputs > 1) {
      MatrixMap<Scalar>(scratch, inputs, count).middleRows(begin, size).noalias() =
          weights.middleRows(begin, size) * ConstMatrixMap<Scalar>(q, count, outputs).transpose();
      detail::multiply_rows(scratch, begin, size, inputs, count, slope);
      return;
    }
    for (Index n = 0; n < count; ++n) {
      const Scalar factor = q[n];
      const Scalar* w = weights.data() + begin;
      Scalar* out = slope + n * inputs + begin;
      LIPGD_ELEMENTWISE_LOOP
      for (Index i = 0; i < size; ++i) out[i] *= w[i] * factor;
    }
  });
}

}  // namespace lipgd
