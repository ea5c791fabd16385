"""One of several processes that train together, for test_ranks: python -m tests.train.sharing <meeting> <which> <of>.

Writes the weights of each strategy's supernet, without BatchNorm, to <meeting>/<which>-of-<of>.safetensors.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from tests.search.planted import bench_of, split_options
from tests.search.toys import Recorded
from tests.splits import image_split
from winnow.config.methods import strategy
from winnow.core.decision import Number
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.data.inputs.images import Augment, Images
from winnow.data.loaders import Batches
from winnow.holes.depth import Depth
from winnow.holes.elastic import Linear
from winnow.search.methods import STRATEGIES
from winnow.tasks import usual
from winnow.train import ranks
from winnow.train.fit import fit
from winnow.train.recipes import RECIPES
from winnow.train.seeds import generator, seeded

SHARED = [name for name in STRATEGIES if strategy(name).shared]


class Double(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.double()


def space(method: str) -> Space:
    with seeded(3):
        if method == "ofa":
            width = Number.open("b/width", (2, 4, 6))
            body = [Linear(16, width), nn.Tanh(), Linear(width, 6)]
            holes = [*body, Depth("b/depth", [nn.Sequential(nn.Linear(6, 6), nn.Tanh()) for _ in range(2)], (1, 2))]
        else:
            kinds = lambda: {"none": nn.Threshold(0, 0), "linear": nn.Linear(6, 6), "skip": nn.Identity()}  # noqa: E731
            holes = [nn.Linear(16, 6), Choice("a", kinds()), nn.Tanh(), Choice("b", kinds())]
        return Space(nn.Sequential(nn.Flatten(), Double(), *holes, nn.Linear(6, 3))).double()


def batches(name: str) -> Batches:
    draws = generator(0, "images", name)
    pixels = torch.randint(256, (33, 1, 4, 4), generator=draws, dtype=torch.uint8)
    split = image_split(pixels, torch.randint(3, (33,), generator=draws), name=name, digest=name)
    augment = Images(split.facts, Augment(1, True))
    return Batches(split, 8, generator=generator(1, name), augment=augment, part=ranks.part())


def trained() -> dict[str, torch.Tensor]:
    found = {}
    for method in SHARED:
        recipe, own = split_options({"epochs": 4 if method != "ofa" else 8, "lr": 0.1, **strategy(method).short})
        with seeded(7):
            bench = bench_of(space(method), batches("weights"), batches("arch"), seed=5)
            result = strategy(method).run(bench, recipe, own)
        state = {**result.space.state_dict(), **{f"logits.{n}": v.detach() for n, v in (result.logits or {}).items()}}
        found |= {f"{method} {name}": tensor.clone() for name, tensor in state.items()}
        told = [row["train_loss"] for row in bench.watch.epochs]
        found[f"{method} losses"] = torch.tensor(told, dtype=torch.float64)
    return found | {f"retrain {name}": tensor for name, tensor in retrained().items()}


def retrained() -> dict[str, torch.Tensor]:
    with seeded(3):
        model = nn.Sequential(nn.Flatten(), Double(), nn.Linear(16, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    recipe = replace(RECIPES["quick"], epochs=3, ema=0.5, clip=0.5)
    watch = Recorded()
    kept = fit(model, batches("weights"), recipe, usual(), seed=2, watch=watch)
    told = {name: torch.tensor([row[name] for row in watch.epochs]).double() for name in ("loss", "accuracy")}
    return kept.state_dict() | told


if __name__ == "__main__":
    meeting, which, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    with ranks.joined(ranks.in_folder(meeting, count), which, count, torch.device("cpu")):
        save_file(trained(), meeting / f"{which}-of-{count}.safetensors")
