"""search.bench: what a strategy leaves, what a bench lacks, and how children are scored, by hand."""

from dataclasses import FrozenInstanceError, replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from tests.search.toys import logits_of, smooth, snapshot
from tests.splits import image_split
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.search.bench import Bench, Found, Further, evaluated, scored
from winnow.search.recipe import Recipe
from winnow.search.relax import gates
from winnow.tasks.classify import IMAGES
from winnow.tasks.task import Metric
from winnow.train.checkpoint import Keeper
from winnow.train.seeds import seeded

LABELS = torch.tensor([0, 1, 0, 1, 2, 2, 0])


def space() -> Space:
    """Of images (batch, 1, 2, 2): a convolution with BatchNorm or without, then three classes."""
    with seeded(0):
        normed = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3))
        hole = Choice("a", {"normed": normed, "plain": nn.Conv2d(1, 3, 1)})
        return Space(nn.Sequential(hole, nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)))


def rows(name: str, seed: int = 0):
    draws = torch.Generator().manual_seed(seed)
    return image_split(torch.randint(256, (7, 1, 2, 2), generator=draws, dtype=torch.uint8), LABELS, name=name)


def bench(**more) -> Bench:
    return Bench(space(), 0, splits={"weights": rows("weights", 1)}, judged=rows("select", 2), batch=3, **more)


def pixels(split) -> Tensor:
    """What networks are given of a split's images, whose mean is 0.5 and deviation 0.25."""
    return (split.columns["image"].float() / 255 - 0.5) / 0.25


# ---- what is left and what is lacking


def test_what_was_found_is_trained_and_has_nothing_more_unless_it_is_said():
    found = Found(smooth())
    assert found.trained
    assert (found.logits, dict(found.metrics), found.shortlist) == (None, {}, ())
    assert Further(Recipe(), lambda draws: None).remembered


@pytest.mark.parametrize(
    ("record", "name"),
    [(Found(smooth()), "trained"), (Further(Recipe(), lambda draws: None), "remembered"), (Bench(smooth(), 0), "seed")],
)
def test_what_is_handed_from_one_to_another_is_changed_by_nobody(record, name):
    with pytest.raises(FrozenInstanceError):
        setattr(record, name, 1)


def test_a_bench_of_a_space_alone_allows_everything_and_tells_nobody():
    alone = Bench(space(), 5)
    arch = alone.space.decide(lambda d: "plain")
    assert alone.allowed(arch)
    assert alone.say("anything") is None
    assert (alone.limits, alone.whole, alone.load, dict(alone.most), alone.known) == ("none", "", None, {}, {})
    assert (alone.batch, alone.calibration_images) == (256, 1024)
    assert alone.task is IMAGES
    with alone.shown() as watch:
        watch.step()
    assert Bench(space(), 5).known is not alone.known


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda b: b.tensors("w.pt"), "this bench reads no files, so not 'w.pt'"),
        (lambda b: b.study(), "this bench runs no study of trials"),
        (lambda b: b.sizes({}), "this bench does not know how large its networks are"),
        (lambda b: b.trained({}, 1, b.watch, ""), "this bench trains no networks alone"),
        (lambda b: b.objective((), {}), "this bench has no objective: nothing can be trained on it"),
    ],
)
def test_what_a_bench_cannot_do_is_a_sentence(ask, said):
    with pytest.raises(Refused, match=f"^{said}$"):
        ask(Bench(space(), 0))


@pytest.mark.parametrize("name", ["logits", "further", "scorer", "trials", "shortlist"])
def test_what_the_search_did_not_leave_is_named_when_it_is_needed(name):
    with pytest.raises(Refused, match=f"^this selection needs {name}, which the search before it does not leave$"):
        bench().needed(name)


def test_an_empty_shortlist_was_left():
    assert bench(shortlist=()).needed("shortlist") == ()


# ---- weights


def test_weights_are_the_relaxed_logits_without_a_gradient():
    made = smooth()
    logits = logits_of(made)
    found = Bench(made, 0, logits=logits).weights()
    for name, vector in logits.items():
        torch.testing.assert_close(found[name], vector.detach().softmax(0))
        assert not found[name].requires_grad
    found = Bench(made, 0, logits=logits, relax=gates(4.0, 1.0)).weights()
    assert all(torch.equal(found[name] > 0.5, vector > 0) for name, vector in logits.items())


# ---- scores


def says(answers: list[int]):
    return lambda x: torch.eye(3)[torch.tensor(answers)][: len(x)] * 9.0


def test_a_score_is_the_first_metric_turned_so_that_more_is_better():
    batch = torch.zeros(4, 1), torch.tensor([0, 1, 2, 2])
    score, loss = bench().judge(says([0, 1, 0, 0]), [batch])
    assert score == 50
    wanted = torch.nn.functional.cross_entropy(says([0, 1, 0, 0])(batch[0]), batch[1])
    assert loss == pytest.approx(wanted.item())
    task = replace(IMAGES, metrics={"misses": Metric("minimize")}, measure=lambda outputs, answers: {"misses": 3.0})
    assert bench(task=task).judge(says([0]), [batch]) == (-3, 3), "a task without a loss has its metric for one"


@pytest.mark.parametrize(("images", "batch", "count"), [(7, 7, 7), (99, 256, 7), (3, 3, 3), (1, 3, 1)])
def test_a_child_has_batchnorm_statistics_of_its_own_over_the_first_images(images, batch, count):
    made = replace(bench(), batch=batch, calibration_images=images)
    before = snapshot(made.space)
    child = made.child(made.space.decide(lambda d: "normed"))
    assert not child.training
    assert all(torch.equal(before[name], value) for name, value in made.space.state_dict().items())
    conv, norm = child[0]
    y = conv(pixels(made.splits["weights"])[:count]).detach()
    torch.testing.assert_close(norm.running_mean, y.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, y.var((0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_the_score_of_an_architecture_is_that_of_its_child_over_all_rows():
    made = bench()
    arch = made.space.decide(lambda d: "plain")
    with torch.no_grad():
        told = made.child(arch)(pixels(made.judged)).argmax(1)
    assert made.score(arch) == pytest.approx(100 * (told == LABELS).float().mean().item())
    with pytest.raises(Refused, match="needs judged"):
        replace(made, judged=None).score(arch)


def test_a_score_that_is_known_is_not_judged_again_and_what_is_new_is_known_to_both(monkeypatch):
    asked, due = [], []
    monkeypatch.setattr(Bench, "score", lambda self, arch: asked.append(arch["a"]) or 10.0 + len(asked))
    monkeypatch.setattr(Keeper, "due", lambda self: due.append(len(asked)))
    made = bench()
    one, other = (made.space.decide(lambda d, name=name: name) for name in ("plain", "normed"))
    made.known[other.digest] = 77.0
    scores = {}
    assert [made.known_score(arch, scores) for arch in (one, one, other)] == [11, 11, 77]
    assert scores == made.known == {one.digest: 11, other.digest: 77}
    assert asked == ["plain"]
    assert due == [0], "it could be left before it is judged"
    assert made.known_score(one, {one.digest: 5.0}) == 5, "its own memory counts first"
    assert made.known_score(one, again := {}) == 11
    assert again == {one.digest: 11}


# ---- evidence


def test_rows_of_evidence_say_what_was_evaluated_and_what_was_scored():
    assert evaluated(3, "d1", 91.5, True) == {
        "event": 3,
        "decision": "",
        "option": "d1",
        "accuracy": 91.5,
        "loss": None,
        "kept": True,
    }
    assert evaluated(0, "d2", None, False, 0.25)["loss"] == 0.25
    row = SimpleNamespace(event=2, decision="a", option=7, score=-1.5, kept=False, more="no column")
    assert scored(row) == {"event": 2, "decision": "a", "option": "7", "score": -1.5, "kept": False}
