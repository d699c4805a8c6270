"""
A sweep
=======

Widths, limits and seeds in one call; the cells run in parallel, and the table does not depend on
how.
"""

import numpy as np
from matplotlib import pyplot as plt

import lipgd

rng = np.random.default_rng(0)
X = rng.uniform(-1, 1, (200, 3))
y = np.sin(3 * X.sum(axis=1)) + 0.1 * rng.normal(size=200)
X_test = rng.uniform(-1, 1, (500, 3))
y_test = np.sin(3 * X_test.sum(axis=1))

settings = {
    "X": X,
    "y": y,
    "test": (X_test, y_test),
    "activation": "silu",
    "rate": 0.05,
    "momentum": 0.9,
    "steps": 600,
}
limits = [2.0, 4.0, 8.0, 16.0]
table = lipgd.sweep(settings, {"hidden": [16, 64], "lipschitz": limits}, seeds=3)
print(len(table), "trainings; the columns:", ", ".join(table[0]))

# %%
# Test risks, mean over the seeds.

figure, axes = plt.subplots(figsize=(6, 3.6), constrained_layout=True)
for hidden in (16, 64):
    means = [
        np.mean(
            [r["test_risk"] for r in table if r["hidden"] == hidden and r["lipschitz"] == limit]
        )
        for limit in limits
    ]
    axes.loglog(limits, means, "o-", label=f"width {hidden}")
axes.set(xlabel="Lipschitz limit", ylabel="test risk")
axes.legend()

# %%
# With ``out="folder"`` every finished cell is on the disk, and the same call goes on after a crash.
