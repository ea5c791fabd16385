"""winnow use: put a published setting in the place of params.yaml. Imports nothing heavy before it runs."""

from pathlib import Path

import click


@click.command()
@click.argument("name", required=False)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=".",
    help="Folder of the project [default: .]",
)
def use(name: str | None, folder: Path) -> None:
    """Put a recipe, a complete file with a published setting, in the place of params.yaml.

    Without NAME, list the recipes. A params.yaml of your own is kept as params.yaml.old.
    """
    from winnow.tools import recipes

    if name is None:
        for each, path in recipes.recipes(folder).items():
            click.echo(f"{each:<28} {(recipes.about(path) or [''])[0]}")
        click.echo("winnow use NAME puts one in the place of params.yaml; docs/recipes.md has the published numbers")
        return
    path, kept = recipes.use(name, folder)
    click.echo("\n".join(recipes.about(path)))
    click.echo(f"params.yaml is now recipe {name}" + (f"; your file is kept as {kept.name}" if kept else ""))
    click.echo("next: winnow plan, which says what it will cost, then dvc repro")
