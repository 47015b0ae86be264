"""A form with a file and an ``Idempotency-Key``: it is taken whole, for its input must be known
before anything runs. So it may be no longer than another body (``GATEWAY_BODY_BYTES_MAX``)."""

from __future__ import annotations

from inference.links import Link
from inference.upload import UploadExchange


class KeyedForm(UploadExchange):
    """An upload that knows whether a worker began it."""

    __slots__ = ("begun",)

    begun: bool

    @property
    def streams(self) -> bool:
        return self._ask is not None and bool(self._ask.stream)

    def link_ready(self, link: Link) -> None:
        super().link_ready(link)
        self.begun = self.begun or self.residence is not None
