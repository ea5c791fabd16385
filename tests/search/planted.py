"""Searches whose right answer is known: one candidate sees the image, the others do not."""

import copy

from tests.judging import cross_entropy
from tests.search.toys import Loader, Recorded
from winnow.core.space import Space
from winnow.proxies.sizes import later, sizes_of
from winnow.search.bench import Bench
from winnow.search.recipe import Recipe
from winnow.tools.planted import SEES, batches, planted  # noqa: F401
from winnow.train.seeds import seeded


def data(count: int = 96, seed: int = 0) -> Loader:
    """Batches of 24: each half of the channels says one of the two bits of the class."""
    return Loader(batches(count, seed))


def bench_of(space: Space, train, valid, *, seed: int = 0, watch=None, **more) -> Bench:
    """A bench for cross-entropy."""
    objective = cross_entropy(space)
    shown = copy.deepcopy(train)  # whose order is then nobody's
    sizes = later(lambda: sizes_of(space, tuple(next(iter(shown))[0].shape[1:])))
    told = {"objective": objective, "watch": watch or Recorded(), "sizes": sizes}
    return Bench(space, seed, train=train, valid=valid, **{**told, **more})


def split_options(options: dict) -> tuple[Recipe, dict]:
    """The recipe and a method's own options."""
    fields = Recipe.__dataclass_fields__
    return Recipe(**{n: v for n, v in options.items() if n in fields}), {
        n: v for n, v in options.items() if n not in fields
    }


def search(method, space: Space | None = None, *, seed: int = 0, watch=None, **options):
    """(space, logits, watch) after `method` on the planted problem."""
    space = space or planted()
    watch = watch or Recorded()
    usual = {"epochs": 12, "lr": 0.1, "logits_lr": 0.1, "logits_weight_decay": 0.0}
    recipe, own = split_options(usual | options)
    with seeded(seed):  # the noise
        found = method(bench_of(space, data(seed=1), data(seed=2), seed=seed, watch=watch), recipe, **own)
    return space, found.logits, watch
