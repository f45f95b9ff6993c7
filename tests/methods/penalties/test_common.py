"""What all methods of this room have to do, whatever their definition."""

import pytest
import torch

from src_lab.methods.base import Stored
from src_lab.settings import ConfigError
from tests.methods.test_methods import accuracies, learn_all, weights

NAMES = ["ewc", "online_ewc", "si", "lwf", "owm", "weight_aligning"]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ewc", {"strength": 0.0}),
        ("online_ewc", {"strength": 0.0}),
        ("online_ewc", {"decay": 0.0}),
        ("si", {"strength": 0.0}),
        ("lwf", {"strength": 0.0}),
    ],
)
def test_without_strength_it_is_sequential_bit_for_bit(name, settings, make_method) -> None:
    plain, without = learn_all(make_method("sequential")), learn_all(make_method(name, **settings))
    assert all(torch.equal(a, b) for a, b in zip(weights(plain.network), weights(without.network), strict=True))


@pytest.mark.parametrize("loss", ["cross_entropy", "half_squared_error"])
@pytest.mark.parametrize("name", NAMES)
def test_it_goes_on_from_its_state_exactly_and_learns_with_either_loss_and_biases(name, loss, make, stream) -> None:
    """Momentum is kept, so that a state without it would show."""
    changes = {"model": {"bias": True}, "train": {"loss": loss, "learning_rate": 0.05, "keep_momentum": True}}
    whole, again = make(name, **changes), make(name, **changes)
    whole.learn(stream.tasks[0])
    again.load_state({key: tensor.clone() for key, tensor in whole.state().items()})
    assert again.stored() == whole.stored()
    for method in (whole, again):
        method.learn(stream.tasks[1])
    states = whole.state(), again.state()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert max(accuracies(whole, stream)) > 0.9


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("ewc", (1, 0), (3, 0)),  # the latest Fisher; then the importances, their centre and the latest Fisher
        ("online_ewc", (1, 0), (1, 0)),
        ("si", (1, 0), (1, 0)),
        ("lwf", (0, 0), (0, 0)),
        ("owm", (0, 36**2 + 2 * 16**2), (0, 36**2 + 2 * 16**2)),
        ("weight_aligning", (0, 0), (0, 0)),
    ],
)
def test_what_is_stored_is_counted(name, first, second, make_method, stream) -> None:
    """(whole networks, other floats) after each task; never an image."""
    method = make_method(name)
    size = sum(weight.numel() for weight in weights(method.network))
    assert method.stored() == Stored()
    for task, (models, others) in zip(stream.tasks, (first, second), strict=True):
        method.learn(task)
        assert method.stored() == Stored(floats=models * size + others, images=0, models=models)
        beside = {key: tensor for key, tensor in method.state().items() if not key.startswith("network.")}
        assert sum(tensor.numel() for tensor in beside.values()) == method.stored().floats


@pytest.mark.parametrize("name", ["ewc", "online_ewc", "owm", "weight_aligning"])
def test_a_lowrank_model_is_refused(name, make_method) -> None:
    with pytest.raises(ConfigError, match=f"model.rank=3 is not possible with method={name}.*use model.rank=null"):
        make_method(name, rank=3)


@pytest.mark.parametrize("name", ["si", "lwf"])
def test_a_lowrank_model_learns_where_it_may(name, make, stream) -> None:
    method = make(name, model={"rank": 4}, train={"learning_rate": 0.1})
    assert accuracies(learn_all(method), stream)[1] > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_a_task_without_new_classes_is_learned_or_refused(name, make, permuted) -> None:
    if name == "weight_aligning":
        with pytest.raises(ConfigError, match="task 1 of dataset=toy has none"):
            make(name, stream=permuted)
    else:
        assert accuracies(learn_all(make(name, stream=permuted)), permuted)[2] > 0.9
