"""The layers of a user's network that can be cut to some of their channels."""

import copy

from torch import Tensor, nn

from winnow.holes.cut import CONVOLUTIONS, NORMS

CHANNELS = (*NORMS, nn.GroupNorm, nn.PReLU)  # work on each channel, or group of them, by itself
DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
KNOWN = (*CONVOLUTIONS, *CHANNELS, nn.Linear, nn.LayerNorm)


def is_layer(module: nn.Module) -> bool:
    """Whether it computes as torch's own class does, with weights that are plain parameters."""
    base = next((known for known in KNOWN if isinstance(module, known)), None)
    if base is None or type(module).forward is not base.forward:
        return False
    if isinstance(module, CONVOLUTIONS) and type(module)._conv_forward is not base._conv_forward:  # type: ignore[union-attr]
        return False
    if isinstance(module, nn.PReLU) and module.num_parameters == 1:
        return False
    return {"weight"} <= set(module._parameters) <= {"weight", "bias"}  # one that is computed is no parameter


def copied(net: nn.Module) -> nn.Module:
    """A copy of `net`; what hooks computed from its weights, as those of weight_norm do, they compute anew."""
    memo: dict[int, object] = {}
    for module in net.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and value.grad_fn is not None:
                memo[id(value)] = value.detach()
    return copy.deepcopy(net, memo)
