#include <cmath>

#include "arguments.hpp"

namespace {

using namespace arguments;

/// A network with data, and what is trained of it.
template <class Scalar>
struct TrainedCall {
  TrainedCall(const py::tuple& net_parts, const Array<Scalar>& parameters, const py::array& x,
              const py::tuple& target_parts, const std::vector<bool>& trained_groups, int threads,
              bool shared)
      : net(architecture(net_parts)),
        view(inputs<Scalar>(x, net)),
        y(targets<Scalar>(target_parts, view.n_rows, net.n_outputs())),
        theta(data<Scalar>(parameters, net.n_parameters(), "parameters")),
        trained(trained_groups),
        n_workers(workers(threads, shared, lipgd::plan_sweep(net, view.n_rows, sizeof(Scalar)))) {
    lipgd::require(trained.size() == net.groups().size(), "trained has a wrong size");
  }

  lipgd::Architecture net;
  lipgd::Inputs<Scalar> view;
  lipgd::Targets<Scalar> y;
  const Scalar* theta;
  std::vector<bool> trained;
  int n_workers;
};

/// The margins, their derivatives along the trained parameters, and the records of training: log
/// risk, smallest, smoothed (before the division), norm, normalized, smoothed and modified margin,
/// homogeneity error.
template <class Scalar>
py::tuple margins(const py::tuple& net_parts, const Array<Scalar>& parameters, const py::array& x,
                  const py::tuple& target_parts, const std::vector<bool>& trained, double degree,
                  double homogeneity_gap, int threads, bool shared) {
  TrainedCall<Scalar> call(net_parts, parameters, x, target_parts, trained, threads, shared);
  const lipgd::MarginRule rule{call.trained, degree, homogeneity_gap};
  std::unique_ptr<std::byte[]> memory;
  auto sweep = with_memory(
      [&](lipgd::Arena& arena) {
        return lipgd::MarginSweep<Scalar>(call.net, rule, call.view, call.y.values, call.n_workers,
                                          arena);
      },
      memory);
  without_gil(call.n_workers, [&](lipgd::Team& team) { sweep.measure(team, call.theta, true); });
  const lipgd::MarginFacts& facts = sweep.facts();
  return py::make_tuple(py::array_t<double>(call.view.n_rows, sweep.margins()),
                        py::array_t<double>(call.view.n_rows, sweep.slopes()), facts.log_risk,
                        facts.smallest, facts.smoothed, sweep.norm(),
                        sweep.normalized(facts.smallest), sweep.normalized(facts.smoothed),
                        sweep.modified(), sweep.homogeneity_error());
}

/// The risk, and a gradient that does not underflow: it is e^log_scale times what is returned.
template <class Scalar>
py::tuple scaled_gradient(const py::tuple& net_parts, const Array<Scalar>& parameters,
                          const py::array& x, const py::tuple& target_parts,
                          const py::tuple& loss_parts, const std::vector<bool>& trained,
                          int threads, bool shared) {
  TrainedCall<Scalar> call(net_parts, parameters, x, target_parts, trained, threads, shared);
  std::unique_ptr<std::byte[]> memory;
  auto sweep = with_memory(
      [&](lipgd::Arena& arena) {
        return lipgd::RiskSweep<Scalar>(call.net, loss(loss_parts), call.trained, call.view.n_rows,
                                        call.n_workers, arena);
      },
      memory);
  py::array_t<Scalar> gradient(call.net.n_parameters());
  Scalar* to = gradient.mutable_data();
  double risk = 0.0, log_scale = 0.0;
  without_gil(call.n_workers, [&](lipgd::Team& team) {
    risk = sweep.gradient_in_range(team, call.theta, call.view, call.y, to, log_scale);
  });
  return py::make_tuple(risk, std::move(gradient), log_scale);
}

/// The largest eigenvalue of the Hessian: value, residual, products, whether it converged, and the
/// Ritz vectors from which a later call may start.
template <class Scalar>
py::tuple sharpness(const py::tuple& net_parts, const Array<Scalar>& parameters, const py::array& x,
                    const py::tuple& target_parts, const py::tuple& loss_parts,
                    const std::vector<bool>& trained, const Array<double>& start, double tolerance,
                    Index max_products, int threads, bool shared) {
  TrainedCall<Scalar> call(net_parts, parameters, x, target_parts, trained, threads, shared);
  std::unique_ptr<std::byte[]> memory;
  auto measure = with_memory(
      [&](lipgd::Arena& arena) {
        return lipgd::Sharpness<Scalar>(call.net, loss(loss_parts), call.trained, call.view, call.y,
                                        call.n_workers, arena);
      },
      memory);
  measure.set_memory({start.data(), start.data() + start.size()});
  lipgd::TopEigenvalue top;
  without_gil(call.n_workers, [&](lipgd::Team& team) {
    top = measure(team, call.theta, tolerance, max_products);
    measure.commit();
  });
  const std::vector<double>& vectors = measure.memory();
  return py::make_tuple(top.value, top.residual, top.products, top.converged,
                        py::array_t<double>(static_cast<Index>(vectors.size()), vectors.data()));
}

template <class Scalar>
void bind_margins_for(py::module_& module) {
  using py::arg;
  module.def("margins", &margins<Scalar>, arg("net"), arg("parameters").noconvert(),
             arg("x").noconvert(), arg("targets"), arg("trained"), arg("degree"),
             arg("homogeneity_gap"), arg("threads"), arg("shared"));
  module.def("scaled_gradient", &scaled_gradient<Scalar>, arg("net"), arg("parameters").noconvert(),
             arg("x").noconvert(), arg("targets"), arg("loss"), arg("trained"), arg("threads"),
             arg("shared"));
  module.def("sharpness", &sharpness<Scalar>, arg("net"), arg("parameters").noconvert(),
             arg("x").noconvert(), arg("targets"), arg("loss"), arg("trained"),
             arg("start").noconvert(), arg("tolerance"), arg("max_products"), arg("threads"),
             arg("shared"));
}

}  // namespace

void bind_margins(py::module_& module) {
  bind_margins_for<double>(module);
  bind_margins_for<float>(module);
}
