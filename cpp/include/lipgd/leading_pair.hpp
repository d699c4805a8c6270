#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include <Eigen/Eigenvalues>

#include "lipgd/reduce.hpp"
#include "lipgd/types.hpp"

namespace lipgd {

/// Follows the leading singular pair of a matrix from step to step, and sums what the first order
/// says of the logarithm of its norm: <J, change> / norm with the pair before every change, for any
/// rule of steps (dynamics.md, sections 4.1, 9.1 and 11). All in double.
///
/// A step of the search is the best of the span of the vector, its residual and the last move; one
/// sweep of power iteration is not enough where the gap is small.
class LeadingPair {
 public:
  /// The state at a step; a step again does nothing, and one step back takes back the last.
  template <class Scalar>
  void follow(ConstMatrixMap<Scalar> matrix, Index step) {
    if (vector_.size() != matrix.cols() || image_.size() != matrix.rows()) {
      start(take(matrix), step);
      return;
    }
    if (step == step_) return;
    if (step < step_) {
      total_ = total_before_;
      step_ = step;
      return;
    }
    const ConstMatrixMap<double> a = take(matrix);
    next_.noalias() = a * vector_;
    total_before_ = total_;
    total_ += dot(image_, next_) / norm_ - 1.0;
    image_ = next_;
    step_ = step;
    search(a, largest_residual, searches);
  }

  /// The sum over the steps so far.
  double total() const { return total_; }
  double norm() const { return norm_; }

  /// Everything as numbers: with them a later call repeats the bits of an uninterrupted run.
  std::vector<double> memory() const {
    if (vector_.size() == 0) return {};
    std::vector<double> numbers{static_cast<double>(image_.size()), static_cast<double>(step_),
                                total_, total_before_, norm_};
    for (const Vector<double>* part : {&vector_, &move_, &image_})
      numbers.insert(numbers.end(), part->data(), part->data() + part->size());
    return numbers;
  }
  void set_memory(const std::vector<double>& numbers) {
    *this = LeadingPair();
    if (numbers.size() < heads) return;
    const auto rows = static_cast<Index>(numbers[0]);
    const Index rest = static_cast<Index>(numbers.size() - heads) - rows;
    if (rows < 1 || rest < 2 || rest % 2 != 0) return;  // not numbers of ours
    step_ = static_cast<Index>(numbers[1]);
    total_ = numbers[2];
    total_before_ = numbers[3];
    norm_ = numbers[4];
    vector_ = ConstVectorMap<double>(numbers.data() + heads, rest / 2);
    move_ = ConstVectorMap<double>(numbers.data() + heads + rest / 2, rest / 2);
    image_ = ConstVectorMap<double>(numbers.data() + heads + rest, rows);
  }

 private:
  static constexpr std::size_t heads = 5;
  /// Relative to the norm: where a step may end its search, and how far it may take it.
  static constexpr double largest_residual = 1e-4, first_residual = 1e-11;
  static constexpr int searches = 2, first_searches = 2000;

  static double dot(const Vector<double>& a, const Vector<double>& b) {
    return lipgd::dot(a.data(), b.data(), a.size());
  }
  static double length(const Vector<double>& a) {
    return std::sqrt(sum_of_squares(a.data(), a.size()));
  }

  ConstMatrixMap<double> take(ConstMatrixMap<double> matrix) { return matrix; }
  ConstMatrixMap<double> take(ConstMatrixMap<float> matrix) {
    copy_ = matrix.cast<double>();
    return {copy_.data(), copy_.rows(), copy_.cols()};
  }

  void start(ConstMatrixMap<double> a, Index step) {
    *this = LeadingPair(std::move(copy_));
    step_ = step;
    vector_.resize(a.cols());
    std::uint64_t state = 0x9e3779b97f4a7c15u;
    for (double& value : vector_) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      value = static_cast<double>(static_cast<std::int32_t>(state >> 32));
    }
    vector_ /= length(vector_);
    move_.setZero(a.cols());
    image_.noalias() = a * vector_;
    search(a, first_residual, first_searches);
  }

  /// Improves the vector, whose image under a is image_; at last image_ is normalized.
  void search(ConstMatrixMap<double> a, double residual, int most) {
    norm_ = length(image_);
    for (int i = 0; i < most; ++i) {
      rest_.noalias() = a.transpose() * image_;
      const double square = norm_ * norm_, along = dot(vector_, rest_);
      rest_ -= along * vector_;
      const double size = length(rest_);
      // Negated, so that what is not a number ends it.
      if (!(size > residual * square)) break;
      rest_ /= size;
      improve(a);
      norm_ = length(image_);
    }
    image_ /= norm_;
  }

  /// The best of the span of the vector, rest_ and the last move.
  void improve(ConstMatrixMap<double> a) {
    rest_image_.noalias() = a * rest_;
    move_ -= dot(vector_, move_) * vector_;
    move_ -= dot(rest_, move_) * rest_;
    const double moved = length(move_);
    const bool three = moved > smallest_move;
    if (three) {
      move_ /= moved;
      move_image_.noalias() = a * move_;
    } else {
      move_.setZero();
      move_image_.setZero(image_.size());
    }
    const std::array<double, 3> best = top_of_span();
    move_ = best[1] * rest_ + best[2] * move_;
    vector_ = best[0] * vector_ + move_;
    image_ = best[0] * image_ + best[1] * rest_image_ + best[2] * move_image_;
    const double size = length(vector_);
    vector_ /= size;
    image_ /= size;
  }

  std::array<double, 3> top_of_span() {
    Eigen::Matrix3d gram;
    const Vector<double>* images[3] = {&image_, &rest_image_, &move_image_};
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j <= i; ++j) gram(i, j) = dot(*images[i], *images[j]);
    Eigen::SelfAdjointEigenSolver<Eigen::Matrix3d> solver;
    solver.computeDirect(gram);  // what it loses in accuracy the next search finds
    const Eigen::Vector3d top = solver.eigenvectors().col(2);
    const double sign = top[0] < 0.0 ? -1.0 : 1.0;
    return {sign * top[0], sign * top[1], sign * top[2]};
  }

  /// Of a unit vector, below which a move is rounding.
  static constexpr double smallest_move = 1e-9;

  LeadingPair(Matrix<double>&& copy) : copy_(std::move(copy)) {}

 public:
  LeadingPair() = default;

 private:
  Index step_ = 0;
  double total_ = 0.0, total_before_ = 0.0, norm_ = 0.0;
  Vector<double> vector_, move_, image_;  ///< unit vectors but the move; image_ is the other side's
  Vector<double> next_, rest_, rest_image_, move_image_;
  Matrix<double> copy_;
};

}  // namespace lipgd
