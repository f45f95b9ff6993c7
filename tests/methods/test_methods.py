"""Every method on the toy stream: its contract, and one property of its own definition."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from src_lab.evaluation import evaluate, predict
from src_lab.methods import METHODS, Method
from src_lab.models import LowRankLinear
from src_lab.settings import ConfigError

SETTINGS: dict[str, dict[str, object]] = {
    "ncm": {"features": "first_task"},
    "dgr": {"generator_hidden": 32, "generator_steps": 20},
}
"""Where the defaults would not do: the seed must decide something, and a small generator spares a minute."""
VARIANTS = [
    *((name, SETTINGS.get(name, {})) for name in METHODS),
    ("cheat", {"compat": True}),
    ("lowrank_merge", {"combine": "concat"}),
]


def weights(network: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in network.parameters()]


def learn_all(method: Method) -> Method:
    for task in method.stages():
        method.learn(task)
    return method


def accuracies(method: Method, stream) -> list[float]:
    current = method.stages()[-1]
    splits = [(task.test, task.classes) for task in stream.tasks]
    return [m.accuracy for m in evaluate(method.classifier(method.network), splits, method.adjust(current))]


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
class TestContract:
    def test_the_same_seed_gives_the_same_network(self, name, settings, make_method) -> None:
        first, second = (learn_all(make_method(name, **settings)) for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(weights(first.network), weights(second.network), strict=True))

    def test_another_seed_gives_another_network(self, name, settings, make_method) -> None:
        first, second = (learn_all(make_method(name, seed=seed, **settings)) for seed in (0, 1))
        assert not torch.equal(weights(first.network)[0], weights(second.network)[0])

    def test_learning_leaves_the_global_random_state_alone(self, name, settings, make_method) -> None:
        state = torch.get_rng_state()
        learn_all(make_method(name, **settings))
        assert torch.equal(torch.get_rng_state(), state)

    def test_every_stage_leaves_a_finite_network_in_evaluation_mode(self, name, settings, make_method) -> None:
        method = make_method(name, **settings)
        for task in method.stages():
            method.learn(task)
            assert all(torch.isfinite(weight).all() for weight in weights(method.network))
            assert not method.network.training

    def test_a_single_task_is_learned(self, name, settings, make_method, stream) -> None:
        alone = replace(stream, tasks=stream.tasks[:1])
        (accuracy,) = accuracies(learn_all(make_method(name, stream=alone, **settings)), alone)
        assert accuracy > 0.9

    def test_classes_not_met_yet_are_no_obstacle(self, name, settings, make_method, stream) -> None:
        method = make_method(name, **settings)
        first = method.stages()[0]
        method.learn(first)
        splits = [(task.test, task.classes) for task in stream.tasks]
        measured = evaluate(method.classifier(method.network), splits, method.adjust(first))
        assert all(0 <= m.accuracy <= 1 for m in measured)
        assert measured[0].accuracy > 0.9

    def test_it_says_what_it_stores(self, name, settings, make_method, stream) -> None:
        """Every training image that can be found in what is carried on is one that the method says it stores."""
        method = learn_all(make_method(name, **settings))
        stored = method.stored()
        assert min(stored.floats, stored.images, stored.models) >= 0
        trained_on = torch.cat([task.train.images for task in stream.tasks])
        rows = [t.reshape(-1, trained_on.shape[1]) for t in method.state().values() if t.shape[-1:] == trained_on.shape[1:]]
        found = sum(int((each.float()[:, None] == trained_on).all(dim=2).any(dim=1).sum()) for each in rows)
        assert found == stored.images
        network = sum(t.numel() for t in method.network.state_dict().values())
        images = stored.images * trained_on.shape[1]
        carried = sum(t.numel() for t in method.state().values() if t.is_floating_point()) - network
        assert carried <= stored.floats + images, "what a checkpoint holds beside the network is counted"

    def test_it_begins_on_the_device_of_the_run(self, name, settings, make_method) -> None:
        """On "meta", which refuses to compute with tensors of the CPU, as a GPU does, and is everywhere."""
        assert {p.device.type for p in make_method(name, device="meta", **settings).network.parameters()} == {"meta"}

    def test_it_has_a_name(self, name, settings, make_method) -> None:
        assert make_method(name, **settings).label


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
class TestWithBiases:
    """What the contract asks of a network whose layers have biases: they are trained, merged, stored and told apart."""

    def test_it_learns_and_ends_the_same_again(self, name, settings, make_method, stream) -> None:
        first, second = (learn_all(make_method(name, bias=True, **settings)) for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(weights(first.network), weights(second.network), strict=True))
        assert all(torch.isfinite(weight).all() for weight in weights(first.network))
        alone = replace(stream, tasks=stream.tasks[:1])
        (accuracy,) = accuracies(learn_all(make_method(name, stream=alone, bias=True, **settings)), alone)
        assert accuracy > 0.9

    def test_biases_take_part(self, name, settings, make_method) -> None:
        method = make_method(name, bias=True, **settings)
        before = {name: p.detach().clone() for name, p in method.network.named_parameters() if name.endswith("bias")}
        learn_all(method)
        after = {name: p.detach() for name, p in method.network.named_parameters() if name.endswith("bias")}
        assert before.keys() == after.keys()
        assert len(before) >= 1
        assert not any(torch.equal(before[name], after[name]) for name in before)

    def test_it_goes_on_from_its_state(self, name, settings, make_method) -> None:
        whole, broken, resumed = (make_method(name, bias=True, **settings) for _ in range(3))
        first, *rest = whole.stages()
        learn_all(whole)
        broken.learn(first)
        resumed.load_state({name: tensor.clone() for name, tensor in broken.state().items()})
        for task in rest:
            resumed.learn(task)
        assert all(torch.equal(a, b) for a, b in zip(weights(whole.network), weights(resumed.network), strict=True))


MATRICES_ONLY = {"ewc", "online_ewc", "owm", "weight_aligning", "fisher_merge", "regmean", "stitch", "lowrank_merge"}
CONVOLUTIONS = {"widths": [], "channels": [8], "bias": True}


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_convolutions_are_learned_or_refused_in_one_line(name, settings, make_method, stream) -> None:
    alone = replace(stream, tasks=stream.tasks[:1])
    if name in MATRICES_ONLY:
        with pytest.raises(ConfigError, match=rf"^model\.channels=\[8\] is not possible with method={name}, .*model=mlp$"):
            make_method(name, model=CONVOLUTIONS, **settings)
        return
    (accuracy,) = accuracies(learn_all(make_method(name, stream=alone, model=CONVOLUTIONS, **settings)), alone)
    assert accuracy > 0.9


@pytest.mark.parametrize("name", ["merge", "ties", "magmax", "running_average"])
def test_statistics_are_not_merged(name, make_method) -> None:
    with pytest.raises(ConfigError, match=rf"^model\.batch_norm=true is not possible with method={name}, "):
        make_method(name, model={**CONVOLUTIONS, "batch_norm": True})


def test_names_tell_the_variants_apart(make_method) -> None:
    labels = [make_method(name, **settings).label for name, settings in VARIANTS]
    assert len(set(labels)) == len(labels)
    assert make_method("parallel").label == "Parallel (160 images)"


def test_sequential_forgets_and_parallel_does_not(make_method, stream) -> None:
    first, last = accuracies(learn_all(make_method("sequential")), stream)
    assert first < 0.7
    assert last > 0.9
    assert min(accuracies(learn_all(make_method("parallel")), stream)) > 0.9


def test_src_trains_exactly_as_sequential(make_method) -> None:
    src, sequential = (learn_all(make_method(name)) for name in ("src", "sequential"))
    assert all(torch.equal(a, b) for a, b in zip(weights(src.network), weights(sequential.network), strict=True))


def test_all_methods_but_concat_start_from_the_same_weights(make_method) -> None:
    initial = weights(make_method("sequential").network)
    for name in ("src", "cheat", "parallel", "merge"):
        assert all(torch.equal(a, b) for a, b in zip(weights(make_method(name).network), initial, strict=True))


def test_cheat_masks_the_current_outputs_for_other_tasks_only(make_method, stream) -> None:
    cheat = learn_all(make_method("cheat"))
    outputs = torch.randn(3, 4)
    adjust = cheat.adjust(stream.tasks[1])
    assert torch.equal(adjust(outputs, (2, 3)), outputs)
    masked = adjust(outputs, (0, 1))
    assert torch.equal(masked[:, :2], outputs[:, :2])
    assert (masked[:, 2:] == -torch.inf).all()
    assert min(accuracies(cheat, stream)) > accuracies(learn_all(make_method("sequential")), stream)[0]


def test_cheat_compat_zeroes_columns_and_puts_zero_outputs(make_method, stream) -> None:
    compat = make_method("cheat", compat=True)
    compat.learn(stream.tasks[0])
    last = [module for module in compat.network if isinstance(module, nn.Linear)][-1]
    assert (last.weight[:, [0, 1]] == 0).all()
    assert (last.weight[:, 2:] != 0).any()
    adjust = compat.adjust(stream.tasks[0])
    assert (adjust(torch.full((2, 4), -1.0), (2, 3))[:, :2] == 0).all()


def test_merge_is_the_mean_of_the_task_networks(make_method, stream) -> None:
    merged = learn_all(make_method("merge"))
    experts = []
    for index in range(2):
        only = make_method("sequential")
        only.learn(stream.tasks[index])
        experts.append(weights(only.network))
    for weight, first, second in zip(weights(merged.network), *experts, strict=True):
        torch.testing.assert_close(weight, (first + second) / 2)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("combine", ["average", "concat"])
def test_lowrank_merge_combines_products(make_method, combine: str, bias: bool) -> None:
    method = make_method("lowrank_merge", combine=combine)
    context = method._context
    method = type(method)(replace(context, model=replace(context.model, bias=bias)), make_config(method, combine))
    learn_all(method)
    experts = method._experts
    layers = [module for module in method.network if isinstance(module, nn.Linear)]
    for layer, *parts in zip(layers, *([m for m in e if isinstance(m, LowRankLinear)] for e in experts), strict=True):
        total = sum(part.A @ part.B for part in parts)
        torch.testing.assert_close(layer.weight, total / (len(parts) if combine == "average" else 1))
        assert (layer.bias is not None) == bias
    same_start = torch.equal(*(make_expert_start(method, index) for index in range(2)))
    assert same_start == (combine == "average")


def make_config(method: Method, combine: str):
    return type(method).config(name="lowrank_merge", sleep_after="never", combine=combine)


def make_expert_start(method: Method, index: int) -> torch.Tensor:
    return weights(method._context.new_network(*method._purpose(index)))[0]


def test_lowrank_merge_needs_a_low_rank_model(make_method) -> None:
    with pytest.raises(ConfigError, match="use model=lowrank"):
        METHODS["lowrank_merge"].check(
            make_config(make_method("lowrank_merge"), "average"), make_method("merge")._context.model
        )


def test_predictions_of_a_merged_network_use_all_tasks(make_method, stream) -> None:
    merged = learn_all(make_method("merge"))
    outputs = predict(merged.network, torch.cat([task.test.images for task in stream.tasks]))
    assert outputs.argmax(dim=1).unique().numel() > 2
