#pragma once

#include <cstdint>

#include "lipgd/types.hpp"

namespace lipgd {

/// The inputs of a data set, read where they lie: rows of float or double with any strides, all of
/// them or a selection.
template <class Scalar>
struct Inputs {
  const void* data = nullptr;
  bool is_float = false;  ///< the type of data: float, else double
  Index n_rows = 0;       ///< rows of data
  Index n_columns = 0;
  Index row_stride = 0;                     ///< in elements
  Index column_stride = 1;                  ///< in elements
  const std::int64_t* selection = nullptr;  ///< positions of the rows that count, or null: all
  Index n_selected = 0;

  Index n_samples() const { return selection != nullptr ? n_selected : n_rows; }

  /// Whether blocks can be used in place.
  bool direct() const {
    return is_float == (sizeof(Scalar) == sizeof(float)) && selection == nullptr &&
           column_stride == 1 && row_stride == n_columns;
  }

  /// The samples first, ..., first + count - 1 as columns (n_columns, count); in place if possible,
  /// else copied to scratch.
  const Scalar* block(Index first, Index count, Scalar* scratch) const {
    if (direct()) return static_cast<const Scalar*>(data) + first * row_stride;
    if (is_float)
      gather(static_cast<const float*>(data), first, count, scratch);
    else
      gather(static_cast<const double*>(data), first, count, scratch);
    return scratch;
  }

 private:
  template <class Source>
  void gather(const Source* source, Index first, Index count, Scalar* out) const {
    for (Index n = 0; n < count; ++n) {
      const Index row = selection != nullptr ? static_cast<Index>(selection[first + n]) : first + n;
      const Source* from = source + row * row_stride;
      for (Index j = 0; j < n_columns; ++j)
        out[n * n_columns + j] = static_cast<Scalar>(from[j * column_stride]);
    }
  }
};

/// What the loss compares with: values (n_samples, n_outputs) in C order, or one label per sample;
/// and weights with mean one, or none. A selection is that of the inputs.
template <class Scalar>
struct Targets {
  const Scalar* values = nullptr;
  const std::int64_t* labels = nullptr;
  const Scalar* weights = nullptr;
  const std::int64_t* selection = nullptr;

  Index row(Index n) const { return selection != nullptr ? static_cast<Index>(selection[n]) : n; }

  /// The values of a block with the samples of one output next to each other: (count, n_outputs).
  const Scalar* block(Index first, Index count, Index n_outputs, Scalar* scratch) const {
    if (values == nullptr) return nullptr;
    if (n_outputs == 1 && selection == nullptr) return values + first;
    for (Index n = 0; n < count; ++n)
      for (Index j = 0; j < n_outputs; ++j)
        scratch[j * count + n] = values[row(first + n) * n_outputs + j];
    return scratch;
  }
  const std::int64_t* block_labels(Index first, Index count, std::int64_t* scratch) const {
    if (labels == nullptr || selection == nullptr)
      return labels == nullptr ? nullptr : labels + first;
    for (Index n = 0; n < count; ++n) scratch[n] = labels[row(first + n)];
    return scratch;
  }
  const Scalar* block_weights(Index first, Index count, Scalar* scratch) const {
    if (weights == nullptr || selection == nullptr)
      return weights == nullptr ? nullptr : weights + first;
    for (Index n = 0; n < count; ++n) scratch[n] = weights[row(first + n)];
    return scratch;
  }
};

/// The rows that begin at a row of data that has no selection.
template <class Scalar>
Inputs<Scalar> rows_from(const Inputs<Scalar>& inputs, Index row, Index count) {
  Inputs<Scalar> part = inputs;
  const auto bytes = static_cast<Index>(inputs.is_float ? sizeof(float) : sizeof(double));
  part.data = static_cast<const char*>(inputs.data) + row * inputs.row_stride * bytes;
  part.n_rows = count;
  return part;
}
template <class Scalar>
Targets<Scalar> rows_from(const Targets<Scalar>& targets, Index row, Index n_outputs) {
  Targets<Scalar> part = targets;
  if (part.values != nullptr) part.values += row * n_outputs;
  if (part.labels != nullptr) part.labels += row;
  if (part.weights != nullptr) part.weights += row;
  return part;
}

}  // namespace lipgd
