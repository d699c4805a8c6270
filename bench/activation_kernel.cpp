// Prints the seconds per element of one activation's value and slope, in float and in double: one
// thread, arrays that stay in the first two cache levels, the best of many repetitions.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <lipgd/activation.hpp>
#include <vector>

template <class Scalar>
double seconds_per_element(const lipgd::Activation& activation) {
  const lipgd::Index n = 5000;
  std::vector<Scalar> z(n), value(n), slope(n);
  for (lipgd::Index i = 0; i < n; ++i) {
    z[static_cast<std::size_t>(i)] = static_cast<Scalar>(8.0 * static_cast<double>(i) / n - 4.0);
  }
  double best = 1.0;
  for (int repetition = 0; repetition < 300; ++repetition) {
    const auto begin = std::chrono::steady_clock::now();
    for (int inner = 0; inner < 10; ++inner) {
      lipgd::activate(activation, n, z.data(), value.data(), slope.data());
    }
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
    best = std::min(best, elapsed.count() / (10.0 * n));
  }
  return best;
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  lipgd::Activation activation;
  activation.kind = static_cast<lipgd::ActivationKind>(std::atoi(argv[1]));
  std::printf("%.6e %.6e\n", seconds_per_element<float>(activation),
              seconds_per_element<double>(activation));
}
