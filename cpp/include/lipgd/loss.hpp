#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "lipgd/activation.hpp"
#include "lipgd/arena.hpp"
#include "lipgd/reduce.hpp"
#include "lipgd/samples.hpp"

namespace lipgd {

enum class LossKind : int { mse, huber, logistic, cross_entropy };

/// A loss of one sample, the mean over its outputs (cross entropy: over none). The parameter is the
/// threshold of huber and the label smoothing of cross_entropy.
struct Loss {
  LossKind kind = LossKind::mse;
  double parameter = 0.0;
};

/// The loss of one block of samples, in the scratch memory of one worker. Outputs are
/// (count, n_outputs), the samples of one output next to each other, before the output scale.
template <class Scalar>
class BlockLoss {
 public:
  BlockLoss(const Loss& loss, Index n_outputs, Index capacity, Arena& arena)
      : loss_(loss), n_outputs_(n_outputs) {
    const Index size = checked_product(n_outputs, capacity);
    targets_ = arena.take<Scalar>(size);
    values_ = arena.take<Scalar>(size);
    slopes_ = arena.take<Scalar>(size);
    curvatures_ = arena.take<Scalar>(size);
    losses_ = arena.take<Scalar>(capacity);
    weights_ = arena.take<Scalar>(capacity);
    labels_ = arena.take<std::int64_t>(capacity);
  }

  /// From here on derivatives of the logistic loss are times e^shift, and the smallest margin is
  /// that of the samples to come. With the smallest margin as the shift, derivatives are right
  /// where they would underflow.
  void begin(double shift) {
    shift_ = static_cast<Scalar>(shift);
    smallest_margin_ = std::numeric_limits<Scalar>::infinity();
  }
  /// The smallest y f of the logistic loss since then.
  double smallest_margin() const { return static_cast<double>(smallest_margin_); }

  /// The weighted sum of the losses. The outputs are used up.
  double value(Scalar* outputs, const Targets<Scalar>& targets, Index first, Index count,
               double scale) {
    return evaluate<false>(outputs, targets, first, count, scale, 0.0);
  }

  /// The same, and the outputs become the derivative by the unscaled outputs, times factor and the
  /// weight of the sample.
  double derivative(Scalar* outputs, const Targets<Scalar>& targets, Index first, Index count,
                    double scale, double factor) {
    return evaluate<true>(outputs, targets, first, count, scale, factor);
  }

  /// Turns the derivative of the outputs (tangent, unscaled) into that of the loss's derivative:
  /// the second derivative of the loss times the tangent, times scale^2, factor and the weight.
  void second_derivative(const Scalar* outputs, Scalar* tangent, const Targets<Scalar>& targets,
                         Index first, Index count, double scale, double factor) {
    const auto s = static_cast<Scalar>(scale);
    const double share = per_output() ? 1.0 / outputs_in_double() : 1.0;
    const auto f = static_cast<Scalar>(scale * scale * factor * share);
    const Index size = n_outputs_ * count;
    const Scalar* y = targets.block(first, count, n_outputs_, targets_);
    switch (loss_.kind) {
      case LossKind::mse:
        for (Index i = 0; i < size; ++i) tangent[i] *= Scalar(2) * f;
        break;
      case LossKind::huber:
        for (Index i = 0; i < size; ++i)
          tangent[i] *= std::abs(s * outputs[i] - y[i]) <= static_cast<Scalar>(loss_.parameter)
                            ? f
                            : Scalar(0);
        break;
      case LossKind::logistic:
        logistic_curvatures(outputs, y, size, s);
        for (Index i = 0; i < size; ++i) tangent[i] *= curvatures_[i] * f;
        break;
      case LossKind::cross_entropy:
        softmax_tangent(outputs, tangent, count, s, f);
        break;
    }
    if (const Scalar* weights = targets.block_weights(first, count, weights_))
      for (Index i = 0; i < size; ++i) tangent[i] *= weights[i % count];
  }

 private:
  template <bool with_derivative>
  double evaluate(Scalar* outputs, const Targets<Scalar>& targets, Index first, Index count,
                  double scale, double factor) {
    const auto s = static_cast<Scalar>(scale);
    const auto f =
        static_cast<Scalar>(scale * factor * (per_output() ? 1.0 / outputs_in_double() : 1.0));
    const Scalar* y = targets.block(first, count, n_outputs_, targets_);
    std::fill_n(losses_, count, Scalar(0));
    switch (loss_.kind) {
      case LossKind::mse:
        squares<with_derivative>(outputs, y, count, s, f);
        break;
      case LossKind::huber:
        huber<with_derivative>(outputs, y, count, s, f);
        break;
      case LossKind::logistic:
        logistic<with_derivative>(outputs, y, count, s, f);
        break;
      case LossKind::cross_entropy:
        cross_entropy<with_derivative>(outputs, targets.block_labels(first, count, labels_), count,
                                       s, f);
        break;
    }
    weigh<with_derivative>(outputs, targets.block_weights(first, count, weights_), count);
    const double total = sum(losses_, count);
    return per_output() ? total / outputs_in_double() : total;
  }

  bool per_output() const { return loss_.kind != LossKind::cross_entropy; }
  double outputs_in_double() const { return static_cast<double>(n_outputs_); }

  template <bool with_derivative>
  void weigh(Scalar* outputs, const Scalar* weights, Index count) {
    if (weights == nullptr) return;
    LIPGD_ELEMENTWISE_LOOP
    for (Index n = 0; n < count; ++n) losses_[n] *= weights[n];
    if constexpr (with_derivative)
      for (Index j = 0; j < n_outputs_; ++j) {
        Scalar* q = outputs + j * count;
        LIPGD_ELEMENTWISE_LOOP
        for (Index n = 0; n < count; ++n) q[n] *= weights[n];
      }
  }

  template <bool with_derivative>
  void squares(Scalar* outputs, const Scalar* targets, Index count, Scalar scale, Scalar factor) {
    for (Index j = 0; j < n_outputs_; ++j) {
      Scalar* f = outputs + j * count;
      const Scalar* y = targets + j * count;
      LIPGD_ELEMENTWISE_LOOP
      for (Index n = 0; n < count; ++n) {
        const Scalar residual = scale * f[n] - y[n];
        losses_[n] += residual * residual;
        if constexpr (with_derivative) f[n] = Scalar(2) * residual * factor;
      }
    }
  }

  template <bool with_derivative>
  void huber(Scalar* outputs, const Scalar* targets, Index count, Scalar scale, Scalar factor) {
    const auto threshold = static_cast<Scalar>(loss_.parameter);
    for (Index j = 0; j < n_outputs_; ++j) {
      Scalar* f = outputs + j * count;
      const Scalar* y = targets + j * count;
      LIPGD_ELEMENTWISE_LOOP
      for (Index n = 0; n < count; ++n) {
        const Scalar residual = scale * f[n] - y[n];
        // clipped * (r - clipped / 2) is r^2 / 2 inside the threshold and linear outside; written
        // so that NaN stays NaN.
        const Scalar low = residual < -threshold ? -threshold : residual;
        const Scalar clipped = low > threshold ? threshold : low;
        losses_[n] += clipped * (residual - Scalar(0.5) * clipped);
        if constexpr (with_derivative) f[n] = clipped * factor;
      }
    }
  }

  template <bool with_derivative>
  void logistic(Scalar* outputs, const Scalar* targets, Index count, Scalar scale, Scalar factor) {
    const Index size = n_outputs_ * count;
    LIPGD_ELEMENTWISE_LOOP
    for (Index i = 0; i < size; ++i) values_[i] = -targets[i] * (scale * outputs[i]);
    if constexpr (with_derivative) {
      note_margins(size);
      if (shift_ != Scalar(0)) shifted_slopes(size, curvatures_);
    }
    const Activation softplus{ActivationKind::softplus, 0.0, 0.0};
    if constexpr (with_derivative)
      activate(softplus, size, values_, values_, slopes_);
    else
      activate(softplus, size, values_, values_);
    for (Index j = 0; j < n_outputs_; ++j) {
      const Scalar* loss = values_ + j * count;
      LIPGD_ELEMENTWISE_LOOP
      for (Index n = 0; n < count; ++n) losses_[n] += loss[n];
    }
    if constexpr (with_derivative) {
      const Scalar* slopes = shift_ != Scalar(0) ? curvatures_ : slopes_;
      LIPGD_ELEMENTWISE_LOOP
      for (Index i = 0; i < size; ++i) outputs[i] = -targets[i] * slopes[i] * factor;
    }
  }

  /// The margins of a block are minus its values.
  void note_margins(Index size) {
    const Scalar here = -ConstVectorMap<Scalar>(values_, size).maxCoeff();
    smallest_margin_ = std::min(smallest_margin_, here);
  }

  /// e^(shift - q) / (1 + e^-q) of the margins q = -values.
  void shifted_slopes(Index size, Scalar* slopes) {
    LIPGD_ELEMENTWISE_LOOP
    for (Index i = 0; i < size; ++i) slopes[i] = -values_[i];
    activate(Activation{ActivationKind::sigmoid, 0.0, 0.0}, size, slopes, slopes);
    LIPGD_ELEMENTWISE_LOOP
    for (Index i = 0; i < size; ++i) slopes[i] *= elementwise::exp(shift_ + values_[i]);
  }

  /// The second derivatives of the losses, times e^shift, in curvatures_.
  void logistic_curvatures(const Scalar* outputs, const Scalar* targets, Index size, Scalar scale) {
    const Activation softplus{ActivationKind::softplus, 0.0, 0.0};
    LIPGD_ELEMENTWISE_LOOP
    for (Index i = 0; i < size; ++i) values_[i] = -targets[i] * (scale * outputs[i]);
    if (shift_ == Scalar(0)) {
      activate(softplus, size, values_, values_, slopes_, curvatures_);
      return;
    }
    shifted_slopes(size, curvatures_);
    LIPGD_ELEMENTWISE_LOOP
    for (Index i = 0; i < size; ++i) values_[i] = -values_[i];
    activate(softplus, size, values_, values_, slopes_);
    LIPGD_ELEMENTWISE_LOOP
    for (Index i = 0; i < size; ++i) curvatures_[i] *= slopes_[i];
  }

  /// Of each sample: its largest output, the position of that, exp(f - largest), and the sum of
  /// these over the other outputs.
  void exponentials(const Scalar* outputs, Index count, Scalar scale) {
    for (Index n = 0; n < count; ++n) {
      largest()[n] = scale * outputs[n];
      position()[n] = Scalar(0);
      rest(count)[n] = Scalar(0);
    }
    for (Index j = 1; j < n_outputs_; ++j)
      raise_largest(outputs + j * count, static_cast<Scalar>(j), count, scale);
    for (Index j = 0; j < n_outputs_; ++j) {
      const Scalar* f = outputs + j * count;
      const Scalar *top = largest(), *where = position();
      Scalar *e = slopes_ + j * count, *others = rest(count);
      LIPGD_ELEMENTWISE_LOOP
      for (Index n = 0; n < count; ++n) {
        e[n] = elementwise::exp(scale * f[n] - top[n]);
        others[n] += where[n] == static_cast<Scalar>(j) ? Scalar(0) : e[n];
      }
    }
  }

  void raise_largest(const Scalar* f, Scalar j, Index count, Scalar scale) {
    Scalar *top = largest(), *where = position();
    LIPGD_ELEMENTWISE_LOOP
    for (Index n = 0; n < count; ++n) {
      const Scalar value = scale * f[n];
      // A NaN must become the largest, so that it is seen.
      const bool larger = !(value <= top[n]);
      where[n] = larger ? j : where[n];
      top[n] = larger ? value : top[n];
    }
  }

  /// log sum_j exp(f_j) - sum_j t_j f_j with t = (1 - smoothing) onehot + smoothing / n_outputs.
  /// With the largest output taken out it is a sum of nonnegative terms, so a small loss keeps its
  /// digits.
  template <bool with_derivative>
  void cross_entropy(Scalar* outputs, const std::int64_t* labels, Index count, Scalar scale,
                     Scalar factor) {
    exponentials(outputs, count, scale);
    const auto smoothing = static_cast<Scalar>(loss_.parameter);
    const Scalar share = smoothing / static_cast<Scalar>(n_outputs_);
    for (Index n = 0; n < count; ++n) {
      const Scalar gap = largest()[n] - scale * outputs[labels[n] * count + n];
      losses_[n] = std::log1p(rest(count)[n]) + (Scalar(1) - smoothing) * gap;
    }
    if (smoothing > Scalar(0))
      for (Index i = 0; i < n_outputs_ * count; ++i)
        losses_[i % count] += share * (largest()[i % count] - scale * outputs[i]);
    if constexpr (with_derivative) {
      for (Index i = 0; i < n_outputs_ * count; ++i)
        outputs[i] = (slopes_[i] / (Scalar(1) + rest(count)[i % count]) - share) * factor;
      for (Index n = 0; n < count; ++n) {
        const Index label = labels[n];
        const Scalar others = rest(count)[n], all = Scalar(1) + others;
        // Where the label has the largest output, p - 1 is computed without cancellation.
        const Scalar p_minus_1 = position()[n] == static_cast<Scalar>(label)
                                     ? -others / all
                                     : slopes_[label * count + n] / all - Scalar(1);
        outputs[label * count + n] = (p_minus_1 + (smoothing - share)) * factor;
      }
    }
  }

  /// tangent_j becomes p_j (tangent_j - sum_k p_k tangent_k), times factor.
  void softmax_tangent(const Scalar* outputs, Scalar* tangent, Index count, Scalar scale,
                       Scalar factor) {
    exponentials(outputs, count, scale);
    for (Index n = 0; n < count; ++n) {
      const Scalar all = Scalar(1) + rest(count)[n];
      Scalar mean(0);
      for (Index j = 0; j < n_outputs_; ++j)
        mean += slopes_[j * count + n] / all * tangent[j * count + n];
      for (Index j = 0; j < n_outputs_; ++j) {
        Scalar& t = tangent[j * count + n];
        t = slopes_[j * count + n] / all * (t - mean) * factor;
      }
    }
  }

  // Cross entropy has at least two outputs and no targets, so these fit.
  Scalar* largest() { return targets_; }
  Scalar* position() { return values_; }
  Scalar* rest(Index count) { return values_ + count; }

  Loss loss_;
  Index n_outputs_;
  Scalar shift_ = Scalar(0);
  Scalar smallest_margin_ = std::numeric_limits<Scalar>::infinity();
  Scalar *targets_, *values_, *slopes_, *curvatures_, *losses_, *weights_;
  std::int64_t* labels_;
};

}  // namespace lipgd
