#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

#include <Eigen/Eigenvalues>

#include "lipgd/hessian.hpp"

namespace lipgd {

/// The largest eigenvalue of a symmetric operator as a Ritz value, which is not above it, and the
/// norm of its residual: some eigenvalue is within that of the value.
struct TopEigenvalue {
  double value = 0.0;
  double residual = 0.0;
  Index products = 0;
  bool converged = false;
};

/// Lanczos' process with full orthogonalization, restarted with its best Ritz vectors. Products of
/// the basis are kept, so that it may start from several vectors, and residuals are exact.
class Lanczos {
 public:
  Lanczos(Index size, Arena& arena)
      : size_(size),
        capacity_(std::clamp(basis_memory / std::max(Index{1}, 16 * size), Index{6}, Index{40})) {
    for (Index i = 0; i <= capacity_; ++i) {
      vectors_.push_back(arena.take<double>(size));
      images_.push_back(arena.take<double>(size));
    }
    projected_.setZero(capacity_, capacity_);
  }

  Index capacity() const { return capacity_; }

  /// Forgets the basis.
  void clear() { count_ = 0; }
  Index count() const { return count_; }

  /// Where the next vector of the basis is to be written.
  double* next() { return vectors_[position(count_)]; }

  /// Makes the next vector a unit vector orthogonal to the basis; false if nothing is left of it.
  bool orthogonalize() {
    double* v = next();
    double length = norm(v);
    if (!(length > 0.0) || !std::isfinite(length)) return false;
    scale(v, 1.0 / length);
    // What a first pass leaves of little may be rounding: a second pass tells.
    for (int pass = 0; pass < 2; ++pass) {
      for (Index i = 0; i < count_; ++i) subtract(dot(vectors_[position(i)], v, size_), i, v);
      length = norm(v);
      if (!(length > 1e-10)) return false;
      scale(v, 1.0 / length);
      if (length > 0.5) break;
    }
    return true;
  }

  /// The image of the next vector is to be written here, before append().
  double* next_image() { return images_[position(count_)]; }
  void append() {
    for (Index i = 0; i <= count_; ++i) {
      const double entry = dot(vectors_[position(i)], images_[position(count_)], size_);
      projected_(i, count_) = projected_(count_, i) = entry;
    }
    ++count_;
  }

  /// Solves the projected problem.
  void solve() { solver_.compute(projected_.topLeftCorner(count_, count_)); }
  /// The Ritz values from the top: rank 0 is the largest.
  double ritz_value(Index rank) const { return solver_.eigenvalues()[count_ - 1 - rank]; }
  double largest_size() const { return solver_.eigenvalues().cwiseAbs().maxCoeff(); }

  void ritz_vector(Index rank, double* out) const { combine(vectors_, rank, out); }

  /// The norm of the residual of a Ritz pair, which is left in next().
  double residual(Index rank) {
    double* out = next();
    combine(images_, rank, out);
    double* vector = next_image();
    combine(vectors_, rank, vector);
    const double value = ritz_value(rank);
    LIPGD_ELEMENTWISE_LOOP
    for (Index i = 0; i < size_; ++i) out[i] -= value * vector[i];
    return norm(out);
  }

  /// Keeps the best Ritz vectors alone; next() stays.
  void restart() {
    const Index kept = capacity_ / 2;
    rotate(vectors_, kept);
    rotate(images_, kept);
    std::swap(vectors_[position(kept)], vectors_[position(count_)]);
    projected_.setZero();
    for (Index rank = 0; rank < kept; ++rank) projected_(rank, rank) = ritz_value(rank);
    count_ = kept;
  }

 private:
  static constexpr Index basis_memory = Index{128} << 20;
  static std::size_t position(Index i) { return static_cast<std::size_t>(i); }

  double norm(const double* v) const {
    return norm_of_pieces<double>([&](const auto& use) { use(v, size_); });
  }
  void scale(double* v, double factor) const {
    LIPGD_ELEMENTWISE_LOOP
    for (Index i = 0; i < size_; ++i) v[i] *= factor;
  }
  void subtract(double factor, Index basis, double* v) const {
    const double* from = vectors_[position(basis)];
    LIPGD_ELEMENTWISE_LOOP
    for (Index i = 0; i < size_; ++i) v[i] -= factor * from[i];
  }

  void combine(const std::vector<double*>& from, Index rank, double* out) const {
    const auto weights = solver_.eigenvectors().col(count_ - 1 - rank);
    std::fill_n(out, size_, 0.0);
    for (Index j = 0; j < count_; ++j) {
      const double weight = weights[j];
      const double* vector = from[position(j)];
      LIPGD_ELEMENTWISE_LOOP
      for (Index i = 0; i < size_; ++i) out[i] += weight * vector[i];
    }
  }

  /// Replaces the first vectors by combinations of all, a few elements at a time.
  void rotate(std::vector<double*>& vectors, Index kept) const {
    constexpr Index slice = 256;
    Matrix<double> old(slice, count_), fresh(slice, kept);
    const Matrix<double> weights = solver_.eigenvectors().rightCols(kept).rowwise().reverse();
    for (Index begin = 0; begin < size_; begin += slice) {
      const Index size = std::min(slice, size_ - begin);
      for (Index j = 0; j < count_; ++j)
        std::copy_n(vectors[position(j)] + begin, size, old.col(j).data());
      fresh.noalias() = old * weights;
      for (Index j = 0; j < kept; ++j)
        std::copy_n(fresh.col(j).data(), size, vectors[position(j)] + begin);
    }
  }

  Index size_, capacity_, count_ = 0;
  std::vector<double*> vectors_, images_;
  Matrix<double> projected_;
  Eigen::SelfAdjointEigenSolver<Matrix<double>> solver_;
};

/// The largest eigenvalue of the Hessian of the risk by the trained parameters, in double.
template <class Scalar>
class Sharpness {
 public:
  Sharpness(const Architecture& net, const Loss& loss, const std::vector<bool>& trained,
            const Inputs<Scalar>& inputs, const Targets<Scalar>& targets, int workers, Arena& arena)
      : net_(&net),
        logistic_(loss.kind == LossKind::logistic),
        trained_(trained),
        inputs_(in_double(inputs)),
        targets_{nullptr, targets.labels, nullptr, nullptr},
        hessian_(net, loss, trained, inputs.n_samples(), workers, arena, kept_bytes),
        lanczos_(net.n_parameters(), arena) {
    parameters_ = arena.take<double>(net.n_parameters());
    const Index n = inputs.n_samples();
    targets_.values = converted(targets.values, checked_product(n, net.n_outputs()), arena);
    targets_.weights = converted(targets.weights, n, arena);
  }

  /// Ritz vectors from which the next call starts, one after the other: the top ones of the last
  /// call, and the first of the call before, which large steps that swing to and fro come back to.
  /// With them a later call repeats the bits of an uninterrupted run.
  const std::vector<double>& memory() const { return memory_; }
  void set_memory(std::vector<double> numbers) {
    const auto size = static_cast<std::size_t>(net_->n_parameters());
    require(numbers.size() % size == 0 && numbers.size() <= remembered * size,
            "the warm start has a wrong size");
    memory_ = std::move(numbers);
  }
  /// Takes the new warm start, which a call leaves aside until the caller keeps its result.
  void commit() { memory_ = fresh_; }

  /// Stops when the residual is at most tolerance times the value, or after so many products. The
  /// result has no meaning once the team is cancelled.
  TopEigenvalue operator()(Team& team, const Scalar* parameters, double tolerance,
                           Index max_products) {
    std::copy_n(parameters, net_->n_parameters(), parameters_);
    TopEigenvalue result;
    shift_ = 0.0;
    lanczos_.clear();
    start(team, result);
    while (lanczos_.count() > 0 && !team.cancelled()) {
      lanczos_.solve();
      result.value = lanczos_.ritz_value(0);
      result.residual = lanczos_.residual(0);
      if (!std::isfinite(result.residual)) break;
      const double floor = 1e-15 * lanczos_.largest_size();
      result.converged = result.residual <= std::max(tolerance * std::abs(result.value), floor);
      if (result.products >= max_products) break;
      if (result.converged && result.products >= least_products) break;
      // The other pair is improved meanwhile: eigenvalues may change places between two calls.
      if (result.converged && lanczos_.count() > 1) lanczos_.residual(1);
      if (lanczos_.count() == lanczos_.capacity()) lanczos_.restart();
      if (!expand(team, result)) {
        result.converged = true;  // the basis is all there is
        break;
      }
    }
    if (lanczos_.count() > 0 && !team.cancelled()) remember();
    const double factor = std::exp(-shift_);
    result.value *= factor;
    result.residual *= factor;
    return result;
  }

 private:
  static constexpr std::size_t top_pairs = 2, remembered = top_pairs + 1;
  static constexpr Index least_products = 3;
  static constexpr Index kept_bytes = Index{64} << 20;
  static constexpr double near_underflow = 200.0;  ///< margins at which the Hessian is rescaled

  static Inputs<double> in_double(const Inputs<Scalar>& inputs) {
    return {inputs.data,       inputs.is_float,      inputs.n_rows,    inputs.n_columns,
            inputs.row_stride, inputs.column_stride, inputs.selection, inputs.n_selected};
  }
  static const double* converted(const Scalar* values, Index size, Arena& arena) {
    if (values == nullptr) return nullptr;
    if constexpr (std::is_same_v<Scalar, double>) {
      return values;
    } else {
      double* copy = arena.take<double>(size);
      if (!arena.only_counts()) std::copy_n(values, size, copy);
      return copy;
    }
  }

  void start(Team& team, TopEigenvalue& result) {
    const Index size = net_->n_parameters();
    for (std::size_t begin = 0; begin < memory_.size(); begin += static_cast<std::size_t>(size)) {
      std::copy_n(memory_.data() + begin, size, lanczos_.next());
      if (lanczos_.orthogonalize()) multiply(team, result);
    }
    if (lanczos_.count() > 0) return;
    write_random(1);
    if (lanczos_.orthogonalize()) multiply(team, result);
  }

  /// Adds the residual that lies in next() to the basis, or something new if it is nothing; false
  /// if the basis is all there is.
  bool expand(Team& team, TopEigenvalue& result) {
    bool added = lanczos_.orthogonalize();
    for (int seed = 2; !added && seed < 5; ++seed) {
      write_random(seed);
      added = lanczos_.orthogonalize();
    }
    if (added) multiply(team, result);
    return added;
  }

  void multiply(Team& team, TopEigenvalue& result) {
    double* image = lanczos_.next_image();
    hessian_(team, parameters_, lanczos_.next(), inputs_, targets_, image, shift_,
             result.products > 0);
    ++result.products;
    const double margin = hessian_.smallest_margin();
    if (result.products == 1 && logistic_ && margin > near_underflow && std::isfinite(margin)) {
      shift_ = margin;
      hessian_(team, parameters_, lanczos_.next(), inputs_, targets_, image, shift_, true);
      ++result.products;
    }
    lanczos_.append();
  }

  void write_random(int seed) {
    double* out = lanczos_.next();
    std::fill_n(out, net_->n_parameters(), 0.0);
    std::uint64_t state = 0x9e3779b97f4a7c15u * (static_cast<std::uint64_t>(seed) + 1);
    for (std::size_t g = 0; g < trained_.size(); ++g) {
      if (!trained_[g]) continue;
      const auto& group = net_->groups()[g];
      for (Index i = group.offset; i < group.offset + group.size; ++i) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        out[i] = static_cast<double>(static_cast<std::int32_t>(state >> 32));
      }
    }
  }

  void remember() {
    lanczos_.solve();
    const auto size = static_cast<std::size_t>(net_->n_parameters());
    const auto pairs = std::min(top_pairs, static_cast<std::size_t>(lanczos_.count()));
    fresh_.resize(pairs * size);
    for (std::size_t rank = 0; rank < pairs; ++rank)
      lanczos_.ritz_vector(static_cast<Index>(rank), fresh_.data() + rank * size);
    if (!memory_.empty())
      fresh_.insert(fresh_.end(), memory_.begin(),
                    memory_.begin() + static_cast<std::ptrdiff_t>(size));
  }

  const Architecture* net_;
  bool logistic_;
  std::vector<bool> trained_;
  Inputs<double> inputs_;
  Targets<double> targets_;
  HessianSweep<double> hessian_;
  Lanczos lanczos_;
  double* parameters_;
  double shift_ = 0.0;
  std::vector<double> memory_, fresh_;
};

}  // namespace lipgd
