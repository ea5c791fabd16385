"""Two-temperature subset selection, after Colombo & Gao 2021 (arXiv:2107.03375, of which the abstract was read)."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from winnow.core.errors import Refused
from winnow.core.holes import Asking, Setting
from winnow.core.options import Positive, Rate, Weight
from winnow.core.space import Space
from winnow.data.loaders import Cursor
from winnow.search.bench import Bench, Found
from winnow.search.bilevel import bilevel
from winnow.search.gradients import Objective, first_order
from winnow.search.mixture import Parts
from winnow.search.penalties import expected_cost
from winnow.search.recipe import Recipe
from winnow.search.relax import Logits, Relax, gates
from winnow.search.strategy import strategy
from winnow.train.evaluate import Batch, batch_statistics
from winnow.train.seeds import derived, generator, seeded

JUDGED = 4  # validation batches behind the score of a discrete subset


@strategy("logits", read=gates(1.0, 1.0), closed=0.5)
def subset(
    bench: Bench,
    recipe: Recipe,
    *,
    cold: Rate = 100.0,
    warm: Rate = 1.0,
    start: float = 0.5,
    strength: Weight = 0.1,
    budget: Weight = 0.0,
    weights: Literal["frozen", "resampled", "inherited", "alternating"] = "frozen",
    draws: Positive = 4,
    pretrained: str | None = None,
) -> Found:
    """Gates on the candidates of a large network, each kept if its logit is above zero; select with `threshold`.

    Minimises the validation loss + `strength` x the share of `unit_costs` that is kept above `budget`. `weights` says
    what hangs on the architecture: the mean of `draws` "frozen" random initialisations or of as many "resampled" at
    each step, the "inherited" (pretrained) weights as they are, or "alternating" ones that train too. Finds the
    logits of the best discrete subset that an epoch ended with. `start` is of all logits: above 0, everything begins
    open. `pretrained` is a supernet.safetensors of the same space, for "inherited" and "alternating"; a last layer for
    other classes keeps its own. Published without a decay of the logits: the penalty alone closes gates.
    """
    space, seed, objective = bench.space, bench.seed, bench.objective
    if pretrained is not None:
        load_pretrained(space, bench.tensors(pretrained), pretrained)
    device = next(space.parameters()).device
    logits = Logits(space, generator(seed, "logits"), scale=0.01).to(device)
    for vector in logits.values():
        vector.data += start
    relax = gates(cold, warm)
    costs = {name: vector.to(device) for name, vector in unit_costs(space).items()}
    hung = Hung(space, weights, draws, seed)
    parts = Parts(
        relax=relax,
        gradient=hung.gradient,
        penalty=expected_cost(relax, costs, strength, budget),
        learn_weights=weights == "alternating",
    )
    best: dict[str, Any] = {"score": float("inf"), "logits": {}}
    bench.keeper.add(best=best, hung=hung)
    held = Cursor(bench.valid)
    judged = [held.next() for _ in range(JUDGED)]

    def keep_best() -> None:
        on = {name: (vector > 0).to(vector) for name, vector in logits.items()}
        spent = sum(float((costs[name] * gate).sum()) for name, gate in on.items())
        score = hung.mean_loss(objective, judged, on) + strength * max(spent - budget, 0.0)
        if score < best["score"]:
            best.update(score=score, logits={name: vector.detach().clone() for name, vector in logits.items()})

    def begin(epoch: int) -> None:
        if epoch:
            keep_best()

    found = bilevel(bench, recipe, parts=lambda epoch: parts, begin=begin, logits=logits)
    keep_best()
    with torch.no_grad():
        for name, vector in best["logits"].items():
            logits[name].copy_(vector)
    return found


def load_pretrained(space: Space, tensors: Mapping[str, Tensor], path: str) -> None:
    """Put the weights of `path` into `space`; a last layer for other classes keeps its own. Refused where more differs.

    What was trained on one data set is then searched for another.
    """
    state = space.state_dict()
    last = next(reversed([name for name, module in space.named_modules() if isinstance(module, nn.Linear)]), None)
    missing, foreign = sorted(set(state) - set(tensors)), sorted(set(tensors) - set(state))
    if missing or foreign:
        odd = f"it lacks {missing[0]!r}" if missing else f"{foreign[0]!r} has no place here"
        raise Refused(f"search.subset.pretrained: {path} holds the weights of another network: {odd}")
    for name, tensor in tensors.items():
        if tensor.shape != state[name].shape and (last is None or not name.startswith(f"{last}.")):
            raise Refused(
                f"search.subset.pretrained: {path} holds the weights of another network: {name!r} is "
                f"{tuple(tensor.shape)} there, {tuple(state[name].shape)} here"
            )
    space.load_state_dict({n: t if t.shape == state[n].shape else state[n] for n, t in tensors.items()})


def unit_costs(space: Space) -> dict[str, Tensor]:
    """Per decision (options,), the share of each candidate in parameters + 1: what has none is not free."""
    counts = {d.name: torch.zeros(len(d.options)) for d in space.decisions.values() if not d.several}
    for hole in space.holes:
        assert isinstance(hole, Asking)
        d = hole.decision
        if d.name in counts:
            for i, option in enumerate(d.options):
                (candidate,) = hole.kept(option)
                counts[d.name][i] += sum(p.numel() for p in candidate.parameters())
    total = sum(float((count + 1).sum()) for count in counts.values())
    return {name: (count + 1) / total for name, count in counts.items()}


class Hung:
    """The weights that the architecture is judged with: one set of them, or several random draws."""

    def __init__(self, space: Space, policy: str, draws: int, seed: int):
        self.space, self.policy, self.seed, self.step = space, policy, seed, 0
        self.draws = draws if policy in ("frozen", "resampled") else 1

    def state(self) -> dict[str, int]:
        """What a checkpoint keeps of it."""
        return {"step": self.step}

    def restore(self, state: Mapping[str, int]) -> None:
        """Go on as if from where `state()` was taken."""
        self.step = state["step"]

    def attach(self, which: int) -> None:
        """Put draw `which` of the present step in place; one set of weights stays."""
        if self.policy in ("frozen", "resampled"):
            with seeded(derived(self.seed, "weights", which, self.step if self.policy == "resampled" else 0)):
                initialise(self.space)

    def gradient(
        self,
        space: Space,
        logits: Logits,
        relax: Relax,
        objective: Objective,
        train: Batch,
        valid: Batch,
        weights_optimiser: torch.optim.Optimizer,
    ) -> Tensor:
        """`first_order`, averaged over the draws."""
        losses = []
        for which in range(self.draws):
            self.attach(which)
            losses.append(first_order(space, logits, relax, objective, train, valid, weights_optimiser))
        for vector in logits.values():
            if vector.grad is not None:
                vector.grad /= self.draws
        self.step += 1
        return torch.stack(losses).mean()

    @torch.no_grad()
    def mean_loss(self, objective: Objective, batches: list[Batch], setting: Setting) -> float:
        losses = []
        for which in range(self.draws):
            self.attach(which)
            with batch_statistics(self.space):
                losses += [float(objective(batch, setting)) for batch in batches]
        return sum(losses) / len(losses)


def initialise(module: nn.Module) -> None:
    """Fresh weights everywhere, from torch's global stream, as when the modules were built."""
    for each in module.modules():
        if callable(reset := getattr(each, "reset_parameters", None)):
            reset()
