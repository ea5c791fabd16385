"""Further searches for stage evaluate: the same by other seeds, and random search as a rival.

Each runs stages search and select in folders of .winnow/study, as a cell of a study does: the same command goes on
after a kill, and a search that is there is not run again.
"""

from typing import Any

from winnow.core.architecture import Architecture
from winnow.run import files
from winnow.run.cells import rows_of
from winnow.run.combinations import Cell
from winnow.run.controls import rival_changes, searched_again
from winnow.run.study_cell import Stage, selected
from winnow.run.work import Work, final_space


def other_finds(work: Work, arch: Architecture, *stages: Stage) -> list[Architecture]:
    """What searches by the seeds after `seed` find, each architecture once and none of them `arch`.

    `stages`, here and below, are the mains of search and select.

    Finds that are equal are one draw, not several: a search that always ends at one network, good or bad by luck,
    would otherwise pass for proven.
    """
    found: dict[str, Architecture] = {}
    searches = work.params.evaluate.searches
    cells = [
        _cell(work, {"seed": seed}, f"search {seed - work.params.seed + 1} of {searches}, seed {seed}")
        for seed in range(work.params.seed + 1, work.params.seed + searches)
    ]
    if work.params.runtime.workers > 1:
        for place, _ in rows_of(work, cells, *stages):
            work.say(f"  {cells[place].method} is there")
    for cell in cells:  # one that failed is run again here, and says why
        find = _find(work, cell, stages)
        if find.digest != arch.digest:
            found.setdefault(find.digest, find)
    return list(found.values())


def random_find(work: Work, *stages: Stage) -> Architecture | None:
    """The best of `evaluate.random_search` random architectures within the same limits; None where it is 0."""
    count = work.params.evaluate.random_search
    return _find(work, _cell(work, rival_changes(work.params), f"random search of {count}"), stages) if count else None


def _cell(work: Work, changes: dict[str, Any], what: str) -> Cell:
    params = searched_again(work.params, work.folder, changes)
    return Cell("", what, "", params.seed, params)


def _find(work: Work, cell: Cell, stages: tuple[Stage, ...]) -> Architecture:
    work.say(f"  {cell.method}:")
    folder, params = selected(work, cell, *stages), cell.params
    return files.read_architecture(folder / files.ARCHITECTURE, final_space(params, work.folder), params.space.name)
