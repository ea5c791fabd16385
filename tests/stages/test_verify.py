"""Verification of the tiny pipeline: true where nothing changed, and each kind of difference told from the others."""

import hashlib
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.stages.locked import locked_copy, write_lock
from tests.stages.tiny import tiny
from winnow.cli import main as cli
from winnow.core.errors import Refused
from winnow.pipelines import study
from winnow.run import files
from winnow.run.revision import read_lock
from winnow.trust import verify as verifying
from winnow.trust.certificate import as_markdown
from winnow.trust.circumstances import NO_REPOSITORY, Circumstances
from winnow.trust.same import ABSENT, CONTENT, DIFFERS, EQUAL, SKIPPED, same
from winnow.trust.verify import BAND, BITS, DECISION, Certificate

METHODS = ["perturbation", "magnitude", "evolution"]


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory):
    return locked_copy(finished, tmp_path_factory.mktemp("verified"))


@pytest.fixture
def inside(monkeypatch):
    """Stages run in this process, which has torch already; that they run in one of their own is tested by prepare."""

    def run(name: str, folder: Path, scratch: Path) -> str:
        stage, _, seed = name.partition("@")
        status = cli.run([stage, "--folder", str(scratch), *(["--seed", seed] if seed else [])])
        return f"status {status}" if status else ""

    monkeypatch.setattr(verifying, "_run", run)


def digests(folder: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


def test_the_whole_pipeline_again_gives_equal_bits_and_changes_nothing(project, tmp_path, inside):
    before = digests(project)
    found = verifying.verify(tiny(select__methods=METHODS), project, tmp_path)
    assert {name: stage.verdict for name, stage in found.stages.items()} == {
        name: BITS for name in ("inputs", "prepare", "search", "select", "tune", "retrain@0", "retrain@1", "evaluate")
    }
    assert found.kept
    assert found.promised == (BITS,)
    outputs = {name: verdict for stage in found.stages.values() for name, (verdict, _) in stage.outputs.items()}
    excused = {name: verdict for name, verdict in outputs.items() if verdict != EQUAL and "runs/" not in name}
    assert excused == {
        "artifacts/tune/trials.parquet": CONTENT,
        "reports/evaluate.json": CONTENT,
        "reports/report.html": SKIPPED,
    }
    assert digests(project) == before


def test_the_command_runs_a_stage_in_its_own_process_and_writes_a_certificate(project, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.run(["verify", "prepare", "--folder", str(project), "--out", str(out)]) == 0
    told = json.loads((out / "certificate.json").read_text())
    assert told["kept"] is True
    assert told["stages"]["prepare"]["verdict"] == BITS
    assert told["machine"]["device"].startswith("cpu")
    assert (out / "certificate.md").read_text() == capsys.readouterr().out
    assert cli.run(["verify", "prepare", "--folder", str(project), "--scratch", str(out)]) == 2


@pytest.mark.parametrize(
    ("commit", "told"), [("0123456789abcdef", "Commit 0123456789, on"), (NO_REPOSITORY, "No repository, on")]
)
def test_a_certificate_says_of_which_commit_it_is(commit, told):
    around = Circumstances(commit, {"processor": "an abacus"}, alike=True)
    assert f"{told} an abacus." in as_markdown(Certificate(around, {}))


def compared(project, tmp_path, stage, record):
    """The verdict on `stage` where what is recorded was changed by `record`, and all ran as in `project`."""
    scratch, changed = tmp_path / "again", tmp_path / "recorded"
    for folder in (scratch, changed):
        shutil.copytree(project, folder, ignore=shutil.ignore_patterns(".git"))
    record(changed)
    write_lock(changed)
    lock = read_lock((changed / "dvc.lock").read_text())
    return verifying._compare(stage, lock[stage], changed, scratch, "")


def changed_json(name, **changes):
    def change(folder):
        content = json.loads((folder / name).read_text())
        for key, value in changes.items():
            *sections, last = key.split("__")
            place = content
            for section in sections:
                place = place[section]
            place[last] = value
        (folder / name).write_text(json.dumps(content))

    return change


@pytest.mark.parametrize(
    ("stage", "change", "verdict"),
    [
        ("select", changed_json("reports/select.json", magnitude__params=1), DECISION),
        ("select", changed_json("artifacts/architecture.json", choices={}), DIFFERS),
        ("evaluate", changed_json("reports/evaluate.json", latency_ms=99.0), BITS),
        ("evaluate", changed_json("reports/evaluate.json", ece=1e9), DECISION),
        ("evaluate", changed_json("reports/evaluate.json", ece=1e9, helped="unheard of"), DIFFERS),
        ("search", changed_json("reports/search.json", train_loss=1e9), DIFFERS),
        ("prepare", changed_json("reports/prepare.json", classes=11), DECISION),
        ("search", lambda f: (f / "artifacts/search/logits.json").write_text("{}"), BAND),
        ("retrain@1", lambda f: (f / "artifacts/retrain/1/model.safetensors").write_text(""), BAND),
    ],
)
def test_each_kind_of_difference_has_its_verdict(project, tmp_path, stage, change, verdict):
    assert compared(project, tmp_path, stage, change).verdict == verdict


def test_metrics_within_what_seeds_give_are_within_the_band(project, tmp_path):
    told = json.loads((project / "reports/evaluate.json").read_text())
    near = {"accuracy_mean": told["accuracy_mean"] + 1e-3, "params": told["params"]}
    spread = {"accuracies": [told["accuracy_mean"] - 1, told["accuracy_mean"] + 1]}

    def record(folder):
        changed_json("reports/evaluate.json", **near, **spread)(folder)

    assert compared(project, tmp_path, "evaluate", record).verdict == BAND


def test_an_output_that_is_not_written_differs(project, tmp_path):
    scratch = tmp_path / "again"
    shutil.copytree(project, scratch)
    (scratch / "artifacts/evidence.parquet").unlink()
    lock = read_lock((project / "dvc.lock").read_text())
    assert verifying._compare("select", lock["select"], project, scratch, "").verdict == DIFFERS
    assert verifying._compare("select", lock["select"], project, scratch, "status 2: no").note == "status 2: no"


def test_trials_are_compared_without_their_seconds_and_nothing_else_is_left_out(project, tmp_path):
    table = pq.read_table(project / files.TUNE_TRIALS)
    for column, verdict in (("seconds", CONTENT), ("state", DIFFERS)):
        values = ["failed" if column == "state" else 9.0] * len(table)
        at = table.column_names.index(column)
        pq.write_table(table.set_column(at, column, pa.array(values, table[column].type)), tmp_path / "t.parquet")
        told = same(files.TUNE_TRIALS.as_posix(), tmp_path / "t.parquet", "0" * 32, project / files.TUNE_TRIALS)
        assert told[0] == verdict
    assert same(files.TUNE_TRIALS.as_posix(), tmp_path / "t.parquet", "0" * 32, None)[0] == ABSENT
    assert same("artifacts/selections.json", project / files.SELECTIONS, "0" * 32, None)[0] == DIFFERS


def test_another_machine_lowers_what_is_promised_and_is_told(project, tmp_path, inside):
    folder = tmp_path / "project"
    shutil.copytree(project, folder, ignore=shutil.ignore_patterns(".git"))
    (folder / files.MODEL).unlink()
    changed_json("reports/evaluate.json", latency_device="another processor")(folder)
    (folder / "requirements.lock").write_text("torch==0.1\n")
    found = verifying.verify(tiny(select__methods=METHODS), folder, tmp_path / "scratch", ["prepare"])
    assert found.promised == (BITS, BAND, DECISION)
    assert any(each.startswith("processor: recorded another processor") for each in found.circumstances.differences)
    assert any(each.startswith("torch: locked 0.1, installed") for each in found.circumstances.differences)


def test_what_cannot_be_verified_is_refused(project, tmp_path, inside):
    params = tiny(select__methods=METHODS)
    with pytest.raises(Refused, match=r"there is no dvc\.lock"):
        verifying.verify(params, tmp_path, tmp_path / "scratch")
    with pytest.raises(Refused, match=r"no stage 'other' \(it has"):
        verifying.verify(params, project, tmp_path / "scratch", ["other"])
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(project / "dvc.lock", bare)
    with pytest.raises(Refused, match=r"stage select reads artifacts/search, which is not here"):
        verifying.verify(params, bare, tmp_path / "other", ["select"])


def test_a_lock_file_does_not_say_what_is_run(project, tmp_path, inside):
    folder = tmp_path / "project"
    shutil.copytree(project, folder, ignore=shutil.ignore_patterns(".git"))
    lock = yaml.safe_load((folder / "dvc.lock").read_text())
    lock["stages"]["prepare"]["cmd"] = f"touch {tmp_path}/touched"
    (folder / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert verifying.verify(tiny(), folder, tmp_path / "scratch", ["prepare"]).kept
    assert not (tmp_path / "touched").exists()


@pytest.mark.slow
def test_a_study_is_verified_by_computing_it_again(finished, tmp_path, inside):
    folder = locked_copy(finished, tmp_path / "project")
    darts = {"methods": {"darts": {"search.strategy": "darts"}}, "selections": {"m": {"select.methods": ["magnitude"]}}}
    params = tiny(search__epochs=1, study__seeds=[0], **{f"study__{name}": value for name, value in darts.items()})
    with pytest.raises(Refused, match=r"no artifacts/study.parquet to compare with: run `winnow study` first"):
        verifying.verify(params, folder, tmp_path / "none", ["study"])
    study.main(params, folder)
    checked = verifying.verify(params, folder, tmp_path / "again", ["study"]).stages["study"]
    assert (checked.verdict, checked.note) == (BITS, "")
    assert {name: word for name, (verdict, word) in checked.outputs.items() if verdict != EQUAL} == {
        "artifacts/study.parquet": "measured time",
        "reports/study.csv": "measured time",
    }
    rows = pq.read_table(folder / study.TABLE).to_pylist()
    files.write_table(folder / study.TABLE, [{**row, "score": row["score"] + 1} for row in rows], study.SCHEMA)
    assert verifying.verify(params, folder, tmp_path / "third", ["study"]).stages["study"].verdict == "differs"
