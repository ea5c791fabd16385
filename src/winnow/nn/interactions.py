"""How fields of a table interact: embeddings (batch, fields, k), and what is made of every pair or of all of them.

Sources: PNN, Qu et al. 2016, arXiv:1611.00144 (kernels of outer products: their public code, 2018); DCN, Wang et al.
2017, arXiv:1708.05123, and 2021, arXiv:2008.13535. Parameters with an axis of k name it in `narrow`: a smaller k is the
beginning of a larger one.
"""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NEAR_ZERO = 0.01  # deviation of kernels from that of a plain product, as they begin


class Products(nn.Module):
    """Of every pair i < j of fields, in lexicographic order, or of the `pairs` given, what `of` makes: (b, pairs)."""

    places: Tensor

    def __init__(self, fields: int, pairs: Sequence[tuple[int, int]] | None = None):
        super().__init__()
        every = [(i, j) for i in range(fields) for j in range(i + 1, fields)]
        self.pairs = every if pairs is None else list(pairs)
        self.register_buffer("places", torch.empty(2, len(self.pairs), dtype=torch.long))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        self.places.copy_(torch.tensor(self.pairs, dtype=torch.long).T.reshape(2, -1))

    def both(self, e: Tensor) -> tuple[Tensor, Tensor]:
        """The two vectors of each pair, (b, pairs, k)."""
        return e.index_select(1, self.places[0]), e.index_select(1, self.places[1])


class Inner(Products):
    """e_i . e_j (IPNN). No weights."""

    def __init__(self, fields: int, pairs: Sequence[tuple[int, int]] | None = None):
        super().__init__(fields, pairs)
        self.reset_parameters()

    def forward(self, e: Tensor) -> Tensor:
        every = torch.bmm(e, e.transpose(1, 2)).flatten(1)
        return every.index_select(1, self.places[0] * e.shape[1] + self.places[1])

    def multiplications(self, e: Tensor) -> int:
        return len(self.pairs) * e.shape[-1]


class Vector(Products):
    """sum_a v_ij,a e_i,a e_j,a: the outer product with a diagonal kernel."""

    narrow: ClassVar = {"weight": (1,)}

    def __init__(self, fields: int, k: int):
        super().__init__(fields)
        self.weight = nn.Parameter(torch.empty(len(self.pairs), k))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        super().reset_parameters()
        nn.init.normal_(self.weight, 1, NEAR_ZERO)

    def forward(self, e: Tensor) -> Tensor:
        one, other = self.both(e)
        return (one * other * self.weight).sum(-1)

    def multiplications(self, e: Tensor) -> int:
        return 2 * self.weight.shape[0] * e.shape[-1]


class Matrix(Products):
    """e_i' W_ij e_j: the outer product with a full kernel (KPNN)."""

    narrow: ClassVar = {"weight": (1, 2)}

    def __init__(self, fields: int, k: int):
        super().__init__(fields)
        self.weight = nn.Parameter(torch.empty(len(self.pairs), k, k))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        super().reset_parameters()
        nn.init.normal_(self.weight, 0, NEAR_ZERO)
        self.weight.add_(torch.eye(self.weight.shape[1]))

    def forward(self, e: Tensor) -> Tensor:
        one, other = self.both(e)
        turned = torch.matmul(one.transpose(0, 1), self.weight).transpose(0, 1)
        return (turned * other).sum(-1)

    def multiplications(self, e: Tensor) -> int:
        return self.weight.shape[0] * e.shape[-1] * (e.shape[-1] + 1)


class OuterSum(nn.Module):
    """(sum_f e_f)(sum_f e_f)', flat (b, k k): the published trick (OPNN), with i = j and both orders. No weights."""

    def forward(self, e: Tensor) -> Tensor:
        total = e.sum(1)
        return (total[:, :, None] * total[:, None, :]).flatten(1)

    def multiplications(self, e: Tensor) -> int:
        return e.shape[-1] ** 2


class Cross(nn.Module):
    """A layer of DCN: x0 (w'x) + b + x, all (b, fields, k)."""

    narrow: ClassVar = {"weight": (1,), "bias": (1,)}

    def __init__(self, fields: int, k: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(fields, k)), nn.Parameter(torch.empty(fields, k))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        bound = 1 / math.sqrt(max(1, self.weight.numel()))
        nn.init.uniform_(self.weight, -bound, bound)
        self.bias.zero_()

    def forward(self, x0: Tensor, x: Tensor) -> Tensor:
        along = (x.flatten(1) * self.weight.flatten()).sum(1)
        return x0 * along[:, None, None] + self.bias + x

    def multiplications(self, x0: Tensor, x: Tensor) -> int:
        return 2 * x[0].numel()


class Cross2(nn.Module):
    """A layer of DCN-V2: x0 * (W x + b) + x, all (b, fields, k)."""

    narrow: ClassVar = {"weight": (1, 3), "bias": (1,)}

    def __init__(self, fields: int, k: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(fields, k, fields, k))
        self.bias = nn.Parameter(torch.empty(fields, k))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        bound = 1 / math.sqrt(max(1, self.bias.numel()))
        nn.init.uniform_(self.weight, -bound, bound)
        self.bias.zero_()

    def forward(self, x0: Tensor, x: Tensor) -> Tensor:
        size = x[0].numel()
        turned = F.linear(x.flatten(1), self.weight.reshape(size, size), self.bias.flatten())
        return x0 * turned.view_as(x) + x

    def multiplications(self, x0: Tensor, x: Tensor) -> int:
        return x[0].numel() ** 2 + x[0].numel()


class Crosses(nn.Module):
    """Layers of a cross network, one after another; flat (b, fields k)."""

    def __init__(self, layers: Sequence[nn.Module]):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, e: Tensor) -> Tensor:
        x = e
        for layer in self.layers:
            x = layer(e, x)
        return x.flatten(1)


class Dense(nn.Module):
    """A linear layer over inputs of some axes (b, *inputs), some of them of k; (b, outputs)."""

    def __init__(self, inputs: Sequence[int], outputs: int, bias: bool = True, of_k: Sequence[int] = ()):
        super().__init__()
        self.narrow = {"weight": tuple(axis + 1 for axis in of_k)}
        self.weight = nn.Parameter(torch.empty(outputs, *inputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        bound = 1 / math.sqrt(max(1, self.weight[0].numel()))
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.flatten(1), self.weight.flatten(1), self.bias)

    def multiplications(self, x: Tensor) -> int:
        return self.weight.numel()


class Normed(nn.Module):
    """A layer norm over inputs of some axes, some of them of k: products have another scale than embeddings."""

    def __init__(self, inputs: Sequence[int], of_k: Sequence[int] = ()):
        super().__init__()
        self.narrow = {"weight": tuple(of_k), "bias": tuple(of_k)}
        self.weight, self.bias = nn.Parameter(torch.empty(*inputs)), nn.Parameter(torch.empty(*inputs))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        self.weight.fill_(1)
        self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.flatten(1), (self.weight.numel(),), self.weight.flatten(), self.bias.flatten())


class Bias(nn.Module):
    """What is added to all rows."""

    def __init__(self, outputs: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(outputs))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias
