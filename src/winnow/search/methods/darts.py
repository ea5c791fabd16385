"""DARTS: differentiable architecture search (Liu et al. 2019, arXiv:1806.09055)."""

from typing import Literal

from winnow.search.bench import Bench, Found
from winnow.search.bilevel import bilevel
from winnow.search.gradients import Gradient, first_order, second_order
from winnow.search.mixture import Parts
from winnow.search.recipe import Recipe
from winnow.search.strategy import Run, strategy

ORDERS: dict[str, Gradient] = {"first": first_order, "second": second_order}


def unfit(run: Run, *, order: str = "first") -> str | None:
    if order == "second" and run.precision == "bf16":
        return "order: second takes differences that bf16 rounds away; use search.precision fp32"
    if order == "second" and run.optimiser != "sgd":
        return f"order: second looks a step of SGD ahead, and search.optimiser is {run.optimiser}; use sgd, or first"
    if order == "second" and run.processes > 1:
        return "order: second looks ahead from one process' share of a batch; set runtime.processes to 1, or use first"
    return None


@strategy("logits mixture children distribution", objection=unfit, shared=True)
def darts(bench: Bench, recipe: Recipe, *, order: Literal["first", "second"] = "first") -> Found:
    """Train weights and logits in turns, the first on `train`, the second on `valid`.

    `order` is "first" (xi = 0) or "second": one unrolled step, about four times the work.
    """
    return bilevel(bench, recipe, parts=lambda epoch: Parts(gradient=ORDERS[order]))
