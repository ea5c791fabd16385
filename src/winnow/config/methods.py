"""What params.yaml says to strategies, selections and spaces, checked against their signatures.

This needs the functions themselves, and so torch; `winnow inputs`, `ui` and `gate` read params.yaml without.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache, partial
from typing import Any, TypeVar

from pydantic import ValidationError, create_model

from winnow.config.params import Params, SpaceParams
from winnow.config.section import Named, Section, nearest
from winnow.config.sentences import sentence
from winnow.core.dotted import function_at
from winnow.core.errors import Refused
from winnow.core.options import options_of, taken, takes
from winnow.core.space import Space
from winnow.data.sources import find_source
from winnow.search.methods import STRATEGIES
from winnow.search.selection import Selection, selection_of
from winnow.search.selections import SELECTIONS
from winnow.search.strategy import CHILDREN, INITIALISED, TRIALS, Run, Strategy, strategy_of
from winnow.spaces import AUTO, FACTS, SPACES, builder
from winnow.tasks import task_named


def strategy(name: str) -> Strategy:
    """The strategy of that name, or at that dotted path. Refused where there is none."""
    return strategy_of(function_at(_path("search.strategy", name, STRATEGIES), f"search.strategy {name!r}"))


def selection(name: str) -> Selection:
    """The selection of that name, or at that dotted path. Refused where there is none."""
    return selection_of(function_at(_path("select.methods", name, SELECTIONS), f"select.methods {name!r}"))


def _path(key: str, name: str, known: Mapping[str, Any]) -> str:
    """The dotted path of `name`. Refused, beginning with `key`, where it is neither known nor one itself."""
    if name in known:
        return str(known[name])
    if ":" in name:
        return name
    names = ", ".join(known)
    raise Refused(
        f"{key}: takes {names}, or a dotted path like 'my_package:method', not {name!r}{nearest(name, known)}"
    )


@cache
def model(what: str, functions: tuple[Callable[..., Any], ...], told: tuple[str, ...] = ()) -> type[Section]:
    """The section that holds the options of `functions`: their types, bounds and defaults."""
    fields: Any = options_of(functions, told)
    return create_model(what, __base__=Section, **fields)


def strategy_options(name: str) -> type[Section]:
    """The section of a strategy."""
    return model(name, strategy(name).functions())


def selection_options(name: str) -> type[Section]:
    """The section of a selection."""
    return model(name, selection(name).functions())


def trainer(params: Params) -> tuple[str, Strategy, dict[str, Any]]:
    """The name of what trains the supernet of a run, its record and its options: the strategy itself, or what trials
    inherit from.
    """
    search = params.search
    if TRIALS in strategy(search.strategy).leaves and search.trials.evaluator == "inherited":
        name = search.trials.inherited.strategy
        return name, strategy(name), search.section(name)
    return search.strategy, strategy(search.strategy), search.chosen()


def formed(params: Params) -> Callable[[Space], Space]:
    """From a space as its builder makes it to the form that the search begins with: its first step's."""
    if params.search.before:
        first = params.search.before[0]
        return partial(strategy(first.strategy).formed, options=first.chosen())
    _, training, options = trainer(params)
    return partial(training.formed, options=options)


def space_options(name: str) -> type[Section]:
    """The section of one of winnow's spaces, or of auto."""
    _path("space.name", name, {**SPACES, AUTO: builder(AUTO)})
    return model(name, (builder(name),), FACTS)


def _own(key: str, options: Mapping[str, Any], function: Callable[[], Callable[..., Any]], wrong: list[str]) -> None:
    """Add to `wrong` what is so with the options `key`, taken by `function()`, which is asked for if there are any."""
    if not options:
        return
    try:
        section = model(key, (function(),))
        section.model_validate(options)
    except ValidationError as error:
        wrong += [sentence(problem, section, key) for problem in error.errors()]
    except Refused as refusal:
        wrong.append(str(refusal))


def checked(params: Params) -> Params:
    """`params` with all options of what runs in it, defaults too. Refused, a sentence a mistake.

    Options of what does not run are checked as well, where they stand.
    """
    space, search, select, data = params.space, params.search, params.select, params.data
    wrong: list[str] = []
    _own("data.options", data.options, lambda: find_source(data.source), wrong)
    _own("retrain.loss", params.retrain.loss, lambda: task_named(params.task).criterion, wrong)
    _own("data.augment", data.augment, lambda: task_named(params.task).augment, wrong)
    space = space_filled(space, wrong)
    before = [
        _filled(step, f"search.before.{i}", {step.strategy: step.options}, STRATEGIES, strategy_options, wrong)
        for i, step in enumerate(search.before)
    ]
    search = _filled(search, "search", {search.strategy: search.options}, STRATEGIES, strategy_options, wrong)
    search = search.model_copy(update={"before": before})
    chosen = {name: select.options.get(name, {}) for name in select.methods}
    select = _filled(select, "select", chosen, SELECTIONS, selection_options, wrong)
    wrong += [
        f"select.options.{name}: no method of select.methods, which are {', '.join(select.methods)}"
        for name in params.select.options
        if name not in chosen
    ]
    if not wrong:
        params = params.model_copy(update={"space": space, "search": search, "select": select})
        wrong += _objections(params)
    if wrong:
        raise Refused("\n".join(wrong))
    return params


def space_filled(space: SpaceParams, wrong: list[str]) -> SpaceParams:
    """With all options that it takes, defaults too; what is wrong with them is added to `wrong`."""
    if ":" in space.name:  # a space of one's own says itself what it takes
        return space
    return _filled(space, "space", {space.name: space.options}, SPACES, space_options, wrong)


N = TypeVar("N", bound=Named)


def _filled(
    section: N,
    key: str,
    running: Mapping[str, Mapping[str, Any]],
    known: Collection[str],
    options: Callable[[str], type[Section]],
    wrong: list[str],
) -> N:
    """`section` with the sections inside it checked, and those that are `running` complete.

    `options(name)` is what such a section is. What `running` gives beside, by name, moves into the section of what is
    winnow's, and stays where it is for one's own.
    """
    inside = dict(section.model_extra or {})
    for name in inside:
        if name not in known:
            there = [*type(section).model_fields, *known]
            wrong.append(f"unknown key {key}.{name}{nearest(name, there)}; there are {', '.join(there)}")
    beside: dict[str, Any] = {}
    for name in dict.fromkeys([*inside, *running]):
        if name not in known and name not in running:
            continue
        if name in type(section).model_fields:  # trials, whose section random search reads too
            if running.get(name):
                wrong.append(f"{key}.options: {key}.{name} holds what {name} takes")
            continue
        try:
            place = f"{key}.{name}" if name in known and not running.get(name) else f"{key}.options"
            given = inside.get(name, {})
            whole = (
                {**given, **running.get(name, {})} if isinstance(given, Mapping) else given
            )  # which is told as wrong
            full = options(name).model_validate(whole).model_dump()
        except ValidationError as error:
            wrong += [sentence(problem, options(name), place) for problem in error.errors()]
        except Refused as refusal:
            wrong.append(str(refusal))
        else:
            if name in known:
                inside[name] = full if name in running else inside[name]
            else:
                beside[name] = full
    if "methods" in type(section).model_fields:
        return section.model_copy(update={**inside, "options": beside})
    return section.model_copy(update={**inside, "options": next(iter(beside.values()), {})})


def _objections(params: Params) -> list[str]:
    """What does not go together, though each part of it is taken."""
    searched, select = params.search.strategy, params.select
    found, told = strategy(searched), []
    for method in select.methods:
        if reason := objection(searched, method):
            told.append(f"select.methods: {reason}")
        if reason := unlimited(searched, method):
            told += [f"select.{name}: {reason}" for name in select.limited]
    if select.front and (reason := unlimited(searched, select.methods[0])):
        told.append(f"select.front: {reason}")
    if params.retrain.from_ == "inherited":
        told += _inheriting(params)
    if params.retrain.recipe().needs_auxiliary and not takes(builder(params.space.name), "auxiliary"):
        able = " or ".join(name for name in SPACES if takes(builder(name), "auxiliary"))
        told.append(f"retrain.auxiliary: only {able} has a second classifier; set retrain.auxiliary to 0")
    if params.search.trials.constraints and TRIALS not in found.leaves:
        told.append(
            f"search.trials.constraints: these hold with strategy trials, not with {searched!r}: "
            "set select.max_params or select.max_macs, or leave them out"
        )
    if params.search.collapse == "rollback" and not found.watched:
        told.append(
            f"search.collapse: rollback watches the logits of a mixture, and {searched!r} moves none; set it to warn"
        )
    told += _nothing_to_recompute(params)
    if found.objection is not None:
        search, processes = params.search, params.runtime.processes
        run = Run(params.space.name, search.precision, search.optimiser, search.epochs, processes)
        if reason := found.objection(run, **taken(found.objection, params.search.chosen())):
            told.append(f"search.{searched if searched in STRATEGIES else 'options'}.{reason}")
    return [*told, *_chain_objections(params), *_unshared(params)][:1]


def _inheriting(params: Params) -> Iterator[str]:
    """Why networks cannot begin with what the search trained."""
    if {TRIALS, INITIALISED} & trainer(params)[1].leaves:
        able = [name for name in STRATEGIES if strategy(name).leaves == {CHILDREN}]
        yield (
            f"retrain.from: strategy {params.search.strategy!r} trains no weights that a network could begin with: "
            f"set it to scratch, or search with {' or '.join(able)}"
        )
    elif params.evaluate.random_search:
        yield (
            "evaluate.random_search: a random search trains no weights that its find could begin with: set it to 0 "
            "(evaluate.controls are random networks that begin with the same), or retrain.from to scratch"
        )


def _nothing_to_recompute(params: Params) -> Iterator[str]:
    """Why no activations can be computed twice: none are kept."""
    if params.search.recompute and {TRIALS, INITIALISED} & trainer(params)[1].leaves:
        yield (
            f"search.recompute: strategy {params.search.strategy!r} trains no supernet, whose cells would be computed "
            "twice; set it to false"
        )


def _unshared(params: Params) -> Iterator[str]:
    """Why several processes cannot train the supernet. What trains none is no reason: they retrain."""
    steps = [*(strategy(step.strategy) for step in params.search.before), trainer(params)[1]]
    trains = [each for each in steps if not {TRIALS, INITIALISED} & each.leaves]
    if params.runtime.processes > 1 and not all(each.shared for each in trains):
        able = ", ".join(name for name in STRATEGIES if strategy(name).shared)
        yield (
            f"runtime.processes: of what several processes can train together ({able}), {params.search.strategy!r} is "
            "none; set it to 1"
        )


def _chain_objections(params: Params) -> Iterator[str]:
    for i, step in enumerate(params.search.before):
        if {TRIALS, INITIALISED} & strategy(step.strategy).leaves:
            yield f"search.before.{i}.strategy: {step.strategy!r} trains no weights that a next step could go on from"
    later = [step.strategy for step in (*params.search.before[1:], params.search)] if params.search.before else []
    for name in later:
        if strategy(name).form is not None:
            yield f"search: {name!r} searches the space in a form of its own and can only be the first step"


def objection(searched: str, method: str) -> str | None:
    """Why `method` means nothing on what strategy `searched` leaves, with what would work; None where it does."""
    found, leaves = selection(method), strategy(searched).leaves
    if found.serves(leaves):
        return None
    selections = [name for name in SELECTIONS if selection(name).serves(leaves)]
    strategies = [name for name in STRATEGIES if found.serves(strategy(name).leaves)]
    return (
        f"{method!r} {selection(method).reason}, which strategy {searched!r} does not leave: "
        f"select with {' or '.join(selections)}, or search with {' or '.join(strategies)}"
    )


def unlimited(searched: str, method: str) -> str | None:
    """Why `method` keeps no limit on the whole network, with what would after `searched`; None where it does."""
    if selection(method).keeps_limits:
        return None
    able = [name for name in SELECTIONS if selection(name).keeps_limits and objection(searched, name) is None]
    remedy = f"select with {' or '.join(able)}" if able else "set it to null, or search with another strategy"
    return f"{method!r} decides one question after the other and keeps no limit on the whole: {remedy}"
