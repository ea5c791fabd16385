"""What a model or architecture file says of itself, whichever of winnow's kinds it is."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.run import files
from winnow.system.extra import needed

METADATA = "winnow"  # the key in safetensors metadata and in ONNX metadata


@dataclass(frozen=True)
class Origin:
    """`provenance` is as `trust.provenance` makes it, `exported` as `trust.export`; empty where the file has none."""

    kind: str
    space: str
    digest: str
    choices: Mapping[str, Any]
    seed: int | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    exported: Mapping[str, Any] = field(default_factory=dict)


def read_origin(path: Path) -> Origin:
    """Refused where the file is missing or none of these kinds, or where its digest is not that of its choices."""
    if not path.is_file():
        raise Refused(f"no file {path}: give a model.safetensors, a model.onnx or an architecture.json")
    if path.suffix == ".json":
        about, kind = files.read_json(path, "select"), "architecture"
    elif path.suffix == ".onnx":
        about, kind = onnx_metadata(path), "ONNX model"
    else:
        about, kind = files.read_tensors(path, "retrain")[1], "model"
    try:
        choices = about["choices"]
        found = Architecture.of(choices).digest
        origin = Origin(
            kind=kind,
            space=str(about["space"]),
            digest=about["digest"],
            choices=dict(choices),
            seed=about.get("seed"),
            provenance=_mapping(about.get("provenance", {})),
            exported=_mapping(about.get("exported", {})),
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise Refused(
            f"{path} does not say which architecture it holds: it is no model or architecture of winnow"
        ) from error
    if origin.digest != found:
        raise Refused(f"{path} was altered: its choices have digest {found}, it says {origin.digest}")
    return origin


def onnx_metadata(path: Path) -> dict[str, Any]:
    """What an exported ONNX file says of itself; Refused where it is damaged or not winnow's."""
    onnx = needed("onnx")
    from google.protobuf.message import DecodeError  # what onnx is made with

    try:
        model = onnx.load(str(path), load_external_data=False)
        return json.loads({entry.key: entry.value for entry in model.metadata_props}[METADATA])
    except KeyError as error:
        raise Refused(f"{path} was not exported by winnow: it does not say what it holds") from error
    except (DecodeError, json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise Refused(f"{path} is damaged or no ONNX file: run `winnow export` again") from error


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError("takes names and values")
    return value
