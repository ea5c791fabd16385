"""One dry trial before anything is trained: what cannot work is said in a sentence, not after hours.

A user's network takes two inputs of noise through the mixture, an architecture and its child, forward and backward; the
child makes a step, and is saved and loaded in memory. All of it on networks built for the purpose, their randomness
their own: nothing is left behind. Winnow's own spaces are tried by the contract tests; here, whether one goes with the
task: an input without values passes through an architecture on the meta device.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from winnow.config.methods import trainer
from winnow.config.params import Params
from winnow.core.architecture import Architecture
from winnow.core.choosers import uniform
from winnow.core.errors import Refused, blamed, told
from winnow.core.example import zeros
from winnow.core.space import Space
from winnow.data.loaders import manifest_for
from winnow.run import files
from winnow.run.work import facts, final_space, search_space
from winnow.search.strategy import LOGITS, MIXTURE
from winnow.spaces import SPACES
from winnow.tasks import task_named
from winnow.tasks.task import Returned
from winnow.train.building import fresh, laid
from winnow.train.criteria import criterion_of, outputs_and_loss
from winnow.train.fit import autocast, optimiser_of
from winnow.train.packing import apart, together
from winnow.train.recipes import Recipe
from winnow.train.seeds import seeded
from winnow.train.tracing import Trace, traced


def try_search(params: Params, folder: Path, device: torch.device) -> None:
    """Refused, in a sentence, where the space of params.yaml cannot be searched or its children not be retrained."""
    if params.space.name in SPACES:
        return _try_shape(params, folder)
    space, wanted = search_space(params, folder, device), _Wanted.of(params, folder)
    arch = space.decide(uniform(random.Random(0)))
    mixed = bool({MIXTURE, LOGITS} & trainer(params)[1].leaves)
    with seeded(0):
        x = _inputs(space, device)
        if mixed:
            _try_mixture(params, space, x, wanted)
        _try_architecture(params, space, arch, x, wanted)
    try_child(params, folder, device, arch)


def try_child(params: Params, folder: Path, device: torch.device, arch: Architecture) -> None:
    """Refused, in a sentence, where the child of `arch` cannot be retrained, saved or loaded."""
    if params.space.name in SPACES:
        return _try_shape(params, folder)
    recipe = params.retrain.recipe()
    final, wanted = final_space(params, folder), _Wanted.of(params, folder, recipe)
    what = _what(params, "the child in retraining form", final)
    try:
        final.check(arch)
    except ValueError as error:
        raise Refused(f"{what}: {error}; the builder must ask the same decisions when final is true") from error
    child = laid(fresh(final, arch, device, 0))
    with seeded(0):
        x = _inputs(final, device)
        _step(child, x, wanted, recipe, what)
        with traced(child, f"{what}, in evaluation mode") as trace, torch.no_grad():
            for rows in (x, x[:1], torch.cat([x, x[:1]])):  # the last batch is smaller; latency is of one input
                _checked(child.eval()(rows), wanted, trace, rows)
        _save_and_load(child, final, arch, x, what)


def _try_shape(params: Params, folder: Path) -> None:
    """Refused where a space of winnow's own is for another kind of task."""
    space, returned = final_space(params, folder), task_named(params.task).returned(facts(params, folder))
    assert space.example is not None
    x = zeros(space.example, 2, "meta")
    child = space.derive(space.decide(uniform(random.Random(0)))).eval()
    what = f"space {params.space.name!r} does not go with task {params.task!r}"
    try:
        with torch.no_grad():
            output = child(x)
    except (RuntimeError, LookupError, TypeError, ValueError) as error:
        raise Refused(f"{what}: it takes no inputs of {_shape(x)} ({told(error)})") from error
    scores = output[0] if isinstance(output, tuple) else output
    if not returned.fits(2, scores.shape):
        raise Refused(
            f"{what}: it returns shape {tuple(scores.shape)} for two rows, and the task wants {returned.said}"
        )


def _shape(x: Any) -> Any:
    return tuple(x.shape) if isinstance(x, Tensor) else {name: _shape(each) for name, each in x.items()}


@dataclass(frozen=True)
class _Wanted:
    """What the task asks of a network: its outputs, and the loss of a recipe."""

    returned: Returned
    criterion: nn.Module

    @classmethod
    def of(cls, params: Params, folder: Path, recipe: Recipe | None = None) -> "_Wanted":
        task = task_named(params.task)
        known = manifest_for(folder / files.SPLITS, task)["facts"]
        return cls(task.returned(facts(params, folder)), criterion_of(task, known, 0, recipe))

    def loss(self, output: Any, x: Tensor, auxiliary: float = 1.0) -> Tensor:
        """Of made-up answers."""
        answers = self.returned.answers(len(x)).to(x.device)
        return outputs_and_loss(output, answers, self.criterion.to(x.device), auxiliary)[1]


def _inputs(space: Space, device: torch.device) -> Tensor:
    assert isinstance(space.example, tuple | Tensor)
    x = torch.randn(2, *space.example) if isinstance(space.example, tuple) else zeros(space.example, 2)
    x = x.to(device)
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def _what(params: Params, which: str, space: Space) -> str:
    shape = tuple(space.example.shape[1:]) if isinstance(space.example, Tensor) else space.example
    return f"space {params.space.name!r}, inputs of {shape}, {which}"


def _try_mixture(params: Params, space: Space, x: Tensor, wanted: _Wanted) -> None:
    single = [d for d in space.decisions.values() if not d.several]
    weights = {
        d.name: torch.full((len(d.options),), 1 / len(d.options), device=x.device, requires_grad=True) for d in single
    }
    what = _what(params, f"all options weighed as {params.search.strategy} does", space)
    for hole in space.holes:
        if not hole.mixes:
            raise Refused(
                f"{what}: decision {hole.decisions[0].name!r} takes no mixture: search with spos, or with trials"
            )
    space.train()
    asked: set[str] = set()
    with traced(space, what, several=True) as trace:
        with autocast(x.device, params.search.precision):
            output = space(x, Asked(weights, asked))
        odd = trace.disagreement()
        if odd is not None:
            raise Refused(f"{what}: {odd}")
        scores = _checked(output, wanted, trace, x)
        if not scores.requires_grad:
            raise Refused(f"{what}: the output depends on no weight of the mixture: nothing can be learnt")
        wanted.loss(scores, x).backward()
    silent = next((name for name, weight in weights.items() if weight.grad is None), None)
    if silent is not None and silent in asked:
        raise Refused(
            f"{what}: the output does not depend on decision {silent!r}: what its module returns is left out, or its "
            "gradient is stopped on the way (detach, no_grad, numpy)"
        )
    if silent is not None:
        raise _unasked(what, silent)


def _try_architecture(params: Params, space: Space, arch: Architecture, x: Tensor, wanted: _Wanted) -> None:
    what = _what(params, "one architecture", space)
    asked: set[str] = set()
    for training in (True, False):  # a network may leave layers out in one of the two
        space.train(training)
        setting = Asked(arch, asked)
        with traced(space, what) as trace, autocast(x.device, params.search.precision):
            output = space(x, setting)
        scores = _checked(output, wanted, trace, x)
        if training and scores.requires_grad:
            with traced(space, what):
                wanted.loss(scores, x).backward()
    silent = sorted(set(arch) - asked)
    if silent:
        raise _unasked(what, silent[0])


class Asked(dict):
    """An architecture as a setting, which tells in `asked` the decisions that a forward pass looked up."""

    def __init__(self, arch: Mapping[str, Any], asked: set[str]):
        super().__init__(arch)
        self.asked = asked

    def get(self, name: str, default: Any = None) -> Any:
        self.asked.add(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> Any:
        self.asked.add(name)
        return super().__getitem__(name)


def _unasked(what: str, name: str) -> Refused:
    return Refused(
        f"{what}: decision {name!r} is never asked: forward does not call its module. It may call what the module took "
        "the place of, from a plain list or another attribute: go through the attribute itself, or an nn.ModuleList"
    )


def _step(child: nn.Module, x: Tensor, wanted: _Wanted, recipe: Recipe, what: str) -> None:
    """Forward, backward and one step of the recipe's optimiser."""
    trained = [p for p in child.parameters() if p.requires_grad]
    if not trained:
        raise Refused(f"{what}: no parameter asks for a gradient, so there is nothing to train: unfreeze some")
    with traced(child.train(), f"{what}, in training mode") as trace:
        optimiser = optimiser_of(child, recipe)
        with autocast(x.device, recipe.precision):
            output = child(x)
        pair = isinstance(output, tuple) and len(output) == 2 and recipe.needs_auxiliary
        for scores in output if pair else (output,):
            _checked(scores, wanted, trace, x)
        loss = wanted.loss(output, x, recipe.auxiliary)
        if not loss.requires_grad:
            raise Refused(f"{what}: the output depends on no parameter that is trained: nothing can be learnt")
        loss.backward()
        if recipe.clip is not None:
            nn.utils.clip_grad_norm_(child.parameters(), recipe.clip)
        optimiser.step()


def _checked(output: Any, wanted: _Wanted, trace: Trace, x: Tensor) -> Tensor:
    """`output` itself, what the task takes; Refused where it is anything else."""
    returned = wanted.returned
    takes = f"forward must return {returned.said}"
    if not isinstance(output, Tensor):
        kind = type(output).__name__
        parts = output.values() if isinstance(output, dict) else output if isinstance(output, tuple | list) else ()
        shapes = ", ".join(str(tuple(part.shape)) for part in parts if isinstance(part, Tensor))
        raise Refused(
            f"{trace.what}: the network returns a {kind}" + (f" of {shapes}" if shapes else "") + f"; {takes}"
        )
    if not returned.fits(len(x), output.shape):
        came = f"{tuple(output.shape)} for inputs of {tuple(x.shape)}"
        raise Refused(f"{trace.what}: the network returns shape {came}; {takes}")
    if not output.is_floating_point():
        raise Refused(f"{trace.what}: the network returns {output.dtype}; {takes}, of floating-point numbers")
    if odd := returned.odd(output):
        raise Refused(f"{trace.what}: the network returns {odd}; {takes}")
    if not output.isfinite().all():
        where = f", first in {trace.lost}" if trace.lost else ""
        raise Refused(f"{trace.what}: the network returns numbers that are not finite{where}, for inputs of N(0, 1)")
    return output


def _save_and_load(child: nn.Module, final: Space, arch: Architecture, x: Tensor, what: str) -> None:
    """Refused where what training changed is in no file: the network that is loaded would be another."""
    try:
        plain, rest = apart(child.state_dict())
        written = load(save(plain))
    except (SafetensorError, TypeError, ValueError, KeyError, RuntimeError) as error:  # sparse, quantised, ...
        raise Refused(f"{what}: its state cannot be written to a file: {told(error)}") from error
    loaded = laid(fresh(final, arch, x.device, 0))
    with blamed(f"{what}, loaded"):
        loaded.load_state_dict(together(written, rest))
    with torch.no_grad():
        answers = []
        for network in (child, loaded):
            with seeded(0), traced(network, f"{what}, in evaluation mode"):
                answers.append(network.eval()(x))
    if not torch.allclose(answers[0], answers[1], equal_nan=True):
        raise Refused(
            f"{what}: saved and loaded it answers otherwise: training changes something that is no parameter and no "
            "persistent buffer; register it as a buffer"
        )
