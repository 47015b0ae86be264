"""The commands' client waits as it is told, and no longer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cli.client import Brain, Refused


@contextmanager
def brain_that_is_busy(times: int, retry_after: str) -> Iterator[str]:
    """Answers 429 so often, then 200."""
    left = [times]

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            busy = left[0] > 0
            left[0] -= 1
            content = b'{"detail":"Too many calls."}' if busy else b'{"ok":true}'
            self.send_response(429 if busy else 200)
            self.send_header("retry-after", retry_after)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_busy_brain_is_asked_again_when_it_said() -> None:
    with brain_that_is_busy(2, "0") as url, Brain(url) as brain:
        assert brain.get("/x") == {"ok": True}


@pytest.mark.parametrize(("times", "retry_after"), [(99, "0"), (1, "3600"), (1, "soon")])
def test_a_brain_that_stays_busy_is_an_error(times: int, retry_after: str) -> None:
    with (
        brain_that_is_busy(times, retry_after) as url,
        Brain(url) as brain,
        pytest.raises(Refused, match="Too many calls"),
    ):
        brain.get("/x")
