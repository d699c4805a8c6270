#include <vector>

#include "arguments.hpp"

namespace {

using namespace arguments;

using Doubles = Array<double>;

py::array_t<double> copied(const lipgd::Vector<double>& numbers) {
  return py::array_t<double>(numbers.size(), numbers.data());
}

lipgd::Vector<double> vector_of(const Doubles& array) {
  return lipgd::ConstVectorMap<double>(array.data(), array.size());
}

/// (columns, inputs, units of each hidden layer, outputs), or None.
lipgd::IterationState iteration_state(const py::object& object) {
  lipgd::IterationState state;
  if (object.is_none()) return state;
  const auto parts = object.cast<py::tuple>();
  state.columns = parts[0].cast<int>();
  lipgd::require(state.columns > 0 && state.columns <= 64, "start has a wrong number of columns");
  state.inputs = vector_of(parts[1].cast<Doubles>());
  for (const auto& units : parts[2].cast<std::vector<Doubles>>())
    state.units.push_back(vector_of(units));
  state.outputs = vector_of(parts[3].cast<Doubles>());
  return state;
}

py::tuple packed(const lipgd::IterationState& state) {
  py::list units;
  for (const auto& layer : state.units) units.append(copied(layer));
  return py::make_tuple(state.columns, copied(state.inputs), units, copied(state.outputs));
}

py::tuple packed(const lipgd::SdpCertificate& result) {
  py::list multipliers;
  for (const auto& layer : result.multipliers) {
    const auto size = static_cast<py::ssize_t>(layer.exponents.size());
    py::array_t<std::int64_t> exponents(size);
    std::copy(layer.exponents.begin(), layer.exponents.end(), exponents.mutable_data());
    multipliers.append(py::make_tuple(copied(layer.t), exponents));
  }
  py::list neurons;
  for (const auto& layer : result.neurons) {
    py::array_t<double> ends({layer.ends.cols(), layer.ends.rows()});  // C order of the transpose
    std::copy_n(layer.ends.data(), layer.ends.size(), ends.mutable_data());
    neurons.append(py::make_tuple(copied(layer.loss), ends));
  }
  return py::make_tuple(result.value, result.primal, result.sweeps, result.reason, multipliers,
                        packed(result.state), neurons);
}

py::tuple certify(const std::vector<Doubles>& weights, const std::vector<Doubles>& lower,
                  const std::vector<Doubles>& upper, double tolerance, Index max_sweeps,
                  bool rigorous, double seconds, const py::object& start, Index projections) {
  std::vector<lipgd::WeightView> layers;
  for (const Doubles& matrix : weights) {
    lipgd::require(matrix.ndim() == 2 && matrix.size() > 0, "weights have a wrong shape");
    lipgd::require(layers.empty() || layers.back().rows == matrix.shape(1),
                   "weights do not fit together");
    layers.push_back({matrix.data(), matrix.shape(0), matrix.shape(1)});
  }
  lipgd::require(lower.size() + 1 == weights.size() && upper.size() == lower.size(),
                 "slopes and weights do not fit together");
  std::vector<lipgd::SlopeView> slopes;
  for (std::size_t l = 0; l < lower.size(); ++l)
    slopes.push_back({data<double>(lower[l], layers[l].rows, "lower"),
                      data<double>(upper[l], layers[l].rows, "upper")});
  const lipgd::CertificateOptions options{tolerance, max_sweeps, rigorous, seconds, projections};
  const lipgd::IterationState state = iteration_state(start);
  lipgd::SdpCertificate result;
  {
    const py::gil_scoped_release release;
    SignalPoll poll;
    lipgd::with_team(1, &poll, false, [&](lipgd::Team& team) {
      result = lipgd::certify(layers, slopes, options, state, team);
    });
  }
  // The signal may have come after the sweeps looked for it last.
  if (PyErr_Occurred() != nullptr) throw py::error_already_set();
  return packed(result);
}

}  // namespace

void bind_certificate(py::module_& module) {
  using py::arg;
  module.def("certify", &certify, arg("weights"), arg("lower"), arg("upper"), arg("tolerance"),
             arg("max_sweeps"), arg("rigorous"), arg("seconds"), arg("start"), arg("projections"));
}
