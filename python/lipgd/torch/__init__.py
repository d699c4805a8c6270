"""PyTorch: networks to and from modules, and the Lipschitz dynamics of any module.

Needs ``pip install "lipgd[torch]"``.
"""

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError('lipgd.torch needs PyTorch: pip install "lipgd[torch]"') from error

from lipgd.torch._convert import Elementwise, Scale, from_torch, to_torch

__all__ = ["Elementwise", "Scale", "from_torch", "to_torch"]
