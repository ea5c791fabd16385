"""What a trained network came from, as it travels inside its own file.

Content only: digests, settings, and what docs/determinism.md says that bits depend on. No time, commit, host or run id:
the same training again gives the same bytes, at whichever commit it runs. The commit is found from here: `code` holds
digests as dvc.lock has them.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import winnow
from winnow.config.params import Params
from winnow.core.errors import Refused
from winnow.data.storage import read_manifest
from winnow.run.files import SPLITS, START, read_tensors
from winnow.run.processes import threads
from winnow.run.revision import md5_of
from winnow.system.launched import Launch
from winnow.train.recipes import Recipe

CODE = ("core", "nn", "data", "tasks", "spaces", "train")  # what stage retrain stands on: the deps of dvc.yaml
SCRIPT = "pipelines/retrain.py"


def provenance(
    params: Params,
    folder: Path,
    recipe: Recipe,
    device: torch.device,
    outside: Mapping[str, str],
    threads: int | None = None,
    processes: int = 1,
) -> dict[str, Any]:
    """Of a network that stage retrain trains in `folder`; Refused where the splits' manifest is damaged.

    `outside` are the digests of what the stage reads outside, by parameter; `threads` those it trains by, unless all,
    in each of `processes`.
    Of the data it is what was read that counts, the splits: other files that give equal splits give equal networks.
    """
    manifest, federation = read_manifest(folder / SPLITS), params.retrain.federation
    try:
        splits = {name: split["digest"] for name, split in manifest["splits"].items()}
        data = {"source": manifest["source"], "digest": manifest["source_digest"], "splits": splits}
    except (KeyError, TypeError, AttributeError) as error:
        raise Refused(f"{SPLITS}/manifest.json does not say what its splits are: run `winnow prepare` again") from error
    return {
        "data": data,
        "inputs": dict(outside),
        "begins": begins(params, folder),
        "trained_on": list(params.retrain.splits),
        "augmentation": params.data.augment,
        "recipe": asdict(recipe),
        **({} if federation is None else {"federation": federation.model_dump(mode="json")}),
        "code": code(),
        "environment": environment(device, threads, processes),
    }


def begins(params: Params, folder: Path) -> dict[str, Any]:
    """What training begins with, as stage select left it, and the md5 of that file where it holds weights."""
    about = read_tensors(folder / START, "select")[1]
    return {"with": params.begins} | ({**about, "md5": md5_of(folder / START)} if len(about) > 1 else {})


def code() -> dict[str, str]:
    """The digest of each package and of the script, under the names and as the md5 that dvc.lock has."""
    package = Path(winnow.__file__).parent
    script = Path(*_search_locations()) / Path(SCRIPT).name
    return {f"src/winnow/{name}": md5_of(package / name) for name in CODE} | {SCRIPT: md5_of(script)}


def environment(device: torch.device, threads: int | None = None, processes: int = 1) -> dict[str, str]:
    """What equal bits take: versions, the instruction set with threads or the GPU model with its CUDA, processes."""
    where = f"{torch.backends.cpu.get_cpu_capability()}, {threads or torch.get_num_threads()} threads"
    if device.type == "cuda":
        where = f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    many = f", {processes} processes" if processes > 1 else ""
    return {"winnow": winnow.__version__, "torch": torch.__version__, "device": f"{device.type}: {where}{many}"}


def trained_by(params: Params, launch: Launch | None = None) -> tuple[int | None, int]:
    """The threads of a process that retrains, None for all, and how many processes train one network."""
    processes, federation = params.runtime.processes, params.retrain.federation
    if federation is not None:
        return federation.threads, 1
    return (threads(params, launch) if processes > 1 else None), processes


def tags(found: Mapping[str, Any], digest: str) -> dict[str, str]:
    """The same for a run in MLflow, to look runs up by; `digest` is the architecture's."""
    told = {"winnow.architecture": digest, "winnow.data": found["data"]["digest"]}
    return told | {f"winnow.code.{name}": md5 for name, md5 in found["code"].items()}


def _search_locations() -> list[str]:
    """Where the pipelines lie; looked up rather than imported, since they stand above."""
    from importlib.util import find_spec

    spec = find_spec("winnow.pipelines")
    assert spec is not None
    return list(spec.submodule_search_locations or ())[:1]
