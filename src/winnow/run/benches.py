"""The bench of a selection, built from params.yaml and from what the search left on disk."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from winnow.config.methods import strategy, trainer
from winnow.config.plans import plan_of_search
from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.core.options import taken
from winnow.core.space import Space
from winnow.data.loaders import Batches, in_order, join
from winnow.measure import cost
from winnow.run import files
from winnow.run.children import train_child
from winnow.run.limits import Limits
from winnow.run.networks import outlined
from winnow.run.progress import Shown
from winnow.run.start import Start
from winnow.run.work import Work, augmentation, facts, final_space, search_space
from winnow.search.bench import Bench, Further
from winnow.search.gradients import Objective
from winnow.search.mixture import Between
from winnow.search.objective import objective
from winnow.search.relax import Logits
from winnow.search.strategy import INITIALISED, SHORTLIST, TRIALS
from winnow.search.training_free import Judge, proxy_judge
from winnow.train.building import fresh_space
from winnow.train.checkpoint import Keeper
from winnow.train.criteria import criterion_of
from winnow.train.seeds import derived, generator
from winnow.train.watch import Watch
from winnow.trials.table import as_rows, read_table

SPLITS = ("weights", "arch", "select")


def read_logits(
    space: Space, vectors: Mapping[str, Any], moments: Mapping[str, Mapping[str, Any]] | None = None
) -> Logits | None:
    """The logits of a search by decision; None where it has none. KeyError, RuntimeError, ... where they do not fit.

    `moments` are those of Adam; None where the file is older than these.
    """
    if not vectors:
        return None
    logits = Logits(space, torch.Generator(), subsets=any(space.decisions[name].several for name in vectors))
    with torch.no_grad():
        for name, vector in vectors.items():
            values = torch.tensor(vector)
            if values.shape != logits[name].shape or not values.isfinite().all():
                raise ValueError(f"logits of {name!r}: {len(vector)} values, it takes {len(logits[name])} numbers")
            logits[name].copy_(values)
    for name, told in (moments or {}).items():
        step, *means = (torch.tensor(told[key]) for key in ("step", "exp_avg", "exp_avg_sq"))
        if step.dim() or any(m.shape != logits[name].shape or not m.isfinite().all() for m in means):
            raise ValueError(f"moments of {name!r} do not fit its {len(logits[name])} logits")
        logits.moments[name] = {"step": told["step"], "exp_avg": told["exp_avg"], "exp_avg_sq": told["exp_avg_sq"]}
    return logits


class Benches:
    """The splits, the limits and the supernet that the selections of one run share; each gets a bench of its own."""

    def __init__(self, work: Work, keeper: Keeper):
        self.keeper = keeper
        self.work, self.params, self.folder = work, work.params, work.folder
        self.name, self.strategy, self.options = trainer(self.params)
        self.untrained = INITIALISED in self.strategy.leaves
        self.tensors = self._supernet()
        self.space = search_space(self.params, self.folder, work.device)
        if self.tensors is not None:
            self.space = files.read_view(self.folder / files.LIVE, self.space)
        self.final = final_space(self.params, self.folder)
        self.splits = {name: work.split(name) for name in SPLITS}
        self.judged = join([self.splits[name] for name in self.params.select.splits])
        self.limits = Limits.of(self.params, self.folder, self.final)
        self.costs: dict[str, dict[str, int]] = {}

    def _supernet(self) -> dict[str, torch.Tensor] | None:
        """None where strategy trials evaluates without one, and where nothing is trained."""
        if self.untrained or TRIALS in self.strategy.leaves:
            return None
        return files.read_tensors(self.folder / files.SUPERNET, "search")[0]

    def bench(self, seed: int, limits: Limits | None = None, known: dict[str, float] | None = None) -> Bench:
        """With the supernet and the logits as the search left them, where there is one; else untrained as it begins.

        Within `limits` rather than those of params.yaml; scores of children that are `known` are not computed again.
        """
        limits = self.limits if limits is None else limits
        params, select = self.params, self.params.select
        logits, remembered = self._logits()
        space, further = self._space(), logits is not None
        train, valid = (self._batches(name, seed) if further else () for name in ("weights", "arch"))
        return Bench(
            space,
            seed,
            splits=self.splits,
            judged=self.judged,
            logits=logits,
            relax=self.strategy.read,
            closed=self.strategy.closed,
            task=self.work.task,
            objective=self._objective(space),
            train=train,
            valid=valid,
            batch=select.batch,
            calibration_images=select.calibration_images,
            allowed=limits.allows,
            load=limits.load if limits else None,
            limits=str(limits),
            sizes=limits.sizes,
            most=limits.most(),
            whole=limits.unsummed,
            known={} if known is None else known,
            further=Further(params.search.recipe(), self._between(space), remembered) if further else None,
            scorer=(lambda: self._scorer(space)) if self.untrained else None,
            trials=self._trials if TRIALS in strategy(params.search.strategy).leaves else None,
            shortlist=self._shortlist(space),
            keeper=self.keeper,
            shown=lambda: Shown(self.work.run, "select_"),
            say=self.work.say,
            trained=self._trained,
        )

    def _trained(self, arch: Architecture, epochs: int, watch: Watch, told: str) -> nn.Module:
        """As stage retrain trains, but for so long and on split "weights" alone; the same numbers for all."""
        recipe = replace(self.params.retrain.recipe(), epochs=epochs)
        select, training = self.params.select, join([self.splits["weights"]])
        begun = Start()
        if self.params.retrain.from_ == "inherited":
            begun = Start(self.space, self.splits["weights"], select.calibration_images, select.batch)
        seed = derived(self.params.seed, "select", "finalists")
        return train_child(self.work, arch, training, seed, watch, told, self.keeper, recipe, begun)

    def _space(self) -> Space:
        """Untrained networks are scored in the form that is retrained, at the size that is searched."""
        if self.untrained:
            params, fact = self.params, facts(self.params, self.folder)
            outline = outlined(params.space.name, params.space.chosen(), fact)
            return fresh_space(outline, self.work.device, derived(params.seed, "search", "initialise"))
        if self.tensors is not None:
            files.load_state(self.space, self.tensors, self.folder / files.SUPERNET)
        return self.space

    def _logits(self) -> tuple[Logits | None, bool]:
        """Those of the search, and whether they come with what Adam remembers of them."""
        if self.tensors is None:
            return None, True
        content = files.read_json(self.folder / files.LOGITS, "search")
        try:
            logits = read_logits(self.space, content["logits"], content.get("moments"))
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise Refused(f"{files.LOGITS} does not fit the space: run `winnow search` again") from error
        return None if logits is None else logits.to(self.work.device), "moments" in content

    def _batches(self, name: str, seed: int) -> Batches:
        augment = augmentation(self.params, self.splits["weights"])
        order, batch = generator(seed, name), self.params.search.batch
        return Batches(self.splits[name], batch, augment=augment, generator=order, channels_last=True)

    def _shortlist(self, space: Space) -> tuple[Architecture, ...] | None:
        path = self.folder / files.SHORTLIST
        return files.read_shortlist(path, space) if SHORTLIST in self.strategy.leaves else None

    def _between(self, space: Space) -> Callable[[torch.Generator], Between]:
        """The steps of the search after some decisions, given what noise is drawn from."""
        between = self.strategy.between
        loss, options = self._objective(space), taken(between, self.options)
        return lambda draws: between(space, loss, draws, **options)

    def _objective(self, space: Space) -> Objective:
        task, facts = self.work.task, self.splits["weights"].facts
        criterion = criterion_of(task, facts, derived(self.params.seed, "search", "criterion"))
        return objective(space, criterion, self.params.search.precision, self.params.search.recompute)

    def _scorer(self, space: Space) -> Judge:
        batch = next(iter(in_order(join([self.splits["weights"]]), self.options["batch"])))
        return proxy_judge(space, self.options["proxies"], batch, derived(self.params.seed, "search"))

    def _trials(self) -> tuple[Any, list[Any]]:
        return plan_of_search(self.params), as_rows(read_table(self.folder / files.TRIALS))

    def cost(self, arch: Architecture) -> dict[str, int]:
        """`cost.sizes` of the network that would be retrained, which is built for it."""
        if arch.digest not in self.costs:
            assert self.final.example is not None
            self.costs[arch.digest] = cost.sizes(self.final.derive(arch).eval(), self.final.example)
        return self.costs[arch.digest]
