"""The estimators: the contract of scikit-learn, limits that hold, twins that agree."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, PowerTransformer, RobustScaler, StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

import lipgd
from lipgd.sklearn import LipschitzClassifier, LipschitzRegressor, in_raw_units
from lipgd.sklearn._fit import Data

ESTIMATORS = [
    LipschitzRegressor(max_iter=300),
    LipschitzClassifier(max_iter=300),
    LipschitzRegressor((20, 10), None, activation="relu", max_iter=200, loss="huber"),
    LipschitzClassifier((20, 10), None, activation="relu", max_iter=200),
]


CHECKS = [pair for estimator in ESTIMATORS for pair in estimator_checks_generator(estimator)]


@pytest.mark.parametrize(("estimator", "check"), CHECKS)
@pytest.mark.filterwarnings("ignore")
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return StandardScaler().fit_transform(X), (y - y.mean()) / y.std()


@pytest.fixture(scope="module")
def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return StandardScaler().fit_transform(X), y


def product_of_norms(net):
    slopes = net.activation.lipschitz ** (net.depth - 1)
    norms = [np.linalg.svd(w.astype(np.longdouble).astype(float))[1][0] for w in net.weights]
    return abs(net.output_scale) * slopes * np.prod(norms)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("activation", ["silu", "relu", "tanh"])
@pytest.mark.parametrize("limit", [0.3, 2.0, 50.0])
def test_limits_hold_and_bracket_the_truth(diabetes, dtype, activation, limit):
    X, y = diabetes[0].astype(dtype), diabetes[1]
    model = LipschitzRegressor(
        (30,), limit, activation=activation, max_iter=150, tol=0, random_state=3
    ).fit(X, y)
    assert model.network_.dtype == dtype
    assert model.predict(X).dtype == dtype
    assert 0 < model.lipschitz_lower_ <= model.lipschitz_upper_ <= limit
    assert model.lipschitz_upper_ == float(model.certificate_)
    slopes = np.abs(np.diff(model.predict(X[:-1]))) / np.linalg.norm(
        np.diff(X[:-1], axis=0), axis=1
    )
    assert slopes.max() <= model.lipschitz_upper_ * (1 + 1e-5)
    assert product_of_norms(model.network_) <= limit * (1 + 1e-12)


def test_a_larger_limit_fits_better(diabetes):
    model = LipschitzRegressor((50,), tol=0, random_state=0)
    scores = [
        clone(model).set_params(lipschitz=limit).fit(*diabetes).score(*diabetes)
        for limit in (0.2, 1, 5)
    ]
    assert scores == sorted(scores) and scores[0] < 0.45 and scores[2] > 0.55


@pytest.mark.parametrize("activation", ["tanh", "relu", "logistic"])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_the_twin_of_scikit_learn_agrees(activation, n_outputs):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 6))
    y = np.sin(X[:, :n_outputs]) + X[:, [1]] * X[:, [2]]
    y = y[:, 0] if n_outputs == 1 else y
    twin = MLPRegressor(
        hidden_layer_sizes=(20,),
        activation=activation,
        solver="sgd",
        batch_size=len(X),
        momentum=0,
        nesterovs_momentum=False,
        shuffle=False,
        alpha=0,
        tol=0,
        random_state=0,
        n_iter_no_change=10**6,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = clone(twin).set_params(max_iter=1, learning_rate_init=1e-300).fit(X, y)
        # Its risk is half the sum of squares per sample, ours the mean square of the outputs.
        twin.set_params(max_iter=1000, learning_rate_init=0.05 * 2 / n_outputs).fit(X, y)
    name = {"logistic": "sigmoid"}.get(activation, activation)
    net = lipgd.Network([w.T for w in start.coefs_], start.intercepts_, name)
    ours = LipschitzRegressor(
        (20,), None, activation=name, init=net, momentum=0.0, learning_rate=0.05, tol=0
    ).fit(X, y)
    assert ours.n_iter_ == 1000
    np.testing.assert_allclose(ours.predict(X), twin.predict(X), rtol=0, atol=1e-10)


def test_a_grid_search_in_a_pipeline(diabetes):
    X, y = load_diabetes(return_X_y=True)
    model = make_pipeline(
        StandardScaler(),
        TransformedTargetRegressor(
            LipschitzRegressor((20,), max_iter=100, tol=0, random_state=0),
            transformer=StandardScaler(),
        ),
    )
    grid = {"transformedtargetregressor__regressor__lipschitz": [0.1, 2.0]}
    search = GridSearchCV(model, grid, cv=3).fit(X, y)
    assert search.best_params_ == {"transformedtargetregressor__regressor__lipschitz": 2.0}
    assert search.best_score_ > 0.4


def test_adam_needs_fewer_steps_and_keeps_limits(diabetes, cancer):
    plain = LipschitzRegressor((30,), 3.0, max_iter=150, tol=0, random_state=0).fit(*diabetes)
    model = clone(plain).set_params(solver="adam").fit(*diabetes)
    assert model.score(*diabetes) > plain.score(*diabetes)
    assert model.lipschitz_upper_ <= 3.0 and model.n_iter_ == 150
    classifier = LipschitzClassifier((30,), None, solver="adam", max_iter=100, tol=0)
    assert classifier.fit(*cancer).score(*cancer) > 0.98


def test_classes_of_any_kind(cancer):
    X, y = cancer
    names = np.array(["malignant", "benign"])[y]
    model = LipschitzClassifier((20,), 3.0, max_iter=200, tol=0, random_state=0).fit(X, names)
    assert set(model.predict(X)) == {"malignant", "benign"}
    assert model.score(X, names) > 0.97
    decision, probabilities = model.decision_function(X), model.predict_proba(X)
    assert decision.shape == (len(X),)
    np.testing.assert_allclose(probabilities[:, 1], 1 / (1 + np.exp(-decision)), rtol=1e-12)
    assert model.lipschitz_upper_ <= 3.0

    X, y = load_iris(return_X_y=True)
    model = LipschitzClassifier((20,), 20.0, max_iter=300, tol=0, random_state=0).fit(X, y)
    assert model.decision_function(X).shape == (150, 3)
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1.0, rtol=1e-12)
    assert model.score(X, y) > 0.95


def test_radii_within_which_the_label_stays(cancer):
    X, y = cancer
    model = LipschitzClassifier((20,), 3.0, max_iter=200, tol=0, random_state=0).fit(X, y)
    radii = model.certified_radius(X)
    assert radii.shape == (len(X),) and (radii > 0).all()
    gradients = model.network_.jacobian(X)[:, 0, :]
    steepest = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    sign = np.sign(model.decision_function(X))
    moved = X - (sign * radii * (1 - 1e-9))[:, None] * steepest
    assert (model.predict(moved) == model.predict(X)).all()
    farther = np.abs(model.decision_function(X)) / model.lipschitz_upper_
    assert (radii >= farther * (1 - 1e-6)).all()


def test_unscaled_data_do_not_diverge():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(200, 5)) * [1e-3, 1, 1e3, 1e5, 10] + 1e4
    y = 1e6 + X[:, 3] + 1e4 * rng.normal(size=200)
    for activation in ("silu", "relu"):
        model = LipschitzRegressor((20,), None, activation=activation, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X, y)
        risk = model.history_["risk"]
        assert np.isfinite(risk).all() and risk[-1] <= risk[0]
        assert model.score(X, y) > 0.5


def test_early_stopping_returns_the_best_network(diabetes, capsys):
    class Watched(LipschitzRegressor):
        def _split(self, data, seed):
            parts = super()._split(data, seed)
            self.held_out = parts[1]
            return parts

    X, y = diabetes
    rng = np.random.default_rng(0)
    X = np.hstack([X, rng.normal(size=(len(X), 40))])
    # A rate of the user makes the units of the training those of the data, and no step is undone.
    model = Watched((50,), None, max_iter=2000, random_state=0, learning_rate=0.02, verbose=True)
    full = clone(model).set_params(tol=0, verbose=False).fit(X[:200], y[:200])
    model.set_params(early_stopping=True, validation_fraction=0.3).fit(X[:200], y[:200])
    risks = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    assert len(risks) == model.n_iter_ // 25 < 80 and len(model.held_out.X) == 60
    best = lipgd.risk(model.network_, model.held_out.X, model.held_out.y)
    assert best == pytest.approx(min(risks), rel=1e-5) and best < 0.98 * risks[-1]
    assert model.score(X[200:], y[200:]) > full.score(X[200:], y[200:])


@pytest.mark.parametrize("counts", [(100, 50, 10), (1, 1, 2), (4, 1, 1), (3, 30)])
def test_early_stopping_keeps_the_parts_of_classes_and_needs_no_two_of_each(counts):
    y = np.repeat(np.arange(len(counts)), counts)
    X = np.random.default_rng(0).normal(size=(len(y), 2)) + y[:, None]
    model = LipschitzClassifier((4,), early_stopping=True, max_iter=5, tol=0, random_state=0)
    assert np.isfinite(model.fit(X, y).predict_proba(X)).all()
    kept, held_out = (
        np.bincount(part.y, minlength=len(counts)) for part in model._split(Data(X, y, None), 3)
    )
    np.testing.assert_array_equal(kept + held_out, counts)
    assert kept.min() > 0 and held_out.sum() == -(-len(y) // 10)
    assert np.abs(held_out - np.array(counts) / 10).max() <= 1
    with pytest.raises(ValueError, match="X has 2 samples, all of which the training needs"):
        model.fit([[0.0], [1.0]], [0, 1])


@pytest.mark.parametrize("limit", [0.01, 1.0, 5.0])
@pytest.mark.parametrize("options", [{}, {"learning_rate": 1e-9, "early_stopping": True}])
def test_limits_hold_where_the_first_network_beyond_them_was_better(limit, options):
    X, y = load_iris(return_X_y=True)
    few = {"max_iter": 50, "tol": 0, "random_state": 0}
    # Its risk is smaller than that of any network near its start that keeps the limit.
    start = LipschitzClassifier((5, 4, 3), None, **few).fit(X, y).network_
    model = LipschitzClassifier((5, 4, 3), limit, init=start, **few, **options).fit(X, y)
    assert model.lipschitz_upper_ <= limit < float(lipgd.lipschitz.upper(start))
    assert model.n_iter_ == 50 and len(model.history_.step) > 0


def test_warm_start_goes_on(diabetes):
    model = LipschitzRegressor((20,), 2.0, max_iter=50, tol=0, random_state=0, warm_start=True)
    first = model.fit(*diabetes).history_["risk"]
    second = model.fit(*diabetes).history_["risk"]
    assert second[0] == pytest.approx(first[-1], rel=1e-12)
    assert second[-1] < first[-1]
    with pytest.raises(ValueError, match="network_ of the last fit has the sizes"):
        model.set_params(hidden_layer_sizes=(30,)).fit(*diabetes)


def test_partial_fit_takes_an_epoch(cancer):
    X, y = cancer
    model = LipschitzClassifier((20,), 3.0, batch_size=64, random_state=0)
    with pytest.raises(ValueError, match="classes is None"):
        model.partial_fit(X, y)
    for _ in range(30):
        model.partial_fit(X, y, classes=[0, 1])
    assert model.n_iter_ == -(-len(X) // 64)
    assert model.score(X, y) > 0.95 and model.lipschitz_upper_ <= 3.0
    model.partial_fit(X[y == 1], y[y == 1])
    with pytest.raises(ValueError, match="classes is"):
        model.partial_fit(X, y, classes=[0, 2])


def test_weights_of_zero_are_as_if_absent_and_of_two_as_if_twice(diabetes):
    X, y = diabetes
    model = LipschitzRegressor((20,), 2.0, max_iter=100, tol=0, random_state=0)
    weight = np.ones(len(X))
    weight[::3] = 0
    one = clone(model).fit(X, y, sample_weight=weight).predict(X)
    other = clone(model).fit(X[weight > 0], y[weight > 0]).predict(X)
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)
    weight[1::3] = 2
    rows = np.repeat(np.arange(len(X)), weight.astype(int))
    one = clone(model).fit(X, y, sample_weight=weight).predict(X)
    other = clone(model).fit(X[rows], y[rows]).predict(X)
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
    for bad, message in ((-weight, "sample_weight has -2"), (0 * weight, "zero")):
        with pytest.raises(ValueError, match=message):
            clone(model).fit(X, y, sample_weight=bad)


def test_metadata_routing_reaches_fit(diabetes):
    with sklearn.config_context(enable_metadata_routing=True):
        model = LipschitzRegressor((10,), max_iter=20, tol=0, random_state=0)
        model.set_fit_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, model)
        weight = np.linspace(0.1, 1, len(diabetes[0]))
        routed = pipeline.fit(*diabetes, sample_weight=weight).predict(diabetes[0])
    X = StandardScaler().fit_transform(diabetes[0])
    direct = clone(model).fit(X, diabetes[1], sample_weight=weight).predict(X)
    np.testing.assert_array_equal(routed, direct)


def test_threads_do_not_change_a_bit(diabetes):
    fits = [
        LipschitzRegressor((30,), 2.0, max_iter=60, tol=0, random_state=0, n_threads=n).fit(
            *diabetes
        )
        for n in (1, 2)
    ]
    assert fits[0].network_ == fits[1].network_
    assert pickle.loads(pickle.dumps(fits[0])).network_ == fits[0].network_


@pytest.mark.parametrize("limit", [0.05, 1.0])
@pytest.mark.filterwarnings("ignore:lipschitz is 0.05, and no function")
def test_raw_units(limit):
    rng = np.random.default_rng(2)
    X = rng.normal(size=(100, 4)) * [1, 10, 100, 0.1] + 5
    y = 1000 * X[:, 0] + X[:, 1]
    model = TransformedTargetRegressor(
        make_pipeline(
            StandardScaler(),
            PCA(3),
            RobustScaler(),
            MinMaxScaler((-1, 1)),
            LipschitzRegressor((10, 5), limit, max_iter=50, tol=0, random_state=0),
        ),
        transformer=StandardScaler(),
    ).fit(X, y)
    net = in_raw_units(model)
    np.testing.assert_allclose(net(X)[:, 0], model.predict(X), rtol=1e-9, atol=1e-6)
    slope = np.abs(np.diff(model.predict(X))) / np.linalg.norm(np.diff(X, axis=0), axis=1)
    assert slope.max() <= float(lipgd.lipschitz.upper(net))
    # The largest scale alone gives a much larger number.
    assert float(lipgd.lipschitz.upper(net)) < limit * y.std() / 0.09


def test_steps_that_are_no_affine_maps_are_named():
    X = np.random.default_rng(0).lognormal(size=(60, 2))
    model = make_pipeline(
        PowerTransformer(), LipschitzRegressor((4,), max_iter=10, tol=0, random_state=0)
    ).fit(X, X[:, 0])
    with pytest.raises(ValueError, match="step 'powertransformer', which is not an affine map"):
        in_raw_units(model)
    with pytest.raises(TypeError, match="model is"):
        in_raw_units(StandardScaler())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"solver": "sgd"}, "solver is 'sgd', expected one of gradient, adam"),
        ({"lipschitz": 0}, "lipschitz is 0"),
        ({"lipschitz": -1.0}, "lipschitz is -1"),
        ({"hidden_layer_sizes": (10, 0)}, r"hidden_layer_sizes\[1\] is 0"),
        ({"loss": "logistic"}, "loss is 'logistic', expected mse or huber"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast'"),
        ({"learning_rate": -0.1}, "rate"),
        ({"max_iter": 0}, "max_iter is 0"),
        ({"tol": -1}, "tol is -1"),
        ({"activation": "sine"}, "activation"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"validation_fraction": 1.5}, "validation_fraction is 1.5"),
    ],
)
def test_parameters_are_refused_by_name(diabetes, parameters, message):
    with pytest.raises(ValueError, match=message):
        LipschitzRegressor(**parameters).fit(*diabetes)


def test_a_fit_that_is_cut_short_warns(diabetes):
    with pytest.warns(ConvergenceWarning, match="max_iter is 30"):
        LipschitzRegressor((10,), max_iter=30, random_state=0).fit(*diabetes)


@pytest.mark.skipif(not hasattr(LipschitzRegressor, "set_callbacks"), reason="scikit-learn < 1.9")
def test_callbacks_see_one_task_per_chunk_and_can_stop(diabetes):
    from sklearn.callback import ScoringMonitor

    class Stop:
        def setup(self, estimator, context): ...

        def teardown(self, estimator, context): ...

        def on_fit_task_begin(self, estimator, context): ...

        def on_fit_task_end(self, estimator, context):
            return context.task_name == "chunk" and context.task_id == 2

    model = LipschitzRegressor((10,), random_state=0)
    assert clone(model).set_callbacks(Stop()).fit(*diabetes).n_iter_ == 75
    monitor = ScoringMonitor(scoring="r2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = clone(model).set_params(max_iter=100).set_callbacks(monitor).fit(*diabetes)
    assert fitted.n_iter_ == 100
    scores = [row["r2"] for row in monitor.get_logs().data if row["task_name"] == "chunk"]
    assert len(scores) == 4 and scores == sorted(scores)


def test_verbose_prints_the_risk(diabetes, capsys):
    LipschitzRegressor((10,), max_iter=50, tol=0, random_state=0, verbose=True).fit(*diabetes)
    assert "LipschitzRegressor: step 50 of 50, risk " in capsys.readouterr().out
