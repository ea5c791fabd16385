"""The house stands: a package imports lower floors only, and what the style forbids is nowhere.

Reads the sources, imports inside functions too. Each rule is shown to fail on a planted line.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
ROOTS = {"winnow": REPOSITORY / "src" / "winnow", "winnow.pipelines": REPOSITORY / "pipelines"}
FLOORS = {
    "core": 0,
    "system": 1,
    "nn": 2,
    "holes": 2,
    "data": 2,
    "measure": 2,
    "look": 2,
    "tracking": 2,
    "tasks": 3,
    "spaces": 3,
    "proxies": 3,
    "predictors": 3,
    "train": 4,
    "search": 5,
    "trials": 5,
    "search.selections": 6,
    "search.methods": 7,  # SGAS-PT asks what perturbation asks
    "config": 8,
    "run": 9,
    "trust": 10,
    "tools": 10,
    "cli": 11,
    "pipelines": 12,
    "__main__": 13,
}
UPSTAIRS = (
    "tracking",
    "config",
    "run",
    "trust",
    "tools",
    "cli",
    "pipelines",
    "__main__",
)  # where parameters, paths and tracking are known
TRACKING = "winnow.tracking"
SEEDS = "winnow.train.seeds"
GLOBAL_STREAMS = ("random", "numpy.random", "np.random")
OWN_STREAMS = ("Random", "SystemRandom", "default_rng", "Generator", "SeedSequence", "PCG64")
GLOBAL_SEEDS = ("torch.manual_seed", "torch.seed", "torch.cuda.manual_seed", "torch.cuda.manual_seed_all")


def package_of(module: str) -> str | None:
    """The key of FLOORS that `module` ("winnow.search.methods.darts") lies in; None outside winnow, "" unknown."""
    top, *parts = module.split(".")
    if top != "winnow":
        return None
    return next((p for p in (".".join(parts[:2]), ".".join(parts[:1])) if p in FLOORS), "")


def imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of every import; "from a import b" gives a.b, as b may be a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            base = parts[: len(parts) - node.level + is_package] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{source}.{alias.name}") for alias in node.names)


def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """Every call with the dotted name it is made by; what is not a plain name reads "?"."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            parts, function = [], node.func
            while isinstance(function, ast.Attribute):
                parts.append(function.attr)
                function = function.value
            parts.append(function.id if isinstance(function, ast.Name) else "?")
            yield node, ".".join(reversed(parts))


def wrong_imports(package: str, module: str, name: str) -> Iterator[str]:
    target, top = package_of(name), name.split(".")[0]
    if target == "" and name not in ("winnow", "winnow.__version__"):
        yield f"imports {name}, which has no floor"
    elif target and target != package and FLOORS[target] >= FLOORS[package]:
        yield f"imports {name} from floor {FLOORS[target]}, standing on floor {FLOORS[package]}"
    if package == "core" and target is None and top not in ("torch", "annotated_types", *sys.stdlib_module_names):
        yield f"imports {name}: core takes torch, bounds and the standard library only"
    if top in ("mlflow", "wandb", "yaml", "pydantic") and package not in UPSTAIRS:
        yield f"imports {name}, known upstairs only"
    elif top in ("mlflow", "wandb") and not module.startswith(TRACKING):
        yield f"imports {name}, known to {TRACKING} only"
    if top == "dvc":
        yield "imports dvc: it runs stages from outside"
    if top in ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve"):
        yield f"imports {name}: no pickle"


def wrong_calls(module: str, call: ast.Call, name: str) -> Iterator[str]:
    stream, _, function = name.rpartition(".")
    keywords = {k.arg: getattr(k.value, "value", None) for k in call.keywords}
    if name in GLOBAL_SEEDS and module != SEEDS:
        yield f"calls {name}: only {SEEDS} touches global seeds"
    if stream in GLOBAL_STREAMS and function not in OWN_STREAMS and module != SEEDS:  # lent to users' builders
        yield f"calls {name}: randomness comes from an explicit generator"
    if name == "torch.load" and keywords.get("weights_only") is not True:
        yield "calls torch.load without weights_only=True"
    if keywords.get("allow_pickle"):
        yield f"calls {name} with allow_pickle"
    if function in ("read_text", "write_text") and stream not in ("files", "") and "encoding" not in keywords:
        yield f"calls {function} without an encoding: the locale's may know no umlaut"
    if function == "cuda":
        yield "calls .cuda(): say .to(device)"


def above(target: str, package: str) -> str:
    """What is said of an arrow back up."""
    return f"from floor {FLOORS[target]}, standing on floor {FLOORS[package]}"


def violations(module: str, source: str, is_package: bool = False) -> list[str]:
    """What `source`, the text of `module`, does that the house does not allow; "line: what"."""
    package = package_of(module)
    if not package:
        return [] if module == "winnow" else [f"1: {module} has no floor"]
    tree = ast.parse(source)
    found = [f"{c.lineno}: {w}" for c, name in calls(tree) for w in wrong_calls(module, c, name)]
    for line, name in imports(tree, module, is_package):
        found += [f"{line}: {wrong}" for wrong in wrong_imports(package, module, name)]
    return found


def sources() -> Iterator[tuple[str, Path]]:
    for root, folder in ROOTS.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join([root, *(part for part in parts if part != "__init__")]), path


def test_the_house_stands():
    found = []
    for module, path in sources():
        for violation in violations(module, path.read_text(), path.name == "__init__.py"):
            found.append(f"{path.relative_to(REPOSITORY)}:{violation}")
    assert not found, "\n" + "\n".join(found)


def test_every_source_was_read():
    modules = {module for module, _ in sources()}
    assert {"winnow", "winnow.core.space", "winnow.spaces", "winnow.pipelines"} <= modules


@pytest.mark.parametrize(
    ("module", "source", "message"),
    [
        ("winnow.core.space", "from winnow.nn.ops import darts_op", above("nn", "core")),
        ("winnow.core.space", "import numpy", "core takes torch, bounds and the standard library only"),
        ("winnow.spaces.darts", "import winnow.train.fit", above("train", "spaces")),
        (
            "winnow.spaces.darts",
            "def f():\n    from winnow import search",
            f"2: imports winnow.search {above('search', 'spaces')}",
        ),
        (
            "winnow.spaces.darts",
            "from ..search import relax",
            f"imports winnow.search.relax {above('search', 'spaces')}",
        ),
        ("winnow.search.relax", "from winnow.search.methods.darts import x", above("search.methods", "search")),
        ("winnow.search.relax", "from .methods import darts", above("search.methods", "search")),
        ("winnow.search.methods.spos", "from winnow.run.files import atomic", above("run", "search.methods")),
        ("winnow.run.files", "from winnow.pipelines import search", above("pipelines", "run")),
        ("winnow.run.files", "if __name__ == '__main__':\n    import winnow.pipelines", above("pipelines", "run")),
        ("winnow.spaces.darts", "from winnow.attic import x", "which has no floor"),
        ("winnow.attic.old", "", "winnow.attic.old has no floor"),
        ("winnow.train.fit", "import mlflow", "known upstairs only"),
        ("winnow.search.methods.spos", "import yaml", "known upstairs only"),
        ("winnow.data.schema", "from pydantic import BaseModel", "known upstairs only"),
        ("winnow.config.params", "import mlflow.tracking", "known to winnow.tracking only"),
        ("winnow.pipelines.search", "def f():\n    import wandb", "2: imports wandb, known to winnow.tracking"),
        ("winnow.tracking", "from dvc.api import params_show", "imports dvc"),
        ("winnow.data.sources.cifar10", "import pickle", "no pickle"),
        ("winnow.train.fit", "random.seed(0)", "calls random.seed"),
        ("winnow.train.fit", "np.random.seed(0)", "calls np.random.seed"),
        ("winnow.search.evolve", "x = random.choice(y)", "calls random.choice"),
        ("winnow.train.fit", "torch.manual_seed(0)", "only winnow.train.seeds touches global seeds"),
        ("winnow.train.fit", "torch.load(path)", "without weights_only"),
        ("winnow.train.fit", "torch.load(path, weights_only=False)", "without weights_only"),
        ("winnow.data.sources.parquet", "np.load(path, allow_pickle=True)", "with allow_pickle"),
        ("winnow.train.fit", "model = build().cuda()", r"calls .cuda\(\)"),
        ("winnow.run.report", "text = path.read_text()", "read_text without an encoding"),
    ],
)
def test_a_planted_fault_is_found(module, source, message):
    (found,) = violations(module, source)
    assert re.search(message, found)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("winnow.core.space", "import json, torch.nn\nfrom winnow.core.holes import Hole"),
        ("winnow.search.methods.darts", "from winnow.search import relax\nfrom winnow.search.methods import spos"),
        ("winnow.tracking.shipper", "import mlflow, wandb"),
        ("winnow.cli.main", "from winnow import __version__"),
        ("winnow.__main__", "from winnow.cli.main import main"),
        ("winnow.config.params", "import yaml, pydantic"),
        ("winnow.train.seeds", "torch.manual_seed(0)"),
        ("winnow.train.fit", "g = torch.Generator().manual_seed(0)\nr = random.Random(0)\ntorch.cuda.synchronize()"),
        ("winnow.train.fit", "torch.load(path, weights_only=True)"),
        ("winnow.run.report", "from winnow.run import files\nfiles.write_text(out, text)"),
        ("winnow.pipelines.search", "if __name__ == '__main__':\n    from winnow.cli.main import run_stage"),
        ("winnow.pipelines.search", "from winnow.config import params\nfrom winnow.search.methods import METHODS"),
    ],
)
def test_what_is_allowed_passes(module, source):
    assert violations(module, source) == []


def test_relative_imports_of_a_package_start_in_itself():
    assert violations("winnow.search", "from . import relax", is_package=True) == []
    assert violations("winnow.search", "from .methods import darts", is_package=True) != []


def test_the_plan_of_the_house_shows_it_as_it_stands():
    """docs/architecture.md: rooms by floor, and of each the first sentence that its package says of itself."""
    page = (REPOSITORY / "docs/architecture.md").read_text(encoding="utf-8")
    rooms = {room: _package(room) for room in FLOORS if _package(room).is_file()}
    assert {"core", "run", "pipelines"} <= rooms.keys()
    for floor in set(map(FLOORS.get, rooms)):
        line = f"{floor}  {'   '.join(room for room in rooms if FLOORS[room] == floor)}"
        assert line in page.splitlines(), f"docs/architecture.md has no line {line!r}"
    for room, path in rooms.items():
        said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert said, f"{path} says nothing of itself"
        first = said.partition("\n\n")[0].replace("\n", " ")
        assert f"| `{room}` | {first} |" in page.splitlines(), f"docs/architecture.md says something else of {room}"


def _package(room: str) -> Path:
    folder = ROOTS["winnow.pipelines"] if room == "pipelines" else ROOTS["winnow"] / room.replace(".", "/")
    return folder / "__init__.py"
