"""The PostgreSQL under the worlds: one server, and a fresh database for each seed."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import asyncpg

import tests.support.compiled  # noqa: F401 - worlds of one process share it
from tests.support.postgres import TEMPLATE, _make_template, run_apart, with_database
from tests.support.shared import RUN_PID, server_url

SERVER = "GANGLION_SIM_SERVER"  # a running server whose template database is ready


@dataclass
class Server:
    """``url`` is of its maintenance database."""

    url: str

    @property
    def name(self) -> str:
        return f"sim_{os.getpid()}"

    def fresh_database(self) -> str:
        """A copy of the template, in the place of the one before."""
        make = f"CREATE DATABASE {self.name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY"
        run_apart(self._execute(self._drop, make))
        return with_database(self.url, self.name)

    def close(self) -> None:
        run_apart(self._execute(self._drop))

    @property
    def _drop(self) -> str:
        return f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)"

    async def _execute(self, *statements: str) -> None:
        connection = await asyncpg.connect(self.url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()


def server() -> Server:
    """The server that the environment names, or one of our own, gone with this process."""
    if SERVER in os.environ:
        return Server(os.environ[SERVER])
    os.environ[RUN_PID] = str(os.getpid())
    folder = Path(tempfile.mkdtemp(prefix="ganglion-sim-"))
    url = with_database(server_url(folder, "postgres"), "postgres")
    run_apart(_make_template(url))
    return Server(url)
