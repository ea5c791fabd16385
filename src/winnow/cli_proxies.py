"""The commands about scores of untrained networks. Like the others, they import nothing heavy before they run."""

from pathlib import Path

import click

_path = click.Path(path_type=Path)
_batch = click.option("--batch", type=click.IntRange(2), default=64, show_default=True, help="Images looked at.")
_data = click.option("--data", type=_path, help="Folder of splits, as prepare writes it [default: noise, no labels]")
_seed = click.option("--seed", type=int, default=0, show_default=True)
_proxies = click.option("--proxies", help="Names with commas between [default: all that the images allow]")


@click.command()
@click.option("--space", "name", required=True, help="A space by name or dotted path, at its default size.")
@click.option("--table", "path", type=_path, required=True, help="A table of trials, as written by `table import`.")
@click.option("--metric", default="cifar10_valid", show_default=True)
@click.option("--fidelity", type=float, help="Epochs of the results to compare with [default: the longest]")
@click.option("--sample", type=click.IntRange(3), help="Only so many architectures, at random [default: all]")
@click.option("--out", type=_path, default=Path("rank"), show_default=True, help="Folder for scores and rank.csv.")
@_proxies
@_data
@_batch
@_seed
def rank(
    name: str,
    path: Path,
    metric: str,
    fidelity: float | None,
    sample: int | None,
    out: Path,
    proxies: str | None,
    data: Path | None,
    batch: int,
    seed: int,
) -> None:
    """How well proxies order the architectures of a table; always beside params and MACs, and given both.

    Scores go to disk in parts: killed anywhere, the same command goes on from there.
    """
    from winnow.stage.files import write_rows
    from winnow.stage.ranking import rank_proxies, truth_of
    from winnow.trials.lookup import Table

    images, space = _images(data, batch, seed), None
    space = _space(name, seed, images)
    table = Table.read(path)
    known = table.fidelities(metric) or [()]
    at = {"epochs": fidelity} if fidelity is not None else dict(known[-1])
    truth = truth_of(space, table, metric, at, sample, seed)
    chosen = _chosen(proxies, images)
    ranking = rank_proxies(space, truth, chosen, images, out, seed=seed, progress=_say)
    write_rows(out / "rank.csv", ranking.rows)
    click.echo(f"{len(truth):,} architectures of {name}, {ranking.swept.distinct:,} scored; {metric} at {at or 'full'}")
    click.echo(
        f"{'proxy':<16}{'kendall [95 %]':>24}{'spearman':>10}{'given size':>12}{'top 5 %':>9}{'nDCG':>7}{'missing':>9}"
    )
    for row in ranking.rows:
        interval = f"{row['kendall']:.3f} [{row['kendall_low']:.3f}, {row['kendall_high']:.3f}]"
        click.echo(
            f"{row['proxy']:<16}{interval:>24}{row['spearman']:>10.3f}{row['given_size']:>12.3f}"
            f"{row['top_precision']:>9.2f}{row['ndcg_top']:>7.3f}{row['missing']:>9.0f}"
        )
    click.echo(f"wrote {out / 'rank.csv'} and {ranking.swept.path}")


@click.command()
@click.argument("architecture", type=_path)
@click.option("--space", "name", required=True, help="Its space, at its default size.")
@click.option("--sample", type=click.IntRange(0), default=20, show_default=True, help="Random children beside it.")
@_proxies
@_data
@_batch
@_seed
def score(
    architecture: Path, name: str, sample: int, proxies: str | None, data: Path | None, batch: int, seed: int
) -> None:
    """The proxies of an architecture.json, and the share of random children of its space that it beats."""
    from winnow.stage.ranking import standing

    images = _images(data, batch, seed)
    space = _space(name, seed, images)
    from winnow.stage.files import read_architecture

    arch = read_architecture(architecture, space, name)
    click.echo(f"{'proxy':<16}{'score':>16}{f'beats of {sample}':>14}")
    for row in standing(space, arch, _chosen(proxies, images), images, sample, seed):
        share = f"{row['beats']:.0%}" if sample else ""
        click.echo(f"{row['proxy']:<16}{row['score']:>16,.6g}{share:>14}  {row['reason']}".rstrip())


def _images(data: Path | None, batch: int, seed: int):
    """A batch of the split `weights` with labels, or noise without."""
    from winnow.stage.ranking import noise_batch

    if data is None:
        return noise_batch(batch, (3, 32, 32), seed)
    from winnow.data.loaders import Batches, open_split
    from winnow.train.seeds import generator

    return next(iter(Batches(open_split(data, "weights", stage="search"), batch, generator=generator(seed, "score"))))


def _space(name: str, seed: int, images):
    from winnow.spaces import build
    from winnow.train.seeds import seeded

    with seeded(seed):
        return build(name, {}, image_channels=images[0].shape[1], image_size=images[0].shape[2], final=True)


def _chosen(proxies: str | None, images) -> list[str]:
    from winnow.proxies import PROXIES, proxy

    if proxies is None:
        return [name for name, p in PROXIES.items() if p.needs != "labels" or images[1] is not None]
    names = [name.strip() for name in proxies.split(",")]
    for name in names:
        proxy(name)
    return names


def _say(done: int, total: int) -> None:
    click.echo(f"  scored {done:,} of {total:,}", err=True)
