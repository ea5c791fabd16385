"""Stage prepare: reads the data source; writes data/splits/{weights,arch,select,test}.parquet and manifest.json."""

if __name__ == "__main__":  # a script's folder heads the path, where select.py would hide the standard library's
    import sys

    sys.path.pop(0)

from pathlib import Path

from rich.markup import escape

from winnow.config.params import Params
from winnow.data.prepare import prepare_splits
from winnow.run import files
from winnow.run.outside import resolved
from winnow.run.work import working


def main(params: Params, folder: Path) -> None:
    data = params.data
    with working("prepare", params, folder) as work:
        manifest = prepare_splits(
            folder / files.SPLITS,
            work.task,
            source=data.source,
            seed=params.seed,
            fractions=data.fractions.model_dump(),
            test_fraction=data.test_fraction,
            path=None if data.path is None else resolved(folder, data.path, "data.path"),
            image_column=data.image_column,
            label_column=data.label_column,
            image_size=data.image_size,
            limit_train=data.limit_train,
            limit_test=data.limit_test,
            own=data.options,
        )
        facts, rows = manifest["facts"], {name: split["rows"] for name, split in manifest["splits"].items()}
        for name, split in manifest["splits"].items():
            work.run.dataset(name, split["digest"], files.SPLITS / f"{name}.parquet", name)
        metrics = {
            "images": rows,
            **{name: facts[name] for name in ("shape",) if name in facts},
            **({"classes": len(facts["classes"])} if "classes" in facts else {}),
            "duplicates": manifest["duplicates"],
        }
        left_out = [f"{count} {reason}" for reason, count in manifest.get("left_out", {}).items()]
        if left_out:  # a list: words for people, which no gate compares
            metrics["left_out"] = left_out
        files.write_json(folder / files.REPORTS / "prepare.json", metrics)
        work.run.metrics({f"images_{name}": count for name, count in rows.items()})
        work.run.artifact(folder / files.SPLITS / "manifest.json")
        counts = ", ".join(f"{name} {count}" for name, count in rows.items())
        told = work.task.described(facts)
        work.say(f"prepared {data.source}: {told}{'; ' if told else ''}{counts}")
        for note in [f"left out: {', '.join(left_out)}"] * bool(left_out) + manifest.get("notes", []):
            work.say(f"  {escape(note)}")
        work.say(f"  wrote {files.SPLITS}/; next: winnow search")


if __name__ == "__main__":
    from winnow.cli.main import run_stage

    run_stage("prepare")
