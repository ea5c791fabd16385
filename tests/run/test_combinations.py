"""stage.combinations: the cells of a study."""

from pathlib import Path

import pytest
import yaml

from winnow.config.reading import check_params
from winnow.core.errors import Refused
from winnow.run.combinations import INHERITED, changed, combinations

FILE = Path(__file__).parents[2] / "params.yaml"


def study(**parts):
    return check_params(changed(mixture(), {f"study.{name}": value for name, value in parts.items()}))


def mixture():
    """The shipped file with DARTS and DARTS-PT in the place of what it searches and selects with."""
    chosen = {"search.strategy": "darts", "select.methods": ["perturbation", "magnitude"]}
    return changed(yaml.safe_load(FILE.read_text()), chosen)


def test_every_combination_that_means_something_is_a_cell(tmp_path):
    cells, left_out = combinations(study(), tmp_path)
    assert len(cells) == (3 * 2 - 1) * 3
    assert len(left_out) == 1
    assert left_out[0].startswith("as above blank magnitude: 'magnitude' compares trained logits")
    one = next(cell for cell in cells if cell.name == "as above beta_darts magnitude 2")
    assert (one.params.seed, one.params.search.strategy, one.params.select.methods) == (2, "beta_darts", ["magnitude"])
    assert not one.params.tracking.enabled
    supernets = [(cell.space, cell.method, cell.seed) for cell in cells]
    assert sorted(set(supernets), key=supernets.index) == [s for i, s in enumerate(supernets) if s != supernets[i - 1]]


def test_files_become_absolute(tmp_path):
    cells, _ = combinations(study(selections={"m": {"select.methods": ["magnitude"], "select.table": "t"}}), tmp_path)
    assert cells[0].params.select.table == str(tmp_path.resolve() / "t")


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"methods": {"x": {"search.strategie": "darts"}}}, "unknown key search.strategie (did you mean 'strategy'?)"),
        ({"methods": {"x": {"serch.strategy": "darts"}}}, "unknown key serch (did you mean 'search'?)"),
        ({"methods": {"x": {"search.epochs": 0}}}, "study, x: search.epochs: input should be greater than"),
        ({"methods": {"x": {"search.strategy": "spos"}}}, "study: no combination means anything"),
    ],
)
def test_a_cell_that_makes_no_sense_is_one_sentence(tmp_path, parts, sentence):
    with pytest.raises(Refused) as told:
        combinations(study(**parts), tmp_path)
    assert sentence in str(told.value)
    assert "\n" not in str(told.value)


def test_changes_leave_the_original_alone():
    content = {"a": {"b": {"c": 1}, "d": 2}}
    assert changed(content, {"a.b.c": 5}) == {"a": {"b": {"c": 5}, "d": 2}}
    assert content["a"]["b"]["c"] == 1


def test_a_unit_is_that_of_the_cell_not_of_the_file(tmp_path):
    spaces = {"bare": {}, "known": {"select.table": "t.parquet", "study.column": "c100"}}
    cells, _ = combinations(study(spaces=spaces), tmp_path)
    assert {cell.space: cell.unit for cell in cells} == {
        "bare": INHERITED,
        "known": "c100 of the benchmark's table, percent",
    }


def test_a_cell_stands_on_what_it_uses_and_on_nothing_else(tmp_path):
    """Another option of a strategy, space or selection that does not run computes nothing again."""

    def bases(**changes):
        content = changed(mixture(), changes)
        cells, _ = combinations(check_params(content), tmp_path)
        return {cell.name: (cell.searched(), cell.selected()) for cell in cells if cell.seed == 0}

    plain = bases()
    changes = {"search.gdas.temperature": 3.0, "space.darts.layers": 8, "select.likeliest.count": 5}
    assert bases(**{**changes, "search.training_free.batch": 8, "search.trials.count": 99}) == plain
    stronger = bases(**{"search.beta_darts.strength": 1.0})
    assert {name for name in plain if stronger[name] != plain[name]} == {n for n in plain if "beta_darts" in n}
    other = bases(**{"select.perturbation.tune_epochs": 9})
    assert {n for n in plain if other[n] != plain[n]} == {n for n in plain if "perturbation" in n}
    assert all(other[name][0] == plain[name][0] for name in plain)
    for key in ("search.batch", "space.nas_bench_201.channels", "data.augment.pad"):
        moved = bases(**{key: 7})
        assert all(moved[name] != plain[name] for name in plain)


def test_a_baseline_that_is_no_combination_names_the_nearest():
    with pytest.raises(Refused, match=r"no combination 'darts, perturbatio'.*did you mean 'darts, perturbation'"):
        study(baseline="darts, perturbatio")
