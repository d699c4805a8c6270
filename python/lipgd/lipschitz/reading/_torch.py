"""PyTorch modules and state dictionaries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lipgd._check import shown
from lipgd.lipschitz._model import Model

from ._builder import Builder
from ._graph import Graph, Stream

__all__ = ["biased_layers", "is_module", "read_module", "read_state"]

_FUNCTIONS = {
    "ReLU": "relu",
    "ReLU6": "relu6",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "SiLU": "silu",
}
_NOTHING = {"Identity", "Dropout", "AlphaDropout", "FeatureAlphaDropout", "Flatten"}
_SOFTMAX = {"Softmax", "LogSoftmax", "Softmin"}
#: Why common layers have no certificate here.
_REASONS = {
    "Conv": "is a convolution, and only dense layers are treated",
    "Pool": "pools its inputs, and only dense layers are treated",
    "LayerNorm": "divides by a deviation of its inputs, which no interval of slopes describes",
    "RMSNorm": "divides by a size of its inputs, which no interval of slopes describes",
    "GroupNorm": "divides by a deviation of its inputs, which no interval of slopes describes",
    "InstanceNorm": "divides by a deviation of its inputs, which no interval of slopes describes",
    "Attention": "multiplies functions of its inputs and has no finite Lipschitz constant",
    "Transformer": "has attention, which has no finite Lipschitz constant",
    "Embedding": "takes integers, which have no distance",
    "LSTM": "is recurrent, and only chains of layers are treated",
    "GRU": "is recurrent, and only chains of layers are treated",
    "RNN": "is recurrent, and only chains of layers are treated",
    "Bilinear": "multiplies two inputs, and only dense layers are treated",
}
_KNOWN = "Linear, BatchNorm1d, Flatten, Dropout, Identity and activations of lipgd"
_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


def is_module(source: Any) -> bool:
    """Return whether something is a torch.nn.Module, without importing torch."""
    return any(
        base.__name__ == "Module" and base.__module__.startswith("torch.")
        for base in type(source).__mro__
    )


def read_module(module: Any) -> Model:
    """Follow the graph of a module."""
    builder = Builder(f"the module {type(module).__name__}")
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        _refuse_without_numbers(builder, name, tensor)
    if module.training and any(_is_random(m) for m in module.modules()):
        builder.notes.append(
            "The module is in training mode; it is taken as in evaluation, after module.eval()."
        )
    for name, layer in module.named_modules():
        _check_plain(builder, f"{name or 'itself'} ({type(layer).__name__})", layer)
    graph = Graph(builder)
    if _is_leaf(module):
        graph.finish(_layer(graph, "itself", module, graph.start()))
        return builder.build()
    for node in _traced(module, builder).nodes:
        graph.values[node.name] = _step(graph, module, node)
    return builder.build()


def read_state(state: Mapping[str, Any], activation: Any) -> Model:
    """Read the matrices of a state dictionary in their order."""
    builder = Builder("the state_dict")
    for name, value in state.items():
        _refuse_without_numbers(builder, str(name), value)
    arrays = {str(name): _array(value) for name, value in state.items()}
    for name, array in arrays.items():
        if "running_" in name or "parametrizations" in name or array.ndim > 2:
            raise builder.error(
                f"has {name} of shape {array.shape}, "
                "which only a module explains: expected weights and biases of dense layers"
            )
    pairs = _pairs({name: array.ndim for name, array in arrays.items()})
    for place, (name, bias) in enumerate(pairs):
        if place:
            builder.hidden(activation, place - 1, len(pairs) - 1)
        builder.linear(name, arrays[name], None if bias is None else arrays[bias])
    rest = set(arrays).difference(*pairs)
    if rest:
        raise builder.error(f"has {min(rest)}, which belongs to no matrix of weights")
    return builder.build()


def biased_layers(source: Any) -> list[bool]:
    """Return which of the dense layers have a bias, in the order in which a model has them."""
    if isinstance(source, Mapping):
        dimensions = {str(name): _array(value).ndim for name, value in source.items()}
        return [bias is not None for _, bias in _pairs(dimensions)]
    if _is_leaf(source):
        return [source.bias is not None]
    nodes = _traced(source, Builder("the module")).nodes
    called = [source.get_submodule(node.target) for node in nodes if node.op == "call_module"]
    dense = [layer for layer in called if _LAYERS.get(_kind(layer)) is _linear]
    return [layer.bias is not None for layer in dense]


def _pairs(dimensions: Mapping[str, int]) -> list[tuple[str, str | None]]:
    """Return the names of the matrices of a state dictionary, each with that of its bias."""
    pairs: list[tuple[str, str | None]] = []
    for name in (name for name, count in dimensions.items() if count == 2):
        bias = name[: -len("weight")] + "bias" if name.endswith("weight") else None
        pairs.append((name, bias if bias in dimensions else None))
    return pairs


def _check_plain(builder: Builder, words: str, layer: Any) -> None:
    """Raise for a layer that does not compute what its class says."""
    if layer._forward_hooks or layer._forward_pre_hooks:
        raise builder.error(
            f"has the layer {words} with hooks, which may change what it computes, expected none; "
            "of norms torch.nn.utils.parametrizations has some without"
        )
    if layer.training and hasattr(layer, "parametrizations"):
        raise builder.error(
            f"has the layer {words} in training mode, whose weights may change with every look, "
            "expected the module after module.eval()"
        )


def _kind(layer: Any) -> str:
    """Return the name of the class of a layer, before parametrizations of its weights."""
    name = type(layer).__name__
    return name.removeprefix("Parametrized") if hasattr(layer, "parametrizations") else name


def _is_leaf(module: Any) -> bool:
    """Return whether a module is one of torch's own layers."""
    own = type(module).__module__.startswith("torch.nn")
    return own and not any(base.__name__ == "Sequential" for base in type(module).__mro__)


def _is_own(module: Any) -> bool:
    """Return whether a module is an activation of lipgd.torch, which knows its name."""
    return type(module).__module__.startswith("lipgd.torch") and hasattr(module, "activation")


def _is_random(module: Any) -> bool:
    kind = type(module).__name__
    return "Dropout" in kind or "BatchNorm" in kind


def _traced(module: Any, builder: Builder) -> Any:
    from torch.fx import Tracer

    class Leaves(Tracer):
        def is_leaf_module(self, layer: Any, name: str) -> bool:
            return _is_own(layer) or bool(super().is_leaf_module(layer, name))

    try:
        return Leaves().trace(module)
    except Exception as error:  # whatever the code of the module raises
        for name, layer in module.named_modules():
            own = type(layer).__module__.startswith("torch.nn")
            if own and any(part in type(layer).__name__ for part in _REASONS):
                raise _untreated(builder, f"{name or 'itself'} ({type(layer).__name__})") from error
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise builder.error(
            f"cannot be traced ({reason}), expected a forward that is the same for all inputs"
        ) from error


def _step(graph: Graph, module: Any, node: Any) -> Any:
    """Return the value of a node of the traced graph."""
    if node.op == "placeholder":
        if any(isinstance(value, Stream) for value in graph.values.values()):
            raise graph.builder.error(f"takes a second input {node.name}, expected one input")
        return graph.start()
    if node.op == "get_attr":
        value = module
        for part in node.target.split("."):
            value = getattr(value, part)
        return _array(value)
    arguments = [_value(graph, argument) for argument in node.args]
    options = {name: _value(graph, argument) for name, argument in node.kwargs.items()}
    if node.op == "output":
        if not isinstance(arguments[0], Stream):
            raise graph.builder.error("returns more than one array, expected one output")
        return graph.finish(arguments[0])
    if node.op == "call_module":
        return _layer(graph, node.target, module.get_submodule(node.target), arguments[0])
    name = node.target if isinstance(node.target, str) else node.target.__name__
    return _function(graph, node.name, name, arguments, options)


def _value(graph: Graph, argument: Any) -> Any:
    """Return what an argument of a node stands for."""
    named = type(argument).__name__ == "Node"
    return graph.values[argument.name] if named else argument


def _layer(graph: Graph, name: str, layer: Any, value: Any) -> Stream:
    kind = _kind(layer)
    words = f"{name} ({kind})"
    if kind in _NOTHING:
        return graph.same(words, value)
    if kind in _SOFTMAX:
        return graph.softmax(words, value, kind)
    if kind in _FUNCTIONS:
        return graph.function(words, value, _FUNCTIONS[kind])
    if _is_own(layer):
        return graph.function(words, value, layer.activation.name)
    if kind in _LAYERS:
        return _LAYERS[kind](graph, words, layer, value)
    raise _untreated(graph.builder, words)


def _untreated(builder: Builder, words: str) -> ValueError:
    why = next((text for part, text in _REASONS.items() if part in words), None)
    return builder.error(
        f"has the layer {words}, which {why}"
        if why
        else f"has the layer {words}, which is not treated, expected {_KNOWN}"
    )


def _linear(graph: Graph, words: str, layer: Any, value: Any) -> Stream:
    bias = None if layer.bias is None else _array(layer.bias)
    return graph.linear(words, value, _array(layer.weight), bias)


def _batch_norm(graph: Graph, words: str, layer: Any, value: Any) -> Stream:
    if layer.running_mean is None or layer.running_var is None:
        raise graph.builder.error(
            f"has the layer {words}, which keeps no running statistics: "
            "it has no Lipschitz constant of one input"
        )
    scale = 1.0 / np.sqrt(_array(layer.running_var) + layer.eps)
    shift = -_array(layer.running_mean)
    graph.builder.notes.append(f"{words} is merged into the layer beside it.")
    value = graph.affine(words, value, 1.0, shift)
    weight = 1.0 if layer.weight is None else _array(layer.weight)
    bias = 0.0 if layer.bias is None else _array(layer.bias)
    return graph.affine(words, value, weight * scale, bias, 4.0)


def _leaky_relu(graph: Graph, words: str, layer: Any, value: Any) -> Stream:
    return graph.function(words, value, f"leaky_relu({float(layer.negative_slope)!r})")


def _elu(graph: Graph, words: str, layer: Any, value: Any) -> Stream:
    return graph.function(words, value, f"elu({float(layer.alpha)!r})")


def _gelu(graph: Graph, words: str, layer: Any, value: Any) -> Stream:
    kind = {"none": "gelu", "tanh": "gelu_tanh"}[layer.approximate]
    return graph.function(words, value, kind)


def _softplus(graph: Graph, words: str, layer: Any, value: Any) -> Stream:
    if layer.beta != 1:
        value = graph.arithmetic(words, "*", value, float(layer.beta))
    result = graph.function(words, value, "softplus")
    if layer.beta != 1:
        result = graph.arithmetic(words, "/", result, float(layer.beta))
    return result


def _selu(graph: Graph, words: str, _: Any, value: Any) -> Stream:
    inner = graph.function(words, value, f"elu({_SELU_ALPHA!r})")
    scaled: Stream = graph.arithmetic(words, "*", inner, _SELU_SCALE)
    return scaled


def _prelu(graph: Graph, words: str, layer: Any, value: Any) -> Stream:
    slopes = np.unique(_array(layer.weight))
    if len(slopes) > 1 or not 0.0 <= slopes[0] <= 1.0:
        raise graph.builder.error(
            f"has the layer {words} with the slopes {shown(slopes.tolist())}, "
            "expected one slope from 0 to 1"
        )
    return graph.function(words, value, f"leaky_relu({float(slopes[0])!r})")


_LAYERS: dict[str, Callable[[Graph, str, Any, Any], Stream]] = {
    "Linear": _linear,
    "NonDynamicallyQuantizableLinear": _linear,
    "BatchNorm1d": _batch_norm,
    "LeakyReLU": _leaky_relu,
    "ELU": _elu,
    "GELU": _gelu,
    "Softplus": _softplus,
    "SELU": _selu,
    "PReLU": _prelu,
}
_ARITHMETIC = {"add": "+", "sub": "-", "mul": "*", "truediv": "/", "div": "/", "add_": "+"}
_ARITHMETIC |= {"mul_": "*", "iadd": "+", "imul": "*", "multiply": "*", "subtract": "-"}
_ELEMENTWISE = {"relu": "relu", "relu_": "relu", "relu6": "relu6", "tanh": "tanh", "sin": "sin"}
_ELEMENTWISE |= {"sigmoid": "sigmoid", "silu": "silu", "erf": "erf", "softplus": "softplus"}
_SHAPES = {"size", "dim", "getattr", "getitem"}
_SAME = {"dropout", "contiguous", "alpha_dropout", "float", "clone", "detach", "to", "double"}


def _function(
    graph: Graph, node: str, name: str, arguments: list[Any], options: dict[str, Any]
) -> Any:
    words = f"{node} ({name})"
    if name in _SHAPES:
        return None
    if name in _SAME:
        return graph.same(words, arguments[0] if arguments else options["input"])
    if name in ("flatten", "view", "reshape"):
        return _reshaped(graph, words, name, arguments, options)
    if name in _ARITHMETIC and len(arguments) == 2 and not options:
        return graph.arithmetic(words, _ARITHMETIC[name], *(map(_number, arguments)))
    if name in ("pow", "square"):
        return graph.power(words, arguments[0], arguments[1] if name == "pow" else 2)
    if name == "neg":
        return graph.arithmetic(words, "*", arguments[0], -1.0)
    value = arguments[0] if arguments else options.pop("input")
    options.pop("inplace", None)
    if name in ("softmax", "log_softmax"):
        return graph.softmax(words, value, name)
    if name in _ELEMENTWISE and not options and len(arguments) < 2:
        return graph.function(words, value, _ELEMENTWISE[name])
    return _with_options(graph, words, name, [value, *arguments[1:]], options)


def _with_options(
    graph: Graph, words: str, name: str, arguments: list[Any], options: dict[str, Any]
) -> Stream:
    if name == "leaky_relu":
        slope = _option(arguments, options, "negative_slope", 0.01)
        return graph.function(words, arguments[0], f"leaky_relu({float(slope)!r})")
    if name == "elu":
        alpha = _option(arguments, options, "alpha", 1.0)
        return graph.function(words, arguments[0], f"elu({float(alpha)!r})")
    if name == "gelu":
        kind = {"none": "gelu", "tanh": "gelu_tanh"}[options.get("approximate", "none")]
        return graph.function(words, arguments[0], kind)
    if name == "linear":
        bias = _option(arguments[1:], options, "bias", None)
        return graph.linear(words, arguments[0], arguments[1], bias)
    raise graph.builder.error(f"has the operation {words}, which is not treated, expected {_KNOWN}")


def _reshaped(
    graph: Graph, words: str, name: str, arguments: list[Any], options: dict[str, Any]
) -> Stream:
    """Accept only what leaves the values of one sample in one row."""
    if name == "flatten":
        rows = _option(arguments, options, "start_dim", 0) == 1
    else:
        shape = arguments[1] if isinstance(arguments[1], (list, tuple)) else arguments[1:]
        rows = len(shape) == 2 and (
            (shape[1] == -1 and shape[0] in (None, 1))
            or (shape[1] == graph.builder.width and shape[0] in (None, -1))
        )
        # Before the first layer the width is not known: the first matrix checks it.
        rows = rows or (len(shape) == 2 and shape[0] == -1 and graph.builder.width is None)
    if not rows:
        raise graph.builder.error(
            f"has the operation {words}, which mixes samples or gives them several dimensions, "
            "expected one row per sample"
        )
    return graph.same(words, arguments[0])


def _option(arguments: list[Any], options: dict[str, Any], name: str, default: Any) -> Any:
    return arguments[1] if len(arguments) > 1 else options.get(name, default)


def _refuse_without_numbers(builder: Builder, name: str, value: Any) -> None:
    if getattr(value, "is_meta", False):
        raise builder.error(f"has {name} on the device meta, which keeps no numbers")


def _number(value: Any) -> Any:
    return value if isinstance(value, (Stream, int, float)) else _array(value)


def _array(value: Any) -> Any:
    """Return a tensor as an array of float64, which holds float32 and its halves exactly."""
    if hasattr(value, "detach"):
        if value.is_meta:
            raise ValueError("a tensor is on the device meta, expected one that has its numbers")
        tensor = value.detach().cpu()
        return tensor.double().numpy() if tensor.is_floating_point() else tensor.numpy()
    return np.asarray(value)
