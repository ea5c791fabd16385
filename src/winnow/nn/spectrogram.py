"""A network for spectrograms that was made by hand, to hold a found one against."""

from torch import nn

from winnow.nn.blocks import conv_norm

WIDTHS = (16, 32, 64, 64)


def handmade(classes: int = 10, image_channels: int = 1) -> nn.Sequential:
    """Four convolutions, halved by pooling between them; the mean over time and bands says the word.

    (b, image_channels, bands, frames) to (b, classes), of any sides of 8 and more. Ours: nobody tuned it.
    """
    layers: list[nn.Module] = []
    for c_in, c_out in zip((image_channels, *WIDTHS), WIDTHS, strict=False):
        layers += [*conv_norm(c_in, c_out, 3, 1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers[:-1], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], classes))
