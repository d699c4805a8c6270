"""
Train a network and certify it
==============================

A network for the diabetes data of scikit-learn, its training curve, and how far its Lipschitz
constant can be from what is seen at the samples.
"""

import lipgd
from lipgd import plotting

data = lipgd.data.load("diabetes")
X = (data.X - data.X.mean(axis=0)) / data.X.std(axis=0)
y = (data.y - data.y.mean()) / data.y.std()

# %%
# Training records the risk, the largest Jacobian norm at a sample, and two upper bounds: the
# product of spectral norms, and the certificate, which follows the training at little cost.

net = lipgd.Network.create([10, 100, 1], activation="silu", seed=0)
run = lipgd.train(
    net,
    X,
    y,
    rate=0.02,
    steps=1500,
    record=["risk", "lipschitz_lower", "lipschitz_upper", "lipschitz_upper_sdp"],
    record_every=25,
)
print(run)

# %%
# The constant is somewhere in the shaded band. The product of norms is its upper edge; the
# certificate, dotted, is less than half as high.

figure, (left, right) = plotting.panels(2)
plotting.risk(run, ax=left)
plotting.lipschitz(run, ax=right)
right.plot(run.history.step, run.history["lipschitz_upper_sdp"], "k:", label="certificate")
right.legend()

# %%
# A last look, from both sides.

print(lipgd.lipschitz.audit(run.network, X))
