"""Docs cannot lie: their examples run or parse, their commands, keys and links exist, every variable is named."""

import ast
import contextlib
import copy
import itertools
import json
import random
import re
import shlex
import sys
import textwrap
import types

import click
import pytest
import torch
import yaml
from torch import nn

from tests.stages.tiny import ROOT, run_all, tiny
from tests.test_floors import sources
from winnow.cli.main import cli, run
from winnow.config.reading import check_params

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.M | re.S)
KEYS = yaml.safe_load(FENCE.search((ROOT / "docs/params.md").read_text())[3])
SHIPPED = yaml.safe_load((ROOT / "params.yaml").read_text())  # what -S may change without ++
FRAGMENTS = {  # examples that cannot run alone, and why; that they are Python and import what exists is tested
    ("add-a-proxy.md", 0): "shows the shape of a proxy; its formula is left out",
    ("trials.md", 0): "200 trials of an evaluator of the reader's",
    ("trials.md", 1): "shows where an evaluator inherits and keeps; training is left out",
    ("training-free.md", 0): "networks and accuracies are the reader's",
    ("trust.md", 1): "needs an exported model: tests/stages/test_export.py runs the same lines",
}


def blocks(language):
    """(page, number among its language, text) of all code blocks."""
    texts = {
        page: [textwrap.dedent(m[3]) for m in FENCE.finditer(page.read_text()) if m[2] == language] for page in PAGES
    }
    return [
        pytest.param(page.name, i, text, id=f"{page.stem}-{i}")
        for page, found in texts.items()
        for i, text in enumerate(found)
    ]


def commands():
    """Every command line of winnow, dvc and make on the pages: of code blocks, indented lines and inline code."""
    for page in PAGES:
        text = re.sub(r"\\\n\s*", "", page.read_text())
        lines = re.findall(r"(?m)^(?: {4})?((?:winnow|dvc|make) [^\n]*)$", text) + re.findall(
            r"`((?:winnow|dvc|make) [^`]*)`", text
        )
        yield from ((page.name, line.partition(" #")[0].replace("\\|", "|").strip()) for line in lines)


def _said(line):
    """The words of one command, up to a pipe; None where an ellipsis or a placeholder stands for some."""
    return shlex.split(line.partition("|")[0].rstrip(".,;)"))


@pytest.mark.parametrize(("page", "number", "text"), blocks("python"))
def test_an_example_in_python_runs(page, number, text, finished, tmp_path, monkeypatch):
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            exec(compile(ast.Module([node], []), page, "exec"), {})
    if (page, number) in FRAGMENTS:
        return
    for name in (
        "artifacts",
        "data",
        "reports",
        "params.yaml",
    ):  # others read these too: nothing is written beside them
        (tmp_path / name).symlink_to(finished / name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((finished / "artifacts/model.safetensors").read_bytes())
    for long, short in (
        ("samples=1000", "samples=4"),
        ("population=50, generations=20", "population=4, generations=1"),
    ):
        text = text.replace(long, short)
    exec(compile(text, page, "exec"), _given(page, number))


def _given(page, number):
    """What the text around an example says is there."""
    given = {"images": torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8), "torch": torch, "random": random}
    if page == "add-a-space.md" and number == 1:
        from winnow.core.holes import Choice

        given |= {"nn": nn, "Choice": Choice, "my_network": lambda classes: nn.Conv2d(1, classes, 3)}
    if page == "training-free.md":
        from winnow.proxies import sizes
        from winnow.search import freenas, training_free
        from winnow.spaces import build

        space = build("nas_bench_201", {"channels": 4}, classes=4, image_channels=3, image_size=8)
        given |= {**vars(sizes), **vars(training_free), **vars(freenas), "space": space}
        given["batch"] = (torch.randn(4, 3, 8, 8), None)
    return given


def test_the_space_of_the_docs_and_the_commands_named_beside_it(tmp_path, monkeypatch, capsys):
    _, _, text = next(block.values for block in blocks("python") if block.id == "add-a-space-0")
    (tmp_path / "my_spaces").mkdir()
    (tmp_path / "my_spaces" / "kernels.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for command in ("show", "sample", "draw"):
        assert run(["space", command, "my_spaces.kernels:build"]) == 0, capsys.readouterr().err
    assert (tmp_path / "space.svg").is_file()


def test_the_data_of_the_docs_is_prepared(tmp_path, monkeypatch, capsys):
    _, _, text = next(block.values for block in blocks("python") if block.id == "add-a-data-set-0")
    (tmp_path / "my_data.py").write_text(text)
    params = tiny(data__source="my_data:stripes", data__limit_train=None).model_dump()
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert run(["prepare", "--folder", str(tmp_path)]) == 0, capsys.readouterr().err


def test_the_folder_of_clips_of_the_docs_is_prepared(tmp_path, monkeypatch, capsys):
    sounds = pytest.importorskip("tests.data.sounds", reason="needs the extra winnow[audio]")
    _, _, text = next(block.values for block in blocks("python") if block.id == "add-a-task-0")
    for label, word in enumerate(("yes", "no")):
        (tmp_path / "words" / word).mkdir(parents=True)
        for speaker, take in itertools.product(range(4), range(3)):
            clip = sounds.encoded(sounds.spoken(label, speaker, take), kind="WAV")
            (tmp_path / "words" / word / f"{'abcd'[speaker]}_{take}.wav").write_bytes(clip)
    monkeypatch.chdir(tmp_path)
    exec(compile(text, "add-a-task.md", "exec"), {})
    own = {"group_column": "speaker", "test_groups": ["c"]}
    data = {"data__source": "audio_parquet", "data__path": "words.parquet", "data__options": own}
    params = tiny(task="audio_classification", **data, data__limit_train=None).model_dump()
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    assert run(["prepare", "--folder", str(tmp_path)]) == 0, capsys.readouterr().err
    assert "the test set is group(s) c: 6 clips" in capsys.readouterr().out


def test_the_task_of_the_docs_is_learnt(tmp_path, monkeypatch, capsys):
    _, _, text = next(block.values for block in blocks("python") if block.id == "add-a-task-1")
    (tmp_path / "my_task.py").write_text(text)
    monkeypatch.setattr(sys, "path", [*sys.path])
    few = {
        "data__limit_train": None,
        "select__methods": ["magnitude"],
        "tune__trials": 0,
        "retrain__seeds": [0],
        "retrain__epochs": 6,
    }
    params = tiny(task="my_task:WIDTH", data__source="my_task:bars", **few, search__epochs=1, evaluate__controls=1)
    content = params.model_dump()
    content["data"]["augment"] = {"pad": 1}  # taken by the task, which is looked for beside params.yaml
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    assert run(["prepare", "--folder", str(tmp_path)]) == 0, capsys.readouterr().err
    run_all(params, tmp_path)
    told = json.loads((tmp_path / "reports" / "evaluate.json").read_text())
    assert told["metric"] == "error"
    assert 0 < told["score_mean"] < 1.5  # of always saying the mean width
    assert told["outcome"] == "cannot tell"


@pytest.mark.parametrize(("page", "number", "text"), blocks("yaml"))
def test_an_example_of_parameters_is_accepted(page, number, text, monkeypatch):
    if page == "add-a-method.md":  # whose parameters name the methods above them
        module = types.ModuleType("my_methods")
        for _, _, code in (block.values for block in blocks("python") if block.values[0] == page):
            exec(compile(code, page, "exec"), vars(module))
        monkeypatch.setitem(sys.modules, "my_methods", module)
    assert check_params(_laid_over(copy.deepcopy(KEYS), yaml.safe_load(text)))


def _laid_over(content, changes):
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(content.get(key), dict)
        content[key] = _laid_over(content[key], value) if both else value
    return content


def test_commands_of_winnow_exist_with_their_options():
    tried = 0
    for page, line in commands():
        words = _said(line)
        if words[0] != "winnow" or words[1].startswith("-"):
            continue
        command, rest = cli, words[1:]
        while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
            assert rest[0] in command.commands, f"{page}: {line}"
            command, rest = command.commands[rest[0]], rest[1:]
        known = {name for option in command.params for name in option.opts} | {"--help"}
        assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= known, f"{page}: {line}"
        if not isinstance(command, click.Group) and rest and not re.search(r"…|[A-Z]{2}|<|\[|--help", line):
            with contextlib.suppress(click.MissingParameter):  # prose names a part of a command
                command.make_context(command.name, list(rest), help_option_names=["-h", "--help"])  # click keeps them
        tried += 1
    assert tried > 20


def test_keys_and_targets_that_commands_name_exist():
    targets = set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text()))
    set_keys, made = 0, 0
    for page, line in commands():
        words = _said(line)
        if words[0] == "make" and not words[1].startswith(("it", "sure")):
            assert words[1] in targets, f"{page}: {line}"
            made += 1
        for flag, change in itertools.pairwise(words):
            if words[0] != "dvc" or flag not in ("-S", "--set-param"):
                continue
            path = change.partition("=")[0]
            *sections, last = path.removeprefix("++").split(".")
            place = SHIPPED
            for section in sections:
                place = place.get(section, {}) if path.startswith("++") else place[section]
            assert path.startswith("++") or last in place, f"{page}: {line}: no {path} in params.yaml"
            set_keys += 1
    assert set_keys > 5
    assert made > 5


def test_links_of_the_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if "://" in target:
                continue
            path, _, anchor = target.partition("#")
            place = (page.parent / path).resolve() if path else page
            assert place.exists(), f"{page.name}: {target}"
            if anchor:
                heads = re.findall(r"(?m)^#+ (.*)$", place.read_text())
                assert anchor in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}, target


def test_every_variable_is_documented():
    """Those of the workflow, the image and compose.yaml, and those that the code reads."""
    workflows = "".join(path.read_text() for path in (ROOT / ".github/workflows").iterdir())
    found = set(re.findall(r"\b(?:vars|secrets)\.(\w+)", workflows))
    image = (ROOT / "Dockerfile").read_text()
    found |= set(re.findall(r"(?m)^ARG (\w+)", image))
    for statement in re.findall(r"(?m)^ENV ((?:.*\\\n)*.*)$", image):
        found |= set(re.findall(r"\b(\w+)=", statement))
    compose = (ROOT / "compose.yaml").read_text()
    found |= set(re.findall(r"\$\{(\w+)", compose))
    for service in yaml.safe_load(compose)["services"].values():
        found |= set(service.get("environment", ()))
    reads = re.compile(r"environ(?:\.get\(|\.setdefault\(|\[)\s*\"([A-Z_]+)\"")
    found |= {name for _, path in sources() for name in reads.findall(path.read_text())}
    told = (ROOT / "docs/where-it-runs.md").read_text()
    assert {"TORCH_CPU_INDEX", "POSTGRES_PASSWORD", "OMP_NUM_THREADS"} <= found
    assert sorted(name for name in found - {"PATH"} if f"`{name}`" not in told) == []
