"""How often does the first run say yes? The pipeline of params.yaml, stage by stage, once for each of so many seeds.

    python benchmarks/first_run.py --seeds 20 --out first_run.json [--threads 2] [--set search.epochs=60]

Run n searches by the seeds 100 + n * evaluate.searches and following: no two runs share one, and the settings were
chosen on others. Beside it stand a random
search that costs about as much as one search of the run (`--random` networks), and what the same rule says where yes is
impossible but by chance: random networks in the place of what was found. The same command goes on after a kill: runs
that are in the file are not repeated. `python benchmarks/first_run.py --out first_run.json --table` prints the table.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from winnow.config.params import Params
from winnow.config.reading import check_params
from winnow.measure.judgement import better_than_random, difference
from winnow.measure.rounds import processor
from winnow.pipelines import evaluate, inputs, prepare, retrain, search, select, tune
from winnow.run import files

ROOT = Path(__file__).parents[1]
UNSEEN = 100  # seeds from here on to 199 chose no setting; below, those of the default run itself were looked at
QUIET = {  # changes no verdict: networks are compared by the recipe as it stands, by one seed each
    "tracking.enabled": False,
    "tune.trials": 0,
    "evaluate.latency_repeats": 6,
    "evaluate.latency_seconds": 0.0,
}


def run(content: dict[str, Any], number: int, threads: int) -> dict[str, Any]:
    """One row: the whole pipeline in a folder that is gone afterwards."""
    first = UNSEEN + number * content["evaluate"]["searches"]
    changes = {**QUIET, "seed": first, "retrain.seeds": [first], "runtime.threads": threads, "trials.workers": threads}
    changes |= {"trials.executor": "inline", "runtime.workers": 1} if threads == 1 else {}
    params = changed(content, changes)
    began = time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory(prefix="winnow-first-run-") as place:
        folder = Path(place)
        stages(params, folder)
        told = json.loads((folder / files.REPORTS / "evaluate.json").read_text(encoding="utf-8"))
    return {
        "seed": number,
        "outcome": told["outcome"],
        "score": statistics.fmean(told["find_scores"]),
        "control": statistics.fmean(told["control_scores"]),
        "p": told["p_value"],
        "finds": told["find_scores"],
        "controls": told["control_scores"],
        "params": told["params"],
        "control_params": told["control_params"],
        "random_search": told["random_search"] and told["random_search"]["scores"][0],
        "searches": list(range(first, first + params.evaluate.searches)),
        "seconds": round(time.monotonic() - began[0]),
        "cpu_seconds": round(time.process_time() - began[1]),  # of this process: all of it with --threads 1
    }


def stages(params: Params, folder: Path) -> None:
    (folder / "params.yaml").write_text(yaml.safe_dump(params.model_dump(by_alias=True)), encoding="utf-8")
    for stage in (inputs, prepare, search, select, tune):
        stage.main(params, folder)
    for seed in params.retrain.seeds:
        retrain.main(params, folder, seed)
    evaluate.main(params, folder)


def changed(content: dict[str, Any], changes: dict[str, Any]) -> Params:
    """`changes` by dotted key."""
    content = json.loads(json.dumps(content))
    for key, value in changes.items():
        *sections, last = key.split(".")
        place = content
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return check_params(content)


def table(told: dict[str, Any]) -> str:
    """The rows and what they come to, in Markdown."""
    rows = told["rows"]
    lines = ["| run | outcome | p | found | random networks | random search |", "|---|---|---|---|---|---|"]
    for row in rows:
        sought = "" if row["random_search"] is None else f"{row['random_search']:.1f}"
        cells = row["seed"], row["outcome"], f"{row['p']:.3f}", f"{row['score']:.1f}", f"{row['control']:.1f}", sought
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", *said(rows), f"Machine: {told['machine']}, {told['threads']} thread(s) a run."]
    return "\n".join(lines)


def said(rows: list[dict[str, Any]]) -> list[str]:
    count, n = Counter(row["outcome"] for row in rows), len(rows)
    lines = [", ".join(f"{outcome} {count[outcome]}" for outcome in ("yes", "no", "cannot tell")) + f" of {n} runs."]
    gains = [row["score"] - row["control"] for row in rows]
    lines.append(f"Found ones over random networks: {_mean(gains)} points; a run took {_mean_of(rows, 'seconds')} s.")
    sized = [gain for gain in (size_matched(row) for row in rows) if gain is not None]
    if sized:
        lines.append(f"The delivered one over random networks within a quarter of its size: {_mean(sized)} points.")
    sought = [row for row in rows if row["random_search"] is not None]
    if sought:
        beside = [row["finds"][0] - row["random_search"] for row in sought]
        lines.append(f"One search's find over the random search of the same run: {_mean(beside)} points.")
    for name, outcomes in (("random search", _rival(sought)), ("random networks", false_yes(rows))):
        yes = sum(outcome == "yes" for outcome in outcomes)
        if outcomes:
            lines.append(f"In the place of the found ones, {name}: yes {yes} of {len(outcomes)}.")
    return lines


def size_matched(row: dict[str, Any]) -> float | None:
    """What the first find gains over the mean of the random networks within a quarter of its parameters."""
    near = [
        score
        for score, size in zip(row["controls"], row["control_params"], strict=True)
        if abs(size / row["params"] - 1) <= 0.25
    ]
    return row["finds"][0] - statistics.fmean(near) if near else None


def false_yes(rows: list[dict[str, Any]]) -> list[str]:
    """Outcomes of random networks, as many as there were searches, against those of the run before: no yes is true."""
    outcomes = []
    for before, row in zip(rows[-1:] + rows[:-1], rows, strict=True):
        count = len(row["searches"])
        for i in range(0, len(row["controls"]) - count + 1, count):
            outcomes.append(_outcome(row["controls"][i : i + count], before["controls"]))
    return outcomes if len(rows) > 1 else []


def _rival(rows: list[dict[str, Any]]) -> list[str]:
    """Outcomes of as many random searches as a run searches: those of this run and of the following ones."""
    if not rows or len(rows) < len(rows[0]["searches"]):
        return []
    count, finds = len(rows[0]["searches"]), [row["random_search"] for row in rows]
    return [_outcome((finds + finds)[i : i + count], row["controls"]) for i, row in enumerate(rows)]


def _outcome(found: list[float], controls: list[float]) -> str:
    return better_than_random(found, controls, difference(found, controls)).outcome


def _mean(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):+.1f}{spread} (n = {len(values)})"


def _mean_of(rows: list[dict[str, Any]], name: str) -> str:
    return f"{statistics.fmean(row[name] for row in rows):.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="number of the first run")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--params", type=Path, default=ROOT / "params.yaml")
    parser.add_argument("--random", type=int, default=12, help="networks that the random search beside it tries; or 0")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--table", action="store_true", help="print what is there and run nothing")
    given = parser.parse_args()
    content = yaml.safe_load(given.params.read_text(encoding="utf-8"))
    settings = {"evaluate.random_search": given.random}
    settings |= {key: yaml.safe_load(value) for key, _, value in (pair.partition("=") for pair in given.set)}
    params = changed(content, settings)
    twice = 2 * params.retrain.recipe().epochs  # on half of the data: as many steps as a retraining
    settings = {"search.trials.training.epochs": twice, **settings}
    content = json.loads(json.dumps(changed(content, settings).model_dump(by_alias=True)))
    settled = {name: section for name, section in content.items() if name != "runtime"}  # `run` sets that
    told = {"settings": settled, "machine": processor(), "threads": given.threads, "rows": []}
    for number in range(given.first, given.first if given.table else given.first + given.seeds):
        if number not in {row["seed"] for row in _there(given.out, told)["rows"]}:
            row = run(content, number, given.threads)
            told = _there(given.out, told)  # another process may have added to it
            rows = [*(each for each in told["rows"] if each["seed"] != number), row]
            files.write_json(given.out, {**told, "rows": sorted(rows, key=lambda each: each["seed"])})
    print(table(json.loads(given.out.read_text(encoding="utf-8"))))


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
