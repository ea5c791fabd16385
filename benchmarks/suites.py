"""All suites that end in minutes, and one table of them: what `make bench` runs.

    python benchmarks/suites.py [--only search processes] [--table]

Each suite is a command that writes rows with `name`, `ratio`, and where it has them `ratio_low`, `ratio_high` and `n`,
to benchmarks/results/<suite>.json. The table stands in docs/benchmarks.md between its markers: ratios within one run
alone, since seconds are of one machine; beside them those of the last release, where its tag holds results. `--table`
writes it from the results that are there. Whether others used the machine is told by its load before each suite.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = Path("benchmarks/results"), ROOT / "docs/benchmarks.md"
BEGIN, END = "<!-- make bench: begin -->", "<!-- make bench: end -->"
BUSY = 0.5  # threads of others from which on the table says that they were there


@dataclass(frozen=True)
class Suite:
    """`command` follows `python benchmarks/` and is followed by --out FILE; `reads` says what a ratio is."""

    command: str
    reads: str


SUITES = {  # a further suite is a line
    "search": Suite("run.py --suite search --precision fp32 bf16", "a search step: times as fast as plain"),
    "sweep": Suite("sweep.py --device cpu", "judging a mask: times as fast as plain"),
    "processes": Suite("processes.py", "two processes: times faster than one"),
    "proxies": Suite("proxies.py", "scores of a whole space: times faster than child by child"),
    "tracking": Suite("tracking.py", "a stage: its time with tracking over without"),
    "starts": Suite("starts.py", "to the first step: processor time over that of torch alone"),
}


def run(name: str) -> None:
    """Run a suite and keep its rows. A suite that fails ends the others' run with its status."""
    path, load = ROOT / RESULTS / f"{name}.json", os.getloadavg()[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    script, *options = SUITES[name].command.split()
    began = time.monotonic()
    command = [sys.executable, str(ROOT / "benchmarks" / script), *options, "--out", str(path)]
    done = subprocess.run(command, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"suite {name} ended with status {done.returncode}")
    told = {"load_before": load, "cores": len(os.sched_getaffinity(0)), "rows": rows_of(json.loads(path.read_text()))}
    path.write_text(json.dumps(told, indent=2) + "\n")
    print(f"{name}: {time.monotonic() - began:.0f} s, wrote {path.relative_to(ROOT)}", file=sys.stderr)


def rows_of(written: Any) -> list[dict[str, Any]]:
    """The rows of what a suite wrote: a list, or the `rows` among other things."""
    return written if isinstance(written, list) else written["rows"]


def last_release() -> tuple[str, dict[str, dict[str, float]]]:
    """The newest tag before this commit and its ratios, by suite and row; "" and nothing where there is none."""
    tag = _git("describe", "--tags", "--abbrev=0").strip()
    texts = {name: _git("show", f"{tag}:{RESULTS / f'{name}.json'}") if tag else "" for name in SUITES}
    found = {name: json.loads(text) for name, text in texts.items() if text}
    return tag, {name: {row["name"]: row["ratio"] for row in rows_of(each)} for name, each in found.items()}


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return "" if done.returncode else done.stdout


def table(found: dict[str, dict[str, Any]], tag: str, before: dict[str, dict[str, float]]) -> str:
    """Markdown: a row a case; `found` are the results by suite."""
    last = f" {tag} |" if before else ""
    lines = [f"| what a ratio says | case | ratio (least to most), n | others on the machine |{last}"]
    lines.append("|---|---|---|---|" + ("---|" if before else ""))
    for name, result in found.items():
        others = result["load_before"]
        quiet = "none" if others < BUSY else f"yes, {others:.1f} threads on {result['cores']} cores"
        for row in result["rows"]:
            known = before.get(name, {}).get(row["name"])
            beside = (f" {known:.2f} |" if known is not None else " – |") if before else ""
            lines.append(f"| {SUITES[name].reads} | {row['name']} | {_ratio(row)} | {quiet} |{beside}")
    return "\n".join(lines)


def _ratio(row: dict[str, Any]) -> str:
    every = row.get("ratios", [])
    low, high = row.get("ratio_low", min(every, default=None)), row.get("ratio_high", max(every, default=None))
    spread = "" if low is None else f" ({low:.2f} to {high:.2f})"
    n = row.get("n", row.get("steps", len(every) or None))
    return f"{row['ratio']:.2f}{spread}" + ("" if n is None else f", n = {n}")


def put(text: str, page: str, begin: str = BEGIN, end: str = END) -> str:
    """`page` with `text` between the markers. SystemExit where it has none."""
    head, found, rest = page.partition(begin)
    _, ended, tail = rest.partition(end)
    if not found or not ended:
        raise SystemExit(f"the page has no place for the table: write {begin} and {end} where it shall stand")
    return f"{head}{begin}\n{text}\n{end}{tail}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=SUITES, nargs="+", default=list(SUITES))
    parser.add_argument("--table", action="store_true", help="of the results that are there; runs nothing")
    asked = parser.parse_args()
    for name in () if asked.table else asked.only:
        run(name)
    paths = {name: ROOT / RESULTS / f"{name}.json" for name in SUITES}
    found = {name: json.loads(path.read_text()) for name, path in paths.items() if path.is_file()}
    if not found:
        raise SystemExit(f"no results in {RESULTS}: run make bench")
    PAGE.write_text(put(table(found, *last_release()), PAGE.read_text()))
    print(f"wrote the table of {', '.join(found)} into {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
