"""SED: does a topology suppress the decrease of local entropy? A reconstruction (Wu et al. 2024, arXiv:2411.06236).

What is known of the paper: large pools, small kernels and many skip connections lower the entropy of neighbouring
pixels, accuracy falls with it, and the score reads the topology alone. Its formula was not available. This reading
adds up, over what lies on a path from image to logits, (k + 1) / 2 for a convolution of kernel k, -(k - 1) / 2 for a
pool, and 0 for a skip connection, in the proportions 2 : 1 : 0 : -1 for the operations of NAS-Bench-201. Numbers
reached with it are not the paper's.
"""

import math

from torch import nn

from winnow.core.errors import Refused
from winnow.core.graph import Graph
from winnow.proxies.common import Batch, settled
from winnow.proxies.live import live_modules

READ = nn.Conv2d | nn.AvgPool2d | nn.MaxPool2d
NB201 = {"nor_conv_3x3": 2, "nor_conv_1x1": 1, "skip_connect": 0, "avg_pool_3x3": -1}


def sed(model: nn.Module, batch: Batch) -> float:
    """The sum over the live convolutions and pools (modules) of any network; the batch gives the images' shape.

    Strides, groups and global pools do not enter. On a network of NAS-Bench-201 it orders as `sed_cell` does. Refused
    where a way leads to the logits without any: a transformer has no kernels, and each would score 0.
    """
    live = live_modules(model, batch[0])
    if live and not any(isinstance(module, READ) for module in live):
        raise Refused("sed reads kernels of convolutions and pools, and this network has none on its way to the logits")
    return settled(sum(map(_gain, live)) if live else -math.inf)


def sed_cell(cell: Graph) -> float:
    """The same of a NAS-Bench-201 cell alone, without a network; -inf where nothing comes through."""
    live = cell.live()
    return float(sum(_known(op) for _, _, op in live)) if live else -math.inf


def sed_paths(cell: Graph) -> float:
    """Path by path: an operation on several paths counts once for each. -inf where nothing comes through."""
    paths = list(cell.paths())
    return float(sum(_known(op) for path in paths for _, _, op in path)) if paths else -math.inf


def _gain(module: nn.Module) -> float:
    if isinstance(module, nn.Conv2d):
        return (_side(module.kernel_size) + 1) / 2
    if isinstance(module, nn.AvgPool2d | nn.MaxPool2d):
        return -(_side(module.kernel_size) - 1) / 2
    return 0.0


def _side(kernel: int | tuple[int, ...]) -> float:
    return float(kernel) if isinstance(kernel, int) else math.sqrt(math.prod(kernel))


def _known(op: str) -> int:
    if op not in NB201:
        raise Refused(f"SED of a cell knows {', '.join(NB201)}, not {op!r}: score the network itself")
    return NB201[op]
