#include <cmath>

#include "arguments.hpp"

namespace {

using namespace arguments;

/// What every function of a network and data begins with.
template <class Scalar>
struct Call {
  Call(const py::tuple& net_parts, const Array<Scalar>& parameters, const py::array& x, int threads,
       bool shared)
      : net(architecture(net_parts)),
        view(inputs<Scalar>(x, net)),
        theta(data<Scalar>(parameters, net.n_parameters(), "parameters")),
        n_workers(workers(threads, shared, lipgd::plan_sweep(net, view.n_rows, sizeof(Scalar)))),
        all(net.groups().size(), true) {}

  /// A sweep of the kind with arguments, in memory of this call.
  template <class Sweep, class... Arguments>
  Sweep sweep(const Arguments&... arguments) {
    return with_memory(
        [&](lipgd::Arena& arena) { return Sweep(net, arguments..., n_workers, arena); }, memory);
  }

  lipgd::Architecture net;
  lipgd::Inputs<Scalar> view;
  const Scalar* theta;
  int n_workers;
  std::vector<bool> all;  ///< every group is trained
  std::unique_ptr<std::byte[]> memory;
};

template <class Scalar>
py::array forward(const py::tuple& net_parts, const Array<Scalar>& parameters, const py::array& x,
                  int threads, bool shared) {
  Call<Scalar> call(net_parts, parameters, x, threads, shared);
  py::array_t<Scalar> out({call.view.n_rows, call.net.n_outputs()});
  Scalar* to = out.mutable_data();
  auto sweep = call.template sweep<lipgd::InputSweep<Scalar>>(call.view.n_rows, false);
  without_gil(call.n_workers,
              [&](lipgd::Team& team) { sweep.outputs(team, call.theta, call.view, to); });
  return std::move(out);
}

template <class Scalar>
py::array jacobian(const py::tuple& net_parts, const Array<Scalar>& parameters, const py::array& x,
                   int threads, bool shared) {
  Call<Scalar> call(net_parts, parameters, x, threads, shared);
  const Index size = lipgd::checked_product(call.net.n_outputs(), call.net.n_inputs());
  py::array_t<Scalar> out({call.view.n_rows, call.net.n_outputs(), call.net.n_inputs()});
  Scalar* to = out.mutable_data();
  auto sweep = call.template sweep<lipgd::InputSweep<Scalar>>(call.view.n_rows, true);
  without_gil(call.n_workers, [&](lipgd::Team& team) {
    sweep.jacobians(team, call.theta, call.view,
                    [&](Index first, Index count, const Scalar* block, int) {
                      std::copy_n(block, count * size, to + first * size);
                    });
  });
  return std::move(out);
}

template <class Scalar>
py::array jacobian_norms(const py::tuple& net_parts, const Array<Scalar>& parameters,
                         const py::array& x, int threads, bool shared) {
  Call<Scalar> call(net_parts, parameters, x, threads, shared);
  py::array_t<double> out(call.view.n_rows);
  double* to = out.mutable_data();
  auto sweep = call.template sweep<lipgd::InputSweep<Scalar>>(call.view.n_rows, true);
  without_gil(call.n_workers,
              [&](lipgd::Team& team) { sweep.jacobian_norms(team, call.theta, call.view, to); });
  return std::move(out);
}

template <class Scalar>
double risk(const py::tuple& net_parts, const Array<Scalar>& parameters, const py::array& x,
            const py::tuple& target_parts, const py::tuple& loss_parts, int threads, bool shared) {
  Call<Scalar> call(net_parts, parameters, x, threads, shared);
  const auto y = targets<Scalar>(target_parts, call.view.n_rows, call.net.n_outputs());
  auto sweep = call.template sweep<lipgd::RiskSweep<Scalar>>(loss(loss_parts), std::vector<bool>{},
                                                             call.view.n_rows);
  double value = 0.0;
  without_gil(call.n_workers,
              [&](lipgd::Team& team) { value = sweep.risk(team, call.theta, call.view, y); });
  return value;
}

template <class Scalar>
std::pair<double, py::array> risk_and_gradient(const py::tuple& net_parts,
                                               const Array<Scalar>& parameters, const py::array& x,
                                               const py::tuple& target_parts,
                                               const py::tuple& loss_parts, int threads,
                                               bool shared) {
  Call<Scalar> call(net_parts, parameters, x, threads, shared);
  const auto y = targets<Scalar>(target_parts, call.view.n_rows, call.net.n_outputs());
  py::array_t<Scalar> gradient(call.net.n_parameters());
  Scalar* to = gradient.mutable_data();
  auto sweep =
      call.template sweep<lipgd::RiskSweep<Scalar>>(loss(loss_parts), call.all, call.view.n_rows);
  double value = 0.0;
  without_gil(call.n_workers, [&](lipgd::Team& team) {
    value = sweep.gradient(team, call.theta, call.view, y, to);
  });
  return {value, std::move(gradient)};
}

template <class Scalar>
py::array hessian_vector_product(const py::tuple& net_parts, const Array<Scalar>& parameters,
                                 const Array<Scalar>& direction, const py::array& x,
                                 const py::tuple& target_parts, const py::tuple& loss_parts,
                                 int threads, bool shared) {
  Call<Scalar> call(net_parts, parameters, x, threads, shared);
  const auto y = targets<Scalar>(target_parts, call.view.n_rows, call.net.n_outputs());
  const Scalar* along = data<Scalar>(direction, call.net.n_parameters(), "direction");
  py::array_t<Scalar> product(call.net.n_parameters());
  Scalar* to = product.mutable_data();
  auto sweep = call.template sweep<lipgd::HessianSweep<Scalar>>(loss(loss_parts), call.all,
                                                                call.view.n_rows);
  without_gil(call.n_workers,
              [&](lipgd::Team& team) { sweep(team, call.theta, along, call.view, y, to); });
  return std::move(product);
}

/// The position (row, column) of the first entry that is not finite, or None.
template <class Scalar>
py::object find_nonfinite(const py::array_t<Scalar>& x) {
  if (x.ndim() != 2) throw std::invalid_argument("X must have two axes");
  const auto view = x.template unchecked<2>();
  const Index rows = view.shape(0), columns = view.shape(1);
  const bool contiguous = x.strides(1) == x.itemsize() && x.strides(0) == columns * x.itemsize();
  Index found = -1;
  {
    const py::gil_scoped_release release;
    constexpr Index slice = 4096;
    for (Index begin = 0; begin < rows && found < 0; begin += slice) {
      const Index end = std::min(rows, begin + slice);
      if (contiguous && lipgd::all_finite(x.data() + begin * columns, (end - begin) * columns))
        continue;
      for (Index i = begin * columns; i < end * columns && found < 0; ++i)
        if (!std::isfinite(view(i / columns, i % columns))) found = i;
    }
  }
  if (found < 0) return py::none();
  return py::make_tuple(found / columns, found % columns);
}

template <class Scalar>
void bind_network_for(py::module_& module) {
  using py::arg;
  module.def("forward", &forward<Scalar>, arg("net"), arg("parameters").noconvert(),
             arg("x").noconvert(), arg("threads"), arg("shared"));
  module.def("jacobian", &jacobian<Scalar>, arg("net"), arg("parameters").noconvert(),
             arg("x").noconvert(), arg("threads"), arg("shared"));
  module.def("jacobian_norms", &jacobian_norms<Scalar>, arg("net"), arg("parameters").noconvert(),
             arg("x").noconvert(), arg("threads"), arg("shared"));
  module.def("risk", &risk<Scalar>, arg("net"), arg("parameters").noconvert(), arg("x").noconvert(),
             arg("targets"), arg("loss"), arg("threads"), arg("shared"));
  module.def("risk_and_gradient", &risk_and_gradient<Scalar>, arg("net"),
             arg("parameters").noconvert(), arg("x").noconvert(), arg("targets"), arg("loss"),
             arg("threads"), arg("shared"));
  module.def("hessian_vector_product", &hessian_vector_product<Scalar>, arg("net"),
             arg("parameters").noconvert(), arg("direction").noconvert(), arg("x").noconvert(),
             arg("targets"), arg("loss"), arg("threads"), arg("shared"));
  module.def("find_nonfinite", &find_nonfinite<Scalar>, arg("x").noconvert());
}

}  // namespace

void bind_network(py::module_& module) {
  lipgd::fix_cache_sizes();
  bind_network_for<double>(module);
  bind_network_for<float>(module);
}
