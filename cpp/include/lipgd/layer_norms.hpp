#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "lipgd/network.hpp"
#include "lipgd/spectral.hpp"

namespace lipgd {

namespace detail {

inline double upward(double x) {
  return std::nextafter(x, std::numeric_limits<double>::infinity());
}

/// A product of nonnegative numbers, rounded up.
inline double times_upward(double a, double b) {
  return a == 0.0 || b == 0.0 ? 0.0 : upward(a * b);
}

}  // namespace detail

/// Spectral norms of the layers, warm-started from the last ones.
class LayerNorms {
 public:
  explicit LayerNorms(const Architecture& net)
      : net_(&net),
        norms_(static_cast<std::size_t>(net.depth())),
        brackets_(static_cast<std::size_t>(net.depth())) {}

  template <class Scalar>
  void measure(const Scalar* parameters) {
    for (Index layer = 0; layer < net_->depth(); ++layer) measure(parameters, layer);
  }
  template <class Scalar>
  void measure(const Scalar* parameters, Index layer) {
    const auto weights = net_->weights(parameters, layer);
    const auto l = static_cast<std::size_t>(layer);
    brackets_[l] = norms_[l](weights.data(), weights.rows(), weights.cols());
  }

  const SpectralBracket& bracket(Index layer) const {
    return brackets_[static_cast<std::size_t>(layer)];
  }

  /// |output_scale| times the product of the norms and of the activation's constant, rounded up:
  /// an upper bound of the Lipschitz constant.
  double product(double activation_lipschitz) const {
    double bound = std::abs(net_->output_scale());
    for (Index layer = 0; layer < net_->depth(); ++layer) {
      if (layer > 0) bound = detail::times_upward(bound, activation_lipschitz);
      bound = detail::times_upward(bound, bracket(layer).upper);
    }
    return bound;
  }

  /// The warm starts: with them a later call repeats the bits of an uninterrupted run.
  std::vector<SpectralNorm>& states() { return norms_; }

 private:
  const Architecture* net_;
  std::vector<SpectralNorm> norms_;
  std::vector<SpectralBracket> brackets_;
};

}  // namespace lipgd
