"""Log-mel spectrograms of clips, in torch alone, on the clips' device."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from winnow.core.errors import Refused

FLOOR = 1e-6  # of a clip's mean power, -60 dB: what is quieter is not told from silence


@dataclass(frozen=True)
class Shape:
    """What a spectrogram is made of: `rate` in hertz, `samples` a clip, `window` and `hop` in samples, `mels` bands."""

    rate: int
    samples: int
    window: int
    hop: int
    mels: int

    @property
    def frames(self) -> int:
        """Windows that lie whole in a clip."""
        return 1 + (self.samples - self.window) // self.hop


def shape_of(rate: int, samples: int, window_ms: float, hop_ms: float, mels: int) -> Shape:
    """Windows and hops in whole samples. Refused where a clip holds no window, and a band no frequency."""
    window, hop = round(window_ms * rate / 1000), max(1, round(hop_ms * rate / 1000))
    if not 2 <= window <= samples:
        raise Refused(
            f"a window of {window_ms:g} ms is {window} samples at {rate} Hz; it takes 2 to the {samples} of a clip"
        )
    shape = Shape(rate, samples, window, hop, mels)
    if empty := int((filter_bank(shape).sum(1) == 0).sum()):
        raise Refused(
            f"{empty} of {mels} mel bands hold no frequency of a window of {window_ms:g} ms at {rate} Hz; "
            "take fewer bands, or a longer window"
        )
    return shape


def mel(hertz: float) -> float:
    """Source: O'Shaughnessy 1987, Speech Communication: Human and Machine; 1000 Hz are 1000 mel."""
    return 2595 * math.log10(1 + hertz / 700)


def hertz(mels: float) -> float:
    return 700 * (10 ** (mels / 2595) - 1)


def filter_bank(shape: Shape) -> Tensor:
    """(bands, window // 2 + 1): triangles of height 1 over the frequencies of a window's transform.

    Their feet and peaks are equally far apart in mel, from 0 to half the rate; each begins at the peak before.
    Source: Davis and Mermelstein 1980.
    """
    top = mel(shape.rate / 2)
    corners = [hertz(top * i / (shape.mels + 1)) for i in range(shape.mels + 2)]
    low, peak, high = (torch.tensor(corners[i : i + shape.mels], dtype=torch.float64)[:, None] for i in range(3))
    bins = torch.arange(shape.window // 2 + 1, dtype=torch.float64) * shape.rate / shape.window
    rising, falling = (bins - low) / (peak - low), (high - bins) / (high - peak)
    return torch.minimum(rising, falling).clamp(min=0).float()


def power(clips: Tensor, shape: Shape) -> Tensor:
    """(b, frames, window // 2 + 1): squared size of the transform of each Hann window over the sum of its squares.

    White noise of variance v has the mean v in every bin, whatever the window. `clips`: (b, samples).
    """
    hann = torch.hann_window(shape.window, device=clips.device)
    spectrum = torch.fft.rfft(clips.unfold(1, shape.window, shape.hop) * hann)
    return spectrum.abs().square() / hann.square().sum()


def log_mel(clips: Tensor, shape: Shape, bank: Tensor) -> Tensor:
    """(b, bands, frames) float32: the natural logarithm of each band's power. `clips`: (b, samples) int16.

    Each clip is brought to the mean power 1 before: a speaker's distance and a recorder's gain tell nothing.
    """
    clips = clips.float()
    clips = clips / clips.square().mean(1, keepdim=True).sqrt().clamp(min=1)  # 1: of 16 bits; silence stays silence
    bands = power(clips, shape) @ bank.T
    return (bands + FLOOR).log().transpose(1, 2)


def moments(clips: Iterable[Tensor], shape: Shape) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each band over all frames of batches of clips (b, samples) int16."""
    bank, count = filter_bank(shape), 0
    total, squares = torch.zeros(2, shape.mels, dtype=torch.float64)
    for batch in clips:
        x = log_mel(batch, shape, bank).double()
        count += x.shape[0] * x.shape[2]
        total += x.sum((0, 2))
        squares += x.square().sum((0, 2))
    mean = total / count
    return mean.tolist(), (squares / count - mean.square()).clamp(min=0).sqrt().tolist()
