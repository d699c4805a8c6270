// Which of the compiled instruction sets this CPU and operating system can run. The bare C API: it
// must not contain anything that was compiled for more than the plainest CPU.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if defined(_MSC_VER) && defined(_M_X64)
#include <immintrin.h>
#include <intrin.h>
#endif

namespace {

/// The highest level that runs: 0 none, 1 base, 2 v3, 3 v4.
int highest_level() {
#if defined(_MSC_VER) && defined(_M_X64)
  int leaf1[4], leaf7[4];
  __cpuidex(leaf1, 1, 0);
  __cpuidex(leaf7, 7, 0);
  const auto has = [](int bits, int mask) { return (bits & mask) == mask; };
  const int saves_state = 1 << 27;  // OSXSAVE: without it _xgetbv is an illegal instruction
  if (!has(leaf1[2], saves_state | (1 << 28) | (1 << 12))) return 1;  // AVX, FMA
  if (!has(leaf7[1], (1 << 5) | (1 << 3) | (1 << 8))) return 1;       // AVX2, BMI1, BMI2
  const unsigned long long saved = _xgetbv(0);
  if ((saved & 0x06u) != 0x06u) return 1;
  const int avx512 = (1 << 16) | (1 << 17) | (1 << 28) | (1 << 30) | static_cast<int>(1u << 31);
  return has(leaf7[1], avx512) && (saved & 0xe6u) == 0xe6u ? 3 : 2;
#elif defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("sse4.2") || !__builtin_cpu_supports("popcnt")) return 0;
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
      !__builtin_cpu_supports("bmi") || !__builtin_cpu_supports("bmi2"))
    return 1;
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                 __builtin_cpu_supports("avx512vl")
             ? 3
             : 2;
#else
  return 1;
#endif
}

PyObject* supported(PyObject*, PyObject*) {
  switch (highest_level()) {
    case 0:
      return PyTuple_New(0);
    case 1:
      return Py_BuildValue("(s)", "base");
    case 2:
      return Py_BuildValue("(ss)", "base", "v3");
    default:
      return Py_BuildValue("(sss)", "base", "v3", "v4");
  }
}

PyMethodDef methods[] = {
    {"supported", supported, METH_NOARGS, "Names of the levels that this machine can run."},
    {nullptr, nullptr, 0, nullptr}};

PyModuleDef definition = {PyModuleDef_HEAD_INIT,
                          "_cpu",
                          "What this CPU can run",
                          -1,
                          methods,
                          nullptr,
                          nullptr,
                          nullptr,
                          nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__cpu() { return PyModule_Create(&definition); }
