"""The verdict of the gate as Markdown, for a pull request or a terminal."""

from winnow.stage.trust.gate import Row, Verdict


def gate_markdown(verdict: Verdict) -> str:
    judged = [row for row in verdict.rows if row.better or row.why or not row.passed]
    others = [row for row in verdict.rows if row not in judged]
    changed = [row for row in others if row.before != row.after]
    failed = len(verdict.failures)
    head = "passed" if verdict.passed else f"failed: {failed} of {len(judged)} checks"
    lines = [f"### Gate {head}", "", f"Against `{verdict.against}` ({verdict.commit[:10]}).", ""]
    lines += ["| | metric | before | now | may be worse by | |", "|---|---|---|---|---|---|"]
    lines += [_line(row) for row in sorted(judged, key=lambda row: row.passed)]
    lines += ["", f"Of {len(others)} further metrics {len(changed)} changed."]
    if changed:
        lines += ["", "<details><summary>What changed</summary>", "", "| metric | before | now |", "|---|---|---|"]
        lines += [f"| {row.metric} | {_shown(row.before)} | {_shown(row.after)} |" for row in changed]
        lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    mark = "ok" if row.passed else "**FAIL**"
    better = f" ({row.better} is better)" if row.better else ""
    tolerance = "" if row.tolerance is None else _shown(row.tolerance)
    return f"| {mark} | {row.metric}{better} | {_shown(row.before)} | {_shown(row.after)} | {tolerance} | {row.why} |"


def _shown(value: float | str | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value).replace("|", "\\|").replace("\n", " ")
