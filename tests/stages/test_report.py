"""The report holds the numbers of the run, needs nothing from outside, and says what is missing."""

import json
import re
import shutil

import pytest

from winnow.stage.report import collapsed, write_report


@pytest.fixture
def folder(finished, tmp_path):
    for name in ("reports", "artifacts", "data"):
        shutil.copytree(finished / name, tmp_path / name)
    return tmp_path


def page(folder) -> str:
    write_report(folder, "<svg><text>the cell</text></svg>", folder / "reports/report.html")
    return (folder / "reports/report.html").read_text()


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_it_holds_what_was_measured_and_found(folder):
    result = json.loads((folder / "reports/evaluate.json").read_text())
    text = page(folder)
    assert f"{result['accuracy_mean']:.2f} ± {result['accuracy_sd']:.2f}" in text
    assert result["verdict"] in text
    assert f"{result['params']:,}" in text
    assert "the cell" in text
    selections = json.loads((folder / "artifacts/selections.json").read_text())
    for method, row in selections["methods"].items():
        assert method in text
        assert row["digest"] in text
    differing = sum(not row["agree"] for row in selections["disagreements"])
    assert text.count("class='differs'") == differing


def test_it_needs_nothing_from_outside(folder):
    text = page(folder)
    assert "<script" not in text
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!#|data:image/)[^"']+""", text)
    assert len(text) < 3_000_000


def test_names_of_classes_are_text_not_markup(folder):
    classes = ["<script>alert(1)</script>", *map(str, range(1, 10))]
    change(folder / "reports/evaluate.json", classes=classes)
    text = page(folder)
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize(
    "missing",
    ["artifacts/evidence.parquet", "reports/search.csv", "reports/confusion.csv", "artifacts/selections.json"],
)
def test_a_missing_part_is_named_in_its_place(folder, missing):
    (folder / missing).unlink()
    text = page(folder)
    assert f"There is no {folder / missing}" in text
    assert "Lineage" in text


def test_a_collapsed_cell_is_said_in_red(folder):
    choices = dict.fromkeys(("1<-0", "2<-0", "2<-1", "3<-0", "3<-1"), "skip_connect") | {"3<-2": "nor_conv_3x3"}
    assert (
        "class='alarm'" not in page(folder)
        or collapsed(json.loads((folder / "artifacts/architecture.json").read_text())["choices"]) >= 2 / 3
    )
    change(folder / "artifacts/architecture.json", choices=choices)
    assert "class='alarm'>Collapsed: 83%" in page(folder)


@pytest.mark.parametrize(
    ("choices", "share"),
    [
        ({"a": "skip_connect", "b": "nor_conv_3x3"}, 0.5),
        ({"a": "none", "b": "avg_pool_3x3"}, 1.0),
        ({"normal/2": (0, 1), "normal/2/0": "sep_conv_3x3", "normal/2/1": "skip_connect"}, 0.5),
        ({"kernel": "3"}, None),
        ({}, None),
    ],
)
def test_the_share_counts_operations_only(choices, share):
    assert collapsed(choices) == share
