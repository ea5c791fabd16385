"""What workers of a study make before their first trial: evaluators out of params.yaml and the files of the stages.

`settings` are JSON: the folder, the parameters, the device, and where networks of trials are kept: `models` for who
looks at the best, `weights` for the children of morphism (null: nowhere).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from winnow.config.params import Params
from winnow.config.plans import plan_of_search, plan_of_tune, recipe_of_trials, tried
from winnow.config.reading import check_params
from winnow.config.trial_params import TrialTraining
from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.data.inputs import Inputs
from winnow.data.loaders import Split, in_order, join
from winnow.measure import cost
from winnow.run import files
from winnow.run.federation import clients_of, local_of
from winnow.run.int8 import judge_in_eight_bits
from winnow.run.networks import example_of, outlined
from winnow.run.outside import resolved
from winnow.run.pool import visitor
from winnow.run.start import Start
from winnow.run.work import about_model, augmentation, facts, final_space, opened, promise, search_space
from winnow.tasks import task_named
from winnow.train.building import fresh, laid
from winnow.train.federation import Local
from winnow.train.recipes import Recipe
from winnow.train.seeds import derived, generator
from winnow.trials import morphism
from winnow.trials.evaluators import ByPredictor, ByProxy, ByTable, Cost, Inherited, Training, fitted
from winnow.trials.federated import Federated
from winnow.trials.lookup import Table
from winnow.trials.outcome import Evaluate, Job
from winnow.trials.plan import HIERARCHY, Plan
from winnow.trials.reduce import Reduction, reduced_options
from winnow.trials.segments import Segments

TUNE_SPLITS = ("weights", "arch"), ("select",)  # trained on, judged on
SEARCH_SPLITS = ("weights",), ("arch",)


def tune(folder: str, params: dict[str, Any], device: str, models: str | None, weights: str | None) -> Evaluate:
    """Trains the chosen architecture by the trial's recipe."""
    bench = _Bench(folder, params, device, "tune", TUNE_SPLITS)
    path = bench.folder / files.ARCHITECTURE
    arch = files.read_architecture(path, bench.final, bench.params.space.name)
    begun = Start.of(bench.params, bench.folder, bench.device, partial(bench._split, stage="tune"))
    plan = plan_of_tune(bench.params, {})
    base = bench.params.retrain.recipe()
    recipe = replace(base, epochs=bench.params.tune.epochs or base.epochs)
    training = bench.training(bench.train, bench.valid, None, bench.fact, models, plan, recipe, arch)
    return replace(training, inherit=lambda model, job: begun.given(model, arch))


def search(folder: str, params: dict[str, Any], device: str, models: str | None, weights: str | None) -> Evaluate:
    """Scores the trial's architecture as search.trials.evaluator says."""
    bench = _Bench(folder, params, device, "search", SEARCH_SPLITS)
    evaluate = getattr(bench, f"by_{tried(bench.params).evaluator}")(models)
    if tried(bench.params).eight_bits:
        example = example_of({**bench.fact, **bench.task.facts(bench.train.facts)})
        judge = judge_in_eight_bits(bench.task, example, bench.train, bench.valid, bench.params.select.batch)
        evaluate = replace(evaluate, besides=judge)
    if weights is None:
        return evaluate
    if evaluate.cost.plan.sampler == HIERARCHY:
        return replace(evaluate, segments=Segments(Path(weights)))
    return _morphing(evaluate, Path(weights))


def reduction(folder: str, params: dict[str, Any], device: str, networks: list[str], setting: str) -> Evaluate:
    """Trains one of `networks` (JSON), which parameter `network` numbers, in the reduced form `setting`.

    Its metrics are also `work`: MACs of the trained form times the images that it sees.
    """
    bench, form = _Bench(folder, params, device, "search", SEARCH_SPLITS), Reduction.of(setting)
    steps: dict[str, Any] = form.steps()
    settings = TrialTraining(epochs=form.epochs, **steps)
    recipe = replace(recipe_of_trials(bench.params), epochs=form.epochs)
    training = bench.shortened(settings, recipe, None, Plan({bench.task.metric: bench.task.first.goal}))
    example = example_of({**bench.fact, **bench.task.facts(training.train.facts)})
    if len(training.train) < recipe.batch:
        raise Refused(f"{setting}: {len(training.train)} images are left, fewer than a batch of {recipe.batch}")

    def evaluate(job: Job) -> dict[str, float]:
        arch = Architecture.from_json(networks[int(job.parameters["network"])])
        found = training(replace(job, architecture=arch, parameters={}))
        macs = cost.macs(training.space.derive(arch).eval(), example)
        return {**found, "work": float(macs) * len(training.train) * form.epochs}

    return evaluate


def client(folder: str, params: dict[str, Any], device: str, recipe: dict[str, Any]) -> Evaluate:
    """Does what `run.pool` orders of a client of retrain.federation."""
    checked, place = check_params(params), Path(folder)
    federation = checked.retrain.federation
    assert federation is not None
    promise(federation.threads)
    final = final_space(checked, place)
    splits = [opened(checked, place, n, stage="retrain", device=device) for n in checked.retrain.splits]
    clients = clients_of(federation, join(splits))

    @cache
    def local(text: str, seed: int) -> Local:
        model = laid(fresh(final, Architecture.from_json(text), device, 0))
        return local_of(checked, model, clients, Recipe(**recipe), seed)

    def of(job: Job) -> Local:
        assert job.architecture is not None
        return local(job.architecture.to_json(), job.seed)

    return visitor(of)


class _Bench:
    """The parameters, splits and spaces that evaluators of one worker share."""

    def __init__(self, folder: str, params: dict[str, Any], device: str, stage: str, splits: tuple):
        self.folder, self.params = Path(folder), check_params(params)
        self.device = torch.device(device)
        promise(self.params.tune.threads if stage == "tune" else self.params.search.trials.threads)
        self.final = final_space(self.params, self.folder)
        self.task = task_named(self.params.task)
        self.fact = facts(self.params, self.folder)
        self.shape = example_of(self.fact)
        self.train, self.valid = (join([self._split(name, stage) for name in names]) for names in splits)

    def cost(self, plan: Plan) -> Cost:
        return Cost(self.final, self.shape, plan, self.device)

    def by_training(self, models: str | None) -> Training:
        settings = tried(self.params).training
        return self.shortened(settings, recipe_of_trials(self.params), models, plan_of_search(self.params))

    def shortened(self, settings: TrialTraining, recipe: Recipe, models: str | None, plan: Plan) -> Training:
        """By `recipe` in a reduced form; its epochs are the recipe's."""
        params = self.params
        stream = generator(derived(params.seed, "search"), "samples")
        train = self._reduced(self.train, settings.resolution, settings.samples, stream)
        valid = self._reduced(self.valid, settings.resolution, 1.0, stream)
        options = {**params.space.chosen(), **params.retrain.space}
        options = reduced_options(params.space.name, options, settings.channels)
        fact = {**self.fact, **self.task.facts(train.facts)}
        return self.training(train, valid, options, fact, models, plan, recipe)

    def training(
        self,
        train: Split,
        valid: Split,
        options: Mapping[str, Any] | None,
        fact: Mapping[str, Any],
        models: str | None,
        plan: Plan,
        recipe: Recipe,
        arch: Architecture | None = None,
    ) -> Training:
        """`options` and `fact` are those of the network that is trained; None: those of retraining."""
        params = self.params
        auxiliary = params.retrain.recipe().needs_auxiliary
        space = self.final
        if options is not None:
            space = outlined(params.space.name, options, fact, auxiliary=auxiliary)

        def keep(number: int, job_arch: Architecture, model: nn.Module, seed: int) -> None:
            if models is not None:
                about = about_model(params, fact, job_arch, train, seed, options, initial=derived(seed, "initialise"))
                files.write_tensors(Path(models) / f"{number}.safetensors", model.state_dict(), about)

        return Training(
            task=self.task,
            space=space,
            cost=self.cost(plan),
            train=train,
            valid=valid,
            recipe=recipe,
            augment=_augment(params, train),
            batch=params.select.batch,
            device=self.device,
            architecture=arch,
            keep=keep,
        )

    def by_federated(self, models: str | None) -> Federated:
        federation = self.params.retrain.federation
        assert federation is not None  # config.plans refuses the evaluator without
        rounds, recipe = tried(self.params).federated.rounds, recipe_of_trials(self.params)
        training = self.shortened(TrialTraining(), recipe, models, plan_of_search(self.params))
        return Federated(training, clients_of(federation, training.train), federation.federation(rounds))

    def by_inherited(self, models: str | None) -> Evaluate:
        tensors, _ = files.read_tensors(self.folder / files.SUPERNET, "search")
        supernet = files.read_view(self.folder / files.LIVE, search_space(self.params, self.folder, self.device))
        files.load_state(supernet, tensors, self.folder / files.SUPERNET)
        rows = self.params.search.trials.inherited.calibration_images
        cost = self.cost(plan_of_search(self.params))
        return Inherited(self.task, supernet, cost, self.train, rows, self.valid, self.params.select.batch)

    def by_proxy(self, models: str | None) -> Evaluate:
        settings = self.params.search.trials.proxy
        space = outlined(self.params.space.name, self.params.space.chosen(), self.fact)
        batch = next(iter(in_order(self.train, settings.batch)))
        seed = derived(self.params.seed, "search", "proxy")
        return ByProxy(settings.names, space, self.cost(plan_of_search(self.params)), batch, seed, self.device)

    def by_table(self, models: str | None) -> Evaluate:
        settings = self.params.search.trials.table
        table = Table.read(resolved(self.folder, str(settings.path), "search.trials.table.path"))
        return ByTable(table, settings.fidelity, self.cost(plan_of_search(self.params)))

    def by_predictor(self, models: str | None) -> Evaluate:
        settings = self.params.search.trials.predictor
        table = Table.read(resolved(self.folder, str(settings.table), "search.trials.predictor.table"))
        space = outlined(self.params.space.name, self.params.space.chosen(), self.fact)
        seed = derived(self.params.seed, "search", "predictor") % 2**31
        of = fitted(settings.name, space, table, settings.metric, settings.fidelity, seed)
        return ByPredictor(of, self.cost(plan_of_search(self.params)))

    def _reduced(self, split: Split, resolution: int, samples: float, draws: torch.Generator) -> Split:
        """Fewer rows, at less resolution. Refused where the task knows no such thing."""
        if not resolution and samples == 1:
            return split
        if self.task.reduced is None:
            raise Refused(
                f"task {self.task.name} has no cheaper form of its data: set search.trials.training.resolution to 0 "
                "and search.trials.training.samples to 1"
            )
        return self.task.reduced(split, resolution, samples, draws)

    def _split(self, name: str, stage: str) -> Split:
        return opened(self.params, self.folder, name, stage=stage, device=self.device)


def _morphing(evaluate: Training, weights: Path) -> Training:
    """Children begin with their parent's weights, and leave theirs."""

    def keep(number: int, arch: Architecture, model: nn.Module, seed: int) -> None:
        evaluate.keep(number, arch, model, seed)
        morphism.keep(weights, number, arch, model, seed)

    return replace(
        evaluate, inherit=lambda model, job: morphism.inherit(model, evaluate.space, job, weights), keep=keep
    )


def _augment(params: Params, split: Split) -> Callable[[Recipe], Inputs]:
    return lambda recipe: augmentation(params, split, recipe.cutout)
