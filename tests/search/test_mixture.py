"""search.mixture: which batch moves what, in which order, and how far."""

import hashlib
import json
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.search.toys import (
    Loader,
    Recorded,
    cells,
    changed,
    images,
    logits_of,
    loss_of,
    points,
    smooth,
    snapshot,
)
from winnow.core.errors import Refused
from winnow.data.loaders import Batches, open_split
from winnow.data.prepare import prepare_splits
from winnow.search.bench import Bench
from winnow.search.bilevel import bilevel
from winnow.search.gradients import first_order, second_order
from winnow.search.mixture import Parts, train_mixture
from winnow.search.recipe import Recipe
from winnow.search.relax import softmax
from winnow.search.selections.perturbation import resume_mixture
from winnow.search.strategy import decided_softmax
from winnow.tasks.classify import IMAGES
from winnow.train.optimisers import sgd
from winnow.train.watch import Watch

TRAIN, VALID = [points(8, seed) for seed in range(5)], [points(8, seed) for seed in range(100, 103)]


def train(space, logits, train=None, valid=None, **options):
    """`train_mixture` with a plain SGD for both, unless `options` say otherwise; returns both optimisers."""
    settings = {
        "objective": loss_of(space),
        "weights_optimiser": sgd(space.parameters(), 0.1, momentum=0.9),
        "logits_optimiser": torch.optim.SGD(logits.parameters(), 0.1),
        "epochs": 1,
        "clip": 5.0,
    }
    given = {name: options.pop(name) for name in ("gradient", "relax") if name in options}
    settings |= {"parts": lambda epoch: Parts(**given)} | options
    train_mixture(space, logits, Loader(train or TRAIN), Loader(valid or VALID), **settings)
    return settings["weights_optimiser"], settings["logits_optimiser"]


def muted(space, batches):
    """An objective that is zero, and flat, on `batches`."""
    silent = {id(x) for x, _ in batches}
    loss = loss_of(space)
    return lambda batch, setting: loss(batch, setting) * (0.0 if id(batch[0]) in silent else 1.0)


@pytest.mark.parametrize("gradient", [first_order, second_order])
def test_logits_learn_from_valid_batches_alone(gradient):
    space = smooth()
    logits = logits_of(space)
    before, weights = snapshot(logits), snapshot(space)
    train(space, logits, gradient=gradient, objective=muted(space, VALID))
    assert not changed(logits, before)
    assert changed(space, weights)


@pytest.mark.parametrize("gradient", [first_order, second_order])
def test_weights_learn_from_train_batches_alone(gradient):
    space = smooth()
    logits = logits_of(space)
    before, weights = snapshot(logits), {name: w.detach().clone() for name, w in space.named_parameters()}
    train(space, logits, gradient=gradient, objective=muted(space, TRAIN))
    assert changed(logits, before)
    assert all(torch.equal(w, weights[name]) for name, w in space.named_parameters())


def test_every_step_takes_the_next_validation_batch():
    space = smooth()
    seen: list[int] = []
    number = {id(x): i for i, (x, _) in enumerate(VALID)}

    def gradient(space, logits, relax, objective, batch, valid, optimiser):
        seen.append(number[id(valid[0])])
        return first_order(space, logits, relax, objective, batch, valid, optimiser)

    train(space, logits_of(space), gradient=gradient, epochs=2)
    assert seen == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]  # it goes on over the end of an epoch of train


def test_the_logits_step_comes_first_and_the_weights_step_sees_it():
    space = smooth()
    logits = logits_of(space)
    settings: list[tuple[bool, Tensor]] = []

    def objective(batch, setting):
        settings.append((setting["a"].requires_grad, setting["a"].detach().clone()))
        return loss_of(space)(batch, setting)

    train(space, logits, TRAIN[:2], objective=objective)
    assert [asks for asks, _ in settings] == [True, False, True, False]
    at = [weights for _, weights in settings]
    assert not torch.equal(at[0], at[1])  # the weights step of the same iteration has the new logits
    assert torch.equal(at[1], at[2])


def test_splits_of_the_two_steps_share_no_image(tmp_path):
    fractions = {"weights": 0.5, "arch": 0.3, "select": 0.2}
    prepare_splits(tmp_path, IMAGES, source="digits", seed=0, fractions=fractions, test_fraction=0.2, limit_train=400)
    splits = {name: open_split(tmp_path, name, IMAGES, stage="search") for name in ("weights", "arch")}
    seen: dict[bool, set[str]] = {True: set(), False: set()}
    space = cells()
    logits = logits_of(space)

    def objective(batch, setting):
        asks = any(vector.requires_grad for vector in setting.values())
        seen[asks] |= {hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in batch[0]}
        return sum(vector.sum() for vector in setting.values()) + sum(w.sum() for w in space.parameters())

    batches = [Batches(splits[n], 16, generator=torch.Generator(), drop_last=False) for n in ("weights", "arch")]
    train_mixture(
        space,
        logits,
        *batches,
        parts=lambda epoch: Parts(),
        objective=objective,
        weights_optimiser=sgd(space.parameters(), 0.0),
        logits_optimiser=torch.optim.SGD(logits.parameters(), 0.0),
        epochs=1,
        clip=5.0,
    )
    assert (len(seen[False]), len(seen[True])) == (len(splits["weights"]), len(splits["arch"]))  # all were used
    assert not seen[True] & seen[False]


@pytest.mark.parametrize("clip", [0.05, 1e6])
def test_weight_gradients_are_clipped_together(clip):
    space = smooth()
    norms: list[float] = []
    optimiser = sgd(space.parameters(), 0.01)

    def look(optimiser, args, kwargs):
        grads = [w.grad for w in space.parameters() if w.grad is not None]
        norms.append(float(torch.cat([grad.flatten() for grad in grads]).norm()))

    optimiser.register_step_pre_hook(look)
    train(space, logits_of(space), weights_optimiser=optimiser, clip=clip)
    assert len(norms) == 5
    if clip < 1:
        assert norms == pytest.approx([clip] * 5, rel=1e-4)
    else:
        assert min(norms) > 0.05


def test_logits_gradients_are_not_clipped():
    space = smooth()
    logits, start = logits_of(space), logits_of(space)
    train(space, logits, TRAIN[:1], clip=1e-9, logits_optimiser=torch.optim.SGD(logits.parameters(), 1.0))
    assert max(float((logits[n] - start[n]).detach().abs().max()) for n in logits) > 1e-4


def test_an_epoch_is_told_with_its_losses_rate_and_weights():
    space = smooth()
    logits = logits_of(space)
    weights = sgd(space.parameters(), 0.2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(weights, 3, 0.05)
    watch = Recorded()
    losses: list[float] = []

    def objective(batch, setting):
        loss = loss_of(space)(batch, setting)
        losses.append(float(loss.detach()))
        return loss

    train(
        space,
        logits,
        TRAIN[:2],
        objective=objective,
        epochs=3,
        weights_optimiser=weights,
        schedule=schedule,
        watch=watch,
    )
    assert watch.steps == 6
    rates = [0.05 + 0.15 * (1 + math.cos(math.pi * epoch / 3)) / 2 for epoch in range(3)]
    assert [told["lr"] for told in watch.epochs] == pytest.approx(rates)  # the epoch's own, not the next one's
    first = watch.epochs[0]
    assert (first["valid_loss"], first["train_loss"]) == pytest.approx(
        ((losses[0] + losses[2]) / 2, (losses[1] + losses[3]) / 2)
    )
    for name, vector in softmax(logits).items():
        assert torch.equal(watch.weights[-1][name], vector.detach())


def test_decided_decisions_are_not_told_as_weights():
    space = smooth()
    watch = Recorded()
    train(space, logits_of(space), relax=lambda v: {**softmax(v), "a": "skip"}, watch=watch)
    assert list(watch.weights[0]) == ["b"]


def test_a_loss_that_explodes_is_refused_with_step_and_rate():
    space = smooth()
    loss = loss_of(space)
    bad = TRAIN[3][0]

    def objective(batch, setting):
        return loss(batch, setting) * (math.nan if batch[0] is bad else 1.0)

    with pytest.raises(Refused, match=r"loss is nan at epoch 0, step 3, with learning rate 0.1: lower search.lr"):
        train(space, logits_of(space), objective=objective)


def test_without_a_watch_nothing_is_told_and_the_space_is_left_training():
    space = smooth().eval()
    train(space, logits_of(space), watch=Watch())
    assert space.training


def test_images_of_a_published_space_pass_through():
    space = cells()
    logits = logits_of(space)
    before = snapshot(logits)
    train(space, logits, [images(8, 1)], [images(8, 2)])
    assert sorted(changed(logits, before)) == sorted(logits)


def test_what_goes_on_after_a_search_is_what_a_longer_search_does():
    """DARTS-PT's tuning uses the search's own Adam (Wang et al. 2021, public code): two epochs and one more are three.

    Weights stand still (rate 0), so that only the optimiser of the logits can tell the two apart.
    """

    def searched(epochs):
        space = smooth(dtype=torch.float32)
        objective = loss_of(space)
        valid = [points(8, seed, torch.float32) for seed in range(100, 105)]
        bench = Bench(space, 0, objective=objective, train=Loader(valid), valid=Loader(valid))
        recipe = Recipe(epochs, 1e-30, lr_min=0.0, weight_decay=0.0, logits_lr=0.1, logits_weight_decay=0.01)
        return bench, bilevel(bench, recipe, parts=lambda epoch: Parts()).logits, recipe

    _, longer, _ = searched(3)
    ends = {}
    for kept in (True, False):
        bench, logits, recipe = searched(2)
        logits.moments = json.loads(json.dumps(logits.moments)) if kept else {}  # as a file has them
        bench = replace(bench, logits=logits)
        between = decided_softmax(bench.space, bench.objective, torch.Generator())
        resume_mixture(bench, between, replace(recipe, epochs=1))({})
        ends[kept] = snapshot(logits)
    assert not changed(longer, ends[True])
    assert sorted(changed(longer, ends[False])) == ["a", "b"]


def test_where_weights_do_not_learn_they_rest_and_the_loss_to_show_is_that_of_the_logits():
    space, watch = smooth(), Recorded()
    logits, before = logits_of(space), snapshot(space)
    start = snapshot(logits)
    train(space, logits, parts=lambda epoch: Parts(learn_weights=False), watch=watch)
    assert not [name for name in changed(space, before) if "running" not in name and "num_batches" not in name]
    assert sorted(changed(logits, start)) == sorted(logits)
    assert watch.epochs[0]["train_loss"] == pytest.approx(watch.epochs[0]["valid_loss"])


def test_where_logits_do_not_learn_one_validation_batch_is_judged_by_its_own_statistics():
    space, watch = smooth(), Recorded()
    logits = logits_of(space)
    start, seen = snapshot(logits), []

    def objective(batch, setting):
        seen.append(batch[0])
        return loss_of(space)(batch, setting)

    train(space, logits, parts=lambda epoch: Parts(learn_logits=False), objective=objective, watch=watch, epochs=2)
    assert not changed(logits, start)
    wanted = [*(x for x, _ in TRAIN), VALID[0][0], *(x for x, _ in TRAIN), VALID[1][0]]
    assert all(torch.equal(one, other) for one, other in zip(seen, wanted, strict=True))
    statistics = snapshot(space)
    with torch.no_grad():
        told = loss_of(space)(VALID[1], softmax(logits))
    assert watch.epochs[1]["valid_loss"] == pytest.approx(told.item()), "in training, as the space is left"
    assert changed(space, statistics), "which judging by hand has moved, and the search has not"


def test_a_penalty_adds_to_the_gradient_of_the_logits_and_a_shape_to_that_of_the_weights():
    """Of a loss that is flat: logits go down the penalty, and weights down what the shape makes of the loss."""
    space = smooth()
    logits, flat = logits_of(space), lambda batch, setting: 0.0 * loss_of(space)(batch, setting)
    start, first = snapshot(logits), next(space.parameters())
    before = first.detach().clone()
    given = Parts(penalty=lambda each: 3 * each["a"].sum(), shape=lambda loss: loss + 2 * first.sum())
    train(space, logits, TRAIN[:1], objective=flat, parts=lambda epoch: given, clip=None)
    torch.testing.assert_close(logits["a"].detach(), start["a"] - 0.1 * 3)
    torch.testing.assert_close(logits["b"].detach(), start["b"])
    torch.testing.assert_close(first.detach(), before - 0.1 * 2)


def test_weights_learn_under_what_is_attached_and_told_is_the_mixture_that_is_to_be_shown():
    space, watch, settings = smooth(), Recorded(), []
    logits = logits_of(space)

    def objective(batch, setting):
        settings.append((batch[0], setting))
        return loss_of(space)(batch, setting)

    def attach(given, batch):
        assert given is logits
        return {"a": "skip", "b": "tanh" if torch.equal(batch[0], TRAIN[0][0]) else "norm"}

    given = Parts(attach=attach, told=lambda each: {"shown": torch.tensor(float(len(each)))})
    train(space, logits, TRAIN[:2], objective=objective, parts=lambda epoch: given, watch=watch)
    learnt = [setting for x, setting in settings if any(x is one for one, _ in TRAIN)]
    assert learnt == [{"a": "skip", "b": "tanh"}, {"a": "skip", "b": "norm"}]
    assert watch.weights == [{"shown": 2}]


def test_each_epoch_has_its_own_parts_and_tells_its_own_losses():
    space, watch, asked = smooth(), Recorded(), []

    def parts(epoch: int) -> Parts:
        asked.append(epoch)
        return Parts(relax=lambda each: {name: torch.eye(3)[epoch].double() for name in each})

    losses = {0: iter([1.0, 5.0, 3.0, 7.0]), 1: iter([10.0, 30.0, 20.0, 50.0])}

    def objective(batch, setting):
        epoch = int(setting["a"].argmax())
        return next(losses[epoch]) + 0.0 * loss_of(space)(batch, setting)

    train(space, logits_of(space), TRAIN[:2], objective=objective, parts=parts, watch=watch, epochs=2)
    assert asked == [0, 1]
    assert [told["valid_loss"] for told in watch.epochs] == [2, 15], "the first and the third of four"
    assert [told["train_loss"] for told in watch.epochs] == [6, 40]
