#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "lipgd/certificate/certify.hpp"
#include "lipgd/network.hpp"
#include "lipgd/parallel.hpp"

namespace lipgd {

constexpr double default_follow_tolerance = 1e-3;  ///< of 1 - primal / value, along a training

/// The certificate of a network whose weights move a little from call to call: every call starts
/// from the point at which the last one ended. All slopes are in one interval.
class SdpBound {
 public:
  SdpBound(const Architecture& net, double lower_slope, double upper_slope)
      : net_(&net), lower_(lower_slope), upper_(upper_slope) {}

  /// A proved upper bound of the Lipschitz constant; infinite if there is none.
  template <class Scalar>
  double operator()(const Scalar* parameters) {
    const SubnormalMode keep_subnormals(false);
    const auto depth = static_cast<std::size_t>(net_->depth());
    matrices_.resize(depth);
    std::vector<WeightView> layers;
    Index widest = 0;
    for (std::size_t l = 0; l < depth; ++l) {
      matrices_[l] = net_->weights(parameters, static_cast<Index>(l)).template cast<double>();
      layers.push_back({matrices_[l].data(), matrices_[l].cols(), matrices_[l].rows()});
      widest = std::max(widest, matrices_[l].cols());
    }
    const double scale = std::abs(net_->output_scale());
    if (depth == 1) {
      const Matrix<double>& w = matrices_[0];
      return times(norm_(w.data(), w.rows(), w.cols()).upper, scale);
    }
    if (lower_slopes_.size() != widest) {
      lower_slopes_.setConstant(widest, lower_);
      upper_slopes_.setConstant(widest, upper_);
    }
    const std::vector<SlopeView> slopes(depth - 1, {lower_slopes_.data(), upper_slopes_.data()});
    CertificateOptions options;
    options.tolerance = default_follow_tolerance;
    options.max_sweeps = most_sweeps;
    options.multipliers = false;
    Team alone(1, nullptr);
    SdpCertificate found = certify(layers, slopes, options, state_, alone);
    if (!found.reason.empty()) return std::numeric_limits<double>::infinity();
    state_ = std::move(found.state);
    return times(found.value, scale);
  }

  /// The warm start as numbers: columns, then for inputs, outputs and the units of every hidden
  /// layer a size and that many numbers; empty before the first call.
  std::vector<double> memory() const {
    if (state_.columns == 0) return {};
    std::vector<double> numbers{static_cast<double>(state_.columns)};
    append(state_.inputs, numbers);
    append(state_.outputs, numbers);
    for (const Vector<double>& units : state_.units) append(units, numbers);
    return numbers;
  }
  void set_memory(const std::vector<double>& numbers) {
    state_ = {};
    if (numbers.empty()) return;
    IterationState state;
    state.columns = static_cast<int>(numbers[0]);
    std::vector<Vector<double>> parts;
    for (std::size_t at = 1; at < numbers.size();) {
      const auto size = static_cast<std::size_t>(numbers[at]);
      if (size > numbers.size() - at - 1) return;  // not a memory of ours
      parts.emplace_back(ConstVectorMap<double>(numbers.data() + at + 1, static_cast<Index>(size)));
      at += size + 1;
    }
    if (parts.size() < 2 || state.columns < 8 || state.columns > 64) return;
    state.inputs = std::move(parts[0]);
    state.outputs = std::move(parts[1]);
    parts.erase(parts.begin(), parts.begin() + 2);
    state.units = std::move(parts);
    state_ = std::move(state);
  }

 private:
  static constexpr Index most_sweeps = 500;

  static double times(double bound, double scale) {
    if (bound == 0.0 || scale == 0.0) return 0.0;
    return scale == 1.0 ? bound
                        : std::nextafter(bound * scale, std::numeric_limits<double>::infinity());
  }
  static void append(const Vector<double>& from, std::vector<double>& to) {
    to.push_back(static_cast<double>(from.size()));
    to.insert(to.end(), from.data(), from.data() + from.size());
  }

  const Architecture* net_;
  double lower_, upper_;
  std::vector<Matrix<double>> matrices_;
  Vector<double> lower_slopes_, upper_slopes_;
  IterationState state_;
  SpectralNorm norm_;
};

}  // namespace lipgd
