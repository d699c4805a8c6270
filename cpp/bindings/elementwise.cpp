#include <string>

#include "bindings.hpp"
#include "lipgd/activation.hpp"

namespace {

/// Value, slope and second derivative of an activation at every element of a flat array.
template <class Scalar>
py::tuple activate_elementwise(int kind, double parameter, double mix,
                               const py::array_t<Scalar, py::array::c_style>& z) {
  constexpr int last = static_cast<int>(lipgd::ActivationKind::sin);
  if (kind < 0 || kind > last)
    throw py::value_error("kind is " + std::to_string(kind) + ", expected an ActivationKind");
  if (z.ndim() != 1) throw py::value_error("z has the wrong number of axes, expected 1");
  const lipgd::Activation activation{static_cast<lipgd::ActivationKind>(kind), parameter, mix};
  py::array_t<Scalar> value(z.size());
  py::array_t<Scalar> slope(z.size());
  py::array_t<Scalar> curvature(z.size());
  lipgd::activate(activation, z.size(), z.data(), value.mutable_data(), slope.mutable_data(),
                  curvature.mutable_data());
  return py::make_tuple(value, slope, curvature);
}

}  // namespace

void bind_elementwise(py::module_& module) {
  module.def("activate", &activate_elementwise<double>, py::arg("kind"), py::arg("parameter"),
             py::arg("mix"), py::arg("z").noconvert());
  module.def("activate", &activate_elementwise<float>, py::arg("kind"), py::arg("parameter"),
             py::arg("mix"), py::arg("z").noconvert());
}
