"""`simulate_batch` equals `simulate`, network by network, on every backend."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from src_lab.settings import ConfigError
from src_lab.sleep import SleepConfig, simulate
from src_lab.sleep.backend import NonFiniteError
from src_lab.sleep.batch import simulate_batch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CONFIG = SleepConfig(inc=0.01, dec=0.004, decay=0.9, threshold=1.0)
ALPHA, BETA = [1.5, 2.0], [1.0, 0.8]
RECORD = ("spikes", "potentials", "spike_counts")
BACKENDS = pytest.mark.parametrize("backend", ["event", "triton"])


def networks(*seeds: int, widths: tuple[int, ...] = (12, 20, 5), dtype: torch.dtype = torch.float32) -> list[list[Tensor]]:
    def network(seed: int) -> list[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        pairs = zip(widths[1:], widths, strict=False)
        return [(torch.randn(n, m, generator=generator) / m**0.5).to(DEVICE, dtype) for n, m in pairs]

    return [network(seed) for seed in seeds]


def noise(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1)) < 0.4


@BACKENDS
def test_each_network_sleeps_as_if_alone(backend: str) -> None:
    weights, inputs = networks(1, 2, 3), noise(3, 5, 12)
    configs = [
        CONFIG,
        replace(CONFIG, inc=0.1, threshold=0.7, decay=0.5),
        replace(CONFIG, inhibition=0.3, dc=0.1, dec=0.0),
    ]
    alpha, beta = [ALPHA, [3.0, 1.0], [2.0, 2.0]], [BETA, [0.5, 0.5], [1.0, 1.0]]
    together = simulate_batch(weights, inputs, configs, alpha=alpha, beta=beta, backend=backend, record=RECORD)
    for i, result in enumerate(together):
        alone = simulate(weights[i], inputs[i], configs[i], alpha=alpha[i], beta=beta[i], backend=backend, record=RECORD)
        assert result.steps == alone.steps
        assert torch.equal(result.spike_counts, alone.spike_counts)
        assert (result.spike_counts.sum(0) > 0).all()
        for name in ("weights", "spikes", "potentials"):
            assert all(map(torch.equal, getattr(result, name), getattr(alone, name))), name


@BACKENDS
def test_biases_of_each_network_sleep_as_if_alone(backend: str) -> None:
    weights, inputs = networks(1, 2, 3), noise(6, 12)
    biases = [[0.1 * (i + 1) * torch.ones(len(w)).to(w) for w in network] for i, network in enumerate(weights)]
    configs = [CONFIG, replace(CONFIG, bias="adapt"), replace(CONFIG, bias="adapt", plastic="output", inc=0.1)]
    rates = [[0.5, 0.7], [1.0, 2.0], [0.2, 0.1]]
    gains = {"alpha": ALPHA, "beta": BETA, "backend": backend, "record": RECORD}
    together = simulate_batch(weights, inputs, configs, biases=biases, unit_rates=rates, **gains)
    for i, result in enumerate(together):
        alone = simulate(weights[i], inputs, configs[i], biases=biases[i], unit_rates=rates[i], **gains)
        assert torch.equal(result.spike_counts, alone.spike_counts)
        for name in ("weights", "biases", "potentials"):
            assert all(map(torch.equal, getattr(result, name), getattr(alone, name))), name
    assert torch.equal(together[0].biases[0], biases[0][0])
    assert not torch.equal(together[1].biases[0], biases[1][0])
    ignored = simulate_batch(weights, inputs, replace(CONFIG, bias="ignore"), biases=biases, unit_rates=[1.0, 1.0], **gains)
    plain = simulate_batch(weights, inputs, CONFIG, **gains)
    assert all(map(torch.equal, ignored[1].potentials, plain[1].potentials))
    assert ignored[1].biases is None


def test_biases_in_unlike_layers_share_no_triton_launch() -> None:
    weights = networks(1, 2)
    biases = [[torch.zeros(20).to(DEVICE), None], [None, torch.zeros(5).to(DEVICE)]]
    arguments = {"alpha": ALPHA, "beta": BETA, "biases": biases, "unit_rates": [1.0, 1.0]}
    with pytest.raises(ConfigError, match=r"biases are in other layers .* use sleep\.backend=numba") as error:
        simulate_batch(weights, noise(2, 12), CONFIG, backend="triton", **arguments)
    assert "\n" not in str(error.value)
    assert len(simulate_batch(weights, noise(2, 12), CONFIG, backend="event", **arguments)) == 2


@BACKENDS
def test_one_input_config_alpha_and_beta_serve_all_networks(backend: str) -> None:
    weights, inputs = networks(1, 2), noise(4, 12)
    shared = simulate_batch(weights, inputs, CONFIG, alpha=ALPHA, beta=BETA, backend=backend)
    spelled = simulate_batch(
        weights, inputs.repeat(2, 1, 1).float(), [CONFIG] * 2, alpha=[ALPHA] * 2, beta=[BETA] * 2, backend=backend
    )
    for one, other in zip(shared, spelled, strict=True):
        assert all(map(torch.equal, one.weights, other.weights))
        assert one.spikes is one.potentials is one.spike_counts is None
    assert not torch.equal(shared[0].weights[0], shared[1].weights[0])


@BACKENDS
def test_the_given_weights_stay(backend: str) -> None:
    weights = networks(1, 2)
    before = networks(1, 2)
    after = simulate_batch(weights, noise(4, 12), CONFIG, alpha=ALPHA, beta=BETA, backend=backend)
    for network, kept, result in zip(weights, before, after, strict=True):
        assert all(map(torch.equal, network, kept))
        assert not torch.equal(result.weights[0], kept[0])


@BACKENDS
def test_divergence_names_layer_step_and_network(backend: str) -> None:
    weights = networks(1, 2, 3)
    weights[1][0][7] = float("nan")
    with pytest.raises(NonFiniteError) as error:
        simulate_batch(weights, torch.ones(3, 12), CONFIG, alpha=ALPHA, beta=BETA, backend=backend)
    assert (error.value.layer, error.value.step) == (0, 0)
    assert error.value.__notes__ == ["in network 1 of the batch"]


@pytest.mark.parametrize("backend", ["event", "triton"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": []}, "weights is empty"),
        ({"configs": [CONFIG] * 3}, "configs is given for 3 networks but weights has 2"),
        ({"alpha": [ALPHA] * 3}, "alpha is given for 3 networks but weights has 2"),
        ({"beta": [1.0]}, "beta has 1 values: give one for each of the 2 layers"),
        ({"alpha": []}, "alpha has 0 values: give one for each of the 2 layers"),
        ({"input_spikes": noise(3, 4, 12)}, "input_spikes is given for 3 networks but weights has 2"),
        ({"input_spikes": noise(4, 11)}, r"input_spikes has shape \(4, 11\)"),
        ({"record": ("weights",)}, "record=weights is not known"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(backend: str, changes: dict[str, object], message: str) -> None:
    arguments = {
        "weights": networks(1, 2),
        "input_spikes": noise(4, 12),
        "configs": CONFIG,
        "alpha": ALPHA,
        "beta": BETA,
    }
    with pytest.raises(ConfigError, match=message) as error:
        simulate_batch(**arguments | changes, backend=backend)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("weights", "configs", "message"),
    [
        pytest.param(
            networks(1) + networks(2, widths=(12, 9, 5)), CONFIG, r"weights\[1\] is 12-9-5 .* is 12-20-5", id="sizes"
        ),
        pytest.param(networks(1) + networks(2, dtype=torch.float64), CONFIG, "float64 .*float32 ", id="dtypes"),
        pytest.param(networks(1, 2), [CONFIG, replace(CONFIG, rule="tadros")], "rule=sigmoid,tadros", id="rules"),
    ],
)
def test_unlike_networks_share_no_triton_launch_but_sleep_elsewhere(
    weights: list[list[Tensor]], configs: SleepConfig | list[SleepConfig], message: str
) -> None:
    arguments = {"input_spikes": noise(2, 12), "configs": configs, "alpha": ALPHA, "beta": BETA}
    with pytest.raises(ConfigError, match=f"{message}.*sleep.backend=numba"):
        simulate_batch(weights, **arguments, backend="triton")
    assert len(simulate_batch(weights, **arguments, backend="event")) == 2
