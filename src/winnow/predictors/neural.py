"""How the networks among the predictors are trained: several at once from different starts; their mean and spread."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from winnow.predictors.protocol import Numbers, Predict, Prediction

Built = TypeVar("Built", bound=nn.Module)
MEMBERS, STEPS, BATCH, DECAY = 5, 800, 64, 1e-2


def ensemble(build: Callable[[], nn.Module], x: np.ndarray, y: Numbers, seed: int, *, lr: float) -> Predict:
    """Fit networks of `build()`, which map encodings to (batch,), to standardised values.

    AdamW with a cosine schedule; all members in one computation, each with its own batches and initial weights. The
    networks must not keep buffers.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs, centre, spread = torch.as_tensor(x, dtype=torch.float32), float(y.mean()), float(y.std()) or 1.0
    wanted = torch.as_tensor((y - centre) / spread, dtype=torch.float32)
    members = [fresh(build, generator) for _ in range(MEMBERS)]
    weights, _ = stack_module_state(members)

    def one(own: dict[str, Tensor], rows: Tensor) -> Tensor:
        return functional_call(members[0], own, (rows,))

    optimiser = torch.optim.AdamW(weights.values(), lr, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        rows = torch.stack([torch.randperm(len(x), generator=generator)[:BATCH] for _ in members])
        loss = (vmap(one)(weights, inputs[rows]) - wanted[rows]).square().mean(1).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()

    @torch.no_grad()
    def predict(new: np.ndarray) -> Prediction:
        parts = torch.as_tensor(new, dtype=torch.float32).split(2048)
        each = torch.cat([vmap(one, (0, None))(weights, part) for part in parts], 1).double().numpy()
        return Prediction(centre + spread * each.mean(0), spread * each.std(0, ddof=1))

    return predict


def fresh(build: Callable[[], Built], generator: torch.Generator) -> Built:
    """`build()` with Kaiming-normal weights, norms at one and everything else at zero."""
    with torch.device("meta"):
        model = build()
    model = model.to_empty(device="cpu")
    with torch.no_grad():
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.dim() > 1:
                    nn.init.kaiming_normal_(parameter, nonlinearity="relu", generator=generator)
                else:
                    parameter.fill_(float(isinstance(module, nn.LayerNorm) and name == "weight"))
    return model
