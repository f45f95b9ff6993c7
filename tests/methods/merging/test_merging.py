"""Merges of task networks against their definitions: on hand-made vectors, and recomputed from the networks themselves."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from src_lab.data import Stream
from src_lab.evaluation import evaluate
from src_lab.methods import METHODS, Method
from src_lab.methods.fisher import diagonal_fisher
from src_lab.methods.merging.dare import drop_and_rescale
from src_lab.methods.merging.regmean import input_grams
from src_lab.methods.merging.task_networks import weights_of
from src_lab.methods.merging.ties import trim
from src_lab.settings import ConfigError
from src_lab.tensor_files import load_tensors, save_tensors
from tests.test_config import compose

REMADE = ["merge", "task_arithmetic", "ties", "dare", "magmax", "fisher_merge", "regmean", "stitch"]
MERGES = [*REMADE, "running_average"]
VARIANTS = [*((name, {}) for name in MERGES), ("magmax", {"chain": False}), ("dare", {"combine": "average"})]


def remade(
    name: str, make_method, *, bias: bool = True, loss: str = "cross_entropy", stream: Stream | None = None, **settings
):
    """A method as `make_method` makes it, of a network with biases that is trained shortly."""
    method = make_method(name, **settings)
    context = method._context
    context = replace(context, model=replace(context.model, bias=bias), train=replace(context.train, loss=loss, epochs=3))
    context = replace(context, stream=stream or context.stream)
    return type(method)(context, type(method).config(name=name, sleep_after="never", **settings))


def learn(method: Method, *tasks: int) -> Method:
    for index in tasks or range(len(method.stages())):
        method.learn(method.stages()[index])
    return method


def expert(make_method, stream: Stream, index: int, **settings) -> nn.Sequential:
    """The network of task `index`, trained from the initial state that all methods share."""
    only = remade("running_average", make_method, stream=replace(stream, tasks=(stream.tasks[index],)), **settings)
    return learn(only).network


def copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in weights_of(network).items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def vectors(count: int, seed: int = 0) -> list[dict[str, Tensor]]:
    draw = torch.Generator().manual_seed(seed)
    return [{"a": torch.randn(6, 7, generator=draw), "b": 3 * torch.randn(9, generator=draw)} for _ in range(count)]


def merged(method: Method, given: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The merged task vector after the method has met `given`."""
    for vector in given:
        method.met += 1
        method._take_in_vector(method.stages()[0], vector)
    return method._merge_vectors()


class TestSharedByAll:
    @pytest.mark.parametrize(("name", "settings"), VARIANTS)
    @pytest.mark.parametrize(("bias", "loss"), [(True, "half_squared_error"), (False, "cross_entropy")])
    def test_stopped_and_gone_on_it_ends_the_same(self, name, settings, bias, loss, make_method, tmp_path: Path) -> None:
        whole = learn(remade(name, make_method, bias=bias, loss=loss, **settings))
        first = learn(remade(name, make_method, bias=bias, loss=loss, **settings), 0)
        save_tensors(tmp_path / "state.safetensors", first.state(), {})
        second = remade(name, make_method, bias=bias, loss=loss, **settings)
        second.load_state(load_tensors(tmp_path / "state.safetensors")[0])
        assert second.stored() == first.stored()
        assert same(learn(second, 1).state(), whole.state())

    @pytest.mark.parametrize("name", [*REMADE, "running_average"])
    def test_a_sleep_is_carried_on_by_the_running_average_alone(self, name, make_method) -> None:
        awake, slept = (learn(remade(name, make_method), 0) for _ in range(2))
        with torch.no_grad():
            for weight in slept.network.parameters():
                weight.mul_(0.5)
        assert same(copied(learn(awake, 1).network), copied(learn(slept, 1).network)) == (name in REMADE)

    @pytest.mark.parametrize(("name", "settings"), [v for v in VARIANTS if v[0] not in ("dare", "ties")])
    def test_one_task_gives_its_network(self, name, settings, make_method, stream) -> None:
        settings = settings | ({"scale": 1.0} if name in ("task_arithmetic", "magmax") else {})
        alone = learn(remade(name, make_method, **settings), 0)
        wanted = copied(expert(make_method, stream, 0))
        for key, weight in weights_of(alone.network).items():
            torch.testing.assert_close(weight, wanted[key], rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize(
        ("name", "settings", "tables"),
        [
            ("merge", {}, 1), ("task_arithmetic", {}, 1), ("ties", {}, 4), ("dare", {}, 1), ("magmax", {}, 2),
            ("magmax", {"chain": False}, 1), ("fisher_merge", {}, 2), ("running_average", {}, 0),
        ],
    )  # fmt: skip
    def test_what_is_stored_does_not_grow_with_the_tasks(self, name, settings, tables, make_method) -> None:
        method = remade(name, make_method, **settings)
        size = sum(weight.numel() for weight in method.network.parameters())
        assert method.stored().floats == 0
        for task in method.stages():
            method.learn(task)
            stored = method.stored()
            assert (stored.floats, stored.images, stored.models) == (tables * size, 0, tables)

    def test_regmean_and_stitch_count_what_they_keep_beside_one_model(self, make_method) -> None:
        regmean, stitch = (learn(remade(name, make_method)) for name in ("regmean", "stitch"))
        size = sum(weight.numel() for weight in regmean.network.parameters())
        assert regmean.stored().floats == size + 36**2 + 16**2 + 16**2
        assert stitch.stored().floats == size + (16 * 4 + 4) + 2 * 4
        assert regmean.stored().models == stitch.stored().models == 1

    @pytest.mark.parametrize("name", ["fisher_merge", "regmean", "stitch"])
    def test_whole_weight_matrices_are_needed(self, name, make_method) -> None:
        with pytest.raises(ConfigError, match=r"model.rank=2 is not possible with method=.*: use model.rank=null"):
            make_method(name, rank=2)

    def test_what_sleep_added_to_low_rank_layers_is_gone_from_the_next_merge(self, make_method) -> None:
        awake, slept = (learn(make_method("merge", rank=3), 0) for _ in range(2))
        layer = slept.network[1]
        layer.set_product(layer.product() + 1)
        awake, slept = (learn(method, 1).network.state_dict() for method in (awake, slept))
        assert same(awake, slept)

    @pytest.mark.parametrize("name", [*MERGES, "ncm", "slda"])
    def test_the_preset_holds_the_defaults(self, name) -> None:
        config = compose(f"method={name}").method
        assert config == METHODS[name].config(name=name, sleep_after="never")


class TestTaskVectors:
    def test_task_arithmetic_adds_scaled_changes(self, make_method, stream) -> None:
        method = learn(remade("task_arithmetic", make_method, scale=0.3))
        initial = copied(remade("merge", make_method).network)
        experts = [copied(expert(make_method, stream, index)) for index in range(2)]
        for name, weight in weights_of(method.network).items():
            change = sum(each[name] - initial[name] for each in experts)
            torch.testing.assert_close(weight, initial[name] + 0.3 * change)
            assert change.any()

    def test_task_arithmetic_with_one_over_k_is_merge_and_with_0_the_initial_state(self, make_method) -> None:
        initial, mean = copied(remade("merge", make_method).network), learn(remade("merge", make_method)).network
        half, none = (learn(remade("task_arithmetic", make_method, scale=scale)).network for scale in (0.5, 0.0))
        assert same(copied(none), initial)
        for name, weight in weights_of(half).items():
            torch.testing.assert_close(weight, mean.get_parameter(name).detach(), rtol=1e-5, atol=1e-6)

    def test_ties_on_paper(self, make_method) -> None:
        """Three vectors of five weights; density 0.6 keeps the three largest of each."""
        rows = [[5.0, -4, 3, 0.1, 0.2], [-1.0, -2, 0.5, 0.1, 3], [-6, 1, 0.5, -2, -4]]
        #  kept  5    -4  3                -1   -2             3   -6           -2  -4
        found = merged(make_method("ties", density=0.6), [{"w": torch.tensor(row)} for row in rows])
        # sums    -2    -6   3    -2  -1
        wanted = [-3.5, -3.0, 3.0, -2.0, -4.0]
        torch.testing.assert_close(found["w"], torch.tensor(wanted))

    def test_ties_leaves_out_what_cancels(self, make_method) -> None:
        found = merged(make_method("ties", density=1.0), [{"w": torch.tensor([2.0, 1])}, {"w": torch.tensor([-2.0, 1])}])
        assert found["w"].tolist() == [0, 1]

    @pytest.mark.parametrize("density", [0.1, 0.5, 1.0])
    def test_ties_carried_along_is_ties_of_all_vectors_at_once(self, density, make_method) -> None:
        given = vectors(5)
        found = merged(make_method("ties", density=density), given)
        flat = torch.stack([torch.cat([vector["a"].flatten(), vector["b"]]) for vector in given])
        keep = round(density * flat.shape[1])
        limit = flat.abs().sort(dim=1, descending=True).values[:, keep - 1 : keep]
        flat = flat * (flat.abs() >= limit)
        agree = flat * (flat.sign() == flat.sum(dim=0).sign())
        mean = agree.sum(dim=0) / (agree != 0).sum(dim=0).clamp(min=1)
        torch.testing.assert_close(torch.cat([found["a"].flatten(), found["b"]]), mean)

    def test_trimming_compares_all_weights_of_the_network(self) -> None:
        kept = trim({"small": torch.tensor([1.0, -2.0]), "large": torch.tensor([-30.0, 40.0])}, 0.5)
        assert kept["small"].tolist() == [0, 0]
        assert kept["large"].tolist() == [-30, 40]

    def test_dare_keeps_and_rescales_what_it_does_not_drop(self) -> None:
        change = torch.randn(400, 500, generator=torch.Generator().manual_seed(1))
        kept = drop_and_rescale({"w": change}, 0.8, torch.Generator().manual_seed(2))["w"]
        dropped = kept == 0
        torch.testing.assert_close(kept[~dropped], change[~dropped] * 5)
        assert dropped.float().mean() == pytest.approx(0.8, abs=0.005)
        assert kept.mean().item() == pytest.approx(change.mean().item(), abs=0.02)

    def test_dare_without_dropping_is_task_arithmetic(self, make_method) -> None:
        dare = learn(remade("dare", make_method, drop=0.0, scale=0.7))
        plain = learn(remade("task_arithmetic", make_method, scale=0.7))
        assert same(copied(dare.network), copied(plain.network))

    def test_dare_averages_and_draws_anew_for_every_task_and_seed(self, make_method, stream) -> None:
        change = {"w": torch.ones(30, 30)}
        method = make_method("dare", drop=0.5, combine="average")
        for met, task in enumerate(stream.tasks, start=1):
            method.met = met
            method._take_in_vector(task, change)
        levels = method._merge_vectors()["w"].unique().tolist()
        assert levels == [0, 1, 2], "the mean of two tasks' 0 or 2, drawn apart"
        other = make_method("dare", drop=0.5, seed=1)
        other._take_in_vector(stream.tasks[0], change)
        once = make_method("dare", drop=0.5)
        once._take_in_vector(stream.tasks[0], change)
        assert not torch.equal(once.carried["sum"]["w"], other.carried["sum"]["w"])

    def test_magmax_keeps_the_largest_change_with_its_sign(self, make_method) -> None:
        rows = [[1.0, -2, 0, 3], [-5.0, 1, 0, 2.9], [4.0, 2, 0, -3.1]]
        found = merged(make_method("magmax"), [{"w": torch.tensor(row)} for row in rows])
        assert found["w"].tolist() == [-5, -2, 0, pytest.approx(-3.1)]

    @pytest.mark.parametrize("keep_momentum", [False, True])
    def test_the_chain_of_magmax_is_sequential_learning(self, keep_momentum, make_method) -> None:
        chained, sequential = make_method("magmax"), make_method("sequential")
        train = replace(chained._context.train, keep_momentum=keep_momentum)
        context = replace(chained._context, train=train)
        chained, sequential = (type(m)(context, m.config(name="m", sleep_after="never")) for m in (chained, sequential))
        learn(chained)
        assert same(copied(chained.experts()["expert"]), copied(learn(sequential).network))
        apart = learn(make_method("magmax", chain=False))
        assert not same(copied(chained.network), copied(apart.network))


class TestWeightedMerges:
    @pytest.mark.parametrize("fisher", ["model", "empirical"])
    def test_fisher_merge_minimises_the_sum_of_the_tasks_quadratics(self, fisher, make_method, stream) -> None:
        method = learn(remade("fisher_merge", make_method, fisher=fisher))
        slope = {name: torch.zeros_like(weight) for name, weight in weights_of(method.network).items()}
        for task in stream.tasks:
            network = expert(make_method, stream, task.index)
            importance = method._importance(task, network)
            for name, weight in weights_of(method.network).items():
                slope[name] += importance[name] * (weight - weights_of(network)[name])
        assert max(each.abs().max() for each in slope.values()) < 1e-4

    def test_the_importance_is_the_fisher_information_of_average_1(self, make_method, stream) -> None:
        method = learn(remade("fisher_merge", make_method, fisher="empirical", floor=0.5), 0)
        network, task = expert(make_method, stream, 0), stream.tasks[0]
        fisher = diagonal_fisher(network, task.train.images, task.train.labels)
        mean = torch.cat([each.flatten() for each in fisher.values()]).mean()
        for name, importance in method.carried["importance"].items():
            torch.testing.assert_close(importance, fisher[name] / mean + 0.5)

    def test_with_a_high_floor_fisher_merge_is_merge(self, make_method) -> None:
        flat, mean = learn(remade("fisher_merge", make_method, floor=1e7)), learn(remade("merge", make_method))
        for name, weight in weights_of(flat.network).items():
            torch.testing.assert_close(weight, mean.network.get_parameter(name).detach(), rtol=1e-3, atol=1e-5)

    def test_regmean_solves_the_least_squares_of_all_tasks(self, make_method, stream) -> None:
        method = learn(remade("regmean", make_method, off_diagonal=1.0))
        experts = [expert(make_method, stream, task.index) for task in stream.tasks]
        inputs = [task.train.images for task in stream.tasks]
        for place, layer in enumerate(method.network):
            if isinstance(layer, nn.Linear) and place == 1:
                answers = [x @ e[place].weight.T for x, e in zip(inputs, experts, strict=True)]
                wanted = torch.linalg.lstsq(torch.cat(inputs).double(), torch.cat(answers).double(), driver="gelsd").solution
                torch.testing.assert_close(layer.weight, wanted.T.float(), rtol=1e-2, atol=2e-3)
                torch.testing.assert_close(layer.bias, (experts[0][place].bias + experts[1][place].bias) / 2)

    def test_regmean_is_no_worse_than_its_parts_at_what_it_minimises(self, make_method, stream) -> None:
        method = learn(remade("regmean", make_method, off_diagonal=1.0))
        experts = [expert(make_method, stream, task.index) for task in stream.tasks]
        grams = [input_grams(each, task.train.images) for each, task in zip(experts, stream.tasks, strict=True)]

        def cost(name: str, weight: Tensor) -> float:
            gaps = [(weight - each.get_parameter(name)).detach() for each in experts]
            return sum(((gap @ gram[name]) * gap).sum().item() for gap, gram in zip(gaps, grams, strict=True))

        mean = learn(remade("merge", make_method)).network
        for name in grams[0]:
            best = cost(name, method.network.get_parameter(name))
            others = [cost(name, network.get_parameter(name)) for network in (mean, *experts)]
            assert best < 0.999 * min(others)

    def test_grams_are_of_the_inputs_of_each_layer(self, make_method, stream) -> None:
        network = expert(make_method, stream, 0)
        images = stream.tasks[0].train.images.repeat(20, 1)
        grams = input_grams(network, images)
        hidden = torch.relu(images @ network[1].weight.T + network[1].bias).detach()
        torch.testing.assert_close(grams["1.weight"], images.T @ images)
        torch.testing.assert_close(grams["4.weight"], hidden.T @ hidden)
        assert list(grams) == ["1.weight", "4.weight", "7.weight"]

    def test_inputs_that_were_never_active_get_the_mean(self, make_method, stream) -> None:
        dark = [replace(task, train=replace(task.train, images=task.train.images.clone())) for task in stream.tasks]
        for task in dark:
            task.train.images[:, 7] = 0
        method, mean = (
            learn(remade(n, make_method, stream=replace(stream, tasks=tuple(dark)))) for n in ("regmean", "merge")
        )
        torch.testing.assert_close(method.network[1].weight[:, 7], mean.network[1].weight[:, 7], rtol=1e-3, atol=1e-4)

    def test_regmean_remembers_what_sequential_learning_forgets(self, make_method, stream) -> None:
        splits = [(task.test, task.classes) for task in stream.tasks]
        regmean, sequential = (learn(make_method(name)).network for name in ("regmean", "sequential"))
        worst = [min(found.accuracy for found in evaluate(network, splits)) for network in (regmean, sequential)]
        assert worst[0] > worst[1] + 0.2


class TestRunningAverage:
    def test_each_network_starts_from_the_average_and_joins_it(self, make_method, stream) -> None:
        method = remade("running_average", make_method)
        tasks = (*stream.tasks, replace(stream.tasks[0], index=2))
        average: dict[str, Tensor] = {}
        for count, task in enumerate(tasks, start=1):
            network = method._context.new_network()
            if average:
                network.load_state_dict(average)
            method._context.new_trainer(network).fit(task.train, task.index)
            new = copied(network)
            average = {name: ((count - 1) * average[name] + new[name]) / count for name in new} if average else new
            method.learn(task)
            for name, weight in weights_of(method.network).items():
                torch.testing.assert_close(weight, average[name])

    @pytest.mark.parametrize("power", [0.0, 0.5])
    def test_a_lower_power_takes_more_of_the_newest_network(self, make_method, stream, power: float) -> None:
        method = remade("running_average", make_method, power=power)
        method.learn(stream.tasks[0])
        before = copied(method.network)
        method.learn(stream.tasks[1])
        new = copied(method.experts()["expert"])
        for name, weight in weights_of(method.network).items():
            torch.testing.assert_close(weight, before[name] + 2**-power * (new[name] - before[name]))

    def test_the_first_task_is_learned_as_plain_training_does(self, make_method) -> None:
        average, sequential = (learn(make_method(name), 0) for name in ("running_average", "sequential"))
        assert same(copied(average.network), copied(sequential.network))


class TestStitch:
    def test_rows_are_of_the_networks_that_know_the_class_and_the_body_is_the_mean(self, make_method, stream) -> None:
        stitched, mean = (learn(remade(name, make_method)).network for name in ("stitch", "merge"))
        experts = [expert(make_method, stream, index) for index in range(2)]
        for task, network in zip(stream.tasks, experts, strict=True):
            rows = list(task.classes)
            torch.testing.assert_close(stitched[7].weight[rows], network[7].weight[rows])
            torch.testing.assert_close(stitched[7].bias[rows], network[7].bias[rows])
        for place in (1, 4):
            torch.testing.assert_close(stitched[place].weight, mean[place].weight)

    def test_rows_of_classes_unseen_are_averaged_and_of_shared_ones_too(self, make_method, stream) -> None:
        first, second = stream.tasks
        shared = replace(stream, tasks=(first, replace(second, classes=(1, 2))))
        stitched = learn(remade("stitch", make_method, stream=shared)).network
        heads = [expert(make_method, stream, index)[7].weight for index in range(2)]
        mean = (heads[0] + heads[1]) / 2
        torch.testing.assert_close(stitched[7].weight, torch.stack([heads[0][0], mean[1], heads[1][2], mean[3]]))
