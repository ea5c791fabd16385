"""A certificate as JSON for programs and as Markdown for people."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from winnow.run import files
from winnow.trust.circumstances import NO_REPOSITORY
from winnow.trust.same import EQUAL, EXCEPTIONS, FINE
from winnow.trust.verify import Certificate

FORMAT = "winnow.certificate/1"


def write_certificate(certificate: Certificate, out: Path) -> None:
    """certificate.json and certificate.md in the folder `out`."""
    files.write_json(out / "certificate.json", as_json(certificate))
    files.write_text(out / "certificate.md", as_markdown(certificate))


def as_json(certificate: Certificate) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "kept": certificate.kept,
        "promised": list(certificate.promised),
        **asdict(certificate.circumstances),
        "stages": {name: asdict(stage) for name, stage in certificate.stages.items()},
        "exceptions": [asdict(each) for each in EXCEPTIONS],
    }


def as_markdown(certificate: Certificate) -> str:
    around = certificate.circumstances
    head = "The promise was kept" if certificate.kept else "**The promise was not kept**"
    promised = "equal bits" if around.alike else "equal bits, metrics within the seed band, or the same decision"
    commit = "No repository" if around.commit == NO_REPOSITORY else f"Commit {around.commit[:10]}"
    lines = [
        f"### {head}",
        "",
        f"{commit}, on {around.machine['processor']}. Promised: {promised}.",
        "",
    ]
    lines += ["| stage | verdict | outputs equal | seconds | |", "|---|---|---|---|---|"]
    for name, stage in certificate.stages.items():
        fine = sum(verdict in FINE for verdict, _ in stage.outputs.values())
        wrong = [path for path, (verdict, _) in stage.outputs.items() if verdict not in FINE]
        note = stage.note or ", ".join(wrong)
        lines.append(f"| {name} | {stage.verdict} | {fine} of {len(stage.outputs)} | {stage.seconds:.0f} | {note} |")
    if around.differences:
        lines += ["", "What differs from what was recorded:", "", *(f"- {each}" for each in around.differences)]
    outside = [each for stage in certificate.stages.values() for each in stage.outside]
    if outside:
        lines += ["", "Beyond the seed band:", "", *(f"- {each}" for each in outside)]
    excused = [
        f"- {path}: {verdict}; {word}"
        for stage in certificate.stages.values()
        for path, (verdict, word) in stage.outputs.items()
        if verdict in FINE and verdict != EQUAL
    ]
    if excused:
        lines += ["", "Equal but for what is never promised (docs/determinism.md):", "", *excused]
    return "\n".join(lines) + "\n"
