#pragma once

// The only door to pybind11: its type casters must be the same in every file of a module.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

namespace py = pybind11;

void bind_certificate(py::module_& module);
void bind_dynamics(py::module_& module);
void bind_elementwise(py::module_& module);
void bind_margins(py::module_& module);
void bind_network(py::module_& module);
void bind_spectral(py::module_& module);
void bind_training(py::module_& module);
