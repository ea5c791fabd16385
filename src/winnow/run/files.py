"""What each file holds, where it lies, and how it is written: whole or not at all."""

import csv
import io
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.run import lineage
from winnow.system.whole import atomic
from winnow.train.packing import apart, together
from winnow.train.recipes import Recipe

SPLITS = Path("data/splits")
SEARCH = Path("artifacts/search")  # of these three, what the strategy has
SUPERNET = SEARCH / "supernet.safetensors"
LOGITS = SEARCH / "logits.json"
LIVE = SEARCH / "live.json"  # of decisions that the search narrowed, the options that are left
SHORTLIST = SEARCH / "shortlist.json"  # architectures that did well on the way, where the strategy tells them
TRIALS = SEARCH / "trials.parquet"
ARCHITECTURE = Path("artifacts/architecture.json")
START = Path("artifacts/start.safetensors")  # what networks begin with
FRONT = Path("artifacts/front.json")  # an architecture an entry of select.front
MENU = Path("artifacts/front")  # their networks, of the first seed, by digest
SELECTIONS = Path("artifacts/selections.json")
EVIDENCE = Path("artifacts/evidence.parquet")
RECIPE = Path("artifacts/tune/recipe.json")
TUNE_TRIALS = Path("artifacts/tune/trials.parquet")
MODEL = Path("artifacts/model.safetensors")
REPORTS = Path("reports")
TRADEOFF = REPORTS / "pareto.svg"
ERRORS = REPORTS / "errors"  # a file a picture of the task
RUNS = lineage.RUNS

ARCHITECTURE_FORMAT = "winnow.architecture/1"
RECIPE_FORMAT = "winnow.recipe/1"
REST = "winnow.shared"  # in a file's metadata: names of tensors that the file holds under another name, ...


def retrained(seed: int) -> Path:
    return Path(f"artifacts/retrain/{seed}/model.safetensors")


def rounds(seed: int) -> Path:
    """What clients of federated training did, visit by visit; no rows where there were none."""
    return Path(f"artifacts/retrain/{seed}/rounds.parquet")


def menu(digest: str) -> Path:
    return MENU / f"{digest}.safetensors"


def write_text(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Strict JSON, which every reader takes: what is not finite becomes null."""
    write_text(path, json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def read_json(path: Path, made_by: str) -> Any:
    """Refused, naming the stage that writes the file, where it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise Refused(f"no {path}: run `winnow {made_by}` (or `dvc repro`) first") from error
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, a number of a million digits, a tower of lists
        raise Refused(f"{path} is not JSON ({_line(error)}): run `winnow {made_by}` again") from error


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Rows of equal keys as CSV, what `dvc plots` reads; `columns` are the header where there may be no row."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns or list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> None:
    table = pa.Table.from_pylist([dict(row) for row in rows], schema)
    with atomic(path.absolute()) as temporary:  # Arrow takes a relative path with a colon for the address of a server
        pq.write_table(table, temporary, compression="zstd")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Tensors as safetensors, shared ones once; `about` travels in the file's own metadata."""
    plain, rest = apart(tensors)
    # one entry: safetensors writes several in an order that differs from process to process
    told = {"winnow": json.dumps({**about, **({REST: rest} if rest else {})}, sort_keys=True)}
    with atomic(path) as temporary:
        try:
            save_file(plain, temporary, told)
        except SafetensorError as error:
            if number := re.search(r"\(os error (\d+)\)", str(error)):  # a full disk, for one
                raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
            raise


def read_tensors(path: Path, made_by: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors (on the CPU) and what the file says about itself. Refused where it is missing, cut off or foreign."""
    if not path.is_file():
        raise Refused(f"no {path}: run `winnow {made_by}` (or `dvc repro`) first")
    try:
        with safe_open(path, "pt") as file:
            told = file.metadata() or {}
            about = json.loads(told["winnow"])
            inside = about.pop(REST, {}) if isinstance(about, dict) else {}
            rest = json.loads(told[REST]) if REST in told else inside  # an older winnow wrote two entries
            tensors = together({name: file.get_tensor(name) for name in file.keys()}, rest)  # noqa: SIM118
    except (SafetensorError, ValueError, RecursionError, OSError, AttributeError, TypeError, RuntimeError) as error:
        raise Refused(f"{path} is damaged ({_line(error)}): run `winnow {made_by}` again") from error
    except KeyError as error:
        raise Refused(f"{path} was not written by winnow: it does not say what it holds") from error
    if not isinstance(about, dict):
        raise Refused(f"{path} was not written by winnow: it says a {type(about).__name__} of itself")
    return tensors, about


def _line(error: BaseException) -> str:
    """The first line of what an exception says: a refusal is one sentence."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def load_state(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refused where the tensors are those of another network."""
    try:
        module.load_state_dict(dict(tensors))
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise Refused(f"{path} holds the weights of another network: {first}") from error


def write_architecture(path: Path, arch: Architecture, space: Space, name: str) -> None:
    """`architecture.json`: the answers, and the space they are of by name and digest of its decisions.

    Nothing else: two selections that agree write equal files, and DVC has nothing to retrain.
    """
    content = {
        "format": ARCHITECTURE_FORMAT,
        "space": name,
        "space_digest": space.digest,
        "digest": arch.digest,
        "choices": dict(arch.choices),
    }
    write_json(path, content)


def read_architecture(path: Path, space: Space, name: str) -> Architecture:
    """The architecture in `path` for `space`. Refused where it is of another space, an older form of it, or altered."""
    return architecture_of(read_json(path, "select"), str(path), space, name, ": run `winnow select` again")


def architecture_of(content: Any, path: str, space: Space, name: str, advice: str = "") -> Architecture:
    """The same of what `path` holds; `advice` is what would work."""
    if not isinstance(content, dict) or content.get("format") != ARCHITECTURE_FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise Refused(f"{path} is not in format {ARCHITECTURE_FORMAT!r} but {found!r}{advice}")
    if content.get("space") != name:
        raise Refused(f"{path} is of space {content.get('space')!r}, params.yaml names {name!r}{advice}")
    try:
        arch = Architecture.of(content["choices"])
        space.check(arch)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        older = "" if content.get("space_digest") == space.digest else " (an older form of it, or other settings)"
        raise Refused(f"{path} does not fit space {name!r}{older}: {error}") from error
    if content.get("digest") != arch.digest:
        raise Refused(f"{path} was altered: its choices have digest {arch.digest}, it says {content.get('digest')}")
    return arch


def read_view(path: Path, space: Space) -> Space:
    """`space`, no wider than the search in `path` left it. Refused where that is of another space."""
    content = read_json(path, "search")
    try:
        return space.within(content) if content else space
    except (TypeError, ValueError, AttributeError) as error:
        raise Refused(f"{path} does not fit the space ({error}): run `winnow search` again") from error


def read_shortlist(path: Path, space: Space) -> tuple[Architecture, ...]:
    """Refused where it is missing, or of another space."""
    content = read_json(path, "search")
    try:
        found = tuple(Architecture.of(choices) for choices in content)
        for arch in found:
            space.check(arch)
    except (TypeError, ValueError, AttributeError) as error:
        raise Refused(f"{path} does not fit the space ({error}): run `winnow search` again") from error
    return found


def write_recipe(path: Path, base: Recipe, tuned: Mapping[str, Any]) -> None:
    """`recipe.json`: the recipe as params.yaml has it, what tuning puts in its place, and both together."""
    whole = {**asdict(base), **tuned}
    write_json(path, {"format": RECIPE_FORMAT, "base": asdict(base), "tuned": dict(tuned), "recipe": whole})


def read_recipe(path: Path, base: Recipe) -> Recipe:
    """The recipe to retrain by. Refused where it was tuned from another than `base`."""
    content = read_json(path, "tune")
    if not isinstance(content, dict) or content.get("format") != RECIPE_FORMAT:
        raise Refused(f"{path} is not in format {RECIPE_FORMAT!r}: run `winnow tune` again")
    before, tuned, names = content.get("base"), content.get("recipe"), asdict(base).keys()
    if not isinstance(before, dict) or not isinstance(tuned, dict) or not names == tuned.keys():
        raise Refused(f"{path} does not hold a recipe of {', '.join(names)}: run `winnow tune` again")
    changed = next((name for name, value in asdict(base).items() if before.get(name) != value), None)
    if changed is not None:
        raise Refused(
            f"{path} was made for {changed} {before.get(changed)}, params.yaml says {getattr(base, changed)}: "
            "run `winnow tune` again"
        )
    return Recipe(**tuned)
