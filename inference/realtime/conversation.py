"""What was said so far: items in order, and the messages that a chat model gets of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from inference.realtime.outlet import Event
from kernel.errors import Malformed, NotFound

ITEMS_MAX = 400
CHARACTERS_MAX = 256 * 1024
USER, ASSISTANT, SYSTEM = "user", "assistant", "system"


@dataclass(slots=True)
class Item:
    """A message; ``text`` is ``None`` while it is not known what was said."""

    id: str
    role: str
    kind: str  # of its content: input_text, input_audio, output_text, output_audio
    text: str | None = None
    status: str = "completed"
    spoken: list[tuple[int, str]] = field(default_factory=list)  # each sentence, and its end in ms

    def shown(self) -> Event:
        part: Event = {"type": self.kind}
        part["transcript" if self.kind.endswith("audio") else "text"] = self.text
        content = [part] if self.status != "in_progress" else []
        return {
            "id": self.id,
            "object": "realtime.item",
            "type": "message",
            "status": self.status,
            "role": self.role,
            "content": content,
        }

    def heard_until(self, ms: int) -> None:
        """Forget what the user cannot have heard: sentences that begin later."""
        begins, kept = 0, []
        for end, sentence in self.spoken:
            if begins < ms:
                kept.append(sentence)
            begins = end
        self.text = " ".join(kept)


class Conversation:
    """The oldest items go when there are too many."""

    def __init__(self) -> None:
        self._items: list[Item] = []

    def add(self, item: Item, after: str | None = None) -> str | None:
        """Put it at the end, or after the item ``after`` (``root``: first). Returns the id of the
        item before it."""
        if any(known.id == item.id for known in self._items):
            raise Malformed("There is an item with this id already.", param="item.id")
        place = len(self._items)
        if after == "root":
            place = 0
        elif after is not None:
            place = self._items.index(self.get(after)) + 1
        self._items.insert(place, item)
        before = self._items[place - 1].id if place else None
        self._forget()
        return before

    def get(self, item_id: str) -> Item:
        for item in self._items:
            if item.id == item_id:
                return item
        raise NotFound("There is no item with this id in the conversation.", param="item_id")

    def remove(self, item_id: str) -> None:
        self._items.remove(self.get(item_id))

    def messages(self, instructions: str) -> list[Event]:
        """As a chat model reads it."""
        found: list[Event] = []
        if instructions:
            found.append({"role": SYSTEM, "content": instructions})
        for item in self._items:
            if item.text:
                found.append({"role": item.role, "content": item.text})
        return found

    def _forget(self) -> None:
        size = sum(len(item.text or "") for item in self._items)
        while len(self._items) > 1 and (len(self._items) > ITEMS_MAX or size > CHARACTERS_MAX):
            size -= len(self._items.pop(0).text or "")
