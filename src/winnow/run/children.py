"""A network trained as it is retrained: by stage retrain, and by whoever compares with it."""

from typing import Any

from torch import nn

from winnow.core.architecture import Architecture
from winnow.data.loaders import Batches, Split, join
from winnow.run.dry import try_child
from winnow.run.federation import clients_of, local_of, threaded
from winnow.run.start import Start
from winnow.run.work import Work, augmentation, final_space, recipe_of
from winnow.train import ranks
from winnow.train.building import fresh, laid
from winnow.train.checkpoint import Keeper
from winnow.train.federation import Visits, federate, turns
from winnow.train.fit import fit
from winnow.train.recipes import Recipe
from winnow.train.seeds import derived, generator
from winnow.train.watch import Watch


def training_split(work: Work) -> Split:
    return join([work.split(name) for name in work.params.retrain.splits])


def initial(seed: int) -> int:
    """What the first values of a retrained network are drawn from."""
    return derived(derived(seed, "retrain"), "initialise")


def train_child(
    work: Work,
    arch: Architecture,
    training: Split,
    seed: int,
    watch: Watch,
    label: str,
    keeper: Keeper,
    recipe: Recipe | None = None,
    begun: Start | None = None,
    visits: Visits | None = None,
    record: list[dict[str, Any]] | None = None,
) -> nn.Module:
    """The child of the final space for `arch`, trained; all randomness is from `seed`.

    It begins with what `begun` gives and is trained by `recipe`, or by what stages select and tune left; by the clients
    of retrain.federation, where there is that: `visits` runs them, and `record` gets the record of their rounds.
    """
    recipe = recipe or recipe_of(work.params, work.folder)
    start = derived(seed, "retrain")
    try_child(work.params, work.folder, work.device, arch)
    begun = begun or Start.of(work.params, work.folder, work.device, work.split)
    model = fresh(final_space(work.params, work.folder), arch, work.device, initial(seed))
    model = laid(begun.given(model, arch))
    if work.params.retrain.federation is not None:
        local = local_of(work.params, model, clients_of(work.params.retrain.federation, training), recipe, seed)
        course = turns(local.federation, len(local.clients), local.seed)
        watch.start(label, sum(len(there) for _, there in course))
        with threaded(work.params.retrain.federation.threads):
            rows = federate(local, batch=work.params.select.batch, watch=watch, keeper=keeper, visits=visits)
        if record is not None:
            record += rows
        return model
    batches = Batches(
        training,
        recipe.batch,
        augment=augmentation(work.params, training, recipe.cutout),
        generator=generator(start, "batches"),
        channels_last=True,
        part=ranks.part(),
    )
    watch.start(label, recipe.epochs * len(batches))
    taught = work.task.taught(training)
    return fit(model, batches, recipe, work.task, seed=start, watch=watch, facts=taught, keeper=keeper)
