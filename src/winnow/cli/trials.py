"""The commands about tables of trials. Like the others, they import nothing heavy before they run."""

from pathlib import Path

import click

_path = click.Path(path_type=Path)
BENCHMARKS = ("nas_bench_201", "nas_bench_101", "nas_bench_macro", "accel_nasbench", "device_latency", "vit_bench")
MEASURED = ("spearman", "kendall")
SHOWN = (10, 30, 50, 100, 200, 300, 500, 1000)  # evaluations that `replay` prints


@click.group()
def table() -> None:
    """Tables of trials: import a benchmark, look at any."""


@table.command("import")
@click.argument("benchmark", type=click.Choice(BENCHMARKS))
@click.argument("sources", type=_path, nargs=-1, required=True)
@click.option("--space", help="Of a file that holds several: vit_bench's autoformer_tiny or pit.")
@click.option("--out", type=_path, help="Where the table goes [default: tables/<benchmark>.parquet]")
def import_table(benchmark: str, sources: tuple[Path, ...], space: str | None, out: Path | None) -> None:
    """Make one table of ours from files of a benchmark, which may hold different columns or rows of it."""
    from winnow.core.errors import Refused
    from winnow.trials.benchmarks import BENCHMARKS as READ
    from winnow.trials.importing import import_benchmark, sources_of
    from winnow.trials.tables import import_nas_bench_201

    out = out or Path("tables") / f"{benchmark}.parquet"
    if benchmark in READ:
        count, remarks = import_benchmark(benchmark, READ[benchmark], sources, out, space)
    elif space is not None:
        raise Refused(f"{benchmark} is of one space: leave out --space {space}")
    else:
        count, others = import_nas_bench_201(sources, out)
        remarks = [f"left out, as no results of {benchmark}: {', '.join(others)}"] if others else []
    for remark in remarks:
        click.echo(remark)
    click.echo(f"{sources_of(out)[0].origin}; licence {sources_of(out)[0].licence}")
    click.echo(f"wrote {out}: {count:,} rows; look at it with: winnow table show {out}")


@table.command("join")
@click.argument("paths", type=_path, nargs=-1, required=True)
@click.option("--out", type=_path, required=True, help="Where the table goes.")
def join_tables(paths: tuple[Path, ...], out: Path) -> None:
    """Make one table of several of one space: the rows of the first, with what the others measured beside."""
    from winnow.trials.joining import join

    count, remarks = join(paths, out)
    for remark in remarks:
        click.echo(remark)
    click.echo(f"wrote {out}: {count:,} rows; look at it with: winnow table show {out}")


@table.command("show")
@click.argument("path", type=_path)
def show_table(path: Path) -> None:
    """What a table holds: states, decisions, and the best of each metric."""
    from collections import Counter

    from winnow.trials.importing import sources_of
    from winnow.trials.lookup import Table
    from winnow.trials.table import read_table

    states = Counter(read_table(path, ["state"])["state"].to_pylist())
    found = Table.read(path)
    counted = ", ".join(f"{n:,} {state}" for state, n in sorted(states.items()))
    click.echo(f"{path}: {counted}; {len(found):,} architectures of {len(found.names)} decisions")
    for source in sources_of(path):
        click.echo(f"  from {source.file} ({source.benchmark}, {source.origin}; licence {source.licence})")
        click.echo(f"    sha256 {source.sha256}")
    click.echo(f"  {'metric':<28} {'fidelity':<14} {'known of':>9} {'min':>14} {'mean':>14} {'max':>14}")
    for metric, fidelity in found.columns:
        values = found.column(metric, dict(fidelity))
        values = values[values == values]  # nan: not evaluated at this fidelity
        at = ", ".join(f"{name} {value:g}" for name, value in fidelity) or "full"
        numbers = " ".join(f"{value:>14,.6g}" for value in (values.min(), values.mean(), values.max()))
        click.echo(f"  {metric:<28} {at:<14} {len(values):>9,} {numbers}")


@click.command()
@click.option("--strategy", "strategies", multiple=True, required=True, help="A sampler, or halving; may be repeated.")
@click.option("--table", "path", type=_path, required=True, help="A table of trials, as written by `table import`.")
@click.option("--metric", default="cifar10_valid", show_default=True)
@click.option("--direction", type=click.Choice(["maximize", "minimize"]), default="maximize", show_default=True)
@click.option("--objective", "besides", multiple=True, help="One more, as latency_ms=minimize; may be repeated.")
@click.option("--limit", "limits", multiple=True, help="The most of a metric, as latency_ms=10; may be repeated.")
@click.option("--device", "devices", multiple=True, help="Whose latency_ms and images_per_second; may be repeated.")
@click.option("--proxy", "proxies", multiple=True, help="For proxy_bo: a metric of the table, or package.module:score.")
@click.option("--seeds", type=click.IntRange(2), default=100, show_default=True)
@click.option("--evaluations", type=click.IntRange(1), default=500, show_default=True)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Trials in flight at a time.")
@click.option("--out", type=_path, default=Path("replay"), show_default=True, help="Folder for the CSV and the figure.")
def replay(
    strategies: tuple[str, ...],
    path: Path,
    metric: str,
    direction: str,
    besides: tuple[str, ...],
    limits: tuple[str, ...],
    devices: tuple[str, ...],
    proxies: tuple[str, ...],
    seeds: int,
    evaluations: int,
    workers: int,
    out: Path,
) -> None:
    """Simulate search strategies on a table, beside random search: regret by evaluations, with 95 % bands.

    With further objectives the regret is the share of what the table's front dominates that those found do not; with
    limits, architectures beyond them do not count.
    """
    import time

    from winnow.look.replay import draw_regret
    from winnow.run.draw import save
    from winnow.run.files import write_rows
    from winnow.trials.lookup import Table
    from winnow.trials.replay import band, regrets
    from winnow.trials.sought import sought

    asked = sought(Table.read(path), metric, direction, besides, limits, devices)
    columns = [n for n in SHOWN if n <= evaluations] or [evaluations]
    for line in asked.remarks:
        click.echo(line)
    click.echo(f"mean regret of {asked.title} over {seeds} seeds (± half a 95 % interval) after")
    click.echo(f"{'evaluations':<24}" + "".join(f"{n:>18}" for n in columns) + f"{'seconds':>10}")
    curves, rows = {}, []
    for strategy in dict.fromkeys((*strategies, "random")):
        started = time.perf_counter()
        of = asked.of(workers, {"proxies": proxies} if strategy == "proxy_bo" else {})
        curves[strategy] = mean, low, high = band(regrets(of, strategy, seeds, evaluations))
        cells = "".join(f"{f'{mean[n - 1]:.4f} ± {high[n - 1] - mean[n - 1]:.4f}':>18}" for n in columns)
        click.echo(f"{strategy:<24}{cells}{time.perf_counter() - started:>10.1f}")
        for i in range(evaluations):
            rows.append({"strategy": strategy, "evaluations": i + 1, "regret": mean[i], "low": low[i], "high": high[i]})
    write_rows(out / "regret.csv", rows)
    save(draw_regret(curves, asked.title, seeds), out / "regret.svg")
    click.echo(f"wrote {out / 'regret.csv'} and {out / 'regret.svg'}")


@click.command()
@click.argument("settings", nargs=-1, required=True)
@click.option("--full", required=True, help="What the others are held against, such as c0r0s0e60.")
@click.option("--networks", type=click.IntRange(5), default=30, show_default=True, help="Random ones of the space.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Networks trained at a time.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--resamples", type=click.IntRange(1), default=1000, show_default=True, help="Of the bootstrap.")
@click.option("--out", type=_path, default=Path("consistency.json"), show_default=True)
@click.option("--folder", type=_path, default=Path(), help="Folder with params.yaml, prepared [default: .]")
def consistency(
    settings: tuple[str, ...],
    full: str,
    networks: int,
    workers: int,
    seed: int,
    resamples: int,
    out: Path,
    folder: Path,
) -> None:
    """How well reduced trainings order networks as a full one does: SETTINGS such as c4r4s1e20, after EcoNAS.

    c, r: steps fewer channels, steps less resolution (each halves what dense convolutions cost); s: halvings of the
    images; e: epochs. Trains on split weights and judges on arch, by the recipe of the trials of params.yaml; the full
    setting twice, since no other can agree with it better than it does with itself. Killed anywhere, it goes on.
    """
    from dataclasses import asdict

    from winnow.config.reading import read_params
    from winnow.run.files import write_json
    from winnow.run.imports import on_path
    from winnow.tools.consistency import consistency as compare

    on_path(folder)
    params = read_params(folder / "params.yaml")
    asked = {"workers": workers, "seed": seed, "resamples": resamples}
    found = compare(
        params, folder, settings, full, networks, **asked, say=lambda text: click.echo(f"  {text}", err=True)
    )
    left = f"; {found.failed} left out, as a setting could not train them" if found.failed else ""
    click.echo(f"{found.networks} networks of {params.space.name} against {full}{left}; 95 % intervals over networks")
    click.echo(f"{'setting':<16}{'spearman':>26}{'kendall':>26}{'work':>8}{'time':>8}")
    for row in found.rows:
        low, high = ([row[f"{name}_{end}"] for name in MEASURED] for end in ("low", "high"))
        cells = [f"{row[name]:.3f} [{a:.3f}, {b:.3f}]" for name, a, b in zip(MEASURED, low, high, strict=True)]
        both = "".join(f"{cell:>26}" for cell in cells)
        click.echo(f"{row['setting']:<16}{both}{row['work']:>8.1%}{row['seconds']:>8.1%}")
    click.echo(
        f"{full}' is the full setting from another seed: what any can reach. Work is MACs x images, of the full."
    )
    for pair in found.pairs:
        interval = f"{pair['spearman']:+.3f} [{pair['low']:+.3f}, {pair['high']:+.3f}]"
        click.echo(f"  equal work: {pair['pair']}: spearman {interval}: {pair['told']}")
    write_json(out, asdict(found))
    click.echo(f"wrote {out}")
