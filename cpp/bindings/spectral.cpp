#include "lipgd/spectral.hpp"

#include "bindings.hpp"

namespace {

/// The array is the column-major map of its transpose, which has the same norm.
template <class Scalar>
py::tuple spectral_norm(const py::array_t<Scalar, py::array::c_style>& a, double tolerance,
                        int max_iterations) {
  lipgd::require(a.ndim() == 2, "a has a wrong shape");
  lipgd::SpectralBracket bracket;
  {
    const py::gil_scoped_release release;
    bracket = lipgd::SpectralNorm()(a.data(), a.shape(1), a.shape(0), tolerance, max_iterations);
  }
  return py::make_tuple(bracket.lower, bracket.upper, bracket.iterations, bracket.certified);
}

template <class Scalar>
void bind_spectral_for(py::module_& module) {
  module.def("spectral_norm", &spectral_norm<Scalar>, py::arg("a").noconvert(),
             py::arg("tolerance"), py::arg("max_iterations"));
}

}  // namespace

void bind_spectral(py::module_& module) {
  bind_spectral_for<double>(module);
  bind_spectral_for<float>(module);
  module.attr("default_spectral_tolerance") = lipgd::default_spectral_tolerance;
  module.attr("default_spectral_iterations") = lipgd::default_spectral_iterations;
}
