"""Change the code of the lower floors, a little and one place at a time; count the changes that no test sees.

`make mutants` runs it in an environment of its own with Cosmic Ray, whose operators make the changes, in a copy. A
sample by a seed: --count 200 takes hours, and goes on with what --out has, of a version before too. A mutant is killed
when one of the test files that import its module fails, its own first, or a page of docs/reference, where all defaults
stand, is no longer what the code says; one that survives is printed with its change.
"""

import argparse
import difflib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("core", "holes", "nn", "measure", "search")
LEFT_OUT = re.compile(  # changes that mean nothing here: of annotations (`X | None`), of bits, and `==` into `is`
    r"Bit|Shift|Invert|UAdd|_Is(Not)?$|/(Eq|NotEq)_[LG]t|VariableReplacer|VariableInserter|ExceptionReplacer|RemoveDecorator"
)
PASSED = 0  # as pytest says it
PAGES = "tests/test_site.py::test_a_reference_page_is_what_the_code_says"


def places(path: Path) -> Iterator[tuple[str, int]]:
    """(operator, occurrence) of all that can be changed in a file."""
    from cosmic_ray import plugins
    from cosmic_ray.ast import ast_nodes, get_ast

    tree = get_ast(path.read_text(encoding="utf-8"))
    for name in sorted(plugins.operator_names()):
        if LEFT_OUT.search(name):
            continue
        operator = plugins.get_operator(name)()
        found = sum(1 for node in ast_nodes(tree) for _ in operator.mutation_positions(node))
        yield from ((name, occurrence) for occurrence in range(found))


def mutated(text: str, operator: str, occurrence: int) -> str:
    from cosmic_ray import plugins
    from cosmic_ray.mutating import mutate_code

    return mutate_code(text, plugins.get_operator(operator)(), occurrence)


def tests_of(path: Path, most: int) -> list[str]:
    """The test files that import a module, its own first, then those of its room; slow stages left out.

    Where none does, as of a method that is called by its name alone, those that name it.
    """
    module = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
    package, _, name = module.rpartition(".")
    whole, above = re.escape(module), re.escape(package)
    asks = re.compile(rf"^\s*(from {whole} import|import {whole}\b|from {above} import .*\b{name}\b)", re.MULTILINE)
    room = path.relative_to(ROOT / "src/winnow").parts[0]
    files = [each for each in (ROOT / "tests").glob("*/**/test_*.py") if "stages" not in each.parts]  # those of a room
    texts = {each: each.read_text(encoding="utf-8") for each in files}
    found = [each for each in files if asks.search(texts[each])]
    found = found or [each for each in files if re.search(rf"[\"']{name}[\"']", texts[each])]
    found.sort(key=lambda each: (each.stem != f"test_{path.stem}", each.parent.name != room, str(each)))
    return [str(each.relative_to(ROOT)) for each in found[:most]]


def copied(folder: Path) -> None:
    """What git tracks here."""
    told = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in told.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    for name in ("pipelines", "recipes"):  # packages of winnow that lie beside it
        (folder / "src/winnow" / name).symlink_to(folder / name)


def run(python: str, folder: Path, files: list[str], seconds: float) -> tuple[str, str]:
    """ "survived", "killed" or "timeout", and by which test."""
    command = [python, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", *files]
    where = {**os.environ, "PYTHONPATH": f"{folder / 'src'}{os.pathsep}{folder}", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=folder, env=where, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return "timeout", ""
    said = re.search(r"^(FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return ("survived" if done.returncode == PASSED else "killed"), said[2] if said else ""


def sample(paths: list[str], count: int, seed: int) -> list[tuple[Path, str, int]]:
    """`count` of all places in `paths`, each as likely as any other; a change of the code moves few of them."""
    files = sorted(
        each for path in paths for each in ([ROOT / path] if path.endswith(".py") else (ROOT / path).rglob("*.py"))
    )
    every = [(path, *place) for path in files for place in places(path)]
    print(f"{len(every)} changes in {len(files)} files; {min(count, len(every))} of them by seed {seed}", flush=True)
    every.sort(key=lambda place: sha256(f"{seed} {place[0].relative_to(ROOT)} {place[1:]}".encode()).digest())
    return list(itertools.islice((place for place in every if counts(*place)), count))


def counts(path: Path, operator: str, occurrence: int) -> bool:
    """Whether a test would have to see it.

    `**options` read as a power, made a product, is no Python; and `zip(strict=True)` guards against what never is so.
    """
    text = path.read_text(encoding="utf-8")
    new = mutated(text, operator, occurrence)
    try:
        compile(new, str(path), "exec")
    except SyntaxError:
        return False
    return new.replace("strict=False", "strict=True") != text.replace("strict=False", "strict=True")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="*", default=[f"src/winnow/{room}" for room in ROOMS])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", type=int, default=6, help="test files a mutant is shown at most")
    parser.add_argument("--python", default=sys.executable, help="of the environment that has winnow's packages")
    parser.add_argument("--out", type=Path, help="a JSON line each, as it is known; what it holds is not run again")
    given = parser.parse_args()
    python, fate = os.path.abspath(given.python), Counter()
    lines = given.out.read_text(encoding="utf-8").splitlines() if given.out and given.out.exists() else []
    known = {(row["file"], row["operator"], row["occurrence"]): row for row in map(json.loads, lines)}
    usual: dict[tuple[str, ...], float] = {}  # seconds of test files on the code as it is
    with tempfile.TemporaryDirectory() as passing:
        folder = Path(passing).resolve()
        copied(folder)
        for path, operator, occurrence in sample(given.paths, given.count, given.seed):
            files, name = [*tests_of(path, given.files), PAGES], str(path.relative_to(ROOT))
            if row := known.get((name, operator, occurrence)):
                fate[row["ends"]] += 1
                continue
            text = (folder / name).read_text(encoding="utf-8")
            new = mutated(text, operator, occurrence)
            if tuple(files) not in usual:
                began = time.monotonic()
                if run(python, folder, files, 3600)[0] != "survived":
                    raise SystemExit(f"{files} fail on the code as it is: mend them first")
                usual[tuple(files)] = time.monotonic() - began
            (folder / name).write_text(new, encoding="utf-8")
            ends, by = run(python, folder, files, 60 + 10 * usual[tuple(files)])
            (folder / name).write_text(text, encoding="utf-8")
            fate[ends] += 1
            change = [
                line for line in difflib.unified_diff(text.splitlines(), new.splitlines(), n=0) if line[:2] != "--"
            ][1:]
            row = {
                "file": name,
                "operator": operator,
                "occurrence": occurrence,
                "ends": ends,
                "by": by,
                "change": change,
            }
            if given.out:
                with given.out.open("a", encoding="utf-8") as out:
                    out.write(json.dumps(row) + "\n")
            print(f"{ends:<9} {name} {operator.removeprefix('core/')}  {by}", flush=True)
            if ends == "survived":
                print("\n".join(f"          {line}" for line in change), flush=True)
    seen = fate["killed"] + fate["timeout"]
    print(f"killed {seen} of {fate.total()}, {fate['timeout']} of them by time; survived {fate['survived']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
