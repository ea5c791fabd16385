"""What goes with what: every strategy on every space, and before every selection.

    python benchmarks/combinations.py > table.md         some minutes; docs/combinations.md holds what it prints

A strategy *runs* on a space where two epochs of two batches of noise end with finite weights; else the table has a
number, and below it stands what winnow says. `auto` is a ResNet-20; `interactions` gets a small table of ids, those of
DETECTORS images with a box each.

Network morphism: MOVES random changes of one decision, of random parents, and how many of the children compute what
their parents do when training begins, to rounding and in evaluation mode.
"""

import random
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from winnow.config.methods import objection, strategy
from winnow.core.architecture import Architecture
from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.holes.ensemble import counting
from winnow.proxies.sizes import later, sizes_of
from winnow.search.bench import Bench
from winnow.search.methods import STRATEGIES
from winnow.search.objective import objective
from winnow.search.recipe import Recipe
from winnow.search.selections import SELECTIONS
from winnow.search.strategy import INITIALISED, TRIALS
from winnow.spaces import SPACES, build
from winnow.tasks import task_named, usual
from winnow.tasks.task import Task
from winnow.tools.checking import SMALL
from winnow.train.seeds import seeded
from winnow.trials.morphism import inherit, keep
from winnow.trials.outcome import Job

AUTO = {"model": "winnow.nn.resnet:resnet20"}
DETECTORS = {
    "detector": {"backbone": "macro", "options": {"width": 0.125}, "strides": [2, 4], "width": 16},
    "fpn": {"width": 8, "nodes": 2, "deformable": False, "strides": [2, 4, 8, 16], "options": {"width": 4}, "depth": 1},
}
MOVES = 40
EPOCHS = {"sgas": 24, "ofa": 16}  # the others need two: these decide, or open, in phases


def images(name: str, *, final: bool = False) -> tuple[Space, Callable[[torch.Generator], Tensor]]:
    options = AUTO if name == "auto" else SMALL[name]
    return build(name, options, classes=4, image_channels=1, image_size=8, final=final), lambda draws: torch.randn(
        8, 1, 8, 8, generator=draws
    )


def table(name: str) -> tuple[Space, Callable[[torch.Generator], Tensor]]:
    fields = [("a", 10), ("b", 10), ("c", 10)]
    return build(name, {}, fields=fields, classes=4), lambda draws: torch.randint(10, (8, 3), generator=draws).float()


def boxes(name: str, *, final: bool = False) -> tuple[Space, Callable[[torch.Generator], Tensor]]:
    facts = {"classes": 4, "image_channels": 1, "image_height": 32, "image_width": 32, "final": final}
    return build(name, DETECTORS[name], **facts), lambda draws: torch.randn(8, 1, 32, 32, generator=draws)


def made(name: str, **facts: bool) -> tuple[Space, Callable[[torch.Generator], Tensor], Task, Tensor]:
    """The space, inputs of it, its task, and answers to eight of them."""
    kinds = torch.arange(8) % 4
    if name in DETECTORS:
        corners = torch.tensor([4.0, 4.0, 20.0, 20.0]).expand(8, 4)
        return *boxes(name, **facts), task_named("detection"), torch.cat([corners, kinds[:, None]], 1)[:, None]
    if name == "interactions":
        return *table(name), usual(), kinds
    return *images(name, **facts), usual(), kinds


def tried(searched: str, name: str) -> str:
    """ "runs", or what winnow says."""
    found = strategy(searched)
    with seeded(0):
        space, rows, task, answers = made(name)
        draws = torch.Generator().manual_seed(0)
        batches = [(rows(draws), answers) for _ in range(4)]
        try:
            space = found.formed(space, {})
            bench = Bench(
                space,
                0,
                task,
                objective=objective(space, task.criterion({}, 0)),
                train=batches[:2],
                valid=batches[2:],
                sizes=later(lambda: sizes_of(space, tuple(batches[0][0].shape[1:]))),
            )
            recipe = Recipe(epochs=EPOCHS.get(searched, 2), lr=0.01)
            ended = found.run(bench, recipe, dict(found.short))
        except Refused as refusal:
            return str(refusal)
    finite = all(value.isfinite().all() for value in ended.space.state_dict().values())
    return "runs" if finite else "weights are not finite"


def rows_of(cells: Mapping[tuple[str, str], str], across: list[str]) -> list[str]:
    """A table in Markdown, and below it the sentences that its numbers stand for."""
    said: dict[str, int] = {}
    lines = ["| | " + " | ".join(f"`{name}`" for name in across) + " |", "|---" * (len(across) + 1) + "|"]
    for each in dict.fromkeys(row for row, _ in cells):
        shown = []
        for name in across:
            text = cells[each, name]
            shown.append(text if text in ("runs", "yes", "") else f"{said.setdefault(text, len(said) + 1)}")
        lines.append(f"| `{each}` | " + " | ".join(shown) + " |")
    return [*lines, "", *(f"{number}. {text}" for text, number in said.items())]


def selections() -> list[str]:
    """Which selections follow which strategies: reading, not running."""
    cells = {(s, m): "yes" if objection(s, m) is None else "" for s in STRATEGIES for m in SELECTIONS}
    return rows_of(cells, list(SELECTIONS))


def spaces() -> list[str]:
    trained = [name for name in STRATEGIES if not {TRIALS, INITIALISED} & strategy(name).leaves]
    across = [*SPACES, "auto"]
    return rows_of({(s, name): tried(s, name) for s in trained for name in across}, across)


def changed(space: Space, arch: Architecture, draws: random.Random) -> Architecture:
    """With another answer to one decision; what that brings within reach is drawn."""
    name = draws.choice([each for each in arch if len(space.decisions[each].values) > 1])
    other = draws.choice([value for value in space.decisions[name].values if value != arch[name]])
    return space.decide(
        lambda d: other if d.name == name else arch[d.name] if d.name in arch else draws.choice(d.values)
    )


def stirred(model: nn.Module) -> nn.Module:
    """With statistics and scales that differ from channel to channel, as after training."""
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d) and m.affine):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.3, 0.3)
        nn.init.uniform_(norm.running_mean, -0.5, 0.5)
    return model


@torch.no_grad()
def morphed(name: str, moves: int = MOVES) -> int:
    """How many of `moves` children compute what their parents do."""
    with seeded(0), tempfile.TemporaryDirectory() as folder:
        space, rows, *_ = made(name, final=True)
        x, draws, same = rows(torch.Generator().manual_seed(0)), random.Random(0), 0
        space.example = x[:1] if name == "interactions" else tuple(x.shape[1:])
        for _ in range(moves):
            arch = space.decide(uniform(draws))
            own, parent = changed(space, arch, draws), stirred(space.derive(arch))
            keep(Path(folder), 0, arch, parent, 0)
            child = inherit(stirred(space.derive(own)), space, Job(1, 1, {}, own, {}, parent=0), Path(folder))
            wanted, found = (counting(model.eval()(x)) for model in (parent, child))
            same += torch.allclose(found, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))
    return same


def morphisms() -> list[str]:
    across = [*SPACES, "auto"]
    lines = ["| | " + " | ".join(f"`{name}`" for name in across) + " |", "|---" * (len(across) + 1) + "|"]
    return [*lines, "| the same at first | " + " | ".join(f"{morphed(name)} of {MOVES}" for name in across) + " |"]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    sections = {"Strategies before selections": selections, "Strategies on spaces": spaces, "Morphism": morphisms}
    print("\n".join(line for title, made in sections.items() for line in (f"## {title}", "", *made(), "")))
