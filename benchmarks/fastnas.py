"""Half the MACs of a small ResNet, by winnow and by FastNAS of nvidia-modelopt, on some images of CIFAR-10.

    pip install -e .[bench] && pip install --no-deps nvidia-modelopt==0.47.0 torchprofile==0.0.4
    python benchmarks/fastnas.py --data FOLDER --out rows.json [--seeds 5 ...]
    python benchmarks/fastnas.py --table rows.json

FOLDER holds train.parquet and test.parquet. A seed trains one base network. All prune the same base, score on the same
images, which are no part of training and none of the test's, accept 45 to 50 % of its MACs by winnow's counter, keep
multiples of four channels, and then train on in the same way (`--tune` epochs, the same batches). No arm sees the test
images before it is done.

    base, longer     the base, and the base trained on as long as the others
    fastnas          its widths, 50 batches of calibration and evaluation mode in its score
    winnow           evolution by the loss after BatchNorm was recalibrated; of the best, and the even one, that which
                     is best after one epoch; within the images that FastNAS passed (`--budget` times)
    even             every width the same share, the channels that the next layers weigh most: uniform magnitude pruning
    random           children of the size from the same space (`--random` of them)
    scratch          winnow's widths, with new weights, as long as the base and its tuning together
    winnow+, even+   the same two, taught by the base in tuning: for both alike
"""

import argparse
import contextlib
import copy
import io
import itertools
import json
import math
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from winnow.core.architecture import Architecture
from winnow.core.choosers import uniform
from winnow.core.decision import Decision
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.data.source import Options
from winnow.data.sources.parquet import parquet
from winnow.measure.cost import macs
from winnow.measure.judgement import mean_interval
from winnow.search.evolve import evolution
from winnow.spaces.auto import auto
from winnow.train.evaluate import calibrate
from winnow.train.seeds import rng, seeded

INSTALL = "pip install -e .[bench] && pip install --no-deps nvidia-modelopt==0.47.0 torchprofile==0.0.4"
SHAPE, BATCH, DIVISOR = (3, 32, 32), 64, 4
LEAST, MOST = 0.45, 0.5  # of the MACs
CALIBRATION = 512  # images of a child of ours
CALIBRATED = 50  # batches of FastNAS, at its best: with fewer it does not calibrate
FINALISTS = 4
Images = tuple[Tensor, Tensor]
TEMPERATURE = 3.0


class Block(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), nn.BatchNorm2d(c_out)
        self.conv2, self.norm2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False), nn.BatchNorm2d(c_out)
        self.short = nn.Identity()
        if c_in != c_out:
            self.short = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(self.short(x) + y)


class ResNet(nn.Module):
    """He et al. 2016, section 4.2, with projections; three blocks a stage make ResNet-20."""

    def __init__(self, blocks: int):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        for number, width in enumerate((16, 32, 64), 1):
            before, stride = (16, 1) if number == 1 else (width // 2, 2)
            chain = [Block(before if i == 0 else width, width, stride if i == 0 else 1) for i in range(blocks)]
            setattr(self, f"stage{number}", nn.Sequential(*chain))
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage3(self.stage2(self.stage1(self.stem(x))))
        return self.head(self.pool(x).flatten(1))


def images(folder: str, train: int, score: int, test: int) -> tuple[Images, Images, Images]:
    """Training, scoring and test images, (n, 3, 32, 32) with labels; the first two from the training set."""
    found = parquet(Options(path=folder, limit_train=train + score, limit_test=test))
    sets = []
    for part in (found.train, found.test):
        pixels = torch.from_numpy(part.columns["image"].copy()).float().div(255)  # type: ignore[union-attr]
        sets.append((pixels.sub(0.47).div(0.25).contiguous(memory_format=torch.channels_last), part))
    (x, some), (x_test, others) = sets
    y, y_test = (torch.from_numpy(part.columns["label"].copy()).long() for part in (some, others))  # type: ignore[union-attr]
    return (x[:train], y[:train]), (x[train:], y[train:]), (x_test, y_test)


def train(
    net: nn.Module, data: Images, epochs: int, seed: int, rate: float, teacher: nn.Module | None = None
) -> nn.Module:
    """SGD with a cosine, shifts and mirrors; batches depend on `seed` alone. A teacher is imitated beside labels."""
    net = net.to(memory_format=torch.channels_last).train()
    draws = torch.Generator().manual_seed(seed)
    x, y = data
    steps = epochs * (len(y) // BATCH)
    descent = torch.optim.SGD(net.parameters(), rate, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(descent, lambda step: 0.5 + 0.5 * math.cos(math.pi * step / steps))
    for _ in range(epochs):
        for rows in torch.randperm(len(y), generator=draws).split(BATCH)[: len(y) // BATCH]:
            batch = varied(x[rows], draws)
            outputs = net(batch)
            loss = F.cross_entropy(outputs, y[rows])
            if teacher is not None:
                with torch.no_grad():
                    taught = (teacher(batch) / TEMPERATURE).softmax(1)
                loss = 0.5 * loss + 0.5 * TEMPERATURE**2 * F.cross_entropy(outputs / TEMPERATURE, taught)
            descent.zero_grad()
            loss.backward()
            descent.step()
            schedule.step()
    return net.eval()


def varied(x: Tensor, draws: torch.Generator) -> Tensor:
    """Each batch shifted by up to four pixels and, half of its images, mirrored."""
    down, right = torch.randint(9, (2,), generator=draws).tolist()
    x = F.pad(x, (4, 4, 4, 4))[:, :, down : down + 32, right : right + 32]
    mirrored = torch.rand(len(x), 1, 1, 1, generator=draws) < 0.5
    return torch.where(mirrored, x.flip(3), x).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def judged(net: nn.Module, data: Images) -> tuple[float, float]:
    """(accuracy in %, loss)."""
    outputs = torch.cat([net.eval()(x) for x in data[0].split(250)])
    return float((outputs.argmax(1) == data[1]).float().mean() * 100), float(F.cross_entropy(outputs, data[1]))


def share(net: nn.Module, base: nn.Module) -> float:
    return macs(net, SHAPE) / macs(base, SHAPE)


def space_of(base: nn.Module, blocks: int, file: Path, full: bool) -> Space:
    """Widths in steps of four channels, and depths."""
    save_file({name: value.contiguous() for name, value in base.state_dict().items()}, file)
    last = None if full else [f"stage3.{blocks - 1}.conv2", "stage3.0.short"]  # their outputs: FastNAS holds them
    widths = [i / 16 for i in range(4, 17)]
    return auto(lambda: ResNet(blocks), weights=str(file), except_=last, widths=widths, divisor=DIVISOR)


def even(base: nn.Module, space: Space) -> nn.Module:
    """All widths at the largest common share whose MACs are accepted; then in turn a step more, where that is too."""
    accepted: Architecture | None = None
    for hundredths in range(99, 20, -1):

        def nearest(d: Decision, wanted: float = hundredths / 100) -> Any:
            width = "/width" in d.name
            return min(d.options, key=lambda o: abs(o - wanted * d.options[-1])) if width else d.options[-1]

        accepted = space.decide(nearest)
        if share(space.derive(accepted), base) <= MOST:
            break
    assert accepted is not None
    for name, value in dict(accepted).items():
        options = space.decisions[name].options
        more = Architecture.of({**accepted, name: options[min(options.index(value) + 1, len(options) - 1)]})
        accepted = more if share(space.derive(more), base) <= MOST else accepted
    return space.derive(accepted)


def searched(
    base: nn.Module, space: Space, evenly: nn.Module, data: Images, score: Images, seed: int, budget: int
) -> dict:
    """winnow's child: evolution, then a race of the best and the even one; `budget` images may pass, in all."""
    began, draws = time.process_time(), rng(seed, "evolution")
    batches = list(zip(*(each[:CALIBRATION].split(BATCH) for each in data), strict=True))
    racing = (FINALISTS + 1) * (3 * len(data[1]) + len(score[1]))  # a step costs three passes
    population = 20
    generations = max(0, (budget - racing) // (CALIBRATION + len(score[1])) // population - 1)

    def loss(arch: Any) -> float:
        return -judged(calibrate(space.derive(arch), batches), score)[1]

    def allowed(arch: Any) -> bool:
        return LEAST <= share(space.derive(arch), base) <= MOST

    ranked = evolution(space, loss, rng=draws, population=population, generations=generations, allowed=allowed)
    candidates = [evenly, *(space.derive(each.architecture) for each in ranked[:FINALISTS])]
    raced = [judged(train(copy.deepcopy(each), data, 1, seed, 0.02), score)[1] for each in candidates]
    best = candidates[min(range(len(raced)), key=raced.__getitem__)]
    passed = len(ranked) * (CALIBRATION + len(score[1])) + racing
    return {"net": best, "images": passed, "seconds": time.process_time() - began, "even won": best is evenly}


def fastnas(base: nn.Module, data: Images, score: Images, folder: Path) -> dict:
    """FastNAS's child, under the first limit of its own count that ours accepts; no "net" where there is none."""
    try:
        import modelopt.torch.prune as mtp
    except ModuleNotFoundError as error:
        raise Refused(f"FastNAS takes {error.name}, which is not installed: {INSTALL}; or ask --without it") from error

    began, passed = time.process_time(), 0
    loader = [rows[0] for rows in zip(data[0].split(len(data[1]) // CALIBRATED), strict=True)][:CALIBRATED]

    def counted(net: nn.Module, inputs: tuple) -> None:
        nonlocal passed
        passed += len(inputs[0])

    def scored(net: nn.Module) -> float:
        return judged(net.eval(), score)[0]  # where its model goes to evaluation it calibrates

    base = copy.deepcopy(base).to(memory_format=torch.contiguous_format)  # it refuses channels last
    base.head.register_forward_pre_hook(counted)
    config = {"nn.Conv2d": {"*": {"channel_divisor": DIVISOR}}, "nn.BatchNorm2d": {"*": {"feature_divisor": DIVISOR}}}
    for percent in (*range(50, 40, -1), *range(51, 56)):
        options = {
            "data_loader": loader,
            "score_func": scored,
            "checkpoint": str(folder / "fastnas.pth"),  # what each width costs is measured once
            "max_iter_data_loader": CALIBRATED,
            "collect_func": lambda batch: batch,
        }
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            child, _ = mtp.prune(
                copy.deepcopy(base),
                mode=[("fastnas", config)],
                constraints={"flops": f"{percent}%"},
                dummy_input=data[0][:1],
                config=options,
            )
        if LEAST <= share(child, base) <= MOST:
            child.head._forward_pre_hooks.clear()
            return {"net": child, "images": passed, "seconds": time.process_time() - began, "percent": percent}
    return {"images": passed, "seconds": time.process_time() - began}


def fresh(net: nn.Module, seed: int) -> nn.Module:
    net = copy.deepcopy(net)
    with seeded(seed):
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
                module.reset_parameters()
    return net


def seed_of(
    seed: int, given: argparse.Namespace, data: Images, score: Images, test: Images, folder: Path
) -> list[dict]:
    """Rows (seed, arm, accuracy, macs as a share, images and CPU seconds of its search)."""
    with seeded(seed):
        base = ResNet(given.blocks)
    base = train(base, data, given.epochs, seed, 0.1)
    rows: list[dict] = []

    def told(arm: str, net: nn.Module, **more: Any) -> None:
        accuracy, loss = judged(net, test)
        rows.append({"seed": seed, "arm": arm, "accuracy": accuracy, "loss": loss, "macs": share(net, base), **more})
        print(rows[-1], flush=True)

    def tuned(net: nn.Module, teacher: nn.Module | None = None) -> nn.Module:
        return train(copy.deepcopy(net), data, given.tune, seed + 1000, given.rate, teacher)

    told("base", base)
    told("longer", tuned(base))
    theirs = (
        fastnas(base, data, score, folder) if not given.without else {"images": given.images_passed, "seconds": 0.0}
    )
    ours = space_of(base, given.blocks, folder / "base.safetensors", given.full)
    evenly = even(base, ours)
    found = searched(base, ours, evenly, data, score, seed, int(given.budget * theirs["images"]))
    for arm, one in (("fastnas", theirs), ("winnow", found)):
        if "net" in one:
            search = {key: value for key, value in one.items() if key != "net"}
            told(
                arm, tuned(one["net"]), untuned=judged(calibrate(copy.deepcopy(one["net"]), [data]), test)[0], **search
            )
    told("even", tuned(evenly), untuned=judged(calibrate(copy.deepcopy(evenly), [data]), test)[0])
    draws = rng(seed, "random")
    drawn = (ours.decide(uniform(draws)) for _ in itertools.count())
    for child in itertools.islice(
        (c for c in map(ours.derive, drawn) if LEAST <= share(c, base) <= MOST), given.random
    ):
        told("random", tuned(child))
    told("scratch", train(fresh(found["net"], seed), data, given.epochs + given.tune, seed, 0.1))
    told("winnow+", tuned(found["net"], base))
    told("even+", tuned(evenly, base))
    return rows


def table(rows: list[dict]) -> str:
    """Means over seeds, then differences paired by seed with Student's 95 % interval (fewer than three seeds: none).

    An arm may lack seeds: FastNAS those in which none of its networks has the accepted MACs. "untuned" is before
    tuning, with BatchNorm statistics recalibrated.
    """
    values: dict[str, dict[int, float]] = {}
    for row in [r | {"arm": f"{r['arm']} untuned", "accuracy": r["untuned"]} for r in rows if "untuned" in r]:
        values.setdefault(row["arm"], {})[row["seed"]] = row["accuracy"]
    untuned = list(values)
    for row in rows:
        each = values.setdefault(row["arm"], {})
        own = [r["accuracy"] for r in rows if (r["arm"], r["seed"]) == (row["arm"], row["seed"])]
        each[row["seed"]] = statistics.fmean(own)  # several random children
    lines = ["| arm | accuracy, % | n | MACs | images of the search | CPU s |", "|---|---|---|---|---|---|"]
    for arm in [arm for arm in values if arm not in untuned]:
        each = values[arm]
        mine = [row for row in rows if row["arm"] == arm]
        spread = f" ± {statistics.stdev(each.values()):.1f}" if len(each) > 1 else ""
        search = [
            f"{statistics.fmean(r[k] for r in mine):,.0f}" if k in mine[0] else "–" for k in ("images", "seconds")
        ]
        size = statistics.fmean(row["macs"] for row in mine)
        mean = statistics.fmean(each.values())
        lines.append(f"| {arm} | {mean:.1f}{spread} | {len(each)} | {size:.0%} | {' | '.join(search)} |")
    lines += ["", "| difference, points | mean | 95 % interval over seeds | n |", "|---|---|---|---|"]
    pairs = [("winnow", other) for other in ("even", "fastnas", "random", "scratch", "base", "longer")]
    for one, other in [
        *pairs,
        ("fastnas", "even"),
        ("winnow+", "even+"),
        ("winnow+", "even"),
        ("winnow+", "base"),
        ("winnow untuned", "even untuned"),
        ("fastnas untuned", "even untuned"),
    ]:
        seeds = sorted(values.get(one, {}).keys() & values.get(other, {}).keys())
        if seeds:
            gaps = [values[one][seed] - values[other][seed] for seed in seeds]
            interval = mean_interval(gaps, (-100, 100))
            said = "–" if interval is None else f"{interval.low:+.1f} to {interval.high:+.1f}"
            lines.append(f"| {one} − {other} | {statistics.fmean(gaps):+.1f} | {said} | {len(gaps)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, help="print what this file says, and run nothing")
    parser.add_argument("--data", help="folder of train.parquet and test.parquet")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--blocks", type=int, default=3, help="a stage; 3 make ResNet-20")
    for name, value in {
        "images": 5000,
        "score": 1000,
        "test": 2000,
        "epochs": 20,
        "tune": 8,
        "seeds": 5,
        "random": 2,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--rate", type=float, default=0.02, help="learning rate of tuning, the same for all")
    parser.add_argument("--budget", type=float, default=1.0, help="images of winnow's search, as a share of FastNAS's")
    parser.add_argument(
        "--full", action="store_true", help="the full space of each; else what FastNAS cannot cut stays"
    )
    parser.add_argument("--without", action="store_true", help="without FastNAS")
    parser.add_argument("--images-passed", type=int, default=100_000, help="budget, --without FastNAS")
    given = parser.parse_args()
    if given.table:
        print(table(json.loads(given.table.read_text())))
        return
    if given.data is None or given.out is None:
        parser.error("--data FOLDER and --out F.json, or --table F.json")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    warnings.filterwarnings("error", message=".*queue not filled.*")  # then FastNAS would score without calibration
    data, score, test = images(given.data, given.images, given.score, given.test)
    rows = json.loads(given.out.read_text()) if given.out.exists() else []
    for seed in range(given.seeds):
        if not any(row["seed"] == seed for row in rows):
            folder = given.out.with_suffix(f".{seed}")
            folder.mkdir(exist_ok=True)
            rows += seed_of(seed, given, data, score, test, folder)
            given.out.write_text(json.dumps(rows, indent=1))
    print(table(rows))


if __name__ == "__main__":
    try:
        main()
    except Refused as refusal:
        sys.exit(str(refusal))
