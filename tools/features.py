"""Reads docs/features.md, the markers in the tests and the last results; prints or updates.

`python -m tools.features` prints the table with the last run's results;
`--update` writes the test column from the markers; `--json` prints rows for machines.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "docs" / "features.md"
RESULTS = ROOT / ".cache" / "features.json"
GOOD = {"passed", "skipped"}
ROW = re.compile(r"^\| ([A-P]\d+) \| (.*) \| (works|in part[^|]*|open) \|(.*)\|$")


@dataclass(frozen=True)
class Row:
    id: str
    feature: str
    state: str
    tests: tuple[str, ...]


def rows(text: str | None = None) -> list[Row]:
    """The table's rows, in order."""
    found = []
    for line in (text if text is not None else TABLE.read_text()).splitlines():
        match = ROW.match(line)
        if match:
            tests = tuple(t.strip(" `") for t in match[4].split(",") if t.strip(" `"))
            found.append(Row(match[1], match[2], match[3].strip(), tests))
    return found


def _marked(tree: ast.AST) -> set[str]:
    return {
        named.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "feature"
        for named in node.args
        if isinstance(named, ast.Constant) and isinstance(named.value, str)
    }


def marked_files() -> dict[str, list[str]]:
    """Feature id -> the test files that carry its marker, without the leading tests/."""
    by_id: dict[str, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for feature in _marked(ast.parse(path.read_text())):
            by_id[feature].append(path.relative_to(ROOT / "tests").as_posix())
    return by_id


def _with_tests(line: str, by_id: dict[str, list[str]]) -> str:
    match = ROW.match(line)
    if not match:
        return line
    files = ", ".join(f"`{f}`" for f in by_id.get(match[1], []))
    column = f" {files} |" if files else " |"
    return f"| {match[1]} | {match[2]} | {match[3].strip()} |{column}"


def updated(text: str) -> str:
    """The table's text with the test column as the markers have it."""
    by_id = marked_files()
    lines = [_with_tests(line, by_id) for line in text.splitlines()]
    return "\n".join(lines) + "\n"


def last_results() -> dict[str, dict[str, str]]:
    """Feature id -> test node id -> outcome of the last run."""
    if not RESULTS.exists():
        return {}
    loaded: dict[str, dict[str, str]] = json.loads(RESULTS.read_text())
    return loaded


def unproven(results: dict[str, dict[str, str]], *, may_skip: bool) -> list[str]:
    """Rows that say they work though no test of theirs passed, or one failed. ``may_skip``: where a
    part cannot be had, a row whose tests were all skipped for it is none of them."""
    bad = []
    for row in rows():
        outcomes = list(results.get(row.id, {}).values())
        excused = may_skip and outcomes and set(outcomes) == {"skipped"}
        if row.state != "works" or excused:
            continue
        if not {"passed"} <= set(outcomes) <= GOOD:
            passed, failed = outcomes.count("passed"), outcomes.count("failed")
            bad.append(f"{row.id}: {passed} passed, {failed} failed")
    return bad


def show() -> None:
    from rich.console import Console
    from rich.table import Table

    results = last_results()
    table = Table("id", "feature", "state", "last run", title="Product rows")
    colours = {"works": "green", "open": "dim"}
    for row in rows():
        outcomes = list(results.get(row.id, {}).values())
        parts = [f"{outcomes.count(o)} {o}" for o in ("passed", "failed", "skipped")]
        ran = ", ".join(p for p in parts if not p.startswith("0"))
        colour = colours.get(row.state, "yellow")
        table.add_row(row.id, row.feature[:70], f"[{colour}]{row.state}[/]", ran or "-")
    Console().print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.update:
        TABLE.write_text(updated(TABLE.read_text()))
    elif arguments.json:
        results = last_results()
        lines = [{**vars(row), "results": results.get(row.id, {})} for row in rows()]
        sys.stdout.write(json.dumps(lines, indent=1) + "\n")
    else:
        show()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
