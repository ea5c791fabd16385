"""Stage retrain: reads architecture.json and the training splits; writes artifacts/retrain/<seed>/model.safetensors."""

if __name__ == "__main__":  # a script's folder heads the path, where select.py would hide the standard library's
    import sys

    sys.path.pop(0)

from pathlib import Path

from torch import nn

from winnow.core.architecture import Architecture
from winnow.data.loaders import Batches, Split, join
from winnow.stage import files
from winnow.stage.checkpoint import checkpoints
from winnow.stage.dry import try_child
from winnow.stage.model import load_model
from winnow.stage.params import Params
from winnow.stage.progress import Shown
from winnow.stage.trust.provenance import provenance, tags
from winnow.stage.trust.revision import md5_of
from winnow.stage.work import Work, about_model, augmentation, facts, final_space, recipe_of, working
from winnow.train.building import fresh, laid
from winnow.train.checkpoint import Keeper
from winnow.train.fit import fit
from winnow.train.recipes import Recipe
from winnow.train.seeds import derived, generator
from winnow.train.watch import Watch


def main(params: Params, folder: Path, seed: int) -> None:
    splits = tuple(params.retrain.splits)
    name = f"retrain-{seed}"
    with (
        working("retrain", params, folder, splits=splits, upstream=("select", "tune"), name=name) as work,
        checkpoints(work, files.ARCHITECTURE, files.RECIPE, name=name, seed=seed) as keeper,
    ):
        space = final_space(params, folder)
        arch = files.read_architecture(folder / files.ARCHITECTURE, space, params.space.name)
        training = training_split(work)
        with Shown(work.run) as watch:
            model = train_child(work, arch, training, seed, watch, f"retrain (seed {seed})", keeper)
        path = files.retrained(seed)
        origin = provenance(params, folder, recipe_of(params, folder), work.device, work.outside)
        about = about_model(params, facts(folder), arch, training, seed, initial=initial(seed)) | {"provenance": origin}
        files.write_tensors(folder / path, model.state_dict(), about)
        files.write_rows(folder / files.REPORTS / f"retrain/{seed}.csv", watch.rows)
        last = {"train_loss": watch.rows[-1]["loss"], "train_accuracy": watch.rows[-1]["accuracy"]}
        files.write_json(folder / files.REPORTS / f"retrain/{seed}.json", last)
        for name, value in (tags(origin, arch.digest) | {"winnow.model": md5_of(folder / path)}).items():
            work.run.tag(name, value)
        work.run.artifact(folder / path)
        work.run.artifact(folder / files.REPORTS / f"retrain/{seed}.csv")
        work.picture("learning_curves", "curves", {f"seed {seed}": watch.rows}, ["loss", "accuracy", "lr"])
        work.say(f"retrained {arch.digest} from scratch, seed {seed}: training accuracy {last['train_accuracy']:.2f} %")
        work.say(f"  wrote {path}; next: winnow evaluate (after all of retrain.seeds)")


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
) -> nn.Module:
    """The child of the final space for `arch`, initialised and trained from scratch; all randomness is from `seed`.

    By `recipe`, or by the one that stage tune left.
    """
    recipe = recipe or recipe_of(work.params, work.folder)
    start = derived(seed, "retrain")
    try_child(work.params, work.folder, work.device, arch)
    model = laid(fresh(final_space(work.params, work.folder), arch, work.device, initial(seed)))
    batches = Batches(
        training,
        recipe.batch,
        augment=augmentation(work.params, training, recipe.cutout),
        generator=generator(start, "batches"),
        channels_last=True,
    )
    watch.start(label, recipe.epochs * len(batches))
    return fit(model, batches, recipe, seed=start, watch=watch, keeper=keeper)


def logged_model(folder: Path, file: str, space: str | None = None) -> nn.Module:
    """For the tracker: the network of `file` in `folder`, without the parts that only training uses."""
    return load_model(folder / file, space)[0]


if __name__ == "__main__":
    from winnow.cli import run_stage

    run_stage("retrain")
