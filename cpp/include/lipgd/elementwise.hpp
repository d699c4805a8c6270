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
  return polynomial(powers(r), 0.5, 0.166666657, 0.0416663587, 0.00833338965, 0.00139407453,
                    0.000198456677);
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
      powers(t), -0.4999999999999946, 0.33333333333235043, -0.24999999993676703,
      0.19999999791327772, -0.1666666249860261, 0.14285658898444453, -0.12499479622865323,
      0.1110750605660823, -0.09981015201723963, 0.09013154674661823, -0.08081214523087367,
      0.0703554929101853, -0.05750214639664203, 0.042300293623676155, -0.026744138544709136,
      0.013838714649776231, -0.005543172518876922, 0.0015957632235173728, -0.0002917659349878491,
      2.5330404787237722e-05);
  return t + (t * t) * w;
}
LIPGD_ALWAYS_INLINE float log1p_unit(float t) {
  const float w = polynomial(powers(t), -0.499999315, 0.33330512, -0.249585852, 0.196953908,
                             -0.153553724, 0.10680522, -0.0576641671, 0.0202044621, -0.00331844972);
  return t + (t * t) * w;
}

/// For the upper tail Q of the normal distribution: 2 e^(x^2 / 2) Q(x) = g / (x g + g - x h) on
/// 0 <= x <= 37.66 (double) or 13.27 (float), with g = mills_leading and h = mills_rest. The form
/// is chosen for its rounding errors: those of g nearly cancel, and x h is below 0.19 of the
/// denominator.
LIPGD_ALWAYS_INLINE double mills_leading(const Powers<double>& x) {
  return polynomial(x, 1.0, 1.5474974093240128, 1.1848207132775566, 0.5763208678496282,
                    0.19434298209062786, 0.04692115356379598, 0.008109594521941606,
                    0.0009708038677301736, 7.359189529976944e-05, 2.7302633619783878e-06);
}
LIPGD_ALWAYS_INLINE double mills_rest(const Powers<double>& x) {
  return polynomial(x, 0.20211543919714084, 0.17615334617413342, 0.052025768097061456,
                    -0.00805521818288092, -0.012288060741238678, -0.004986075930238113,
                    -0.0011757048231193395, -0.0001757483268481569, -1.5911604106885573e-05,
                    -6.916143081955334e-07);
}
LIPGD_ALWAYS_INLINE float mills_leading(const Powers<float>& x) {
  return polynomial(x, 1.0, 0.869855947, 0.361446381, 0.0795621653, 0.00797626941);
}
LIPGD_ALWAYS_INLINE float mills_rest(const Powers<float>& x) {
  return polynomial(x, 0.2021152, 0.0391947173, -0.0218254260, -0.0121855067, -0.00202035465);
}

/// sin(r) and cos(r) for |r| <= pi/4.
LIPGD_ALWAYS_INLINE double sin_reduced(double r) {
  const double s = r * r;
  return r + (r * s) * polynomial(powers(s), -0.1666666666666663, 0.008333333333322007,
                                  -0.00019841269829496555, 2.755731358778078e-06,
                                  -2.5050742308253773e-08, 1.5895903673840433e-10);
}
LIPGD_ALWAYS_INLINE float sin_reduced(float r) {
  const float s = r * r;
  return r + (r * s) * polynomial(powers(s), -0.166666552, 0.00833215564, -0.000195146189);
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
         (s * s) * polynomial(powers(s), 0.0416666456, -0.00138873619, 2.4437717e-05);
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
