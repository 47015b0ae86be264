"""The PostgreSQL under the worlds: one server, and a fresh database for each seed."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from tests.support.postgres import TEMPLATE, _make_template, run_apart, with_database
from tests.support.shared import RUN_PID, server_url

SERVER = "GANGLION_SIM_SERVER"  # a running server whose template database is ready


@dataclass
class Server:
    """``url`` is of its maintenance database."""

    url: str
    _connection: asyncpg.Connection | None = field(default=None)
    _name: str = ""

    async def fresh_database(self) -> str:
        """A copy of the template, in the place of the one before."""
        if self._connection is None:
            self._connection = await asyncpg.connect(self.url)
        if not self._name:
            self._name = f"sim_{os.getpid()}"
        await self._connection.execute(f"DROP DATABASE IF EXISTS {self._name} WITH (FORCE)")
        await self._connection.execute(f"CREATE DATABASE {self._name} TEMPLATE {TEMPLATE}")
        return with_database(self.url, self._name)

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.execute(f"DROP DATABASE IF EXISTS {self._name} WITH (FORCE)")
            await self._connection.close()


def server() -> Server:
    """The server that the environment names, or one of our own, gone with this process."""
    if SERVER in os.environ:
        return Server(os.environ[SERVER])
    os.environ[RUN_PID] = str(os.getpid())
    folder = Path(tempfile.mkdtemp(prefix="ganglion-sim-"))
    url = with_database(server_url(folder, "postgres"), "postgres")
    run_apart(_make_template(url))
    return Server(url)
