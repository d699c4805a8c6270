#include <string>

#include <Eigen/Core>

#include "bindings.hpp"
#include "lipgd/version.hpp"

namespace {

#define LIPGD_TEXT_(x) #x
#define LIPGD_TEXT(x) LIPGD_TEXT_(x)

std::string compiler() {
#if defined(__clang__)
  return "Clang " __clang_version__;
#elif defined(__GNUC__)
  return "GCC " __VERSION__;
#elif defined(_MSC_VER)
  return "MSVC " LIPGD_TEXT(_MSC_VER);
#else
  return "unknown";
#endif
}

/// How this module was compiled: what show_config reports.
py::dict build_info() {
  py::dict info;
  info["version"] = LIPGD_TEXT(LIPGD_VERSION_MAJOR) "." LIPGD_TEXT(
      LIPGD_VERSION_MINOR) "." LIPGD_TEXT(LIPGD_VERSION_PATCH);
  info["level"] = LIPGD_LEVEL;
  info["compiler"] = compiler();
  info["eigen"] = LIPGD_TEXT(EIGEN_WORLD_VERSION) "." LIPGD_TEXT(
      EIGEN_MAJOR_VERSION) "." LIPGD_TEXT(EIGEN_MINOR_VERSION);
  info["alignment"] = EIGEN_MAX_ALIGN_BYTES;
#if defined(_OPENMP)
  info["openmp"] = _OPENMP;
#else
  info["openmp"] = 0;
#endif
  return info;
}

}  // namespace

PYBIND11_MODULE(LIPGD_MODULE, module) {
  module.doc() = "Compiled core of lipgd at one instruction set";
  module.attr("build_info") = build_info();
  bind_certificate(module);
  bind_dynamics(module);
  bind_elementwise(module);
  bind_margins(module);
  bind_network(module);
  bind_spectral(module);
  bind_training(module);
}
