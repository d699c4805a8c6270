#include <algorithm>

#include "arguments.hpp"

namespace {

using namespace arguments;

/// (quantity, part) per column, whose values are the rows of history.
inline std::vector<lipgd::Column> columns(const py::handle& parts,
                                          const py::array_t<double>& history) {
  std::vector<lipgd::Column> result;
  for (const py::handle& part : parts) {
    const auto pair = py::reinterpret_borrow<py::tuple>(part);
    double* values =
        const_cast<double*>(history.data()) + static_cast<Index>(result.size()) * history.shape(1);
    result.push_back(
        {static_cast<lipgd::Quantity>(pair[0].cast<int>()), pair[1].cast<Index>(), values});
  }
  return result;
}

lipgd::StepRule step_rule(const py::dict& parts) {
  lipgd::StepRule rule;
  rule.trained = parts["trained"].cast<std::vector<bool>>();
  rule.weight_decay = parts["weight_decay"].cast<std::vector<double>>();
  rule.clip = parts["clip"].cast<std::vector<double>>();
  rule.clip_all = parts["clip_all"].cast<double>();
  for (const py::handle& part : parts["proximal"]) {
    const auto pair = py::reinterpret_borrow<py::tuple>(part);
    rule.proximal.push_back(
        {static_cast<lipgd::ProximalKind>(pair[0].cast<int>()), pair[1].cast<double>()});
  }
  const auto update = parts["update"].cast<py::tuple>();
  rule.update = {static_cast<lipgd::UpdateKind>(update[0].cast<int>()), update[1].cast<double>(),
                 update[2].cast<bool>(), update[3].cast<double>(), update[4].cast<double>()};
  const auto caps = parts["caps"].cast<py::tuple>();
  rule.caps = {static_cast<lipgd::CapMode>(caps[0].cast<int>()), caps[1].cast<bool>(),
               caps[2].cast<std::vector<double>>()};
  const auto target = parts["target"].cast<py::tuple>();
  rule.target = {static_cast<lipgd::TargetMethod>(target[0].cast<int>()), target[1].cast<double>(),
                 static_cast<lipgd::CertificateKind>(target[2].cast<int>()),
                 static_cast<lipgd::Controller>(target[3].cast<int>()), target[4].cast<bool>()};
  const auto slopes = parts["slopes"].cast<py::tuple>();
  rule.slopes = {slopes[0].cast<double>(), slopes[1].cast<double>(), slopes[2].cast<double>()};
  return rule;
}

lipgd::StepArray step_array(const py::array_t<double>& values, Index end) {
  lipgd::require(values.ndim() == 2 && values.shape(1) >= end,
                 "rates or budgets have a wrong shape");
  return {values.data(), values.strides(0) / values.itemsize(),
          values.strides(1) / values.itemsize()};
}

/// None, or (count, first, own, total_samples, sum): which of the shards are here, and a function
/// of (parts, [(first, shards) of each]) that leaves the total of all processes in the first part.
lipgd::Shards shards(const py::object& parts) {
  lipgd::Shards result;
  if (parts.is_none()) return result;
  const auto given = parts.cast<py::tuple>();
  result.count = given[0].cast<Index>();
  result.first = given[1].cast<Index>();
  result.own = given[2].cast<Index>();
  result.total_samples = given[3].cast<Index>();
  const py::handle function = given[4];  // the caller's tuple outlives the training
  result.sum = [function](double* values, const std::vector<lipgd::Subtree>& subtrees,
                          Index length) {
    const py::gil_scoped_acquire gil;
    py::list pairs;
    for (const lipgd::Subtree& subtree : subtrees)
      pairs.append(py::make_tuple(subtree.first, subtree.shards));
    // A view: an array with a base does not copy.
    const auto count = static_cast<Index>(subtrees.size());
    const py::array_t<double> view({count, length}, values, py::none());
    return function(view, pairs).cast<bool>();
  };
  return result;
}

/// The arguments of a training that stay the same over its stretches.
template <class Scalar>
struct Training {
  Training(const py::dict& parts, const py::dict& state_parts, const Array<double>& history)
      : net(architecture(parts["net"])) {
    problem.net = &net;
    problem.loss = loss(parts["loss"]);
    problem.inputs = inputs<Scalar>(parts["inputs"], net);
    problem.targets = targets<Scalar>(parts["targets"], problem.inputs.n_rows, net.n_outputs());
    if (const py::object validation = parts["validation"]; !validation.is_none()) {
      const auto pair = validation.cast<py::tuple>();
      problem.validation_inputs = inputs<Scalar>(pair[0], net);
      problem.validation_targets =
          targets<Scalar>(pair[1], problem.validation_inputs.n_rows, net.n_outputs());
    }
    if (const py::object points = parts["points"]; !points.is_none())
      problem.points = inputs<Scalar>(points, net);
    problem.step = step_rule(parts);
    problem.tolerance = parts["tolerance"].cast<double>();
    problem.columns = columns(parts["columns"], history);
    problem.record_every = parts["record_every"].cast<Index>();
    problem.degree = parts["degree"].cast<double>();
    problem.homogeneity_gap = parts["homogeneity_gap"].cast<double>();
    problem.batch_sizes = parts["batch_sizes"].cast<std::vector<Index>>();
    problem.shards = shards(parts["shards"]);
    read_state(state_parts);
    const Index samples =
        problem.batch_sizes.empty() ? problem.inputs.n_rows : problem.batch_sizes.front();
    n_workers = workers(parts["threads"].cast<int>(), parts["shared"].cast<bool>(),
                        lipgd::plan_sweep(net, samples, sizeof(Scalar)));
  }

  void read_state(const py::dict& parts) {
    const Index size = net.n_parameters();
    state.parameters = data<Scalar>(parts["parameters"], size, "parameters");
    state.previous = data<Scalar>(parts["previous"], size, "previous");
    state.memory.velocity = data_or_null<Scalar>(parts["velocity"], size, "velocity");
    state.memory.squares = data_or_null<Scalar>(parts["squares"], size, "squares");
    state.memory.gradient = data_or_null<Scalar>(parts["last_gradient"], size, "last_gradient");
    state.initial = data<Scalar>(parts["initial"], size, "initial");
    const auto groups = static_cast<Index>(net.groups().size());
    state.path_length = data_or_null<double>(parts["path_length"], 2 * groups, "path_length");
    state.spent = data_or_null<double>(parts["spent"], groups, "spent");
    state.stalled = data<std::int64_t>(parts["stalled"], 1, "stalled");
    state.carried = data<std::int64_t>(parts["carried"], 1, "carried");
    directions = parts["directions"].cast<py::list>();
    progress = data<std::int64_t>(parts["progress"], 2, "progress");
  }

  lipgd::Progress read_progress() const { return {progress[0], progress[1]}; }
  void write_progress(const lipgd::Progress& now) {
    progress[0] = now.step;
    progress[1] = now.rows;
  }

  /// Warm starts of the spectral norms and, last, of the sharpness go in and out, so that bits do
  /// not depend on the pauses.
  void restore_directions(lipgd::Descent<Scalar>& descent) const {
    std::size_t i = 0;
    for (lipgd::SpectralNorm* norm : descent.spectral_norms()) {
      if (i >= directions.size()) return;
      const auto numbers = directions[i++].cast<Array<double>>();
      norm->set_memory({numbers.data(), numbers.data() + numbers.size()});
    }
    for (lipgd::LeadingPair& pair : descent.leading_pairs()) {
      if (i >= directions.size()) return;
      const auto numbers = directions[i++].cast<Array<double>>();
      pair.set_memory({numbers.data(), numbers.data() + numbers.size()});
    }
    for (lipgd::SdpBound* bound : descent.sdp_bounds()) {
      if (i >= directions.size()) return;
      const auto numbers = directions[i++].cast<Array<double>>();
      bound->set_memory({numbers.data(), numbers.data() + numbers.size()});
    }
    if (lipgd::Sharpness<Scalar>* sharpness = descent.sharpness()) {
      if (i >= directions.size()) return;
      const auto numbers = directions[i].cast<Array<double>>();
      sharpness->set_memory({numbers.data(), numbers.data() + numbers.size()});
    }
  }
  void save_directions(lipgd::Descent<Scalar>& descent) {
    directions.attr("clear")();
    for (const lipgd::SpectralNorm* norm : descent.spectral_norms()) {
      const std::vector<double> numbers = norm->memory();
      directions.append(Array<double>(static_cast<Index>(numbers.size()), numbers.data()));
    }
    for (const lipgd::LeadingPair& pair : descent.leading_pairs()) {
      const std::vector<double> numbers = pair.memory();
      directions.append(Array<double>(static_cast<Index>(numbers.size()), numbers.data()));
    }
    for (const lipgd::SdpBound* bound : descent.sdp_bounds()) {
      const std::vector<double> numbers = bound->memory();
      directions.append(Array<double>(static_cast<Index>(numbers.size()), numbers.data()));
    }
    if (const lipgd::Sharpness<Scalar>* sharpness = descent.sharpness()) {
      const std::vector<double>& numbers = sharpness->memory();
      directions.append(Array<double>(static_cast<Index>(numbers.size()), numbers.data()));
    }
  }

  lipgd::Descent<Scalar> descent(lipgd::Arena& arena) {
    return lipgd::Descent<Scalar>(problem, n_workers, arena);
  }

  lipgd::Architecture net;
  lipgd::DescentProblem<Scalar> problem;
  lipgd::DescentState<Scalar> state;
  py::list directions;
  std::int64_t* progress = nullptr;  ///< step and rows
  int n_workers = 1;
};

/// Runs body(training, descent, team) without the GIL. True if Ctrl-C came, which may be after the
/// body looked for it last; the exception of another signal handler is thrown.
template <class Scalar, class Body>
bool work(Training<Scalar>& training, py::dict& state, const Body& body) {
  lipgd::Arena counter;
  training.descent(counter);
  // The caller keeps the memory from stretch to stretch: fresh pages cost more than many steps.
  auto scratch = state["scratch"].cast<py::array_t<std::uint8_t>>();
  if (scratch.size() < counter.bytes()) {
    scratch = py::array_t<std::uint8_t>(counter.bytes());
    state["scratch"] = scratch;
  }
  lipgd::Arena arena(scratch.mutable_data());
  lipgd::Descent<Scalar> descent = training.descent(arena);
  training.restore_directions(descent);
  {
    const py::gil_scoped_release release;
    SignalPoll poll;
    // A process of several must not leave the others in the middle of a step.
    const bool alone = !training.problem.shards.spread();
    lipgd::with_team(training.n_workers, alone ? &poll : nullptr, true,
                     [&](lipgd::Team& team) { body(descent, team); });
  }
  {
    const py::error_scope signal;  // no call into Python may meet the exception of a handler
    training.save_directions(descent);
  }
  if (PyErr_Occurred() == nullptr) return false;
  if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) == 0) throw py::error_already_set();
  PyErr_Clear();
  return true;
}

/// Takes the steps up to end and tells why it stopped. All that changes is in state, the step and
/// the number of rows too: an interrupt of the caller cannot separate them.
template <class Scalar>
int descend(const Array<Scalar>&, const py::dict& problem, py::dict state,
            const Array<double>& history, Index end, const py::array_t<double>& rates,
            const py::object& batch_rows, const py::object& batch_offsets, double seconds) {
  Training<Scalar> training(problem, state, history);
  lipgd::Progress progress = training.read_progress();
  lipgd::Stretch stretch;
  stretch.begin = progress.step;
  stretch.end = end;
  stretch.rates = step_array(rates, end);
  if (const py::object budgets = problem["budgets"]; !budgets.is_none())
    stretch.budgets = step_array(budgets.cast<py::array_t<double>>(), end);
  if (!batch_rows.is_none()) {
    const Index steps = end - stretch.begin;
    stretch.batch_offsets = data<std::int64_t>(batch_offsets, steps + 1, "batch_offsets");
    stretch.batch_rows = data<std::int64_t>(batch_rows, stretch.batch_offsets[steps], "batch_rows");
  }
  stretch.seconds = seconds;
  lipgd::Stop stop = lipgd::Stop::reached;
  const auto body = [&](lipgd::Descent<Scalar>& descent, lipgd::Team& team) {
    stop = descent.run(team, training.state, stretch, progress);
    training.write_progress(progress);
  };
  if (work(training, state, body)) stop = lipgd::Stop::cancelled;
  return static_cast<int>(stop);
}

/// A proved upper bound of the Lipschitz constant by one of the certificates of the loop.
template <class Scalar>
double certificate(const py::tuple& net_parts, const Array<Scalar>& parameters, int kind,
                   const py::tuple& slopes) {
  const auto net = architecture(net_parts);
  lipgd::Certificate measure(
      net, static_cast<lipgd::CertificateKind>(kind),
      {slopes[0].cast<double>(), slopes[1].cast<double>(), slopes[2].cast<double>()});
  return measure(data<Scalar>(parameters, net.n_parameters(), "parameters"));
}

/// Appends the row of the last state; false if a signal stopped it.
template <class Scalar>
bool write_last_row(const Array<Scalar>&, const py::dict& problem, py::dict state,
                    const Array<double>& history) {
  Training<Scalar> training(problem, state, history);
  lipgd::Progress progress = training.read_progress();
  bool written = false;
  work(training, state, [&](lipgd::Descent<Scalar>& descent, lipgd::Team& team) {
    written = descent.write_last_row(team, training.state, progress);
    training.write_progress(progress);
  });
  return written;
}

template <class Scalar>
void bind_training_for(py::module_& module) {
  using py::arg;
  module.def("descend", &descend<Scalar>, arg("parameters").noconvert(), arg("problem"),
             arg("state"), arg("history").noconvert(), arg("end"), arg("rates").noconvert(),
             arg("batch_rows"), arg("batch_offsets"), arg("seconds"));
  module.def("certificate", &certificate<Scalar>, arg("net"), arg("parameters").noconvert(),
             arg("kind"), arg("slopes"));
  module.def("write_last_row", &write_last_row<Scalar>, arg("parameters").noconvert(),
             arg("problem"), arg("state"), arg("history").noconvert());
}

}  // namespace

void bind_training(py::module_& module) {
  bind_training_for<double>(module);
  bind_training_for<float>(module);
}
