"""The layers of a user's network that can be cut to some of their channels."""

from torch import nn

from winnow.holes.cut import CONVOLUTIONS, NORMS

CHANNELS = (*NORMS, nn.PReLU)  # work on each channel by itself
DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
KNOWN = (*CONVOLUTIONS, *NORMS, nn.PReLU, nn.Linear, nn.LayerNorm)


def is_layer(module: nn.Module) -> bool:
    """Whether it computes as torch's own class does, with weights that are plain parameters."""
    base = next((known for known in KNOWN if isinstance(module, known)), None)
    if base is None or type(module).forward is not base.forward:
        return False
    if isinstance(module, CONVOLUTIONS) and type(module)._conv_forward is not base._conv_forward:  # type: ignore[union-attr]
        return False
    if isinstance(module, nn.PReLU) and module.num_parameters == 1:
        return False
    return not set(module._parameters) - {"weight", "bias"}
