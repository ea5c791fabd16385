"""What goes with what: every strategy on every space, and before every selection.

    python benchmarks/combinations.py > table.md         some minutes; docs/combinations.md holds what it prints

A strategy *runs* on a space where two epochs of two batches of noise end with finite weights; else the table has a
number, and below it stands what winnow says. `auto` is a ResNet-20; `interactions` gets a small table of ids.
"""

import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from winnow.config.methods import objection, strategy
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.proxies.sizes import later, sizes_of
from winnow.search.bench import Bench
from winnow.search.methods import STRATEGIES
from winnow.search.objective import objective
from winnow.search.recipe import Recipe
from winnow.search.selections import SELECTIONS
from winnow.search.strategy import INITIALISED, TRIALS
from winnow.spaces import SPACES, build
from winnow.tools.checking import SMALL
from winnow.train.seeds import seeded

AUTO = {"model": "winnow.nn.resnet:resnet20"}
EPOCHS = {"sgas": 24, "ofa": 16}  # the others need two: these decide, or open, in phases


def images(name: str) -> tuple[Space, Callable[[torch.Generator], Tensor]]:
    options = AUTO if name == "auto" else SMALL[name]
    return build(name, options, classes=4, image_channels=1, image_size=8), lambda draws: torch.randn(
        8, 1, 8, 8, generator=draws
    )


def table(name: str) -> tuple[Space, Callable[[torch.Generator], Tensor]]:
    fields = [("a", 10), ("b", 10), ("c", 10)]
    return build(name, {}, fields=fields, classes=4), lambda draws: torch.randint(10, (8, 3), generator=draws).float()


def tried(searched: str, name: str) -> str:
    """ "runs", or what winnow says."""
    found = strategy(searched)
    with seeded(0):
        space, rows = (table if name == "interactions" else images)(name)
        draws = torch.Generator().manual_seed(0)
        batches = [(rows(draws), torch.arange(8) % 4) for _ in range(4)]
        try:
            space = found.formed(space, {})
            bench = Bench(
                space,
                0,
                objective=objective(space, nn.CrossEntropyLoss()),
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


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(
        "\n".join(["## Strategies before selections", "", *selections(), "", "## Strategies on spaces", "", *spaces()])
    )
