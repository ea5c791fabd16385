"""A task that nobody has: how bright an image is, told in grey levels; less error is better. And a source for it."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from winnow.data.deal import at_random
from winnow.data.inputs import images
from winnow.data.source import Options, Part, Source
from winnow.tasks.task import Metric, Returned, Task


def squares(options: Options) -> Source:
    """240 images 1x8x8, each of one brightness with noise."""
    rng = np.random.default_rng(options.seed)
    level = rng.uniform(60, 180, 240).astype(np.float32)
    pixels = np.clip(level[:, None, None, None] + rng.normal(0, 8, (240, 1, 8, 8)), 0, 255).astype(np.uint8)
    return Source(Part({"image": pixels, "level": level / 255}), None)


def measure(outputs, answers):
    return {"error": float(torch.cat([each(o, y) for o, y in zip(outputs, answers, strict=True)]).mean())}


def each(outputs, answers):
    return 255 * (outputs[:, 0] - answers).abs()


class SquaredError(nn.Module):
    def forward(self, outputs, answers):
        return functional.mse_loss(outputs[:, 0], answers)


BRIGHTNESS = Task(
    name="tests.tasks.planted:BRIGHTNESS",
    reads=images.Images.reads,
    target="level",
    metrics={"error": Metric("minimize", low=0.0)},
    check=images.checked,
    learnt=images.learnt,
    augment=lambda facts: images.Augment(),
    deal=lambda columns, facts, fractions, rng, limit: at_random(len(columns["level"]), fractions, rng),
    facts=lambda told: {"classes": 1, **images.facts_of(told["shape"])},
    example=images.shape_of,
    returned=lambda facts: Returned((1,), "one number a row, (batch, 1)", lambda rows: torch.linspace(0, 1, rows)),
    inputs=images.Images,
    criterion=lambda facts, seed: SquaredError(),
    imitate=functional.mse_loss,
    answer=lambda outputs: 255 * outputs[:, 0],
    measure=measure,
    each=each,
)
