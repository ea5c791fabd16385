"""The commands that let somebody else believe a result. Like the others, they import nothing heavy before they run."""

from pathlib import Path

import click

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
    help="How much worse a metric may be, in its unit, rather than what the seeds tell; may be repeated.",
)


@click.command()
@_against
@_tolerance
@click.option("--out", type=_path, help="Also write the Markdown here.")
@_folder
def gate(against: str, tolerances: dict[str, float], out: Path | None, folder: Path) -> int:
    """Compare the metrics of the working tree with those of a git revision; status 1 where they are worse.

    The Markdown it prints is made for a pull request.
    """
    from winnow.stage import files
    from winnow.stage.trust.gate import gate
    from winnow.stage.trust.gate_markdown import gate_markdown

    verdict = gate(folder, against, tolerances)
    text = gate_markdown(verdict)
    click.echo(text, nl=False)
    if out is not None:
        files.write_text(out, text)
    return 0 if verdict.passed else 1
