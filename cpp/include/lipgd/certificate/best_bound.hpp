#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "lipgd/certificate/power_iteration.hpp"
#include "lipgd/certificate/problem.hpp"
#include "lipgd/certificate/two_layer.hpp"
#include "lipgd/types.hpp"

// The bracket of a certificate: the best upper bound with its multipliers, the best primal value.

namespace lipgd {

struct CertificateOptions {
  double tolerance = 1e-4;  ///< of 1 - primal / value
  Index max_sweeps = 3000;
  bool rigorous = true;  ///< whether every rounding error is counted
  double seconds = std::numeric_limits<double>::infinity();
  Index projections = 0;    ///< how many guesses of slopes are wanted
  bool multipliers = true;  ///< whether they are wanted
};

/// A multiplier per neuron of one hidden layer, t 2^exponent; zero for neurons that never act.
struct LayerMultipliers {
  Vector<double> t;
  std::vector<Index> exponents;
};

struct SdpCertificate {
  double value = std::numeric_limits<double>::quiet_NaN();  ///< an upper bound, or not a number
  double primal = 0.0;  ///< a lower bound of LipSDP-Neuron, but for rounding
  std::vector<LayerMultipliers> multipliers;
  Index sweeps = 0;
  std::string reason;                ///< why there is no value
  std::vector<NeuronGuess> neurons;  ///< of each hidden layer; zeros for neurons that never act
  IterationState state;
};

namespace detail {

class BestBound {
 public:
  /// There is no TwoLayerBound for more than one hidden layer.
  BestBound(const CertificateProblem& problem, const CertificateOptions& options,
            TwoLayerBound* two_layer)
      : problem_(problem), options_(options), two_layer_(two_layer) {}

  bool exists() const { return best_ < infinity(); }
  double primal() const { return primal_; }
  double gap() const { return exists() ? 1.0 - primal_ / best_ : infinity(); }
  bool closed() const { return gap() <= options_.tolerance; }
  /// The gap if what is not proved yet were a bound.
  double hoped() const { return 1.0 - primal_ / std::min(best_, promising_); }

  void raise(double primal) { primal_ = std::max(primal_, primal); }

  void keep(double bound, const std::vector<Vector<double>>& multipliers) {
    if (!(bound < best_)) return;
    best_ = bound;
    multipliers_ = multipliers;
  }

  /// Forms K of one hidden layer and keeps what it shows.
  void look(const Vector<double>& theta) {
    offer(two_layer_->estimate(theta, options_.tolerance), theta);
  }

  /// The eigenvalue is an estimate until it is proved, which is worth while once it is good enough.
  void offer(double estimate, const Vector<double>& theta) {
    if (!(estimate < best_)) return;
    const double limit = primal_ / (1.0 - options_.tolerance);
    if (estimate * (1.0 + two_layer_->proof_adds(options_.tolerance)) <= limit) {
      const double bound = two_layer_->prove(limit, options_.tolerance, options_.rigorous);
      if (bound < infinity()) return keep(bound, {theta});
      estimate = std::max(estimate, limit);
    }
    if (!(estimate < promising_)) return;
    promising_ = estimate;
    promising_theta_ = theta;
  }

  /// The factorization of the deep certificate was its proof.
  void prove_the_rest() {
    if (two_layer_ == nullptr || !(promising_ < best_)) return;
    two_layer_->estimate(promising_theta_, options_.tolerance);
    keep(two_layer_->prove(infinity(), options_.tolerance, options_.rigorous), {promising_theta_});
  }

  /// In the order of the given neurons; t = theta / (value h) for one hidden layer.
  void write(SdpCertificate& result) const {
    if (!exists()) {
      result.reason = "no multipliers were proved: the arithmetic overflowed or lost definiteness";
      return;
    }
    for (std::size_t l = 0; l < problem_.hidden_layers() && options_.multipliers; ++l)
      result.multipliers.push_back(restored(l));
    result.primal = problem_.restore_below(primal_);
    result.value = problem_.restore(best_);
    if (std::isfinite(result.value)) return;
    result.value = std::numeric_limits<double>::quiet_NaN();
    result.reason = "the bound exceeds the largest float64";
  }

 private:
  static double infinity() { return std::numeric_limits<double>::infinity(); }

  LayerMultipliers restored(std::size_t l) const {
    const Index given = problem_.given_width(l);
    LayerMultipliers layer{Vector<double>::Zero(given),
                           std::vector<Index>(static_cast<std::size_t>(given), 0)};
    const Vector<double>& h = problem_.half(l);
    for (Index i = 0; i < problem_.width(l); ++i) {
      const auto at = static_cast<std::size_t>(i);
      const Index neuron = problem_.kept(l)[at];
      double t = multipliers_[l][i];
      if (two_layer_ != nullptr) t = h[i] > 0.0 ? t / (best_ * h[i]) : infinity();
      const int own = std::isfinite(t) ? std::ilogb(t) : 0;
      layer.t[neuron] = std::isfinite(t) ? std::ldexp(t, -own) : t;
      layer.exponents[static_cast<std::size_t>(neuron)] = own - 2 * problem_.exponents(l)[at];
    }
    return layer;
  }

  const CertificateProblem& problem_;
  const CertificateOptions& options_;
  TwoLayerBound* two_layer_;
  double primal_ = 0.0, best_ = infinity(), promising_ = infinity();
  std::vector<Vector<double>> multipliers_;
  Vector<double> promising_theta_;
};

}  // namespace detail

}  // namespace lipgd
