#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "lipgd/reduce.hpp"
#include "lipgd/types.hpp"

namespace lipgd {

/// Follows the leading singular pair of a matrix from step to step, and sums what the first order
/// says of the logarithm of its norm: <J, change> / norm with the pair before every change, for any
/// rule of steps (dynamics.md, sections 4, 9 and 11). All in double.
///
/// A search takes the best of the span of the two leading vectors, the first one's residual, and in
/// turn the second one's or the last move: with the second vector a crossing is seen at once, and a
/// sweep of power iteration would not be enough where the gap is small.
class LeadingPair {
 public:
  /// The state at a step; a step again does nothing, and one step back takes back the last.
  template <class Scalar>
  void follow(ConstMatrixMap<Scalar> matrix, Index step) {
    if (vectors_.rows() != matrix.cols() || images_.rows() != matrix.rows()) {
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
    first_ = images_.col(0);
    const double norm = length(first_.data(), first_.size());
    for (Index k = 0; k < pairs; ++k) images_.col(k).noalias() = a * vectors_.col(k);
    total_before_ = total_;
    total_ += dot(first_.data(), images_.col(0).data(), first_.size()) / (norm * norm) - 1.0;
    step_ = step;
    search(a, largest_residual, searches);
  }

  /// The sum over the steps so far.
  double total() const { return total_; }
  /// The norm at the last step.
  double norm() const { return length(images_.data(), images_.rows()); }

  /// Everything as numbers: with them a later call repeats the bits of an uninterrupted run.
  std::vector<double> memory() const {
    if (vectors_.size() == 0) return {};
    std::vector<double> numbers{static_cast<double>(images_.rows()), static_cast<double>(step_),
                                total_, total_before_,
                                (second_ ? 1.0 : 0.0) + (moved_ ? 2.0 : 0.0)};
    for (const Matrix<double>* part : {&vectors_, &move_, &images_})
      numbers.insert(numbers.end(), part->data(), part->data() + part->size());
    return numbers;
  }
  void set_memory(const std::vector<double>& numbers) {
    *this = LeadingPair();
    if (numbers.size() < heads) return;
    const auto rows = static_cast<Index>(numbers[0]);
    const Index rest = static_cast<Index>(numbers.size() - heads) - pairs * rows;
    const Index cols = rest / (pairs + 1);
    if (rows < 1 || cols < 1 || rest != (pairs + 1) * cols) return;  // not numbers of ours
    step_ = static_cast<Index>(numbers[1]);
    total_ = numbers[2];
    total_before_ = numbers[3];
    second_ = numbers[4] == 1.0 || numbers[4] == 3.0;
    moved_ = numbers[4] >= 2.0;
    const double* from = numbers.data() + heads;
    vectors_ = ConstMatrixMap<double>(from, cols, pairs);
    move_ = ConstMatrixMap<double>(from + pairs * cols, cols, 1);
    images_ = ConstMatrixMap<double>(from + rest, rows, pairs);
  }

 private:
  static constexpr std::size_t heads = 5;
  static constexpr Index pairs = 2, largest_span = 2 + pairs;
  /// Relative to the norm: where a step may end its search, and how far it may take it.
  static constexpr double largest_residual = 3e-5, first_residual = 1e-11;
  static constexpr int searches = 1, first_searches = 2000;
  /// Of a unit vector, below which what is left of it is rounding.
  static constexpr double smallest_part = 1e-10;

  static double length(const double* a, Index size) { return std::sqrt(sum_of_squares(a, size)); }

  ConstMatrixMap<double> take(ConstMatrixMap<double> matrix) { return matrix; }
  ConstMatrixMap<double> take(ConstMatrixMap<float> matrix) {
    copy_ = matrix.cast<double>();
    return {copy_.data(), copy_.rows(), copy_.cols()};
  }

  void start(ConstMatrixMap<double> a, Index step) {
    total_ = total_before_ = 0.0;
    second_ = moved_ = false;
    step_ = step;
    vectors_.setZero(a.cols(), pairs);
    std::uint64_t state = 0x9e3779b97f4a7c15u;
    for (Index i = 0; i < a.cols() * std::min(a.cols(), pairs); ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      vectors_.data()[i] = static_cast<double>(static_cast<std::int32_t>(state >> 32));
    }
    move_.setZero(a.cols(), 1);
    images_.noalias() = a * vectors_;
    search(a, first_residual, first_searches);
  }

  /// Improves the vectors, whose images under a are images_.
  void search(ConstMatrixMap<double> a, double residual, int most) {
    for (int i = 0; i < most; ++i) {
      if (!span_of_vectors(a)) break;
      const double square = sum_of_squares(span_images_.data(), a.rows());
      const Index own = count_;
      const double size = add_residual(a, 0, smallest_part * square);
      // Negated, so that what is not a number ends it; the two vectors are put in order though.
      const bool done = !(size > residual * square);
      // In turn, for a span of four: the second residual and the last move.
      second_ = !second_;
      if (done)
        count_ = own;
      else if (second_ && own > 1)
        add_residual(a, 1, smallest_part * square);
      else if (moved_)
        add_direction(a, move_.data(), smallest_part);
      take_best(own);
      if (done) break;
    }
  }

  /// Adds what a^T a v has beside v of one of the vectors; returns how much that was.
  double add_residual(ConstMatrixMap<double> a, Index k, double smallest) {
    rest_.noalias() = a.transpose() * span_images_.col(k);
    return add_direction(a, rest_.data(), smallest);
  }

  /// Begins the span with the two vectors made orthonormal, in their order; false if both vanish.
  bool span_of_vectors(ConstMatrixMap<double> a) {
    count_ = 0;
    span_.resize(a.cols(), largest_span);
    span_images_.resize(a.rows(), largest_span);
    for (Index k = 0; k < pairs; ++k) {
      const double size = length(vectors_.col(k).data(), a.cols());
      if (!(size > 0.0)) continue;
      span_.col(count_) = vectors_.col(k) / size;
      span_images_.col(count_) = images_.col(k) / size;
      if (!remove_span(count_, true)) continue;
      ++count_;
    }
    return count_ > 0;
  }

  /// Makes the column orthonormal to those before it, its image with it; false if nothing is left.
  bool remove_span(Index column, bool with_image) {
    double* own = span_.col(column).data();
    for (Index j = 0; j < column; ++j) {
      const double along = dot(span_.col(j).data(), own, span_.rows());
      span_.col(column) -= along * span_.col(j);
      if (with_image) span_images_.col(column) -= along * span_images_.col(j);
    }
    const double size = length(own, span_.rows());
    if (!(size > smallest_part)) return false;
    span_.col(column) /= size;
    if (with_image) span_images_.col(column) /= size;
    return true;
  }

  /// Adds what is new of a direction; returns how much that was.
  double add_direction(ConstMatrixMap<double> a, const double* direction, double smallest) {
    span_.col(count_) = ConstVectorMap<double>(direction, a.cols());
    for (Index j = 0; j < count_; ++j)
      span_.col(count_) -=
          dot(span_.col(j).data(), span_.col(count_).data(), a.cols()) * span_.col(j);
    const double size = length(span_.col(count_).data(), a.cols());
    if (!(size > smallest)) return size;
    span_.col(count_) /= size;
    if (!remove_span(count_, false)) return size;
    span_images_.col(count_).noalias() = a * span_.col(count_);
    ++count_;
    return size;
  }

  /// Takes the two best vectors of the span; the move is what the first one takes of the new part.
  void take_best(Index own) {
    double gram[largest_span][largest_span];
    for (Index i = 0; i < count_; ++i)
      for (Index j = 0; j <= i; ++j)
        gram[i][j] = gram[j][i] =
            dot(span_images_.col(i).data(), span_images_.col(j).data(), images_.rows());
    double best[largest_span][largest_span];
    diagonalize(gram, best);
    for (Index k = 0; k < std::min(pairs, count_); ++k) {
      Index top = -1;
      for (Index j = 0; j < count_; ++j)
        if (top < 0 || gram[j][j] > gram[top][top]) top = j;
      gram[top][top] = -1.0;  // taken
      const double sign = k == 0 && best[0][top] < 0.0 ? -1.0 : 1.0;
      vectors_.col(k).setZero();
      images_.col(k).setZero();
      if (k == 0) {
        move_.setZero();
        moved_ = count_ > own;
      }
      for (Index j = 0; j < count_; ++j) {
        const double weight = sign * best[j][top];
        vectors_.col(k) += weight * span_.col(j);
        images_.col(k) += weight * span_images_.col(j);
        if (k == 0 && j >= own) move_.col(0) += weight * span_.col(j);
      }
    }
  }

  /// Jacobi's rotations of a symmetric matrix of the size of the span: values are left on its
  /// diagonal, vectors are the columns.
  void diagonalize(double (&a)[largest_span][largest_span],
                   double (&vectors)[largest_span][largest_span]) const {
    for (Index i = 0; i < count_; ++i)
      for (Index j = 0; j < count_; ++j) vectors[i][j] = i == j ? 1.0 : 0.0;
    for (int sweep = 0; sweep < most_sweeps; ++sweep) {
      bool rotated = false;
      for (Index p = 0; p < count_; ++p)
        for (Index q = p + 1; q < count_; ++q) {
          if (!(a[p][q] * a[p][q] > 1e-32 * std::abs(a[p][p] * a[q][q]))) continue;
          rotated = true;
          const double zeta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
          const double t =
              std::copysign(1.0, zeta) / (std::abs(zeta) + std::sqrt(1.0 + zeta * zeta));
          const double c = 1.0 / std::sqrt(1.0 + t * t), s = c * t;
          for (Index k = 0; k < count_; ++k) {
            const double x = a[k][p], y = a[k][q];
            a[k][p] = c * x - s * y;
            a[k][q] = s * x + c * y;
          }
          for (Index k = 0; k < count_; ++k) {
            const double x = a[p][k], y = a[q][k];
            a[p][k] = c * x - s * y;
            a[q][k] = s * x + c * y;
          }
          for (Index k = 0; k < count_; ++k) {
            const double x = vectors[k][p], y = vectors[k][q];
            vectors[k][p] = c * x - s * y;
            vectors[k][q] = s * x + c * y;
          }
        }
      if (!rotated) break;
    }
  }
  static constexpr int most_sweeps = 12;

  Index step_ = 0, count_ = 0;
  bool second_ = false, moved_ = false;
  double total_ = 0.0, total_before_ = 0.0;
  Matrix<double> vectors_, move_, images_;  ///< two vectors, the first one's last move, A vectors
  Matrix<double> span_, span_images_, copy_;
  Vector<double> first_, rest_;
};

}  // namespace lipgd
