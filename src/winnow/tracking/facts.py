"""What a run should say about where it came from: parameters, commit, machine. Standard library only."""

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from winnow.system.addresses import public, redact
from winnow.system.git import asked, nothing_wrong
from winnow.system.machine import usable_cores

LONGEST_PARAM, LONGEST_NAME = 6000, 250  # characters that MLflow takes
LONGEST_DIFF = 1_000_000  # characters of `git diff` kept with a run
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG", "PYTHONHASHSEED")
PACKAGES = ("torch", "numpy", "pyarrow", "mlflow", "optuna", "dvc", "winnow")
ISA = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "neon", "asimd", "sve")


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted keys and text values: `{"a": {"b": [1]}}` becomes `{"a.b": "[1]"}`; no passwords, none over 6000 long."""
    flat: dict[str, str] = {}
    for key, value in params.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
            continue
        text = redact(value if isinstance(value, str) else json.dumps(value, default=str))
        if len(text) > LONGEST_PARAM:
            digest = hashlib.sha256(text.encode()).hexdigest()[:12]
            text = f"{text[: LONGEST_PARAM - 80]}… cut here; {len(text)} characters, sha256 {digest}"
        flat[plain_name(name)] = text
    return flat


def plain_name(name: str) -> str:
    """As MLflow takes the names of parameters and metrics."""
    return re.sub(r"[^\w\-. :/]", "_", name)[:LONGEST_NAME]


def pipeline_id(params: Mapping[str, Any], commit: str | None, root: Path) -> str:
    """One pipeline run: the same parameters at the same commit of the same project. How it is tracked is no part."""
    told = {key: value for key, value in params.items() if key != "tracking"}
    text = json.dumps([told, commit, root.resolve().name], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def title(params: Mapping[str, Any], digest: str) -> str:
    """What the run table calls a pipeline run: its digest, then data, space and search strategy where they are told."""
    words = [digest[:6], params.get("data", {}).get("source"), params.get("space", {}).get("name")]
    words.append(params.get("search", {}).get("strategy"))
    return " · ".join(str(word) for word in words if word)  # what differs comes first: the table cuts long names


def differing(given: Mapping[str, str], before: Mapping[str, str], most: int = 3) -> str:
    """What of the parameters, dotted keys with texts, is other than in the run before: "epochs 50, flip true".

    How it is tracked and where it runs is no part; "" where nothing differs or nothing was before.
    """
    if not before:
        return ""
    changed = [key for key in given if given[key] != before.get(key) and not key.startswith(("tracking.", "runtime."))]
    told = [f"{key.rpartition('.')[2]} {given[key][:24]}" for key in changed[:most]]
    return ", ".join([*told, *([f"{len(changed) - most} more"] if len(changed) > most else [])])


def git(root: Path) -> dict[str, Any]:
    """`commit`, `branch`, `remote`, `dirty`, the `diff` against the commit; empty where `root` is in no repository.

    Where there is one that git does not open, `refused` is git's own reason and nothing else is known.
    """

    def ask(*words: str) -> str | None:
        return asked(root, *words)[0]

    commit, reason = asked(root, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return {} if nothing_wrong(reason) else {"refused": reason}
    status = ask("status", "--porcelain", "--untracked-files=no") or ""
    facts = {"commit": commit.strip(), "branch": (ask("rev-parse", "--abbrev-ref", "HEAD") or "").strip()}
    facts["remote"] = public(ask("remote", "get-url", "origin") or "")
    diff = redact(ask("diff", "HEAD") or "") if status else ""
    if len(diff) > LONGEST_DIFF:
        diff = f"{diff[:LONGEST_DIFF]}\n… cut here; {len(diff)} characters\n"
    return {**facts, "dirty": bool(status), "diff": diff}


def file_digest(path: Path) -> str | None:
    """sha256 of a file, None where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def environment() -> dict[str, Any]:
    """The machine and the software under this process: enough to tell whether two numbers may be compared."""
    facts: dict[str, Any] = {
        "host": socket.gethostname(),
        "os": platform.platform(),
        "python": platform.python_version(),
        "cpu": _cpu_model(),
        "isa": _isa(),
        "cores": os.cpu_count(),
        "cores_usable": usable_cores(),
        "versions": {name: _version(name) for name in PACKAGES},
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        facts["memory_gib"] = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    torch = sys.modules.get("torch")  # asked only where the stage uses it: importing it takes a second
    if torch is not None:
        facts["torch_threads"] = torch.get_num_threads()
        facts["torch_isa"] = torch.backends.cpu.get_cpu_capability()
        facts["torch_deterministic"] = torch.are_deterministic_algorithms_enabled()
        facts["cuda"] = torch.version.cuda
        if torch.cuda.is_available():
            facts["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
            facts["cudnn"] = torch.backends.cudnn.version()
            facts["driver"] = _driver()
    return facts


def environment_tags(facts: Mapping[str, Any]) -> dict[str, str]:
    """The part of `environment()` worth a column in the run table."""
    tags = {"cpu": facts["cpu"], "isa": " ".join(facts["isa"]), "threads": facts.get("torch_threads")}
    tags |= {"gpu": ", ".join(facts.get("gpus", [])), "driver": facts.get("driver"), "cuda": facts.get("cuda")}
    tags |= {"python": facts["python"], "torch": facts["versions"]["torch"], "host": facts["host"]}
    return {f"winnow.{name}": str(value) for name, value in tags.items() if value}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_info() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").split("\n\n")[0].splitlines() if path.is_file() else []
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _cpu_model() -> str:
    return _cpu_info().get("model name") or platform.processor() or platform.machine()


def _isa() -> list[str]:
    info = _cpu_info()
    flags = set((info.get("flags") or info.get("Features") or "").split())
    return [name for name in ISA if name in flags] or [platform.machine()]


def _driver() -> str | None:
    import pynvml

    try:
        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:  # a GPU of another make
        return None
