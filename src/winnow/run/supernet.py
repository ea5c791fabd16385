"""Training the supernet of a space by the strategy that params.yaml names."""

from winnow.config.methods import trainer
from winnow.config.params import Params
from winnow.core.space import Space
from winnow.data.loaders import Batches, in_order
from winnow.run import files
from winnow.run.outside import resolved
from winnow.run.progress import Shown
from winnow.run.search_trials import search_by_trials
from winnow.run.work import Work, augmentation, search_space
from winnow.search.bench import Bench, Found
from winnow.search.collapse import CollapseWatch
from winnow.search.objective import cross_entropy
from winnow.train.checkpoint import Keeper
from winnow.train.seeds import derived, generator, seeded

WEIGHTS = ("epoch", "decision", "option", "weight")  # the columns of weights.csv
WATCHED = 32  # images of split arch that the collapse watch measures on


def trained(work: Work, shown: Shown, keeper: Keeper) -> tuple[Found, CollapseWatch | None]:
    """What the strategy that trains found, and what watched it, where something does; `shown` follows the epochs."""
    params, search = work.params, work.params.search
    name, strategy, options = trainer(params)
    seed = derived(params.seed, "search")
    train, valid = (_batches(work, each, search.batch, seed) for each in ("weights", "arch"))
    space = search_space(params, work.folder, work.device)
    objective = cross_entropy(space, search.precision)
    watch: CollapseWatch | None = None
    if search.collapse != "off" and strategy.watched:
        held = next(iter(in_order(valid.split, min(WATCHED, len(valid.split)))))
        watch = CollapseWatch(shown, space, objective, held, stop=search.collapse == "stop")
    bench = Bench(
        space,
        seed,
        objective=objective,
        train=train,
        valid=valid,
        watch=watch or shown,
        keeper=keeper,
        say=work.say,
        tensors=lambda path: files.read_tensors(resolved(work.folder, path, f"search.{name}"), "search")[0],
        study=lambda: search_by_trials(work),
    )
    with seeded(derived(seed, "train")):
        shown.start(f"search ({name})", search.epochs * len(train))
        return strategy.run(bench, search.recipe(), options), watch


def _batches(work: Work, name: str, batch: int, seed: int) -> Batches:
    split, order = work.split(name), generator(seed, "batches", name)
    return Batches(split, batch, augment=augmentation(work.params, split), generator=order, channels_last=True)


def write_supernet(work: Work, found: Found, shown: Shown) -> None:
    """What selections and reports read of a trained supernet, to disk and to the tracker."""
    folder, space, logits = work.folder, found.space, found.logits
    files.write_tensors(folder / files.SUPERNET, space.state_dict(), about(work.params, space))
    vectors = {} if logits is None else {name: vector.tolist() for name, vector in logits.items()}
    options = {name: list(space.decisions[name].options) for name in vectors}
    moments = {} if logits is None else logits.moments
    files.write_json(folder / files.LOGITS, {"options": options, "logits": vectors, "moments": moments})
    files.write_rows(folder / files.REPORTS / "search.csv", shown.rows)
    rows = [
        {"epoch": row["epoch"], "decision": row["decision"], "option": option, "weight": weight}
        for row in shown.weights
        for option, weight in zip(space.decisions[row["decision"]].options, row["weights"], strict=True)
    ]
    files.write_rows(folder / files.REPORTS / "weights.csv", rows, WEIGHTS)
    for path in (files.SUPERNET, files.LOGITS, files.REPORTS / "search.csv", files.REPORTS / "weights.csv"):
        work.run.artifact(folder / path)
    if shown.weights:
        work.picture("mixture_weights", "weights_over_time", rows)


def about(params: Params, space: Space) -> dict[str, str]:
    """What supernet.safetensors says of itself."""
    return {"space": params.space.name, "space_digest": space.digest, "strategy": trainer(params)[0]}
