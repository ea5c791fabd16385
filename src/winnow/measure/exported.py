"""How long exported networks take: model.onnx in onnxruntime, others in PyTorch. Imports what a file needs.

ONNX takes numpy and onnxruntime alone, so that a small board measures without PyTorch.
"""

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from winnow.core.errors import Refused, told
from winnow.measure.rounds import ROUNDS, of_medians, one_round, others_running, summary
from winnow.system.extra import needed

FORMAT = "winnow.measured/1"  # of the JSON of `winnow measure`
ABOUT = "winnow"  # the key under which a file says what network it holds
WAKING = 2  # calls of every round that are not counted

Call = Callable[[], float]  # milliseconds of one


@dataclass(frozen=True)
class Exported:
    """A network in a file. `opened()` is a call of it while the block runs; `about` is what the file says of itself."""

    path: Path
    runtime: str
    opened: Callable[[], contextlib.AbstractContextManager[Call]]
    about: dict[str, Any] | None = None


@dataclass
class Reading:
    """Rounds of calls, in milliseconds, and the threads of others that ran before each."""

    rounds: list[list[float]] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)

    def row(self) -> dict[str, float | int | None]:
        """As JSON has it: a median and its interval by the rounds' medians, as of `of_medians`; then single calls.

        Those are the fastest, and the slowest tenth, or round if that is slower.
        """
        ms, low, high = of_medians(self.rounds)
        _, fastest, slow = summary(self.rounds)
        load = sum(self.loads) / len(self.loads) if self.loads else None
        told = {"ms": ms, "low": low, "high": high, "fastest_call": fastest, "slow_call": slow}
        return {**told, "calls": sum(map(len, self.rounds)), "load": load}


def readings(networks: Sequence[Exported], repeats: int, seconds: float, say: Callable[[str], None]) -> list[Reading]:
    """Of each at most `repeats` calls, no more than fit into `seconds` but one a round; in turns: a drift hits all."""
    found, began = [Reading() for _ in networks], time.monotonic()
    for number in range(ROUNDS):
        say(f"round {number + 1} of {ROUNDS}")
        time.sleep(max(0.0, began + number * seconds / ROUNDS - time.monotonic()))
        for network, reading in zip(networks, found, strict=True):
            if (load := others_running()) is not None:
                reading.loads.append(load)
            with network.opened() as call:
                for _ in range(WAKING):
                    call()
                reading.rounds.append(one_round(call, math.ceil(repeats / ROUNDS), seconds / ROUNDS))
    return found


def onnx(path: Path, threads: int, batch: int) -> Exported:
    """Opened anew every round: one network at a time is in memory. Refused where it does not run."""
    runtime = needed("onnxruntime")

    def session() -> Any:
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        with _running(path):
            return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    @contextlib.contextmanager
    def opened() -> Iterator[Call]:
        made = session()
        given = {each.name: _values(path, each.name, each.shape, each.type, batch) for each in made.get_inputs()}
        yield lambda: _timed(path, lambda: made.run(None, given))

    told = session().get_modelmeta().custom_metadata_map.get(ABOUT)
    return Exported(path, f"onnxruntime {runtime.__version__}", opened, _about(path, told))


def _values(path: Path, name: str, shape: Sequence[int | str | None], kind: str, batch: int) -> Any:
    """Noise for an input of floats, zeros for whole numbers; only the batch may be open."""
    import numpy as np

    filled = [batch if i == 0 and not isinstance(size, int) else size for i, size in enumerate(shape)]
    sizes = [size for size in filled if isinstance(size, int)]
    if len(sizes) < len(filled):
        raise Refused(f"{path}: input {name!r} has sizes {list(shape)}, of which only the first may be open")
    if sizes and sizes[0] != batch:
        raise Refused(f"{path}: input {name!r} takes a batch of {sizes[0]}, not {batch}")
    if kind == "tensor(float)":
        return np.random.default_rng(0).standard_normal(sizes).astype(np.float32)
    if kind in ("tensor(int64)", "tensor(int32)"):
        return np.zeros(sizes, kind.removeprefix("tensor(").removesuffix(")"))
    raise Refused(f"{path}: input {name!r} takes {kind}; float, int64 or int32 is fed")


def in_pytorch(path: Path, model: Any, x: Any, about: dict[str, Any]) -> Exported:
    """`model` on input `x`, as `path` holds it; it stays in memory, and runs with the threads that are set then."""
    import torch

    def call() -> float:
        with torch.inference_mode():
            return _timed(path, lambda: model(x))

    return Exported(path, f"torch {torch.__version__}", lambda: contextlib.nullcontext(call), about)


def _timed(path: Path, run: Callable[[], Any]) -> float:
    with _running(path):
        start = time.perf_counter_ns()
        run()
        return (time.perf_counter_ns() - start) / 1e6


@contextlib.contextmanager
def _running(path: Path) -> Iterator[None]:
    if not path.is_file():
        raise Refused(f"no {path}: export a network first (`winnow export`, `winnow calibrate plan`)")
    try:
        yield
    except Refused:
        raise
    except Exception as error:  # of a runtime, each of which has a dozen kinds without a common one
        raise Refused(f"{path} does not run: {told(error)}") from error


def _about(path: Path, text: str | None) -> dict[str, Any] | None:
    if not text:
        return None
    try:
        found = json.loads(text)
        if isinstance(found, dict):
            return found
    except (ValueError, RecursionError):
        pass
    raise Refused(f"{path} says of itself what is no JSON object: export it again")
