"""Bundled and synthetic data sets: what they are, what their generators promise, and messages."""

from __future__ import annotations

import builtins
import doctest
import importlib
import pickle

import numpy as np
import pytest
import sklearn.datasets

from lipgd import data

LOADERS = {
    "diabetes": sklearn.datasets.load_diabetes,
    "linnerud": sklearn.datasets.load_linnerud,
    "breast_cancer": sklearn.datasets.load_breast_cancer,
    "digits": sklearn.datasets.load_digits,
    "iris": sklearn.datasets.load_iris,
    "wine": sklearn.datasets.load_wine,
}


def is_sound(dataset):
    assert dataset.X.dtype == np.float64
    assert dataset.X.flags.c_contiguous
    assert dataset.y.flags.c_contiguous
    assert len(dataset.X) == len(dataset.y)
    assert len(dataset.feature_names) == dataset.X.shape[1]
    assert all(type(name) is str for name in (*dataset.feature_names, *dataset.classes))
    if dataset.task == "classification":
        assert dataset.y.dtype == np.int64
        allowed = [-1, 1] if len(dataset.classes) == 2 else range(len(dataset.classes))
        assert set(dataset.y.tolist()) <= set(allowed)
    else:
        assert dataset.y.dtype == np.float64
        assert dataset.classes == ()
    again = pickle.loads(pickle.dumps(dataset))
    assert np.array_equal(again.X, dataset.X)
    return True


@pytest.mark.parametrize("name", LOADERS)
def test_bundled_sets_have_the_numbers_of_scikit_learn(name):
    dataset, bunch = data.load(name), LOADERS[name]()
    assert is_sound(dataset)
    assert dataset.name == name
    assert f"load_{name}" in dataset.source
    assert np.array_equal(dataset.X, bunch.data)
    assert dataset.feature_names == tuple(bunch.feature_names)
    if dataset.task == "regression":
        assert np.array_equal(dataset.y, bunch.target)
    else:
        assert dataset.classes == tuple(map(str, bunch.target_names))
        labels = sorted(set(dataset.y.tolist()))
        assert [labels.index(label) for label in dataset.y] == bunch.target.tolist()


def test_two_digits_are_the_rows_of_both():
    dataset, bunch = data.load("digits_3_vs_8"), LOADERS["digits"]()
    rows = (bunch.target == 3) | (bunch.target == 8)
    assert is_sound(dataset)
    assert dataset.classes == ("3", "8")
    assert np.array_equal(dataset.X, bunch.data[rows])
    assert np.array_equal(dataset.y, np.where(bunch.target[rows] == 3, -1, 1))


def test_names_and_documentation_list_every_set():
    assert set(data.names()) == {*LOADERS, "digits_3_vs_8"}
    for name in data.names():
        shape = data.load(name).X.shape
        (line,) = [line for line in data.load.__doc__.splitlines() if line.split()[:1] == [name]]
        assert line.split()[1:3] == [str(size) for size in shape]


def test_sets_are_copies():
    data.load("iris").X[:] = 0.0
    assert data.load("iris").X.any()


def test_load_without_scikit_learn_names_the_extra(monkeypatch):
    original = builtins.__import__

    def without(name, *arguments):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return original(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r'load needs scikit-learn: pip install "lipgd\[demo\]"'):
        data.load("iris")


GENERATED = {
    "smooth": lambda seed: data.regression(50, 3, teacher="smooth", seed=seed),
    "rough": lambda seed: data.regression(50, 3, teacher="rough", n_outputs=2, seed=seed),
    "lipschitz": lambda seed: data.regression(50, 3, teacher="lipschitz", seed=seed),
    "xor": lambda seed: data.xor(50, noise=0.1, lift=0.3, seed=seed),
    "mixture": lambda seed: data.gaussian_mixture(50, 3, separation=2, label_noise=0.5, seed=seed),
}


@pytest.mark.parametrize("name", GENERATED)
def test_a_seed_gives_the_same_data(name):
    first, again, other = (GENERATED[name](seed) for seed in (3, 3, 4))
    assert is_sound(first)
    assert np.array_equal(first.X, again.X)
    assert np.array_equal(first.y, again.y)
    assert not np.array_equal(first.X, other.X)
    assert first.source == again.source
    assert "seed=3" in first.source
    generator = np.random.default_rng(3)
    drawn = GENERATED[name](generator)
    assert np.array_equal(first.X, drawn.X)
    assert not np.array_equal(GENERATED[name](generator).X, drawn.X)
    assert first.sha256 == {}


@pytest.mark.parametrize("name", ["smooth", "lipschitz", "xor", "mixture"])
def test_the_source_is_the_call(name):
    dataset = GENERATED[name](3)
    again = eval(dataset.source, {"lipgd": importlib.import_module("lipgd")})
    assert np.array_equal(again.X, dataset.X)
    assert np.array_equal(again.y, dataset.y)


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("teacher", ["smooth", "rough", "lipschitz"])
def test_targets_are_the_teacher_and_noise(teacher, n_outputs):
    noise = 0.05
    dataset = data.regression(20_000, 4, teacher=teacher, noise=noise, n_outputs=n_outputs, seed=2)
    assert dataset.y.shape == ((20_000,) if n_outputs == 1 else (20_000, n_outputs))
    assert np.abs(dataset.X).max() <= 1.0
    assert np.abs(dataset.X).max() > 0.999
    rest = dataset.y - dataset.teacher(dataset.X)
    assert np.std(rest) == pytest.approx(noise, rel=0.03)
    assert abs(np.mean(rest)) < 5 * noise / np.sqrt(rest.size)
    clean = data.regression(50, 4, teacher=teacher, noise=0, n_outputs=n_outputs, seed=2)
    assert np.array_equal(clean.y, clean.teacher(clean.X))
    # In blocks as at once, and after pickling.
    assert np.array_equal(
        pickle.loads(pickle.dumps(dataset.teacher))(dataset.X[16_000:17_000]),
        dataset.teacher(dataset.X)[16_000:17_000],
    )


@pytest.mark.parametrize("teacher", ["smooth", "rough"])
@pytest.mark.parametrize("n_inputs", [1, 7, 200])
def test_waves_have_the_size_of_one(teacher, n_inputs):
    squares = [
        np.mean(data.regression(2000, n_inputs, teacher=teacher, noise=0, seed=seed).y ** 2)
        for seed in range(10)
    ]
    assert 0.3 < np.mean(squares) < 2.0


def test_a_rough_teacher_is_rougher():
    step = 1e-5
    slope = {}
    for teacher in ("smooth", "rough"):
        function = data.regression(1, 1, teacher=teacher, seed=0).teacher
        x = np.linspace(-1, 1, 4001)[:, None]
        slope[teacher] = np.sqrt(np.mean(((function(x + step) - function(x)) / step) ** 2))
    assert slope["rough"] > 5 * slope["smooth"]


@pytest.mark.parametrize("n_outputs", [1, 4])
@pytest.mark.parametrize("n_inputs", [1, 2, 30])
def test_the_lipschitz_constant_is_exact(n_inputs, n_outputs):
    for seed in range(5):
        dataset = data.regression(
            400, n_inputs, teacher="lipschitz", lipschitz=2.5, n_outputs=n_outputs, seed=seed
        )
        assert dataset.lipschitz == 2.5
        X, y = dataset.X, dataset.teacher(dataset.X).reshape(len(dataset.X), -1)
        pairs = np.random.default_rng(seed).integers(0, 400, (2, 4000))
        pairs = pairs[:, pairs[0] != pairs[1]]
        change = np.linalg.norm(y[pairs[0]] - y[pairs[1]], axis=1)
        apart = np.linalg.norm(X[pairs[0]] - X[pairs[1]], axis=1)
        assert (change <= 2.5 * apart * (1 + 1e-12)).all()
        # The slope of the piece at a point of the cube reaches the constant.
        piece = np.argmax(X @ dataset.teacher.directions.T + dataset.teacher.offsets, axis=1)
        along = X[:1] + 1e-7 * dataset.teacher.directions[piece[:1]]
        reached = np.linalg.norm(dataset.teacher(along).ravel() - y[0]) / 1e-7
        assert reached == pytest.approx(2.5, rel=1e-6)


def test_other_teachers_have_no_known_constant():
    assert data.regression(5, 1).lipschitz is None
    assert data.regression(5, 1, teacher="lipschitz").lipschitz == 1.0


def test_xor_is_the_four_corners():
    dataset = data.xor()
    assert is_sound(dataset)
    assert sorted(map(tuple, dataset.X)) == [(-1, -1), (-1, 1), (1, -1), (1, 1)]
    assert np.array_equal(dataset.y, dataset.X[:, 0] * dataset.X[:, 1])


def test_lifted_xor_has_the_margin():
    dataset = data.xor(8, lift=0.25)
    assert np.array_equal(dataset.y * dataset.X[:, 2], np.full(8, 0.25))
    assert np.array_equal(dataset.X[:, :2], data.xor(8).X)


def test_noisy_xor_keeps_its_labels_and_its_lift():
    dataset = data.xor(40_000, noise=0.5, lift=1.0, seed=1)
    corners = data.xor(40_000)
    assert np.array_equal(dataset.y, corners.y)
    assert np.array_equal(dataset.X[:, 2], dataset.y)
    assert np.std(dataset.X[:, :2] - corners.X) == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize(("n_inputs", "classes"), [(1, 2), (5, 2), (2, 3), (10, 4)])
def test_mixtures_have_equally_distant_means(n_inputs, classes):
    dataset = data.gaussian_mixture(60_000, n_inputs, separation=6.0, classes=classes, seed=5)
    assert is_sound(dataset)
    assert dataset.X.shape == (60_000, n_inputs)
    labels = np.unique(dataset.y)
    assert len(labels) == len(dataset.classes) == classes
    parts = [dataset.X[dataset.y == label] for label in labels]
    means = np.array([part.mean(axis=0) for part in parts])
    assert np.abs(means.sum(axis=0)).max() < 0.1
    for i in range(classes):
        assert len(parts[i]) == pytest.approx(60_000 / classes, rel=0.05)
        covariance = np.atleast_2d(np.cov(parts[i].T))
        assert np.abs(covariance - np.eye(n_inputs)).max() < 0.06
        for j in range(i):
            assert np.linalg.norm(means[i] - means[j]) == pytest.approx(6.0, rel=0.02)


@pytest.mark.parametrize("classes", [2, 3])
def test_label_noise_moves_labels_to_the_other_classes(classes):
    arguments = {"separation": 1.0, "classes": classes, "seed": 7}
    clean = data.gaussian_mixture(30_000, 4, **arguments)
    noisy = data.gaussian_mixture(30_000, 4, label_noise=0.3, **arguments)
    assert np.array_equal(clean.X, noisy.X)
    wrong = clean.y != noisy.y
    assert np.mean(wrong) == pytest.approx(0.3, abs=0.015)
    for label in np.unique(clean.y):
        found = noisy.y[wrong & (clean.y == label)]
        counts = np.unique(found, return_counts=True)[1]
        assert len(counts) == classes - 1
        assert counts / len(found) == pytest.approx(1 / (classes - 1), abs=0.03)
    always = data.gaussian_mixture(100, 4, label_noise=1, **arguments)
    never = data.gaussian_mixture(100, 4, label_noise=0, **arguments)
    assert (always.y != never.y).all()


def test_no_global_random_state_is_used():
    state = np.random.get_state()[1].copy()
    for make in GENERATED.values():
        make(0)
    assert np.array_equal(np.random.get_state()[1], state)


MESSAGES = [
    (lambda: data.load("mnist"), ValueError, "name is 'mnist', expected one of diabetes, linn"),
    (lambda: data.load(3), TypeError, "name is 3"),
    (lambda: data.regression(0, 1), ValueError, "n_samples is 0"),
    (lambda: data.regression(1, 0), ValueError, "n_inputs is 0"),
    (lambda: data.regression(1.5, 1), TypeError, "n_samples is 1.5"),
    (lambda: data.regression(1, 1, n_outputs=0), ValueError, "n_outputs is 0"),
    (lambda: data.regression(1, 1, noise=-1), ValueError, "noise is -1"),
    (lambda: data.regression(1, 1, noise=np.nan), ValueError, "noise is nan"),
    (lambda: data.regression(1, 1, teacher="flat"), ValueError, "teacher is 'flat', expected one"),
    (lambda: data.regression(1, 1, lipschitz=1), ValueError, "lipschitz is 1, but the teacher is"),
    (
        lambda: data.regression(1, 1, teacher="lipschitz", lipschitz=0),
        ValueError,
        "lipschitz is 0, expected a finite number above 0",
    ),
    (lambda: data.regression(1, 1, seed=-1), ValueError, "seed is -1"),
    (lambda: data.regression(1, 1, seed=None), TypeError, "seed is None"),
    (
        lambda: data.regression(1, 2).teacher(np.zeros((5, 3))),
        ValueError,
        r"X has shape \(5, 3\), but the teacher takes 2 inputs",
    ),
    (lambda: data.xor(0), ValueError, "n_samples is 0"),
    (lambda: data.xor(noise=-0.1), ValueError, "noise is -0.1"),
    (lambda: data.xor(lift=np.inf), ValueError, "lift is inf"),
    (lambda: data.gaussian_mixture(5, 1, separation=-1), ValueError, "separation is -1"),
    (lambda: data.gaussian_mixture(5, 1, separation=1, label_noise=2), ValueError, "label_noise"),
    (lambda: data.gaussian_mixture(5, 1, separation=1, classes=1), ValueError, "classes is 1"),
    (
        lambda: data.gaussian_mixture(5, 2, separation=1, classes=4),
        ValueError,
        "n_inputs is 2, but 4 classes need 3",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), MESSAGES)
def test_messages(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("module", ["_bundled", "_cifar", "_csv", "_dataset", "_idx", "_synthetic"])
def test_examples_run(module):
    result = doctest.testmod(importlib.import_module(f"lipgd.data.{module}"))
    assert result.attempted > 0
    assert result.failed == 0
