"""What a find of a study is worth by itself: trained alone by retrain's recipe, and judged on split select."""

import json
from dataclasses import replace
from pathlib import Path

from winnow.core.architecture import Architecture
from winnow.data.loaders import join
from winnow.run import files, tested
from winnow.run.children import train_child
from winnow.run.combinations import Cell
from winnow.run.compared import kept_in
from winnow.run.start import Start
from winnow.run.work import Work
from winnow.train.watch import Watch

KEPT = "trained.json"  # in the folder of the selection


def trained_score(work: Work, cell: Cell, choices: str, place: Path) -> float:
    """The first metric of the task, on split select, of the architecture in JSON `choices`: from fresh weights, of the
    cell's seed, on those of `retrain.splits` that are not select. Kept in `place`, where a second call reads it.
    """
    path = place / KEPT
    if path.is_file():
        known: float = files.read_json(path, "study")["score"]
        return known
    params = cell.params
    here = replace(work, params=params, stage="retrain")  # which reads all but test, as this does
    arch, recipe = Architecture.from_json(choices), params.retrain.recipe()
    training = join([here.split(name) for name in params.retrain.splits if name != "select"])
    with kept_in(place / "trained", params.runtime.checkpoint_seconds) as keeper:
        watch = Watch()
        model = train_child(here, arch, training, cell.seed, watch, cell.name, keeper, recipe, Start()).eval()
    select = here.split("select")
    score = tested.score(work.task, tested.outputs(model, select, params.evaluate.batch), select)
    files.write_text(path, json.dumps({"score": score}))
    return score
