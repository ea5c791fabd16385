"""What a user brings is digested: every parameter that can name something outside, by content and nothing else."""

import ast
import os
import shutil
import sys
import time
import typing

import pytest
from pydantic import BaseModel

from tests.stages.tiny import ROOT, tiny
from winnow.config.params import Params
from winnow.core.errors import Refused
from winnow.run import contents, outside
from winnow.run.contents import digest_of
from winnow.run.outside import OUTSIDE, changed_since, digests, named

INSIDE = {  # free text that names nothing a result is made of, and what it names
    "runtime.device": "a device",
    "data.image_column": "a column of what data.path holds",
    "data.label_column": "likewise",
    "study.baseline": "a selection of the study",
    "study.column": "a column of select.table",
    "select.max_params": "a number or a share",
    "retrain.loss": "words and numbers that a task's loss takes",
    "select.max_macs": "likewise",
    "select.max_bitops": "likewise",
    "select.max_latency_ms": "numbers",
    "search.trials.inherited.strategy": "winnow's own, by name",
    "search.trials.proxy.names": "winnow's own, by name",
    "search.trials.objectives": "metrics",
    "search.trials.constraints": "metrics",
    "search.trials.ranges": "fields of the recipe",
    "search.trials.table.fidelity": "numbers",
    "search.trials.predictor.name": "winnow's own, by name",
    "search.trials.predictor.metric": "a metric of the table",
    "search.trials.predictor.fidelity": "numbers",
    "tune.ranges": "fields of the recipe",
    "trials.storage": "where trials are written",
    "trials.address": "a cluster",
    "trials.resources": "numbers",
    "tracking.uri": "where runs are written",
    "tracking.experiment": "a name there",
    "tracking.registered_model": "a name there",
}


def free_texts(model: type[BaseModel], below: str = ""):
    """The fields that take any text: what may name a file, a module, or a thing nobody has thought of yet."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from free_texts(field.annotation, f"{below}{name}.")
        elif takes_text(field.annotation):
            yield f"{below}{name}"


def takes_text(annotation: object) -> bool:
    if annotation in (str, typing.Any, object, dict, list, tuple):
        return True
    if typing.get_origin(annotation) is typing.Literal:
        return False
    return any(map(takes_text, typing.get_args(annotation)))


def test_the_list_is_complete():
    """A new parameter with text in it is told here which of the two it is."""
    listed = {each.key for each in OUTSIDE if not each.key.endswith(".RUNS")}
    found = set(free_texts(Params))
    assert {"data.path", "retrain.preset"} & found == {"data.path"}  # any text, and one of some words
    assert not listed & set(INSIDE)
    assert found == listed | set(INSIDE)
    for groups in outside.READS.values():
        assert set(groups) <= set(outside.GROUPS)
    assert {each.group for each in OUTSIDE} == set(outside.GROUPS)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Photos in two classes, a space with a module and data of its own; as good as old, so that lists are kept."""
    place = tmp_path / "project"
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        (place / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "photos" / name).write_bytes(name.encode())
    (place / "my_net.py").write_text("import torch\nfrom my_parts import blocks\n")
    (place / "my_parts").mkdir()
    (place / "my_parts/__init__.py").write_text("")
    (place / "my_parts/blocks.py").write_text("def build(): ...\n")
    (place / "my_parts/unused.py").write_text("")
    (place / "my_parts/weights.bin").write_bytes(b"1")
    (place / "queue.py").write_text("")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(contents, "FRESH", 0)
    return place


def mine(**changes):
    given = {"data__source": "image_folder", "data__path": "photos", "space__name": "my_net:build"}
    return tiny(**{**given, **changes})


def test_by_parameter_and_by_content_alone(folder, tmp_path):
    before = digests(mine(), folder)
    assert set(before) == {"data.path", "space.name"}
    assert digests(mine(), folder) == before
    shutil.copytree(folder, tmp_path / "elsewhere")
    for path in (tmp_path / "elsewhere").rglob("*"):
        os.utime(path, (1, 1))
    assert digests(mine(), tmp_path / "elsewhere") == before
    assert digests(mine(data__path=str(folder / "photos")), folder) == before
    assert digests(mine(), folder, ["space"]) == {"space.name": before["space.name"]}
    assert digests(tiny(), folder) == {}


CHANGES = {
    "a photo gone": ("data.path", lambda f: (f / "photos/cat/1.png").unlink()),
    "a photo of another class": ("data.path", lambda f: (f / "photos/cat/2.png").rename(f / "photos/dog/2.png")),
    "a photo renamed": ("data.path", lambda f: (f / "photos/cat/2.png").rename(f / "photos/cat/3.png")),
    "a photo of equal size and time": ("data.path", lambda f: rewritten(f / "photos/cat/1.png", b"x" * 9)),
    "the network": ("space.name", lambda f: (f / "my_net.py").write_text("from my_parts import blocks\n")),
    "what it imports": ("space.name", lambda f: (f / "my_parts/blocks.py").write_text("def build(): return 1\n")),
    "data beside what it imports": ("space.name", lambda f: (f / "my_parts/weights.bin").write_bytes(b"2")),
}
NOTHING = {
    "what nobody imports": lambda f: (f / "my_parts/unused.py").write_text("x = 1"),
    "a module hidden by Python's own": lambda f: (f / "queue.py").write_text("x = 1"),
    "times": lambda f: [os.utime(path, (5, 5)) for path in f.rglob("*")],
    "files of the desktop": lambda f: (f / "photos/cat/.DS_Store").write_bytes(b"x"),
    "a dead link": lambda f: (f / "photos/cat/9.png").symlink_to("nowhere"),
    "a link into itself": lambda f: (f / "photos/cat/loop").symlink_to(f / "photos"),
}


def rewritten(path, content):
    about = path.stat()
    assert about.st_size == len(content)
    path.write_bytes(content)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


@pytest.mark.parametrize("what", CHANGES)
def test_each_change_is_of_its_parameter(folder, what):
    before = digests(mine(), folder)
    key, change = CHANGES[what]
    time.sleep(0.02)  # longer than the file system's clock takes for a step
    change(folder)
    after = digests(mine(), folder)
    assert {name for name in before if before[name] != after[name]} == {key}
    assert changed_since(before, mine(), folder, outside.GROUPS) == [key]


@pytest.mark.parametrize("what", NOTHING)
def test_what_is_no_content_changes_nothing(folder, what):
    before = digests(mine(), folder)
    NOTHING[what](folder)
    assert digests(mine(), folder) == before


def test_bytes_are_read_only_where_something_changed(folder, monkeypatch):
    state, read = folder / ".winnow", []
    of_file = contents._of_file
    monkeypatch.setattr(contents, "_of_file", lambda path: read.append(path) or of_file(path))
    digest_of(folder / "photos", state)
    digest_of(folder / "photos", state)
    assert len(read) == 3
    (folder / "photos/cat/4.png").write_bytes(b"4")
    digest_of(folder / "photos", state)
    assert [os.path.basename(path) for path in read[3:]] == ["4.png"]
    for kept in (state / "inputs").iterdir():
        kept.write_bytes(b"\xff damaged\n\n")
    assert digest_of(folder / "photos", state) == digest_of(folder / "photos", folder / "another state")


def test_a_file_of_just_now_is_read_again(folder, monkeypatch):
    """It may change once more without its times telling."""
    monkeypatch.setattr(contents, "FRESH", 10**12)
    read = []
    of_file = contents._of_file
    monkeypatch.setattr(contents, "_of_file", lambda path: read.append(path) or of_file(path))
    digest_of(folder / "photos", folder / ".winnow")
    digest_of(folder / "photos", folder / ".winnow")
    assert len(read) == 6


def test_links_to_folders_are_followed(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder / "photos")
    assert digests(mine(data__path=str(tmp_path / "link")), folder) == digests(mine(), folder)
    (folder / "photos/bird").symlink_to(folder / "photos/cat")
    before = digests(mine(), folder)["data.path"]
    (folder / "photos/cat/5.png").write_bytes(b"5")
    assert digests(mine(), folder)["data.path"] != before


def test_what_is_missing_or_unreadable_is_a_sentence(folder, monkeypatch):
    for changes, told in [
        ({"data__path": "phoros"}, r"^data\.path: no file or folder .*phoros"),
        ({"data__path": "s3://bucket/photos"}, r"^data\.path: takes a file or folder on this machine, not the address"),
        ({"space__name": "my_nett:build"}, r"^space\.name: no module 'my_nett'"),
        ({"space__name": "my_parts.nothing:build"}, r"^space\.name: no module 'my_parts\.nothing'"),
        ({"data__source": "nobodys_data:load"}, r"^data\.source: no module 'nobodys_data'"),
    ]:
        with pytest.raises(Refused, match=told):
            digests(mine(**changes), folder)

    def deny(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(contents, "_of_file", deny)
    shutil.rmtree(folder / ".winnow")
    with pytest.raises(Refused, match=r"^data\.path: .*1\.png cannot be read \(Permission denied\)"):
        digests(mine(), folder)


def test_a_passing_copy_of_an_experiment_finds_the_data_of_its_parent(folder, tmp_path, monkeypatch):
    before = digests(mine(data__path="./photos"), folder, ["data"])
    monkeypatch.setenv("DVC_ROOT", str(folder))
    (tmp_path / "copy").mkdir()
    assert digests(mine(data__path="./photos"), tmp_path / "copy", ["data"]) == before
    with pytest.raises(Refused, match=r"no file or folder .*copy/elsewhere"):
        digests(mine(data__path="elsewhere"), tmp_path / "copy", ["data"])


def test_every_fingerprint_of_a_stage_counts_what_is_outside():
    """Whatever is kept to go on with is not gone on with once the user's own code or files are others."""
    calls = 0
    for path in [*(ROOT / "src/winnow/run").rglob("*.py"), *(ROOT / "pipelines").glob("*.py")]:
        text = path.read_text()
        if "from winnow.run.fingerprint import fingerprint" in text:
            for function in ast.walk(ast.parse(text)):
                if isinstance(function, ast.FunctionDef):
                    source = ast.get_source_segment(text, function) or ""
                    if " fingerprint(" in source or "{fingerprint(" in source:
                        calls += 1
                        assert "outside" in source, f"{path}: {function.name}"
    assert calls >= 4


def test_what_is_not_here_is_not_known_to_have_changed(folder):
    before = digests(mine(), folder)
    shutil.rmtree(folder / "photos")
    assert changed_since(before, mine(), folder, outside.GROUPS) == []
    assert changed_since(before, tiny(), folder, outside.GROUPS) == ["data.path", "space.name"]  # no longer named


def test_only_what_is_read_by_these_settings_counts(folder):
    (folder / "table.parquet").write_bytes(b"1")
    subset = {"search__strategy": "subset", "select__methods": ["threshold"]}
    given = {"search__subset__pretrained": "table.parquet"}
    assert "search.subset.pretrained" not in digests(mine(**given), folder)
    assert "search.subset.pretrained" in digests(mine(**given, **subset), folder)
    assert "select.table" in digests(tiny(select__table="table.parquet"), folder)


def test_names_of_the_users_own_count_where_they_name_something(folder):
    (folder / "weights.pt").write_bytes(b"1")
    options = {"weights": "weights.pt", "kind": "photos", "scale": 2, "deep": [{"score": "my_net:build"}], "x": "a:b"}
    keys = [each.key for each in named(mine(space__options=options), folder)]
    assert keys == ["data.path", "space.name", "space.options.weights", "space.options.deep.0.score"]


def test_what_a_study_sets_counts_too(folder):
    spaces = {"mine": {"space.name": "my_net:build", "search.epochs": 3}, "theirs": {"space.name": "darts"}}
    study = tiny(study__spaces=spaces)
    assert set(digests(study, folder)) == {"study.spaces.mine.space.name"}
    assert digests(study, folder, ["study"]) == {
        "study.spaces.mine.space.name": digests(mine(), folder, ["space"])["space.name"]
    }


def test_a_library_counts_by_its_version(folder, monkeypatch):
    monkeypatch.setattr("importlib.metadata.packages_distributions", lambda: {"pluggy": ["Pluggy"]})
    versions = {"pluggy": "1.0"}
    monkeypatch.setattr("importlib.metadata.version", lambda name: versions[name])
    (folder / "my_net.py").write_text("import torch, pluggy\n")
    before = digests(mine(), folder)
    versions["pluggy"] = "1.0+cpu"
    assert digests(mine(), folder) == before
    versions["pluggy"] = "2.0"
    assert digests(mine(), folder) != before
    installed = digests(mine(space__name="pluggy:build"), folder)
    versions["pluggy"] = "3.0"
    assert digests(mine(space__name="pluggy:build"), folder) != installed
