"""
Large stepsizes and their phases
================================

With a large constant stepsize the logistic risk first oscillates, and then falls for ever. When the
second phase begins is seen in the history, and proved from the constants of the network.
"""

import lipgd
from lipgd import margins, plotting

data = lipgd.data.xor(lift=0.2)
X, y = data.X, data.y
frozen = ("W2", "b1", "b2")
net = lipgd.Network.create(
    [3, 40, 1], activation="leaky(softplus, 0.5)", init="mean_field_balanced", seed=1
)

# %%
# Two stepsizes from the theory: the one of Theorem 7 for so many steps, which is fast in the end,
# and the largest one with which the risk is proved never to rise.

found = margins.suggest_stepsize(net, X, y, steps=1_000_000, frozen=frozen)
print(f"fast {found.fast:.5g}, with a risk of at most {found.risk_bound:.2g} in the end")
print(f"monotone {found.monotone:.5g}")

# %%
# A training with the monotone one, and one with five times as much. Margins are recorded in the log
# domain, where nothing underflows.

runs, phases = {}, {}
for name, eta in {"monotone": found.monotone, "5 x monotone": 5 * found.monotone}.items():
    runs[name] = lipgd.train(
        net,
        X,
        y,
        loss="logistic",
        rate=eta,
        steps=1000,
        frozen=frozen,
        record=["log_risk", "risk", "normalized_margin", "modified_margin", "sharpness"],
    )
    phases[name] = margins.phases(runs[name], X, y)

# %%
# The larger one oscillates for some steps, and is then ahead for ever.

print(phases["5 x monotone"])
for name, run in runs.items():
    print(f"{name:14s} final risk {run.history['risk'][-1]:.2e}")

# %%
# Shaded: the oscillating phase. Marked: from where on the risk is proved never to rise again.

figure = plotting.phases(runs, phases)
