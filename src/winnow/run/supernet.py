"""Training the supernet of a space by the strategy that params.yaml names."""

from pathlib import Path

import torch

from winnow.config.params import Params
from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.data.loaders import Batches, in_order
from winnow.measure.latency import latency_ms
from winnow.run import files
from winnow.run.outside import resolved
from winnow.run.progress import Shown
from winnow.run.work import Work, augmentation, search_space
from winnow.search.collapse import CollapseWatch
from winnow.search.estimators import Reward
from winnow.search.methods import METHODS
from winnow.search.objective import cross_entropy
from winnow.search.relax import Logits
from winnow.train.checkpoint import Keeper
from winnow.train.seeds import derived, generator, seeded

WATCHED = 32  # images of split arch that the collapse watch measures on


def trained(
    work: Work, strategy: str, shown: Shown, keeper: Keeper
) -> tuple[Space, Logits | None, CollapseWatch | None]:
    """The supernet, its logits and what watched it, where the strategy has them; `shown` follows the epochs."""
    params = work.params
    settings = params.search.model_copy(update={"strategy": strategy})
    seed = derived(params.seed, "search")
    batches = {}
    for name in ("weights", "arch"):
        split = work.split(name)
        order = generator(seed, "batches", name)
        batches[name] = Batches(
            split, settings.batch, augment=augmentation(params, split), generator=order, channels_last=True
        )
    space = search_space(params, work.folder, work.device)
    if strategy == "subset" and settings.subset.pretrained is not None:
        load_pretrained(space, resolved(work.folder, settings.subset.pretrained, "search.subset.pretrained"))
    objective, recipe = cross_entropy(space, settings.precision), settings.recipe()
    if strategy == "unas" and settings.unas.latency_ms is not None:
        recipe["reward"] = latency_reward(space, work, settings.unas.latency_ms)
    watch: CollapseWatch | None = None
    if settings.collapse != "off" and strategy not in ("spos", "blank"):  # whose choice says nothing of the mixture
        held = next(iter(in_order(batches["arch"].split, min(WATCHED, len(batches["arch"].split)))))
        watch = CollapseWatch(shown, space, objective, held, stop=settings.collapse == "stop")
    with seeded(derived(seed, "train")):
        shown.start(f"search ({strategy})", settings.epochs * len(batches["weights"]))
        logits = METHODS[strategy](
            space,
            batches["weights"],
            batches["arch"],
            objective=objective,
            seed=seed,
            watch=watch or shown,
            keeper=keeper,
            **recipe,
        )
    return space, logits, watch


def load_pretrained(space: Space, path: Path) -> None:
    """Put the weights of `path` into `space`; a last layer for other classes keeps its own. Refused where more differs.

    What was trained on one data set is then searched for another.
    """
    tensors, _ = files.read_tensors(path, "search")
    state = space.state_dict()
    last = next(reversed([name for name, module in space.named_modules() if isinstance(module, torch.nn.Linear)]), None)
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


def latency_reward(space: Space, work: Work, target: float) -> Reward:
    """Minus the milliseconds that a child takes above `target`, for one image on the device of the search."""
    known: dict[str, float] = {}

    def reward(arch: Architecture) -> float:
        if arch.digest not in known:
            child = space.derive(arch)
            known[arch.digest] = latency_ms(child, space.image, device=work.device, warmup=2, repeats=11).median
        return -max(0.0, known[arch.digest] - target)

    return reward


def about(params: Params, space: Space, strategy: str) -> dict[str, str]:
    """What supernet.safetensors says of itself."""
    return {"space": params.space.name, "space_digest": space.digest, "strategy": strategy}
