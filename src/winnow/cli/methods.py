"""The commands that say what there is to choose from: names, what each takes, and a first sentence."""

from typing import Any

import click

_name = click.argument("name", required=False)


@click.command()
@_name
def strategies(name: str | None) -> None:
    """The search strategies (search.strategy), what each leaves and takes.

    An option of one goes into its section: search.sdarts.noise. A strategy of your own: docs/add-a-method.md.
    """
    from winnow.config.methods import strategy, strategy_options
    from winnow.search.methods import STRATEGIES
    from winnow.search.strategy import TRIALS

    for each in [name] if name else STRATEGIES:
        found = strategy(each)
        _show(each, f"leaves {', '.join(sorted(found.leaves))}", found.search, strategy_options(each), whole=bool(name))
        if TRIALS in found.leaves:
            from winnow.config.trial_params import SearchTrials

            click.echo("  in section search.trials:")
            _options(SearchTrials)


@click.command()
@_name
def selections(name: str | None) -> None:
    """The selections (select.methods), what each asks of the search before it, and takes.

    An option of one goes into its section: select.evolution.population. One of your own: docs/add-a-method.md.
    """
    from winnow.config.methods import selection, selection_options
    from winnow.search.selections import SELECTIONS

    for each in [name] if name else SELECTIONS:
        found = selection(each)
        limits = f"; keeps limits{' that add up over answers' if found.sums else ''}" if found.keeps_limits else ""
        needs = f"needs {found.needs or 'what it finds'}{limits}"
        _show(each, needs, found.choose, selection_options(each), whole=bool(name))


@click.command()
@_name
def proxies(name: str | None) -> None:
    """The scores of untrained networks (search.training_free.proxies, evaluators, winnow score and rank)."""
    from winnow.proxies import PROXIES, proxy

    for each in [name] if name else PROXIES:
        found = proxy(each)
        good = "large is good" if found.direction > 0 else "small is good"
        _show(each, f"{good}; needs {found.needs}", found.score, None, whole=bool(name))


@click.command()
@_name
def tasks(name: str | None) -> None:
    """What can be learnt (task), by which numbers it is judged, and which losses and pictures come with it."""
    from winnow.tasks import TASKS, task_named

    for each in [name] if name else TASKS:
        found = task_named(each)
        numbers = ", ".join(f"{key} ({metric.goal})" for key, metric in found.metrics.items())
        click.echo(click.style(each, bold=True) + f"  reads {', '.join(found.reads)}; tells {found.target}")
        click.echo(f"  judged by {numbers}; the first decides")
        if found.pictures:
            click.echo(f"  pictures: {', '.join(found.pictures)}")


@click.command()
@click.argument("path")
def check(path: str) -> None:
    """Hold a strategy or a selection, my_package.my_module:name, against its contract.

    On problems whose answer is known, on every space, for determinism and for being stopped anywhere; each clause that
    holds is a line, and the first that does not ends with status 2. Takes a minute or so.
    """
    from winnow.tools.checking import check as hold

    hold(path, click.echo)
    click.echo(f"{path} keeps the contract")


def _show(name: str, facts: str, function: Any, options: Any, *, whole: bool) -> None:
    text = (function.__doc__ or "").strip()
    click.echo(click.style(name, bold=True) + (f"  {facts}" if facts else ""))
    click.echo("  " + (text if whole else " ".join(text.split("\n\n")[0].split())))
    if options is not None:
        _options(options)


def _options(section: Any) -> None:
    from winnow.config.described import described

    for option, takes, default in described(section):
        click.echo(f"    {option}: {takes} [default: {default}]")
