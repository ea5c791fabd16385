"""What a supernet is trained for."""

import torch.nn.functional as F
from torch import Tensor

from winnow.core.holes import Setting
from winnow.core.space import Space
from winnow.search.gradients import Objective
from winnow.train.evaluate import Batch
from winnow.train.fit import autocast


def cross_entropy(space: Space, precision: str = "fp32") -> Objective:
    """The mean cross-entropy in nats of a batch under a setting; forward passes in `precision` ("fp32" or "bf16")."""

    def loss(batch: Batch, setting: Setting) -> Tensor:
        x, y = batch
        with autocast(x.device, precision):
            scores = space(x, setting)
        return F.cross_entropy(scores.float(), y)

    return loss
