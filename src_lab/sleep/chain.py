"""Reads a PyTorch module as what sleep understands: a chain of layers of weights with ReLU between them."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import fx, nn

from src_lab.models import LowRankLinear, StraightThroughReLU, UnscaledDropout
from src_lab.settings import ConfigError
from src_lab.sleep.layers import ConvLayer, DenseLayer, SleepingLayer

log = logging.getLogger(__name__)

MATRICES = (nn.Linear, LowRankLinear)
WEIGHTS = (*MATRICES, nn.Conv2d)
RECTIFIERS = (nn.ReLU, StraightThroughReLU)
RESHAPING = (nn.Flatten, nn.Unflatten)
TRANSPARENT = (nn.Dropout, nn.Identity, UnscaledDropout)
RECTIFYING_CALLS = ("relu", "relu_")
FLATTENING_CALLS = ("flatten", "view", "reshape")
TRANSPARENT_CALLS = ("dropout",)
SHAPE_CALLS = ("size", "getattr", "getitem")
ALLOWED = "a chain of Linear or Conv2d, ReLU, BatchNorm2d, AvgPool2d, Dropout, Flatten and Identity"


def find_layers(model: nn.Module) -> list[SleepingLayer]:
    """The layers of weights of `model` in the order of its forward.

    Raises ConfigError naming the first thing that is no part of such a chain: another kind of module, a branch, weights
    used twice or computed from others, two layers of weights without a ReLU between them, sizes that do not fit,
    mixed dtypes.
    """
    if isinstance(model, WEIGHTS):
        model = nn.Sequential(model)
    reader = _Reader()
    for node in _chain(model):
        if node.op == "call_module":
            reader.read(str(node.target), model.get_submodule(str(node.target)))
        else:
            reader.read_call(_call(node))
    if not reader.found:
        raise ConfigError(f"{type(model).__name__} has no Linear layer: sleep needs {ALLOWED}")
    if any(isinstance(module, nn.AvgPool2d) for module in reader.feed):
        raise ConfigError(f"a pooling follows the last layer of weights, {reader.found[-1].name}: sleep needs {ALLOWED}")
    return reader.found


class _Reader:
    """Takes the steps of a forward in order; `feed` is what has come since the last layer of weights."""

    def __init__(self) -> None:
        self.found: list[SleepingLayer] = []
        self.feed: list[nn.Module] = []
        self._rectified = True

    def read(self, name: str, module: nn.Module) -> None:
        if isinstance(module, RECTIFIERS):
            self._rectified = True
        elif isinstance(module, WEIGHTS):
            if not self._rectified:
                raise ConfigError(
                    f"layers {self.found[-1].name} and {name} have no ReLU between them: sleep needs {ALLOWED}"
                )
            self.found.append(_layer(name, module, tuple(self.feed), self.found))
            self.feed, self._rectified = [], False
        elif isinstance(module, nn.AvgPool2d):
            if not self._rectified:
                raise ConfigError(f"pooling {name} comes before the ReLU of layer {self.found[-1].name}: put it behind")
            self.feed.append(module)
        elif isinstance(module, nn.BatchNorm2d):
            self._normalise(name, module)
        elif isinstance(module, RESHAPING):
            self.feed.append(module)
        elif not isinstance(module, TRANSPARENT):
            raise ConfigError(f"module {name} is a {type(module).__name__}: sleep needs {ALLOWED}")

    def read_call(self, called: str) -> None:
        if called in RECTIFYING_CALLS:
            self._rectified = True
        elif called in FLATTENING_CALLS:
            self.feed.append(nn.Flatten())
        elif called not in TRANSPARENT_CALLS:
            raise ConfigError(f"the model's forward calls {called}: sleep needs {ALLOWED}")

    def _normalise(self, name: str, norm: nn.BatchNorm2d) -> None:
        """Fold `norm` into the convolution right before it."""
        last = self.found[-1] if self.found else None
        if not isinstance(last, ConvLayer) or last.norm is not None or self.feed or self._rectified:
            raise ConfigError(f"batch normalisation {name} does not follow a Conv2d: sleep can only fold it into one")
        if norm.running_var is None or not norm.affine or not bool((norm.weight != 0).all()):
            raise ConfigError(
                f"batch normalisation {name} cannot be folded into {last.name}: it needs running statistics and factors "
                "other than 0"
            )
        self.found[-1] = replace(last, norm=norm)


def _layer(name: str, module: nn.Module, feed: tuple[nn.Module, ...], found: list[SleepingLayer]) -> SleepingLayer:
    own = dict(module.named_parameters(recurse=False))
    for part in ("weight", "bias"):
        if not isinstance(module, LowRankLinear) and getattr(module, part) is not None and part not in own:
            raise ConfigError(f"layer {name} computes its {part} (pruned or parametrized): make it a plain parameter first")
    used = {id(parameter) for layer in found for parameter in layer.module.parameters()}
    if any(id(parameter) in used for parameter in own.values()):
        raise ConfigError(f"the weights of layer {name} are used twice in the forward: sleep needs {ALLOWED}")
    layer: SleepingLayer
    if isinstance(module, nn.Conv2d):
        if module.groups != 1 or module.padding_mode != "zeros":
            raise ConfigError(
                f"layer {name} is a Conv2d with groups={module.groups} and padding_mode={module.padding_mode}: sleep has a "
                "rule for groups=1 and padding_mode=zeros"
            )
        layer = ConvLayer(name, module, feed)
    else:
        assert isinstance(module, MATRICES)
        layer = DenseLayer(name, module, feed)
    _check_fit(layer, found)
    if isinstance(module, LowRankLinear):
        log.info("layer %s is low-rank: it sleeps on its product A B and keeps what changes as a dense offset", name)
    return layer


def _check_fit(layer: SleepingLayer, found: Sequence[SleepingLayer]) -> None:
    """Raise ConfigError unless dtype and inputs of `layer` fit the layers before it."""
    name, dtype = layer.name, layer.dtype
    if dtype not in (torch.float32, torch.float64):
        raise ConfigError(f"layer {name} is {dtype}: sleep needs float32 or float64, e.g. model.float()")
    if not found:
        return
    previous = found[-1]
    if dtype != previous.dtype:
        raise ConfigError(
            f"layer {name} is {dtype} but {previous.name} is {previous.dtype}: make them alike, e.g. model.float()"
        )
    # What leaves a convolution has positions, of which only the images tell how many: `unit_shapes` checks these.
    inputs, channels = layer.shape[1], previous.shape[0]
    if isinstance(layer, DenseLayer) and isinstance(previous, ConvLayer) and inputs % channels == 0:
        return
    if isinstance(layer, ConvLayer) and isinstance(previous, DenseLayer) and channels % inputs == 0:
        return
    if inputs != channels:
        raise ConfigError(
            f"layer {name} has {layer.shape[1]} inputs but {previous.name} has {previous.shape[0]} outputs: "
            "sleep needs each layer to feed the next"
        )


class _Tracer(fx.Tracer):
    """Follows a forward down to PyTorch's own modules and ours."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (*WEIGHTS, *RECTIFIERS, *TRANSPARENT, *RESHAPING)) or super().is_leaf_module(
            m, module_qualified_name
        )


def _chain(model: nn.Module) -> list[fx.Node]:
    """The steps of the model's forward, each fed by the one before. Raises ConfigError for any other shape."""
    try:
        graph = _Tracer().trace(model)
    except (fx.proxy.TraceError, TypeError, RuntimeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"the forward of {type(model).__name__} cannot be read ({reason}): sleep needs {ALLOWED}"
        ) from error
    nodes = [node for node in graph.nodes if node.op != "output" and not _is_shape(node)]
    inputs = [node for node in nodes if node.op == "placeholder"]
    steps = [node for node in nodes if node.op != "placeholder"]
    if len(inputs) != 1:
        raise ConfigError(f"the forward of {type(model).__name__} takes {len(inputs)} inputs: sleep needs {ALLOWED}")
    for node, previous in zip(steps, [*inputs, *steps], strict=False):
        feeding = [source for source in node.all_input_nodes if not _is_shape(source)]
        if node.op == "get_attr" or feeding != [previous]:
            raise ConfigError(f"the forward of {type(model).__name__} branches at {node.name}: sleep needs {ALLOWED}")
    return steps


def _call(node: fx.Node) -> str:
    """Name of the function or method that a node calls."""
    target: str | Callable[..., object] = node.target
    return target if isinstance(target, str) else target.__name__


def _is_shape(node: fx.Node) -> bool:
    """Whether a node only asks for a size, as `x.view(x.size(0), -1)` does."""
    return node.op in ("call_function", "call_method") and _call(node) in SHAPE_CALLS
