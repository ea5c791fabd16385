"""The commands about scores of untrained networks. Like the others, they import nothing heavy before they run."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from winnow.proxies.common import Batch
    from winnow.tools.ranking import Ranking

_path = click.Path(path_type=Path)
_batch = click.option("--batch", type=click.IntRange(2), default=64, show_default=True, help="Images looked at.")
_data = click.option("--data", type=_path, help="Folder of splits, as prepare writes it [default: noise, no labels]")
_seed = click.option("--seed", type=int, default=0, show_default=True)
_proxies = click.option("--proxies", help="Names with commas between [default: all that the images allow]")


def _shape_of(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    words = text.split(",")
    if len(words) != 3 or not all(word.strip().isdigit() and int(word) for word in words):
        raise click.BadParameter(f"takes channels,height,width, like 3,32,32, not {text!r}")
    return tuple(int(word) for word in words)


_shape = click.option(
    "--input-shape", "shape", callback=_shape_of, help="Of one image of noise: channels,height,width [default: 3,32,32]"
)


@click.command()
@click.option("--space", "name", required=True, help="A space by name or dotted path, at its default size.")
@click.option("--table", "path", type=_path, required=True, help="A table of trials, as written by `table import`.")
@click.option("--metric", default="cifar10_valid", show_default=True)
@click.option("--fidelity", type=float, help="Epochs of the results to compare with [default: the longest]")
@click.option("--sample", type=click.IntRange(3), help="Only so many architectures, at random [default: all]")
@click.option("--resamples", type=click.IntRange(1), default=200, show_default=True, help="Of the bootstrap.")
@click.option("--workers", type=click.IntRange(1), help="How many score, under 1 GB each [default: one a core]")
@click.option(
    "--executor",
    type=click.Choice(["processes", "ray"]),
    default="processes",
    show_default=True,
    help="Where they do: processes here, or the machines of a Ray cluster, which all see --out and --data.",
)
@click.option("--address", help="Of the Ray cluster: host:port, or auto [default: a Ray of this machine]")
@click.option("--out", type=_path, default=Path("rank"), show_default=True, help="Folder of scores, rows and picture.")
@_proxies
@_data
@_shape
@_batch
@_seed
def rank(
    name: str,
    path: Path,
    metric: str,
    fidelity: float | None,
    sample: int | None,
    resamples: int,
    workers: int | None,
    executor: str,
    address: str | None,
    out: Path,
    proxies: str | None,
    data: Path | None,
    shape: tuple[int, ...] | None,
    batch: int,
    seed: int,
) -> None:
    """How well proxies order the architectures of a table; always beside params and MACs, and given both.

    Scores go to disk in parts: killed anywhere, the same command goes on from there, to the same files.
    """
    from winnow.core.errors import Refused
    from winnow.system.machine import usable_cores
    from winnow.tools.ranking import rank_proxies, truth_of
    from winnow.tools.ranking_files import tracked
    from winnow.tools.scoring import Given, shared
    from winnow.trials.lookup import Table

    if address is not None and executor != "ray":
        raise Refused("--address is that of a Ray cluster: say --executor ray with it")
    asked = click.get_current_context().params
    given = Given(name, str(data.resolve()) if data else None, shape, batch, seed)
    space, looked = given.made()
    table = Table.read(path)
    at = {"epochs": fidelity} if fidelity is not None else dict((table.fidelities(metric) or [()])[-1])
    truth = truth_of(space, table, metric, at, sample, seed)
    workers = workers or usable_cores()
    chosen = _chosen(proxies, looked)
    title = (
        f"{metric} at {', '.join(f'{key} {value:g}' for key, value in at.items()) or 'full'}, {len(truth):,} of {name}"
    )
    with tracked(out, asked | {"proxies": chosen}) as keep:
        ranking = rank_proxies(
            space,
            truth,
            chosen,
            looked,
            out,
            seed=seed,
            code=given.code(),
            resamples=resamples,
            by=shared(given, (space, looked), chosen, out, workers, executor, address),
            progress=_Told(),
        )
        written = keep(ranking, title)
    _show(ranking, title)
    click.echo(f"wrote {', '.join(str(each) for each in written)} and {ranking.swept.path}")


def _show(ranking: "Ranking", title: str) -> None:
    """A line a proxy, and what has no score or no order."""
    click.echo(f"{title}; {ranking.swept.distinct:,} scored")
    click.echo(
        f"{'proxy':<16}{'kendall [95 %]':>24}{'spearman':>10}{'given size':>12}{'top 5 %':>9}{'nDCG':>7}{'missing':>9}"
    )
    for row in ranking.rows:
        interval = f"{row['kendall']:.3f} [{row['kendall_low']:.3f}, {row['kendall_high']:.3f}]"
        click.echo(
            f"{row['proxy']:<16}{interval:>24}{row['spearman']:>10.3f}{row['given_size']:>12.3f}"
            f"{row['top_precision']:>9.2f}{row['ndcg_top']:>7.3f}{row['missing']:>9.0f}"
        )
    for gap in ranking.gaps:
        click.echo(
            f"{gap.proxy}: no value for {gap.count:,}, ranked last; the first is {gap.architecture}: {gap.reason}"
        )
    for level in ranking.level:
        click.echo(f"{level}: the same score for all, so it has no order and no correlation")


@click.command()
@click.argument("network")
@click.option("--space", "name", help="The architecture's space, at its default size.")
@click.option("--sample", type=click.IntRange(0), default=20, show_default=True, help="Random children beside it.")
@_proxies
@_data
@_shape
@_batch
@_seed
def score(
    network: str,
    name: str | None,
    sample: int,
    proxies: str | None,
    data: Path | None,
    shape: tuple[int, ...] | None,
    batch: int,
    seed: int,
) -> None:
    """The proxies of NETWORK: an architecture.json with --space, or a module of yours, my_package.my_module:build.

    Of an architecture also the share of random children of its space that it beats.
    """
    from winnow.core.errors import Refused
    from winnow.run.files import read_architecture
    from winnow.tools.scoring import Given
    from winnow.tools.standing import module_at, scores_of, standing

    given = Given(name or "", str(data) if data else None, shape, batch, seed)
    looked, _ = given.rows()
    chosen = _chosen(proxies, looked)
    if ":" in network and not Path(network).exists():
        sample, rows = 0, scores_of(module_at(network, seed), chosen, looked, seed)
    elif name is None:
        raise Refused(
            f"an architecture has a space: say --space for {network}, or name a module like 'my_module:build'"
        )
    else:
        space, _ = given.made()
        rows = standing(space, read_architecture(Path(network), space, name), chosen, looked, sample, seed)
    click.echo(f"{'proxy':<16}{'score':>16}{f'beats of {sample}' if sample else '':>14}".rstrip())
    for row in rows:
        share = f"{row['beats']:.0%}" if sample else ""
        click.echo(f"{row['proxy']:<16}{row['score']:>16,.6g}{share:>14}  {row['reason']}".rstrip())


def _chosen(proxies: str | None, given: "Batch") -> list[str]:
    from winnow.proxies import PROXIES, proxy
    from winnow.proxies.scorer import ANY_INPUT

    if proxies is None:
        if given[0].dim() != 4:
            return list(ANY_INPUT)
        return [name for name, p in PROXIES.items() if p.needs != "labels" or given[1] is not None]
    names = [name.strip() for name in proxies.split(",")]
    for name in names:
        proxy(name)
    return names


class _Told:
    """Says how far a sweep is, at most once in two seconds: how many, how fast, and how long it will still take."""

    EVERY = 2.0

    def __init__(self) -> None:
        self.began, self.before, self.spoke = 0.0, 0, 0.0

    def __call__(self, done: int, total: int) -> None:
        from winnow.run.progress import duration

        now = time.monotonic()
        if not self.began:  # what was scored by an earlier start says nothing of the speed
            self.began, self.before = now, done
        elif done < total and self.spoke and now - self.spoke < self.EVERY:
            return
        rate = (done - self.before) / max(now - self.began, 1e-9)
        speed = f", {rate:.3g} a second, {duration((total - done) / rate)} left" if rate else ""
        self.spoke = now if rate else 0.0
        click.echo(f"  scored {done:,} of {total:,}{speed}", err=True)
