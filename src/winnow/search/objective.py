"""What a supernet is trained for."""

from torch import Tensor, nn

from winnow.core.errors import Refused
from winnow.core.holes import Setting
from winnow.core.space import Space
from winnow.search.gradients import Objective
from winnow.train.criteria import outputs_and_loss
from winnow.train.evaluate import Batch
from winnow.train.fit import autocast


def objective(space: Space, criterion: nn.Module, precision: str = "fp32") -> Objective:
    """The loss of a batch under a setting by `criterion`; forward passes in `precision` ("fp32" or "bf16").

    Refused where the criterion learns: whoever trains a supernet trains the weights of its space.
    """
    if any(True for _ in criterion.parameters()):
        kind = type(criterion).__name__
        raise Refused(f"{kind} has weights of its own, which a supernet does not train: search with strategy trials")

    def loss(batch: Batch, setting: Setting) -> Tensor:
        x, y = batch
        with autocast(x.device, precision):
            output = space(x, setting)
        return outputs_and_loss(output, y, criterion)[1]

    return loss
