"""What a long loop tells while it runs; a stage overrides it to show progress and record curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from winnow.core.errors import Refused


class Diverged(Refused):
    """The loss is not finite. A trial that diverges has failed; anything else has nothing to go on with."""


class Watch:
    """Does nothing, which is what tests and library callers want."""

    def start(self, label: str, steps: int) -> None:
        """`steps` steps of `label` begin."""

    def follow(self, logits: Mapping[str, Tensor]) -> None:
        """The logits that the loop trains; a watch that ends it may put earlier values back."""

    def step(self, steps: int = 1) -> None:
        """So many steps are done."""

    def epoch(
        self, epoch: int, metrics: Mapping[str, float], weights: Mapping[str, Tensor] | None = None
    ) -> bool | None:
        """Epoch `epoch` (from 0) ended with `metrics`; `weights` is the mixture per decision, where there is one.

        What returns True asks to stop here.
        """
        return None

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on as if from where `state()` was taken."""


def check_finite(loss: Tensor, epoch: int, step: int, lr: float, section: str) -> None:
    """Refused where a loss is NaN or infinite, naming the step, the learning rate and what to try.

    On an accelerator only every twentieth step is looked at, as a look waits for it; `epoch_loss` sees the others.
    """
    if (loss.device.type == "cpu" or step % 20 == 0) and not loss.isfinite():
        raise _diverged(loss.item(), epoch, step, lr, section)


def epoch_loss(losses: Sequence[Tensor], epoch: int, lr: float, section: str) -> float:
    """The mean of an epoch's losses, one a step; Refused, as by `check_finite`, where one is not finite."""
    values = torch.stack(tuple(losses)).cpu()
    lost = (~values.isfinite()).nonzero().flatten().tolist()
    if lost:
        raise _diverged(values[lost[0]].item(), epoch, lost[0], lr, section)
    return float(values.mean())


def _diverged(loss: float, epoch: int, step: int, lr: float, section: str) -> Diverged:
    return Diverged(
        f"the loss is {loss} at epoch {epoch}, step {step}, with learning rate {lr:.4g}: "
        f"lower {section}.lr, lower {section}.clip, or set {section}.precision to fp32"
    )
