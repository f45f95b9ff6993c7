"""Reads a PyTorch module as what sleep understands: a chain of weight matrices with ReLU between them."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from src_lab.models import LowRankLinear, StraightThroughReLU, UnscaledDropout
from src_lab.settings import ConfigError

log = logging.getLogger(__name__)

WEIGHTS = (nn.Linear, LowRankLinear)
RECTIFIERS = (nn.ReLU, StraightThroughReLU)
TRANSPARENT = (nn.Dropout, nn.Flatten, nn.Identity, UnscaledDropout)
RECTIFYING_CALLS = ("relu", "relu_")
TRANSPARENT_CALLS = ("dropout", "flatten", "view", "reshape")
SHAPE_CALLS = ("size", "getattr", "getitem")
ALLOWED = "a chain of Linear, ReLU, Dropout, Flatten and Identity"


@dataclass(frozen=True)
class SleepingLayer:
    """One layer of weights, by its name in the model."""

    name: str
    module: nn.Linear | LowRankLinear

    @property
    def shape(self) -> tuple[int, int]:
        """(n_out, n_in)."""
        if isinstance(self.module, LowRankLinear):
            return self.module.A.shape[0], self.module.B.shape[1]
        return self.module.weight.shape[0], self.module.weight.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        return next(self.module.parameters()).dtype

    def weight(self) -> Tensor:
        """A copy of the weights, (n_out, n_in)."""
        if isinstance(self.module, LowRankLinear):
            return self.module.product().detach().clone()
        return self.module.weight.detach().clone(memory_format=torch.contiguous_format)

    def bias(self) -> Tensor | None:
        """A copy of the biases, (n_out,), or None for a layer without."""
        bias = self.module.bias
        return None if bias is None else bias.detach().clone()

    def write(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """Replace the weights in place, and the biases where they are given."""
        with torch.no_grad():
            if isinstance(self.module, LowRankLinear):
                self.module.set_product(weight)
            else:
                self.module.weight.copy_(weight)
            if bias is not None and self.module.bias is not None:
                self.module.bias.copy_(bias)


def find_layers(model: nn.Module) -> list[SleepingLayer]:
    """The layers of weights of `model` in the order of its forward.

    Raises ConfigError naming the first thing that is no part of such a chain: another kind of module, a branch, weights
    used twice or computed from others, two layers of weights without a ReLU between them, sizes that do not fit,
    mixed dtypes.
    """
    if isinstance(model, WEIGHTS):
        model = nn.Sequential(model)
    found: list[SleepingLayer] = []
    rectified = True
    for node in _chain(model):
        if node.op == "call_module":
            name, module = str(node.target), model.get_submodule(str(node.target))
            if isinstance(module, RECTIFIERS):
                rectified = True
            elif isinstance(module, WEIGHTS):
                if not rectified:
                    raise ConfigError(f"layers {found[-1].name} and {name} have no ReLU between them: sleep needs {ALLOWED}")
                found.append(_layer(name, module, found))
                rectified = False
            elif not isinstance(module, TRANSPARENT):
                raise ConfigError(f"module {name} is a {type(module).__name__}: sleep needs {ALLOWED}")
        elif _call(node) in RECTIFYING_CALLS:
            rectified = True
        elif _call(node) not in TRANSPARENT_CALLS:
            raise ConfigError(f"the model's forward calls {_call(node)}: sleep needs {ALLOWED}")
    if not found:
        raise ConfigError(f"{type(model).__name__} has no Linear layer: sleep needs {ALLOWED}")
    return found


def _layer(name: str, module: nn.Linear | LowRankLinear, found: list[SleepingLayer]) -> SleepingLayer:
    own = dict(module.named_parameters(recurse=False))
    for part in ("weight", "bias"):
        if isinstance(module, nn.Linear) and getattr(module, part) is not None and part not in own:
            raise ConfigError(f"layer {name} computes its {part} (pruned or parametrized): make it a plain parameter first")
    used = {id(parameter) for layer in found for parameter in layer.module.parameters()}
    if any(id(parameter) in used for parameter in own.values()):
        raise ConfigError(f"the weights of layer {name} are used twice in the forward: sleep needs {ALLOWED}")
    layer = SleepingLayer(name, module)
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
    if layer.shape[1] != previous.shape[0]:
        raise ConfigError(
            f"layer {name} has {layer.shape[1]} inputs but {previous.name} has {previous.shape[0]} outputs: "
            "sleep needs each layer to feed the next"
        )


class _Tracer(fx.Tracer):
    """Follows a forward down to PyTorch's own modules and ours."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (*WEIGHTS, *RECTIFIERS, *TRANSPARENT)) or super().is_leaf_module(m, module_qualified_name)


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
