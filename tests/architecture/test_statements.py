"""No value is written into a statement: it goes beside it. Each exception says why."""

from __future__ import annotations

import ast
import re

from tests.architecture.test_tidy import OTHERS, PRODUCT, name, trees

SQL = re.compile(
    r"\b(SELECT\s.+\sFROM|SELECT\s+\w+\(|INSERT\s+INTO|UPDATE\s.+\sSET|DELETE\s+FROM|WHERE\s"
    r"|(CREATE|DROP|ALTER|LOCK|TRUNCATE)\s+(TABLE|INDEX|FUNCTION|DATABASE|SCHEMA|ROLE|TRIGGER)"
    r"|SET\s+LOCAL|ORDER\s+BY|VALUES\s*\()",
    re.DOTALL,
)
# Of which each statement has one; whole ones may be broken over several strings.
WORDS = re.compile(
    r"SELECT|INSERT|UPDATE|DELETE|WHERE|CREATE|DROP|ALTER|LOCK|TRUNCATE|SET|ORDER|VALUES"
)
CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]*\Z")
# What is put into a statement there is no value of anybody's.
NAMES = {
    "brain/billing/store/days.py": "a partition's name, made of a date; a limit of our own",
    "brain/history/store.py": "a partition's name, made of a number; a limit of our own",
    "brain/billing/store/journal.py": "numbers of parameters",
}
SCRIPTS = ("bench/", "migrations/", "tools/")  # of developers, with values of their own


def _parts(node: ast.AST) -> tuple[str, list[ast.expr]]:
    """What a text says for certain, and what is put into it."""
    if isinstance(node, ast.JoinedStr):
        said = [str(one.value) for one in node.values if isinstance(one, ast.Constant)]
        return "\0".join(said), [one.value for one in node.values if not _plain(one)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod | ast.Add):
        texts = [one for one in (node.left, node.right) if _plain(one)]
        said = [str(one.value) for one in texts if isinstance(one, ast.Constant)]
        return "\0".join(said), [one for one in (node.left, node.right) if not _plain(one)]
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("format", "format_map", "replace", "join")
        and isinstance(node.func.value, ast.Constant)
    ):
        return str(node.func.value.value), [*node.args, *(one.value for one in node.keywords)]
    return "", []


def _plain(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant)


def _ours(put_in: ast.expr) -> bool:
    """A constant of a module, whoever calls."""
    if isinstance(put_in, ast.FormattedValue):
        put_in = put_in.value
    last = put_in.attr if isinstance(put_in, ast.Attribute) else getattr(put_in, "id", "")
    return bool(CONSTANT.match(last)) or _plain(put_in)


def written_into(tree: ast.AST) -> list[int]:
    """Lines on which something that is no constant is put into a statement."""
    found = []
    for node in ast.walk(tree):
        said, put_in = _parts(node)
        if SQL.search(said) and not all(_ours(one) for one in put_in):
            found.append(getattr(node, "lineno", 0))
    return found


def test_no_value_is_written_into_a_statement() -> None:
    ours = [p for p in (*PRODUCT, *OTHERS) if not name(p).startswith(SCRIPTS)]
    paths = [p for p in ours if WORDS.search(p.read_text())]
    found = {name(p): lines for p, tree in trees(paths) if (lines := written_into(tree))}
    others = {path: lines for path, lines in found.items() if path not in NAMES}
    assert not others, f"hand the value over as a parameter: {others}"
    assert set(NAMES) <= set(found), f"take off the list: {set(NAMES) - set(found)}"


def test_the_rule_sees_each_way_of_writing_a_value_in() -> None:
    ways = (
        """text(f"SELECT id FROM account WHERE name = '{name}'")""",
        """text("SELECT id FROM account WHERE name = '%s'" % name)""",
        """text("DELETE FROM account WHERE name = '{}'".format(name))""",
        """text("UPDATE account SET name = '" + name + "'")""",
        """sql = f"INSERT INTO {table} VALUES (1)\"""",
        """order = f" ORDER BY {column}\"""",
    )
    assert [written_into(ast.parse(way)) for way in ways] == [[1]] * len(ways)
    fine = (
        'text("SELECT 1 FROM a WHERE b = :b")',
        'f"DROP TABLE {TABLE}"',
        'f"From {who} to {you}"',
    )
    assert [written_into(ast.parse(one)) for one in fine] == [[]] * len(fine)
