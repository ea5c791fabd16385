"""The gate between a working tree and a revision: a real repository with metrics of known spread."""

import json
import subprocess
from pathlib import Path

import pytest

from winnow import cli
from winnow.core.errors import Refused
from winnow.measure.compare import difference
from winnow.stage.trust.gate import gate, seed_band

BASE = {
    "accuracy_mean": 90.0,
    "accuracy_sd": 1.0,
    "n": 3,
    "accuracies": [89.0, 90.0, 91.0],
    "ece": 2.0,
    "params": 1000,
    "macs": 5000,
    "latency_ms": 10.0,
    "latency_low": 9.0,
    "latency_high": 11.0,
    "latency_device": "a processor",
    "verdict": "the search helped",
    "control_accuracy_sd": None,
}


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", folder, "-c", "user.name=t", "-c", "user.email=t@t", *words], check=True)


def metrics(folder: Path, **changes) -> None:
    (folder / "reports").mkdir(exist_ok=True)
    content = {**BASE, **changes}
    content = {name: value for name, value in content.items() if value != "gone"}
    (folder / "reports/evaluate.json").write_text(json.dumps(content))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    metrics(tmp_path)
    (tmp_path / "reports/prepare.json").write_text(json.dumps({"images": {"test": 1000}}))
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "metrics")
    return tmp_path


def test_equal_metrics_pass(project):
    verdict = gate(project, "main")
    assert verdict.passed
    assert len(verdict.commit) == 40


@pytest.mark.parametrize(
    ("drop", "passes"),
    [(0.5, True), (2.0, True), (2.5, False), (10.0, False), (-10.0, True)],  # Welch's half-width is 2.27
)
def test_accuracy_may_fall_by_what_the_seeds_explain(project, drop, passes):
    metrics(project, accuracy_mean=90.0 - drop, accuracies=[89.0 - drop, 90.0 - drop, 91.0 - drop])
    verdict = gate(project, "main")
    assert verdict.passed == passes
    assert [row.metric for row in verdict.failures] == ([] if passes else ["evaluate.accuracy_mean"])


@pytest.mark.parametrize(
    ("change", "passes"),
    [
        ({"params": 1049}, True),
        ({"params": 1051}, False),
        ({"params": 10}, True),
        ({"ece": 4.2}, True),
        ({"ece": 4.3}, False),
        ({"latency_ms": 11.3}, True),
        ({"latency_ms": 11.5}, False),
        ({"latency_ms": 99.0, "latency_device": "another"}, True),
        ({"latency_device": "gone"}, False),
        ({"accuracy_mean": "gone"}, False),
        ({"accuracy_mean": None}, False),
        ({"accuracy_mean": float("nan")}, False),
        ({"accuracy_mean": "90"}, False),
        ({"accuracy_mean": 10**400}, False),
        ({"accuracies": [1, 10**400]}, True),
        ({"n": "gone"}, False),
        ({"verdict": "the search did harm"}, True),
        ({"new_metric": 1.0}, True),
    ],
)
def test_direction_tolerance_and_what_is_missing(project, change, passes):
    metrics(project, **change)
    assert gate(project, "HEAD").passed == passes


def test_a_metrics_file_that_is_gone_fails(project):
    (project / "reports/prepare.json").unlink()
    assert [row.why for row in gate(project, "main").failures] == ["missing"]


def test_seeds_that_agree_leave_room_for_one_image_of_the_test_split(project):
    metrics(project, accuracies=[90.0, 90.0, 90.0])
    git(project, "commit", "--quiet", "--all", "--message", "equal seeds")
    metrics(project, accuracy_mean=89.9, accuracies=[89.9, 89.9, 89.9])  # one of 1000
    assert gate(project, "main").passed
    metrics(project, accuracy_mean=89.8, accuracies=[89.8, 89.8, 89.8])
    assert not gate(project, "main").passed


def test_one_seed_on_both_sides_cannot_be_judged_unless_a_tolerance_is_given(project):
    metrics(project, accuracies=[90.0])
    git(project, "commit", "--quiet", "--all", "--message", "one seed")
    assert "two or more" in gate(project, "main").failures[0].why
    assert gate(project, "main", {"accuracy_mean": 0.5}).passed
    with pytest.raises(Refused, match=r"no metric 'accuracy' is judged.*accuracy_mean"):
        gate(project, "main", {"accuracy": 0.5})


def test_the_band_is_half_of_welchs_interval_and_is_borrowed_by_a_single_seed():
    first, second = [89.0, 90.0, 91.0], [80.0, 84.0, 88.0, 85.0]
    gap = difference(first, second)
    assert seed_band(first, second) == pytest.approx((gap.high - gap.low) / 2)
    assert seed_band([90.0], first) == pytest.approx(4.302653 * (1 + 1 / 3) ** 0.5)  # t(2) from a table, sd 1
    assert seed_band([90.0], [91.0]) is None


def test_another_test_split_fails(project):
    def lock(md5: str) -> str:
        return f"stages: {{prepare: {{cmd: x, outs: [{{path: data/splits/test.parquet, md5: '{md5}'}}]}}}}"

    (project / "dvc.lock").write_text(lock("a" * 32))
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "lock")
    assert gate(project, "main").passed
    (project / "dvc.lock").write_text(lock("b" * 32))
    assert [row.metric for row in gate(project, "main").failures] == ["test split"]


def test_the_command_prints_markdown_and_has_a_status(project, capsys):
    options = ["--against", "main", "--folder", str(project)]
    assert cli.run(["gate", *options]) == 0
    assert "### Gate passed" in capsys.readouterr().out
    metrics(project, params=2000)
    assert cli.run(["gate", *options, "--out", str(project / "gate.md")]) == 1
    printed = capsys.readouterr().out
    assert "### Gate failed: 1 of" in printed
    assert "| **FAIL** | evaluate.params (lower is better) | 1000 | 2000 |" in printed
    assert (project / "gate.md").read_text() == printed
    assert cli.run(["gate", *options, "--tolerance", "params=1000"]) == 0
    assert cli.run(["gate", *options, "--tolerance", "params"]) == 2
    assert cli.run(["gate", "--against", "nowhere", "--folder", str(project)]) == 2
    assert cli.run(["gate", "--against", "--all", "--folder", str(project)]) == 2
    assert "no revision" in capsys.readouterr().err
