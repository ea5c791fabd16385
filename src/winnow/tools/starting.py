"""A folder of one's own: the files that a project has beside the installed winnow."""

import re
from pathlib import Path

import winnow
from winnow.core.errors import Refused
from winnow.system.whole import atomic
from winnow.tools.recipes import PARAMS, recipes

FILES = Path(__file__).parent / "project"
PIPELINE, IGNORED, UNSEEN, WORKFLOW = "dvc.yaml", ".gitignore", ".dvcignore", ".github/workflows/winnow.yml"
CODE = "artifacts/inputs/code.json"  # what stage inputs says of the installed winnow
HEAD = """\
# The pipeline, for winnow {version}. Each stage lists the files it reads and the parameters it looks at. What
# params.yaml names outside (data, your own code) and which winnow is installed, stage inputs looks up each time.
"""


def started(folder: Path, recipe: str) -> tuple[list[str], dict[str, list[str]]]:
    """Write what `folder` lacks of a project with that recipe; what there was stays as it is.

    Returns the names of what was written, and of what was there, each with the lines that a project's would have and it
    has not; of .gitignore and .dvcignore alone. Refused where there is no such recipe.
    """
    known = recipes(folder)
    if recipe not in known:
        raise Refused(f"no recipe {recipe!r}: `winnow use` lists all {len(known)}")
    texts = {
        PARAMS: known[recipe].read_text(encoding="utf-8"),
        PIPELINE: pipeline(),
        IGNORED: (FILES / "gitignore").read_text(encoding="utf-8"),
        UNSEEN: "__pycache__\n*.pyc\n",
        WORKFLOW: (FILES / "workflow.yml").read_text(encoding="utf-8"),
    }
    written, kept = [], {}
    for name, text in texts.items():
        path = folder / name
        if path.exists() or path.is_symlink():
            kept[name] = _lacking(path, text) if name in (IGNORED, UNSEEN) else []
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        written.append(name)
    return written, kept


def pipeline() -> str:
    """dvc.yaml of a project that has winnow installed: instead of its code, stages depend on which winnow that is."""
    text = (FILES / "pipeline.yaml").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not re.match(r"\s+- (src/winnow|pipelines)/", line)]
    body = "\n".join(lines[next(i for i, line in enumerate(lines) if not line.startswith("#")) :]) + "\n"
    body = body.replace("    deps:\n", f"    deps:\n      - {CODE}\n")
    first = "      - artifacts/inputs/recipe.json\n"  # the last of what inputs writes
    return HEAD.format(version=winnow.__version__) + body.replace(first, f"{first}      - {CODE}\n", 1)


def _lacking(path: Path, text: str) -> list[str]:
    there = set(path.read_text(encoding="utf-8", errors="replace").splitlines())
    return [line for line in text.splitlines() if not line.startswith("#") and line not in there]
