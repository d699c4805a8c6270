#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings.hpp"
#include "lipgd/lipgd.hpp"

// Turns Python objects, already checked by the Python layer, into the core's views. Nothing is
// converted: a wrong dtype or layout is a mistake of ours and throws.

namespace arguments {

using lipgd::Index;

template <class Scalar>
using Array = py::array_t<Scalar, py::array::c_style>;

/// The net of the Python layer: (sizes, has_bias, kind, parameter, mix, output_scale).
inline lipgd::Architecture architecture(const py::tuple& net) {
  const auto kind = static_cast<lipgd::ActivationKind>(net[2].cast<int>());
  const lipgd::Activation activation{kind, net[3].cast<double>(), net[4].cast<double>()};
  return {net[0].cast<std::vector<Index>>(), net[1].cast<std::vector<bool>>(), activation,
          net[5].cast<double>()};
}

inline lipgd::Loss loss(const py::tuple& loss) {
  return {static_cast<lipgd::LossKind>(loss[0].cast<int>()), loss[1].cast<double>()};
}

template <class Scalar>
Scalar* data(const py::handle& object, Index size, const char* name) {
  if (!py::isinstance<Array<Scalar>>(object))
    throw std::invalid_argument(std::string(name) + " has a wrong dtype or layout");
  const auto array = py::reinterpret_borrow<py::array>(object);
  lipgd::require(array.size() == size, std::string(name) + " has a wrong size");
  return static_cast<Scalar*>(const_cast<void*>(array.data()));
}

template <class Scalar>
Scalar* data_or_null(const py::handle& object, Index size, const char* name) {
  return object.is_none() ? nullptr : data<Scalar>(object, size, name);
}

/// Rows of float or double with any strides.
template <class Scalar>
lipgd::Inputs<Scalar> inputs(const py::handle& object, const lipgd::Architecture& net) {
  const auto x = py::reinterpret_borrow<py::array>(object);
  const bool is_float = py::isinstance<py::array_t<float>>(x);
  lipgd::require(is_float || py::isinstance<py::array_t<double>>(x), "X has a wrong dtype");
  lipgd::require(x.ndim() == 2 && x.shape(1) == net.n_inputs(), "X has a wrong shape");
  lipgd::require(x.strides(0) % x.itemsize() == 0 && x.strides(1) % x.itemsize() == 0,
                 "X is not aligned");
  lipgd::Inputs<Scalar> view;
  view.data = x.data();
  view.is_float = is_float;
  view.n_rows = x.shape(0);
  view.n_columns = x.shape(1);
  view.row_stride = x.strides(0) / x.itemsize();
  view.column_stride = x.strides(1) / x.itemsize();
  // A single row or column may have any stride in NumPy.
  if (view.n_columns == 1) view.column_stride = 1;
  if (view.n_rows <= 1) view.row_stride = view.n_columns;
  return view;
}

/// (values, labels, weights), each an array or None.
template <class Scalar>
lipgd::Targets<Scalar> targets(const py::tuple& parts, Index n_samples, Index n_outputs) {
  lipgd::Targets<Scalar> view;
  view.values = data_or_null<Scalar>(parts[0], lipgd::checked_product(n_samples, n_outputs), "y");
  view.labels = data_or_null<std::int64_t>(parts[1], n_samples, "y");
  view.weights = data_or_null<Scalar>(parts[2], n_samples, "sample_weight");
  return view;
}

/// Asks Python for signals; works on the main thread only, as Python has it.
class SignalPoll final : public lipgd::Poll {
 public:
  bool stop() override {
    const py::gil_scoped_acquire gil;
    return PyErr_CheckSignals() != 0;
  }
};

/// The number of workers for so much work: threads, of which a shared count is divided among the
/// trainings that run in this process.
inline int workers(int threads, bool shared, const lipgd::SweepPlan& plan) {
  const int limit =
      shared ? lipgd::fair_share(std::min(threads, lipgd::openmp_threads())) : threads;
  return std::max(1, lipgd::useful_threads(plan, limit));
}

/// Calls make(arena) twice: to count its memory, and to use it.
template <class Make>
auto with_memory(const Make& make, std::unique_ptr<std::byte[]>& memory) {
  lipgd::Arena counter;
  static_cast<void>(make(counter));
  memory.reset(new std::byte[static_cast<std::size_t>(counter.bytes())]);
  lipgd::Arena arena(memory.get());
  return make(arena);
}

/// Runs body(team) without the GIL; a signal's exception is thrown afterwards.
template <class Body>
void without_gil(int n_workers, const Body& body) {
  {
    const py::gil_scoped_release release;
    SignalPoll poll;
    lipgd::with_team(n_workers, &poll, true, body);
  }
  // The signal may have come after the body looked for it last.
  if (PyErr_Occurred() != nullptr) throw py::error_already_set();
}

}  // namespace arguments
