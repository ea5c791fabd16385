"""Spoken digits of a speaker whom no network heard: recipe `speech` from data to verdict, once for each left out.

    python benchmarks/speech.py --data SPOKEN_DIGITS --out speech.json [--threads 2] [--set search.epochs=60]
    python benchmarks/speech.py --out speech.json --table        prints what is there and runs nothing

SPOKEN_DIGITS is a folder of Parquet files with a column `speaker` (source `audio_parquet`). Beside the found network
stand the recipe's random ones and the one made by hand that it names. All are trained alike. A row is one speaker; the
same command goes on after a kill, and rows that are in the file are not run again. Intervals over speakers are
Student's; any two runs share the training clips of four speakers, so that they are narrower than those of other people
would be.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.dataset
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.first_run import changed, stages
from winnow.measure.compare import mean_interval
from winnow.measure.rounds import processor
from winnow.run import files
from winnow.tools.recipes import recipes

QUIET = {"evaluate.latency_repeats": 6, "evaluate.latency_seconds": 0.0, "tracking.enabled": False}  # change no verdict
HEAD = ("speaker", "clips", "found %", "random networks %", "by hand %", "better than random", "no worse than by hand")


def run(content: dict[str, Any], speaker: object) -> dict[str, Any]:
    """One row: the whole pipeline in a folder that is gone afterwards."""
    params = changed(content, {"data.options.test_groups": [speaker]})
    began = time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory(prefix="winnow-speech-") as place:
        folder = Path(place)
        stages(params, folder)
        told = json.loads((folder / files.REPORTS / "evaluate.json").read_text(encoding="utf-8"))
    (by_hand,) = told["against"]
    return {
        "speaker": speaker,
        "clips": told["test_images"],
        "found": told["found_scores"],
        "random": told["control_scores"],
        "by_hand": by_hand["scores"],
        "outcome": told["outcome"],
        "p": told["p_value"],
        "won": told["pairs_won"],
        "no_worse": by_hand["outcome"],
        "params": {"found": told["params"], "by_hand": by_hand["params"]},
        "macs": {"found": told["macs"], "by_hand": by_hand["macs"]},
        "architecture": told["architecture"],
        "seconds": round(time.monotonic() - began[0]),
        "cpu_seconds": round(time.process_time() - began[1]),  # of this process: all of it with --threads 1
    }


def table(told: dict[str, Any]) -> str:
    """A line a speaker, networks' means ± sd; then the same over speakers, and differences with 95 % intervals."""
    rows = told["rows"]
    lines = ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    for row in rows:
        scores = (_mean(row[name]) for name in ("found", "random", "by_hand"))
        verdict = f"{row['outcome']} (beats {row['won']:g} of {len(row['random'])}, p = {row['p']:.3f})"
        cells = (row["speaker"], row["clips"], *scores, verdict, row["no_worse"])
        lines.append(f"| {' | '.join(map(str, cells))} |")
    means = {name: [statistics.fmean(row[name]) for row in rows] for name in ("found", "random", "by_hand")}
    over = " | ".join(_mean(values) for values in means.values())
    lines += [f"| all {len(rows)} | | {over} | | |", ""]
    for name, words in (("random", "the random networks' mean"), ("by_hand", "the one made by hand")):
        gap = mean_interval([ours - its for ours, its in zip(means["found"], means[name], strict=True)])
        if gap.n > 1:
            lines.append(f"Found above {words}: {gap.mean:+.2f} points [{gap.low:+.2f}, {gap.high:+.2f}], n = {gap.n}.")
    lines.append(f"Machine: {told['machine']}, threads: {told['threads'] or 'all cores'}.")
    return "\n".join(lines)


def _mean(values: list[float]) -> str:
    return f"{statistics.fmean(values):.1f}" + (f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of Parquet files of spoken digits")
    parser.add_argument("--out", type=Path, required=True, help="the rows, as JSON; those that are there are kept")
    parser.add_argument("--threads", type=int, help="[default: all cores]")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="other settings of the recipe")
    parser.add_argument("--table", action="store_true", help="print what is there and run nothing")
    given = parser.parse_args()
    if given.table:
        return print(table(json.loads(given.out.read_text(encoding="utf-8"))))
    if given.data is None:
        parser.error("--data says where the clips are")
    content = yaml.safe_load(recipes(Path())["speech"].read_text(encoding="utf-8"))
    settings = {key: yaml.safe_load(value) for key, _, value in (pair.partition("=") for pair in given.set)}
    settings |= {"runtime.threads": given.threads, **QUIET}
    settings |= {"trials.workers": 1, "trials.executor": "inline"} if given.threads == 1 else {}
    told = {"settings": settings, "machine": processor(), "threads": given.threads, "rows": []}
    told = _there(given.out, told)
    content = changed(content, {**settings, "data.path": str(given.data.resolve())}).model_dump(by_alias=True)
    for speaker in speakers(given.data, content["data"]["options"]["group_column"]):
        if speaker not in {row["speaker"] for row in told["rows"]}:
            told["rows"] = sorted([*told["rows"], run(content, speaker)], key=lambda row: row["speaker"])
            files.write_json(given.out, told)
    print(table(told))


def speakers(folder: Path, column: str) -> list[Any]:
    return sorted(
        pyarrow.dataset.dataset(folder, exclude_invalid_files=True).to_table([column])[column].unique().to_pylist()
    )


def _there(path: Path, told: dict[str, Any]) -> dict[str, Any]:
    """What the file holds, or `told` where there is none. Ends where it holds runs by other settings."""
    if not path.is_file():
        return told
    there = json.loads(path.read_text(encoding="utf-8"))
    if any(there[name] != told[name] for name in ("settings", "threads")):
        raise SystemExit(f"{path} holds runs by other settings: give another --out")
    return there


if __name__ == "__main__":
    main()
