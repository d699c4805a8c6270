#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "lipgd/block.hpp"
#include "lipgd/loss.hpp"
#include "lipgd/tangent.hpp"

// What moves the spectral norm of a layer under batch noise, from the layer's inputs a_i and the
// back-propagated signals d_i of the samples: the gradient d_i a_i^T of a sample is never formed.

namespace lipgd {

/// The thin SVD of a layer (n_outputs, n_inputs), and what is summed of its samples. Every array is
/// in C order; moments is where the sums go on from one block of rows to the next.
///
/// With p = U^T d and q = V^T a of a sample, moments holds in turn: the count; the means of
/// alpha_k = p_k q_1 (r), of beta_k = p_1 q_k (r), of the part outside the singular vectors (nulls)
/// and of p_2 q_2; the centred sums of alpha_k^2 (r), beta_k^2 (r), alpha_k beta_k (r), of the
/// outside part's squared length, and of d^2, y^2 and d y of the leading pair.
struct LayerMoments {
  Index outputs, inputs;
  const double* left;   ///< U: (outputs, rank)
  const double* right;  ///< V: (inputs, rank)
  double* moments;
  double* squares;  ///< sums of g and of g o g, (2, outputs, inputs), or null

  Index rank() const { return std::min(outputs, inputs); }
  Index nulls() const { return outputs == inputs ? 0 : std::max(outputs, inputs); }
  Index size() const { return 6 + 5 * rank() + nulls(); }
};

/// Adds blocks of samples to the moments of one layer. The order of the sums depends on the shapes
/// alone.
template <class Scalar>
class LayerAccumulator {
 public:
  static constexpr Index block = 128;

  explicit LayerAccumulator(const LayerMoments& layer)
      : layer_(layer),
        left_(ConstMatrixMap<double>(layer.left, layer.rank(), layer.outputs)
                  .template cast<Scalar>()),
        right_(ConstMatrixMap<double>(layer.right, layer.rank(), layer.inputs)
                   .template cast<Scalar>()),
        p_(layer.rank(), block),
        q_(layer.rank(), block),
        outside_(layer.nulls(), block),
        outside_squares_(layer.nulls()),
        mean_(2 * layer.rank() + layer.nulls() + 1),
        sums_(3 * layer.rank() + 4) {}

  /// Samples are columns: features (inputs, count), signals (outputs, count), count <= block;
  /// writes <J, g_i> of every sample to slopes (count).
  void add(const Scalar* features, const Scalar* signals, Index count, double* slopes) {
    project(ConstMatrixMap<Scalar>(features, layer_.inputs, count),
            ConstMatrixMap<Scalar>(signals, layer_.outputs, count));
    measure_columns(count);
    measure_pair(count);
    for (Index i = 0; i < count; ++i)
      slopes[i] = static_cast<double>(p_(0, i)) * static_cast<double>(q_(0, i));
    merge(count);
    if (layer_.squares != nullptr)
      add_squares(ConstMatrixMap<Scalar>(features, layer_.inputs, count),
                  ConstMatrixMap<Scalar>(signals, layer_.outputs, count));
  }

 private:
  template <class Map>
  void project(const Map& features, const Map& signals) {
    const Index count = features.cols();
    p_.leftCols(count).noalias() = left_ * signals;
    q_.leftCols(count).noalias() = right_ * features;
    if (layer_.nulls() == 0) return;
    auto outside = outside_.leftCols(count);
    const bool tall = layer_.outputs > layer_.inputs;
    if (tall) {
      outside = signals;
      outside.noalias() -= left_.transpose() * p_.leftCols(count);
    } else {
      outside = features;
      outside.noalias() -= right_.transpose() * q_.leftCols(count);
    }
    for (Index i = 0; i < count; ++i) outside.col(i) *= tall ? q_(0, i) : p_(0, i);
  }

  double alpha(Index k, Index i) const {
    return static_cast<double>(p_(k, i)) * static_cast<double>(q_(0, i));
  }
  double beta(Index k, Index i) const {
    return static_cast<double>(p_(0, i)) * static_cast<double>(q_(k, i));
  }

  /// Means first, then centred sums: a difference of sums of squares would cancel.
  void measure_columns(Index count) {
    const Index r = layer_.rank(), nulls = layer_.nulls();
    mean_.setZero();
    sums_.setZero();
    double *of_alpha = mean_.data(), *of_beta = of_alpha + r, *of_outside = of_beta + r;
    for (Index i = 0; i < count; ++i) {
      const Scalar *p = p_.col(i).data(), *q = q_.col(i).data();
      const auto first_p = static_cast<double>(p[0]), first_q = static_cast<double>(q[0]);
      LIPGD_ELEMENTWISE_LOOP
      for (Index k = 0; k < r; ++k) {
        of_alpha[k] += static_cast<double>(p[k]) * first_q;
        of_beta[k] += static_cast<double>(q[k]) * first_p;
      }
      const Scalar* outside = outside_.data() + i * nulls;
      LIPGD_ELEMENTWISE_LOOP
      for (Index k = 0; k < nulls; ++k) of_outside[k] += static_cast<double>(outside[k]);
      if (r > 1) of_outside[nulls] += static_cast<double>(p[1]) * static_cast<double>(q[1]);
    }
    mean_ /= static_cast<double>(count);
    for (Index i = 0; i < count; ++i) centre_column(i);
    for (Index k = 0; k < nulls; ++k) sums_[3 * r] += outside_squares_[k];
  }

  void centre_column(Index i) {
    const Index r = layer_.rank(), nulls = layer_.nulls();
    const double *of_alpha = mean_.data(), *of_beta = of_alpha + r, *of_outside = of_beta + r;
    double *aa = sums_.data(), *bb = aa + r, *ab = bb + r, *oo = outside_squares_.data();
    if (i == 0) outside_squares_.setZero();
    const Scalar *p = p_.col(i).data(), *q = q_.col(i).data();
    const auto first_p = static_cast<double>(p[0]), first_q = static_cast<double>(q[0]);
    LIPGD_ELEMENTWISE_LOOP
    for (Index k = 0; k < r; ++k) {
      const double a = static_cast<double>(p[k]) * first_q - of_alpha[k];
      const double b = static_cast<double>(q[k]) * first_p - of_beta[k];
      aa[k] += a * a;
      bb[k] += b * b;
      ab[k] += a * b;
    }
    const Scalar* outside = outside_.data() + i * nulls;
    LIPGD_ELEMENTWISE_LOOP
    for (Index k = 0; k < nulls; ++k) {
      const double away = static_cast<double>(outside[k]) - of_outside[k];
      oo[k] += away * away;
    }
  }

  static double pair_mean(const double* means, Index r) { return 0.5 * (means[1] + means[r + 1]); }

  void measure_pair(Index count) {
    const Index r = layer_.rank();
    if (r < 2) return;
    const double mean_y = pair_mean(mean_.data(), r);
    const double mean_d = mean_[0] - mean_[mean_.size() - 1];
    for (Index i = 0; i < count; ++i) {
      const double d =
          alpha(0, i) - static_cast<double>(p_(1, i)) * static_cast<double>(q_(1, i)) - mean_d;
      const double y = 0.5 * (alpha(1, i) + beta(1, i)) - mean_y;
      sums_[3 * r + 1] += d * d;
      sums_[3 * r + 2] += y * y;
      sums_[3 * r + 3] += d * y;
    }
  }

  /// Chan's update: what the block adds, and the distance of its means from those so far.
  void merge(Index count) {
    const Index r = layer_.rank(), nulls = layer_.nulls(), means = mean_.size();
    double* mean = layer_.moments + 1;
    double* sum = mean + means;
    const double before = layer_.moments[0], added = static_cast<double>(count);
    const double weight = before * added / (before + added);
    const auto away = [&](Index k) { return mean_[k] - mean[k]; };
    for (Index k = 0; k < r; ++k) {
      sum[k] += sums_[k] + weight * away(k) * away(k);
      sum[r + k] += sums_[r + k] + weight * away(r + k) * away(r + k);
      sum[2 * r + k] += sums_[2 * r + k] + weight * away(k) * away(r + k);
    }
    double outside = sums_[3 * r];
    for (Index k = 2 * r; k < 2 * r + nulls; ++k) outside += weight * away(k) * away(k);
    sum[3 * r] += outside;
    if (r > 1) {
      const double d = away(0) - away(means - 1), y = 0.5 * (away(1) + away(r + 1));
      sum[3 * r + 1] += sums_[3 * r + 1] + weight * d * d;
      sum[3 * r + 2] += sums_[3 * r + 2] + weight * y * y;
      sum[3 * r + 3] += sums_[3 * r + 3] + weight * d * y;
    }
    for (Index k = 0; k < means; ++k) mean[k] += away(k) * added / (before + added);
    layer_.moments[0] = before + added;
  }

  template <class Map>
  void add_squares(const Map& features, const Map& signals) {
    MatrixMap<double> sum(layer_.squares, layer_.inputs, layer_.outputs);
    MatrixMap<double> square(layer_.squares + sum.size(), layer_.inputs, layer_.outputs);
    features_ = features.template cast<double>();
    signals_ = signals.template cast<double>();
    features2_ = features_.cwiseAbs2();
    signals2_ = signals_.cwiseAbs2();
    sum.noalias() += features_ * signals_.transpose();
    square.noalias() += features2_ * signals2_.transpose();
  }

  LayerMoments layer_;
  Matrix<Scalar> left_, right_, p_, q_, outside_;
  Vector<double> outside_squares_, mean_, sums_;
  Matrix<double> features_, signals_, features2_, signals2_;
};

/// The moments of all layers, and the cross moments of <J_l, g_i>: the means (layers) and the
/// centred sums of products (layers, layers).
template <class Scalar>
class DynamicsAccumulator {
 public:
  static constexpr Index block = LayerAccumulator<Scalar>::block;

  DynamicsAccumulator(const std::vector<LayerMoments>& layers, double* cross)
      : cross_(cross), slopes_(block, static_cast<Index>(layers.size())) {
    for (const LayerMoments& layer : layers) {
      layers_.emplace_back(layer);
      counts_.push_back(layer.moments);
    }
  }

  /// Calls features(l) and signals(l) for the columns of every layer.
  template <class Features, class Signals>
  void add(Index count, const Features& features, const Signals& signals) {
    const double before = counts_.front()[0], added = static_cast<double>(count);
    const auto layers = static_cast<Index>(layers_.size());
    for (Index l = 0; l < layers; ++l)
      layers_[static_cast<std::size_t>(l)].add(features(l), signals(l), count,
                                               slopes_.col(l).data());
    VectorMap<double> mean(cross_, layers);
    MatrixMap<double> sum(cross_ + layers, layers, layers);
    Vector<double> means(layers);
    for (Index l = 0; l < layers; ++l) {
      double total = 0.0;
      for (Index i = 0; i < count; ++i) total += slopes_(i, l);
      means[l] = total / added;
      for (Index i = 0; i < count; ++i) slopes_(i, l) -= means[l];
    }
    const Vector<double> away = means - mean;
    const double weight = before * added / (before + added);
    for (Index l = 0; l < layers; ++l)
      for (Index k = 0; k < layers; ++k) {
        double products = weight * away[l] * away[k];
        for (Index i = 0; i < count; ++i) products += slopes_(i, l) * slopes_(i, k);
        sum(k, l) += products;
      }
    mean += away * (added / (before + added));
  }

 private:
  double* cross_;
  std::vector<LayerAccumulator<Scalar>> layers_;
  std::vector<const double*> counts_;
  Matrix<double> slopes_;
};

/// The inputs and the back-propagated signals of all layers of a network, block by block: signals
/// are the derivatives of every sample's own loss by what a layer puts out before its activation.
template <class Scalar>
class SignalSweep {
 public:
  SignalSweep(const Architecture& net, const Loss& loss, Index capacity, Arena& arena)
      : net_(&net),
        capacity_(capacity),
        parameters_(net, arena),
        block_(net, capacity, Keep::slopes, arena),
        loss_(loss, net.n_outputs(), capacity, arena) {
    for (Index layer = 0; layer < net.depth(); ++layer)
      signals_.push_back(arena.take<Scalar>(checked_product(net.outputs(layer), capacity)));
  }

  /// Calls use(first, count, features, signals) per block, with features(l) and signals(l) the
  /// columns of layer l.
  template <class Use>
  void operator()(const Scalar* parameters, const Inputs<Scalar>& inputs,
                  const Targets<Scalar>& targets, const Use& use) {
    parameters_.set(parameters);
    loss_.begin(0.0);
    const Index n_samples = inputs.n_samples();
    for (Index first = 0; first < n_samples; first += capacity_) {
      const Index count = std::min(capacity_, n_samples - first);
      block_.forward(parameters_, inputs, first, count);
      loss_.derivative(block_.outputs(), targets, first, count, net_->output_scale(), 1.0);
      pull_back_all(parameters, count);
      use(
          first, count, [&](Index l) { return block_.features(l); },
          [&](Index l) -> const Scalar* { return signals_[static_cast<std::size_t>(l)]; });
    }
  }

 private:
  void pull_back_all(const Scalar* parameters, Index count) {
    const Index last = net_->depth() - 1;
    MatrixMap<Scalar>(signals_.back(), net_->n_outputs(), count) =
        ConstMatrixMap<Scalar>(block_.outputs(), count, net_->n_outputs()).transpose();
    for (Index layer = last; layer > 0; --layer) {
      Scalar* below = signals_[static_cast<std::size_t>(layer) - 1];
      const Index size = net_->inputs(layer) * count;
      MatrixMap<Scalar>(below, net_->inputs(layer), count).noalias() =
          net_->weights(parameters, layer) *
          ConstMatrixMap<Scalar>(signals_[static_cast<std::size_t>(layer)], net_->outputs(layer),
                                 count);
      const Scalar* slope = block_.slopes(layer - 1);
      LIPGD_ELEMENTWISE_LOOP
      for (Index i = 0; i < size; ++i) below[i] *= slope[i];
    }
  }

  const Architecture* net_;
  Index capacity_;
  PreparedParameters<Scalar> parameters_;
  Block<Scalar> block_;
  BlockLoss<Scalar> loss_;
  std::vector<Scalar*> signals_;
};

/// The derivative of every sample's own loss along a direction in the space of the parameters.
template <class Scalar>
class SlopeSweep {
 public:
  SlopeSweep(const Architecture& net, const Loss& loss, Index capacity, Arena& arena)
      : net_(&net),
        capacity_(capacity),
        parameters_(net, arena),
        direction_(net, arena),
        block_(net, capacity, Keep::slopes, arena),
        tangents_(net, capacity, arena),
        loss_(loss, net.n_outputs(), capacity, arena) {}

  /// Writes slopes (n_samples).
  void operator()(const Scalar* parameters, const Scalar* direction, const Inputs<Scalar>& inputs,
                  const Targets<Scalar>& targets, double* slopes) {
    parameters_.set(parameters);
    direction_.set(direction);
    loss_.begin(0.0);
    const Index n_samples = inputs.n_samples(), outputs = net_->n_outputs();
    for (Index first = 0; first < n_samples; first += capacity_) {
      const Index count = std::min(capacity_, n_samples - first);
      block_.forward(parameters_, inputs, first, count);
      tangents_.push(block_, parameters, direction_);
      loss_.derivative(block_.outputs(), targets, first, count, net_->output_scale(), 1.0);
      for (Index i = 0; i < count; ++i) {
        double slope = 0.0;
        for (Index o = 0; o < outputs; ++o)
          slope += static_cast<double>(block_.outputs()[o * count + i]) *
                   static_cast<double>(tangents_.outputs()[o * count + i]);
        slopes[first + i] = slope;
      }
    }
  }

 private:
  const Architecture* net_;
  Index capacity_;
  PreparedParameters<Scalar> parameters_, direction_;
  Block<Scalar> block_;
  Tangents<Scalar> tangents_;
  BlockLoss<Scalar> loss_;
};

}  // namespace lipgd
