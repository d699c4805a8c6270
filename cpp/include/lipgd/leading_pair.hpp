#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "lipgd/few.hpp"
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
    if (matrix.cols() != cols_ || matrix.rows() != rows_) {
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
    const double square = few::dot(image(0), image(0), images_.rows());
    first_ = images_.col(0);
    multiply(a, 0, own());
    total_before_ = total_;
    total_ += few::dot(first_.data(), image(0), images_.rows()) / square - 1.0;
    step_ = step;
    search(a, largest_residual, searches);
  }

  /// The sum over the steps so far.
  double total() const { return total_; }
  /// The norm at the last step.
  double norm() const { return std::sqrt(few::dot(image(0), image(0), images_.rows())); }

  /// Everything as numbers: with them a later call repeats the bits of an uninterrupted run.
  std::vector<double> memory() const {
    if (span_.size() == 0) return {};
    std::vector<double> numbers{static_cast<double>(rows_), static_cast<double>(step_), total_,
                                total_before_, (second_ ? 1.0 : 0.0) + (moved_ ? 2.0 : 0.0)};
    const auto add = [&numbers](const double* from, Index size) {
      numbers.insert(numbers.end(), from, from + size);
    };
    for (Index k = 0; k < pairs; ++k) add(vector(k), cols_);
    add(move_.data(), cols_);
    for (Index k = 0; k < pairs; ++k) add(image(k), rows_);
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
    reserve(rows, cols);
    const double* from = numbers.data() + heads;
    span_.topLeftCorner(cols, pairs) = ConstMatrixMap<double>(from, cols, pairs);
    move_.head(cols) = ConstVectorMap<double>(from + pairs * cols, cols);
    images_.topLeftCorner(rows, pairs) = ConstMatrixMap<double>(from + rest, rows, pairs);
  }

 private:
  static constexpr std::size_t heads = 5;
  static constexpr Index pairs = 2, largest_span = 2 + pairs;
  /// Relative to the norm: where a step may end its search, and how far it may take it.
  static constexpr double largest_residual = 3e-5, first_residual = 1e-11;
  static constexpr int searches = 1, first_searches = 2000;
  /// Of a unit vector, below which what is left of it is rounding.
  static constexpr double smallest_part = 1e-10;
  /// What is left of a vector, from which on one pass has made it orthogonal to 1e-11.
  static constexpr double once_is_enough = 1e-5;
  /// Of the residual that is sought, what the best of a span may keep.
  static constexpr double kept_share = 0.1;

  ConstMatrixMap<double> take(ConstMatrixMap<double> matrix) { return matrix; }
  ConstMatrixMap<double> take(ConstMatrixMap<float> matrix) {
    copy_ = matrix.cast<double>();
    return {copy_.data(), copy_.rows(), copy_.cols()};
  }

  double* vector(Index k) { return span_.data() + k * span_.rows(); }
  const double* vector(Index k) const { return span_.data() + k * span_.rows(); }
  double* image(Index k) { return images_.data() + k * images_.rows(); }
  const double* image(Index k) const { return images_.data() + k * images_.rows(); }
  /// How many vectors are followed.
  Index own() const { return std::min(cols_, pairs); }

  void reserve(Index rows, Index cols) {
    rows_ = rows;
    cols_ = cols;
    span_.setZero(few::padded(cols), largest_span);
    residuals_.setZero(few::padded(cols), pairs);
    move_.setZero(few::padded(cols));
    images_.setZero(few::padded(rows), largest_span);
  }

  void start(ConstMatrixMap<double> a, Index step) {
    total_ = total_before_ = 0.0;
    second_ = moved_ = false;
    step_ = step;
    reserve(a.rows(), a.cols());
    std::uint64_t state = 0x9e3779b97f4a7c15u;
    for (Index k = 0; k < own(); ++k)
      for (Index i = 0; i < cols_; ++i) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        span_(i, k) = static_cast<double>(static_cast<std::int32_t>(state >> 32));
      }
    multiply(a, 0, own());
    search(a, first_residual, first_searches);
  }

  /// Improves the vectors, whose images under a are there.
  void search(ConstMatrixMap<double> a, double residual, int most) {
    for (int i = 0; i < most; ++i) {
      make_orthonormal();
      const double square = few::dot(image(0), image(0), images_.rows());
      if (!std::isfinite(square)) return;  // the vectors outlive it
      // In turn, for a span of four: the second residual and the last move.
      second_ = !second_;
      const Index wanted = second_ ? own() : 1;
      few::multiply_transposed(a, image(0), images_.rows(), wanted, residuals_.data(),
                               span_.rows());
      const double size = add_direction(residuals_.data(), smallest_part * square);
      // Negated, so that what is not a number ends it; the two vectors are put in order though.
      const bool done = !(size > residual * square);
      if (done)
        count_ = own();
      else if (wanted > 1)
        add_direction(residuals_.data() + residuals_.rows(), smallest_part * square);
      else if (moved_)
        add_direction(move_.data(), smallest_part);
      multiply(a, own(), count_);
      take_best(kept_share * residual);
      if (done) break;
    }
  }

  /// The images of the vectors of the span from begin to end.
  void multiply(ConstMatrixMap<double> a, Index begin, Index end) {
    if (end > begin)
      few::multiply(a, vector(begin), span_.rows(), end - begin, image(begin), images_.rows());
  }

  /// Takes from the vectors what a search leaves them of each other; their images follow.
  void make_orthonormal() {
    scale(0, 1.0 / std::sqrt(few::dot(vector(0), vector(0), span_.rows())));
    count_ = 1;
    if (own() == 1) return;
    const double along = few::dot(vector(0), vector(1), span_.rows());
    span_.col(1) -= along * span_.col(0);
    images_.col(1) -= along * images_.col(0);
    scale(1, 1.0 / std::sqrt(few::dot(vector(1), vector(1), span_.rows())));
    count_ = 2;
  }
  void scale(Index k, double factor) {
    span_.col(k) *= factor;
    images_.col(k) *= factor;
  }

  /// Adds what is new of a direction to the span; returns how much that was.
  double add_direction(const double* direction, double smallest) {
    double* to = vector(count_);
    const auto [size, inside] = few::remove(span_.data(), count_, direction, to, span_.rows());
    if (!(size > smallest)) return size;
    double scale = size;
    if (size < once_is_enough * inside) {
      scale = few::remove(span_.data(), count_, to, to, span_.rows()).first;
      if (!(scale > smallest_part * size)) return size;
    }
    span_.col(count_) /= scale;
    ++count_;
    return size;
  }

  /// Takes the two best vectors of the span; the move is what the first one takes of the new part.
  void take_best(double kept) {
    if (count_ == 4)
      take_best_of<4>(kept);
    else if (count_ == 3)
      take_best_of<3>(kept);
    else if (count_ == 2)
      take_best_of<2>(kept);
    else
      take_best_of<1>(kept);
  }
  template <std::size_t n>
  void take_best_of(double kept) {
    few::Square<n> gram, best;
    few::gram<n>(images_.data(), images_.rows(), gram);
    few::diagonalize<n>(gram, best, kept);
    few::Row<n> first, second, move;
    few::take_largest<n>(gram, best, first);
    few::take_largest<n>(gram, best, second);
    if (first[0] < 0.0)
      for (double& weight : first) weight = -weight;
    const auto old = static_cast<std::size_t>(own());
    for (std::size_t j = 0; j < n; ++j) move[j] = j < old ? 0.0 : first[j];
    moved_ = n > old;
    few::combine<n>(span_.data(), span_.rows(), move, move_.data());
    few::combine_two<n>(span_.data(), span_.rows(), first, second);
    few::combine_two<n>(images_.data(), images_.rows(), first, second);
  }

  Index rows_ = 0, cols_ = 0, step_ = 0, count_ = 0;
  bool second_ = false, moved_ = false;
  double total_ = 0.0, total_before_ = 0.0;
  /// The two vectors and what a search adds to them; A of all; A^T A of the two.
  Matrix<double> span_, images_, residuals_;
  Vector<double> move_, first_;
  Matrix<double> copy_;
};

}  // namespace lipgd
