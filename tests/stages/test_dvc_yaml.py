"""dvc.yaml against the code and params.yaml: DVC does not follow Python imports, so these tests do."""

import ast
from pathlib import Path

import pytest
import yaml

from tests.stages.tiny import ROOT, tiny
from winnow.config.params import Retrain
from winnow.run.outside import INPUTS, PIPELINE, READS, code_of
from winnow.search.methods import STRATEGIES
from winnow.search.selections import SELECTIONS
from winnow.train.recipes import Recipe

DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text())
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
NAMES = ("inputs", "prepare", "search", "select", "tune", "retrain", "evaluate")
# What reads and writes files, shows and tracks changes no result: not followed. But drawings are results
QUIET = ("config", "look", "tracking", "system", "trust", "tools", "cli")
QUIET_FILES = {
    f"src/winnow/run/{name}.py"
    for name in (
        *(
            "__init__",
            "checkpoint",
            "contents",
            "draw",
            "dry",
            "files",
            "fingerprint",
            "imports",
            "lineage",
            "modules",
            "outside",
        ),
        *("by_workers", "cells", "pool", "progress", "report", "revision", "trials", "work"),
    )
}
SEARCHES, CHOOSES = ("search", "evaluate"), ("select", "evaluate")  # by functions that are imported by their paths
ASKS = {"search": frozenset({"src/winnow/run/controls.py"})}  # whether it may begin, and nothing else
DRAWS = {"select": ["src/winnow/look"], "evaluate": ["src/winnow/look", "src/winnow/run/report.py"]}


def imported(path: Path, asks: frozenset[str] = frozenset()) -> set[str]:
    """What `path` stands on, as dvc deps: packages, files of run/ and pipelines, and what those import in turn.

    Does not look behind what is quiet: run/work.py passes on spaces and data to whoever asks for them by name.
    """
    found: set[str] = set()
    waiting, seen = [path], set()
    while waiting:
        current = waiting.pop()
        seen.add(current)
        for target in imports(current) - seen:
            parts = target.relative_to(ROOT).parts
            if "/".join(parts) in QUIET_FILES | asks or (parts[0] == "src" and (parts[2] in QUIET or len(parts) == 3)):
                continue
            if parts[0] == "pipelines" or parts[2] == "run":
                found.add("/".join(parts))
            else:
                found.add("/".join(parts[:3]))
            waiting.append(target)
    return found


def imports(path: Path) -> set[Path]:
    """The files of this project that the import statements of `path` name."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    bases = [ROOT / "src" / Path(*name.split(".")) for name in names if name.startswith("winnow.")]
    bases += [ROOT / Path(*name.split(".")[1:]) for name in names if name.startswith("winnow.pipelines.")]
    return {p for base in bases for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()}


def test_the_imports_are_really_followed():
    assert imported(ROOT / "pipelines/search.py") >= {"src/winnow/core", "src/winnow/nn", "src/winnow/search"}
    assert "src/winnow/measure" not in imported(ROOT / "src/winnow/train/loop.py")


@pytest.mark.parametrize("name", NAMES)
def test_a_stage_depends_on_the_code_it_stands_on(name):
    if name == "inputs":  # always runs
        assert DVC["stages"][name]["always_changed"]
        return
    deps = set(DVC["stages"][name]["deps"])
    code = {dep for dep in deps if dep.startswith(("src/", "pipelines/"))}
    needed = (
        imported(ROOT / f"pipelines/{name}.py", ASKS.get(name, frozenset()))
        | {f"pipelines/{name}.py"}
        | set(DRAWS.get(name, ()))
    )
    for path in (*(STRATEGIES if name in SEARCHES else {}).values(), *(SELECTIONS if name in CHOOSES else {}).values()):
        needed |= imported(ROOT / "src" / f"{path.partition(':')[0].replace('.', '/')}.py")
    assert needed <= code, f"{name} imports {sorted(needed - code)}, which dvc.yaml does not name"
    assert all((ROOT / dep).exists() for dep in code)


@pytest.mark.parametrize("name", NAMES)
def test_params_that_a_stage_names_exist(name):
    for key in DVC["stages"][name].get("params", ()):
        place = PARAMS
        for part in key.split("."):
            assert part in place, f"{name}: params.yaml has no {key}"
            place = place[part]


def test_a_stage_depends_on_what_it_reads_outside_and_on_no_more():
    for name in NAMES[1:]:
        deps = {dep for dep in DVC["stages"][name]["deps"] if dep.startswith(INPUTS.as_posix())}
        recipe = ("recipe",) if name in ("tune", "retrain") else ()
        assert deps == {f"{INPUTS}/{group}.json" for group in (*READS[name], *recipe)}
    assert set(DVC["stages"]["inputs"]["outs"]) == {f"{INPUTS}/{group}.json" for group in (*PIPELINE, "recipe")}


def test_the_recipe_reaches_the_retrain_stage_but_not_the_seeds():
    """Another list of seeds must not retrain the seeds that are already done."""
    named = {key.partition(".")[2] for key in DVC["stages"]["retrain"]["params"] if key.startswith("retrain.")}
    # from reaches it by what select writes, federation by recipe.json
    others = {"seeds", "preset", "from_", "federation", *Recipe.__dataclass_fields__}
    assert named == set(Retrain.model_fields) - others


def test_a_strategy_or_selection_that_nobody_runs_is_no_dependency():
    """Their folders are hidden from DVC; what runs is among the inputs, with what it imports of its neighbours."""
    hidden = (ROOT / ".dvcignore").read_text().splitlines()
    assert {"/src/winnow/search/methods", "/src/winnow/search/selections"} <= set(hidden)
    told = {group: code_of(tiny(), group) for group in PIPELINE}
    assert set(told["search"]) == {"winnow's darts", "winnow's spos"}
    assert set(told["select"]) == {"winnow's perturbation", "winnow's magnitude"}
    assert told["search"] != code_of(tiny(search__strategy="beta_darts"), "search")


@pytest.mark.parametrize("name", NAMES)
def test_a_stage_says_what_it_does_and_git_ignores_what_dvc_keeps(name):
    stage = DVC["stages"][name]
    assert stage["desc"]
    ignored = [line.strip() for line in (ROOT / ".gitignore").read_text().splitlines() if line.startswith("/")]
    for out in stage["outs"]:
        assert any(f"/{out}".startswith(pattern) for pattern in ignored), f"{out} is not in .gitignore"
    for kind in ("metrics", "plots"):
        for entry in stage.get(kind, []):
            ((path, options),) = entry.items()
            assert options["cache"] is False
            assert not any(f"/{path}".startswith(pattern) for pattern in ignored), f"{path} must be committed"


def test_only_evaluate_depends_on_the_test_split():
    for name in ("search", "select", "retrain"):
        deps = DVC["stages"][name]["deps"]
        assert "data/splits" not in deps
        assert "data/splits/test.parquet" not in deps
