#pragma once

#include <limits>
#include <stdexcept>
#include <string>

#include "lipgd/types.hpp"

namespace lipgd {

/// Throws std::invalid_argument with the message unless the condition holds.
inline void require(bool condition, const std::string& message) {
  if (!condition) throw std::invalid_argument(message);
}

/// The product of two sizes; throws std::length_error instead of wrapping around.
inline Index checked_product(Index a, Index b) {
  if (a < 0 || b < 0) throw std::length_error("a size is negative");
  if (b != 0 && a > std::numeric_limits<Index>::max() / b)
    throw std::length_error("a size exceeds 2^63");
  return a * b;
}

}  // namespace lipgd
