"""
A network as a C99 header
=========================

One header without allocation, for machines without Python; compiled and compared here if there is a
C compiler.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

import lipgd

rng = np.random.default_rng(0)
X = rng.uniform(-1, 1, (200, 2))
y = np.tanh(2 * X[:, 0]) - X[:, 1] ** 2
net = lipgd.Network.create([2, 16, 1], activation="tanh", seed=0)
target = lipgd.LipschitzTarget(3.0, rescale_initial=True)
net = lipgd.train(net, X, y, rate=0.2, steps=500, constraint=target).network

# %%
# The weights are hexadecimal constants, hence exact; the bound is part of the file.

folder = Path(tempfile.mkdtemp())
text = lipgd.export.c_header(net, "controller", folder / "controller.h")
print("\n".join(text.splitlines()[:14]))

# %%
# A program that reads inputs and prints outputs.

program = """
#include <stdio.h>
#include "controller.h"
int main(void) {
  double x[CONTROLLER_INPUTS], y[CONTROLLER_OUTPUTS];
  while (scanf("%lf %lf", &x[0], &x[1]) == 2) {
    controller(x, y);
    printf("%.17g\\n", y[0]);
  }
  return 0;
}
"""
compiler = shutil.which("cc")
if compiler:
    (folder / "main.c").write_text(program)
    subprocess.run(
        [compiler, "-std=c99", "-O2", "main.c", "-o", "main", "-lm"], cwd=folder, check=True
    )
    inputs = "\n".join(f"{a:.17g} {b:.17g}" for a, b in X)
    run = subprocess.run([folder / "main"], input=inputs, capture_output=True, text=True)
    difference = np.abs(np.array(run.stdout.split(), float) - net(X)[:, 0]).max()
    print(f"largest difference on {len(X)} inputs: {difference:.1e}")
    assert difference < 1e-14

# %%
# The controller that was compiled.

axis = np.linspace(-1, 1, 200)
grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
figure, axes = plt.subplots(figsize=(5, 3.8), constrained_layout=True)
contours = axes.contourf(axis, axis, net(grid).reshape(200, 200), 20)
axes.set(xlabel="$x_1$", ylabel="$x_2$")
figure.colorbar(contours, label="output")
