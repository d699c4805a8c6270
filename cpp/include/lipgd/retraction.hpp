#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "lipgd/network.hpp"
#include "lipgd/singular.hpp"

namespace lipgd {

namespace detail {

/// The singular values of a layer, from the largest on, and what it costs to cut them at a cap c:
/// half the sum of (s - c)^2 over those above, whose derivative in log c is minus
/// c (s_1 + ... + s_k - k c), the level. It rises as c falls from s_1, up to some point.
struct CutCost {
  const std::vector<double>& values;
  double scale;  ///< of the values

  struct Cap {
    double value = 0.0;  ///< 0 if the level is not reached
    double slope = 0.0;  ///< of log(value) in the level
  };

  Cap at(double level) const {
    double sum = 0.0;
    for (std::size_t k = 1; k <= values.size(); ++k) {
      sum += scale * values[k - 1];
      const double next = k < values.size() ? scale * values[k] : 0.0;
      const auto count = static_cast<double>(k);
      const bool turns = sum > 2.0 * count * next;  // the highest level lies in this piece
      if (!turns && level > next * (sum - count * next)) continue;
      const double root = std::sqrt(std::max(0.0, sum * sum - 4.0 * count * level));
      if (!(root > 1e-3 * sum)) return {};
      const double cap = (sum + root) / (2.0 * count);
      return {cap, -1.0 / (cap * root)};
    }
    return {};
  }
};

/// Caps for the singular values of several matrices, whose product is factor times that of their
/// norms, with the least sum of squares cut away: there all levels are equal. Where a step went so
/// far that no such caps are near, every norm is lowered by the same factor.
inline std::vector<double> nearest_caps(const std::vector<const std::vector<double>*>& spectra,
                                        double factor) {
  const auto count = static_cast<double>(spectra.size());
  double largest = 0.0;
  for (const auto* values : spectra) largest = std::max(largest, values->front());
  std::vector<double> caps(spectra.size());
  double low = 0.0, high = std::numeric_limits<double>::infinity(), level = 0.0;
  for (int pass = 0; pass < 60; ++pass) {
    double excess = -std::log(factor), slope = 0.0;
    bool reached = true;
    for (std::size_t l = 0; l < caps.size() && reached; ++l) {
      const CutCost::Cap cap = CutCost{*spectra[l], 1.0 / largest}.at(level);
      reached = cap.value > 0.0;
      caps[l] = cap.value * largest;
      excess += std::log(caps[l] / spectra[l]->front());
      slope += cap.slope;
    }
    if (reached && std::abs(excess) <= 1e-10) {
      for (double& cap : caps) cap *= std::exp(-excess / count);
      return caps;
    }
    (reached && excess > 0.0 ? low : high) = level;
    const double newton = level - excess / slope;
    const bool inside = reached && newton > low && newton < high;
    level = inside ? newton : 0.5 * (low + high);
  }
  for (std::size_t l = 0; l < caps.size(); ++l)
    caps[l] = spectra[l]->front() * std::pow(factor, 1.0 / count);
  return caps;
}

}  // namespace detail

/// Moves weight matrices as little as possible, in the Euclidean norm of their entries, to where
/// the product of their spectral norms is smaller by a given factor: of each matrix the singular
/// values above a cap are lowered to it, and all the others stay.
class Retraction {
 public:
  Retraction(const Architecture& net, std::vector<Index> layers)
      : net_(&net), layers_(std::move(layers)), bases_(layers_.size()) {}

  template <class Scalar>
  void operator()(Scalar* parameters, double factor) {
    std::vector<const std::vector<double>*> spectra;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      bases_[i].compute(net_->weights(static_cast<const Scalar*>(parameters), layers_[i]), false);
      spectra.push_back(&bases_[i].values());
    }
    const std::vector<double> caps = detail::nearest_caps(spectra, factor);
    for (std::size_t i = 0; i < layers_.size(); ++i)
      bases_[i].lower(net_->weights(parameters, layers_[i]), shares(*spectra[i], caps[i]));
  }

 private:
  static std::vector<double> shares(const std::vector<double>& values, double cap) {
    std::vector<double> result;
    for (const double value : values) {
      if (value <= cap) break;
      result.push_back(1.0 - cap / value);
    }
    return result;
  }

  const Architecture* net_;
  std::vector<Index> layers_;
  std::vector<SingularBasis> bases_;
};

}  // namespace lipgd
