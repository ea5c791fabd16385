"""Recipes from data to verdict, each in a folder of its own by `dvc repro`, and what they ended in.

    python benchmarks/walks.py --folder WHERE detection vit     runs two of them, keeps their folders, adds their rows
    python benchmarks/walks.py --table                          writes the table of docs/recipes.md and runs nothing

WHERE holds the folders of data that the recipes' comments name (as ../blood_cells). A row replaces that of the same
recipe in benchmarks/results/walks.json. Seconds are of processors, all processes of the run together, as others may use
the machine too; they and the last digits of scores are of one machine, which the row names.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.suites import put
from winnow.config.reading import read_params
from winnow.measure.rounds import processor
from winnow.run import files
from winnow.run.headline import spread
from winnow.tasks import task_named

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "benchmarks/results/walks.json", ROOT / "docs/recipes.md"
BEGIN, END = "<!-- benchmarks/walks.py: begin -->", "<!-- benchmarks/walks.py: end -->"
HEAD = ("recipe", "found", "better than random", "as good as the one made by hand", "processor minutes", "minutes")


def run(recipe: str, where: Path) -> dict[str, Any]:
    """One row. Ends with what failed; the same command goes on there."""
    folder = where / f"walk_{recipe}"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / ".dvc").is_dir():
        for command in (
            ["git", "init", "-q"],
            ["winnow", "init", "."],
            ["dvc", "init", "-q"],
            ["winnow", "use", recipe],
        ):
            subprocess.run(command, cwd=folder, check=True)
    began, used, load = time.monotonic(), _processor_seconds(), os.getloadavg()[0]
    if subprocess.run(["dvc", "repro"], cwd=folder).returncode:
        raise SystemExit(f"{recipe}: dvc repro failed in {folder}; mend it, and the same command goes on")
    seconds, spent = time.monotonic() - began, _processor_seconds() - used
    return {"recipe": recipe, "seconds": seconds, "processor_seconds": spent, "load_before": load, **ended(folder)}


def _processor_seconds() -> float:
    of = resource.getrusage(resource.RUSAGE_CHILDREN)
    return of.ru_utime + of.ru_stime


def ended(folder: Path) -> dict[str, Any]:
    """What a table wants of reports/evaluate.json."""
    told = json.loads((folder / files.REPORTS / "evaluate.json").read_text(encoding="utf-8"))
    metric = task_named(read_params(folder / "params.yaml").task).first
    names = ("metric", "scores", "n", "outcome", "p_value", "pairs_won", "pairs", "control_scores", "verdict")
    by_hand = [
        {key: row[key] for key in ("name", "outcome", "scores", "verdict")}
        for row in told["against"]
        if row["name"] not in ("random", "original")
    ]
    kept = {name: told[name] for name in (*names, "architecture")}
    return {**kept, "found": spread(metric, told), "against": by_hand, "machine": processor()}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: a line a recipe."""
    lines = ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    for row in rows:
        found = f"{row['metric']} {row['found']} (n = {row['n']})"
        random = f"{row['outcome']}: wins {row['pairs_won']:g} of {row['pairs']}, p = {row['p_value']:.3f}"
        by_hand = "; ".join(f"{each['outcome']} (`{each['name']}`)" for each in row["against"]) or "–"
        waited = row["seconds"] > 1.2 * row["processor_seconds"]  # not even one processor had work for it all along
        others = row["load_before"] >= 0.5 or waited
        took = f"{row['seconds'] / 60:.1f}" + (", beside others" if others else "")
        lines.append(
            f"| {row['recipe']} | {found} | {random} | {by_hand} | {row['processor_seconds'] / 60:.1f} | {took} |"
        )
    machines = sorted({row["machine"] for row in rows})
    return "\n".join([*lines, "", f"Machine: {'; '.join(machines)}."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", metavar="RECIPE")
    parser.add_argument("--folder", type=Path, help="where runs are made, beside the data that recipes name")
    parser.add_argument("--table", action="store_true", help="of the rows that are there")
    given = parser.parse_args()
    if bool(given.recipes) == given.table or (given.recipes and given.folder is None):
        parser.error("give recipes and --folder, or --table alone")
    rows = {row["recipe"]: row for row in json.loads(RESULTS.read_text())} if RESULTS.is_file() else {}
    for recipe in given.recipes:
        rows[recipe] = run(recipe, given.folder.resolve())
        files.write_json(RESULTS, [rows[name] for name in sorted(rows)])
    PAGE.write_text(put(table([rows[name] for name in sorted(rows)]), PAGE.read_text(), BEGIN, END))
    print(f"wrote the table of {', '.join(sorted(rows))} into {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
