"""What a trial is worth under federated training: the network is trained by clients, and judged after every round."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from winnow.data.loaders import in_order
from winnow.train.building import fresh, laid
from winnow.train.evaluate import measured
from winnow.train.federation import Client, Local, federate
from winnow.train.recipes import Federation
from winnow.train.seeds import derived
from winnow.train.watch import Diverged, Watch
from winnow.trials.evaluators import Cost, Training
from winnow.trials.outcome import Job


@dataclass
class Federated:
    """As `of` trains, but by `clients` of its training rows; `forgetting` is a metric too, of what clients hold out.

    What is judged are the validation rows of `of`, which no client has. The clients train one after another.
    """

    of: Training
    clients: Sequence[Client]
    federation: Federation

    @property
    def cost(self) -> Cost:
        """That of `of`."""
        return self.of.cost

    def __call__(self, job: Job) -> dict[str, float]:
        of, arch = self.of, job.architecture
        assert arch is not None
        known = of.cost(arch)
        model = laid(fresh(of.space, arch, of.device, derived(job.seed, "initialise")))
        judged = in_order(of.valid, of.batch)

        def after_round(number: int, trained: nn.Module, told: Mapping[str, float]) -> None:
            known.update(measured(of.task, trained.eval(), judged), forgetting=told["forgetting"])
            job.report(number, *of.cost.plan.values(known))

        augment = of.augment(of.recipe)
        local = Local(model, self.clients, self.federation, of.recipe, of.task, job.seed, augment)
        try:
            federate(local, batch=of.batch, watch=Watch(), after_round=after_round)
        except Diverged as diverged:  # this trial's network, not the study
            raise FloatingPointError(str(diverged)) from diverged
        of.keep(job.number, arch, model, job.seed)
        return known
