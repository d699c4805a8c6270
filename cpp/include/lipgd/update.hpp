#pragma once

#include <algorithm>
#include <atomic>

#include "lipgd/parallel.hpp"
#include "lipgd/reduce.hpp"

namespace lipgd {

/// How a gradient g moves parameters theta: v = momentum v + g + weight_decay theta, then
/// theta - rate v, or theta - rate (g + weight_decay theta + momentum v) with nesterov.
struct UpdateRule {
  double momentum = 0.0;
  bool nesterov = false;
};

namespace detail {

/// One slice of an update. Returns whether the new parameters are finite.
template <class Scalar>
bool update_slice(const UpdateRule& rule, Scalar rate, Scalar weight_decay, Index size,
                  const Scalar* theta, const Scalar* gradient, Scalar* velocity, Scalar* out) {
  if (rule.momentum == 0.0) {
    LIPGD_ELEMENTWISE_LOOP
    for (Index i = 0; i < size; ++i)
      out[i] = theta[i] - rate * (gradient[i] + weight_decay * theta[i]);
  } else {
    const auto momentum = static_cast<Scalar>(rule.momentum);
    const Scalar own = rule.nesterov ? Scalar(1) : Scalar(0);
    const Scalar carried = rule.nesterov ? momentum : Scalar(1);
    LIPGD_ELEMENTWISE_LOOP
    for (Index i = 0; i < size; ++i) {
      const Scalar slope = gradient[i] + weight_decay * theta[i];
      const Scalar v = momentum * velocity[i] + slope;
      velocity[i] = v;
      out[i] = theta[i] - rate * (own * slope + carried * v);
    }
  }
  return all_finite(out, size);
}

}  // namespace detail

/// Writes the parameters after one step of a group to out; false if one of them is not finite.
template <class Scalar>
bool update_group(Team& team, const UpdateRule& rule, double rate, double weight_decay, Index size,
                  const Scalar* theta, const Scalar* gradient, Scalar* velocity, Scalar* out) {
  constexpr Index slice = 32768;
  std::atomic<bool> finite{true};
  const auto update = [&](Index task, int) {
    const Index begin = task * slice;
    if (!detail::update_slice(rule, static_cast<Scalar>(rate), static_cast<Scalar>(weight_decay),
                              std::min(slice, size - begin), theta + begin, gradient + begin,
                              velocity == nullptr ? nullptr : velocity + begin, out + begin))
      finite.store(false, std::memory_order_relaxed);
  };
  const Index tasks = (size + slice - 1) / slice;
  if (tasks < 4)
    for (Index task = 0; task < tasks; ++task) update(task, 0);
  else
    team.run(tasks, update);
  return finite.load(std::memory_order_relaxed);
}

}  // namespace lipgd
