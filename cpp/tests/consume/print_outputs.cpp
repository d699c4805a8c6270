// print_outputs network.npz points.npz: loads a network that Python saved and prints its outputs at
// the points X, one sample a line.
#include <algorithm>
#include <array>
#include <exception>
#include <iomanip>
#include <iostream>
#include <limits>
#include <lipgd/jacobian.hpp>
#include <map>
#include <string>
#include <vector>

#include "read_npz.hpp"

namespace {

using Arrays = std::map<std::string, NpyArray>;

/// The activation of a name such as silu, elu(1.0) or leaky(softplus, 0.5).
lipgd::Activation activation(std::string name) {
  lipgd::Activation result;
  if (name.rfind("leaky(", 0) == 0) {
    const std::size_t comma = name.rfind(',');
    result.mix = std::stod(name.substr(comma + 1));
    name = name.substr(6, comma - 6);
  }
  if (const std::size_t bracket = name.find('('); bracket != std::string::npos) {
    result.parameter = std::stod(name.substr(bracket + 1));
    name.resize(bracket);
  }
  const std::array<const char*, 12> names{"identity", "relu",      "leaky_relu", "relu6",
                                          "elu",      "tanh",      "sigmoid",    "silu",
                                          "gelu",     "gelu_tanh", "softplus",   "sin"};
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) throw std::runtime_error("unknown activation " + name);
  result.kind = static_cast<lipgd::ActivationKind>(found - names.begin());
  return result;
}

template <class Scalar>
void append(std::vector<Scalar>& parameters, const NpyArray& array) {
  const std::vector<Scalar> values = array.values<Scalar>();
  parameters.insert(parameters.end(), values.begin(), values.end());
}

template <class Scalar>
void print_outputs(const Arrays& network, const NpyArray& points) {
  std::vector<lipgd::Index> sizes{static_cast<lipgd::Index>(network.at("W1").shape.at(1))};
  std::vector<bool> has_bias;
  std::vector<Scalar> parameters;
  for (int layer = 1; network.count("W" + std::to_string(layer)) != 0; ++layer) {
    const NpyArray& weights = network.at("W" + std::to_string(layer));
    sizes.push_back(static_cast<lipgd::Index>(weights.shape.at(0)));
    append(parameters, weights);
    const auto bias = network.find("b" + std::to_string(layer));
    has_bias.push_back(bias != network.end());
    if (has_bias.back()) append(parameters, bias->second);
  }
  const lipgd::Architecture net(sizes, has_bias, activation(network.at("activation").text()),
                                network.at("output_scale").values<double>().at(0));

  const std::vector<Scalar> x = points.values<Scalar>();
  lipgd::Inputs<Scalar> inputs;
  inputs.data = x.data();
  inputs.is_float = sizeof(Scalar) == sizeof(float);
  inputs.n_rows = static_cast<lipgd::Index>(points.shape.at(0));
  inputs.n_columns = inputs.row_stride = static_cast<lipgd::Index>(points.shape.at(1));

  // The first arena only counts what the second provides.
  lipgd::Arena counter;
  lipgd::InputSweep<Scalar>(net, inputs.n_rows, false, 1, counter);
  std::vector<char> memory(static_cast<std::size_t>(counter.bytes()));
  lipgd::Arena arena(memory.data());
  lipgd::InputSweep<Scalar> sweep(net, inputs.n_rows, false, 1, arena);
  std::vector<Scalar> outputs(static_cast<std::size_t>(inputs.n_rows * net.n_outputs()));
  lipgd::with_team(1, nullptr, false, [&](lipgd::Team& team) {
    sweep.outputs(team, parameters.data(), inputs, outputs.data());
  });

  std::cout << std::setprecision(std::numeric_limits<Scalar>::max_digits10);
  const auto columns = static_cast<std::size_t>(net.n_outputs());
  for (std::size_t i = 0; i < outputs.size(); ++i)
    std::cout << outputs[i] << ((i + 1) % columns == 0 ? '\n' : ' ');
}

}  // namespace

int main(int count, char** arguments) {
  try {
    if (count != 3) throw std::runtime_error("usage: print_outputs network.npz points.npz");
    const Arrays network = read_npz(arguments[1]);
    const NpyArray points = read_npz(arguments[2]).at("X");
    if (network.at("W1").type == "<f4")
      print_outputs<float>(network, points);
    else
      print_outputs<double>(network, points);
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
