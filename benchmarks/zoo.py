"""Space auto on the classification networks of pytorchcv: which become elastic, and whether their children are right.

    python benchmarks/zoo.py --out zoo.json [NETWORK ...]        needs: pip install --no-deps pytorchcv==0.0.74

A row a network, with random weights and statistics of one batch of noise. `converted`: at least one decision is open;
else `why`. `largest_equal`: the largest architecture is the network, to the bit. `children_equal`: of ten random
architectures, how many have a child that equals the masked network within 1e-5 of its largest output *and* equals the
space under the same architecture to the bit. `groups`: open widths. `removable`: share of the MACs that the smallest
child saves. `seconds`: of the conversion alone. Each network runs in a process of its own: one that hangs ends none.
"""

import argparse
import contextlib
import copy
import importlib
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn

from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.measure.cost import macs
from winnow.spaces.auto import auto
from winnow.spaces.auto_check import differs, first

CHILDREN = 10
SECONDS = 400  # a network
NETWORKS = [
    "resnet_cifar:resnet20_cifar10",
    "preresnet_cifar:preresnet20_cifar10",
    "wrn_cifar:wrn16_10_cifar10",
    "resnext_cifar:resnext20_16x4d_cifar10",
    "seresnet_cifar:seresnet20_cifar10",
    "sepreresnet_cifar:sepreresnet20_cifar10",
    "densenet_cifar:densenet40_k12_cifar10",
    "densenet_cifar:densenet40_k12_bc_cifar10",
    "pyramidnet_cifar:pyramidnet110_a48_cifar10",
    "nin_cifar:nin_cifar10",
    "ror_cifar:ror3_56_cifar10",
    "rir_cifar:rir_cifar10",
    "fractalnet_cifar:fractalnet_cifar10",
    "xdensenet_cifar:xdensenet40_2_k24_bc_cifar10",
    "diaresnet_cifar:diaresnet20_cifar10",
    "diapreresnet_cifar:diapreresnet20_cifar10",
    "shakeshakeresnet_cifar:shakeshakeresnet20_2x16d_cifar10",
    "resdropresnet_cifar:resdropresnet20_cifar10",
    "shakedropresnet_cifar:shakedropresnet20_cifar10",
    "alexnet:alexnet",
    "zfnet:zfnet",
    "vgg:vgg11",
    "vgg:bn_vgg11",
    "bninception:bninception",
    "resnet:resnet18",
    "resnet:resnet50",
    "preresnet:preresnet18",
    "resnext:resnext50_32x4d",
    "seresnet:seresnet18",
    "seresnext:seresnext50_32x4d",
    "senet:senet16",
    "ibnresnet:ibn_resnet50",
    "airnet:airnet50_1x64d_r2",
    "bamresnet:bam_resnet18",
    "cbamresnet:cbam_resnet18",
    "sknet:sknet50",
    "resnesta:resnestabc14",
    "regnet:regnetx002",
    "regnet:regnety002",
    "diracnetv2:diracnet18v2",
    "densenet:densenet121",
    "peleenet:peleenet",
    "wrn:wrn50_2",
    "drn:drnc26",
    "dpn:dpn68",
    "darknet:darknet_tiny",
    "darknet53:darknet53",
    "bagnet:bagnet9",
    "dla:dla34",
    "hrnet:hrnet_w18_small_v1",
    "vovnet:vovnet27s",
    "selecsls:selecsls42b",
    "hardnet:hardnet39ds",
    "squeezenet:squeezenet_v1_1",
    "squeezenext:sqnxt23_w1",
    "shufflenet:shufflenet_g1_w1",
    "shufflenet:shufflenet_g3_w1",
    "shufflenetv2:shufflenetv2_wd2",
    "shufflenetv2b:shufflenetv2b_wd2",
    "menet:menet108_8x1_g3",
    "mobilenet:mobilenet_w1",
    "mobilenetb:mobilenetb_w1",
    "fdmobilenet:fdmobilenet_w1",
    "mobilenetv2:mobilenetv2_w1",
    "mobilenetv3:mobilenetv3_large_w1",
    "igcv3:igcv3_w1",
    "ghostnet:ghostnet",
    "mnasnet:mnasnet_a1",
    "proxylessnas:proxylessnas_cpu",
    "fbnet:fbnet_cb",
    "spnasnet:spnasnet",
    "efficientnet:efficientnet_b0",
    "efficientnetedge:efficientnet_edge_small_b",
    "mixnet:mixnet_s",
    "xception:xception",
    "inceptionv3:inceptionv3",
    "inceptionv4:inceptionv4",
    "inceptionresnetv1:inceptionresnetv1",
    "polynet:polynet",
    "octresnet:octresnet10_ad2",
    "fishnet:fishnet99",
    "channelnet:channelnet",
    "resattnet:resattnet56",
    "espnetv2:espnetv2_wd2",
    "dicenet:dicenet_wd5",
    "nasnet:nasnet_4a1056",
    "pnasnet:pnasnet5large",
    "condensenet:condensenet74_c4_g4",
    "scnet:scnet50",
    "sparsenet:sparsenet121",
    "tresnet:tresnet_m",
    "xdensenet:xdensenet121_2",
    "revnet:revnet38",
    "isqrtcovresnet:isqrtcovresnet18",
    "irevnet:irevnet301",
]
LARGE = dict.fromkeys(["inceptionv3", "inceptionv4", "inceptionresnetv1", "xception"], 299)
LARGE |= {"polynet": 331, "pnasnet5large": 331}


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


def row(spec: str, children: int) -> dict:
    net, side = network(spec)
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    name = spec.split(":")[1]
    found: dict = {"network": name, "converted": False, "why": "", "seconds": 0.0}
    net = scaled(net, x)
    began = time.monotonic()
    try:
        space = auto(lambda: copy.deepcopy(net), image_height=side, image_width=side)
    except Refused as refusal:
        return {**found, "why": str(refusal), "seconds": round(time.monotonic() - began, 1)}
    found |= {"converted": True, "seconds": round(time.monotonic() - began, 1)}
    found["groups"] = sum(d.name.rpartition("/")[2].startswith("width") for d in space.decisions.values())
    found["decisions"] = len(space.decisions)
    found["fixed"] = {path: why for path, what, why in space.table if what == "fixed"}
    space.eval()
    with torch.no_grad():
        whole = first(net(x))
        found["largest_equal"] = torch.equal(first(space.derive(space.original)(x)), whole) and torch.equal(
            first(space(x, space.original)), whole
        )
        draws, equal, other = random.Random(1), 0, 0
        one, alone = x[:1], first(net(x[:1]))
        for _ in range(children):
            arch = space.decide(uniform(draws))
            child = space.derive(arch)
            answer = first(child(one))
            said, same = differs(net, space.plan, space, arch, one), torch.equal(answer, first(space(one, arch)))
            equal += said is None and same
            other += not torch.equal(answer, alone)
            if said is not None or not same:
                found["why"] = said or "the space computes otherwise than its child"
        found |= {"children_equal": f"{equal}/{children}", "children_unlike_the_whole": f"{other}/{children}"}
        smallest = space.derive(space.decide(lambda d: d.values[0]))
        with contextlib.suppress(AttributeError):  # a layer of its own kind that returns several maps is not counted
            found["removable"] = round(1 - macs(smallest, x.shape[1:]) / macs(net, x.shape[1:]), 3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", help="module:function of pytorchcv.models [default: all]")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--children", type=int, default=CHILDREN)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        torch.set_num_threads(1)
        arguments.out.write_text(json.dumps(row(arguments.one, arguments.children)))
        return
    rows = []
    for spec in arguments.networks or NETWORKS:
        passing = arguments.out.with_suffix(".one")
        command = [
            sys.executable,
            __file__,
            "--one",
            spec,
            "--out",
            str(passing),
            "--children",
            str(arguments.children),
        ]
        found = {"network": spec.split(":")[1], "converted": False}
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
            lines = done.stderr.strip().splitlines() or ["no output"]
            found = json.loads(passing.read_text()) if done.returncode == 0 else {**found, "why": f"error: {lines[-1]}"}
        except subprocess.TimeoutExpired:
            found["why"] = f"not done in {SECONDS} s"
        passing.unlink(missing_ok=True)
        rows.append(found)
        arguments.out.write_text(json.dumps(rows, indent=1))
        print({key: value for key, value in found.items() if key != "fixed"}, flush=True)
    right = [
        r for r in rows if r["converted"] and r.get("largest_equal") and len(set(r["children_equal"].split("/"))) == 1
    ]
    print(f"{len(right)} of {len(rows)} converted with all of their children right")


if __name__ == "__main__":
    main()
