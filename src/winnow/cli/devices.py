"""The commands about how long networks take elsewhere. Like the others, they import nothing heavy before they run."""

import json
from pathlib import Path
from typing import Any

import click

_path = click.Path(path_type=Path)
_folder = click.option("--folder", type=_path, default=".", help="Folder with params.yaml [default: .]")


@click.command()
@click.argument("files", type=_path, nargs=-1)
@click.option("--out", type=_path, help="Write the JSON here.")
@click.option("--json", "as_json", is_flag=True, help="Print the JSON, and nothing else.")
@click.option("--name", help="What the device is called [default: the host's name]")
@click.option("--threads", type=click.IntRange(1, 4096), default=1, show_default=True)
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True)
@click.option("--repeats", type=click.IntRange(1), default=50, show_default=True, help="Calls of each, at most.")
@click.option("--seconds", type=click.FloatRange(0), default=5.0, show_default=True, help="For each, at most.")
@click.option("--space", help="A space of your own, whose code a model.safetensors needs.")
@click.option("--task", help="A task of your own, likewise.")
def measure(files: tuple[Path, ...], out: Path | None, as_json: bool, name: str | None, **options: Any) -> None:
    """How long exported networks take on this machine: medians and spread, in nine rounds, all of them in turns.

    FILES are model.onnx of `winnow export`, what `winnow calibrate plan` wrote, or model.safetensors, run in PyTorch.
    ONNX takes onnxruntime and numpy alone: a small board needs `pip install --no-deps winnow` and `pip install click
    onnxruntime`.

    \b
    winnow measure export/model.onnx
    scp -r networks board: && ssh board 'winnow measure networks/*.onnx --name board --json' > board.json
    """
    from winnow.tools.measuring import measure

    found = measure(list(files), name=name, say=lambda text: click.echo(f"  {text} …", err=True), **options)
    text = json.dumps(found, indent=2, ensure_ascii=False)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n", encoding="utf-8")
    if as_json:
        click.echo(text)
        return
    click.echo(f"{found['name']}: {found['device']}; milliseconds of a batch of {found['batch']}")
    for row in found["networks"]:
        load = "" if row["load"] is None else f"  load of others {row['load']:.1f}"
        load += f"  {row['bytes'] / 1024:,.1f} KiB"
        load += f", {row['ram_kib']:,.1f} KiB of activations" if "ram_kib" in row else ""
        click.echo(
            f"  {row['file']:<32} {row['ms']:>9.3f} [{row['low']:.3f}, {row['high']:.3f}]  {row['calls']} calls{load}"
        )
    if out is not None:
        click.echo(f"wrote {out}")


@click.group()
def calibrate() -> None:
    """A model of how long any network of your space takes on a device, from some that were measured there.

    \b
    winnow calibrate plan --count 60 --out networks     here: exports the networks to measure
    winnow measure networks/*.onnx --out board.json     there: measures them (winnow measure --help)
    winnow calibrate fit board.json --out device.json   here: what each option costs, and the error

    Then select: {device: device.json, max_latency_ms: 5.0} takes a network only where the model says that it keeps the
    limit for certain: told milliseconds and the error, which covers 95 % of networks, together within it.
    """


@calibrate.command("plan")
@click.option("--count", type=click.IntRange(1), default=60, show_default=True, help="Networks to measure.")
@click.option("--out", type=_path, default="networks", show_default=True, help="Folder for their files.")
@click.option("--format", "form", type=click.Choice(["onnx", "safetensors"]), default="onnx", show_default=True)
@_folder
def plan(count: int, out: Path, form: str, folder: Path) -> None:
    """Choose networks to measure and export them: those that tell most about each option, and random ones held out.

    A third, 19 or more, are held out: by these the error is told. `winnow prepare` comes first, as sizes are of your
    data.
    """
    from winnow.config.reading import read_params
    from winnow.run.imports import on_path
    from winnow.tools.calibrating import plan

    on_path(folder)
    params = read_params(folder / "params.yaml", methods=False)
    paths = plan(params, folder, count, out, form, lambda text: click.echo(f"  {text} …", err=True))
    click.echo(f"wrote {len(paths)} networks to {out}; measure them on the device: winnow measure {out}/*.{form}")


@calibrate.command("fit")
@click.argument("readings", type=_path, nargs=-1, required=True)
@click.option("--out", type=_path, default="device.json", show_default=True, help="File of the device.")
@click.option("--name", help="What the device is called [default: as READINGS have it]")
@_folder
def fit(readings: tuple[Path, ...], out: Path, name: str | None, folder: Path) -> None:
    """Fit what each option costs to READINGS of `winnow measure`, say how far off that is, and write the device.

    Refused where the error bears nothing: too few networks, an option that none has, or a model that is no better than
    one number for all.
    """
    from winnow.config.reading import read_params
    from winnow.run.imports import on_path
    from winnow.tools.calibrating import fit

    on_path(folder)
    made = fit(read_params(folder / "params.yaml", methods=False), folder, readings, out, name)
    found, held = made.found, sorted(row["ms"] for row in made.held)
    click.echo(
        f"{found.name}: fitted to {made.fitted} networks; on {found.held} held out, which take {held[0]:.3g} to "
        f"{held[-1]:.3g} ms, it is off by at most {found.error:.3g} ms for 95 % (one number for all: "
        f"{found.without:.3g}), R2 {found.r2:.3f}, Kendall's tau {found.tau:.3f}"
    )
    click.echo(
        f"  rounds of a network spread over {made.spread:.0%} of its median; told of the space: {made.fastest:.3g} to "
        f"{made.slowest:.3g} ms, so that limits from {made.fastest + found.error:.3g} ms on can be kept"
    )
    click.echo(f"wrote {out}; params.yaml: select: {{device: {out}, max_latency_ms: …}}")
