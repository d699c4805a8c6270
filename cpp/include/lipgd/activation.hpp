#pragma once

#include <cmath>
#include <cstring>
#include <type_traits>

#include "lipgd/elementwise.hpp"

namespace lipgd {

enum class ActivationKind : int {
  identity,
  relu,
  leaky_relu,
  relu6,
  elu,
  tanh,
  sigmoid,
  silu,
  gelu,
  gelu_tanh,
  softplus,
  sin
};

/// A base activation, its parameter (slope of leaky_relu, alpha of elu) and mix c: the function is
/// c z + (1 - c) base(z).
struct Activation {
  ActivationKind kind = ActivationKind::relu;
  double parameter = 0.0;
  double mix = 0.0;
};

namespace elementwise {

/// A function with its first two derivatives at a point.
template <class S>
struct Jet {
  S value;
  S slope;
  S curvature;
};

struct Identity {
  template <class S>
  LIPGD_ALWAYS_INLINE Jet<S> operator()(S z) const {
    return {z, S(1), S(0)};
  }
};

struct Relu {
  template <class S>
  LIPGD_ALWAYS_INLINE Jet<S> operator()(S z) const {
    return {z <= S(0) ? S(0) : z, z <= S(0) ? S(0) : S(1), S(0)};
  }
};

template <class T>
struct LeakyRelu {
  T negative_slope;
  template <class S>
  LIPGD_ALWAYS_INLINE Jet<S> operator()(S z) const {
    const S scaled = z * negative_slope;
    return {z > S(0) ? z : scaled, z > S(0) ? S(1) : negative_slope, S(0)};
  }
};

struct Relu6 {
  template <class S>
  LIPGD_ALWAYS_INLINE Jet<S> operator()(S z) const {
    const S below = z >= S(6) ? S(6) : z;
    const S slope = z >= S(6) ? S(0) : S(1);
    return {z <= S(0) ? S(0) : below, z <= S(0) ? S(0) : slope, S(0)};
  }
};

template <class T>
struct Elu {
  T alpha;
  template <class S>
  LIPGD_ALWAYS_INLINE Jet<S> operator()(S z) const {
    const SplitExp<S> e = split_exp(at_most(z, S(0)));
    const S power = alpha * (e.scale + e.scale * e.fraction);
    const S value = alpha * (e.scale * e.fraction + (e.scale - S(1)));
    return {z >= S(0) ? z : value, z > S(0) ? S(1) : power, z >= S(0) ? S(0) : power};
  }
};

/// With e = expm1(-2|z|): tanh|z| = -e / (2 + e), and 1 - tanh|z| = 2 (1 + e) / (2 + e).
struct Tanh {
  template <class S>
  LIPGD_ALWAYS_INLINE Jet<S> operator()(S z) const {
    const SplitExp<S> split = split_exp(S(-2) * magnitude(z));
    const S product = split.scale * split.fraction;
    const S e = product + (split.scale - S(1));
    const S inverse = S(1) / (S(2) + e);
    const S value = with_sign(e * inverse, z);
    const S below_one = (S(2) * (product + split.scale)) * inverse;
    const S slope = below_one * (S(2) - below_one);
    return {value, slope, S(-2) * value * slope};
  }
};

/// With t = e^-|z|: the larger of s(z) and s(-z) is 1 / (1 + t), the smaller t / (1 + t).
struct Sigmoid {
  template <class S>
  LIPGD_ALWAYS_INLINE Jet<S> operator()(S z) const {
    const S t = exp(-magnitude(z));
    const S inverse = S(1) / (S(1) + t);
    const S small = t * inverse;
    const S slope = small * (S(1) - small);
    const S curvature = slope * (S(2) * small - S(1));
    return {z < S(0) ? small : inverse, slope, z < S(0) ? -curvature : curvature};
  }
};

/// Exponents are raised by this much where z e^z is still normal but e^z is not.
template <class S>
inline constexpr int tail_offset = std::is_same<S, float>::value ? 32 : 64;
template <class S>
inline constexpr S tail_scale = std::is_same<S, float>::value ? S(0x1p-32) : S(0x1p-64);

/// z s(E(z)) for an odd function E: `x` is |z| limited to where e^-E is flushed to zero, E1 and E2
/// are the derivatives of E at x, and `split` is e^-E with the offset of the tail.
template <class S>
LIPGD_ALWAYS_INLINE Jet<S> gated(S z, S x, SplitExp<S> split, S E1, S E2) {
  const S raised = split.scale + split.scale * split.fraction;
  const S inverse = S(1) / (S(1) + raised * tail_scale<S>);
  const S raised_small = raised * inverse;
  const S small = raised_small * tail_scale<S>;
  const S product = small * (S(1) - small);
  const S bend = x * E1 * product;
  const S tail = (-x * raised_small) * tail_scale<S>;
  const S balance = S(1) - S(2) * small;
  return {z < S(0) ? tail : z * inverse, z < S(0) ? small - bend : inverse + bend,
          product * (S(2) * E1 + x * (E2 - (E1 * E1) * balance))};
}

struct Silu {
  template <class S>
  LIPGD_ALWAYS_INLINE Jet<S> operator()(S z) const {
    constexpr int offset = tail_offset<S>;
    const S x = at_most(magnitude(z), -flushed_argument<offset, S>());
    return gated(z, x, split_exp<offset>(-x, -x, S(0)), S(1), S(0));
  }
};

/// Coefficients of E(z) = 2 sqrt(2 / pi) (z + 0.044715 z^3), as exact halves and what they leave,
/// and the argument from which e^-E is flushed to zero with the offset of the tail.
template <class S>
struct GeluTanhConstants;
template <>
struct GeluTanhConstants<double> {
  static constexpr double linear = 0x1.988453p+0, linear_rest = 0x1.ea1b284687e5ap-27;
  static constexpr double cubic = 0x1.2444f28p-4, cubic_rest = 0x1.26c5a57a4def1p-31;
  static constexpr double limit = 21.595;
};
template <>
struct GeluTanhConstants<float> {
  static constexpr float linear = 0x1.988p+0F, linear_rest = 0x1.14cf5p-14F;
  static constexpr float cubic = 0x1.244p-4F, cubic_rest = 0x1.3ca936p-18F;
  static constexpr float limit = 10.915F;
};

/// In the tail e^-E needs E to far more than working precision: E is carried in two parts, of which
/// the leading one is a product of halves and exact.
struct GeluTanh {
  template <class S>
  LIPGD_ALWAYS_INLINE Jet<S> operator()(S z) const {
    using C = GeluTanhConstants<S>;
    const S x = at_most(magnitude(z), C::limit);
    const S square = x * x;
    const S xh = high_half(x);
    const S xl = x - xh;
    const S square_high = high_half(square);
    const S square_low = (xh * xh - square_high) + xl * (x + xh);
    const S cubic_term = C::cubic * square_high;
    const S ratio = high_half(C::linear + cubic_term);
    const S ratio_low = (cubic_term - (ratio - C::linear)) +
                        (C::linear_rest + (C::cubic * square_low + C::cubic_rest * square));
    const S high = xh * ratio;
    const S low = xh * ratio_low + xl * (ratio + ratio_low);
    const S cubic3 = S(3) * (C::cubic + C::cubic_rest);
    return gated(z, x, split_exp<tail_offset<S>>(-(high + low), -high, -low),
                 (C::linear + C::linear_rest) + cubic3 * square, (S(2) * cubic3) * x);
  }
};

/// gelu(z) = max(z, 0) - |z| Q(|z|), with Q(x) = e^(-x^2 / 2) times a rational function.
struct Gelu {
  template <class S>
  LIPGD_ALWAYS_INLINE Jet<S> operator()(S z) const {
    // From this |z| on e^(-z^2 / 2) / 2 is flushed to zero.
    constexpr S limit = std::is_same<S, float>::value ? S(13.22) : S(37.64);
    const Powers<S> x = powers(at_most(magnitude(z), limit));
    // The square in two exact parts, as its rounding error would be large in the tail.
    const S half = high_half(x.one);
    const S high = S(-0.5) * (half * half);
    const S low = (S(-0.5) * (x.one - half)) * (x.one + half);
    const SplitExp<S> split = split_exp<-1>(S(-0.5) * x.two, high, low);
    // |z| Q has a division of its own: |z| times the rounded Q would not be within 4 ulp.
    const S leading = mills_leading(x);
    const S along = x.one * leading;
    const S below = leading + (along - x.one * mills_rest(x));
    const S product = (along + along * split.fraction) / below;
    const S ratio = (leading + leading * split.fraction) / below;
    const S upper_tail = ratio * split.scale;
    const S half_exp = split.scale + split.scale * split.fraction;
    const S density = S(0.7978845608028654) * half_exp;  // sqrt(2 / pi)
    const S bend = x.one * density;
    const S positive_part = z < S(0) ? S(0) : z;
    return {positive_part - product * split.scale,
            z < S(0) ? upper_tail - bend : (S(1) - upper_tail) + bend, density * (S(2) - x.two)};
  }
};

struct Softplus {
  template <class S>
  LIPGD_ALWAYS_INLINE Jet<S> operator()(S z) const {
    const S t = exp(-magnitude(z));
    const S inverse = S(1) / (S(1) + t);
    const S small = t * inverse;
    return {(z > S(0) ? z : S(0)) + log1p_unit(t), z < S(0) ? small : inverse,
            small * (S(1) - small)};
  }
};

struct Sin {
  template <class S>
  LIPGD_ALWAYS_INLINE Jet<S> operator()(S z) const {
    using Bits = typename Constants<S>::Bits;
    constexpr int sign_shift = Constants<S>::mantissa_bits + (sizeof(S) == 8 ? 10 : 7);
    const Quadrant<S> q = reduce_quadrant(z);
    const S s = sin_reduced(q.remainder);
    const S c = cos_reduced(q.remainder);
    const bool odd = (q.quadrant & Bits{1}) != 0;
    const Bits sign = (q.quadrant & Bits{2}) << sign_shift;
    const Bits next = ((q.quadrant + Bits{1}) & Bits{2}) << sign_shift;
    const S value = from_bits<S>(to_bits(odd ? c : s) ^ sign);
    const S slope = from_bits<S>(to_bits(odd ? s : c) ^ next);
    return {z == S(0) ? z : value, slope, -value};
  }
};

/// Elements are processed in whole blocks of this size, so that no loop needs a remainder: an
/// element's bits depend neither on its place nor on the length of the array.
template <class S>
inline constexpr Index block_size = 64 / static_cast<Index>(sizeof(S));

/// Applies a function to whole blocks. Order is the highest derivative wanted. One compiled copy
/// per function serves all elements: two could round differently.
template <int order, class Function, class S>
LIPGD_NEVER_INLINE void apply_to_blocks(const Function& function, Index blocks, const S* z,
                                        S* value, S* slope, S* curvature) {
  const Index n = blocks * block_size<S>;
  LIPGD_ELEMENTWISE_LOOP
  for (Index i = 0; i < n; ++i) {
    const Jet<S> jet = function(z[i]);
    value[i] = jet.value;
    if constexpr (order > 0) slope[i] = jet.slope;
    if constexpr (order > 1) curvature[i] = jet.curvature;
  }
}

/// Applies a function to less than a block, padded to one.
template <int order, class Function, class S>
void apply_to_few(const Function& function, Index n, const S* z, S* value, S* slope, S* curvature) {
  const auto bytes = static_cast<std::size_t>(n) * sizeof(S);
  S padded[4][64 / sizeof(S)] = {};
  std::memcpy(padded[0], z, bytes);
  apply_to_blocks<order>(function, 1, padded[0], padded[1], padded[2], padded[3]);
  std::memcpy(value, padded[1], bytes);
  if constexpr (order > 0) std::memcpy(slope, padded[2], bytes);
  if constexpr (order > 1) std::memcpy(curvature, padded[3], bytes);
}

/// Applies a function to an array. A last block that is not whole overlaps the one before it, from
/// a copy of its arguments, as these may have been replaced by values.
template <int order, class Function, class S>
void apply(const Function& function, Index n, const S* z, S* value, S* slope, S* curvature) {
  constexpr Index width = block_size<S>;
  if (n < width) return apply_to_few<order>(function, n, z, value, slope, curvature);
  const Index last = n - width;
  S kept[64 / sizeof(S)];
  std::memcpy(kept, z + last, sizeof(kept));
  apply_to_blocks<order>(function, n / width, z, value, slope, curvature);
  if (n % width == 0) return;
  apply_to_blocks<order>(function, 1, kept, value + last, order > 0 ? slope + last : nullptr,
                         order > 1 ? curvature + last : nullptr);
}

/// Applies c z + (1 - c) function(z) piece by piece: the values may replace z, which is needed
/// twice.
template <int order, class Function, class S>
void apply_mixed(const Function& function, double mix, Index n, const S* z, S* value, S* slope,
                 S* curvature) {
  constexpr Index piece = 8 * block_size<S>;
  const S c = static_cast<S>(mix);
  const S rest = static_cast<S>(1.0 - mix);
  S kept[512 / sizeof(S)];
  for (Index start = 0; start < n; start += piece) {
    const Index count = n - start < piece ? n - start : piece;
    S* out = value + start;
    S* out1 = order > 0 ? slope + start : nullptr;
    S* out2 = order > 1 ? curvature + start : nullptr;
    std::memcpy(kept, z + start, static_cast<std::size_t>(count) * sizeof(S));
    apply<order>(function, count, kept, out, out1, out2);
    LIPGD_ELEMENTWISE_LOOP
    for (Index i = 0; i < count; ++i) {
      out[i] = c * kept[i] + rest * out[i];
      if constexpr (order > 0) out1[i] = c + rest * out1[i];
      if constexpr (order > 1) out2[i] = rest * out2[i];
    }
  }
}

/// Beyond 2^20 the quadrant no longer fits the reduction of sin: the library functions take over.
struct LibrarySin {
  template <class S>
  Jet<S> operator()(S z) const {
    return {std::sin(z), std::cos(z), -std::sin(z)};
  }
};

template <class S>
bool any_beyond_quadrants(Index n, const S* z) {
  typename Constants<S>::Bits beyond = 0;
  LIPGD_ELEMENTWISE_LOOP
  for (Index i = 0; i < n; ++i) beyond |= magnitude(z[i]) > S(0x1p20) ? 1u : 0u;
  return beyond != 0;
}

template <int order, class S>
void dispatch(const Activation& a, Index n, const S* z, S* value, S* slope, S* curvature) {
  const auto run = [&](const auto& function) {
    if (a.mix == 0.0) return apply<order>(function, n, z, value, slope, curvature);
    return apply_mixed<order>(function, a.mix, n, z, value, slope, curvature);
  };
  switch (a.mix == 1.0 ? ActivationKind::identity : a.kind) {
    case ActivationKind::identity:
      return run(Identity{});
    case ActivationKind::relu:
      return run(Relu{});
    case ActivationKind::leaky_relu:
      // A product with a zero slope would make NaN of -inf.
      if (a.parameter == 0.0) return run(Relu{});
      return run(LeakyRelu<S>{static_cast<S>(a.parameter)});
    case ActivationKind::relu6:
      return run(Relu6{});
    case ActivationKind::elu:
      return run(Elu<S>{static_cast<S>(a.parameter)});
    case ActivationKind::tanh:
      return run(Tanh{});
    case ActivationKind::sigmoid:
      return run(Sigmoid{});
    case ActivationKind::silu:
      return run(Silu{});
    case ActivationKind::gelu:
      return run(Gelu{});
    case ActivationKind::gelu_tanh:
      return run(GeluTanh{});
    case ActivationKind::softplus:
      return run(Softplus{});
    case ActivationKind::sin:
      return any_beyond_quadrants(n, z) ? run(LibrarySin{}) : run(Sin{});
  }
}

}  // namespace elementwise

/// Applies the activation to n numbers. `value` may be `z` itself; other arrays must not overlap.
template <class S>
void activate(const Activation& a, Index n, const S* z, S* value) {
  elementwise::dispatch<0, S>(a, n, z, value, nullptr, nullptr);
}

/// The activation and its derivative (one of its slopes at a kink, as in PyTorch).
template <class S>
void activate(const Activation& a, Index n, const S* z, S* value, S* slope) {
  elementwise::dispatch<1, S>(a, n, z, value, slope, nullptr);
}

/// The activation and its first two derivatives.
template <class S>
void activate(const Activation& a, Index n, const S* z, S* value, S* slope, S* curvature) {
  elementwise::dispatch<2, S>(a, n, z, value, slope, curvature);
}

}  // namespace lipgd
