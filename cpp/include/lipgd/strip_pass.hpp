#pragma once

#include <algorithm>
#include <vector>

#include "lipgd/activation.hpp"
#include "lipgd/parallel.hpp"
#include "lipgd/samples.hpp"
#include "lipgd/strips.hpp"
#include "lipgd/sweep.hpp"

namespace lipgd {

/// The passes of a network of strips: parameters, scratch memory of the workers, and the gradients
/// of the lanes, whose inner weights lie as the strips do.
template <class Scalar>
class StripPass {
 public:
  /// trained: as for a RiskSweep.
  StripPass(const Architecture& net, const std::vector<bool>& trained, const SweepPlan& plan,
            int workers, Arena& arena)
      : net_(&net), plan_(plan), trained_(trained) {
    const Index block = plan.block, width = padded_width();
    panels_ = arena.take<Scalar>(checked_product(width, net.n_inputs()));
    bias_ = arena.take<Scalar>(width);
    outer_ = arena.take<Scalar>(width);
    const bool slopes = !trained.empty();
    for (int worker = 0; worker < workers; ++worker) {
      Scratch s;
      s.staged = arena.take<Scalar>(checked_product(net.n_inputs(), block));
      s.features = arena.take<Scalar>(checked_product(width, block));
      s.slopes = slopes ? arena.take<Scalar>(checked_product(width, block)) : nullptr;
      s.groups = slopes ? arena.take<Scalar>(checked_product(padded_inputs(), block)) : nullptr;
      s.outputs = arena.take<Scalar>(block);
      s.partial = arena.take<Scalar>(checked_product(narrow::lanes_of<Scalar>, block));
      scratch_.push_back(s);
    }
    if (!slopes) return;
    for (const auto& group : net.groups()) {
      offsets_.push_back(lane_size_);
      lane_size_ += inner(group) ? checked_product(width, net.n_inputs()) : group.size;
    }
    sums_ = arena.take<Scalar>(checked_product(plan.lanes, lane_size_));
  }

  void set(const Scalar* parameters) {
    const Index inputs = net_->n_inputs(), width = net_->outputs(0);
    panel::pack_all(parameters + net_->weight_offset(0), inputs, Index{1}, width, inputs, panels_);
    copy_padded(net_->bias(parameters, 0), bias_);
    copy_padded(parameters + net_->weight_offset(1), outer_);
    const Scalar* outer_bias = net_->bias(parameters, 1);
    outer_bias_ = outer_bias == nullptr ? Scalar(0) : outer_bias[0];
  }

  /// The outputs of a block, before the output scale; they may be overwritten.
  Scalar* forward(Team&, int worker, const Inputs<Scalar>& inputs, Index first, Index count) {
    Scratch& s = scratch_[static_cast<std::size_t>(worker)];
    const Index n_inputs = net_->n_inputs();
    s.inputs = inputs.block(first, count, s.staged);
    s.count = count;
    std::fill_n(s.partial, narrow::lanes_of<Scalar> * count, Scalar(0));
    for_groups([&](Index begin, Index size) {
      strips::for_strips<Scalar>(begin, size, [&](Index i, Index rows) {
        for (Index n = 0; n < count; ++n)
          std::copy_n(bias_ + i, rows, at(s.features, i, s) + n * rows);
      });
      strips::add_product(panels_, begin, size, n_inputs, s.inputs, count, s.features);
      strips::for_strips<Scalar>(begin, size, [&](Index i, Index rows) {
        Scalar* h = at(s.features, i, s);
        if (s.slopes == nullptr)
          activate(net_->activation(), rows * count, h, h);
        else
          activate(net_->activation(), rows * count, h, h, at(s.slopes, i, s));
        narrow::add_outputs(outer_ + i, h, rows, count, s.partial);
      });
    });
    constexpr auto lanes = static_cast<std::size_t>(narrow::lanes_of<Scalar>);
    for (Index n = 0; n < count; ++n)
      s.outputs[n] =
          outer_bias_ + detail::add_lanes<lanes>(s.partial + n * narrow::lanes_of<Scalar>);
    return s.outputs;
  }

  /// A worker begins a lane.
  void begin(int worker, Index lane) {
    Scratch& s = scratch_[static_cast<std::size_t>(worker)];
    s.lane = lane;
    s.fresh = true;
    for (std::size_t g = 0; g < offsets_.size(); ++g)
      if (!inner(net_->groups()[g]))
        std::fill_n(sums_ + lane * lane_size_ + offsets_[g], net_->groups()[g].size, Scalar(0));
  }

  /// Adds the gradient of a worker's last block, whose outputs have become the derivatives of the
  /// loss.
  void backward(Team&, int worker) {
    Scratch& s = scratch_[static_cast<std::size_t>(worker)];
    const Index lane = s.lane;
    Scalar* weights = sums_of(lane, 0, false);
    Scalar *bias = sums_of(lane, 0, true), *outer = sums_of(lane, 1, false);
    if (weights != nullptr) strips::pack_inputs(s.inputs, net_->n_inputs(), s.count, s.groups);
    for_groups([&](Index begin, Index size) {
      strips::for_strips<Scalar>(begin, size, [&](Index i, Index rows) {
        strips::StripSums<Scalar> sums;
        strips::with_registers<Scalar>(rows, [&](auto registers) {
          strips::make_signal<registers>(s.outputs, at(s.features, i, s), at(s.slopes, i, s),
                                         s.count, sums);
        });
        const Index valid = std::min(rows, net_->outputs(0) - i);
        for (Index r = 0; bias != nullptr && r < valid; ++r)
          bias[i + r] += sums.bias[r] * outer_[i + r];
        for (Index r = 0; outer != nullptr && r < valid; ++r) outer[i + r] += sums.outer[r];
      });
      if (weights != nullptr)
        strips::add_gradient(s.slopes, begin, size, s.groups, net_->n_inputs(), s.count, outer_,
                             s.fresh, weights);
    });
    s.fresh = false;
    if (Scalar* outer_bias = sums_of(lane, 1, true))
      outer_bias[0] += static_cast<Scalar>(sum(s.outputs, s.count));
  }

  /// Adds the lanes in their order, a strip of the inner weights a task.
  void add(Team& team, Scalar* gradient) const {
    const Index width = net_->outputs(0), strips = (width + neurons - 1) / neurons;
    const auto add_task = [&](Index task, int) {
      if (task == strips)
        add_vectors(gradient);
      else
        add_strip(task * neurons, std::min(neurons, width - task * neurons), gradient);
    };
    // Small gradients are added faster than a task is handed over.
    if (plan_.lanes * lane_size_ < small_sums)
      for (Index task = 0; task <= strips; ++task) add_task(task, 0);
    else
      team.run(strips + 1, add_task);
  }

 private:
  struct Scratch {
    Scalar *staged, *features, *slopes, *groups, *outputs, *partial;
    const Scalar* inputs = nullptr;
    Index count = 0, lane = 0;
    bool fresh = true;  ///< whether the lane's inner weights have no sum yet
  };
  static constexpr Index neurons = strips::neurons<Scalar>;
  static constexpr Index small_sums = 65536;

  static bool inner(const Architecture::Group& group) { return group.layer == 0 && !group.is_bias; }
  Index padded_width() const { return panel::packed_size<Scalar>(net_->outputs(0), 1); }
  Index padded_inputs() const {
    return (net_->n_inputs() + strips::columns - 1) / strips::columns * strips::columns;
  }
  static Scalar* at(Scalar* strips, Index neuron, const Scratch& s) {
    return strips + neuron * s.count;
  }
  template <class Function>
  void for_groups(const Function& f) const {
    strips::for_groups<Scalar>(net_->outputs(0), strips::together(net_->n_inputs()), f);
  }

  void copy_padded(const Scalar* from, Scalar* to) const {
    const Index width = net_->outputs(0);
    if (from == nullptr)
      std::fill_n(to, width, Scalar(0));
    else
      std::copy_n(from, width, to);
    std::fill(to + width, to + padded_width(), Scalar(0));
  }

  /// Where a lane adds what belongs to a group, null if it is not trained or not there.
  Scalar* sums_of(Index lane, Index layer, bool is_bias) const {
    for (std::size_t g = 0; g < offsets_.size(); ++g)
      if (net_->groups()[g].layer == layer && net_->groups()[g].is_bias == is_bias)
        return trained_[g] ? sums_ + lane * lane_size_ + offsets_[g] : nullptr;
    return nullptr;
  }

  void add_lanes(Scalar* sum, Index size) const {
    for (Index lane = 1; lane < plan_.lanes; ++lane) {
      const Scalar* from = sum + lane * lane_size_;
      LIPGD_ELEMENTWISE_LOOP
      for (Index i = 0; i < size; ++i) sum[i] += from[i];
    }
  }

  void add_strip(Index begin, Index valid, Scalar* gradient) const {
    const Index inputs = net_->n_inputs(), rows = panel::padded_rows<Scalar>(valid);
    Scalar* to = gradient + net_->weight_offset(0) + begin * inputs;
    Scalar* sum = sums_of(0, 0, false);
    if (sum == nullptr) {
      std::fill_n(to, valid * inputs, Scalar(0));
      return;
    }
    sum += begin * inputs;
    add_lanes(sum, rows * inputs);
    for (Index j = 0; j < inputs; ++j)
      for (Index i = 0; i < valid; ++i) to[i * inputs + j] = sum[j * rows + i];
  }

  void add_vectors(Scalar* gradient) const {
    for (std::size_t g = 0; g < offsets_.size(); ++g) {
      const auto& group = net_->groups()[g];
      if (inner(group)) continue;
      Scalar* to = gradient + group.offset;
      if (trained_[g]) {
        add_lanes(sums_ + offsets_[g], group.size);
        std::copy_n(sums_ + offsets_[g], group.size, to);
      } else {
        std::fill_n(to, group.size, Scalar(0));
      }
    }
  }

  const Architecture* net_;
  SweepPlan plan_;
  std::vector<bool> trained_;
  Scalar *panels_ = nullptr, *bias_ = nullptr, *outer_ = nullptr;
  Scalar outer_bias_ = 0;
  std::vector<Scratch> scratch_;
  std::vector<Index> offsets_;  ///< of the groups in the sums of a lane
  Index lane_size_ = 0;
  Scalar* sums_ = nullptr;
};

}  // namespace lipgd
