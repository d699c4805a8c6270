#pragma once

#include <algorithm>
#include <vector>

#include "lipgd/narrow.hpp"
#include "lipgd/parallel.hpp"
#include "lipgd/strips.hpp"

namespace lipgd {

/// How a pass over the samples is cut: lanes of rows, each with a gradient of its own, and blocks
/// within a lane that stay in cache. A function of shapes alone, so that sums have one order.
struct SweepPlan {
  Index n_samples = 0;
  Index lanes = 1;
  Index block = 1;
  bool shares_blocks = false;  ///< a single lane whose products are cut into pieces
  bool in_strips = false;      ///< of neurons
  double nanoseconds = 0.0;    ///< rough time of one sweep on one core

  Index lane_begin(Index lane) const {
    return n_samples / lanes * lane + std::min(lane, n_samples % lanes);
  }
  /// Cuts lanes into blocks of about one length, at most the longest.
  void cut_lanes(Index longest) {
    const Index lane_samples = (n_samples + lanes - 1) / lanes;
    const Index blocks = std::max(Index{1}, (lane_samples + longest - 1) / longest);
    block = std::max(Index{1}, (lane_samples + blocks - 1) / blocks);
  }
};

namespace detail {

// Rough costs on a current core, for the plan only: one activation with its slope, one multiply-add
// of a product, one addition that moves a gradient through memory.
constexpr double activation_ns = 1.3, product_ns = 0.04, reduction_ns = 0.4;
constexpr double lane_ns = 8e3;  // shorter lanes cost more than they save
constexpr Index max_lanes = 64;
constexpr Index lane_memory = Index{64} << 20;
constexpr Index block_memory = Index{192} << 10;  // a block's layers, within the second-level cache
constexpr Index strip_memory = Index{1} << 20;    // strips go through memory once each way
constexpr Index min_block = 16, max_block = 1024;

inline double sweep_ns(const Architecture& net, Index n_samples) {
  double per_sample = 0.0;
  for (Index layer = 0; layer < net.depth(); ++layer) {
    const auto in = static_cast<double>(net.inputs(layer));
    const auto out = static_cast<double>(net.outputs(layer));
    per_sample += 3.0 * product_ns * in * out + activation_ns * out;
  }
  return per_sample * static_cast<double>(n_samples);
}

/// Samples of a block whose layers take so much memory each. Once per block a product packs its
/// weights, and moves a gradient beyond the cache through memory: longer blocks for both.
inline Index samples_within(Index memory, Index bytes_per_sample, Index shortest,
                            Index gradient_bytes) {
  const Index floor = gradient_bytes > (Index{4} << 20) ? 512 : shortest;
  return std::clamp(memory / bytes_per_sample / 8 * 8, floor, max_block);
}

inline Index block_size(const Architecture& net, Index scalar_bytes) {
  Index per_sample = net.n_inputs();
  for (Index layer = 0; layer < net.depth(); ++layer) per_sample += 2 * net.outputs(layer);
  return samples_within(block_memory, per_sample * scalar_bytes,
                        narrow::applies(net) ? min_block : panel::chunk,
                        net.n_parameters() * scalar_bytes);
}

inline Index strip_block_size(const Architecture& net, Index scalar_bytes) {
  return samples_within(strip_memory, 2 * net.outputs(0) * scalar_bytes, panel::chunk,
                        net.n_parameters() * scalar_bytes);
}

}  // namespace detail

inline SweepPlan plan_sweep(const Architecture& net, Index n_samples, Index scalar_bytes) {
  SweepPlan plan;
  plan.n_samples = n_samples;
  plan.nanoseconds = detail::sweep_ns(net, n_samples);
  const auto parameters = static_cast<double>(net.n_parameters());
  // The lanes' sums should stay below 3 % of the work, and below their memory.
  const double by_work = plan.nanoseconds / detail::lane_ns;
  const double by_sums = 0.03 * plan.nanoseconds / (parameters * detail::reduction_ns);
  const double by_memory =
      static_cast<double>(detail::lane_memory) / (parameters * static_cast<double>(scalar_bytes));
  const double lanes =
      std::min({by_work, by_sums, by_memory, static_cast<double>(detail::max_lanes),
                static_cast<double>(n_samples) / detail::min_block});
  // A power of two divides evenly among the threads of most machines.
  while (static_cast<double>(2 * plan.lanes) <= lanes) plan.lanes *= 2;
  // Gradients too large for many lanes: the products themselves are shared.
  plan.shares_blocks = plan.lanes < 4 && by_work >= 16.0;
  if (plan.shares_blocks) plan.lanes = 1;
  plan.cut_lanes(detail::block_size(net, scalar_bytes));
  return plan;
}

/// The plan of a pass that has only the risk and its gradient to find.
inline SweepPlan plan_risk_sweep(const Architecture& net, Index n_samples, Index scalar_bytes) {
  SweepPlan plan = plan_sweep(net, n_samples, scalar_bytes);
  plan.in_strips = strips::applies(net) && !plan.shares_blocks;
  if (plan.in_strips) plan.cut_lanes(detail::strip_block_size(net, scalar_bytes));
  return plan;
}

/// Threads worth their synchronization for a sweep.
inline int useful_threads(const SweepPlan& plan, int limit) {
  const double by_work = plan.nanoseconds / detail::lane_ns + 1.0;
  return static_cast<int>(
      std::min({static_cast<double>(limit), by_work,
                static_cast<double>(plan.shares_blocks ? Sharing::pieces : plan.lanes)}));
}

/// Where a lane adds the gradient of its samples, null for what is not trained.
template <class Scalar>
class GradientSums {
 public:
  GradientSums() = default;
  GradientSums(const Architecture& net, const std::vector<bool>& trained, Scalar* memory)
      : parts_(static_cast<std::size_t>(2 * net.depth()), nullptr) {
    for (std::size_t g = 0; g < net.groups().size(); ++g) {
      const auto& group = net.groups()[g];
      if (trained[g]) parts_[position(group.layer, group.is_bias)] = memory + group.offset;
    }
  }
  Scalar* weights(Index layer) const { return parts_[position(layer, false)]; }
  Scalar* bias(Index layer) const { return parts_[position(layer, true)]; }

 private:
  static std::size_t position(Index layer, bool is_bias) {
    return static_cast<std::size_t>(2 * layer + (is_bias ? 1 : 0));
  }
  std::vector<Scalar*> parts_;
};

/// The gradients of all lanes, and their sum in a fixed order.
template <class Scalar>
class LaneSums {
 public:
  LaneSums(const Architecture& net, std::vector<bool> trained, const SweepPlan& plan, Arena& arena)
      : net_(&net), trained_(std::move(trained)), lanes_(plan.lanes) {
    if (trained_.empty()) return;
    memory_ = arena.take<Scalar>(checked_product(lanes_, net.n_parameters()));
    for (std::size_t g = net.groups().size(); g-- > 0;)
      if (trained_[g]) lowest_trained_ = net.groups()[g].layer;
    cut_slices();
  }

  /// The sums of a lane, set to zero.
  GradientSums<Scalar> clear(Index lane) const {
    Scalar* memory = memory_ + lane * net_->n_parameters();
    for (std::size_t g = 0; g < trained_.size(); ++g)
      if (trained_[g])
        std::fill_n(memory + net_->groups()[g].offset, net_->groups()[g].size, Scalar(0));
    return GradientSums<Scalar>(*net_, trained_, memory);
  }

  /// Signals need not be pulled back below this layer.
  Index lowest_trained() const { return lowest_trained_; }

  /// Whether the sums of a layer are kept as (outputs, inputs): few inputs make a poor product.
  bool transposed(Index layer) const {
    return layer + 1 < net_->depth() &&
           (narrow::applies(*net_, layer) || panel::applies(*net_, layer));
  }

  /// Adds the lanes in their order, a slice of outputs of one group a task.
  void add(Team& team, Scalar* gradient) const {
    const auto add_slice = [&](Index task, int) {
      const auto& slice = slices_[static_cast<std::size_t>(task)];
      const auto& group = net_->groups()[slice.group];
      Scalar* to = gradient + group.offset;
      const Index outputs = net_->outputs(group.layer), inputs = group.size / outputs;
      if (!trained_[slice.group])
        std::fill(to + slice.begin * inputs, to + slice.end * inputs, Scalar(0));
      else if (!group.is_bias && transposed(group.layer))
        add_transposed(group.offset, inputs, outputs, slice.begin, slice.end, to);
      else
        add_plain(group.offset + slice.begin * inputs, (slice.end - slice.begin) * inputs,
                  to + slice.begin * inputs);
    };
    const auto tasks = static_cast<Index>(slices_.size());
    // Small gradients are added faster than a task is handed over.
    if (lanes_ * net_->n_parameters() < 4 * slice_size)
      for (Index task = 0; task < tasks; ++task) add_slice(task, 0);
    else
      team.run(tasks, add_slice);
  }

 private:
  static constexpr Index slice_size = 16384;
  struct Slice {
    std::size_t group;
    Index begin, end;
  };

  void cut_slices() {
    for (std::size_t g = 0; g < net_->groups().size(); ++g) {
      const auto& group = net_->groups()[g];
      const Index outputs = net_->outputs(group.layer), per_output = group.size / outputs;
      const Index step = std::max(Index{1}, slice_size / per_output);
      for (Index begin = 0; begin < outputs; begin += step)
        slices_.push_back({g, begin, std::min(begin + step, outputs)});
    }
  }

  void add_plain(Index offset, Index size, Scalar* to) const {
    std::copy_n(memory_ + offset, size, to);
    for (Index lane = 1; lane < lanes_; ++lane) {
      const Scalar* from = memory_ + lane * net_->n_parameters() + offset;
      LIPGD_ELEMENTWISE_LOOP
      for (Index i = 0; i < size; ++i) to[i] += from[i];
    }
  }

  void add_transposed(Index offset, Index inputs, Index outputs, Index begin, Index end,
                      Scalar* to) const {
    for (Index j = 0; j < inputs; ++j) {
      Scalar* sum = memory_ + offset + j * outputs;
      for (Index lane = 1; lane < lanes_; ++lane) {
        const Scalar* from = sum + lane * net_->n_parameters();
        LIPGD_ELEMENTWISE_LOOP
        for (Index i = begin; i < end; ++i) sum[i] += from[i];
      }
      for (Index i = begin; i < end; ++i) to[i * inputs + j] = sum[i];
    }
  }

  const Architecture* net_;
  std::vector<bool> trained_;
  Index lanes_;
  Index lowest_trained_ = 0;
  Scalar* memory_ = nullptr;
  std::vector<Slice> slices_;
};

}  // namespace lipgd
