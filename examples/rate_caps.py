"""
Caps on learning rates
======================

Budgets for the weight matrices bound how far they can ever move, and with that the Lipschitz
constant, before the training begins (Theorem 3 of the page on learning rates).
"""

import numpy as np
from matplotlib import pyplot as plt

import lipgd
from lipgd.theory import rate_constraints

rng = np.random.default_rng(0)
X = rng.uniform(-1, 1, (150, 4))
y = np.sin(np.pi * X[:, 0]) + 0.5 * X[:, 1] * X[:, 2]
net = lipgd.Network.create([4, 100, 1], activation="silu", init="torch", seed=0)

# %%
# The budgets come from a wished constant: four times what the first weights certify.

shape = lipgd.schedules.hold_then_decay(1.0, 50, lipgd.schedules.exponential(1.0, 0.02))
first = rate_constraints.lipschitz_product(net)
wished = 4 * first
known = rate_constraints.measure(net, X, y, "huber")
budgets = rate_constraints.target_budgets(known, wished, shape.limit)
print(f"product of norms at the start {first:.3f}, wished limit {wished:.3f}")
print({name: round(value, 3) for name, value in budgets.items()})

# %%
# Three ways to spend them. ``observed`` gives every step a budget of its own, ``carry_over`` lets
# later steps use what earlier ones left, ``displacement`` counts how far the weights really are.

runs = {}
for mode in ("observed", "carry_over", "displacement"):
    runs[mode] = lipgd.train(
        net,
        X,
        y,
        loss="huber",
        rate=0.05,
        steps=1000,
        constraint=lipgd.RateCaps(budgets, shape, mode=mode),
        record=["risk", "lipschitz_upper", "rate:W1"],
        record_every=5,
    )
    history = runs[mode].history
    print(f"{mode:13s} risk {history['risk'][-1]:.4f}, bound {history['lipschitz_upper'][-1]:.3f}")
    assert history["lipschitz_upper"].max() <= wished

# %%
# Where the caps bind, the rates leave their wished value.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), constrained_layout=True)
for mode, run in runs.items():
    left.plot(run.history.step, run.history["risk"], label=mode)
    right.plot(run.history.step, run.history["rate:W1"], label=mode)
left.set(xlabel="step", ylabel="risk (Huber)", yscale="log")
right.set(xlabel="step", ylabel="rate of W1", yscale="log")
left.legend()
