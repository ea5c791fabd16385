"""Selections of strategy training_free: scores of untrained networks, or a supernet pruned at initialisation."""

from typing import Any

from winnow.core.architecture import Architecture
from winnow.core.space import Space
from winnow.data.loaders import in_order, join
from winnow.run.limits import Limits
from winnow.run.networks import outlined
from winnow.run.progress import Shown
from winnow.run.work import Work, facts
from winnow.search.freenas import freenas
from winnow.search.training_free import Evidence, Load, evolved, proxy_judge, sampled
from winnow.spaces import shape_of
from winnow.train.building import fresh_space
from winnow.train.checkpoint import Keeper
from winnow.train.seeds import derived, generator, rng

Rows = list[dict[str, Any]]


def choose(work: Work, limits: Limits, method: str, seed: int, keeper: Keeper) -> tuple[Architecture, Rows]:
    """The architecture that `method` (evolution, random, prune) finds within `limits`, and rows of evidence.

    Networks are scored in the form that is retrained, at the size that is searched; limits are of what would be
    retrained, at its own size.
    """
    params, fact, load = work.params, facts(work.folder), limits.load
    outline = outlined(params.space.name, params.space.chosen(), fact)
    space = fresh_space(outline, work.device, derived(params.seed, "search", "initialise"))
    if method == "prune":
        return _pruned(work, space, shape_of(fact), seed, load if limits else None)
    settings = params.search.training_free
    batch = next(iter(in_order(join([work.split("weights")]), settings.batch)))
    judge = proxy_judge(space, settings.proxies, batch, derived(params.seed, "search"))
    with Shown() as watch, keeper.piece(seen=judge.seen):
        score = judge.score

        def told(arch: Architecture) -> Any:
            keeper.due()
            watch.step()
            return score(arch)

        judge.score = told
        if method == "random":
            watch.start("select (random)", params.select.random.samples)
            arch, rows = sampled(space, judge, rng(seed, "random"), samples=params.select.random.samples, load=load)
        else:
            own = params.select.evolution
            watch.start("select (evolution)", own.population * (own.generations + 1))
            arch, rows = evolved(
                space,
                judge,
                rng(seed, "evolution"),
                population=own.population,
                generations=own.generations,
                parents=own.parents,
                mutation=own.mutation,
                load=load,
            )
    missing = [row for row in rows if row.reason]
    if missing:
        work.say(f"  {len(missing)} of {len(rows)} have no score by some proxy and rank last: {missing[0].reason}")
    return arch, [_scored(row) for row in rows]


def _scored(row: Evidence) -> dict[str, Any]:
    return {"event": row.event, "decision": "", "option": row.option, "score": row.score, "kept": row.kept}


def _pruned(
    work: Work, space: Space, shape: tuple[int, ...], seed: int, load: Load | None
) -> tuple[Architecture, Rows]:
    with Shown() as watch:
        watch.start("select (prune)", sum(len(d.options) - d.pick for d in space.decisions.values()))
        arch, rows = freenas(
            space,
            shape,
            generator(seed, "prune"),
            random_alpha=work.params.select.prune.random_alpha,
            load=load,
            watch=lambda passes: watch.step(),
        )
    return arch, [
        {"event": row.event, "decision": row.decision, "option": str(row.option), "score": row.score, "kept": row.kept}
        for row in rows
    ]
