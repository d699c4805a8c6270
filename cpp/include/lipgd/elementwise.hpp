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
#else
#define LIPGD_ALWAYS_INLINE inline __attribute__((always_inline))
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
  static constexpr double ln2_high = 0x1.62e42fefa2p-1;   // 40 bits: products with |n| < 2^13 are exact
  static constexpr double ln2_low = 0x1.9ef35793c7673p-41;
};

template <>
struct Constants<float> {
  using Bits = std::uint32_t;
  static constexpr int mantissa_bits = 23;
  static constexpr int exponent_bias = 127;
  static constexpr float magic = 0x1.8p23F;
  static constexpr Bits high_half = 0xFFFFF000u;    // 12 bits
  static constexpr float ln2_high = 0x1.62e4p-1F;   // 15 bits: products with |n| < 2^9 are exact
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

/// c0 + c1 x + c2 x^2 + ..., with the coefficients rounded to the precision of x. Two terms are taken
/// at a time, which halves the chain of dependent operations of Horner's rule.
template <class S>
LIPGD_ALWAYS_INLINE S polynomial_by_pairs(S, S, double c0) {
  return static_cast<S>(c0);
}
template <class S>
LIPGD_ALWAYS_INLINE S polynomial_by_pairs(S x, S, double c0, double c1) {
  return static_cast<S>(c0) + x * static_cast<S>(c1);
}
template <class S, class... Rest>
LIPGD_ALWAYS_INLINE S polynomial_by_pairs(S x, S square, double c0, double c1, Rest... rest) {
  return (static_cast<S>(c0) + x * static_cast<S>(c1)) +
         square * polynomial_by_pairs(x, square, rest...);
}
template <class S, class... Coefficients>
LIPGD_ALWAYS_INLINE S polynomial(S x, Coefficients... coefficients) {
  return polynomial_by_pairs(x, x * x, coefficients...);
}

/// e^x = scale (1 + fraction): scale is a power of two, fraction = expm1(r) with |r| <= ln(2)/2.
template <class S>
struct SplitExp {
  S fraction;
  S scale;
};

/// (expm1(r) - r) / r^2 on |r| <= 0.347.
LIPGD_ALWAYS_INLINE double expm1_polynomial(double r) {
  return polynomial(r, 0.5000000000000006, 0.16666666666666588, 0.04166666666657595,
                    0.00833333333339009, 0.0013888888931851329, 0.00019841269718107356,
                    2.480150490646934e-05, 2.755740801062241e-06, 2.762619186615107e-07,
                    2.5053754668294286e-08);
}
LIPGD_ALWAYS_INLINE float expm1_polynomial(float r) {
  return polynomial(r, 0.5, 0.166666657, 0.0416663587, 0.00833338965, 0.00139407453, 0.000198456677);
}

/// Splits 2^offset e^(x + correction) for a tiny correction; `estimate` is x + correction to working
/// precision. The scale is zero where its exponent would be -exponent_bias; it must not be below.
template <int offset, class S>
LIPGD_ALWAYS_INLINE SplitExp<S> split_exp(S estimate, S x, S correction) {
  using C = Constants<S>;
  using Bits = typename C::Bits;
  constexpr S shift = C::magic + static_cast<S>(C::exponent_bias + offset);
  const S shifted = estimate * static_cast<S>(1.4426950408889634) + shift;  // 1 / ln 2
  const S n = shifted - shift;
  const S r = ((x - n * C::ln2_high) - n * C::ln2_low) + correction;
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

/// e^x within 1 ulp for x <= 88 (float) or 709 (double); subnormal results become zero.
template <class S>
LIPGD_ALWAYS_INLINE S exp(S x) {
  const SplitExp<S> e = split_exp(x);
  return (S(1) + e.fraction) * e.scale;
}

/// e^x - 1 within 2 ulp for x <= 88 (float) or 709 (double); the sign of a zero is lost.
template <class S>
LIPGD_ALWAYS_INLINE S expm1(S x) {
  const SplitExp<S> e = split_exp(x);
  return e.scale * e.fraction + (e.scale - S(1));
}

/// log(1 + t) for 0 <= t <= 1.
LIPGD_ALWAYS_INLINE double log1p_unit(double t) {
  const double w = polynomial(
      t, -0.4999999999999946, 0.33333333333235043, -0.24999999993676703, 0.19999999791327772,
      -0.1666666249860261, 0.14285658898444453, -0.12499479622865323, 0.1110750605660823,
      -0.09981015201723963, 0.09013154674661823, -0.08081214523087367, 0.0703554929101853,
      -0.05750214639664203, 0.042300293623676155, -0.026744138544709136, 0.013838714649776231,
      -0.005543172518876922, 0.0015957632235173728, -0.0002917659349878491, 2.5330404787237722e-05);
  return t + (t * t) * w;
}
LIPGD_ALWAYS_INLINE float log1p_unit(float t) {
  const float w =
      polynomial(t, -0.499999315, 0.33330512, -0.249585852, 0.196953908, -0.153553724, 0.10680522,
                 -0.0576641671, 0.0202044621, -0.00331844972);
  return t + (t * t) * w;
}

/// e^(x^2 / 2) Q(x) = mills_polynomial(y) (y + 1/2) / x, with Q the upper tail of the normal
/// distribution, y = x / (x + mills_shift) - 1/2 and 0 <= x <= 37.66 (double) or 13.27 (float).
template <class S>
constexpr S mills_shift = sizeof(S) == sizeof(float) ? S(3.5) : S(6);
LIPGD_ALWAYS_INLINE double mills_polynomial(double y) {
  return polynomial(y, 0.7773517718933621, -1.4020180591817313, 2.275875567259149,
                    -3.311228686204674, 4.287587933463181, -4.885767426070713, 4.811002603107605,
                    -3.9661203844647797, 2.567634070594081, -1.0913818897511314,
                    0.03365924947101488, 0.3714267352448539, -0.26522977868075254,
                    0.008801038954763037, 0.11140703937297591, -0.05886258942709061,
                    -0.02848462885812126, 0.039957238806965924, 0.00310807232428277,
                    -0.019950019021481837, 0.0004143668746627133, 0.0059617148276723065);
}
LIPGD_ALWAYS_INLINE float mills_polynomial(float y) {
  return polynomial(y, 0.744416058, -1.13112354, 1.2616998, -0.928421319, 0.278522015, 0.207718462,
                    -0.203609228, -0.0632110089, 0.11046315, 0.0592955612);
}

/// sin(r) and cos(r) for |r| <= pi/4.
LIPGD_ALWAYS_INLINE double sin_reduced(double r) {
  const double s = r * r;
  return r + (r * s) * polynomial(s, -0.1666666666666663, 0.008333333333322007,
                                  -0.00019841269829496555, 2.755731358778078e-06,
                                  -2.5050742308253773e-08, 1.5895903673840433e-10);
}
LIPGD_ALWAYS_INLINE float sin_reduced(float r) {
  const float s = r * r;
  return r + (r * s) * polynomial(s, -0.166666552, 0.00833215564, -0.000195146189);
}
LIPGD_ALWAYS_INLINE double cos_reduced(double r) {
  const double s = r * r;
  return (1.0 - 0.5 * s) +
         (s * s) * polynomial(s, 0.041666666666666616, -0.001388888888887604,
                              2.4801587290498136e-05, -2.755731460803104e-07,
                              2.0875754102056474e-09, -1.1361082633431257e-11);
}
LIPGD_ALWAYS_INLINE float cos_reduced(float r) {
  const float s = r * r;
  return (1.0F - 0.5F * s) +
         (s * s) * polynomial(s, 0.0416666456, -0.00138873619, 2.4437717e-05);
}

/// z = quadrant pi/2 + remainder with the remainder in [-pi/4, pi/4], correctly to 2^-52 relative for
/// |z| <= 2^20. Parts of pi/2 have 33 bits: their products with a quadrant below 2^20 are exact.
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
