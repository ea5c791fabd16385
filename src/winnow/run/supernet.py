"""Training the supernet of a space by the strategy that params.yaml names."""

import contextlib
from collections.abc import Callable, Mapping, Sized
from typing import Any, cast

import torch

from winnow.config.methods import strategy, trainer
from winnow.config.params import Params, Step
from winnow.core.space import Space
from winnow.data.loaders import Batches, in_order, subset
from winnow.proxies.sizes import Sizes, later, sizes_of
from winnow.run import files
from winnow.run.outside import resolved
from winnow.run.progress import Shown
from winnow.run.search_trials import search_by_trials
from winnow.run.work import Work, augmentation, final_space, search_space
from winnow.search.bench import Bench, Found
from winnow.search.chain import chain, narrowed
from winnow.search.collapse import CollapseWatch
from winnow.search.objective import objective
from winnow.search.strategy import Strategy
from winnow.train import ranks
from winnow.train.checkpoint import Keeper
from winnow.train.criteria import criterion_of
from winnow.train.seeds import derived, generator, seeded

WEIGHTS = ("epoch", "decision", "option", "weight")  # the columns of weights.csv
JUDGED = 2000  # rows of split arch that tell how children fare meanwhile
WATCHED = 32  # images of split arch that the collapse watch measures on; half where memory counts: it keeps them whole


def trained(work: Work, shown: Shown, keeper: Keeper) -> tuple[Found, CollapseWatch | None]:
    """What the search found, and what watched its last step, if anything; `shown` follows that step's epochs."""
    params, search = work.params, work.params.search
    seed = derived(params.seed, "search")
    watches: list[CollapseWatch | None] = []

    def step(
        settings: Step, name: str, record: Strategy, options: Mapping[str, Any], number: int | None = None
    ) -> Callable[[Space], Found]:
        def run(space: Space) -> Found:
            own = seed if number is None else derived(seed, "step", number)
            told = shown if number is None else Shown(work.run, f"step{number}_")
            bench, watch = _bench(work, space, settings, record, own, told, keeper, f"search.{name}")
            watches.append(watch)
            with told if number is not None else contextlib.nullcontext(), seeded(derived(own, "train")):
                told.start(f"search ({name})", settings.epochs * len(cast(Sized, bench.train)))
                return record.run(bench, settings.recipe(), options)

        return run

    steps = [
        step(each, each.strategy, strategy(each.strategy), each.chosen(), i) for i, each in enumerate(search.before)
    ]
    found = chain(search_space(params, work.folder, work.device), [*steps, step(search, *trainer(params))], keeper)
    return found, watches[-1]


def _bench(
    work: Work, space: Space, settings: Step, record: Strategy, seed: int, shown: Shown, keeper: Keeper, key: str
) -> tuple[Bench, CollapseWatch | None]:
    train, valid = (_batches(work, each, settings.batch, seed) for each in ("weights", "arch"))
    criterion = criterion_of(work.task, train.split.facts, derived(seed, "criterion"))
    loss = objective(space, criterion, settings.precision, settings.recompute)
    watch: CollapseWatch | None = None
    if settings.collapse != "off" and record.watched:
        watched = WATCHED // 2 if settings.recompute else WATCHED
        held = next(iter(in_order(valid.split, min(watched, len(valid.split)))))
        watch = CollapseWatch(shown, space, loss, held, on_alarm=settings.collapse)
    some = torch.randperm(len(valid.split), generator=generator(seed, "judged"))[:JUDGED]
    bench = Bench(
        space,
        seed,
        task=work.task,
        objective=loss,
        train=train,
        valid=valid,
        watch=watch or shown,
        splits={"weights": train.split},
        sizes=later(lambda: _sizes(work)),
        judged=subset(valid.split, some.sort().values),
        keeper=keeper,
        say=work.say,
        tensors=lambda path: files.read_tensors(resolved(work.folder, path, key), "search")[0],
        study=lambda: search_by_trials(work),
    )
    return bench, watch


def _sizes(work: Work) -> Sizes:
    """Of the networks that are retrained."""
    space = final_space(work.params, work.folder)
    assert space.example is not None
    return sizes_of(space, space.example)


def _batches(work: Work, name: str, batch: int, seed: int) -> Batches:
    split, order = work.split(name), generator(seed, "batches", name)
    return Batches(
        split, batch, augment=augmentation(work.params, split), generator=order, channels_last=True, part=ranks.part()
    )


def write_supernet(work: Work, found: Found, shown: Shown) -> None:
    """What selections and reports read of a trained supernet, to disk and to the tracker."""
    folder, space, logits = work.folder, found.space, found.logits
    files.write_tensors(folder / files.SUPERNET, space.state_dict(), about(work.params, space))
    vectors = {} if logits is None else {name: vector.tolist() for name, vector in logits.items()}
    options = {name: list(space.decisions[name].options) for name in vectors}
    moments = {} if logits is None else logits.moments
    files.write_json(folder / files.LOGITS, {"options": options, "logits": vectors, "moments": moments})
    files.write_json(folder / files.LIVE, narrowed(space))
    if found.shortlist:
        files.write_json(folder / files.SHORTLIST, [dict(arch) for arch in found.shortlist])
    files.write_rows(folder / files.REPORTS / "search.csv", shown.rows)
    rows = [
        {"epoch": row["epoch"], "decision": row["decision"], "option": option, "weight": weight}
        for row in shown.weights
        for option, weight in zip(space.decisions[row["decision"]].options, row["weights"], strict=True)
    ]
    files.write_rows(folder / files.REPORTS / "weights.csv", rows, WEIGHTS)
    for path in (files.SUPERNET, files.LOGITS, files.LIVE, files.REPORTS / "search.csv", files.REPORTS / "weights.csv"):
        work.run.artifact(folder / path)
    if shown.weights:
        work.picture("mixture_weights", "weights_over_time", rows)


def about(params: Params, space: Space) -> dict[str, str]:
    """What supernet.safetensors says of itself."""
    return {"space": params.space.name, "space_digest": space.digest, "strategy": trainer(params)[0]}
