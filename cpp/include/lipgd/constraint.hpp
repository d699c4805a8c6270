#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "lipgd/certificate/follow.hpp"
#include "lipgd/layer_norms.hpp"
#include "lipgd/reduce.hpp"

// What limits a step: caps on its length, or a Lipschitz constant that the network must keep.

namespace lipgd {

/// How a cap reads its budget (rate-constraints.md, section 4): of this step alone, of all steps so
/// far less the path taken, or less the displacement.
enum class CapMode : int { none, observed, carry_over, displacement };

struct CapRule {
  CapMode mode = CapMode::none;
  bool spectral = false;          ///< lengths in spectral norm, else Frobenius
  std::vector<double> surcharge;  ///< per group: what a proximal step adds to a direction's norm
};

/// Keeps the Lipschitz bound of the network below a limit (rate-constraints.md, section 6.5).
enum class TargetMethod : int { none, retract, rates };
enum class CertificateKind : int { product, balanced, sdp };
enum class Controller : int { conservative, chord, monotone_chord };

struct TargetRule {
  TargetMethod method = TargetMethod::none;
  double limit = 0.0;
  CertificateKind certificate = CertificateKind::product;
  Controller controller = Controller::chord;
  bool accelerate = false;  ///< retract carries the movement over from step to step at the limit
};

/// The slopes of an activation as bounds use them.
struct SlopeConstants {
  double lipschitz = 1.0;
  double lower = 0.0;
  double upper = 1.0;
};

/// A proved upper bound of the Lipschitz constant, for use at every step.
class Certificate {
 public:
  Certificate(const Architecture& net, CertificateKind kind, const SlopeConstants& slopes)
      : net_(&net),
        kind_(kind),
        slopes_(slopes),
        layers_(net),
        pieces_(4),
        sdp_(net, slopes.lower, slopes.upper) {
    require(kind != CertificateKind::balanced || net.depth() == 2,
            "the balanced certificate is for two weight matrices");
  }

  template <class Scalar>
  double operator()(const Scalar* parameters) {
    if (kind_ == CertificateKind::sdp) return sdp_(parameters);
    layers_.measure(parameters);
    const double product = layers_.product(slopes_.lipschitz);
    if (kind_ == CertificateKind::product) return product;
    const double balanced = balanced_bound(parameters);
    return balanced < product ? balanced : product;
  }

  std::vector<SpectralNorm>& layer_states() { return layers_.states(); }
  std::vector<SpectralNorm>& piece_states() { return pieces_; }
  SdpBound& sdp() { return sdp_; }

 private:
  /// |m| |B^T W| + h min(|L^-1 B| |L W|, ||B|^T |W||), rate-constraints.md (2), with the slopes in
  /// [m - h, m + h] and L_i = sqrt(|B_i| / |w_i|). Every error of rounding is added.
  template <class Scalar>
  double balanced_bound(const Scalar* parameters) {
    const SubnormalMode keep_subnormals(false);
    const Matrix<double> inner = net_->weights(parameters, 0).template cast<double>();  // (d, p)
    const Matrix<double> outer =
        net_->weights(parameters, 1).transpose().template cast<double>();  // (D, p)
    const Index width = inner.cols();
    Matrix<double> scaled_inner = inner, scaled_outer = outer;
    double sizes = 0.0;
    for (Index i = 0; i < width; ++i) {
      const double w = std::sqrt(sum_of_squares(inner.col(i).data(), inner.rows()));
      const double b = std::sqrt(sum_of_squares(outer.col(i).data(), outer.rows()));
      // A neuron with a zero row never acts.
      const double balance = w > 0.0 && b > 0.0 ? std::sqrt(b / w) : 0.0;
      if (balance > 0.0 && std::isfinite(balance)) {
        scaled_inner.col(i) *= balance;
        scaled_outer.col(i) /= balance;
      } else if (w == 0.0 || b == 0.0) {
        scaled_inner.col(i).setZero();
        scaled_outer.col(i).setZero();
      }
      sizes += w * b;
    }
    const Matrix<double> linear = outer * inner.transpose();
    const Matrix<double> absolute = outer.cwiseAbs() * inner.cwiseAbs().transpose();
    // Entries of a product of depth p err by at most gamma(p) |B|^T |W|, whose norm is at most the
    // sum of |B_i| |w_i|; scaling errs by 2 u relative.
    const double error = detail::rounding(width + 16) * sizes * detail::safely;
    const double middle = 0.5 * (slopes_.lower + slopes_.upper);
    const double half = detail::upward(std::max(slopes_.upper - middle, middle - slopes_.lower));
    const double scaled = upper(scaled_inner, 0) * upper(scaled_outer, 1) +
                          8.0 * detail::unit_roundoff * norm(scaled_inner) * norm(scaled_outer);
    const double spread = std::min(scaled, upper(absolute, 2) + error);
    const double bound = std::abs(middle) * (upper(linear, 3) + error) + half * spread;
    return std::abs(net_->output_scale()) * bound * (1.0 + 16.0 * detail::unit_roundoff);
  }

  double upper(const Matrix<double>& matrix, std::size_t piece) {
    return pieces_[piece](matrix.data(), matrix.rows(), matrix.cols()).upper;
  }
  static double norm(const Matrix<double>& matrix) {
    return std::sqrt(sum_of_squares(matrix.data(), matrix.size()));
  }

  const Architecture* net_;
  CertificateKind kind_;
  SlopeConstants slopes_;
  LayerNorms layers_;
  std::vector<SpectralNorm> pieces_;
  SdpBound sdp_;
};

namespace detail {

/// The largest t in [0, 1] with g(t) <= limit up to bisection, if g increases there from g(0) <=
/// limit.
template <class Function>
double last_below(const Function& g, double limit, double end) {
  if (g(end) <= limit) return end;
  double low = 0.0, high = end;
  for (int halving = 0; halving < 60; ++halving) {
    const double middle = 0.5 * (low + high);
    (g(middle) <= limit ? low : high) = middle;
  }
  return low;
}

/// prod((1 - t) begin_l + t end_l).
inline double chord_product(const std::vector<double>& begin, const std::vector<double>& end,
                            double t) {
  double product = 1.0;
  for (std::size_t l = 0; l < begin.size(); ++l) product *= (1.0 - t) * begin[l] + t * end[l];
  return product;
}

/// The largest t in [0, 1] such that the chords' product stays below the limit on [0, t]. The
/// product is log-concave in t: its maximum is found by bisection on the derivative's sign.
inline double chord_step(const std::vector<double>& begin, const std::vector<double>& end,
                         double limit) {
  const auto rises = [&](double t) {
    double slope = 0.0;
    for (std::size_t l = 0; l < begin.size(); ++l) {
      const double value = (1.0 - t) * begin[l] + t * end[l];
      if (value <= 0.0) return end[l] > begin[l];
      slope += (end[l] - begin[l]) / value;
    }
    return slope > 0.0;
  };
  double top = 1.0;
  if (!rises(1.0)) {
    double low = 0.0;
    if (!rises(0.0)) {
      top = 0.0;
    } else {
      for (int halving = 0; halving < 60; ++halving) {
        const double middle = 0.5 * (low + top);
        (rises(middle) ? low : top) = middle;
      }
    }
  }
  const auto product = [&](double t) { return chord_product(begin, end, t); };
  if (product(top) <= limit) return 1.0;
  return last_below(product, limit, top);
}

/// The largest t in [0, 1] with prod(begin_l + t length_l) <= limit.
inline double conservative_step(const std::vector<double>& begin, const std::vector<double>& length,
                                double limit) {
  const auto product = [&](double t) {
    double value = 1.0;
    for (std::size_t l = 0; l < begin.size(); ++l) value *= begin[l] + t * length[l];
    return value;
  };
  return last_below(product, limit, 1.0);
}

}  // namespace detail

}  // namespace lipgd
