"""
How layer norms move under mini-batches
=======================================

Drift, noise and curvature of the log product of layer norms: predicted along a training, and beside
what was observed.
"""

import lipgd
from lipgd import dynamics, plotting

data = lipgd.data.load("iris")
X = (data.X - data.X.mean(axis=0)) / data.X.std(axis=0)
labels = data.y.astype(int)
net = lipgd.Network.create([4, 24, 24, 3], activation="relu", seed=0)
settings = {"loss": "cross_entropy", "rate": 0.1, "batch_size": 16}

# %%
# The training records the coefficients, and its networks for the landscape below.

path = [net]
run = lipgd.train(
    net,
    X,
    labels,
    **settings,
    steps=300,
    record=["lipschitz_dynamics"],
    record_every=2,
    callback=lambda now: path.append(now.network),
    callback_every=10,
)

# %%
# The prediction stays within the band of the noise, which is what can be asked of it. With the
# first order of the actual steps, the replay, hardly anything is left.

found = dynamics.predict(run)
print(found)
figure, axes = plotting.panels(2)
plotting.predicted_trajectory(found, ax=axes[0])
plotting.contributions(found, ax=axes[1])

# %%
# Layer by layer. What the variances of single entries of the gradient contribute, and what their
# covariances do; pale lines are rows, strong ones moving averages.

panels = plotting.layer_dynamics(run)

# %%
# The path over two random orthogonal directions of the parameters, which see little of it.

land = dynamics.landscape(
    run.network, X, labels, loss="cross_entropy", path=path, extent=0.6, points=25
)
figure, axes = plotting.panels(2)
plotting.landscape(land, "risk", ax=axes[0])
plotting.landscape(land, "log_norm", ax=axes[1])
