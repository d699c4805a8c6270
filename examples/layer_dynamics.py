"""
How layer norms move under mini-batches
=======================================

Drift, noise and curvature of the log product of layer norms, predicted at the network before each
step, beside what the step does.
"""

import numpy as np
from matplotlib import pyplot as plt

import lipgd
from lipgd.dynamics import coefficients

data = lipgd.data.load("iris")
X = (data.X - data.X.mean(axis=0)) / data.X.std(axis=0)
labels = data.y.astype(int)
net = lipgd.Network.create([4, 24, 24, 3], activation="relu", seed=0)
rate, batch = 0.1, 16


def log_product(network):
    """Return the sum of the logarithms of the layers' norms."""
    return sum(np.log(np.linalg.norm(matrix, 2)) for matrix in network.weights)


# %%
# One step at a time, with the prediction for the mean and the variance of each.

seen, drift, noise, parts = [log_product(net)], [], [], []
for step in range(120):
    found = coefficients(net, X, labels, batch_size=batch, rate=rate, loss="cross_entropy").network
    drift.append(rate * found.drift)
    noise.append(rate * found.lambda2)
    parts.append([found.mu, found.kappa, found.psi])
    net = lipgd.train(
        net,
        X,
        labels,
        loss="cross_entropy",
        rate=rate,
        steps=1,
        batch_size=batch,
        shuffle_seed=step,
    ).network
    seen.append(log_product(net))

# %%
# The prediction stays within the band of the noise, which is what can be asked of it.

predicted = seen[0] + np.concatenate([[0.0], np.cumsum(drift)])
band = 2 * np.sqrt(np.concatenate([[0.0], np.cumsum(noise)]))
score = (seen[-1] - predicted[-1]) / (band[-1] / 2)
print(f"at the end: seen {seen[-1]:.4f}, predicted {predicted[-1]:.4f}, {score:+.2f} deviations")

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), constrained_layout=True)
left.plot(seen, label="seen")
left.plot(predicted, "--", label="predicted")
left.fill_between(range(121), predicted - band, predicted + band, alpha=0.2, label="2 deviations")
left.set(xlabel="step", ylabel="log of the product of norms")
left.legend(fontsize="small")
names = ("gradient", "noise curvature", "finite step")
for values, name in zip(np.array(parts).T, names, strict=True):
    right.plot(np.abs(values), label=name)
right.set(xlabel="step", ylabel="size of the coefficient", yscale="log")
right.legend(fontsize="small")
