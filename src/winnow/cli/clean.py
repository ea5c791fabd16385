"""winnow clean: look at what stopped work has left, and remove it. Imports nothing heavy before it runs."""

from pathlib import Path

import click


@click.command()
@click.option("--yes", is_flag=True, help="Remove what is listed, but for what a process works in.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=".",
    help="Folder of the project [default: .]",
)
def clean(yes: bool, folder: Path) -> None:
    """List what stages have left to go on with: checkpoints, studies of trials, cells of `winnow study`."""
    from winnow.tools.clean import left, remove
    from winnow.tracking import state_folder

    pieces = left(state_folder(folder))
    for piece in pieces:
        note = "  in use" if piece.busy else "  removed" if yes else ""
        if yes and not piece.busy:
            remove(piece)
        click.echo(f"{piece.kind:<12} {piece.name:<32} {piece.size / 2**20:>9.1f} MiB  {_ago(piece.age):>14}{note}")
    idle = [piece for piece in pieces if not piece.busy]
    size = sum(piece.size for piece in idle) / 2**20
    if not idle:
        click.echo("nothing is left to remove")
    elif yes:
        click.echo(f"removed {len(idle)}, {size:.1f} MiB")
    else:
        click.echo(f"{len(idle)} could be removed, {size:.1f} MiB: winnow clean --yes. Results stay; what was stopped")
        click.echo("begins anew then, and a finished study of trials cannot be extended")


def _ago(seconds: float) -> str:
    if seconds < 0:  # the clock was set back, or another machine's is ahead
        return "in the future"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min ago"
    return f"{seconds / 3600:.0f} h ago" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days ago"
