"""scikit-learn estimators whose Lipschitz constant is named by the user and certified."""

try:
    import sklearn as _sklearn  # noqa: F401
except ImportError as error:
    raise ImportError('lipgd.sklearn needs scikit-learn: pip install "lipgd[sklearn]"') from error

from lipgd.sklearn._classifier import LipschitzClassifier
from lipgd.sklearn._regressor import LipschitzRegressor
from lipgd.sklearn._units import in_raw_units

__all__ = ["LipschitzClassifier", "LipschitzRegressor", "in_raw_units"]
