"""The tree tests itself: sizes, doors, injected time, silent tests. Each rule gives its reason."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOUSES = ("kernel", "catalog", "node_agent", "inference", "brain", "cli", "standins")
PRODUCT = [p for house in HOUSES for p in sorted((ROOT / house).rglob("*.py"))]
BRAIN = [p for p in PRODUCT if p.is_relative_to(ROOT / "brain")]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
OTHERS = [p for part in ("bench", "tools", "migrations") for p in (ROOT / part).rglob("*.py")]
ALL = [*PRODUCT, *TESTS, *OTHERS]

# The few places that may read machine time or chance: the clock itself and ids.
READS_TIME = {"kernel/clock.py", "kernel/ids.py"}
TIME_AND_CHANCE = re.compile(
    r"\b(datetime\.now|datetime\.utcnow|time\.time|time\.time_ns|time\.monotonic|"
    r"time\.monotonic_ns|time\.sleep|uuid4|uuid1|asyncio\.sleep|random\.random|random\.choice)\("
)
# Standalone processes read the machine's clock at their edge and pass it on.
EDGES = {"standins", "cli"}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def trees(paths: list[Path], having: str = "") -> Iterator[tuple[Path, ast.Module]]:
    """Those whose text has ``having``: to parse them all for each rule takes most of a check."""
    for path in paths:
        if having in (text := path.read_text()):
            yield path, ast.parse(text)


def test_files_have_at_most_400_lines() -> None:
    long = {name(p): n for p in ALL if (n := len(p.read_text().splitlines())) > 400}
    assert not long, f"split by verb, not by 'part 2': {long}"


def test_functions_have_at_most_60_lines() -> None:
    long = {
        f"{name(path)}:{node.lineno} {node.name}": length
        for path, tree in trees([p for p in ALL if len(p.read_text().splitlines()) > 60])
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > 60
    }
    assert not long, f"a function fits on a page: {long}"


def test_product_files_say_what_they_are_for() -> None:
    silent = [name(p) for p in PRODUCT if not re.match(r'"""\S', p.read_text())]
    assert not silent, f"the first line of a file says what it is for: {silent}"


def test_time_and_chance_are_handed_in() -> None:
    reached = [
        f"{name(p)}:{n}"
        for p in PRODUCT
        if name(p) not in READS_TIME and name(p).split("/")[0] not in EDGES
        for n, line in enumerate(p.read_text().splitlines(), 1)
        if TIME_AND_CHANCE.search(line.split("#")[0])
    ]
    assert not reached, f"take a Clock or Ids as an argument (kernel/clock.py): {reached}"


def test_states_are_set_by_moves_alone() -> None:
    setters = [
        f"{name(path)}:{node.lineno}"
        for path, tree in trees(BRAIN, having=".state = ")
        if name(path) != "brain/plumbing/moves.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Attribute)
        and target.attr == "state"
        and not (isinstance(target.value, ast.Name) and target.value.id == "self")
        and not (isinstance(target.value, ast.Attribute) and target.value.attr == "app")
    ]
    assert not setters, f"plumbing.moves.move is the only setter of a state: {setters}"


def _room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (ROOT / "brain" / parts[1]).is_dir() else None


def test_rooms_are_entered_by_their_door() -> None:
    roots = {"app.py", "worker.py", "wiring.py", "migrate.py", "settings.py", "paperwork.py"}
    intruders = []
    for path, tree in trees(BRAIN, having="from brain."):
        if path.name in roots and path.parent.name == "brain":
            continue  # composition roots put the pieces together
        own = path.relative_to(ROOT).parts[1]
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("brain."):
                continue
            module = node.module or ""
            room = _room(module)
            if room in (None, own, "plumbing", "edge"):
                continue
            if len(module.split(".")) > 2:
                intruders.append(f"{name(path)}:{node.lineno} {module}")
    assert not intruders, f"import from the room, not from its inside: {intruders}"


def test_no_swallowed_errors_and_no_mocks_in_the_product() -> None:
    bad = [f"{name(path)} mock" for path in PRODUCT if "unittest.mock" in path.read_text()]
    every = [p for p in PRODUCT if re.search(r"except\s*:|BaseException", p.read_text())]
    for path, tree in trees(every):
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler) and (
                node.type is None
                or (isinstance(node.type, ast.Name) and node.type.id == "BaseException")
            ):
                reraises = any(isinstance(n, ast.Raise) for n in ast.walk(node))
                if not reraises:
                    bad.append(f"{name(path)}:{node.lineno}")
    assert not bad, f"an error is met or passed on, never swallowed: {bad}"


WORDS = ("assert", "raises", "check", "expect", "prove", "verify")


def test_every_test_can_fail() -> None:
    silent = [
        f"{name(path)}:{node.lineno} {node.name}"
        for path, tree in trees(TESTS)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not any(word in ast.unparse(node) for word in WORDS)
    ]
    assert not silent, f"a test asserts something: {silent}"


def test_tests_do_not_sleep_for_luck() -> None:
    sleeping = [
        f"{name(p)}:{n}"
        for p in TESTS
        if p.name.startswith("test_") and p != Path(__file__).resolve()
        for n, line in enumerate(p.read_text().splitlines(), 1)
        if re.search(r"\b(time|asyncio)\.sleep\((?!0\))", line)
    ]
    assert not sleeping, f"poll with tests.support.wait.until instead: {sleeping}"


UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError|placeholder)\b")


def test_nothing_is_left_unfinished_by_its_own_words() -> None:
    left = [
        f"{name(p)}:{n}"
        for p in PRODUCT
        for n, line in enumerate(p.read_text().splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert not left, f"finish it or leave it out: {left}"


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_locks_are_hashed_and_name_no_host(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    pins = re.findall(r"^[a-z0-9._-]+(?:\[[a-z,]+\])?==", text, re.MULTILINE)
    assert len(pins) > 40
    assert text.count("--hash=sha256:") >= len(pins)
