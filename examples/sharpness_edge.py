"""
Sharpness and 2 / eta
=====================

The largest eigenvalue of the Hessian along full-batch trainings. It rises to about 2 / eta and
stays there: the edge of stability.
"""

from matplotlib import pyplot as plt

import lipgd

data = lipgd.data.load("diabetes")
X = (data.X - data.X.mean(axis=0)) / data.X.std(axis=0)
y = (data.y - data.y.mean()) / data.y.std()
net = lipgd.Network.create([10, 40, 1], activation="tanh", seed=0)

# %%
# The record ``sharpness`` runs Lanczos' process on exact products with the Hessian, starting from
# where the last row ended; its residual says how near an eigenvalue is.

runs = {}
for eta in (0.05, 0.1, 0.2):
    runs[eta] = lipgd.train(
        net,
        X,
        y,
        rate=eta,
        steps=1500,
        record=["risk", "sharpness", "sharpness_residual"],
        record_every=15,
    )

# %%
# Dashed: 2 / eta.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), constrained_layout=True)
for eta, run in runs.items():
    (line,) = right.plot(run.history.step, run.history["sharpness"], label=f"eta = {eta}")
    right.axhline(2 / eta, color=line.get_color(), ls="--", lw=0.8)
    left.plot(run.history.step, run.history["risk"], color=line.get_color())
left.set(xlabel="step", ylabel="risk", yscale="log")
right.set(xlabel="step", ylabel="sharpness", yscale="log")
right.legend(fontsize="small")

# %%
# The same number for one network, with the direction that belongs to it.

found = lipgd.margins.sharpness(runs[0.1].network, X, y, "mse")
print(f"{found.value:.4f} with residual {found.residual:.1e} after {found.products} products")
