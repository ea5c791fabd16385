"""Pieces of a vision transformer. Parameters with an axis of the tokens' width name it in `narrow`."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STD = 0.02  # of what is no layer, as it begins


class Patches(nn.Module):
    """Images (b, c, h, w) as rows of pixels (b, patches, c · side²), the patches row by row."""

    def __init__(self, side: int):
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        pieces = x.reshape(b, c, h // self.side, self.side, w // self.side, self.side)
        return pieces.permute(0, 2, 4, 1, 3, 5).reshape(b, -1, c * self.side**2)


class Placed(nn.Module):
    """Tokens (b, n, d) behind one that is learnt, to each of which a vector of its place is added: (b, 1 + n, d)."""

    narrow: ClassVar = {"token": (2,), "places": (2,)}

    def __init__(self, tokens: int, d: int):
        super().__init__()
        self.token, self.places = nn.Parameter(torch.empty(1, 1, d)), nn.Parameter(torch.empty(1, 1 + tokens, d))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        for parameter in (self.token, self.places):
            nn.init.trunc_normal_(parameter, std=STD)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places


class Normed(nn.LayerNorm):
    """LayerNorm over as many channels as come."""

    narrow: ClassVar = {"weight": (0,), "bias": (0,)}

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)


class RelativePlaces(nn.Module):
    """Attention of heads that know how far apart two patches lie (Shaw et al. 2018; in rows and columns, AutoFormer).

    Queries, keys and values (b, heads, 1 + patches, width) give (b, heads, 1 + patches, width). Row i of a table is a
    distance of i - reach - 1, cut off at `reach`; row 0 is of all pairs with the first token, which has no place.
    """

    def __init__(self, grid: tuple[int, int], width: int, reach: int):
        super().__init__()
        self.grid, self.reach = grid, reach
        self.keys = nn.Parameter(torch.empty(2, 2 * reach + 2, width))  # rows, columns
        self.values = nn.Parameter(torch.empty(2, 2 * reach + 2, width))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        for parameter in (self.keys, self.values):
            nn.init.trunc_normal_(parameter, std=STD)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        b, heads, n, width = q.shape
        to_keys, to_values = (self._between(tables) for tables in (self.keys, self.values))  # (n, n, width)
        q = q * width**-0.5
        placed = q.permute(2, 0, 1, 3).reshape(n, b * heads, width) @ to_keys.transpose(1, 2)
        attended = (q @ k.transpose(2, 3) + _back(placed, b)).softmax(-1)
        moved = attended.permute(2, 0, 1, 3).reshape(n, b * heads, n) @ to_values
        return attended @ v + _back(moved, b)

    def _between(self, tables: Tensor) -> Tensor:
        """What is added for each pair of tokens."""
        rows, columns = self.places(tables.device)
        found = tables[0].index_select(0, rows.flatten()) + tables[1].index_select(0, columns.flatten())
        return found.reshape(*rows.shape, -1)

    def places(self, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        """Rows of the tables, (tokens, tokens) of each."""
        height, width = self.grid
        rows = torch.arange(height, device=device).repeat_interleave(width)
        columns = torch.arange(width, device=device).repeat(height)
        far = ((each[None] - each[:, None]).clamp(-self.reach, self.reach) for each in (rows, columns))
        first, second = (F.pad(each + self.reach + 1, (1, 0, 1, 0)) for each in far)
        return first, second

    def multiplications(self, q: Tensor, k: Tensor, v: Tensor) -> int:
        _, heads, n, width = q.shape
        return 4 * heads * n * n * width


def _back(x: Tensor, b: int) -> Tensor:
    """(tokens, b · heads, m) as (b, heads, tokens, m)"""
    return x.reshape(x.shape[0], b, -1, x.shape[2]).permute(1, 2, 0, 3)


class Attention(nn.Module):
    """Tokens (b, n, d) that look at each other. Channels of `qkv` are query, key, value, query, ...: a head's are the
    same however many heads there are.
    """

    def __init__(self, qkv: nn.Module, inner: nn.Module, project: nn.Module, width: int):
        super().__init__()
        self.qkv, self.inner, self.project, self.width = qkv, inner, project, width

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, n, -1, self.width, 3).permute(4, 0, 2, 1, 3)
        return self.project(self.inner(q, k, v).transpose(1, 2).reshape(b, n, -1))


class MeanOfPatches(nn.Module):
    """The mean of all tokens but the first, (b, d)."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 1:].mean(1)
