"""Space auto on the classification networks of pytorchcv: which become elastic, and whether their children are right.

    python benchmarks/zoo.py --out zoo.json [NETWORK ...]        needs: pip install --no-deps pytorchcv==0.0.74
    python benchmarks/zoo.py --table zoo.json                    what docs/your-network.md says of them

A row a network, with random weights and statistics of one batch of noise. `converted`: at least one decision is open;
else `why`. `largest_equal`: the largest architecture is the network, to the bit. `children_equal`: of ten random
architectures, how many have a child that equals the masked network (auto_check.differs: within 1e-5 of its largest
output, or in float64 within 1e-9) *and* equals the space under the same architecture to the bit. `exported`: by ONNX
Runtime the first of them answers as PyTorch does, within 1e-4 of its largest output, to batches of one and two.
`groups`: open widths. `removable`: share of the MACs that the smallest child saves. `seconds`: CPU time of the
conversion alone. `code`: digest of what converts. Each network runs in a process of its own: one that hangs ends none.
Rows are added to those that the file has, so that a run goes on where it ended; a network that is named is run anew.
"""

import argparse
import contextlib
import copy
import hashlib
import importlib
import itertools
import json
import multiprocessing
import random
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

import winnow
from winnow.core.choosers import uniform
from winnow.core.errors import Refused, told
from winnow.core.space import Space
from winnow.measure.cost import macs
from winnow.run.exporting import as_onnx
from winnow.spaces.auto import auto
from winnow.spaces.auto_check import differs, first
from winnow.trust.export import answered
from winnow.trust.targets import TARGETS

CHILDREN = 10
SECONDS = 900  # a network, on a machine that others use
NETWORKS = [  # what is quick first
    "resnet_cifar:resnet20_cifar10",
    "preresnet_cifar:preresnet20_cifar10",
    "wrn_cifar:wrn16_10_cifar10",
    "resnext_cifar:resnext20_16x4d_cifar10",
    "seresnet_cifar:seresnet20_cifar10",
    "sepreresnet_cifar:sepreresnet20_cifar10",
    "densenet_cifar:densenet40_k12_bc_cifar10",
    "pyramidnet_cifar:pyramidnet110_a48_cifar10",
    "nin_cifar:nin_cifar10",
    "ror_cifar:ror3_56_cifar10",
    "rir_cifar:rir_cifar10",
    "fractalnet_cifar:fractalnet_cifar10",
    "xdensenet_cifar:xdensenet40_2_k24_bc_cifar10",
    "diaresnet_cifar:diaresnet20_cifar10",
    "shakeshakeresnet_cifar:shakeshakeresnet20_2x16d_cifar10",
    "resdropresnet_cifar:resdropresnet20_cifar10",
    "shakedropresnet_cifar:shakedropresnet20_cifar10",
    "resnet:resnet50",
    "mobilenet:mobilenet_w1",
    "mobilenetv2:mobilenetv2_w1",
    "mobilenetv3:mobilenetv3_large_w1",
    "octresnet:octresnet10_ad2",
    "darknet:darknet_tiny",
    "squeezenet:squeezenet_v1_1",
    "alexnet:alexnet",
    "zfnet:zfnet",
    "vgg:bn_vgg11",
    "shufflenetv2:shufflenetv2_wd2",
    "shufflenet:shufflenet_g1_w1",
    "regnet:regnetx002",
    "cbamresnet:cbam_resnet18",
    "bamresnet:bam_resnet18",
    "resnesta:resnestabc14",
    "bagnet:bagnet9",
    "dpn:dpn68",
    "vovnet:vovnet27s",
    "dla:dla34",
    "mixnet:mixnet_s",
    "mnasnet:mnasnet_a1",
    "fbnet:fbnet_cb",
    "efficientnet:efficientnet_b0",
    "ghostnet:ghostnet",
    "hardnet:hardnet39ds",
    "peleenet:peleenet",
    "inceptionv3:inceptionv3",
    "xception:xception",
    "bninception:bninception",
    "hrnet:hrnet_w18_small_v1",
    "regnet:regnety002",
    "proxylessnas:proxylessnas_cpu",
    "spnasnet:spnasnet",
    "diracnetv2:diracnet18v2",
    "selecsls:selecsls42b",
    "fdmobilenet:fdmobilenet_w1",
    "igcv3:igcv3_w1",
    "espnetv2:espnetv2_wd2",
    "channelnet:channelnet",
    "squeezenext:sqnxt23_w1",
    "shufflenet:shufflenet_g3_w1",
    "ibnresnet:ibn_resnet50",
    "airnet:airnet50_1x64d_r2",
    "sknet:sknet50",
    "drn:drnc26",
    "darknet53:darknet53",
    "menet:menet108_8x1_g3",
    "inceptionv4:inceptionv4",
    "fishnet:fishnet99",
    "dicenet:dicenet_wd5",
    "nasnet:nasnet_4a1056",
    "scnet:scnet50",
]
LARGE = dict.fromkeys(["inceptionv3", "inceptionv4", "inceptionresnetv1", "xception"], 299)


def network(spec: str) -> tuple[nn.Module, int]:
    module, name = spec.split(":")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = getattr(importlib.import_module(f"pytorchcv.models.{module}"), name)()
    return net, LARGE.get(name, 32 if "cifar" in name else 224)


def scaled(net: nn.Module, x: torch.Tensor) -> nn.Module:
    """With the statistics of a batch: with none, what deep networks answer vanishes or overflows."""
    norms = [module for module in net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad(), torch.random.fork_rng():
        net.train()(x)
    for norm in norms:
        norm.momentum = 0.1
    return net.eval()


def code() -> str:
    """Digest of the files that convert."""
    root = Path(winnow.__file__).parent
    sources = [*sorted(root.glob("spaces/auto*.py")), root / "holes/cut.py", root / "holes/counted.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]


def row(spec: str, children: int, onnx: bool = True) -> dict:
    net, side = network(spec)
    x = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(1))
    net = scaled(net, x[:2])
    found: dict = {"network": spec.split(":")[1], "converted": False, "why": "", "seconds": 0.0, "code": code()}
    began = time.process_time()
    try:
        space = auto(lambda: copy.deepcopy(net), image_height=side, image_width=side)
    except Refused as refusal:
        return {**found, "why": str(refusal), "seconds": round(time.process_time() - began, 1)}
    found |= {"converted": True, "seconds": round(time.process_time() - began, 1)}
    found["groups"] = sum(d.name.rpartition("/")[2].startswith("width") for d in space.decisions.values())
    found["decisions"] = len(space.decisions)
    found["fixed"] = {path: why for path, what, why in space.table if what == "fixed"}
    space.eval()
    with torch.no_grad():
        whole = first(net(x[:2]))
        largest = space.derive(space.original)
        found["largest_equal"] = all(
            torch.equal(first(y), whole) for y in (largest(x[:2]), space(x[:2], space.original))
        )
        found |= _children(net, space, x[:1], children)
        smallest = space.derive(space.decide(lambda d: d.values[0]))
        with contextlib.suppress(AttributeError):  # a layer of its own kind that returns several maps is not counted
            found["removable"] = round(1 - macs(smallest, x.shape[1:]) / macs(net, x.shape[1:]), 3)
    if onnx:
        found["exported"], why = _exported(space.derive(space.decide(uniform(random.Random(1)))), x)
        found["why"] = found["why"] or why
    return found


def _children(net: nn.Module, space: Space, x: torch.Tensor, children: int) -> dict:
    draws, equal, other, why = random.Random(1), 0, 0, ""
    whole = first(net(x))
    for _ in range(children):
        arch = space.decide(uniform(draws))
        answer = first(space.derive(arch)(x))
        said, same = differs(net, space.plan, space, arch, x), torch.equal(answer, first(space(x, arch)))
        equal += said is None and same
        other += not torch.equal(answer, whole)
        if said is not None or not same:
            why = said or "the space computes otherwise than its child"
    return {"children_equal": f"{equal}/{children}", "children_unlike_the_whole": f"{other}/{children}", "why": why}


def _exported(child: nn.Module, x: torch.Tensor) -> tuple[bool, str]:
    """Whether the child's ONNX form answers as it does; else why not."""
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder) / "child.onnx"
        try:
            as_onnx(child, tuple(x.shape[1:])).save(path)
            expected = answered(child, x)
            found = answered(TARGETS["onnx"].opened(path), x, name=path.name)
        except Exception as error:  # ONNX Runtime has a dozen kinds
            return False, told(error)
    gap, scale = float((found - expected).abs().max()), float(expected.abs().max())
    return (True, "") if gap <= 1e-4 * scale else (False, f"ONNX answers otherwise, by {gap:.2g} of {scale:.2g}")


def right(row: dict) -> bool:
    return bool(row["converted"] and row["largest_equal"] and len(set(row["children_equal"].split("/"))) == 1)


def table(rows: list[dict]) -> str:
    """Markdown: how many are right, those that are not and why, then what of each can go."""
    good = [row for row in rows if right(row)]
    exported = sum(bool(row.get("exported")) for row in good)
    children = sum(int(row["children_equal"].split("/")[1]) for row in good)
    seconds = sorted(row["seconds"] for row in good)
    lines = [
        f"{len(good)} of {len(rows)} networks convert ({len(good) / len(rows):.0%}): the largest equals the network",
        f"to the bit, and all of {children} random children the masked one. Of {exported} a child went to ONNX.",
        f"A conversion takes {seconds[len(seconds) // 2]:.1f} s of one core (median; longest {seconds[-1]:.1f} s).",
        f"Code: {', '.join(sorted({row.get('code', '?') for row in rows}))}.",
        "",
    ]
    lines += [f"- `{row['network']}`: {row['why']}" for row in rows if not right(row) or not row.get("exported")]
    lines += ["", "| network | widths | decisions | MACs that can go | seconds |" * 2, "|---|---|---|---|---|" * 2]
    cells = [
        f"| {row['network'].removesuffix('_cifar10')} | {row['groups']} | {row['decisions']} | "
        f"{'–' if 'removable' not in row else format(row['removable'], '.0%')} | {row['seconds']} |"
        for row in good
    ]
    half = (len(cells) + 1) // 2
    lines += [one + other for one, other in itertools.zip_longest(cells[:half], cells[half:], fillvalue="| | | | | |")]
    return "\n".join(lines).replace("||", "|")


def run(spec: str, children: int) -> dict:
    """A row, made by a process of its own, forked so that nothing is imported again."""
    context = multiprocessing.get_context("fork")
    rows = context.SimpleQueue()
    process = context.Process(target=lambda: rows.put(_told(spec, children)), daemon=True)
    process.start()
    process.join(SECONDS)
    found = {"network": spec.split(":")[1], "converted": False, "code": code()}
    if process.is_alive():
        process.kill()
        return {**found, "why": f"not done in {SECONDS} s"}
    return rows.get() if not rows.empty() else {**found, "why": f"ended by {process.exitcode}"}


def _told(spec: str, children: int) -> dict:
    try:
        return row(spec, children)
    except Exception as error:
        said = f"error: {type(error).__name__}: {error}"
        return {"network": spec.split(":")[1], "converted": False, "code": code(), "why": said}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", help="module:function of pytorchcv.models [default: one a family]")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path, help="print what this file says, and run nothing")
    parser.add_argument("--children", type=int, default=CHILDREN)
    arguments = parser.parse_args()
    if arguments.table:
        print(table(json.loads(arguments.table.read_text())))
        return
    if arguments.out is None:
        parser.error("--out F.json, where the rows go, or --table F.json")
    torch.set_num_threads(1)
    rows = {r["network"]: r for r in (json.loads(arguments.out.read_text()) if arguments.out.exists() else [])}
    done = {name for name, row in rows.items() if row.get("code") == code()}
    for spec in arguments.networks or [each for each in NETWORKS if each.split(":")[1] not in done]:
        found = run(spec, arguments.children)
        rows[found["network"]] = found
        arguments.out.write_text(json.dumps(list(rows.values()), indent=1))
        print({key: value for key, value in found.items() if key != "fixed"}, flush=True)
    print(f"{sum(map(right, rows.values()))} of {len(rows)} converted with all of their children right")


if __name__ == "__main__":
    main()
