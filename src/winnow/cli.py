"""The command line. Nothing heavy is imported before a command needs it."""

import importlib
import sys
from pathlib import Path

import click

from winnow import __version__
from winnow.core.errors import Refused

STAGES = {
    "prepare": "Cut a data set into the splits weights, arch, select and test.",
    "search": "Train a supernet of the space (search.strategy).",
    "select": "Choose architectures from the supernet (select.methods; the first decides).",
    "retrain": "Train the chosen architecture from scratch, once a seed.",
    "evaluate": "Test the retrained models and random controls; write the report.",
}


class Commands(click.Group):
    """Shows commands in the order of the pipeline rather than of the alphabet."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="winnow")
def cli() -> None:
    """Neural architecture search as a pipeline that anyone can rerun.

    \b
    dvc repro                     run all stages that are out of date
    winnow plan                   what the search will cost, before it starts
    dvc exp run -S search.epochs=50
                                  the same with another parameter
    make ui                       compare runs in MLflow

    Stages run one by one, too, and in this order. They read params.yaml in the present folder (or --folder).
    """


def _stage_command(name: str, text: str) -> None:
    @cli.command(name, help=text)
    @click.option("--folder", type=click.Path(path_type=Path), default=".", help="Folder with params.yaml [default: .]")
    def command(folder: Path, **options: int | None) -> None:
        from winnow.stage.params import read_params

        params = read_params(folder / "params.yaml")
        main = importlib.import_module(f"winnow.pipelines.{name}").main
        if name != "retrain":
            main(params, folder)
            return
        seed = options["seed"]
        for each in params.retrain.seeds if seed is None else [seed]:
            main(params, folder, each)

    if name == "retrain":
        seed = click.Option(["--seed"], type=int, help="One of retrain.seeds [default: all, one after another]")
        command.params.insert(0, seed)


for _name, _text in STAGES.items():
    _stage_command(_name, _text)


def run(arguments: list[str] | None = None) -> int:
    """Run a command line; what is refused is printed as a sentence and gives status 2, Ctrl-C gives 130."""
    try:
        status = cli.main(arguments, prog_name="winnow", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except Refused as refusal:
        click.echo(f"winnow: {refusal}", err=True)
        return 2
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("winnow: stopped; what was finished is kept, the same command goes on from there", err=True)
        return 130


def main() -> None:
    sys.exit(run())


def run_stage(name: str) -> None:
    """`python pipelines/search.py` is `winnow search`."""
    sys.exit(run([name, *sys.argv[1:]]))
