"""Network morphism: the best trial so far is changed a little, and the child begins with its weights.

After Wei et al. 2016 (arXiv:1603.01670) and Chen et al. 2016 (Net2Net, arXiv:1511.05641), by zeros: what a child has
more than its parent adds nothing at first wherever the space allows that, and learns from there.
"""

import functools
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
from winnow.core.space import Space
from winnow.system.whole import atomic
from winnow.trials.draw import draw_all, draw_other, key_of
from winnow.trials.evolution import TRIES, fitness
from winnow.trials.growth import Chart, fit_in, overlap, silence_new
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

    What both are slices of meets place by place; what only has one name, from the first channel and the centre of the
    kernel on. Refused where the parent's weights are not in `folder`.
    """
    if job.parent is None:
        return model
    assert job.architecture is not None
    weights, architecture = kept(folder, job.parent)
    chart = _chart(space)
    here, there = chart.of(job.architecture), chart.of(architecture)
    of = {whole: name for name, (whole, _) in reversed(there.items())}
    modules = dict(model.named_modules(remove_duplicate=False))  # the state names a shared one twice, too
    with torch.no_grad():
        for name, own in model.state_dict().items():
            whole, places = here.get(name, (None, ()))
            if whole in of and of[whole] in weights:
                fit_in(own, weights[of[whole]], places, there[of[whole]][1], modules[name.rpartition(".")[0]])
            elif name in weights and (met := overlap(own, weights[name])) is not None:
                fit_in(own, weights[name], *met, modules[name.rpartition(".")[0]])
    silence_new(model, space, job.architecture, architecture)
    return model


@functools.lru_cache(maxsize=1)
def _chart(space: Space) -> Chart:
    return Chart(space)


def keep(folder: Path, number: int, architecture: Architecture, model: nn.Module, seed: int) -> None:
    """The weights of trial `number`, for its children: as `evaluators.Training.keep` is called, but for `folder`."""
    own = torch.contiguous_format  # a copy of each: the format takes no tensors that share memory
    plain = {name: t.detach().cpu().clone(memory_format=own) for name, t in model.state_dict().items()}
    # one entry: safetensors writes several in an order that differs from process to process
    about = {"winnow": json.dumps({"architecture": architecture.to_json(), "seed": seed})}
    path = _path(folder, number)
    try:
        with atomic(path) as temporary:
            save_file(plain, temporary, about)
    except (OSError, SafetensorError) as error:
        raise Refused(f"{path} cannot be written: {error}") from error


def kept(folder: Path, number: int) -> tuple[dict[str, Tensor], Architecture]:
    """Weights by name, on the CPU, and what they are of. Refused where there are none."""
    path = _path(folder, number)
    try:
        with safe_open(path, "pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return weights, Architecture.from_json(json.loads(file.metadata()["winnow"])["architecture"])
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        raise Refused(f"{path}, the weights of a parent, cannot be read ({error}): begin the study anew") from error


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number}.safetensors"
