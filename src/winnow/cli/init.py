"""winnow init: a folder of one's own. Imports nothing heavy before it runs."""

import shlex
from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")
@click.option("--recipe", default="smaller", show_default=True, help="What params.yaml begins as; `winnow use` lists.")
def init(folder: Path, recipe: str) -> None:
    """Write params.yaml, dvc.yaml, .gitignore, .dvcignore and a workflow into FOLDER [default: .].

    What is there stays as it is. For a folder that is no clone of winnow: its stages depend on the winnow that is
    installed. With a recipe that begins with your network, for example:

      winnow init my-project --recipe smaller
    """
    from winnow.tools.starting import CODE, PIPELINE, started

    folder.mkdir(parents=True, exist_ok=True)
    written, kept = started(folder, recipe)
    for name in written:
        click.echo(f"wrote {folder / name}")
    for name, lacking in kept.items():
        add = f"; add to it: {'  '.join(lacking)}" if lacking else ""
        click.echo(f"kept  {folder / name}, which was there{add}")
    if PIPELINE in kept and CODE not in (folder / PIPELINE).read_text(encoding="utf-8", errors="replace"):
        click.echo(f"{folder / PIPELINE} is another pipeline: put it aside and run this again, or run stage by stage")
    click.echo(f"next: {'; '.join([*_first(folder), 'dvc repro'])}")
    click.echo("what it will cost: `winnow prepare`, then `winnow plan`")


def _first(folder: Path) -> list[str]:
    """What has to be there before DVC runs."""
    steps = [f"cd {shlex.quote(str(folder))}"] if folder != Path(".") else []
    inside = any((each / ".git").exists() for each in folder.resolve().parents)
    if not (folder / ".git").exists() and not inside:
        steps.append("git init")
    if not (folder / ".dvc").exists():
        steps.append("dvc init --subdir" if inside and not (folder / ".git").exists() else "dvc init")
    return steps
