"""Networks with convolutions asleep: the rule position by position, the dense case, poolings, folding, runs."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from src_lab.analysis import replay
from src_lab.experiment import ensure
from src_lab.inside.names import NAMES, OF_UNITS, analysed
from src_lab.models import ModelConfig, build_model
from src_lab.settings import ConfigError
from src_lab.sleep import SleepConfig, SleepState, load_weights, simulate, sleep
from src_lab.sleep.backend import Parameters, Record
from src_lab.sleep.bias import sleeping_biases
from src_lab.sleep.chain import find_layers
from src_lab.sleep.rules import RULES
from src_lab.sleep.spatial import Spatial, unit_shapes
from tests.test_config import compose

BUSY = SleepConfig(inc=0.02, dec=0.005, decay=0.9, inhibition=0.1, dc=0.02, bias="adapt", rule="sigmoid")
IMAGES = torch.rand(20, 1, 6, 6, generator=torch.Generator().manual_seed(7))
FASHION = Path("/usr/share/datasets/fashion-mnist")


def seeded(*modules: nn.Module) -> nn.Sequential:
    """The modules with random weights in float64, larger than PyTorch's, and in evaluation mode."""
    draw = torch.Generator().manual_seed(0)
    model = nn.Sequential(*modules).double().eval()
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draw, dtype=torch.float64) * 0.4 + 0.05
    return model


def noise(steps: int, pixels: int, rate: float = 0.3) -> Tensor:
    return torch.rand(steps, pixels, generator=torch.Generator().manual_seed(1)) < rate


def slept(model: nn.Module, inputs: Tensor, images: Tensor, config: SleepConfig = BUSY) -> tuple[Spatial, Record]:
    layers = find_layers(model)
    count = len(layers)
    parameters = Parameters.of(config, [1.5] * count, [0.6] * count, [0.3] * count)
    asleep = Spatial([layer.weight() for layer in layers], parameters, sleeping_biases(layers, config), layers, images)
    units = [torch.empty(torch.Size(shape).numel(), 1).double() for shape in unit_shapes(layers, images)]
    record = Record.empty(len(inputs), units, ("spikes", "potentials"))
    asleep.advance(inputs, record)
    return asleep, record


def close(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("padding", [0, 1])
def test_a_convolution_follows_the_rule_position_by_position(padding: int) -> None:
    """Explicit loops over units, channels and places of the kernel, padding as presynaptic units that never spike."""
    model = seeded(nn.Conv2d(2, 3, (3, 2), padding=padding, stride=(1, 2)))
    w, b = (parameter.detach().clone() for parameter in model.parameters())
    inputs, images = noise(12, 2 * 4 * 5, 0.4), torch.rand(1, 2, 4, 5)
    asleep, record = slept(model, inputs, images)
    _, height, width = unit_shapes(find_layers(model), images)[0]
    positions = list(product(range(height), range(width)))
    kernel = list(product(range(2), range(3), range(2)))
    factor = RULES[BUSY.rule]
    v = torch.zeros(3, height, width, dtype=torch.float64)
    rate = BUSY.inc * 0.3 - BUSY.dec * 0.7
    for step, row in enumerate(inputs):
        s = nn.functional.pad(row.view(2, 4, 5).double(), (padding,) * 4)
        impulse = torch.zeros_like(v)
        for o, (y, x), (c, i, j) in product(range(3), positions, kernel):
            impulse[o, y, x] += 1.5 * w[o, c, i, j] * s[c, y + i, 2 * x + j]
        v = BUSY.decay * v + impulse - BUSY.inhibition * impulse.mean() + 1.5 * 0.3 * b[:, None, None] + BUSY.dc
        close(record.potentials[0][step], v.flatten())
        fired = (v >= 0.6).double()
        assert torch.equal(record.spikes[0][step], fired.bool().flatten())
        change, moved = torch.zeros_like(w), torch.zeros_like(b)
        for o, (y, x), (c, i, j) in product(range(3), positions, kernel):
            pre = s[c, y + i, 2 * x + j]
            change[o, c, i, j] += fired[o, y, x] * (BUSY.inc * pre - BUSY.dec * (1 - pre)) / len(positions)
        for o, (y, x) in product(range(3), positions):
            moved[o] += fired[o, y, x] * rate / len(positions)
        w, b = w + change * factor(w), b + moved * factor(b)
        v = v * (1 - fired)
    assert record.spike_counts.sum() > 20
    close(asleep.weights()[0], w)
    close(asleep.biases(), [b])


@pytest.mark.parametrize(
    "config",
    [BUSY, replace(BUSY, rule="tadros"), replace(BUSY, plastic="hidden", bias="scaled")],
    ids=["adapt", "tadros", "hidden"],
)
def test_kernels_as_large_as_their_input_are_matrices(config: SleepConfig) -> None:
    model = seeded(nn.Conv2d(1, 8, 6), nn.ReLU(), nn.Conv2d(8, 5, 1), nn.ReLU(), nn.Flatten(), nn.Linear(5, 3))
    layers = find_layers(model)
    asleep, record = slept(model, noise(80, 36), IMAGES, config)
    expected = simulate(
        [layer.weight().flatten(1) for layer in layers],
        noise(80, 36),
        config,
        alpha=[1.5] * 3,
        beta=[0.6] * 3,
        biases=sleeping_biases(layers, config),
        unit_rates=[0.3] * 3,
        backend="reference",
        record=("spikes", "potentials"),
    )
    assert (record.spike_counts.sum(dim=0) > 0).all()
    assert all(map(torch.equal, record.spikes, expected.spikes or []))
    close(record.potentials, expected.potentials)
    close([w.flatten(1) for w in asleep.weights()], expected.weights)
    close(asleep.biases(), expected.biases)


def test_pooling_passes_the_mean_of_its_spikes_on() -> None:
    """One step; every unit of the first layer spikes where its input does, and a Linear layer hears means of four."""
    model = seeded(nn.Conv2d(1, 1, 1, bias=False), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4, 1, bias=False))
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        model[4].weight.fill_(1.0)
    inputs = torch.zeros(1, 4, 4, dtype=torch.bool)
    inputs[0, 0, 0] = inputs[0, 0, 1] = inputs[0, 2, 2] = True
    config = SleepConfig(rule="proportional", inc=0.5, dec=0.25)
    asleep, record = slept(model, inputs.flatten(1), torch.rand(1, 1, 4, 4), config)
    assert record.potentials[1].item() == 1.5 * 0.75
    heard = torch.tensor([0.5, 0.0, 0.0, 0.25], dtype=torch.float64)
    close(asleep.weights()[1][0], 1 + 0.5 * heard - 0.25 * (1 - heard))
    share = 3 / 16  # positions at which the unit and its one input spike
    close(asleep.weights()[0].item(), 1 + 0.5 * share)


def cnn(dtype: torch.dtype = torch.float64, **options: Any) -> nn.Sequential:
    settings = {"name": "cnn", "widths": [], "bias": True, "dropout": 0.0, "output": "linear", "rank": None}
    settings |= {"dropout_scaling": "train", "init_range": None, "channels": [3, 4], "kernel": 3}
    model = build_model(ModelConfig(**settings | options), 36, 4, 1, image_shape=(6, 6)).to(dtype).eval()
    for module in model:
        if isinstance(module, nn.BatchNorm2d):
            draw = torch.Generator().manual_seed(2)
            for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                tensor.copy_(torch.rand(tensor.shape, generator=draw) + 0.2)
    return model


ASLEEP = SleepConfig(
    iterations=60, inc=0.02, dec=0.005, alpha=[2.0] * 3, beta=[0.5, 0.3, 0.3], max_rate_hz=400.0, bias="adapt"
)


def put_to_sleep(model: nn.Module, config: SleepConfig = ASLEEP, images: Tensor = IMAGES, **options: Any) -> Any:
    return sleep(model, images, config, generator=torch.Generator().manual_seed(3), **options)


@pytest.mark.parametrize("bias", [False, True])
def test_batch_normalisation_is_folded_and_unfolded_without_a_trace(bias: bool) -> None:
    model, x = cnn(batch_norm=True, bias=bias), IMAGES.double()
    plain = cnn(batch_norm=False)
    with torch.no_grad():
        if not bias:
            plain[-1] = nn.Linear(4, 4, bias=False).double()
        layers = find_layers(model)
        load_weights(plain, [layer.weight() for layer in layers], [layer.bias() for layer in layers])
        close(plain(x), model(x))
        scaled = replace(ASLEEP, bias="scaled")
        statistics = {name: buffer.clone() for name, buffer in model.named_buffers()}
        for config in (ASLEEP, scaled):
            before = model(x)
            results = [put_to_sleep(network, config) for network in (model, plain)]
            assert torch.equal(results[0].spike_counts, results[1].spike_counts)
            close(plain(x), model(x))
            assert not torch.equal(model(x), before)
        assert all(torch.equal(buffer, statistics[name]) for name, buffer in model.named_buffers())
        twin = cnn(batch_norm=True, bias=bias)
        load_weights(twin, results[0].weights, results[0].biases)
        close(twin(x), model(x))


@pytest.mark.parametrize("shape", [(20, 36), (20, 6, 6), (20, 1, 6, 6)])
@pytest.mark.parametrize("scaling", ["fixed", "data"])
def test_images_of_any_shape_that_the_model_takes(shape: tuple[int, ...], scaling: Any) -> None:
    model, expected = cnn(), cnn()
    config = replace(ASLEEP, scaling=scaling, alpha_scale=20.0 if scaling == "data" else 1.0)
    result = put_to_sleep(model, config, IMAGES.view(shape))
    put_to_sleep(expected, config)
    assert (result.spike_counts.sum(dim=0) > 0).all()
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), expected.parameters(), strict=True))


def test_everything_around_a_sleep_works() -> None:
    """Callback, surrogates, silence, float32, an observer that sees every unit."""
    seen: list[SleepState] = []
    units: list[tuple[int, ...]] = []
    config = replace(ASLEEP, record_every=20, stop_when_silent=30)
    model = cnn(torch.float32)
    put_to_sleep(
        model,
        config,
        callback=lambda _, state: seen.append(state),
        observe=lambda record: units.append(tuple(spikes.shape[1] for spikes in record.spikes)),
    )
    assert [state.step for state in seen] == [20, 40, 60]
    assert all(grown > 0 or shrunk > 0 for grown, shrunk in seen[-1].change_norms())
    assert set(units) == {(3 * 36, 4 * 9, 4)}
    for change in ("shuffled", "noise", "per_unit", "rank_one"):
        put_to_sleep(cnn(), replace(ASLEEP, change=change))
    dark = replace(ASLEEP, beta=[1e9] * 3, stop_when_silent=30)
    assert put_to_sleep(cnn(), dark).steps == 30


@pytest.mark.parametrize("backend", ["reference", "event", "numba", "triton"])
def test_backends_for_matrices_are_refused_in_one_line(backend: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"^sleep\.backend={backend} is for Linear layers.* use sleep\.backend=auto$"
    ) as e:
        put_to_sleep(cnn(), backend=backend)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("model", "images", "message"),
    [
        (nn.Sequential(nn.Conv2d(1, 2, 3)), torch.rand(3, 2, 6, 6), "what comes to layer 0 has shape (2, 6, 6)"),
        (nn.Sequential(nn.Conv2d(1, 2, 3)), torch.rand(3, 6, 6), "what comes to layer 0 has shape (6, 6)"),
        (nn.Sequential(nn.Conv2d(1, 2, 3)), torch.rand(3, 1, 2, 2), "what comes to layer 0 has shape (1, 2, 2)"),
        (
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(10, 2)),
            torch.rand(3, 1, 6, 6),
            "what comes to layer 3 has shape (2, 4, 4)",
        ),
    ],
)
def test_images_that_do_not_fit_are_refused_in_one_line(model: nn.Module, images: Tensor, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        put_to_sleep(model, replace(ASLEEP, alpha=[1.0], beta=[1.0]), images)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_replay_unit_by_unit_is_refused() -> None:
    with pytest.raises(ConfigError, match="a sleep of a network with convolutions cannot be replayed"):
        replay(cnn(), IMAGES, ASLEEP, generator=torch.Generator())


@pytest.mark.skipif(not FASHION.exists(), reason="Fashion-MNIST is not installed")
@pytest.mark.parametrize(
    "extra", [[], ["model.batch_norm=true", "sleep.bias=adapt", "sleep.scaling=data"]], ids=["", "adapt"]
)
def test_a_run_on_fashion_mnist_sleeps_and_is_looked_into(extra: list[str], tmp_path: Path) -> None:
    config = compose(
        *("model=cnn", "model.channels=[4,6]", "dataset=fashion_mnist", f"dataset.root={FASHION}", "cache=off", "threads=1"),
        *("dataset.samples_per_task=60", "dataset.validation_per_task=0", "dataset.num_tasks=2", "train.epochs=1"),
        *("sleep.iterations=40", "sleep.bonus_iterations=0", "sleep.beta_scale=0.02", "sleep.record_every=20"),
        *("analysis=[ranks,weights]", *extra),
    )
    metrics = ensure(config, tmp_path)
    assert 0 <= metrics["final_accuracy"] <= 1
    trace = pd.read_csv(tmp_path / "sleep_trace.csv")
    assert (trace[trace.sleep_step == 40].spikes_1 > 0).all()
    assert list(pd.read_csv(tmp_path / "analysis" / "weight_ranks.csv").layer.unique()) == [1, 2, 3]


def test_all_analyses_but_those_of_single_units_read_convolutions(tmp_path: Path) -> None:
    config = compose(
        *("model=cnn", "model.channels=[4]", "model.widths=[8]", "dataset=digits", "dataset.num_tasks=2", "cache=off"),
        *("train.epochs=1", "sleep.iterations=10", "analysis=all", "threads=1"),
    )
    ensure(config, tmp_path)
    assert analysed(tmp_path) == set(NAMES) - OF_UNITS
