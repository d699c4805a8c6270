"""
Audit anybody's network
=======================

A network that scikit-learn trained, with its scaler: how steep can it be, in the units of the data?
"""

from sklearn.datasets import load_breast_cancer
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import lipgd
from lipgd import plotting

X, y = load_breast_cancer(return_X_y=True)
model = make_pipeline(
    StandardScaler(), MLPClassifier((20,), solver="lbfgs", max_iter=50, tol=0.1, random_state=0)
).fit(X, y)
print("accuracy", model.score(X, y))

# %%
# The audit reads the pipeline as it is: the scaler is a layer. Upper bounds are proved, with every
# rounding counted; the lower value is the norm of the Jacobian at the point that it names.

audit = lipgd.lipschitz.audit(model, X)
print(audit)

# %%
# The ladder as a picture.

axes = plotting.lipschitz_ladder(audit)
figure = axes.figure

# %%
# Per standard deviation of the features, which is what the network itself sees. A bound is about
# the network alone, and needs no data.

for method in ("product", "closed_form", "sdp"):
    print(lipgd.lipschitz.upper(model[-1], method))
