"""SPOS with balanced paths: MACs in bins, and what is no range. Its training is in test_methods.py."""

import itertools
import random
import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.search.planted import bench_of
from tests.search.toys import Loader, Recorded, cells, images
from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.search.methods import spos as module
from winnow.search.methods.spos import spos
from winnow.search.paths import uniform_paths
from winnow.search.recipe import Recipe
from winnow.search.strategy import strategy_of


def macs_of(space, count=200):
    bench, draws = bench_of(space, Loader([images(4)]), ()), random.Random(0)
    return sorted(bench.sizes(space.decide(uniform(draws)))["macs"] for _ in range(count))


def trained(space, **options):
    """MACs of the paths of an epoch."""
    seen: list[float] = []
    bench = bench_of(space, Loader([images(4, seed) for seed in range(12)]), ())

    def objective(batch, path):
        seen.append(bench.sizes(path)["macs"])
        return bench.objective(batch, path)

    spos(bench_of(space, bench.train, (), objective=objective), Recipe(epochs=1, lr=0.01), **options)
    return seen


def test_paths_lie_in_the_range_and_none_in_a_bin_without_networks():
    space = cells("ofa")
    every = macs_of(space)
    low, high = every[40], every[160]
    assert all(low <= each <= high for each in trained(space, balanced=(low, high), bins=2))
    assert not all(low <= each <= high for each in trained(space))


@pytest.mark.parametrize("ends", [(9e6, 1e6), (5e6, 5e6)])
def test_what_is_no_range_is_refused(ends):
    with pytest.raises(Refused, match="the lower one first"):
        trained(cells("ofa"), balanced=ends)


def paths(**options) -> list:
    """What `spos` makes bins of."""
    made = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "binned_paths", lambda *given: made.append(given) or uniform_paths(given[0], given[1]))
        trained(cells("nas_bench_201"), **options)
    return made[0][-3:]


@pytest.mark.parametrize(("options", "bins"), [({}, 7), ({"bins": 3}, 3)])
def test_a_range_has_seven_bins_unless_told_otherwise(options, bins):
    assert paths(balanced=(1e3, 5e6), **options) == (1e3, 5e6, bins)


@pytest.mark.parametrize("schedule", [None, "linear", "cosine"])
def test_the_rate_falls_in_a_line_unless_the_recipe_says_otherwise(schedule):
    watch, space = Recorded(), cells("nas_bench_201")
    bench = bench_of(space, Loader([images(4), images(4, 1)]), (), watch=watch)
    spos(bench, Recipe(epochs=4, lr=0.1, lr_min=0.0, schedule=schedule))
    rates = [row["lr"] / 0.1 for row in watch.epochs]
    falls = [one - other for one, other in itertools.pairwise(rates)]
    assert (max(falls) - min(falls) < 1e-6) is (schedule != "cosine")


class Clipped(nn.Module):
    """A layer with a clip, which is one number."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 3)
        self.clip = nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        return self.layer(x).clamp(max=self.clip)


def pretrained(change) -> dict[str, torch.Tensor]:
    """The weights that `spos` begins with, given those of another such space after `change`; it rests."""
    spaces = [Space(nn.Sequential(Choice("a", {"x": Clipped(), "y": Clipped()}))) for _ in range(2)]
    tensors = {name: torch.full_like(tensor, 7.0) for name, tensor in spaces[1].state_dict().items()}
    change(tensors)
    bench = bench_of(spaces[0], Loader([(torch.zeros(2, 2), torch.zeros(2, dtype=torch.long))]), ())
    rest = Recipe(epochs=1, lr=1e-20, lr_min=0.0, weight_decay=0.0)
    spos(replace(bench, tensors={"w.safetensors": tensors}.__getitem__), rest, pretrained="w.safetensors")
    return spaces[0].state_dict()


def test_a_search_begins_with_the_weights_of_a_file():
    assert all(bool((tensor == 7).all()) for tensor in pretrained(lambda tensors: None).values())


def test_clips_that_a_file_has_not_begin_as_ever():
    (name,) = (name for name in pretrained(lambda tensors: None) if "x" in name and name.endswith("clip"))
    found = pretrained(lambda tensors: tensors.pop(name))
    assert found.pop(name).item() == 2
    assert all(bool((tensor == 7).all()) for tensor in found.values())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop(next(n for n in t if n.endswith("layer.bias"))), r"it lacks '.*layer\.bias'$"),
        (lambda t: t.update(odd=torch.zeros(2)), "'odd' has no place here$"),
        (
            lambda t: t.update({n: torch.zeros(4) for n in t if n.endswith("layer.bias")}),
            r"is \(4,\) there, \(3,\) here$",
        ),
    ],
)
def test_weights_of_another_network_are_refused_by_what_is_odd(change, said):
    with pytest.raises(
        Refused, match=r"search.spos.pretrained: w.safetensors holds the weights of another network"
    ) as e:
        pretrained(change)
    assert re.search(said, str(e.value))


def test_what_winnow_knows_of_it():
    record = strategy_of(spos)
    assert record.leaves == {"children"}
    assert not record.watched
    assert record.shared
