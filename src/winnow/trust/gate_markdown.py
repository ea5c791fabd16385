"""The verdict of the gate as Markdown, for a pull request or a terminal."""

from winnow.measure.judgement import CANNOT_TELL, NO, YES
from winnow.trust.gate import Row, Verdict

MARKS = {YES: "ok", NO: "**FAIL**", CANNOT_TELL: "**cannot tell**"}
COLOURS = {YES: "🟢", NO: "🔴", CANNOT_TELL: "🟡"}  # where Markdown has no other


def gate_markdown(verdict: Verdict) -> str:
    judged = [row for row in verdict.rows if row.better or row.why or not row.passed]
    others = [row for row in verdict.rows if row not in judged]
    changed = [row for row in others if row.before != row.after]
    failed = sum(row.outcome == NO for row in judged)
    undecided = sum(row.outcome == CANNOT_TELL for row in judged)
    head = {
        YES: "passed",
        NO: f"failed: {failed} of {len(judged)} checks",
        CANNOT_TELL: f"cannot tell, which does not pass: {undecided} of {len(judged)} checks",
    }[verdict.outcome]
    lines = [
        f"### Gate {head} {COLOURS[verdict.outcome]}",
        "",
        f"Against `{verdict.against}` ({verdict.commit[:10]}).",
        "",
    ]
    lines += ["| | metric | before | now | may be worse by | |", "|---|---|---|---|---|---|"]
    lines += [_line(row) for row in sorted(judged, key=lambda row: (NO, CANNOT_TELL, YES).index(row.outcome))]
    lines += ["", f"Of {len(others)} further metrics {len(changed)} changed."]
    if changed:
        lines += ["", "<details><summary>What changed</summary>", "", "| metric | before | now |", "|---|---|---|"]
        lines += [f"| {row.metric} | {_shown(row.before)} | {_shown(row.after)} |" for row in changed]
        lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    better = f" ({row.better} is better)" if row.better else ""
    tolerance = "" if row.tolerance is None else _shown(row.tolerance)
    values = f"{_shown(row.before)} | {_shown(row.after)} | {tolerance}"
    return f"| {MARKS[row.outcome]} | {row.metric}{better} | {values} | {COLOURS[row.outcome]} {row.why} |"


def _shown(value: float | str | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value).replace("|", "\\|").replace("\n", " ")
