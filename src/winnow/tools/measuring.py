"""`winnow measure`: milliseconds of exported networks on the machine at hand, as JSON."""

import hashlib
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from winnow.core.errors import Refused
from winnow.measure.exported import FORMAT, Exported, in_pytorch, onnx, readings
from winnow.measure.rounds import processor

MEMORY = "memory"
TOLD = ("network", "digest", "choices", "role", "space", "model_md5")  # of what a file says of itself


def onnx_or_weights(
    path: Path, threads: int, batch: int, space: str | None = None, task: str | None = None
) -> Exported:
    """Of a file, by its kind; a model.safetensors sets the threads of this process. Refused for other kinds."""
    if path.suffix == ".onnx":
        return onnx(path, threads, batch)
    if path.suffix != ".safetensors":
        raise Refused(
            f"{path} is no exported network: measure takes .onnx (`winnow export` writes one) and .safetensors"
        )
    import torch  # and what builds networks: boards measure ONNX

    from winnow.core.example import noise
    from winnow.measure.memory import footprint
    from winnow.run.model import load_model
    from winnow.run.networks import example_of

    model, about = load_model(path, space, task)
    torch.set_num_threads(threads)
    x = noise(example_of(about["facts"]), torch.Generator().manual_seed(0), batch)
    return in_pytorch(path, model, x, {**about, MEMORY: footprint(model, example_of(about["facts"]))})


def measure(
    paths: Sequence[Path],
    *,
    threads: int = 1,
    batch: int = 1,
    repeats: int = 50,
    seconds: float = 5.0,
    name: str | None = None,
    space: str | None = None,
    task: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Medians, spread and bytes of each file, and what they were measured on. Refused for what is no exported network.

    Of weights, `ram_kib` and `flash_kib` too.

    A model.safetensors of a space or task of one's own takes its name, `space` or `task`: a file must not choose which
    code is run.
    """
    if not paths:
        raise Refused("measure takes files: model.onnx of `winnow export`, or what `winnow calibrate plan` wrote")
    networks = [onnx_or_weights(path, threads, batch, space, task) for path in paths]
    runtimes = {network.runtime: network.path for network in networks}
    if len(runtimes) > 1:
        pairs = " and ".join(f"{path} in {runtime}" for runtime, path in runtimes.items())
        raise Refused(f"{pairs} do not compare: measure them apart")
    rows = []
    for network, reading in zip(networks, readings(networks, repeats, seconds, say), strict=True):
        about = None if network.about is None else {key: network.about[key] for key in TOLD if key in network.about}
        sha256 = hashlib.sha256(network.path.read_bytes()).hexdigest()
        memory = (network.about or {}).get(MEMORY, {})  # of a file of another runtime its exporter knows
        size = {"bytes": network.path.stat().st_size, **memory}
        rows.append({"file": network.path.name, "sha256": sha256, **size, **reading.row(), "about": about})
    return {
        "format": FORMAT,
        "name": name or platform.node(),
        "device": f"{processor()}, {threads} thread{'s' if threads > 1 else ''}, {networks[0].runtime}",
        "host": {
            "name": platform.node(),
            "system": platform.platform(),
            "processor": processor(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        },
        "runtime": networks[0].runtime,
        "threads": threads,
        "batch": batch,
        "repeats": repeats,
        "seconds": seconds,
        "networks": rows,
    }
