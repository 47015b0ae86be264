"""The agent's memory on disk: leases with their deadlines, and the highest epoch of each GPU."""

from __future__ import annotations

from pathlib import Path

import msgspec
import structlog

from node_agent.files import read_if_there, write_private
from node_agent.records import AgentState

log = structlog.get_logger(__name__)


class StateFile:
    """Loads once, saves what changed. The caller saves before it acts on the new state."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._saved: bytes | None = None

    def load(self, host_boot_id: str) -> AgentState:
        """The state, or a fresh one. A damaged file is set aside, never silently overwritten."""
        content = read_if_there(self._path)
        if content is None:
            return AgentState(host_boot_id)
        try:
            state = msgspec.json.decode(content, type=AgentState)
        except msgspec.MsgspecError as error:
            aside = self._path.with_name(self._path.name + ".damaged")
            self._path.replace(aside)
            log.error("state_damaged", kept_as=str(aside), reason=str(error))
            return AgentState(host_boot_id)
        self._saved = content
        return state

    def save(self, state: AgentState) -> None:
        content = msgspec.json.encode(state)
        if content != self._saved:
            write_private(self._path, content)
            self._saved = content
