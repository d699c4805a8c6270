"""
Name a Lipschitz constant and get it
====================================

The same problem with limits from tight to loose. At every step of every training the certified
constant is at most the limit; the looser it is, the better the fit.
"""

import numpy as np
from matplotlib import pyplot as plt

import lipgd

X = np.linspace(-1, 1, 200)[:, None]
y = np.sin(6 * X[:, 0]) * np.exp(-X[:, 0])
net = lipgd.Network.create([1, 64, 1], activation="silu", seed=0)

# %%
# A network that begins above its limit is rescaled first. The certificate ``"sdp"`` is the
# tightest, so it leaves the most to the fit.

runs = {}
for limit in (1.0, 3.0, 6.0, 12.0):
    target = lipgd.LipschitzTarget(limit, certificate="sdp", rescale_initial=True)
    runs[limit] = lipgd.train(
        net,
        X,
        y,
        rate=0.1,
        momentum=0.9,
        steps=1500,
        constraint=target,
        record=["risk", "lipschitz_upper_sdp"],
        record_every=10,
    )
    largest = runs[limit].history["lipschitz_upper_sdp"].max()
    risk = runs[limit].history["risk"][-1]
    print(f"limit {limit:4g}: largest certificate {largest:.6f}, final risk {risk:.2e}")
    assert largest <= limit

# %%
# The fits, and the certificates over the steps.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), constrained_layout=True)
left.plot(X, y, "k:", label="data")
for limit, run in runs.items():
    left.plot(X, run.network(X), label=f"limit {limit:g}")
    right.plot(run.history.step, run.history["lipschitz_upper_sdp"], label=f"limit {limit:g}")
left.set(xlabel="x", ylabel="network")
right.set(xlabel="step", ylabel="certified Lipschitz constant", yscale="log")
left.legend(fontsize="small")
