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
# The product of norms grows while the certificate shows that most of that growth is not real.

figure, (left, right) = plotting.panels(2)
plotting.risk(run, ax=left)
plotting.lipschitz(run, ax=right)

# %%
# A last look, from both sides.

print(lipgd.lipschitz.audit(run.network, X))
