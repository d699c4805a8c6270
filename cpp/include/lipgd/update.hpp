#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>

#include "lipgd/parallel.hpp"
#include "lipgd/reduce.hpp"

namespace lipgd {

enum class UpdateKind : int { gradient, sign, adam, conjugate_gradient };

/// How gradients become directions; a step is theta - rate * direction.
struct UpdateRule {
  UpdateKind kind = UpdateKind::gradient;
  double momentum = 0.0;  ///< of gradient and sign; the first decay rate of adam
  bool nesterov = false;
  double second_decay = 0.999;  ///< of adam
  double epsilon = 1e-8;        ///< of adam
};

/// What a rule remembers, each null or as long as the parameters.
template <class Scalar>
struct UpdateMemory {
  Scalar* velocity = nullptr;  ///< momentum, first moment, or last conjugate direction
  Scalar* squares = nullptr;   ///< second moment of adam
  Scalar* gradient = nullptr;  ///< last gradient of conjugate_gradient

  UpdateMemory from(Index offset) const {
    return {moved(velocity, offset), moved(squares, offset), moved(gradient, offset)};
  }

 private:
  static Scalar* moved(Scalar* array, Index offset) {
    return array == nullptr ? nullptr : array + offset;
  }
};

namespace detail {

constexpr Index update_slice = 32768;

/// Calls f(begin, size) for fixed slices, on the team if there are many.
template <class Function>
void for_slices(Team& team, Index size, const Function& f) {
  const Index slices = (size + update_slice - 1) / update_slice;
  const auto slice = [&](Index task, int) {
    f(task * update_slice, std::min(update_slice, size - task * update_slice));
  };
  if (slices < 4)
    for (Index task = 0; task < slices; ++task) slice(task, 0);
  else
    team.run(slices, slice);
}

template <class Scalar>
void add_momentum(const UpdateRule& rule, Index size, Scalar* gradient, Scalar* velocity) {
  const auto momentum = static_cast<Scalar>(rule.momentum);
  const Scalar own = rule.nesterov ? Scalar(1) : Scalar(0);
  const Scalar carried = rule.nesterov ? momentum : Scalar(1);
  LIPGD_ELEMENTWISE_LOOP
  for (Index i = 0; i < size; ++i) {
    const Scalar v = momentum * velocity[i] + gradient[i];
    velocity[i] = v;
    gradient[i] = own * gradient[i] + carried * v;
  }
}

template <class Scalar>
void adam_direction(const UpdateRule& rule, Index step, Index size, Scalar* gradient,
                    Scalar* velocity, Scalar* squares) {
  const auto count = static_cast<double>(step + 1);
  const auto first = static_cast<Scalar>(rule.momentum);
  const auto second = static_cast<Scalar>(rule.second_decay);
  const auto first_correction = static_cast<Scalar>(1.0 / (1.0 - std::pow(rule.momentum, count)));
  const auto second_correction =
      static_cast<Scalar>(1.0 / std::sqrt(1.0 - std::pow(rule.second_decay, count)));
  const auto epsilon = static_cast<Scalar>(rule.epsilon);
  for (Index i = 0; i < size; ++i) {
    const Scalar g = gradient[i];
    velocity[i] = first * velocity[i] + (Scalar(1) - first) * g;
    squares[i] = second * squares[i] + (Scalar(1) - second) * g * g;
    const Scalar root = std::sqrt(squares[i]) * second_correction + epsilon;
    gradient[i] = root > Scalar(0) ? velocity[i] * first_correction / root : Scalar(0);
  }
}

}  // namespace detail

/// gradient += weight_decay * theta.
template <class Scalar>
void add_decay(Team& team, double weight_decay, Index size, const Scalar* theta, Scalar* gradient) {
  if (weight_decay == 0.0) return;
  const auto decay = static_cast<Scalar>(weight_decay);
  detail::for_slices(team, size, [&](Index begin, Index count) {
    LIPGD_ELEMENTWISE_LOOP
    for (Index i = begin; i < begin + count; ++i) gradient[i] += decay * theta[i];
  });
}

/// The factor of the last direction by Polak and Ribiere, not below zero: zero starts afresh.
template <class Scalar>
Scalar conjugate_factor(Index size, const Scalar* gradient, const Scalar* last) {
  const double squares = sum_of_squares(last, size);
  if (squares == 0.0) return Scalar(0);
  const double change = detail::reduce<double>(size, [&](Index i) {
    const auto g = static_cast<double>(gradient[i]);
    return g * (g - static_cast<double>(last[i]));
  });
  return static_cast<Scalar>(std::max(0.0, change / squares));
}

/// Turns the gradient of one group into its direction, in place; conjugacy is the factor of
/// conjugate_gradient.
template <class Scalar>
void form_direction(Team& team, const UpdateRule& rule, Index step, Scalar conjugacy, Index size,
                    Scalar* gradient, const UpdateMemory<Scalar>& memory) {
  if (rule.kind == UpdateKind::gradient && rule.momentum == 0.0) return;
  detail::for_slices(team, size, [&](Index begin, Index count) {
    Scalar* g = gradient + begin;
    switch (rule.kind) {
      case UpdateKind::gradient:
      case UpdateKind::sign:
        if (rule.momentum != 0.0) detail::add_momentum(rule, count, g, memory.velocity + begin);
        if (rule.kind == UpdateKind::sign)
          for (Index i = 0; i < count; ++i)
            g[i] = static_cast<Scalar>((g[i] > Scalar(0)) - (g[i] < Scalar(0)));
        break;
      case UpdateKind::adam:
        detail::adam_direction(rule, step, count, g, memory.velocity + begin,
                               memory.squares + begin);
        break;
      case UpdateKind::conjugate_gradient:
        for (Index i = 0; i < count; ++i) {
          const Scalar own = g[i];
          memory.gradient[begin + i] = own;
          g[i] = own + conjugacy * memory.velocity[begin + i];
          memory.velocity[begin + i] = g[i];
        }
        break;
    }
  });
}

/// Writes theta - rate * direction to out; false if a new parameter is not finite.
template <class Scalar>
bool apply_direction(Team& team, double rate, Index size, const Scalar* theta,
                     const Scalar* direction, Scalar* out) {
  const auto factor = static_cast<Scalar>(rate);
  std::atomic<bool> finite{true};
  detail::for_slices(team, size, [&](Index begin, Index count) {
    const Scalar *from = theta + begin, *along = direction + begin;
    Scalar* to = out + begin;
    LIPGD_ELEMENTWISE_LOOP
    for (Index i = 0; i < count; ++i) to[i] = from[i] - factor * along[i];
    if (!all_finite(to, count)) finite.store(false, std::memory_order_relaxed);
  });
  return finite.load(std::memory_order_relaxed);
}

}  // namespace lipgd
