"""The command about learnt scores. Like the others, it imports nothing heavy before it runs."""

from pathlib import Path

import click

_path = click.Path(path_type=Path)


@click.command()
@click.option("--table", "path", type=_path, required=True, help="A table of trials, as written by `table import`.")
@click.option("--space", "name", required=True, help="Its space, by name or dotted path.")
@click.option(
    "--predictors", default="ridge,gp,trees,mlp,gcn", show_default=True, help="With another encoding: gp:path"
)
@click.option(
    "--train", type=int, default=200, show_default=True, help="Architectures to fit; the others are held out."
)
@click.option("--metric", default="cifar10_valid", show_default=True)
@click.option("--fidelity", type=float, help="Epochs of the results to predict [default: the longest]")
@click.option("--sample", type=click.IntRange(4), help="Only so many architectures of the table [default: all]")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--out", type=_path, default=Path("predict"), show_default=True, help="Folder of predictions.parquet.")
def predict(
    path: Path,
    name: str,
    predictors: str,
    train: int,
    metric: str,
    fidelity: float | None,
    sample: int | None,
    seed: int,
    out: Path,
) -> None:
    """How well predictors order architectures that they were not fitted to; the parameter count stands beside them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from winnow.run.files import atomic, write_rows
    from winnow.tools.predicting import open_space, predict_table, shape_for, truth_in

    space = open_space(name)
    truth, at = truth_in(path, space, metric, fidelity, sample, seed)
    names = [each.strip() for each in predictors.split(",") if each.strip()]
    found = predict_table(
        space,
        truth,
        names,
        train,
        seed=seed,
        shape=shape_for(name),
        progress=lambda text: click.echo(f"  {text} …", err=True),
    )
    write_rows(out / "predict.csv", found.rows)
    with atomic(out / "predictions.parquet") as temporary:
        pq.write_table(pa.table(found.table), temporary.absolute(), compression="zstd")
    click.echo(f"{len(truth):,} architectures of {name}, {train:,} of them fitted; {metric} at {at or 'full'}")
    click.echo(f"{'predictor':<16}{'kendall [95 %]':>24}{'spearman':>10}{'top 5 %':>9}{'nDCG':>7}{'seconds':>9}")
    for row in found.rows:
        interval = f"{row['kendall']:.3f} [{row['kendall_low']:.3f}, {row['kendall_high']:.3f}]"
        click.echo(
            f"{row['predictor']:<16}{interval:>24}{row['spearman']:>10.3f}{row['top_precision']:>9.2f}"
            f"{row['ndcg_top']:>7.3f}{row['fit_seconds']:>9.1f}"
        )
    click.echo(f"wrote {out / 'predictions.parquet'} and {out / 'predict.csv'}")
