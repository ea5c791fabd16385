"""The commands that let somebody else believe a result. Like the others, they import nothing heavy before they run."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from winnow.trust.gate import Verdict

_path = click.Path(path_type=Path)
_folder = click.option("--folder", type=_path, default=".", help="Folder of the project [default: .]")


def _tolerances(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> dict[str, float]:
    found = {}
    for each in given:
        name, _, value = each.partition("=")
        try:
            found[name] = float(value)
        except ValueError as error:
            raise click.BadParameter(f"takes NAME=NUMBER, as in accuracy_mean=0.5, not {each!r}") from error
        if not 0 <= found[name] < float("inf"):
            raise click.BadParameter(f"{name} takes a number from 0 on, not {value}")
    return found


_against = click.option("--against", required=True, metavar="REV", help="A branch, tag or commit with metrics.")
_tolerance = click.option(
    "--tolerance",
    "tolerances",
    multiple=True,
    callback=_tolerances,
    metavar="NAME=NUMBER",
    help="How much worse the measured value may be, in its unit, whatever its spread; may be repeated.",
)
_margin = click.option(
    "--margin",
    type=click.FloatRange(min=0),
    metavar="NUMBER",
    help="Of the task's first metric that may be lost, by the 95 % interval, in its unit [default: gate.margin of "
    "params.yaml; without one 1 point of a percentage, else 5 % of what it was].",
)


def _judged(folder: Path, against: str, tolerances: dict[str, float], margin: float | None) -> "Verdict":
    from winnow.config.reading import read_params
    from winnow.trust.gate import gate

    path = folder / "params.yaml"
    if margin is None and path.is_file():
        margin = read_params(path, methods=False).gate.margin
    return gate(folder, against, tolerances, margin)


@click.command()
@_against
@_margin
@_tolerance
@click.option("--out", type=_path, help="Also write the Markdown here.")
@_folder
def gate(against: str, margin: float | None, tolerances: dict[str, float], out: Path | None, folder: Path) -> int:
    """Are the metrics of the working tree as good as those of a git revision? Status 1: no, or cannot tell.

    The Markdown it prints is made for a pull request.
    """
    from winnow.run import files
    from winnow.trust.gate_markdown import gate_markdown

    verdict = _judged(folder, against, tolerances, margin)
    text = gate_markdown(verdict)
    click.echo(text, nl=False)
    if out is not None:
        files.write_text(out, text)
    return 0 if verdict.passed else 1


@click.command()
@click.argument("file", type=_path)
@click.option("--folder", type=_path, help="Folder of the project [default: the one that FILE lies in]")
@click.option("--json", "as_json", is_flag=True, help="For a program.")
def why(file: Path, folder: Path | None, as_json: bool) -> None:
    """Say where a model or an architecture comes from: selection, search, data, parameters, code, runs.

    FILE is a model.safetensors, a model.onnx or an architecture.json.
    """
    import json
    from dataclasses import asdict

    from winnow.trust.why import why, why_text

    steps = why(file, folder)
    click.echo(json.dumps([asdict(step) for step in steps], indent=2) if as_json else why_text(steps), nl=as_json)


@click.command()
@click.argument("file", type=_path, default="artifacts/model.safetensors")
@click.option("--out", type=_path, default="export", show_default=True, help="Folder for the files.")
@click.option("--to", default="onnx", show_default=True, help="Of onnx, pt2, executorch and coreml, with commas.")
@click.option("--int8", is_flag=True, help="The ONNX model in eight bits too, with ranges of split select.")
@click.option("--space", help="A space of your own, whose code is run [default: that of params.yaml].")
@click.option("--task", help="A task of your own, likewise [default: that of params.yaml].")
@_folder
def export(file: Path, out: Path, to: str, int8: bool, space: str | None, task: str | None, folder: Path) -> None:
    """Write a model for other runtimes, checked against PyTorch on the test split, with its weights and origin.

    FILE is a model.safetensors [default: artifacts/model.safetensors].

    \b
    winnow export --to onnx,pt2 --int8
    """
    from winnow.config.reading import read_params
    from winnow.run.imports import on_path
    from winnow.trust.export import export

    on_path(folder)
    if (folder / "params.yaml").is_file():  # a project runs the code that its parameters name
        params = read_params(folder / "params.yaml", methods=False)
        space, task = space or params.space.code, task or params.task
    found = export(file, folder, out, space, [each.strip() for each in to.split(",")], int8, task)
    click.echo(f"wrote {out}/, checked on {found['images']} rows ({found['checked_on']})")
    metrics = list(found["targets"][0]["measured"])
    lines = [["file", "bytes", "largest difference", "decisions that flip", *metrics, "ms an input", "by"]]
    lines += [_handed(row, metrics) for row in found["targets"]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    for row in found["targets"]:
        if "ram" in row:
            click.echo(f"  {row['file']}: one input a call; plans {row['ram']:,} bytes of RAM beside the file (flash)")
    if told := found.get("int8"):
        click.echo(f"  int8: ranges of {told['calibrated_on']}")
        if told.get("winner"):
            click.echo(f"winnow: {told['winner']}", err=True)


def _handed(row: dict[str, Any], metrics: list[str]) -> list[str]:
    """A line of the table; a dash where there is nothing to say."""
    said = "-" if row["target"] == "winnow" else "no runtime here"
    return [
        row["file"],
        f"{row['bytes']:,}",
        f"{row['max_error']:.1e}" if "max_error" in row else said,
        f"{row['flips']:.2%} of {row['rows']}" if row.get("flips") is not None else "-",
        *(f"{row['measured'][key]:.6g}" if row.get("measured") else "-" for key in metrics),
        f"{row['ms']:.3f} [{row['low']:.3f}, {row['high']:.3f}]" if "ms" in row else "-",
        row.get("runtime", "-"),
    ]


@click.command()
@_against
@_margin
@_tolerance
@_folder
def promote(against: str, margin: float | None, tolerances: dict[str, float], folder: Path) -> int:
    """Make the candidate in the MLflow registry the champion, if it passes the gate against REV."""
    from winnow.config.reading import read_params
    from winnow.trust.gate_markdown import gate_markdown
    from winnow.trust.promote import promote

    params = read_params(folder / "params.yaml")
    verdict = _judged(folder, against, tolerances, margin)
    click.echo(gate_markdown(verdict), nl=False)
    if not verdict.passed:
        click.echo(f"winnow: not promoted: is it as good as {against}? The gate says: {verdict.outcome}", err=True)
        return 1
    version, before = promote(params, folder, verdict)
    name = params.tracking.registered_model
    click.echo(f"champion of {name} is version {version} (before: {before or 'none'}); use models:/{name}@champion")
    return 0


@click.command()
@click.argument("stages", nargs=-1)
@click.option("--out", type=_path, default="verify", show_default=True, help="Folder for the certificate.")
@click.option("--scratch", type=_path, help="Where stages run again, an empty folder; kept [default: a passing one]")
@_folder
def verify(stages: tuple[str, ...], out: Path, scratch: Path | None, folder: Path) -> int:
    """Run STAGES (all, unless named) again elsewhere and compare with what dvc.lock recorded; nothing is overwritten.

    `winnow verify study` computes every cell of the study again and compares with what lies here.

    Writes a certificate as JSON and Markdown. Status 1 where less came out than docs/determinism.md promises.
    """
    import tempfile

    from winnow.config.reading import read_params
    from winnow.core.errors import Refused
    from winnow.trust.certificate import as_markdown, write_certificate
    from winnow.trust.verify import verify

    params = read_params(folder / "params.yaml")
    if scratch is not None and scratch.exists() and any(scratch.iterdir()):
        raise Refused(f"{scratch} is not empty: name a new folder, so that only what runs now is in it")
    with tempfile.TemporaryDirectory(prefix="winnow-verify-") as passing:
        found = verify(params, folder, scratch or Path(passing), stages, lambda text: click.echo(text, err=True))
    write_certificate(found, out)
    click.echo(as_markdown(found), nl=False)
    return 0 if found.kept else 1
