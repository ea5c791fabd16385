"""The command line. Nothing heavy is imported before a command needs it."""

import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnow import __version__
from winnow.cli.clean import clean
from winnow.cli.compare import compare
from winnow.cli.devices import calibrate, measure
from winnow.cli.examples import know_short_help, show_examples
from winnow.cli.init import init
from winnow.cli.methods import check, proxies, selections, strategies, tasks
from winnow.cli.predictors import predict
from winnow.cli.proxies import rank, score
from winnow.cli.trials import consistency, replay, table
from winnow.cli.trust import export, gate, promote, verify, why
from winnow.cli.use import use
from winnow.core.errors import Refused
from winnow.run.imports import on_path
from winnow.system import disk, launched
from winnow.system.addresses import redact, redacted_traceback
from winnow.system.stop import stoppable
from winnow.system.streams import loosen

if TYPE_CHECKING:
    from winnow.core.space import Space

INPUTS = """Look at what params.yaml names outside winnow, and say whether it is what the stages saw.

\b
data.path, select.table, a pretrained supernet     files and folders: by name and content
space.name, data.source, as my_package.my_net:build     your code: each file that it imports
space.options and other names of your own     where a value names a file or a module

Writes artifacts/inputs/, which the stages depend on. `dvc repro` runs this each time; other photos, or an edited
my_net.py, run the stages that read them, and nothing else does. A stage that you run by hand stops where something
changed since a stage before it. Not seen: files that your code opens without params.yaml naming them, unless they lie
in the package of that code. Libraries count by their version."""

STAGES = {
    "inputs": INPUTS,
    "prepare": "Cut a data set into the splits weights, arch, select and test.",
    "search": "Train a supernet of the space, or try its architectures (search.strategy).",
    "select": "Choose architectures from what the search left (select.methods; the first decides).",
    "tune": "Try retraining recipes on the chosen architecture (tune.trials); retrain uses the best.",
    "retrain": "Train the chosen architecture, once a seed.",
    "evaluate": "Test the retrained models and random controls; write the report.",
    "study": "Compare search methods and selections: every combination of study, over seeds.",
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

    \b
    Tab completes commands and options once your shell has been told (in ~/.bashrc, ~/.zshrc; fish: config.fish):
      eval "$(_WINNOW_COMPLETE=bash_source winnow)"       or zsh_source; fish_source with `| source`
    """


TOGETHER = ("search", "retrain")  # what several processes train; under a launcher the first alone runs other stages


def _launched(params: Any, launch: launched.Launch) -> Any:
    from winnow.run.processes import launched as adjusted

    return adjusted(params, launch)


def _beside(*arguments: Any) -> None:
    from winnow.run.along import beside

    beside(*arguments)


def _stage_command(name: str, text: str) -> None:
    @cli.command(name, help=text)
    @click.option("--folder", type=click.Path(path_type=Path), default=".", help="Folder with params.yaml [default: .]")
    def command(folder: Path, **options: int | None) -> None:
        from winnow.config.reading import read_params

        on_path(folder)
        launch = launched.launch()
        params = read_params(folder / "params.yaml", methods=name != "inputs")
        if launch is not None and name != "inputs":
            params = _launched(params, launch)
        stage, seed = importlib.import_module(f"winnow.pipelines.{name}"), options.get("seed")
        together = {"launch": launch} if launch is not None and name in TOGETHER else {}
        if launch is not None and launch.which:
            seeds = [seed] if name != "retrain" or seed is not None else params.retrain.seeds
            for each in seeds if together else ():
                _beside(name, params, folder, launch, each)
        elif name == "retrain" and seed is None:
            stage.every(params, folder, **together)
        else:
            stage.main(params, folder, **({} if seed is None else {"seed": seed}), **together)

    if name == "retrain":
        seed = click.Option(["--seed"], type=int, help="One of retrain.seeds [default: all, runtime.workers at a time]")
        command.params.insert(0, seed)


for _name, _text in STAGES.items():
    _stage_command(_name, _text)


@cli.command()
@click.argument("what", type=click.Choice(["pipeline", "study"]), default="pipeline")
@click.option("--folder", type=click.Path(path_type=Path), default=".", help="Folder with params.yaml [default: .]")
def plan(what: str, folder: Path) -> None:
    """Say what the pipeline will cost: size of the space, seconds a step, wall time, memory.

    `winnow plan study` says what `winnow study` will cost, and which differences it will be able to see.
    """
    from winnow.config.reading import read_params
    from winnow.run.progress import duration

    if what == "study":
        _plan_study(folder)
        return
    from winnow.tools.plan import SAMPLE, Size, plan

    on_path(folder)
    params = read_params(folder / "params.yaml")

    def show(size: Size) -> None:
        smallest, median, largest = size.params
        macs = [value / 1e6 for value in size.macs]
        click.echo(f"space {params.space.name}: {size.architectures:,} architectures of {size.decisions} decisions")
        click.echo(f"  as retrained; medians of {SAMPLE} sampled children:")
        click.echo(f"  params  min {smallest:,}  median {median:,}  max {largest:,}")
        click.echo(f"  M MACs  min {macs[0]:.4g}  median {macs[1]:.4g}  max {macs[2]:.4g}")
        for name, (least, middle, most) in size.memory.items():
            told = f"min {least:.4g}  median {middle:.4g}  max {most:.4g}"
            click.echo(f"  {name.removesuffix('_kib')}, KiB in float32, of a few random ones  {told}")
        them = "those on sizes" if size.measured else "them"
        counted = size.limits not in ("none", size.measured)
        kept = f"; {size.within} of {SAMPLE} sampled children keep {them}" if counted else ""
        later = "; children are measured, or looked up, when they are asked for" if size.measured else ""
        click.echo(f"  limits: {size.limits}{kept}{later}")
        click.echo(f"splits: {size.data}")

    found = plan(params, folder, lambda text: click.echo(f"  {text} …", err=True), show)
    steps = f"{found.search_steps} {found.unit} of {found.step_seconds:.3g} s"
    click.echo(f"search {params.search.strategy}: {steps}, peak memory {found.peak_mib:.0f} MiB")
    for name, seconds in found.seconds.items():
        click.echo(f"  {name:<9} about {duration(seconds)}")
    click.echo(f"  together  about {duration(sum(found.seconds.values()))}; start with: dvc repro")
    _took(folder, params)


def _took(folder: Path, params: Any) -> None:
    """What the runs whose results lie in `folder` took; nothing before there are any."""
    from winnow.run.lineage import runs_of
    from winnow.run.spent import COUNTED, spent

    took = spent(folder, runs_of(params))
    if took:
        click.echo("the results that lie here took:")
    for name, each in took.items():
        click.echo(f"  {name:<9} {each}")
    if any(each.joules for each in took.values()):
        click.echo(f"  {COUNTED}")


def _plan_study(folder: Path) -> None:
    from winnow.config.reading import read_params
    from winnow.run.progress import duration
    from winnow.tools.plan_study import plan_study

    on_path(folder)
    found = plan_study(read_params(folder / "params.yaml"), folder, lambda text: click.echo(f"  {text} …", err=True))
    click.echo(f"{found.cells} cells, {found.there} of them there from before; {found.supernets} supernets to train")
    for reason in found.left_out:
        click.echo(f"  left out: {reason}")
    for name, seconds in found.seconds.items():
        click.echo(f"  {name:<30} about {duration(seconds)}")
    click.echo(f"  together about {duration(sum(found.seconds.values()))}; start with: winnow study")
    for sentence in found.power:
        click.echo(f"  {sentence}")


@cli.command()
@click.option("--folder", type=click.Path(path_type=Path), default=".", help="Folder with params.yaml [default: .]")
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
def ui(folder: Path, port: int) -> None:
    """Open the tracking store of this folder in the MLflow UI, on 127.0.0.1."""
    from winnow.config.reading import read_params
    from winnow.tracking import free, serve, ui_command, ui_environment, ui_url

    tracking = read_params(folder / "params.yaml", methods=False).tracking
    command = ui_command(folder, tracking.uri, port)
    free(port)
    click.echo(
        f"{ui_url(folder, tracking.experiment, port)}\n(ready in some seconds, at 127.0.0.1 as well; Ctrl-C ends it)"
    )
    raise SystemExit(serve(command, ui_environment(folder, tracking.uri)))


cli.add_command(strategies)
cli.add_command(selections)
cli.add_command(proxies)
cli.add_command(tasks)
cli.add_command(check)
cli.add_command(use)
cli.add_command(init)
cli.add_command(table)
cli.add_command(replay)
cli.add_command(consistency)
cli.add_command(score)
cli.add_command(rank)
cli.add_command(predict)
cli.add_command(verify)
cli.add_command(gate)
cli.add_command(why)
cli.add_command(compare)
cli.add_command(export)
cli.add_command(measure)
cli.add_command(calibrate)
cli.add_command(promote)
cli.add_command(clean)


@cli.group()
def space() -> None:
    """Look at search spaces: list, show, sample, draw."""


_of_space = click.argument("name", required=False)


@space.command("list")
def list_spaces() -> None:
    """The spaces by name, with what each takes."""
    import inspect

    from winnow.spaces import SPACES

    for name, build in SPACES.items():
        click.echo(f"{name}{inspect.signature(build)}".replace(" -> winnow.core.space.Space", ""))
        click.echo(f"  {(inspect.getdoc(build) or '').splitlines()[0]}")
    click.echo("auto\n  a network of your own, made elastic: space.model in params.yaml, docs/your-network.md")
    click.echo("my_package.my_module:build\n  a space of your own: docs/add-a-space.md")


@space.command()
@_of_space
@click.option("--limit", type=int, default=40, show_default=True, help="Decisions shown.")
def show(name: str | None, limit: int) -> None:
    """The decisions of a space [default: the one in params.yaml]."""
    name, found = _space(name)
    click.echo(f"{name}: {found.count():,} architectures of {len(found.decisions)} decisions, digest {found.digest}")
    for d in list(found.decisions.values())[:limit]:
        pick = f"{d.pick} of " if d.several else ""
        only = f"  (only in mixtures: {', '.join(map(str, d.mixture_only))})" if d.mixture_only else ""
        click.echo(f"  {d.name:<14} {pick}{', '.join(map(str, d.options))}{only}")
    if len(found.decisions) > limit:
        click.echo(f"  … and {len(found.decisions) - limit} more (--limit)")
    if found.table:
        click.echo("what became of the network:")
    for path, what, told in found.table:
        click.echo(f"  {path:<32} {what:<7} {told}")


@space.command()
@_of_space
@click.option("-n", "count", type=int, default=1, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def sample(name: str | None, count: int, seed: int) -> None:
    """Random architectures as JSON, one a line."""
    import random

    from winnow.core.choosers import uniform

    _, found = _space(name)
    rng = random.Random(seed)
    for _ in range(count):
        click.echo(found.decide(uniform(rng)).to_json())


@space.command()
@_of_space
@click.option("--architecture", type=click.Path(path_type=Path), help="An architecture.json [default: the open space]")
@click.option("--out", type=click.Path(path_type=Path), default="space.svg", show_default=True, help=".svg or .png")
def draw(name: str | None, architecture: Path | None, out: Path) -> None:
    """Draw a space, or an architecture of it."""
    from winnow.run.draw import draw_architecture, draw_space, save
    from winnow.run.files import read_architecture

    name, found = _space(name)
    figure = (
        draw_space(found)
        if architecture is None
        else draw_architecture(found, read_architecture(architecture, found, name))
    )
    save(figure, out)
    click.echo(f"wrote {out}")


def _space(name: str | None) -> tuple[str, "Space"]:
    """The named space at its default size, or that of params.yaml."""
    from winnow.config.reading import read_params
    from winnow.run.networks import shown

    options = {}
    if name is None:
        params = read_params(Path("params.yaml"))
        name, options = params.space.name, params.space.chosen()
    return name, shown(name, options, Path())


show_examples(cli)
know_short_help(cli)


def run(arguments: list[str] | None = None) -> int:
    """Run a command line; what is refused is printed as a sentence and gives status 2, Ctrl-C 130, SIGTERM 143."""
    # Threads that wait for work by spinning take the cores from whatever else runs, the tracker for one
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    on_path(Path())  # a module of one's own is found beside params.yaml
    try:
        with stoppable():
            status = cli.main(arguments, prog_name="winnow", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except Refused as refusal:
        return _refused(str(refusal))
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except OSError as error:
        if (told := disk.sentence(error)) is None:
            raise
        return _refused(told)
    except (KeyboardInterrupt, click.Abort) as error:  # click makes the second of the first
        click.echo("winnow: stopped; what was finished is kept, the same command goes on from there", err=True)
        return getattr(error.__cause__ or error, "status", 130)


def _refused(why: str) -> int:
    sentence = f"winnow: {redact(why)}"
    click.echo(sentence, err=True)
    launched.tell(sentence)
    return 2


def main(arguments: list[str] | None = None) -> None:
    loosen()  # a reader that went away, or a terminal without our letters, ends no work
    sys.excepthook = redacted_traceback
    sys.exit(run(arguments))


def run_stage(name: str) -> None:
    """`python pipelines/search.py` is `winnow search`."""
    main([name, *sys.argv[1:]])
