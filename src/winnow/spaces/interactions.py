"""Branches through which the fields of a table interact: inner and outer products, cross layers, an MLP, chosen pairs.

Ours, from published operators: ModularNAS (Lin et al. 2021) names the task and the branches, and no sizes are known.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from torch import Tensor, nn

from winnow.core.architecture import Architecture
from winnow.core.decision import Decision, Number, Value
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.holes.narrowed import narrowed
from winnow.nn import interactions as ops
from winnow.nn.table import Additive, Embeddings
from winnow.spaces.options import positive, sizes


def interactions(
    fields: Sequence[tuple[str, int]] = (("a", 10), ("b", 10), ("c", 10)),
    dense: Sequence[str] = (),
    classes: int = 1,
    embedding: Sequence[int] = (8, 16, 32),
    depths: Sequence[int] = (1, 2, 3),
    widths: Sequence[int] = (64, 128, 256, 512),
    layers: Sequence[int] = (1, 2, 3),
    hidden: Sequence[int] = (128, 256, 512),
    pairs: Sequence[Sequence[str]] | str = (),
    dropout: float = 0.0,
) -> Space:
    """x is (batch, fields + dense): ids, then numbers; logits (batch, classes), those of a linear model and what is
    beside it. `fields` are names with how many ids each has.

    Decisions: "embedding" (k, the first so many columns of one table), "fusion" (the sum of the branches' logits;
    linear or one hidden layer on all that they return), "branches" (one or more of inner, outer, cross, mlp), and what
    these are: "outer" (the sum trick, a vector or a matrix a pair), "cross" (DCN or DCN-V2 and how many `layers`),
    "mlp" (depth x width). 10,905 architectures. `pairs`, [a, b] by name or "all", add a branch of which decision
    "pairs" keeps one or more: (728 * 2^n - 1) * 15. What has one size is no decision: with one `embedding` all else
    takes mixtures. ValueError where an option is none that can be built.
    """
    positive(classes=classes)
    embedding = sizes("embedding", embedding)
    if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise ValueError(f"dropout takes 0 to less than 1, not {dropout!r}")
    names, ids = [*(name for name, _ in fields), *dense], tuple(size for _, size in fields)
    if len(names) < 2:
        raise ValueError(f"fields interact, and there is one alone: {names[0]!r}" if names else "there is no field")
    shape = _Shape(
        fields=len(names),
        k=Number.open("embedding", embedding) if len(embedding) > 1 else embedding[0],
        most=embedding[-1],
        pairs=_pairs(pairs, names),
        depths=sizes("depths", depths),
        widths=sizes("widths", widths),
        layers=sizes("layers", layers),
        dropout=dropout,
    )
    fusions: dict[str, nn.Module] = {
        "sum": nn.Sequential(_branches(shape, classes, joined=False)),
        "linear": nn.Sequential(_branches(shape, classes), ops.Bias(classes)),
    }
    for width in sizes("hidden", hidden):
        head = [ops.Bias(width), nn.ReLU(), nn.Linear(width, classes)]
        fusions[f"hidden{width}"] = nn.Sequential(_branches(shape, width), *head)
    table = narrowed(shape.k, lambda k: Embeddings(ids, len(dense), k), gathers=True)
    return Space(Interacting(table, Additive(ids, len(dense), classes), Choice("fusion", fusions)))


def deepfm(space: Space) -> Architecture:
    """The network made by hand, in the manner of DeepFM (Guo et al. 2017, arXiv:1703.04247): linear, products of all
    pairs and an MLP, added up, with embeddings, depth and width in the middle of what is open. DeepFM's products have
    no weights, these have one each.
    """

    def choose(d: Decision) -> Value:
        made: dict[str, Value] = {"fusion": "sum", "branches": ("inner", "mlp")}
        return made.get(d.name, d.values[len(d.values) // 2])

    return space.decide(choose)


class Interacting(nn.Module):
    """A linear model, and what interacts beside it."""

    def __init__(self, embeddings: nn.Module, linear: nn.Module, fusion: nn.Module):
        super().__init__()
        self.embeddings, self.linear, self.fusion = embeddings, linear, fusion

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.linear(x) + self.fusion(self.embeddings(x))
        return total


@dataclass(frozen=True)
class _Shape:
    """What all fusions share: sizes, and in `made` the layers that work for each of them, by name."""

    fields: int
    k: Number | int
    most: int
    pairs: Mapping[str, tuple[int, int]]
    depths: Sequence[int]
    widths: Sequence[int]
    layers: Sequence[int]
    dropout: float
    made: dict[str, nn.Module] = field(default_factory=dict)

    def layer(self, name: str, make: Callable[[int], nn.Module]) -> nn.Module:
        return self.made.setdefault(name, narrowed(self.k, make))


def _branches(shape: _Shape, outputs: int, *, joined: bool = True) -> nn.Module:
    """What the branches that are on return, each through a linear layer of its own, added up: (batch, outputs).

    That is a linear layer on what they return side by side. Not `joined`: each has a bias, and products are not normed.
    """

    def ended(
        body: Sequence[nn.Module], axes: Sequence[int], of_k: Sequence[int] = (), *, product: bool = False
    ) -> nn.Sequential:
        def sized(k: int) -> list[int]:
            return [k if axis in of_k else length for axis, length in enumerate(axes)]

        norm = [narrowed(shape.k, lambda k: ops.Normed(sized(k), of_k))] if product and joined else []
        tail = narrowed(shape.k, lambda k: ops.Dense(sized(k), outputs, bias=not joined, of_k=of_k))
        return nn.Sequential(*body, *norm, tail)

    fields, most = shape.fields, shape.most
    count = fields * (fields - 1) // 2
    outer = {
        "sum": ended([ops.OuterSum()], [most, most], [0, 1], product=True),
        "vec": ended([shape.layer("vec", lambda k: ops.Vector(fields, k))], [count], product=True),
        "mat": ended([shape.layer("mat", lambda k: ops.Matrix(fields, k))], [count], product=True),
    }
    crosses, mlps = {}, {}
    for kind, make in (("v1", ops.Cross), ("v2", ops.Cross2)):
        for depth in shape.layers:
            chain = [shape.layer(f"{kind}/{i}", lambda k, make=make: make(fields, k)) for i in range(depth)]
            crosses[f"{kind}x{depth}"] = ended([ops.Crosses(chain)], [fields, most], [1])
    for depth in shape.depths:
        for width in shape.widths:
            mlps[f"{depth}x{width}"] = ended(_hidden(shape, depth, width), [width])
    every: dict[str, nn.Module] = {
        "inner": ended([ops.Inner(fields)], [count], product=True),
        "outer": Choice("outer", outer),
        "cross": Choice("cross", crosses),
        "mlp": Choice("mlp", mlps) if len(mlps) > 1 else next(iter(mlps.values())),
    }
    if shape.pairs:
        of_pair = {name: ended([ops.Inner(fields, [place])], [1]) for name, place in shape.pairs.items()}
        every["pairs"] = Choice("pairs", of_pair, pick=len(of_pair), least=1)
    return Choice("branches", every, pick=len(every), least=1)


def _hidden(shape: _Shape, depth: int, width: int) -> list[nn.Module]:
    """ReLU layers on all embeddings."""
    first = shape.layer(f"mlp/{width}/0", lambda k: ops.Dense([shape.fields, k], width, of_k=[1]))
    rest = [shape.made.setdefault(f"mlp/{width}/{i}", nn.Linear(width, width)) for i in range(1, depth)]
    quiet = [nn.Dropout(shape.dropout)] if shape.dropout else []
    return [part for linear in (first, *rest) for part in (linear, nn.ReLU(), *quiet)]


def _pairs(given: Sequence[Sequence[str]] | str, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Places of both fields of each pair, by "a*b". ValueError on what is no pair of different fields."""
    if given == "all":
        given = list(combinations(names, 2))
    if isinstance(given, str) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in given):
        raise ValueError(f"pairs takes 'all', or a list of pairs like [a, b], not {given!r}")
    found: dict[str, tuple[int, int]] = {}
    for one, other in given:
        for name in (one, other):
            if name not in names:
                raise ValueError(f"pairs names {name!r}, and the fields are {', '.join(names)}")
        i, j = sorted((names.index(one), names.index(other)))
        if i == j or f"{names[i]}*{names[j]}" in found:
            raise ValueError(f"pairs takes different fields, each pair once, not {[one, other]!r}")
        found[f"{names[i]}*{names[j]}"] = (i, j)
    return found
