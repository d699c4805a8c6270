#pragma once

#include <algorithm>
#include <functional>
#include <vector>

#include "lipgd/risk.hpp"

// Samples that are spread over several processes. They are cut into shards whose number belongs to
// the problem, and the shards' sums are added in one binary tree, so that the bits do not depend on
// how many processes there are: each adds what lies whole within its own shards, and a hook of the
// caller exchanges these parts and adds the rest.

namespace lipgd {

/// The complete subtrees of a process: a power of two of shards each, beginning at a multiple of
/// that power.
struct Subtree {
  Index first;
  Index shards;
};

/// Exchanges sums: parts (subtrees, length) in the order of the subtrees; the total of all
/// processes takes the place of the first part. False if a process asked for an end.
using SumHook =
    std::function<bool(double* parts, const std::vector<Subtree>& subtrees, Index length)>;

/// Which samples of the whole a process has.
struct Shards {
  Index count = 0;          ///< of all processes; 0 if the samples are not spread
  Index first = 0;          ///< shard of this process
  Index own = 0;            ///< shards of this process
  Index total_samples = 0;  ///< of all processes
  SumHook sum;

  bool spread() const { return count > 0; }
  Index begin(Index shard) const {
    return total_samples / count * shard + std::min(shard, total_samples % count);
  }
};

/// Cuts shards first, ..., first + own - 1 into the fewest complete subtrees.
inline std::vector<Subtree> subtrees_of(Index first, Index own) {
  std::vector<Subtree> result;
  for (Index shard = first; shard < first + own; ++shard) {
    result.push_back({shard, 1});
    while (result.size() > 1) {
      Subtree& left = result[result.size() - 2];
      if (left.shards != result.back().shards || left.first % (2 * left.shards) != 0) break;
      left.shards *= 2;
      result.pop_back();
    }
  }
  return result;
}

/// The risk over all samples and its gradient, wherever the samples are.
template <class Scalar>
class ShardedSweep {
 public:
  /// The arguments of a RiskSweep over the samples of this process.
  ShardedSweep(const Architecture& net, const Loss& loss, const std::vector<bool>& trained,
               Index n_samples, const Shards& shards, int workers, Arena& arena)
      : net_(&net), shards_(shards) {
    if (!shards.spread()) {
      sweeps_.emplace_back(net, loss, trained, n_samples, workers, arena);
      return;
    }
    require(n_samples == shards.begin(shards.first + shards.own) - shards.begin(shards.first),
            "X has another number of rows than its shards");
    for (Index shard = 0; shard < shards.own; ++shard) {
      const Index size = shard_size(shard);
      if (sweep_of(size) == nullptr)
        sweeps_.emplace_back(net, loss, trained, size, workers, arena, shards.total_samples);
    }
    // One more than the most parts that are kept before two of them become one.
    while ((Index{1} << levels_) <= shards.own) ++levels_;
    parts_ = arena.take<double>(checked_product(2 * levels_ + 1, length()));
    if (!trained.empty()) gradient_ = arena.take<Scalar>(net.n_parameters());
  }

  const SweepPlan& plan() const { return sweeps_.front().plan(); }

  /// See RiskSweep, but samples that are spread know no scale of their own. Cancels the team if a
  /// process asked for an end.
  double gradient_in_range(Team& team, const Scalar* parameters, const Inputs<Scalar>& inputs,
                           const Targets<Scalar>& targets, Scalar* gradient, double& log_scale) {
    if (!shards_.spread())
      return sweeps_.front().gradient_in_range(team, parameters, inputs, targets, gradient,
                                               log_scale);
    log_scale = 0.0;
    return spread_gradient(team, parameters, inputs, targets, gradient);
  }

 private:
  double spread_gradient(Team& team, const Scalar* parameters, const Inputs<Scalar>& inputs,
                         const Targets<Scalar>& targets, Scalar* gradient) {
    const std::vector<Subtree> subtrees = subtrees_of(shards_.first, shards_.own);
    Index filled = 0;
    for (Index shard = 0; shard < shards_.own; ++shard) {
      double* part = parts_ + filled++ * length();
      RiskSweep<Scalar>& sweep = *sweep_of(shard_size(shard));
      const Index row = shards_.begin(shards_.first + shard) - shards_.begin(shards_.first);
      part[net_->n_parameters()] =
          sweep.gradient(team, parameters, rows_from(inputs, row, shard_size(shard)),
                         rows_from(targets, row, net_->n_outputs()), gradient_);
      std::copy_n(gradient_, net_->n_parameters(), part);
      // As the subtrees grow: of two neighbours of one size, the second is added to the first.
      const auto size = static_cast<Index>(subtrees_of(shards_.first, shard + 1).size());
      for (; filled > size; --filled) add(part_of(filled - 2), part_of(filled - 1));
    }
    if (!shards_.sum(parts_, subtrees, length())) team.cancel();
    for (Index i = 0; i < net_->n_parameters(); ++i) gradient[i] = static_cast<Scalar>(parts_[i]);
    return parts_[net_->n_parameters()];
  }

  /// The gradient and the risk.
  Index length() const { return net_->n_parameters() + 1; }
  Index shard_size(Index shard) const {
    return shards_.begin(shards_.first + shard + 1) - shards_.begin(shards_.first + shard);
  }
  RiskSweep<Scalar>* sweep_of(Index size) {
    for (RiskSweep<Scalar>& sweep : sweeps_)
      if (sweep.plan().n_samples == size) return &sweep;
    return nullptr;
  }
  double* part_of(Index part) { return parts_ + part * length(); }
  void add(double* to, const double* from) const {
    for (Index i = 0; i < length(); ++i) to[i] += from[i];
  }

  const Architecture* net_;
  Shards shards_;
  std::vector<RiskSweep<Scalar>> sweeps_;
  Index levels_ = 0;
  double* parts_ = nullptr;
  Scalar* gradient_ = nullptr;
};

}  // namespace lipgd
