"""Recorded clips with a label each: classification of their log-mel spectrograms, which networks take for images."""

import torch

from winnow.core.errors import Refused
from winnow.data.inputs import audio, images
from winnow.data.loaders import Split
from winnow.tasks.classify import classification, fewer


def fewer_clips(split: Split, resolution: int, samples: float, generator: torch.Generator) -> Split:
    """Fewer clips, of every class alike. Refused where they are to be of a smaller resolution."""
    if resolution:
        raise Refused("audio_classification has no smaller resolution: leave search.trials.training.resolution 0")
    return fewer(split, samples, generator)


AUDIO = classification(
    "audio_classification",
    audio,
    lambda told: images.facts_of(told["shape"]),
    reads=audio.Spectrograms.reads,
    example=images.shape_of,
    inputs=audio.Spectrograms,
    reduced=fewer_clips,
)
