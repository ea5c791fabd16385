"""Network morphism: the best trial so far is changed a little, and the child begins with its weights.

After Wei et al. 2016 (arXiv:1603.01670) and Chen et al. 2016 (Net2Net, arXiv:1511.05641), by zeros: what a child has
more than its parent adds nothing at first wherever the space allows that, and learns from there.
"""

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from optuna.study import Study
from optuna.trial import FrozenTrial
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.core.holes import Asking
from winnow.core.space import Space
from winnow.system.whole import atomic
from winnow.trials.draw import draw_all, draw_other, key_of
from winnow.trials.evolution import TRIES, fitness
from winnow.trials.outcome import PARENT, Job
from winnow.trials.own import Known, OwnSampler
from winnow.trials.search import Search

PATIENCE = 20  # children of one parent that were there before, after which the next best is tried


class NetworkMorphism(OwnSampler):
    """Changes one parameter of the best trial whose result is known; the first `startup` trials are random.

    The parent's number goes with the trial, and reaches its evaluator as `job.parent`.
    """

    def __init__(self, search: Search, seed: int, startup: int = 4):
        if startup < 1:
            raise Refused(f"sampler 'network_morphism' takes a startup of 1 trial or more, not {startup}")
        super().__init__(search.distributions, seed)
        self.startup = startup

    def propose(self, known: Known, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        if len(known.complete) < self.startup:
            return self._unseen(lambda attempt: self._one(), known.seen)
        ranked = sorted(known.complete, key=lambda t: fitness(t, known.sign), reverse=True)  # the earlier of equals
        parent = ranked[0]

        def change(attempt: int) -> dict[str, Any]:
            nonlocal parent
            parent = ranked[min(attempt // PATIENCE, len(ranked) - 1)]
            return self._changed(parent.params)

        child = self._unseen(change, known.seen)
        study._storage.set_trial_system_attr(trial._trial_id, PARENT, parent.number)
        return child

    def _one(self) -> dict[str, Any]:
        return draw_all(self.distributions, self.rng)

    def _unseen(self, make: Callable[[int], dict[str, Any]], seen: Collection[tuple[Any, ...]]) -> dict[str, Any]:
        for attempt in range(TRIES):
            child = make(attempt)
            if key_of(child, self.distributions) not in seen:
                break
        return child

    def _changed(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        whole = {**self._one(), **parameters}  # a conditional range may have been left out
        name = self.rng.choice(list(self.distributions))
        return {**whole, name: draw_other(self.distributions[name], whole[name], self.rng)}


def inherit(model: nn.Module, space: Space, job: Job, folder: Path) -> nn.Module:
    """`model` itself, the initialised child of `job`, with its parent's weights as far as they fit; as is without one.

    Refused where the parent's weights are not in `folder`.
    """
    if job.parent is None:
        return model
    assert job.architecture is not None
    weights, architecture = kept(folder, job.parent)
    with torch.no_grad():
        for name, own in model.state_dict().items():
            if name in weights:
                fit_in(own, weights[name])
        for norm in _new_branches(model, space, job.architecture, architecture):
            norm.weight.zero_()
    return model


def fit_in(own: Tensor, theirs: Tensor) -> None:
    """Overwrite `own`, a weight of shape (out, in, kernel …) or a vector, with `theirs` where they overlap.

    Channels overlap from the first on, kernels at their centres. What the shared outputs would take from new inputs or
    from the rim of a larger kernel is 0; new outputs keep the values that they were initialised with. So a wider layer
    or a larger kernel computes for the shared channels what it did. Left alone where centres do not meet.
    """
    if own.ndim != theirs.ndim or any((a - b) % 2 for a, b in zip(own.shape[2:], theirs.shape[2:], strict=True)):
        return
    here, there = [], []
    for dimension, (a, b) in enumerate(zip(own.shape, theirs.shape, strict=True)):
        size, centred = min(a, b), dimension >= 2
        starts = ((a - size) // 2, (b - size) // 2) if centred else (0, 0)
        here.append(slice(starts[0], starts[0] + size))
        there.append(slice(starts[1], starts[1] + size))
    if own.ndim > 1:
        own[here[0]] = 0
    own[tuple(here)] = theirs[tuple(there)].to(own)


def keep(folder: Path, number: int, architecture: Architecture, model: nn.Module, seed: int) -> None:
    """The weights of trial `number`, for its children: as `evaluators.Training.keep` is called, but for `folder`."""
    own = torch.contiguous_format  # a copy of each: the format takes no tensors that share memory
    plain = {name: t.detach().cpu().clone(memory_format=own) for name, t in model.state_dict().items()}
    path = _path(folder, number)
    try:
        with atomic(path) as temporary:
            save_file(plain, temporary, {"architecture": architecture.to_json(), "seed": json.dumps(seed)})
    except (OSError, SafetensorError) as error:
        raise Refused(f"{path} cannot be written: {error}") from error


def kept(folder: Path, number: int) -> tuple[dict[str, Tensor], Architecture]:
    """Weights by name, on the CPU, and what they are of. Refused where there are none."""
    path = _path(folder, number)
    try:
        with safe_open(path, "pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return weights, Architecture.from_json(file.metadata()["architecture"])
    except (OSError, SafetensorError) as error:
        raise Refused(f"{path}, the weights of a parent, cannot be read ({error}): begin the study anew") from error


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number}.safetensors"


def _new_branches(model: nn.Module, space: Space, own: Architecture, parents: Architecture) -> list[nn.BatchNorm2d]:
    """The last norm with a weight of each branch that the parent had nothing in: at 0, it adds nothing yet."""
    modules, last = dict(model.named_modules()), []
    for path, hole in space.model.named_modules():
        if not isinstance(hole, Asking) or path not in modules or parents.get(hole.decision.name) != "none":
            continue
        if own.get(hole.decision.name) != "none":
            norms = [m for m in modules[path].modules() if isinstance(m, nn.BatchNorm2d) and m.affine]
            last += norms[-1:]
    return last
