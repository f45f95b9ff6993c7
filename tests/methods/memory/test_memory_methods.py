"""Methods with a memory, each against its definition; on the toy stream, and with sleep in whole runs on the digits."""

import copy
import math
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from src_lab.data import Split
from src_lab.evaluation import evaluate, predict
from src_lab.experiment import ensure
from src_lab.methods import Method, Stored
from src_lab.methods.memory.agem import _Projection, project
from src_lab.methods.memory.base import penultimate
from src_lab.methods.memory.exemplars import Draws
from src_lab.methods.memory.icarl import NearestMean, _Distillation
from src_lab.methods.memory.vae import VariationalAutoencoder
from src_lab.networks import kept
from src_lab.settings import ConfigError
from src_lab.tensor_files import load_tensors, save_tensors
from tests.test_experiment import AWAKE, configured

STORING = [
    ("replay", {"memory": 7}),
    ("replay", {"memory": 7, "choice": "herding"}),
    ("agem", {"memory": 3}),
    ("icarl", {"memory": 10}),
    ("icarl", {"memory": 1, "choice": "random", "distillation": False}),
    ("icarl", {"memory": 1000}),
]
SMALL = {"generator_hidden": 64, "generator_latent": 8, "generator_learning_rate": 0.01, "generator_steps": 300}
ALL = [*STORING, ("rehearsal", {"fraction": 0.1}), ("dgr", {**SMALL, "generator_steps": 9})]


def learn_all(method: Method) -> Method:
    for task in method.stages():
        method.learn(task)
    return method


def weights(network: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


def equal(first: Method, second: Method) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(first.network), weights(second.network), strict=True))


def accuracies(method: Method, stream) -> list[float]:
    splits = [(task.test, task.classes) for task in stream.tasks]
    return [measured.accuracy for measured in evaluate(method.classifier(method.network), splits)]


def without_bias(*sizes: int, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Flatten()]
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out, bias=False), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


@pytest.fixture(autouse=True)
def _leave_the_global_random_state_alone():
    with torch.random.fork_rng():
        yield


@pytest.mark.parametrize(("name", "settings"), STORING)
def test_never_more_than_the_budget_is_in_the_state(name: str, settings: dict[str, object], make_method, stream) -> None:
    method = make_method(name, **settings)
    known = torch.cat([torch.cat([task.train.images, task.train.labels.unsqueeze(1)], dim=1) for task in stream.tasks])
    for task in method.stages():
        method.learn(task)
        state = method.state()
        kept = torch.cat([state["memory.images"], state["memory.labels"].unsqueeze(1)], dim=1)
        assert len(kept) == method.stored().images <= settings["memory"]
        assert method.stored() == Stored(images=min(settings["memory"], 80 * (task.index + 1)))
        assert all((known == row).all(dim=1).sum() == 1 for row in kept), "training images, with their labels"
        assert len(kept.unique(dim=0)) == len(kept)
        others = {key for key in state if not key.startswith(("network.", "memory."))}
        assert not others
    counts = state["memory.labels"].bincount(minlength=4)
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize(("name", "settings"), ALL)
def test_going_on_from_a_state_on_disk_changes_nothing(
    name: str, settings: dict[str, object], make_method, stream, tmp_path: Path
) -> None:
    whole = learn_all(make_method(name, **settings))
    first, second = make_method(name, **settings), make_method(name, **settings)
    first.learn(stream.tasks[0])
    save_tensors(tmp_path / "state.safetensors", first.state(), {})
    second.load_state(load_tensors(tmp_path / "state.safetensors")[0])
    second.learn(stream.tasks[1])
    assert whole.state().keys() == second.state().keys()
    assert all(torch.equal(tensor, second.state()[key]) for key, tensor in whole.state().items())
    assert accuracies(whole, stream) == accuracies(second, stream)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("replay", {}), ("rehearsal", {}), ("agem", {}), ("icarl", {"distillation": False}), ("dgr", SMALL)],
)
def test_the_first_task_is_learned_as_without_a_past(name: str, settings: dict[str, object], make_method, stream) -> None:
    method, sequential = make_method(name, **settings), make_method("sequential")
    for each in (method, sequential):
        each.learn(stream.tasks[0])
    assert equal(method, sequential)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("replay", {}), ("rehearsal", {"fraction": 0.5}), ("icarl", {}), ("icarl", {"classify": "outputs"}), ("dgr", SMALL)],
)
def test_the_first_task_is_remembered(name: str, settings: dict[str, object], make_method, stream) -> None:
    assert accuracies(learn_all(make_method("sequential")), stream)[0] < 0.7
    assert accuracies(learn_all(make_method(name, **settings)), stream)[0] > 0.9


@pytest.mark.parametrize("name", ["rehearsal", "icarl"])
def test_labels_tell_the_variants_of_a_method_apart(name: str, make_method) -> None:
    variants = {
        "rehearsal": [{}],
        "icarl": [{}, {"choice": "random"}, {"distillation": False}, {"classify": "outputs"}],
    }[name]
    assert len({make_method(name, **settings).label for settings in variants}) == len(variants)


class TestReplay:
    def test_half_of_each_minibatch_is_from_memory(self, make_method, stream) -> None:
        method = make_method("replay", memory=8)
        method.learn(stream.tasks[0])
        kept = method.state()["memory.images"]
        sizes: list[int] = []

        def look(_: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
            new, old = arguments[0].chunk(2)
            assert all((kept == row).all(dim=1).any() for row in old)
            assert not any((kept == row).all(dim=1).any() for row in new)
            sizes.append(len(arguments[0]))

        hook = method.network.register_forward_pre_hook(look)
        method._remember = lambda _: hook.remove()
        method.learn(stream.tasks[1])
        assert sizes == [20] * (15 * 8)


class TestRehearsal:
    def test_nothing_of_the_past_is_sequential_learning(self, make_method) -> None:
        method = learn_all(make_method("rehearsal", fraction=0))
        assert equal(method, learn_all(make_method("sequential")))
        assert method.stored() == Stored()

    def test_all_of_the_past_is_training_on_all_tasks_met(self, make_method, stream) -> None:
        everything, sequential = learn_all(make_method("rehearsal", fraction=1)), make_method("sequential")
        first, second = (task.train for task in stream.tasks)
        sequential.learn(stream.tasks[0])
        old = [(first.labels == label).nonzero().squeeze(1) for label in (0, 1)]
        assert everything.stored() == Stored(images=160)
        memory = make_method("rehearsal", fraction=1)
        memory.learn(stream.tasks[0])
        kept = memory.state()["memory.images"]
        assert torch.equal(kept.sort(dim=0).values, torch.cat([first.images[rows] for rows in old]).sort(dim=0).values)
        joined = Split(torch.cat([second.images, kept]), torch.cat([second.labels, memory.state()["memory.labels"]]))
        sequential._trainer.fit(joined, 1)
        assert equal(everything, sequential)

    @pytest.mark.parametrize(("fraction", "per_class"), [(0.01, 0), (0.025, 1), (0.1, 4), (0.5, 20)])
    def test_the_same_share_of_each_class_is_kept(self, fraction: float, per_class: int, make_method) -> None:
        method = learn_all(make_method("rehearsal", fraction=fraction))
        assert method.stored().images == 4 * per_class
        assert method.state()["memory.labels"].bincount(minlength=4).tolist() == [per_class] * 4


class TestAGem:
    def test_a_conflicting_gradient_loses_its_part_against_the_reference(self) -> None:
        gradients = [torch.tensor([1.0, 0.0]), torch.tensor([[0.0, 2.0]])]
        references = (torch.tensor([0.0, 0.0]), torch.tensor([[1.0, -1.0]]))
        project(gradients, references)
        assert [g.tolist() for g in gradients] == [[1.0, 0.0], [[1.0, 1.0]]]

    @pytest.mark.parametrize("along", [0.0, 1.0])
    def test_any_other_stays_as_it_is(self, along: float) -> None:
        gradients = [torch.tensor([along, 3.0])]
        project(gradients, (torch.tensor([2.0, 0.0]),))
        assert gradients[0].tolist() == [along, 3.0]

    def test_the_step_raises_no_loss_on_the_memory_to_first_order(self) -> None:
        network = without_bias(6, 12, 4)
        new, old = torch.rand(20, 6), Split(torch.rand(20, 6), torch.randint(0, 2, (20,)))
        labels = torch.randint(2, 4, (20,))
        parameters = list(network.parameters())

        def draws() -> Draws:
            return Draws(old, torch.Generator().manual_seed(3), torch.device("cpu"))

        images, old_labels = draws()(20)
        reference = torch.autograd.grad(nn.functional.cross_entropy(network(images), old_labels), parameters)
        nn.functional.cross_entropy(network(new), labels).backward()

        def along() -> float:
            return sum((p.grad * r).sum().item() for p, r in zip(parameters, reference, strict=True))

        assert along() < -1e-3
        extra = _Projection(network, "cross_entropy", draws())
        extra.batch(new, labels)
        extra.before_update()
        assert along() == pytest.approx(0, abs=1e-6)


class TestICaRL:
    def test_the_nearest_normalised_mean_answers(self) -> None:
        means = {0: torch.tensor([2.0, 0.0]), 2: torch.tensor([0.0, 0.5])}
        answers = NearestMean(nn.Flatten(), means, 4)(torch.tensor([[3.0, 1.0], [0.1, 0.4], [0.0, 0.0]]))
        assert answers.argmax(dim=1)[:2].tolist() == [0, 2]
        assert (answers[:, [1, 3]] == -math.inf).all()
        cosine = 3 / math.sqrt(10)
        assert answers[0, 0].item() == pytest.approx(2 * cosine - 2, abs=1e-6)
        assert answers[2, [0, 2]].tolist() == pytest.approx([-1, -1])

    def test_it_answers_from_the_exemplars_and_the_weights_of_then(self, make_method, stream) -> None:
        method = learn_all(make_method("icarl", memory=20))
        images = stream.tasks[0].test.images
        held = method.state()
        with torch.no_grad():
            for parameter in method.network.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape))  # as a sleep would
        body = nn.Sequential(*list(method.network)[:-1])

        def phi(batch: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return nn.functional.normalize(body(batch))

        exemplars = phi(held["memory.images"])
        means = [nn.functional.normalize(exemplars[held["memory.labels"] == c].mean(0), dim=0) for c in range(4)]
        expected = torch.stack([-(phi(images) - mean).square().sum(dim=1) for mean in means], dim=1)
        torch.testing.assert_close(predict(method.classifier(method.network), images), expected, atol=1e-5, rtol=1e-4)

    def test_asking_changes_nothing(self, make_method, stream) -> None:
        method = learn_all(make_method("icarl"))
        before = weights(method.network)
        assert accuracies(method, stream) == accuracies(method, stream)
        assert all(torch.equal(a, b) for a, b in zip(before, weights(method.network), strict=True))
        assert not any(module.training for module in method.network.modules())

    def test_classes_without_exemplars_are_never_answered(self, make_method, stream) -> None:
        method = make_method("icarl")
        method.learn(stream.tasks[0])
        outputs = predict(method.classifier(method.network), stream.tasks[1].test.images)
        assert outputs.isfinite()[:, :2].all()
        assert (outputs[:, 2:] == -math.inf).all()

    @pytest.mark.parametrize("squared", [False, True])
    def test_old_classes_are_taught_what_was_answered_before(self, squared: bool) -> None:
        before, network = without_bias(3, 5, 4, seed=1), without_bias(3, 5, 4, seed=2)
        images, labels = torch.rand(2, 3), torch.tensor([2, 0])
        outputs = network(images)
        found = _Distillation(before, [0, 1], [2], squared).loss(torch.tensor(0.0), images, labels, outputs)
        total = 0.0
        for n, label in enumerate(labels.tolist()):
            for c in (0, 1, 2):
                y, answered = outputs[n, c].item(), before(images)[n, c].item()
                if squared:
                    total += (y - (answered if c < 2 else float(c == label))) ** 2 / 2
                else:
                    target = 1 / (1 + math.exp(-answered)) if c < 2 else float(c == label)
                    p = 1 / (1 + math.exp(-y))
                    total -= target * math.log(p) + (1 - target) * math.log(1 - p)
        assert found.item() == pytest.approx(total / 2, rel=1e-5)

    def test_outputs_of_classes_to_come_are_left_alone(self, make_method, stream) -> None:
        method = make_method("icarl")
        last = [module for module in method.network if isinstance(module, nn.Linear)][-1]
        before = last.weight[2:].detach().clone()
        method.learn(stream.tasks[0])
        assert torch.equal(last.weight[2:], before)

    @pytest.mark.parametrize("settings", [{"choice": "herding"}, {"classify": "exemplar_means", "choice": "random"}])
    def test_it_needs_hidden_features(self, settings: dict[str, object]) -> None:
        overrides = [f"method.{key}={value}" for key, value in settings.items()]
        with pytest.raises(ConfigError, match="no hidden layer"):
            configured("method=icarl", "model.widths=[]", *overrides)
        assert configured("method=icarl", "model.widths=[]", "method.classify=outputs", "method.choice=random")

    def test_features_are_what_the_last_layer_of_weights_receives(self) -> None:
        network = nn.Sequential(nn.Flatten(), nn.Linear(3, 4), nn.ReLU(), nn.Dropout(0.9), nn.Linear(4, 2), nn.ReLU())
        network.eval()
        images = torch.rand(5, 3)
        torch.testing.assert_close(network[4](predict(penultimate(network), images)), network[:5](images))

    def test_a_watched_sleep_is_judged_by_the_exemplars_too(self, tmp_path: Path) -> None:
        config = configured(
            "dataset.num_tasks=2", "method=icarl", "method.sleep_after=each_task", "sleep.record_every=35",
            "analysis=[ranks]", *AWAKE,
        )  # fmt: skip
        ensure(config, tmp_path)
        trace, accuracy = (pd.read_csv(tmp_path / name) for name in ("sleep_trace.csv", "accuracy.csv"))
        slept = accuracy[(accuracy.stage == "sleep") & (accuracy.trained_task == 1)]
        last = trace[(trace.trained_task == 1) & (trace.sleep_step == 70)]
        assert last[["Task 0", "Task 1"]].to_numpy().ravel() == pytest.approx(slept.accuracy.to_numpy())
        assert (tmp_path / "analysis" / "analysis.json").exists()


@pytest.mark.parametrize("name", ["replay", "rehearsal", "icarl", "agem", "dgr"])
def test_what_slept_is_what_goes_on_learning(name: str, tmp_path: Path) -> None:
    fast = ["method.generator_steps=9"] if name == "dgr" else []
    both = ["dataset.num_tasks=2", "evaluate=final", "keep_networks=true", f"method={name}", *fast]
    learned = []
    for sleep_after in ("each_task", "never"):
        ensure(configured(*both, f"method.sleep_after={sleep_after}", *AWAKE), tmp_path / sleep_after)
        learned.append([moment.state for moment in kept(tmp_path / sleep_after) if moment.phase == "train"])
    for task, is_same in enumerate([True, False]):
        slept, awake = (states[task].values() for states in learned)
        assert all(torch.equal(a, b) for a, b in zip(slept, awake, strict=True)) == is_same


class TestGenerativeReplay:
    def test_it_stores_a_generator_and_no_image(self, make_method) -> None:
        method = learn_all(make_method("dgr", generator_steps=1, generator_hidden=5, generator_latent=2))
        encoder, decoder = 36 * 5 + 5 + 5 * 5 + 5 + 5 * 4 + 4, 2 * 5 + 5 + 5 * 5 + 5 + 5 * 36 + 36
        assert method.stored() == Stored(floats=encoder + decoder, models=1)
        assert {key.split(".")[0] for key in method.state()} == {"network", "generator"}

    def test_dreams_are_labelled_by_the_network_of_before_among_the_classes_met(self, make_method, stream) -> None:
        method = make_method("dgr", **SMALL)
        method.learn(stream.tasks[0])
        before = copy.deepcopy(method.network)
        dreams = method._dreams(stream.tasks[1])
        new = stream.tasks[1].train
        images, labels = dreams.batch(new.images[:30], new.labels[:30])
        assert images.shape == (60, 36)
        assert torch.equal(images[:30], new.images[:30])
        assert torch.equal(labels[:30], new.labels[:30])
        assert torch.equal(labels[30:], before(images[30:])[:, [0, 1]].argmax(dim=1))
        assert images[30:].min() >= 0
        assert images[30:].max() <= 1
        assert method._dreams(stream.tasks[0]) is None

    def test_the_new_task_weighs_one_over_the_number_of_tasks(self, make_method, stream) -> None:
        method = make_method("dgr", **SMALL)
        method.learn(stream.tasks[0])
        dreams = method._dreams(stream.tasks[1])
        outputs, labels = torch.randn(8, 4), torch.tensor([2, 3, 2, 3, 0, 1, 0, 1])
        both = [nn.functional.cross_entropy(outputs[rows], labels[rows]) for rows in (slice(4), slice(4, 8))]
        torch.testing.assert_close(dreams.loss(torch.tensor(0.0), outputs, labels, outputs), (both[0] + both[1]) / 2)
        third = type(dreams)(dreams._dreamer, dreams._network, [0, 1], dreams._noise, 1 / 3, "cross_entropy")
        torch.testing.assert_close(third.loss(torch.tensor(0.0), outputs, labels, outputs), both[0] / 3 + 2 * both[1] / 3)

    def test_the_autoencoder_loss_is_minus_the_evidence_bound(self) -> None:
        vae = VariationalAutoencoder(6, 5, 2, seed=0)
        with torch.no_grad():
            for parameter in vae.parameters():
                parameter.zero_()
            vae.encoder[-1].bias.copy_(torch.tensor([1.0, -2.0, 0.0, math.log(4)]))
        images = torch.rand(3, 6)
        divergence = (1 + 0) / 2 + (4 + 4 - 1 - math.log(4)) / 2  # KL of N(1, 1) and N(-2, 4) from N(0, 1)
        found = vae.loss(images, torch.Generator().manual_seed(0))
        assert found.item() == pytest.approx(6 * math.log(2) + divergence, rel=1e-5)

    def test_trained_it_dreams_of_what_it_saw(self) -> None:
        vae = VariationalAutoencoder(8, 32, 4, seed=0)
        images = torch.eye(8)[torch.arange(200) % 2].clamp(0.02, 0.98)  # pixel 0 or pixel 1
        noise = torch.Generator().manual_seed(0)
        optimizer = torch.optim.Adam(vae.parameters(), lr=0.01)
        for _ in range(200):
            optimizer.zero_grad()
            vae.loss(images, noise).backward()
            optimizer.step()
        samples = vae.sample(200, noise)
        assert samples[:, 2:].max() < 0.2
        winners = samples[:, :2].argmax(dim=1).float().mean()
        assert 0.2 < winners < 0.8
        assert torch.equal(vae.sample(3, torch.Generator().manual_seed(1)), vae.sample(3, torch.Generator().manual_seed(1)))
