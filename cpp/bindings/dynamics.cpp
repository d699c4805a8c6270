#include "arguments.hpp"

namespace {

using namespace arguments;

/// The layers of the Python layer: per layer (left, right, moments, squares or None).
std::vector<lipgd::LayerMoments> layers_of(const py::list& parts) {
  std::vector<lipgd::LayerMoments> layers;
  for (const py::handle& part : parts) {
    const auto fields = py::reinterpret_borrow<py::tuple>(part);
    const auto left = py::reinterpret_borrow<py::array>(fields[0]);
    const auto right = py::reinterpret_borrow<py::array>(fields[1]);
    lipgd::require(left.ndim() == 2 && right.ndim() == 2, "singular vectors have a wrong shape");
    lipgd::LayerMoments layer{left.shape(0), right.shape(0), nullptr, nullptr, nullptr, nullptr};
    const Index r = layer.rank();
    layer.left = data<double>(left, lipgd::checked_product(layer.outputs, r), "left");
    layer.right = data<double>(right, lipgd::checked_product(layer.inputs, r), "right");
    layer.moments = data<double>(fields[2], layer.size(), "moments");
    const Index gradient = lipgd::checked_product(layer.outputs, layer.inputs);
    layer.squares = data_or_null<double>(fields[3], 2 * gradient, "squares");
    layers.push_back(layer);
  }
  lipgd::require(!layers.empty(), "no layer is given");
  return layers;
}

double* cross_of(const Array<double>& cross, std::size_t count) {
  const auto layers = static_cast<Index>(count);
  return data<double>(cross, layers + layers * layers, "cross");
}

/// Adds rows of the inputs (count, n_inputs) and signals (count, n_outputs) of layers from
/// anywhere.
template <class Scalar>
void add_layer_rows(const py::list& features, const py::list& signals, const Array<Scalar>&,
                    const py::list& parts, const Array<double>& cross) {
  const auto layers = layers_of(parts);
  double* to = cross_of(cross, layers.size());
  lipgd::require(features.size() == layers.size() && signals.size() == layers.size(),
                 "features and signals need one array per layer");
  const Index rows = py::reinterpret_borrow<py::array>(features[0]).shape(0);
  std::vector<const Scalar*> from, back;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    from.push_back(
        data<Scalar>(features[l], lipgd::checked_product(rows, layers[l].inputs), "features"));
    back.push_back(
        data<Scalar>(signals[l], lipgd::checked_product(rows, layers[l].outputs), "signals"));
  }
  const py::gil_scoped_release release;
  lipgd::DynamicsAccumulator<Scalar> accumulator(layers, to);
  for (Index first = 0; first < rows; first += lipgd::DynamicsAccumulator<Scalar>::block) {
    const auto at = [](Index l) { return static_cast<std::size_t>(l); };
    accumulator.add(
        std::min(accumulator.block, rows - first),
        [&](Index l) { return from[at(l)] + first * layers[at(l)].inputs; },
        [&](Index l) { return back[at(l)] + first * layers[at(l)].outputs; });
  }
}

/// Adds the samples of a network.
template <class Scalar>
void add_network_rows(const py::tuple& net_parts, const Array<Scalar>& parameters,
                      const py::array& x, const py::tuple& target_parts,
                      const py::tuple& loss_parts, const py::list& parts,
                      const Array<double>& cross) {
  const auto net = architecture(net_parts);
  const auto view = inputs<Scalar>(x, net);
  const auto y = targets<Scalar>(target_parts, view.n_rows, net.n_outputs());
  const Scalar* theta = data<Scalar>(parameters, net.n_parameters(), "parameters");
  const lipgd::Loss kind = loss(loss_parts);
  const auto layers = layers_of(parts);
  double* to = cross_of(cross, layers.size());
  lipgd::require(static_cast<Index>(layers.size()) == net.depth(), "a layer is missing");
  for (Index l = 0; l < net.depth(); ++l) {
    const auto& layer = layers[static_cast<std::size_t>(l)];
    lipgd::require(layer.inputs == net.inputs(l) && layer.outputs == net.outputs(l),
                   "singular vectors have a wrong shape");
  }
  const py::gil_scoped_release release;
  lipgd::DynamicsAccumulator<Scalar> accumulator(layers, to);
  std::unique_ptr<std::byte[]> memory;
  auto sweep = with_memory(
      [&](lipgd::Arena& arena) {
        return lipgd::SignalSweep<Scalar>(net, kind, accumulator.block, arena);
      },
      memory);
  sweep(theta, view, y, [&](Index, Index count, const auto& features, const auto& signals) {
    accumulator.add(count, features, signals);
  });
}

/// <direction, g_i> of every sample, (n_samples,).
template <class Scalar>
Array<double> slopes_along(const py::tuple& net_parts, const Array<Scalar>& parameters,
                           const Array<Scalar>& direction, const py::array& x,
                           const py::tuple& target_parts, const py::tuple& loss_parts) {
  const auto net = architecture(net_parts);
  const auto view = inputs<Scalar>(x, net);
  const auto y = targets<Scalar>(target_parts, view.n_rows, net.n_outputs());
  const Scalar* theta = data<Scalar>(parameters, net.n_parameters(), "parameters");
  const Scalar* along = data<Scalar>(direction, net.n_parameters(), "direction");
  const lipgd::Loss kind = loss(loss_parts);
  Array<double> slopes(view.n_rows);
  double* to = slopes.mutable_data();
  const py::gil_scoped_release release;
  std::unique_ptr<std::byte[]> memory;
  auto sweep = with_memory(
      [&](lipgd::Arena& arena) {
        return lipgd::SlopeSweep<Scalar>(net, kind, lipgd::DynamicsAccumulator<Scalar>::block,
                                         arena);
      },
      memory);
  sweep(theta, along, view, y, to);
  return slopes;
}

/// The inputs (n_samples, n_inputs) and signals (n_samples, n_outputs) of every layer, in a row.
template <class Scalar>
py::tuple layer_rows(const py::tuple& net_parts, const Array<Scalar>& parameters,
                     const py::array& x, const py::tuple& target_parts,
                     const py::tuple& loss_parts) {
  const auto net = architecture(net_parts);
  const auto view = inputs<Scalar>(x, net);
  const auto y = targets<Scalar>(target_parts, view.n_rows, net.n_outputs());
  const Scalar* theta = data<Scalar>(parameters, net.n_parameters(), "parameters");
  const lipgd::Loss kind = loss(loss_parts);
  py::list features, signals;
  std::vector<Scalar*> to_features, to_signals;
  for (Index l = 0; l < net.depth(); ++l) {
    Array<Scalar> one({view.n_rows, net.inputs(l)}), other({view.n_rows, net.outputs(l)});
    to_features.push_back(one.mutable_data());
    to_signals.push_back(other.mutable_data());
    features.append(one);
    signals.append(other);
  }
  {
    const py::gil_scoped_release release;
    std::unique_ptr<std::byte[]> memory;
    auto sweep = with_memory(
        [&](lipgd::Arena& arena) {
          return lipgd::SignalSweep<Scalar>(net, kind, lipgd::DynamicsAccumulator<Scalar>::block,
                                            arena);
        },
        memory);
    sweep(theta, view, y, [&](Index first, Index count, const auto& inputs_of, const auto& from) {
      for (Index l = 0; l < net.depth(); ++l) {
        const auto at = static_cast<std::size_t>(l);
        std::copy_n(inputs_of(l), count * net.inputs(l), to_features[at] + first * net.inputs(l));
        std::copy_n(from(l), count * net.outputs(l), to_signals[at] + first * net.outputs(l));
      }
    });
  }
  return py::make_tuple(features, signals);
}

template <class Scalar>
void bind_dynamics_for(py::module_& module) {
  using py::arg;
  module.def("slopes_along", &slopes_along<Scalar>, arg("net"), arg("parameters").noconvert(),
             arg("direction").noconvert(), arg("x").noconvert(), arg("targets"), arg("loss"));
  module.def("layer_rows", &layer_rows<Scalar>, arg("net"), arg("parameters").noconvert(),
             arg("x").noconvert(), arg("targets"), arg("loss"));
  module.def("add_layer_rows", &add_layer_rows<Scalar>, arg("features"), arg("signals"),
             arg("like").noconvert(), arg("layers"), arg("cross").noconvert());
  module.def("add_network_rows", &add_network_rows<Scalar>, arg("net"),
             arg("parameters").noconvert(), arg("x").noconvert(), arg("targets"), arg("loss"),
             arg("layers"), arg("cross").noconvert());
}

/// U (rows, rank), values (rank,) and V (columns, rank) of an array (rows, columns), or None.
py::object thin_svd(const Array<double>& a) {
  lipgd::require(a.ndim() == 2 && a.size() > 0, "a has a wrong shape");
  lipgd::ThinSvd svd;
  bool found = false;
  {
    const py::gil_scoped_release release;
    // The array is the column-major map of its transpose.
    found = svd.compute({a.data(), a.shape(1), a.shape(0)});
  }
  if (!found) return py::none();
  const auto rank = static_cast<Index>(svd.values().size());
  const auto rows = [rank](const lipgd::Matrix<double>& vectors) {
    Array<double> to({vectors.rows(), rank});
    lipgd::MatrixMap<double>(to.mutable_data(), rank, vectors.rows()) = vectors.transpose();
    return to;
  };
  return py::make_tuple(rows(svd.right()), Array<double>(rank, svd.values().data()),
                        rows(svd.left()));
}

}  // namespace

void bind_dynamics(py::module_& module) {
  module.def("thin_svd", &thin_svd, py::arg("a").noconvert());
  bind_dynamics_for<double>(module);
  bind_dynamics_for<float>(module);
}
