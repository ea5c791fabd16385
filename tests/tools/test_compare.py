"""Runs side by side: from the committed report, changed by hand; what is refused, and what is said."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from scipy.stats import t

from winnow.cli.main import run
from winnow.core.errors import Refused
from winnow.look.side_by_side import side_by_side
from winnow.tools.compare import came_out, check_alike, differing, read_run, remarks, runs_named, same_test
from winnow.tools.compare_page import compare_page, compare_text

ROOT = Path(__file__).parents[2]
ANSWERS = {"1<-0": "nor_conv_3x3", "2<-0": "none"}
JUDGED = {"outcome": "yes", "verdict": "yes, better"}  # whatever the committed run came to


@pytest.fixture
def project(tmp_path):
    """Makes a folder as a run leaves it: `result` changes evaluate.json, `params` by dotted key params.yaml."""

    def made(name, params=(), **result):
        folder = tmp_path / name
        (folder / "reports").mkdir(parents=True)
        told = json.loads((ROOT / "reports/evaluate.json").read_text()) | JUDGED | result
        (folder / "reports/evaluate.json").write_text(json.dumps(told))
        content = yaml.safe_load((ROOT / "params.yaml").read_text())
        for key, value in dict(params).items():
            section, _, last = key.partition(".")
            content.setdefault(section, {})[last] = value
        (folder / "params.yaml").write_text(yaml.safe_dump(content))
        shutil.copy(ROOT / "dvc.lock", folder)
        return folder

    return made


def record(folder, **content):
    (folder / "artifacts/runs").mkdir(parents=True, exist_ok=True)
    (folder / "artifacts/runs/evaluate.json").write_text(json.dumps(content))


def both(a, b):
    return [read_run(a, "a"), read_run(b, "b")]


def test_only_what_differs_is_told_and_options_of_one_strategy_apart(project):
    darts = {"search.strategy": "darts", "search.epochs": 50, "select.methods": ["magnitude"]}
    shared, own = differing(both(project("a"), project("b", darts)))
    assert shared == [
        ["search.strategy", "spos", "darts"],
        ["search.epochs", "100", "50"],
        ["select.methods", '["finalists"]', '["magnitude"]'],
    ]
    assert all("–" in row for row in own)
    assert differing(both(project("c"), project("d", {"gate.margin": 2.0}))) == ([], [])


def test_scores_stand_beside_the_first_with_welchs_interval(project):
    beside = {"control_n": 2, "control_score_mean": 55.0, "control_score_sd": 7.071}
    runs = both(project("a", scores=[60.0, 62.0, 64.0], **beside), project("b", scores=[70.0, 71.0, 72.0]))
    rows = {row[0]: row[1:] for row in came_out(runs)}
    va, vb = 1 / 3, 4 / 3  # variances of the means
    half = t.ppf(0.975, (va + vb) ** 2 / (va**2 / 2 + vb**2 / 2)) * (va + vb) ** 0.5
    assert rows["beside a"] == ["this is it", f"+9.00 points [{9 - half:+.2f}, {9 + half:+.2f}]"]
    assert rows["better than random?"] == ["yes", "yes"]
    assert rows["random networks"][0] == "55.00 ± 7.07 % (n = 2)"
    assert rows["search took"] == ["–", "–"]  # nobody measured it: not nought


def test_a_rival_that_one_of_them_met_is_a_row(project):
    met = [{"name": "original", "outcome": "no", "verdict": "no, worse", "params": 1, "macs": 1, "scores": [1.0]}]
    rows = {row[0]: row[1:] for row in came_out(both(project("a"), project("b", against=met)))}
    assert rows["as good as your network?"] == ["–", "no"]


def test_another_metric_is_refused(project):
    with pytest.raises(Refused, match="a is of metric accuracy, b of auc: their scores do not compare"):
        check_alike(both(project("a"), project("b", metric="auc")))


def test_another_task_is_refused(project):
    a, b = project("a"), project("b")
    record(b, params={"task": "clicks"})
    with pytest.raises(Refused, match="a is of task image_classification, b of clicks"):
        check_alike(both(a, b))


def test_one_run_and_one_run_twice_are_refused(project):
    a = read_run(project("a"), "a")
    with pytest.raises(Refused, match="takes two runs or more, not 1"):
        check_alike([a])
    with pytest.raises(Refused, match="a is named twice"):
        check_alike([a, a])


def test_a_run_that_is_not_finished_or_old_is_refused(project):
    folder = project("a")
    record(folder, read={"artifacts/architecture.json": "0" * 32}, wrote={})
    assert read_run(folder, "a").name == "a"  # the file is not here, as in a fresh clone
    (folder / "artifacts/architecture.json").write_text("{}")
    with pytest.raises(
        Refused, match=r"a is not finished: artifacts/architecture.json has changed since evaluate read"
    ):
        read_run(folder, "a")
    old = json.loads((folder / "reports/evaluate.json").read_text())
    del old["control_macs"]
    (folder / "reports/evaluate.json").write_text(json.dumps(old))
    with pytest.raises(Refused, match="of an older winnow, it lacks 'control_macs': run `winnow evaluate` there again"):
        read_run(folder, "a")
    (folder / "reports/evaluate.json").unlink()
    with pytest.raises(Refused, match=r"a is not finished: there is no reports/evaluate.json"):
        read_run(folder, "a")


def test_other_test_rows_are_said_and_not_refused(project):
    a, b = project("a"), project("b")
    runs = both(a, b)
    assert same_test(runs) is True  # by the files that dvc.lock names
    assert remarks(runs)[0] == "All were tested on the same 1,170 rows."
    lock = yaml.safe_load((b / "dvc.lock").read_text())
    out = next(out for out in lock["stages"]["prepare"]["outs"] if out["path"] == "data/splits/test.parquet")
    out["md5"] = "0" * 32
    (b / "dvc.lock").write_text(yaml.safe_dump(lock))
    runs = both(a, b)
    check_alike(runs)
    assert remarks(runs)[0].startswith("The test rows differ (a 1,170, b 1,170)")
    assert "<p class='alarm'>The test rows differ" in compare_page(runs)
    (b / "dvc.lock").unlink()
    runs = both(a, b)
    assert same_test(runs) is None
    assert remarks(runs)[0].startswith("Whether all were tested on the same 1,170 rows is not known")


def test_a_loaded_machine_is_said(project):
    told = " ".join(remarks(both(project("a", latency_load=3.5), project("b", latency_load=0.0))))
    assert "others loaded the machine (a 3.5): less is quicker" in told
    assert "loaded" not in " ".join(remarks(both(project("c", latency_load=0.0), project("d", latency_load=None))))


def test_what_a_record_tells_comes_before_params_yaml(project):
    a, b = project("a"), project("b", {"search.epochs": 7})
    record(a, params={"task": "image_classification", "search.epochs": "3"})
    shared, _ = differing(both(a, b))
    assert shared == [["search.epochs", "3", "7"]]
    assert "Parameters of b are those of params.yaml as it stands: no record tells them." in remarks(both(a, b))


def test_the_page_needs_nothing_from_outside_and_runs_nothing_of_theirs(project):
    a, b = project("a"), project("b", architecture="<b>other</b>")
    (a / "reports/architecture.svg").write_text("<svg><script>alert(1)</script></svg>")
    (a / "artifacts").mkdir()
    digest = json.loads((a / "reports/evaluate.json").read_text())["architecture"]
    (a / "artifacts/architecture.json").write_text(json.dumps({"digest": digest, "choices": ANSWERS}))
    text = compare_page(both(a, b))
    assert "<script" not in text
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!#|data:image/)[^"']+""", text)
    assert "1&lt;-0 nor_conv_3x3; 2&lt;-0 none" in text
    assert "&lt;b&gt;other&lt;/b&gt;; its answers are not told in words here" in text
    assert text.count("class='verdict yes'") == 2
    assert "aria-label='Test accuracy against multiply-accumulates of a, b; numbers below'" in text


def test_decisions_that_differ_are_marked(project):
    folders = [project("a"), project("b", architecture="else")]
    for folder, digest, edge in zip(folders, ("9eba2bf97ad9", "else"), ("none", "skip_connect"), strict=True):
        told = json.loads((folder / "reports/evaluate.json").read_text()) | {"architecture": digest}
        (folder / "reports/evaluate.json").write_text(json.dumps(told))
        (folder / "artifacts").mkdir()
        content = {"digest": digest, "choices": ANSWERS | {"2<-0": edge}}
        (folder / "artifacts/architecture.json").write_text(json.dumps(content))
    text = compare_page(both(*folders))
    assert "<tr class='differs'><td>2&lt;-0</td><td>none</td><td>skip_connect</td></tr>" in text
    assert "<tr><td>1&lt;-0</td><td>nor_conv_3x3</td><td>nor_conv_3x3</td></tr>" in text


def test_random_networks_are_in_no_mean_of_the_picture():
    found = [{"cost": 2.0, "score": score, "low": None, "high": None} for score in (80.0, 82.0)]
    random = [{"cost": 1.0, "score": 10.0, "random": True}]
    axes = side_by_side({"a panel": {"spos": found + random}}, ("cost", 1.0)).axes[0]
    hollow, seeds, mean = axes.lines
    assert (list(hollow.get_ydata()), hollow.get_fillstyle()) == ([10.0], "none")
    assert list(seeds.get_ydata()) == [80.0, 82.0]
    assert (list(mean.get_xdata()), list(mean.get_ydata())) == ([2.0], [81.0])
    assert mean.get_label() == "spos (n = 2)"


def test_a_folder_from_mlflow_is_a_run(project, tmp_path):
    plain = tmp_path / "from_mlflow"
    plain.mkdir()
    shutil.copy(ROOT / "reports/evaluate.json", plain)
    with pytest.raises(Refused, match=r"params.json"):
        read_run(plain, "m")
    (plain / "params.json").write_text(json.dumps({"task": "image_classification", "search.epochs": "3"}))
    shared, _ = differing([read_run(plain, "m"), read_run(project("a"), "a")])
    assert shared == [["search.epochs", "3", "100"]]


def test_the_command_prints_and_writes(project, tmp_path, capsys, monkeypatch):
    a, b = project("a"), project("b", {"search.epochs": 50})
    monkeypatch.chdir(tmp_path)
    assert run(["compare", "a", str(b), "--out", "both.html"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"(?m)^search\.epochs +100 +50$", printed)
    assert "wrote both.html" in printed
    assert (tmp_path / "both.html").read_text() == compare_page(runs_named(["a", str(b)], tmp_path))
    assert compare_text(runs_named(["a", str(b)], tmp_path)) in printed
    assert run(["compare", "a", "c"]) == 2
    assert "no folder 'c', and no params.yaml" in capsys.readouterr().err
    assert run(["compare", "a", "c", "--folder", str(a)]) == 2
    assert "no folder 'c', and there are no runs yet in the tracking store" in capsys.readouterr().err
