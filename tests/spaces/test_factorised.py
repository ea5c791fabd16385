"""spaces.factorised: two (input, operation) pairs a node, as the sheet of UNAS has them."""

import random

import pytest
import torch

from tests.search.toys import cells, images, logits_of
from winnow.core.choosers import uniform
from winnow.search.relax import sampled
from winnow.spaces import build
from winnow.spaces.darts import NODES
from winnow.spaces.factorised import OPS, Cell, twins
from winnow.spaces.graphs import graphs

SHORT = dict(zip(("sk", "s3", "mp", "d3", "s5", "ap", "s7"), OPS, strict=True))
RELEASED = {  # public code: (input:operation, input:operation) of nodes 2 to 5
    "CIFAR-10": "0:s5 0:sk 0:sk 1:d3 0:s3 1:d3 1:s3 0:d3 / 0:s3 0:s5 1:sk 0:s3 1:ap 0:sk 3:s5 1:ap",
    "CIFAR-100": "0:s3 0:d3 1:d3 0:s3 0:sk 1:s3 1:s5 0:s3 / 0:s7 0:s3 1:s3 0:s5 1:s7 0:d3 0:d3 3:s3",
    "ImageNet": "0:s3 0:sk 0:s3 1:sk 1:s3 0:s5 0:s3 1:d3 / 0:s5 1:s3 0:s5 1:s3 1:s5 0:d3 3:d3 1:s3",
}


def released(name: str) -> dict[str, str | int]:
    answers: dict[str, str | int] = {}
    for kind, cell in zip(("normal", "reduce"), RELEASED[name].split(" / "), strict=True):
        for i, term in enumerate(cell.split()):
            source, op = term.split(":")
            pair = f"{kind}/{NODES[i // 2]}/{'ab'[i % 2]}"
            answers |= {f"{pair}/input": int(source), f"{pair}/op": SHORT[op]}
    return answers


@pytest.mark.parametrize("name", RELEASED)
def test_released_cells_are_of_the_space(name):
    stem = "imagenet" if name == "ImageNet" else "cifar"
    with torch.device("meta"):
        space = build("factorised", {"candidates": stem, "stem": stem}, classes=10, image_channels=3)
    arch = released(name)
    space.check(arch)
    normal = graphs(arch)["normal"].edges
    assert normal[:2] == tuple((int(t[0]), 2, SHORT[t[2:]]) for t in RELEASED[name].split()[:2])
    assert len(normal) == 8


def test_a_node_is_the_sum_of_two_pairs():
    """Written out, in double precision; node 3 takes one pair twice."""
    cell = next(m for m in cells("factorised").double().modules() if isinstance(m, Cell)).train()
    states = [torch.randn(2, 12, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) for i in (0, 1)]
    answers = {name: value for name, value in released("CIFAR-10").items() if name.startswith("normal")}
    answers |= {"normal/3/b/input": 0, "normal/3/b/op": "skip_connect"}
    cell.nodes[0].board.setting = answers
    found = cell(*states)
    made = [cell.preprocess0(states[0]), cell.preprocess1(states[1])]
    for i, node in enumerate(NODES):
        at = [(int(answers[f"normal/{node}/{pair}/input"]), answers[f"normal/{node}/{pair}/op"]) for pair in "ab"]
        ops = [cell.nodes[2 * i].candidates[str(source)].op.candidates[op] for source, op in at]
        made.append(sum(op(made[source]) for op, (source, _) in zip(ops, at, strict=True)))
    torch.testing.assert_close(found, torch.cat(made[2:], 1))
    torch.testing.assert_close(made[3], 2 * made[0])


def test_pools_stand_alone_and_the_widest_convolution_is_seven():
    edge = cells("factorised").holes[0]
    ops = edge.candidates["0"].op.candidates
    assert isinstance(ops["max_pool_3x3"], torch.nn.MaxPool2d)
    assert isinstance(ops["avg_pool_3x3"], torch.nn.AvgPool2d)
    assert [m.kernel_size for m in ops["sep_conv_7x7"].modules() if getattr(m, "groups", 1) > 1] == [(7, 7)] * 2


def test_twins_are_the_pairs_of_a_node():
    assert len(twins(cells("factorised"))) == 8
    assert ("reduce/5/a", "reduce/5/b") in twins(cells("factorised"))
    assert twins(cells("darts")) == []


@pytest.mark.parametrize("plain", [False, True])
def test_both_gradients_of_gdas_run_here_too(plain):
    """Numbers of undrawn options, of inputs and of operations, are zero in value and reach all logits."""
    space, (x, _) = cells("factorised").eval(), images(2)
    logits = logits_of(space)
    space.board.plain = plain
    setting = sampled(space, 5.0, torch.Generator().manual_seed(0))(logits)
    out = space(x, setting)
    arch = space.decide(lambda d: next(iter(setting[d.name])))
    torch.testing.assert_close(out, space(x, arch), rtol=1e-4, atol=1e-5)
    out.square().sum().backward()
    assert all(vector.grad.abs().sum() > 0 for vector in logits.values())


@pytest.mark.parametrize("name", ["factorised", "darts", "nas_bench_201"])
def test_examples_may_have_weights_of_their_own(name):
    """Each row is what the whole space says of it under its weights; of one-hot weights, of its architecture."""
    space, (x, _) = cells(name).eval(), images(3)
    draws, rng = torch.Generator().manual_seed(1), random.Random(0)
    single = {n: d for n, d in space.decisions.items() if not d.several}
    weights = {n: torch.rand(len(d.options), 3, generator=draws) for n, d in single.items()}
    for plain in (False, True):
        space.board.plain = plain
        rows = [space(x[i : i + 1], {n: w[:, i] for n, w in weights.items()}) for i in range(3)]
        torch.testing.assert_close(space(x, weights), torch.cat(rows), rtol=1e-4, atol=1e-5)
    space.board.plain = False
    archs = [space.decide(uniform(rng)) for _ in range(3)]
    if all(set(arch) == set(single) for arch in archs):
        hot = {n: torch.tensor([[float(a[n] == o) for a in archs] for o in d.options]) for n, d in single.items()}
        rows = [space(x[i : i + 1], archs[i]) for i in range(3)]
        torch.testing.assert_close(space(x, hot), torch.cat(rows), rtol=1e-4, atol=1e-5)
