"""PyTorch: networks to and from modules, and the Lipschitz dynamics of any module.

Needs ``pip install "lipgd[torch]"``.
"""

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError('lipgd.torch needs PyTorch: pip install "lipgd[torch]"') from error

from lipgd.torch._coefficients import coefficients
from lipgd.torch._convert import Elementwise, Scale, from_torch, to_torch
from lipgd.torch._norms import KernelNorm
from lipgd.torch._operator import operator_norm
from lipgd.torch._result import ModelCoefficients

__all__ = [
    "Elementwise",
    "KernelNorm",
    "ModelCoefficients",
    "Scale",
    "coefficients",
    "from_torch",
    "operator_norm",
    "to_torch",
]
