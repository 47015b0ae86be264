"""What a gateway does not carry in its memory."""

from __future__ import annotations

import subprocess
import sys

from tests.support.shared import ROOT

SAYS = "import sys; print(*sorted({n.partition('.')[0] for n in sys.modules}))"


def loaded(first: str) -> set[str]:
    command = [sys.executable, "-c", f"{first}; {SAYS}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


def test_a_gateway_leaves_out_what_only_others_need() -> None:
    unused = {"rich", "pygments", "typer", "httpx", "fastapi", "sqlalchemy"}
    assert not loaded("import inference.app") & unused


def test_it_logs_and_what_paints_can_still_be_had() -> None:
    found = loaded("import inference.app, structlog; structlog.get_logger(); import rich")
    assert {"structlog", "rich"} <= found


def test_a_process_that_paints_already_goes_on_painting() -> None:
    check = "import rich, inference.app, structlog.dev; assert structlog.dev.rich is rich"
    assert "rich" in loaded(check)
