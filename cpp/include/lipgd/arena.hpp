#pragma once

#include <cstddef>
#include <cstdint>

#include "lipgd/check.hpp"

namespace lipgd {

/// Hands out aligned pieces of one piece of memory; without memory it only counts.
class Arena {
 public:
  Arena() = default;
  explicit Arena(void* memory) {
    const auto address = reinterpret_cast<std::uintptr_t>(memory);
    begin_ = static_cast<std::byte*>(memory) + (alignment - address % alignment) % alignment;
  }

  template <class T>
  T* take(Index count) {
    const auto bytes =
        static_cast<std::size_t>(checked_product(count, static_cast<Index>(sizeof(T))));
    std::byte* piece = begin_ == nullptr ? nullptr : begin_ + used_;
    used_ += (bytes + alignment - 1) / alignment * alignment;
    return reinterpret_cast<T*>(piece);
  }
  /// Whether there is no memory behind the pieces.
  bool only_counts() const { return begin_ == nullptr; }
  /// What must be provided for all that was taken.
  Index bytes() const { return static_cast<Index>(used_ + alignment); }

 private:
  static constexpr std::size_t alignment = 64;
  std::byte* begin_ = nullptr;
  std::size_t used_ = 0;
};

}  // namespace lipgd
