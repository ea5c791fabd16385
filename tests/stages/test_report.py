"""The report holds the numbers of the run, needs nothing from outside, and says what is missing."""

import json
import re
import shutil

import pytest
import yaml

from tests.stages.tiny import ROOT, tiny
from winnow.core.errors import Refused
from winnow.pipelines.select import EVIDENCE
from winnow.run import files, report
from winnow.run.lineage import HANDED, SHOWN, of_this_run
from winnow.run.report import collapsed, write_report
from winnow.tasks import task_named


@pytest.fixture
def folder(finished, tmp_path):
    for name in ("reports", "artifacts", "data"):
        shutil.copytree(finished / name, tmp_path / name)
    return tmp_path


def page(folder, **changes) -> str:
    drawn = ("<svg><text>the cell</text></svg>", "<svg><text>score against cost</text></svg>")
    write_report(tiny(**changes), folder, *drawn, folder / "reports/report.html")
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
    assert "score against cost" in text
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
    ["artifacts/evidence.parquet", "reports/search.csv", "reports/errors/confusion.csv", "artifacts/selections.json"],
)
def test_a_missing_part_is_named_in_its_place(folder, missing):
    (folder / missing).unlink()
    text = page(folder)
    assert re.search(rf"[Tt]here is no (\S*/)?{missing}: its stage has not run here", text)
    assert "Lineage" in text


def test_a_record_tells_what_its_run_was_given_and_took(folder):
    for name in ("prepare", "search", "retrain-1", "evaluate"):
        record = json.loads((folder / f"artifacts/runs/{name}.json").read_text())
        assert record["params"]["data.source"] == "digits"
        assert not [key for key in record["params"] if key.startswith("tracking.")]  # addresses are nobody's business
        assert record["seconds"] > 0
    assert "<td>retrain-1</td>" in page(folder).partition("<h2>Cost</h2>")[2].partition("<h2>")[0]


def test_fewer_seeds_show_no_other(folder):
    assert "<td>retrain-1</td>" in (folder / "reports/report.html").read_text()
    fewer = page(folder, retrain__seeds=[0])
    assert "<td>retrain-0</td>" in fewer
    assert "<td>retrain-1</td>" not in fewer
    for left in ("reports/retrain/1.csv", "reports/retrain/1.json", "artifacts/runs/retrain-1.json"):
        (folder / left).unlink()
    assert page(folder, retrain__seeds=[0]) == fewer


def test_a_file_of_another_run_is_told_instead_of_shown(folder):
    assert "is not what" not in (folder / "reports/report.html").read_text()
    for other in (
        "reports/trials.csv",
        "reports/importance.csv",
        "artifacts/evidence.parquet",
        "reports/retrain/0.csv",
    ):
        (folder / other).write_bytes((folder / other).read_bytes() + b" ")
    text = page(folder)
    for told in ("reports/trials.csv is not what search", "Seed 0: reports/retrain/0.csv is not what retrain"):
        assert f"{told} wrote.</p>" in text
    assert text.count("artifacts/evidence.parquet is not what select wrote.</p>") == 2  # Selection and Evidence
    assert text.count("reports/importance.csv is not what tune wrote.</p>") == 1


@pytest.mark.parametrize(
    ("run", "other", "told"),
    [
        (
            "select",
            "artifacts/search/logits.json",
            "artifacts/search has changed since select read it: run `winnow select`",
        ),
        ("search", "data/splits/manifest.json", "data/splits/manifest.json has changed since search read it"),
        ("retrain-1", "artifacts/architecture.json", "artifacts/architecture.json has changed since retrain read it"),
        ("retrain-1", "reports/retrain/0.csv", ""),
        ("search", "artifacts/search/logits.json", "artifacts/search is not what search wrote"),
    ],
)
def test_whose_a_file_is_is_known_by_the_records_of_the_stages(folder, run, other, told):
    assert of_this_run(folder, run) == ""
    (folder / other).write_bytes((folder / other).read_bytes() + b" ")
    assert of_this_run(folder, run).startswith(told)
    assert bool(told) == bool(of_this_run(folder, run))
    (folder / "artifacts/runs" / f"{run}.json").write_text("{")
    with pytest.raises(Refused, match=f"{run}.json is damaged: run `winnow {run.partition('-')[0]}` again"):
        of_this_run(folder, run)


def test_what_stages_write_for_the_report_is_what_dvc_knows_of():
    """A new metric, plot or output is in the record of its stage, or the report could not tell whose it is."""
    for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items():
        entries = [*stage["outs"], *stage.get("metrics", ()), *stage.get("plots", ())]
        paths = {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}
        paths = {path.replace("${item.seed}", "{seed}") for path in paths if not path.startswith("artifacts/runs/")}
        if name == "prepare":
            paths -= {path for path in paths if path.endswith(".parquet")}  # whose digests are in manifest.json
        if name in SHOWN:
            assert paths == {*HANDED[name], *SHOWN[name]}


def test_a_collapsed_cell_is_said_in_red(folder):
    choices = dict.fromkeys(("1<-0", "2<-0", "2<-1", "3<-0", "3<-1"), "skip_connect") | {"3<-2": "nor_conv_3x3"}
    assert (
        "class='alarm'" not in page(folder)
        or collapsed(json.loads((folder / "artifacts/architecture.json").read_text())["choices"]) >= 2 / 3
    )
    change(folder / "artifacts/architecture.json", choices=choices)
    change(folder / "reports/evaluate.json", outcome="no")
    assert "class='alarm'>Collapsed: 83%" in page(folder)
    change(folder / "reports/evaluate.json", outcome="cannot tell")
    assert "class='alarm'>Perhaps collapsed: 83%" in page(folder)
    change(folder / "reports/evaluate.json", outcome="yes")  # such networks win here: no alarm beside a yes
    text = page(folder)
    assert "ollapsed:" not in text
    assert "that is what wins here, no collapse" in text


@pytest.mark.parametrize(
    ("choices", "share"),
    [
        ({"a": "skip_connect", "b": "nor_conv_3x3"}, 0.5),
        ({"a": "none", "b": "avg_pool_3x3"}, 1.0),
        ({"normal/2": (0, 1), "normal/2/0": "sep_conv_3x3", "normal/2/1": "skip_connect"}, 0.5),
        ({"kernel": "3"}, None),
        ({"neck/1<-0": "skip_connect", "neck/2<-0": "top_down", "neck/2<-1": "none", "neck/3<-0": "bottom_up"}, 0.5),
        ({"1<-0": "none", "2<-0": "nor_conv_3x3", "kernel": "top_down"}, 0.5),
        ({}, None),
    ],
)
def test_the_share_counts_operations_only(choices, share):
    assert collapsed(choices) == share


def test_what_pays_and_what_takes_milliseconds_stand_apart(tmp_path):
    judged = {"method": "annealing", "event": 0, "decision": "", "option": "a1", "accuracy": 80.0}
    pays = {"method": "annealing", "event": 0, "decision": "unit1", "option": "depth", "score": 0.75}
    takes = {"method": "annealing", "event": 2, "decision": "unit2", "option": "kernel", "score": -0.25}
    files.write_table(tmp_path / files.EVIDENCE, [judged, pays, takes], EVIDENCE)
    text = report._evidence(tmp_path, task_named("image_classification"))
    first, second = text.index("What pays"), text.index("What takes milliseconds")
    assert first < text.index("+0.750") < second < text.index("-0.250")
    files.write_table(tmp_path / files.EVIDENCE, [judged, pays], EVIDENCE)
    assert "milliseconds" not in report._evidence(tmp_path, task_named("image_classification"))


def test_of_many_classes_the_worst_come_first_and_all_are_folded():
    few, many = ([(f"class {i}", 100.0 - i) for i in range(count)] for count in (20, 21))
    assert "<details>" not in report._by_class(few, "percent")
    worst, whole = report._by_class([*many, ("absent", None)], "percent").split("<details>")
    assert re.findall(r"class \d+", worst) == [f"class {i}" for i in range(20, 10, -1)]
    assert "the worst of 22 classes" in worst
    assert re.findall(r"class \d+|absent", whole) == [*(f"class {i}" for i in range(21)), "absent"]
