"""Recorded clips: log-mel spectrograms normalised by band, augmented a whole batch at once on its device.

Every clip has its own numbers, drawn before an epoch starts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from winnow.core.errors import Refused
from winnow.core.options import NotNegative, Weight
from winnow.data.log_mel import Shape, filter_bank, log_mel, moments, shape_of
from winnow.data.source import Columns, Source

CLIP = "clip"  # the column: int16 (samples,)
SEEN = {"mels": 32, "window_ms": 32.0, "hop_ms": 16.0}  # facts of a spectrogram, where the source says nothing else
AT_ONCE = 512  # clips whose spectrograms are in memory while moments are taken


@dataclass(frozen=True)
class Augment:
    """`shift_ms`: the largest shift either way; `frames` and `bands`: the widest mask of each. 0: none.

    Source of the masks: SpecAugment, Park et al. 2019, arXiv:1904.08779, section 2 (without its time warping).
    """

    shift_ms: float = 0.0
    frames: int = 0
    bands: int = 0


class Spectrograms:
    """x (b, 1, bands, frames) float32: log-mel power, minus the mean, over the standard deviation by band.

    `facts` are those of `checked` and `learnt`. Refused where `augment` has more than a clip.
    """

    reads = (CLIP,)

    def __init__(self, facts: Mapping[str, Any], augment: Augment | None = None):
        self.shape, augment = _shape(facts), augment or Augment()
        self.shift, self.augment = round(augment.shift_ms * self.shape.rate / 1000), augment
        limits = {"frames": self.shape.frames, "bands": self.shape.mels}
        wrong = {name: most for name, most in limits.items() if not 0 <= getattr(augment, name) < most}
        for name, most in wrong.items():
            raise Refused(f"augmentation {name} takes 0 to {most - 1} of {most}; got {getattr(augment, name)}")
        if not 0 <= self.shift < self.shape.samples:
            longest = 1000 * self.shape.samples / self.shape.rate
            raise Refused(f"augmentation shift_ms takes 0 to less than the clip's {longest:g}; got {augment.shift_ms}")
        self.bank = filter_bank(self.shape)
        self.moments = torch.tensor([facts["mean"], facts["std"]])[:, :, None]
        if self.moments.shape[1] != self.shape.mels:
            raise ValueError(f"{self.moments.shape[1]} means and deviations of {self.shape.mels} bands")
        self.moments[1][self.moments[1] == 0] = 1  # a band of one value becomes 0, not NaN

    def draw(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Shifts (n,) in samples; masks of frames and of bands (n, 2): the first one and the one behind the last."""
        draws = {}
        if self.shift:
            draws["shifts"] = torch.randint(-self.shift, self.shift + 1, (count,), generator=generator)
        for name, size in (("frames", self.shape.frames), ("bands", self.shape.mels)):
            if widest := getattr(self.augment, name):
                draws[name] = _spans(count, widest, size, generator)
        return draws

    def make(self, columns: Mapping[str, Tensor], draws: Mapping[str, Tensor]) -> Tensor:
        clips = columns[CLIP]
        if self.bank.device != clips.device:
            self.bank, self.moments = self.bank.to(clips.device), self.moments.to(clips.device)
        if "shifts" in draws:
            clips = shifted(clips, draws["shifts"], self.shift)
        x = log_mel(clips, self.shape, self.bank).sub_(self.moments[0]).div_(self.moments[1])[:, None]
        for name, axis in (("bands", 2), ("frames", 3)):
            if name in draws:
                masked(x, draws[name], axis)
        return x


def augmented(
    facts: Mapping[str, Any],
    *,
    shift_ms: Weight | None = None,
    frames: NotNegative | None = None,
    bands: NotNegative | None = None,
) -> Augment:
    """Unsaid (None): shifts of a tenth of the clip, masks of a tenth of the frames and bands."""
    shape = _shape(facts)
    return Augment(
        100 * shape.samples / shape.rate if shift_ms is None else shift_ms,
        shape.frames // 10 if frames is None else frames,
        shape.mels // 10 if bands is None else bands,
    )


def checked(source: Source) -> Source:
    """The source with the facts of its spectrograms; Refused where its clips are none."""
    lengths = {}
    for name, part in source.parts().items():
        if CLIP not in part.columns:
            raise Refused(f"the {name} part has columns {', '.join(part.columns)} and no {CLIP!r}")
        clips = part.columns[CLIP]
        if clips.ndim != 2 or clips.dtype != np.int16:
            raise Refused(
                f"the {name} clips are {clips.dtype} of shape {clips.shape}; it takes int16 (clips, samples), full "
                "scale 32768"
            )
        lengths[name] = clips.shape[1]
        if flat := np.flatnonzero(clips.min(1) == clips.max(1)).tolist():
            raise Refused(f"{len(flat)} {name} clip(s) are silent, the first at row {flat[0]}; leave them out")
    if len(set(lengths.values())) > 1:
        raise Refused(f"training clips have {lengths['train']} samples, test clips {lengths['test']}; give them one")
    rate = source.facts.get("rate")
    if type(rate) is not int or rate < 1:
        raise Refused(f"the source's fact rate is {rate!r}; it takes the sampling rate in hertz, a whole number")
    facts = {**SEEN, **source.facts}
    shape_of(rate, lengths["train"], facts["window_ms"], facts["hop_ms"], facts["mels"])
    return replace(source, facts={**facts, "samples": lengths["train"]})


def learnt(parts: Sequence[Columns], facts: Mapping[str, Any]) -> dict[str, Any]:
    """`shape` of a spectrogram, and `mean` and `std` of each band over all clips of `parts`."""
    shape = _shape(facts)
    clips = (torch.from_numpy(batch.copy()) for part in parts for batch in _batches(part[CLIP]))
    mean, std = moments(clips, shape)
    return {"shape": [1, shape.mels, shape.frames], "mean": mean, "std": std}


def _batches(clips: np.ndarray) -> list[np.ndarray]:
    return np.array_split(clips, len(clips) // AT_ONCE + 1)


def _shape(facts: Mapping[str, Any]) -> Shape:
    return shape_of(facts["rate"], facts["samples"], facts["window_ms"], facts["hop_ms"], facts["mels"])


def shifted(clips: Tensor, shifts: Tensor, most: int) -> Tensor:
    """Each clip (b, samples) later by its number of samples, up to `most`, earlier where negative; silence comes in."""
    places = torch.arange(clips.shape[1], device=clips.device) + most - shifts[:, None]
    return functional.pad(clips, (most, most)).gather(1, places)


def masked(x: Tensor, spans: Tensor, axis: int) -> Tensor:
    """Zero, in place, the span of each spectrogram along `axis`. x: (b, 1, bands, frames), spans: (b, 2)."""
    places = torch.arange(x.shape[axis], device=x.device)
    inside = (places >= spans[:, :1]) & (places < spans[:, 1:])
    return x.mul_(~(inside[:, None, :, None] if axis == 2 else inside[:, None, None, :]))


def _spans(count: int, widest: int, size: int, generator: torch.Generator) -> Tensor:
    """(count, 2): masks of 0 to `widest` of `size` places, each width as likely, anywhere that they fit."""
    widths = torch.randint(0, widest + 1, (count,), generator=generator)
    starts = (torch.rand(count, generator=generator) * (size - widths + 1)).long()
    return torch.stack([starts, starts + widths], 1)
