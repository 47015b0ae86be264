"""The real ``ssh``: this machine's, or Debian's, unpacked into .parts; nothing is installed."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import asyncssh
import pytest

from tools import debian_parts
from tools.part import CannotHave

SECONDS_MAX = 120


def ssh_program() -> str:
    """Its path; skips with the reason where there can be none."""
    found = shutil.which("ssh")
    if found:
        return found
    try:
        part = debian_parts.debian(["openssh-client"], debian_parts.DEBIAN / "ssh")
    except CannotHave as missing:
        pytest.skip(f"no ssh client: {missing}")
    return str(part / "usr" / "bin" / "ssh")


class OpenSsh:
    """``await ssh("pod@127.0.0.1", "command")`` with its own key, known hosts and no settings."""

    def __init__(self, folder: Path, port: int, key: asyncssh.SSHKey) -> None:
        self.identity = folder / "id_ed25519"
        self.identity.write_bytes(key.export_private_key())
        self.identity.chmod(0o600)
        (folder / "id_ed25519.pub").write_bytes(key.export_public_key())
        self._command = [
            *(ssh_program(), "-F", "/dev/null", "-i", str(self.identity), "-p", str(port)),
            *("-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"),
            *("-o", f"UserKnownHostsFile={folder / 'known'}"),
            *("-o", "StrictHostKeyChecking=accept-new", "-o", "ConnectTimeout=60"),
        ]

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            *self._command,
            *arguments,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env={**os.environ, "LC_ALL": "C", "SSH_AUTH_SOCK": ""},
        )

    async def __call__(self, *arguments: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
        process = await self.start(*arguments)
        async with asyncio.timeout(SECONDS_MAX):
            out, err = await process.communicate(stdin)
        assert process.returncode is not None
        return process.returncode, out, err
