"""Small networks of every kind that space auto has to follow, on images (3, 16, 16)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv(c_in: int, c_out: int, kernel: int = 3, **options) -> nn.Sequential:
    layers = [nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False, **options), nn.BatchNorm2d(c_out)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


class Block(nn.Module):
    """Two convolutions around which the input passes, and a gate of squeeze and excitation."""

    def __init__(self, c: int):
        super().__init__()
        self.body = nn.Sequential(conv(c, c), nn.Conv2d(c, c, 3, padding=1), nn.BatchNorm2d(c))
        self.squeeze, self.excite = nn.Linear(c, 8), nn.Linear(8, c)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        gate = self.excite(F.relu(self.squeeze(y.mean((2, 3))))).sigmoid()
        return F.relu(x + y * gate[:, :, None, None])


class Residual(nn.Module):
    """A chain of three blocks; the head reads every place of the last map."""

    def __init__(self):
        super().__init__()
        self.stem, self.stage = conv(3, 16), nn.Sequential(Block(16), Block(16), Block(16))
        self.down, self.last, self.head = conv(16, 24, stride=4), Block(24), nn.Linear(24 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.last(self.down(self.stage(self.stem(x)))).flatten(1))


class Dense(nn.Module):
    """Every layer takes all that came before, concatenated."""

    def __init__(self):
        super().__init__()
        self.stem, self.one, self.two = conv(3, 8), conv(8, 12), conv(20, 16, 5)
        self.head = nn.Conv2d(36, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.cat([x, self.one(x)], 1)
        x = torch.cat([self.two(x), x], 1)
        return self.head(F.avg_pool2d(x, 4)).mean((2, 3))


class Inverted(nn.Module):
    """Expand, depthwise with an open kernel, project."""

    def __init__(self):
        super().__init__()
        self.stem, self.expand, self.depth = conv(3, 8), conv(8, 32, 1), conv(32, 32, 7, groups=32)
        self.project, self.head = nn.Conv2d(32, 8, 1), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.project(self.depth(self.expand(x)))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Grouped(nn.Module):
    """A grouped convolution that can lose whole groups, as in ResNeXt."""

    def __init__(self):
        super().__init__()
        self.stem, self.wide, self.narrow = conv(3, 32), conv(32, 32, groups=8), conv(32, 16, 1)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.narrow(self.wide(self.stem(x))).mean((2, 3)))


class Shuffled(nn.Module):
    """Grouped convolutions with a shuffle of channels between: all groups become narrower."""

    def __init__(self):
        super().__init__()
        self.stem, self.first, self.deep = conv(3, 16), conv(16, 64, 1, groups=4), conv(64, 64, 3, groups=64)
        self.second, self.head = conv(64, 32, 1, groups=4), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.stem(x))
        b, c, h, w = x.shape
        x = x.view(b, 4, c // 4, h, w).transpose(1, 2).reshape(b, c, h, w)
        return self.head(self.second(self.deep(x)).mean((2, 3)))


class Mlp(nn.Module):
    """A transformer's block without attention: the LayerNorm holds the outer width, the ratio is open."""

    def __init__(self, c: int):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(c), nn.Linear(c, 4 * c), nn.Linear(4 * c, c)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches, self.blocks = nn.Conv2d(3, 16, 4, 4), nn.ModuleList(Mlp(16) for _ in range(2))
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(1))


class Attention(nn.Module):
    """Code that counts: heads and widths are numbers in it."""

    def __init__(self, c: int, heads: int):
        super().__init__()
        self.heads, self.scale = heads, (c // heads) ** -0.5
        self.qkv, self.project = nn.Linear(c, 3 * c), nn.Linear(c, c)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        attended = (q @ k.transpose(-2, -1) * self.scale).softmax(-1) @ v
        return self.project(attended.transpose(1, 2).reshape(b, n, c))


class Encoder(nn.Module):
    def __init__(self, c: int, heads: int):
        super().__init__()
        self.norm, self.attention, self.mlp = nn.LayerNorm(c), Attention(c, heads), Mlp(c)

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(x + self.attention(self.norm(x)))


class Transformer(nn.Module):
    """A token and places that are parameters; heads are left out whole."""

    def __init__(self):
        super().__init__()
        self.patches, self.blocks = nn.Conv2d(3, 16, 4, 4), nn.Sequential(Encoder(16, 4), Encoder(16, 4))
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 16)), nn.Parameter(torch.randn(1, 17, 16))
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        return self.head(self.blocks(x)[:, 0])


class Half(nn.Module):
    """One half of the channels passes, the other is worked on; then they are shuffled."""

    def __init__(self, c: int):
        super().__init__()
        self.one, self.two = conv(c // 2, c // 2, 1), conv(c // 2, c // 2)

    def forward(self, x: Tensor) -> Tensor:
        passed, worked = x.chunk(2, dim=1)
        x = torch.cat([passed, self.two(self.one(worked))], 1)
        b, c, h, w = x.shape
        return x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)


class Halves(nn.Module):
    """Uneven halves, and slices at numbers of the code."""

    def __init__(self):
        super().__init__()
        self.stem, self.body = conv(3, 32), nn.Sequential(Half(32), Half(32))
        self.left, self.right, self.head = conv(20, 16), conv(12, 16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(self.stem(x))
        x = self.left(x[:, :20]) + self.right(x[:, 20:])
        return self.head(x.mean((2, 3)))


class Path(nn.Module):
    """Called with one map or two; the first channels of what it makes are added, the rest concatenated."""

    def __init__(self, c_in: int):
        super().__init__()
        self.work = conv(c_in, 24)

    def forward(self, x: Tensor, dense: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y = self.work(x if dense is None else torch.cat([x, dense], 1))
        more = y[:, 16:]
        return x + y[:, :16], more if dense is None else torch.cat([dense, more], 1)


class Paths(nn.Module):
    """Dual paths; then a loop over pieces of so many channels each."""

    def __init__(self):
        super().__init__()
        self.stem, self.one, self.two = conv(3, 16), Path(16), Path(24)
        self.mixed = nn.ModuleList([conv(12, 12, 3), conv(20, 20, 5)])
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        added, dense = self.one(self.stem(x))
        x = torch.cat(self.two(added, dense), 1)
        return self.head(self.mix(x).mean((2, 3)))

    def mix(self, x: Tensor) -> Tensor:
        return torch.cat([layer(piece) for piece, layer in zip(x.split([12, 20], 1), self.mixed, strict=True)], 1)


class Heads(nn.Module):
    """Groups of channels normalised, of which whole groups go; heads counted by `unflatten`."""

    def __init__(self):
        super().__init__()
        self.patches, self.groups, self.mix = nn.Conv2d(3, 32, 4, 4), nn.GroupNorm(8, 32), nn.Conv2d(32, 16, 1)
        self.norm, self.qkv, self.project = nn.LayerNorm(16), nn.Linear(16, 48), nn.Linear(16, 16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mix(F.relu(self.groups(self.patches(x)))).flatten(2).transpose(1, 2)
        q, k, v = (part.unflatten(-1, (4, -1)).transpose(1, 2) for part in self.qkv(self.norm(x)).chunk(3, -1))
        return self.head((x + self.project(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))).mean(1))


class Pixels(nn.Module):
    """Four channels become the four pixels of one; a weight that is computed from others holds what it takes."""

    def __init__(self):
        super().__init__()
        self.small, self.more, self.pixels, self.large = (
            conv(3, 16, stride=2),
            conv(16, 64),
            nn.PixelShuffle(2),
            conv(16, 24),
        )
        self.normal = nn.utils.parametrizations.weight_norm(nn.Conv2d(24, 16, 1))
        self.last, self.head = conv(16, 16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.large(self.pixels(self.more(self.small(x))))
        return self.head(self.last(self.normal(x)).mean((2, 3)))


NETWORKS = {  # each with some decisions that it must have
    Residual: {"stem/0/width", "stage/depth", "stage/0/body/0/0/width", "stage/1/squeeze/width", "down/0/width"},
    Dense: {"stem/0/width", "one/0/width", "two/0/width", "two/0/kernel"},
    Inverted: {"stem/0/width", "expand/0/width", "depth/0/kernel"},
    Grouped: {"stem/0/width", "narrow/0/width"},
    Shuffled: {"stem/0/width", "first/0/width", "second/0/width"},
    Mixer: {"blocks/0/up/width", "blocks/depth"},
    Transformer: {"blocks/0/attention/qkv/width", "blocks/1/mlp/up/width", "blocks/depth"},
    Halves: {"stem/0/width", "body/0/one/0/width", "left/0/width"},
    Paths: {"one/work/0/width", "mixed/0/0/width", "mixed/1/0/width"},
    Heads: {"patches/width", "qkv/width"},
    Pixels: {"small/0/width", "more/0/width", "last/0/width"},
}
