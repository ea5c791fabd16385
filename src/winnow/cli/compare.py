"""winnow compare: finished runs side by side. Imports nothing heavy before it runs."""

from pathlib import Path

import click


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default="compare.html",
    show_default=True,
    help="The page.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=".",
    help="Project whose tracking store knows the names [default: .]",
)
def compare(runs: tuple[str, ...], out: Path, folder: Path) -> None:
    """Finished runs side by side: what differs in their parameters, what came out, what it took.

    A RUN is a folder of a project (another clone, a `git worktree`), a folder with evaluate.json and params.json from
    MLflow, or the name or id of a pipeline run in the tracking store. Others are beside the first. For example, the
    run that is here and one of another branch:

    \b
      git worktree add ../before main
      winnow compare . ../before

    Prints a table and writes a page that needs no network. Refused where runs are of different tasks or metrics; where
    they were tested on different rows, it says so.
    """
    from winnow.run.files import write_text
    from winnow.tools.compare import check_alike, runs_named
    from winnow.tools.compare_page import compare_page, compare_text

    found = runs_named(runs, folder)
    check_alike(found)
    click.echo(compare_text(found), nl=False)
    write_text(out, compare_page(found))
    click.echo(f"wrote {out}")
