"""What a study will cost and what it will be able to see, before it starts."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from winnow.config.params import Params
from winnow.run.combinations import check_columns, combinations, counted
from winnow.run.comparisons import power
from winnow.run.study_cell import is_there, places
from winnow.tools.plan import plan, share


@dataclass(frozen=True)
class StudyPlan:
    """Seconds are of what is not there yet, measured on a few steps of each space and method on this machine."""

    cells: int
    there: int  # from before
    supernets: int  # still to train
    seconds: dict[str, float]  # by "space, method"
    left_out: list[str]
    power: list[str]


def plan_study(params: Params, folder: Path, say: Callable[[str], None] = lambda text: None) -> StudyPlan:
    """Refused as `plan` and `combinations` refuse."""
    cells, left_out = combinations(params, folder)
    check_columns(cells)
    missing = [cell for cell in cells if not is_there(folder, cell)]
    seconds: dict[str, float] = {}
    supernets = set()
    costs: dict[tuple[str, str, str], dict[str, float]] = {}
    for cell in missing:
        name, key = f"{cell.space}, {cell.method}", (cell.space, cell.method, cell.selection)
        if key not in costs:
            say(f"{name}, {cell.selection}")
            costs[key] = plan(cell.params, folder).seconds
        supernet = places(folder, cell)[0]
        trained = supernet in supernets or (supernet / "done").is_file()
        supernets |= set() if trained else {supernet}
        seconds[name] = seconds.get(name, 0.0) + costs[key]["select"] + (0.0 if trained else costs[key]["search"])
    shared = share(len({places(folder, cell)[0] for cell in missing}), params.runtime.workers)  # a supernet is a job
    seconds = {name: value * shared for name, value in seconds.items()}
    seen = power(*counted(cells))
    return StudyPlan(len(cells), len(cells) - len(missing), len(supernets), seconds, left_out, seen)
