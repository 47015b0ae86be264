"""pod logs --follow: each line once, as JSON one a line, until the brain says no."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli import credentials
from cli.commands import pods
from cli.credentials import Credentials
from cli.faults import CliError
from cli.main import app
from cli.settings import RunnerSettings

LOOKS: list[list[tuple[str, int]]] = [
    [],
    [("run_a", 0), ("run_a", 1)],
    [("run_a", 0), ("run_a", 1), ("run_a", 2), ("run_b", 0)],
]


def line(run_id: str, number: int) -> dict[str, Any]:
    text, at = f"{run_id} says {number} [red]", "2026-01-01T00:00:00Z"
    return {"run_id": run_id, "number": number, "at": at, "stream": "stdout", "text": text}


@pytest.fixture
def brain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Answers each look with more lines; after the last with 404, as when the pod is gone."""
    left = list(LOOKS)

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = {"items": [line(*one) for one in left[0]]} if left else {"detail": "It is gone"}
            self.send_response(200 if left else 404)
            del left[:1]
            content = json.dumps(found).encode()
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("GANGLION_HOME", str(tmp_path))
    monkeypatch.setenv("BRAIN_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(pods, "FOLLOW_SECONDS", 0.01)
    credentials.save(RunnerSettings(ganglion_home=tmp_path), Credentials(api_key="gk_test"))
    yield
    server.shutdown()
    server.server_close()


def test_followed_lines_come_once_each_as_json_a_line(brain: None) -> None:
    done = CliRunner().invoke(app, ["pod", "logs", "box", "--follow", "--json"])
    assert isinstance(done.exception, CliError)
    assert [json.loads(text) for text in done.stdout.splitlines()] == [
        line(*one) for one in LOOKS[-1]
    ]
