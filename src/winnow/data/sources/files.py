"""Image files that annotations name: found, read and told apart by digest."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from winnow.core.errors import Refused
from winnow.data.sources.decode import Encoded
from winnow.data.sources.pixels import Unusable
from winnow.data.sources.walk import shown

NAMED = 8


class Files:
    """The files below a root by name; `digest` is of the names and bytes of all that were read."""

    def __init__(self, root: Path):
        self.root, self.hash = root, hashlib.blake2b(digest_size=16)
        self.by_name: dict[str, list[Path]] = {}
        for path in sorted(root.rglob("*")):
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts):
                self.by_name.setdefault(path.name, []).append(path)

    @property
    def digest(self) -> str:
        return self.hash.hexdigest()

    def ending(self, *endings: str) -> list[Path]:
        """Those whose names end so, whatever the case, in order."""
        return sorted(path for paths in self.by_name.values() for path in paths if path.name.lower().endswith(endings))

    def place(self, name: str, near: Path) -> Path | None:
        """The file `name`, a path or a part of one, seen from the folder `near`, or else anywhere, if there is one."""
        inside = Path(name)
        if inside.is_absolute() or ".." in inside.parts:
            inside = Path(inside.name)
        for folder in (near, self.root):
            if (folder / inside).is_file():
                return folder / inside
        found = [p for p in self.by_name.get(inside.name, ()) if p.parts[-len(inside.parts) :] == inside.parts]
        return found[0] if len(found) == 1 else None

    def text(self, path: Path) -> bytes:
        data = path.read_bytes()
        self._count(path, data)
        return data

    def encoded(self, paths: Sequence[Path]) -> Iterator[Encoded]:
        for path in paths:
            try:
                data = path.read_bytes()
            except OSError as error:
                yield shown(path), Unusable(f"cannot be read ({error.strerror})")
                continue
            self._count(path, data)
            yield shown(path), data

    def _count(self, path: Path, data: bytes) -> None:
        name = path.relative_to(self.root).as_posix().encode(errors="surrogateescape")
        self.hash.update(len(name).to_bytes(8, "little") + name + len(data).to_bytes(8, "little") + data)


def opened_folder(path: str | Path | None, source: str, takes: str) -> Files:
    """Refused where there is no folder."""
    if path is None:
        raise Refused(f"data.source is {source!r} and data.path is not set; give {takes}")
    if not Path(path).is_dir():
        raise Refused(f"data.path {shown(path)} is no folder; give {takes}")
    return Files(Path(path))


def missing(names: Sequence[str], where: str) -> Refused:
    """One sentence on all images that an annotation names and that are not there."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return Refused(
        f"{where}: {len(names)} image(s) are not there, or there more than once: {', '.join(names[:NAMED])}{more}; "
        "fetch them, or leave them out of the annotations"
    )
