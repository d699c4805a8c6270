#pragma once

#include <cstdint>
#include <cstring>

#include "lipgd/types.hpp"

#if defined(__FAST_MATH__)
#error "lipgd rounds by adding and subtracting constants: compile without -ffast-math"
#endif

// Inlining is not a hint here: a loop with a call left in it is not vectorized.
#if defined(_MSC_VER) && !defined(__clang__)
#define LIPGD_ALWAYS_INLINE __forceinline
#define LIPGD_NEVER_INLINE __declspec(noinline)
#elif defined(__clang__)
#define LIPGD_ALWAYS_INLINE inline __attribute__((always_inline))
#define LIPGD_NEVER_INLINE __attribute__((noinline))
#else
#define LIPGD_ALWAYS_INLINE inline __attribute__((always_inline))
#define LIPGD_NEVER_INLINE __attribute__((noinline, noclone))
#endif

/// Branch-free scalar functions for float and double, which compilers vectorize in plain loops.
/// They need neither fused multiply-add nor its absence, and work with and without flush-to-zero.
namespace lipgd::elementwise {

/// Numbers of each precision. Polynomial coefficients are minimax fits of cpp/tools/minimax.py.
template <class S>
struct Constants;

template <>
struct Constants<double> {
  using Bits = std::uint64_t;
  static constexpr int mantissa_bits = 52;
  static constexpr int exponent_bias = 1023;
  static constexpr double magic = 0x1.8p52;               // x + magic has its unit in the last bit
  static constexpr Bits high_half = 0xFFFFFFFFF8000000u;  // 26 bits: the square is exact
  static constexpr double ln2_high =
      0x1.62e42fefa2p-1;  // 40 bits: products with |n| < 2^13 are exact
  static constexpr double ln2_low = 0x1.9ef35793c7673p-41;
};

template <>
struct Constants<float> {
  using Bits = std::uint32_t;
  static constexpr int mantissa_bits = 23;
  static constexpr int exponent_bias = 127;
  static constexpr float magic = 0x1.8p23F;
  static constexpr Bits high_half = 0xFFFFF000u;   // 12 bits
  static constexpr float ln2_high = 0x1.62e4p-1F;  // 15 bits: products with |n| < 2^9 are exact
  static constexpr float ln2_low = 0x1.7f7d1cp-20F;
};

/// The bits of a number, and the number of given bits.
template <class S>
LIPGD_ALWAYS_INLINE typename Constants<S>::Bits to_bits(S x) {
  typename Constants<S>::Bits bits;
  std::memcpy(&bits, &x, sizeof(x));
  return bits;
}
template <class S>
LIPGD_ALWAYS_INLINE S from_bits(typename Constants<S>::Bits bits) {
  S x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}

/// The leading half of the mantissa, so that products of two halves are exact.
template <class S>
LIPGD_ALWAYS_INLINE S high_half(S x) {
  return from_bits<S>(to_bits(x) & Constants<S>::high_half);
}

/// |x|; the sign bit is cleared, also of NaN.
template <class S>
LIPGD_ALWAYS_INLINE S magnitude(S x) {
  using Bits = typename Constants<S>::Bits;
  return from_bits<S>(to_bits(x) & static_cast<Bits>(~Bits{0} >> 1));
}

/// |x| with the sign of y.
template <class S>
LIPGD_ALWAYS_INLINE S with_sign(S x, S y) {
  using Bits = typename Constants<S>::Bits;
  constexpr Bits rest = static_cast<Bits>(~Bits{0} >> 1);
  return from_bits<S>((to_bits(x) & rest) | (to_bits(y) & static_cast<Bits>(~rest)));
}

/// min(x, limit) and max(x, limit), where NaN stays NaN.
template <class S>
LIPGD_ALWAYS_INLINE S at_most(S x, S limit) {
  return x > limit ? limit : x;
}
template <class S>
LIPGD_ALWAYS_INLINE S at_least(S x, S limit) {
  return x < limit ? limit : x;
}

/// x with its second and fourth power.
template <class S>
struct Powers {
  S one, two, four;
};
template <class S>
LIPGD_ALWAYS_INLINE Powers<S> powers(S x) {
  const S square = x * x;
  return {x, square, square * square};
}

/// c0 + c1 x + c2 x^2 + ..., with the coefficients rounded to the precision of x. Horner's rule in
/// x^4: a quarter of its chain of dependent operations, and of its rounding errors where x is
/// large.
template <class S>
LIPGD_ALWAYS_INLINE S polynomial(const Powers<S>&, double c0) {
  return static_cast<S>(c0);
}
template <class S>
LIPGD_ALWAYS_INLINE S polynomial(const Powers<S>& x, double c0, double c1) {
  return static_cast<S>(c0) + x.one * static_cast<S>(c1);
}
template <class S>
LIPGD_ALWAYS_INLINE S polynomial(const Powers<S>& x, double c0, double c1, double c2) {
  return polynomial(x, c0, c1) + x.two * static_cast<S>(c2);
}
template <class S>
LIPGD_ALWAYS_INLINE S polynomial(const Powers<S>& x, double c0, double c1, double c2, double c3) {
  return polynomial(x, c0, c1) + x.two * polynomial(x, c2, c3);
}
template <class S, class... Rest>
LIPGD_ALWAYS_INLINE S polynomial(const Powers<S>& x, double c0, double c1, double c2, double c3,
                                 Rest... rest) {
  return polynomial(x, c0, c1, c2, c3) + x.four * polynomial(x, rest...);
}

/// e^x = scale (1 + fraction): scale is a power of two, fraction = expm1(r) with |r| <= ln(2)/2.
template <class S>
struct SplitExp {
  S fraction;
  S scale;
};

/// (expm1(r) - r) / r^2 on |r| <= 0.347.
LIPGD_ALWAYS_INLINE double expm1_polynomial(double r) {
  return polynomial(powers(r), 0.5000000000000006, 0.16666666666666588, 0.04166666666657595,
                    0.00833333333339009, 0.0013888888931851329, 0.00019841269718107356,
                    2.480150490646934e-05, 2.755740801062241e-06, 2.762619186615107e-07,
                    2.5053754668294286e-08);
}
LIPGD_ALWAYS_INLINE float expm1_polynomial(float r) {
  return polynomial(powers(r), 0.500000004, 0.166666664, 0.0416663595, 0.00833338956, 0.00139407456,
                    0.000198459387);
}

/// Splits 2^offset e^(x + correction) for a tiny correction; `estimate` is x + correction to
/// working precision. The scale is zero where its exponent would be -exponent_bias; it must not be
/// below.
template <int offset, class S>
LIPGD_ALWAYS_INLINE SplitExp<S> split_exp(S estimate, S x, S correction) {
  using C = Constants<S>;
  using Bits = typename C::Bits;
  constexpr S shift = C::magic + static_cast<S>(C::exponent_bias + offset);
  const S shifted = estimate * static_cast<S>(1.4426950408889634) + shift;  // 1 / ln 2
  const S n = shifted - shift;
  const S r = (x - n * C::ln2_high) - (n * C::ln2_low - correction);
  const S scale = from_bits<S>(static_cast<Bits>(to_bits(shifted) << C::mantissa_bits));
  return {r + (r * r) * expm1_polynomial(r), scale};
}

/// The argument at which 2^offset e^x is flushed to zero, as its exponent is -exponent_bias.
template <int offset, class S>
constexpr S flushed_argument() {
  return -static_cast<S>((Constants<S>::exponent_bias + offset) * 0.6931471805599453 + 0.1);
}

/// Splits 2^offset e^x for x <= 88 (float) or 709 (double); subnormal results become zero.
template <int offset = 0, class S>
LIPGD_ALWAYS_INLINE SplitExp<S> split_exp(S x) {
  const S clamped = at_least(x, flushed_argument<offset, S>());
  return split_exp<offset>(clamped, clamped, S(0));
}

/// e^x within 1.1 ulp for x <= 88 (float) or 709 (double); subnormal results become zero.
template <class S>
LIPGD_ALWAYS_INLINE S exp(S x) {
  const SplitExp<S> e = split_exp(x);
  return (S(1) + e.fraction) * e.scale;
}

/// log(1 + t) within 2.2 ulp for 0 <= t <= 1.
LIPGD_ALWAYS_INLINE double log1p_unit(double t) {
  const double w = polynomial(
      powers(t), -0.4999999999999946, 0.3333333333323505, -0.24999999993677025, 0.19999999791337109,
      -0.16666662498764298, 0.14285658900280915, -0.12499479637382437, 0.11107506139733353,
      -0.09981015556173636, 0.09013155821800757, -0.08081217376122322, 0.07035554781171914,
      -0.05750222826497229, 0.04230038784534678, -0.026744221348654323, 0.013838769134427923,
      -0.005543198476687892, 0.0015957716713883476, -0.00029176761352548683,
      2.5330558223057652e-05);
  return t + (t * t) * w;
}
LIPGD_ALWAYS_INLINE float log1p_unit(float t) {
  const float w = polynomial(powers(t), -0.499999328, 0.333305112, -0.249585866, 0.196953983,
                             -0.153553945, 0.10680558, -0.0576645037, 0.020204628, -0.00331848346);
  return t + (t * t) * w;
}

/// For the upper tail Q of the normal distribution: 2 e^(x^2 / 2) Q(x) = g / (x g + g - x h) on
/// 0 <= x <= 37.66 (double) or 13.27 (float), with g = mills_leading and h = mills_rest. The form
/// is chosen for its rounding errors: those of g nearly cancel, and x h is below 0.19 of the
/// denominator.
LIPGD_ALWAYS_INLINE double mills_leading(const Powers<double>& x) {
  return polynomial(x, 1.0, 1.5475511495018186, 1.1848984639787845, 0.5763763316098545,
                    0.19436784350900688, 0.046928738363218134, 0.00811120297566316,
                    0.0009710360493800908, 7.36129370086407e-05, 2.731197743207059e-06);
}
LIPGD_ALWAYS_INLINE double mills_rest(const Powers<double>& x) {
  return polynomial(x, 0.20211543919714084, 0.17616420789377268, 0.05203414074333524,
                    -0.00805334201926324, -0.012288736865367062, -0.004986677466920744,
                    -0.0011759064574366417, -0.00017578727110621417, -1.5915999887995266e-05,
                    -6.918510001703522e-07);
}
LIPGD_ALWAYS_INLINE float mills_leading(const Powers<float>& x) {
  return polynomial(x, 1, 0.869994669, 0.361548361, 0.0795963374, 0.00798128932);
}
LIPGD_ALWAYS_INLINE float mills_rest(const Powers<float>& x) {
  return polynomial(x, 0.202115199, 0.0392227677, -0.0218238153, -0.0121891164, -0.00202162694);
}

/// sin(r) and cos(r) for |r| <= pi/4.
LIPGD_ALWAYS_INLINE double sin_reduced(double r) {
  const double s = r * r;
  return r + (r * s) * polynomial(powers(s), -0.1666666666666663, 0.008333333333322004,
                                  -0.00019841269829493918, 2.755731358700871e-06,
                                  -2.5050742209765427e-08, 1.5895899095681053e-10);
}
LIPGD_ALWAYS_INLINE float sin_reduced(float r) {
  const float s = r * r;
  return r + (r * s) * polynomial(powers(s), -0.166666545, 0.00833215593, -0.000195146188);
}
LIPGD_ALWAYS_INLINE double cos_reduced(double r) {
  const double s = r * r;
  return (1.0 - 0.5 * s) + (s * s) * polynomial(powers(s), 0.041666666666666616,
                                                -0.001388888888887604, 2.4801587290498136e-05,
                                                -2.755731460803104e-07, 2.0875754102056474e-09,
                                                -1.1361082633431257e-11);
}
LIPGD_ALWAYS_INLINE float cos_reduced(float r) {
  const float s = r * r;
  return (1.0F - 0.5F * s) +
         (s * s) * polynomial(powers(s), 0.0416666467, -0.00138873613, 2.44377176e-05);
}

/// z = quadrant pi/2 + remainder with the remainder in [-pi/4, pi/4], correctly to 2^-52 relative
/// for |z| <= 2^20. Parts of pi/2 have 33 bits: their products with a quadrant below 2^20 are
/// exact.
template <class S>
struct Quadrant {
  S remainder;
  typename Constants<S>::Bits quadrant;
};
LIPGD_ALWAYS_INLINE Quadrant<double> reduce_quadrant(double z) {
  const double shifted = z * 0.6366197723675814 + Constants<double>::magic;  // 2 / pi
  const double k = shifted - Constants<double>::magic;
  const double leading = z - k * 0x1.921fb544p+0;
  const double first = leading - k * 0x1.0b4611a6p-34;
  const double lost = (leading - first) - k * 0x1.0b4611a6p-34;
  const double rest = (lost - k * 0x1.3198a2ep-69) - k * 0x1.b839a252049c1p-104;
  return {first + rest, to_bits(shifted)};
}
LIPGD_ALWAYS_INLINE Quadrant<float> reduce_quadrant(float z) {
  // In double: a float has room for only four bits of pi/2 beside a quadrant of twenty.
  const double wide = static_cast<double>(z);
  const double shifted = wide * 0.6366197723675814 + Constants<double>::magic;
  const double k = shifted - Constants<double>::magic;
  const double r = (wide - k * 0x1.921fb544p+0) - k * 0x1.0b4611a626331p-34;
  return {static_cast<float>(r), static_cast<std::uint32_t>(to_bits(shifted))};
}

}  // namespace lipgd::elementwise
