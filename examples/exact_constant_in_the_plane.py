"""
The exact constant of a ReLU network in the plane
=================================================

A ReLU network with two inputs is linear on cells. Enumerating them gives its exact Lipschitz
constant, a yardstick for every bound.
"""

import numpy as np
from matplotlib import pyplot as plt

import lipgd
from lipgd.lipschitz import lower, upper

rng = np.random.default_rng(0)
X = rng.uniform(-1, 1, (200, 2))
y = np.sin(3 * X[:, 0]) * np.cos(2 * X[:, 1])
net = lipgd.Network.create([2, 24, 1], activation="relu", seed=0)
net = lipgd.train(net, X, y, rate=0.1, momentum=0.9, steps=1500).network

# %%
# From loose to exact.

found = {method: upper(net, method) for method in ("product", "closed_form", "sdp", "exact")}
for method, estimate in found.items():
    print(f"{method:12s} {estimate.value:.6f}")
witness = lower(net)
print(f"{'attained':12s} {witness.value:.6f} at {witness.witness[0].round(3)}")
assert witness.value <= found["exact"].value <= found["sdp"].value <= found["product"].value

# %%
# The norm of the gradient on the plane, and the point of the witness.

axis = np.linspace(-2, 2, 300)
grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
slopes = np.linalg.norm(net.jacobian(grid)[:, 0], axis=1).reshape(300, 300)
figure, axes = plt.subplots(figsize=(5.4, 4.2), constrained_layout=True)
image = axes.imshow(slopes, origin="lower", extent=(-2, 2, -2, 2), cmap="viridis")
point = witness.witness[0]
if np.abs(point).max() <= 2:
    axes.plot(*point, "r*", ms=14, mec="w")
axes.set(xlabel="$x_1$", ylabel="$x_2$")
figure.colorbar(image, label="norm of the gradient")
