"""Writes docs/reference/*.md: what there is to choose from and what files hold, from signatures, docstrings, dvc.yaml.

    python benchmarks/reference.py            # the pages in docs/reference; tests/test_site.py compares them
    python benchmarks/reference.py --out DIR  # elsewhere

Nothing on those pages is written by hand: to change a sentence, change the docstring.
"""

import argparse
import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from winnow.config.described import described
from winnow.config.methods import model, selection, selection_options, strategy, strategy_options
from winnow.config.params import Params
from winnow.data import splits
from winnow.data.storage import build_manifest
from winnow.proxies import PROXIES, proxy
from winnow.run import device, front, start
from winnow.run.files import write_architecture, write_recipe, write_tensors
from winnow.run.model import load_model
from winnow.search.methods import STRATEGIES
from winnow.search.selections import SELECTIONS
from winnow.spaces import AUTO, FACTS, FIXED, SPACES, builder
from winnow.tasks import TASKS, task_named
from winnow.tracking import spool
from winnow.trials import table as trials

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs/reference"
HINT = "Printed by `python benchmarks/reference.py` from the code: change the docstring, not this page."
FORMATS: dict[str, object] = {  # what files of winnow are, told by what makes or holds them
    "data/splits/*.parquet": splits,
    "data/splits/manifest.json": build_manifest,
    "*.safetensors": write_tensors,
    "artifacts/model.safetensors": load_model,
    "artifacts/architecture.json": write_architecture,
    "artifacts/start.safetensors": start,
    "artifacts/front.json": front,
    "artifacts/tune/recipe.json": write_recipe,
    "device.json": device,
    ".winnow/runs": spool,
}


def text_of(thing: object) -> str:
    """Its docstring as Markdown: indented blocks and columns are code, and of the rest what is not `code` is text."""
    blocks = (inspect.getdoc(thing) or "").split("\n\n")
    return "\n\n".join(_code(each) if re.search(r"(?m)^ {4}|\S {3}", each) else _plain(each) for each in blocks)


def _code(block: str) -> str:
    return f"```text\n{inspect.cleandoc(block)}\n```"


def _plain(block: str) -> str:
    parts = re.split(r"(`[^`]*`)", block)
    return "".join(part if part.startswith("`") else re.sub(r"([*_<|\[\]#])", r"\\\1", part) for part in parts)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    found = [tuple(cell.replace("|", "\\|") for cell in row) for row in rows]
    lines = (heads, ["---"] * len(heads), *found)
    return "\n".join(f"| {' | '.join(row)} |" for row in lines) if found else ""


def options(section: type[BaseModel]) -> str:
    rows = ((f"`{name}`", _plain(takes), f"`{default}`") for name, takes, default in described(section))
    return table(("option", "takes", "default"), rows)


def place(thing: Any) -> str:
    return f"`{Path(inspect.getsourcefile(inspect.unwrap(thing)) or '').resolve().relative_to(ROOT)}`"


def entry(name: str, facts: str, function: Callable[..., Any], section: type[BaseModel] | None = None) -> str:
    return "\n\n".join(filter(None, (f"## {name}", facts, text_of(function), options(section) if section else "")))


def strategies() -> Iterator[str]:
    yield "# Strategies\n\n`search.strategy`; an option of one goes into its section: `search.sdarts.noise`."
    for name in STRATEGIES:
        found = strategy(name)
        facts = f"Leaves {', '.join(sorted(found.leaves))}; {place(found.search)}."
        yield entry(name, facts, found.search, strategy_options(name))


def selections() -> Iterator[str]:
    yield "# Selections\n\n`select.methods`; an option of one goes into its section: `select.evolution.population`."
    for name in SELECTIONS:
        found = selection(name)
        limits = f"; keeps limits{' that add up over answers' if found.sums else ''}" if found.keeps_limits else ""
        facts = f"Needs {found.needs or 'what it finds'}{limits}; {place(found.choose)}."
        yield entry(name, facts, found.choose, selection_options(name))


def proxies() -> Iterator[str]:
    yield "# Proxies\n\nScores of untrained networks: `search.training_free.proxies`, `winnow score`, `winnow rank`."
    for name in PROXIES:
        found = proxy(name)
        good = "Large is good" if found.direction > 0 else "Small is good"
        yield entry(name, f"{good}; needs {found.needs}; {place(found.score)}.", found.score)


def tasks() -> Iterator[str]:
    yield "# Tasks\n\n`task`: what is learnt, how it is judged, how its inputs are varied (`data.augment`)."
    for name in TASKS:
        found = task_named(name)
        numbers = ", ".join(f"{key} ({metric.goal})" for key, metric in found.metrics.items())
        facts = f"Reads {', '.join(found.reads)}; tells {found.target}. Judged by {numbers}; the first decides."
        pictures = f"Pictures: {', '.join(found.pictures)}." if found.pictures else ""
        yield "\n\n".join(filter(None, (f"## {name}", facts, pictures, options(model(name, (found.augment,))))))


def spaces() -> Iterator[str]:
    yield "# Spaces\n\n`space.name`; what one takes goes into its section: `space.darts.layers`."
    for name in (*SPACES, AUTO, FIXED):
        build = builder(name)
        section = model(name, (build,), FACTS) if name != FIXED else None
        yield entry(name, f"{place(build)}.", build, section)


def parameters() -> Iterator[str]:
    yield (
        "# Parameters with bounds\n\nAll of `params.yaml`, what each key takes and its default; what they mean, and an "
        "example whole: [Parameters](../params.md). What strategies, selections and spaces take by themselves: "
        "[strategies](strategies.md), [selections](selections.md), [spaces](spaces.md)."
    )
    rows: dict[str, list[tuple[str, str, str]]] = {}
    for name, takes, default in described(Params):
        section = name.partition(".")[0] if "." in name else "the file"
        rows.setdefault(section, []).append((f"`{name}`", _plain(takes), f"`{default}`"))
    for section, found in rows.items():
        yield f"## {section}\n\n{table(('key', 'takes', 'default'), found)}"


def files() -> Iterator[str]:
    yield "# Files\n\nWhat stages read and write (`dvc.yaml`), what the files are, and what the reports hold."
    for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"].items():
        outs = [_path(each) for key in ("outs", "metrics", "plots") for each in stage.get(key, [])]
        reads = [
            each for each in map(_path, stage.get("deps", [])) if each.startswith(("artifacts", "data", "reports"))
        ]
        listed = (
            f"{word}: {', '.join(f'`{each}`' for each in found)}."
            for word, found in (("Reads", reads), ("Writes", outs))
            if found
        )
        yield "\n\n".join((f"## Stage {name}", f"{_plain(stage['desc'])}.", *listed))
    for name, told in FORMATS.items():
        yield f"## {name}\n\n{text_of(told)}\n\n{place(told)}"
    columns = ((f"`{each.name}`", _plain(str(each.type))) for each in trials.SCHEMA)
    yield f"## Tables of trials\n\n{text_of(trials)}\n\n{table(('column', 'type'), columns)}"
    for path in sorted(each for each in (ROOT / "reports").iterdir() if each.suffix in (".json", ".csv")):
        text = path.read_text(encoding="utf-8")
        held = json.loads(text) if path.suffix == ".json" else text.partition("\n")[0].split(",")
        yield f"## reports/{path.name}\n\nIn the committed run: {', '.join(f'`{each}`' for each in held)}."


def _path(given: Any) -> str:
    return given if isinstance(given, str) else str(next(iter(given)))


MADE = {each.__name__: each for each in (strategies, selections, proxies, tasks, spaces, parameters, files)}


def page(name: str) -> str:
    title, *rest = MADE[name]()
    return "\n\n".join((title, HINT, *rest)) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PAGES)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for name in MADE:
        (out / f"{name}.md").write_text(page(name), encoding="utf-8")
