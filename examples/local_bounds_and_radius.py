"""
Local bounds and certified radii
================================

A global constant is about the worst place. Near a point much more can be said: a local bound on a
ball, and a radius within which the label of the point cannot change.
"""

import numpy as np
from matplotlib import pyplot as plt

import lipgd
from lipgd.lipschitz import Ball, certified_radius, upper

data = lipgd.data.load("iris")
X = (data.X - data.X.mean(axis=0)) / data.X.std(axis=0)
labels = data.y.astype(int)
net = lipgd.Network.create([4, 32, 3], activation="tanh", seed=0)
net = lipgd.train(
    net, X, labels, loss="cross_entropy", rate=0.2, momentum=0.9, steps=400, weight_decay=1e-3
).network
print("accuracy", np.mean(net(X).argmax(axis=1) == labels))

# %%
# The bound on a ball around a sample grows from the norm of the Jacobian at it to the global bound.

radii = np.geomspace(1e-3, 30, 25)
local = [upper(net, domain=Ball(X[0], radius)).value for radius in radii]
at_the_point = np.linalg.norm(net.jacobian(X[:1])[0], 2)
everywhere = upper(net).value
print(f"at the point                {at_the_point:.3f}")
print(f"on a ball of radius {radii[6]:.3g}  at most {local[6]:.3f}")
print(f"everywhere                  at most {everywhere:.3f}")

# %%
# Certified radii: the margin divided by local bounds for pairs of classes, integrated outwards.
# They are larger than margins divided by the global constant.

radius = certified_radius(net, X, labels)
outputs = np.sort(net(X), axis=1)
simple = np.where(
    net(X).argmax(axis=1) == labels,
    (outputs[:, -1] - outputs[:, -2]) / (np.sqrt(2) * everywhere),
    0.0,
)
print(
    f"median certified radius {np.median(radius):.3f}, by the global constant "
    f"{np.median(simple):.3f}"
)

# %%
# Left the bounds on balls, right both kinds of radii.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), constrained_layout=True)
left.semilogx(radii, local, label="bound on the ball")
left.axhline(everywhere, color="k", ls="--", label="bound everywhere")
left.axhline(at_the_point, color="k", ls=":", label="Jacobian at its centre")
left.set(xlabel="radius of the ball", ylabel="Lipschitz constant")
left.legend(fontsize="small")
right.plot(np.sort(simple), np.linspace(0, 1, len(X)), "--", label="global constant")
right.plot(np.sort(radius), np.linspace(0, 1, len(X)), label="certified radius")
right.set(xlabel="radius", ylabel="share of samples below")
right.legend(fontsize="small")
