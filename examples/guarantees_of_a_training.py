"""
What is proved of a training
============================

The bounds of the theory beside what was measured, at every recorded step: the Lipschitz constant
(Theorem 3), the smallest gradient (Theorem 5), the gap to new data (Corollary 4 and Theorem R).
"""

import numpy as np

import lipgd
from lipgd import plotting

rng = np.random.default_rng(0)


def sample(count):
    """Return inputs in a square and values with a little noise."""
    X = rng.uniform(-1, 1, (count, 2))
    return X, np.sin(2 * X[:, 0]) * X[:, 1] + 0.05 * rng.normal(size=count)


X, y = sample(2000)
test = sample(2000)
net = lipgd.Network.create([2, 50, 1], activation="tanh", init="torch", seed=0)

# %%
# Caps in the mode ``carry_over``: the bound of the constant is known before the training.

shape = lipgd.schedules.hold_then_decay(1.0, 200, lipgd.schedules.exponential(1.0, 0.01))
caps = lipgd.RateCaps({"W1": 10.0, "b1": 10.0, "W2": 10.0, "b2": 10.0}, shape, mode="carry_over")
run = lipgd.train(
    net,
    X,
    y,
    loss="huber",
    rate=0.1,
    steps=1500,
    constraint=caps,
    record=["risk", "gradient_norm", "lipschitz_lower", "lipschitz_upper"],
    record_every=50,
)
found = lipgd.report.guarantees(run, X, y, test=test, delta=0.05)
for sentence in found.words():
    print(sentence)

# %%
# Bounds are above what was measured, on every row; how far above is the price of a proof.

figure = plotting.guarantees(found)
