"""stage.combinations: the cells of a study, and what their results say together."""

from pathlib import Path

import pytest
import yaml

from winnow.core.errors import Refused
from winnow.stage.combinations import changed, combinations, gains, ranks, summary, verdict
from winnow.stage.look.standings import groups, standings
from winnow.stage.reading import check_params

FILE = Path(__file__).parents[2] / "params.yaml"


def study(**parts):
    content = yaml.safe_load(FILE.read_text())
    content["study"] |= parts
    return check_params(content)


def row(method: str, selection: str, seed: int, score: float, **more) -> dict:
    plain = {"space": "nb", "parameter_free": 0.5, "collapse": "", "params": 1000, "seconds": 1.0}
    return {**plain, "method": method, "selection": selection, "seed": seed, "score": score, **more}


ROWS = [
    row("darts", "magnitude", 0, 40.0, collapse="6 of the 6"), row("darts", "perturbation", 0, 88.0),
    row("darts", "magnitude", 1, 42.0, collapse="6 of the 6"), row("darts", "perturbation", 1, 86.0),
    row("blank", "perturbation", 0, 90.0), row("blank", "perturbation", 1, 90.0),
]  # fmt: skip


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
        ({"methods": {"x": {"search.strategie": "darts"}}}, "study: params.yaml has no key 'search.strategie'"),
        ({"methods": {"x": {"serch.strategy": "darts"}}}, "study: params.yaml has no section 'serch'"),
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


def test_means_over_seeds_best_first():
    table = summary(ROWS)
    assert [(r["method"], r["selection"], r["mean"], r["n"], r["collapsed"]) for r in table] == [
        ("blank", "perturbation", 90.0, 2, 0),
        ("darts", "perturbation", 87.0, 2, 0),
        ("darts", "magnitude", 41.0, 2, 2),
    ]  # fmt: skip
    assert table[1]["sd"] == pytest.approx(2**0.5)
    assert summary(ROWS[:1])[0]["sd"] is None


def test_ranks_over_complete_blocks_and_the_critical_difference():
    mean, blocks, difference = ranks(ROWS)
    assert mean == {"darts, magnitude": 3.0, "darts, perturbation": 2.0, "blank, perturbation": 1.0}
    assert blocks == 2
    assert difference == pytest.approx(2.343 * (3 * 4 / 6 / 2) ** 0.5, abs=2e-3)  # q of Demšar 2006, table 5
    assert ranks(ROWS[:4] + ROWS[5:])[1] == 1
    tied = ranks([row("a", "m", 0, 1.0), row("b", "m", 0, 1.0)])[0]
    assert tied == {"a, m": 1.5, "b, m": 1.5}


def test_gains_are_paired_by_supernet():
    gain = gains(ROWS, "magnitude")["perturbation"]
    assert (gain.mean, gain.n) == (46.0, 2)  # the blank supernets have no magnitude to compare with


def test_the_verdict_names_the_best_and_says_whether_selection_mattered():
    text = verdict(ROWS, "accuracy")
    assert text.startswith("nb: the best is blank with perturbation: 90.00 ± 0.00 (accuracy, n = 2).")
    assert "perturbation gains 46.00 over magnitude" in text
    assert "undecided" in verdict(ROWS[:2], "accuracy")


def test_neighbours_within_the_critical_difference_are_joined():
    assert groups({"a": 1.0, "b": 1.5, "c": 2.6, "d": 4.0}, 1.2) == [("a", "b"), ("b", "c")]
    assert groups({"a": 1.0, "b": 3.0}, 1.2) == []


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1]])
def test_the_picture_is_drawn(rows):
    figure = standings(rows, *ranks(rows), "accuracy")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert "nb: darts, magnitude" in labels
