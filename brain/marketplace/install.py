"""The install script as hosts fetch it: the texts of ``install/`` with this brain's facts.

There is no token in it: whoever runs it has one in a variable. What it names (address,
installation, the agent file's SHA-256) is the same for all, so that it may be read before it is
run.
"""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path

from brain.marketplace.agent_file import AgentFile

FOLDER = Path(__file__).resolve().parents[2] / "install"
ORDER = ("head.sh", "words.sh", "checks.sh", "packages.sh", "agent.sh", "main.sh")
_MARK = re.compile(r"@@([A-Z0-9_]+)@@")


def render(file: AgentFile, *, brain_url: str, installation_id: str) -> str:
    """The whole script. Every fact stands in it as one quoted word."""
    facts = {
        "BRAIN_URL": shlex.quote(brain_url.rstrip("/")),
        "INSTALLATION_ID": shlex.quote(installation_id),
        "AGENT_SHA256": shlex.quote(file.sha256),
        "AGENT_VERSION": shlex.quote(file.full_version),
        "AGENT_PLATFORMS": shlex.quote(" ".join(file.platforms)),
    }
    return _MARK.sub(lambda found: facts[found.group(1)], _text())


def commands(brain_url: str, token: str) -> dict[str, str]:
    """How a person starts it, by what the host has. The token is in the environment alone."""
    url = shlex.quote(f"{brain_url.rstrip('/')}/install")
    fetches = {
        "curl": f"curl -fsSL {url}",
        "wget": f"wget -qO- {url}",
        "python3": "python3 -c 'import sys, urllib.request as u;"
        f" sys.stdout.write(u.urlopen(sys.argv[1]).read().decode())' {url}",
    }
    return {name: f"{fetch} | JOIN_TOKEN={token} sh" for name, fetch in fetches.items()}


@cache
def _text() -> str:
    return "\n".join((FOLDER / name).read_text() for name in ORDER)
