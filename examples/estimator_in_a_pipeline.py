"""
An estimator in a pipeline
==========================

:class:`~lipgd.sklearn.LipschitzRegressor` in a grid search over its Lipschitz constant, and the
constant in the units of the raw data.
"""

from matplotlib import pyplot as plt
from sklearn.datasets import load_diabetes
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import lipgd
from lipgd.sklearn import LipschitzRegressor, in_raw_units

X, y = load_diabetes(return_X_y=True)
y = (y - y.mean()) / y.std()
pipeline = make_pipeline(
    StandardScaler(),
    LipschitzRegressor(20, max_iter=100, tol=0, random_state=0),
)
grid = {"lipschitzregressor__lipschitz": [0.1, 0.3, 1.0, 3.0, 10.0]}
search = GridSearchCV(pipeline, grid, cv=3, return_train_score=True).fit(X, y)
print(search.best_params_, f"mean score {search.best_score_:.3f}")

# %%
# Too small a constant cannot fit, too large a one fits the noise.

limits = grid["lipschitzregressor__lipschitz"]
figure, axes = plt.subplots(figsize=(6, 3.6), constrained_layout=True)
axes.semilogx(limits, search.cv_results_["mean_train_score"], "o--", label="training folds")
axes.semilogx(limits, search.cv_results_["mean_test_score"], "o-", label="left-out folds")
axes.set(xlabel="Lipschitz limit, per standard deviation", ylabel="mean score $R^2$")
axes.legend()

# %%
# What the best model promises, per standard deviation and per unit of the raw features.

best = search.best_estimator_
print(f"certified {best[-1].lipschitz_upper_:.3f}, attained {best[-1].lipschitz_lower_:.3f}")
raw = in_raw_units(best)
print("per unit of the raw features:", lipgd.lipschitz.upper(raw))
