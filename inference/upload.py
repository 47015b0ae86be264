"""A request whose body is a form with a file: it goes to the worker while it still comes in.

The form is rewritten as it comes (:mod:`inference.multipart`). Once its model is known the request
is an exchange like any other; what came before that waits, in memory or in a file. The client is
read no faster than the worker reads. Another worker is tried while all that was sent is at hand.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import Protocol

import msgspec

from inference import errors
from inference.client import Client
from inference.exchange import Exchange
from inference.gateway import Gateway
from inference.incoming import too_large
from inference.links import Link, Links
from inference.meter import Tokens
from inference.multipart import KIND, Form, part
from inference.queued import SPENT
from inference.route import Replica
from inference.routes import Route
from inference.upload_backlog import HELD_BYTES_MAX, Backlog
from kernel.errors import GanglionError, Unavailable
from kernel.wire.gateway import KeyRow, SegmentEnd

PACE_BYTES = 64 * 1024  # at least so much in each GATEWAY_BODY_SECONDS_MAX
HELD_BEATS_MAX = 4  # a second
_ENCODE = msgspec.json.Encoder().encode


class Source(Protocol):
    """Where the body comes from."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def left(self) -> bool:
        """The client has hung up. While paused nobody else would see it."""
        ...


class Given:
    """The body is here already."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def left(self) -> bool:
        return False


class UploadExchange(Exchange):
    """``take`` the body as it comes and ``finish``; or ``start`` with all of it."""

    __slots__ = (
        "_arrived",
        "_backlog",
        "_chunked",
        "_form",
        "_full",
        "_held_back",
        "_held_beats",
        "_mark",
        "_mark_ns",
        "_moved",
        "_ours",
        "_received",
        "_sent",
        "_source",
        "onward",
    )

    def __init__(
        self,
        gateway: Gateway,
        client: Client,
        key: KeyRow,
        route: Route,
        request_id: str,
        started_ns: int,
        source: Source | None = None,
    ) -> None:
        super().__init__(gateway, client, key, route, request_id, started_ns)
        # No client can know the boot id, so none can write this boundary into a file.
        secret = hashlib.blake2b(f"{gateway.boot_id} {request_id}".encode(), digest_size=16)
        self._ours = b"ganglion-" + secret.hexdigest().encode()
        self._form = Form(self._ours)
        self._backlog = Backlog(gateway.spills, self._changed)
        self._source: Source = source or Given()
        self.onward = b""  # lines for the worker's head
        self._chunked = True  # towards the worker
        self._full = False  # the worker's connection takes no more for now
        self._held_back = False  # the client is not read for now
        self._held_beats = 0
        self._received = False  # the body came whole
        self._sent = False  # and went out whole
        self._moved = False  # something of it went out since the last look
        self._arrived = self._mark = 0
        self._mark_ns = started_ns
        gateway.exchanges.add(self)

    def start(self, received: bytes) -> None:
        """The whole form at once."""
        if self._read(received) and self._end():
            self._go_on()

    def take(self, received: bytes) -> None:
        """The next piece of the body."""
        if not self._over and self._read(received):
            self._go_on()

    def finish(self) -> None:
        """The body came whole."""
        if not self._over and self._end():
            self._go_on()

    def _read(self, received: bytes) -> bool:
        self._arrived += len(received)
        try:
            if self._arrived > self._gateway.settings.gateway_upload_bytes_max:
                raise too_large(self._gateway.settings.gateway_upload_bytes_max)
            self._backlog.append(self._form.feed(received))
        except GanglionError as error:
            self._stop(error)
            return False
        return True

    def _end(self) -> bool:
        try:
            self._backlog.append(self._form.close())
        except GanglionError as error:
            self._stop(error)
            return False
        self._received = True
        self._usage_asked = self._form.shows_usage
        return True

    def _go_on(self) -> None:
        """Do what can be done with what came."""
        if self._ask is None:
            if self._form.model is not None:
                # What is admitted is a request for this model; its body is no matter.
                super().start(_ENCODE({"model": self._form.model, "stream": self._form.stream}))
            elif self._backlog.left > HELD_BYTES_MAX:
                try:
                    self._backlog.spill()
                except GanglionError as error:
                    self._stop(error)
        self._pump()

    def _stop(self, error: GanglionError) -> None:
        """End it in the middle of its body."""
        self._abort(SegmentEnd.ABORTED, error.status)
        self._fail(error)

    def _changed(self) -> None:
        """The file took or gave something."""
        if self._over:
            return
        if self._backlog.failed:
            self._stop(Unavailable("This upload could not be kept here; try again."))
        else:
            self._pump()

    # Towards the worker.

    def _approach(self, replica: Replica[Links]) -> None:
        super()._approach(replica)
        self._usage_asked = self._form.shows_usage
        model = replica.row.upstream_model or self._form.model or ""
        first = part(self._ours, "model", model.encode())
        self._chunked = not self._received
        if self._chunked:
            framing, first = b"transfer-encoding: chunked", _chunk(first)
        else:
            framing = b"content-length: %d" % (len(first) + self._backlog.size)
        self._request = (
            b"POST %b HTTP/1.1\r\n%bhost: worker\r\ncontent-type: %b%b\r\n"
            b"x-request-id: %b\r\n%b\r\n\r\n"
        ) % (self._route.path, self.onward, KIND, self._ours, self.request_id.encode(), framing)
        self._request += first

    def link_ready(self, link: Link) -> None:
        replica = self._replica
        if replica is None:  # the client left while we dialled
            link.give_back()
            return
        if link.used and not (self._received and self._backlog.stays_whole):
            # It may be closed already, and what is sent over it may not all be sent again. It is
            # not put back, as the new one will be.
            link.drop()
            replica.links.dial(self)
            return
        self._backlog.rewind()
        self._full = self._sent = False
        link.flow = self
        super().link_ready(link)
        self._pump()

    def flow(self, *, full: bool) -> None:
        """The worker's connection takes no more for now, or does again."""
        self._full = full
        if not full:
            self._pump()

    def _pump(self) -> None:
        """Send what can be sent, and read the client as fast as that goes."""
        link, backlog = self._link, self._backlog
        while link is not None and not self._full and (piece := backlog.take()):
            link.more(_chunk(piece) if self._chunked else piece)
            self._moved = True
        if link is not None and not self._sent and self._received and not backlog.left:
            self._sent = True
            self._deadline_ns = self._gateway.now_ns() + self._gateway.first_byte_ns
            link.flow = None
            if self._chunked:
                link.more(b"0\r\n\r\n")
        if backlog.forget():
            self._tried += [SPENT] * self._gateway.settings.gateway_tries_max
        if self._over:
            return
        if not self._held_back and not self._received and backlog.waiting > HELD_BYTES_MAX:
            self._held_back = True
            self._source.pause()
        elif self._held_back and backlog.waiting <= HELD_BYTES_MAX // 2:
            self._let_come()

    def _let_come(self) -> None:
        if self._held_back:
            self._held_back = False
            self._source.resume()

    # What ends before the body does.

    def answer_whole(self, status: int, kind: bytes, retry_after: bytes, content: bytes) -> None:
        self._part_from_link()
        super().answer_whole(status, kind, retry_after, content)

    def answer_end(self) -> None:
        self._part_from_link()
        super().answer_end()

    def _complete(self, content: bytes) -> None:
        self._part_from_link()
        super()._complete(content)

    def _part_from_link(self) -> None:
        """An answer is over: a worker that was not sent all of the body reads no other request."""
        link = self._link
        if link is not None and not self._sent:
            self._link = None
            link.drop()

    def _close(self, status: int, tokens: Tokens | None = None, now_ns: int = 0) -> None:
        super()._close(status, tokens, now_ns)
        self._backlog.close()
        self._let_come()

    def watch(self, now_ns: int, *, cut: bool) -> None:
        if self._over:
            return
        if self._held_back and self._source.left():
            self._client.cut()
            self.client_gone()
            return
        self._hear_on()
        if self._received or self._held_back or self._arrived - self._mark >= PACE_BYTES:
            self._mark, self._mark_ns = self._arrived, now_ns
        gateway, resident = self._gateway, self.residence is not None
        late = not resident and now_ns - self._started_ns > gateway.total_ns
        if late or now_ns - self._mark_ns > gateway.body_ns:
            self._stop(errors.RequestTimeout("The request did not arrive in time."))
            return
        if resident and not self._sent and (self._moved or not self._full):
            self._moved = False  # what is not sent for want of it is not the worker's delay
            self._deadline_ns = now_ns + gateway.idle_ns
        super().watch(now_ns, cut=cut)

    def _hear_on(self) -> None:
        """A worker is much slower than its client: read on into a file, where there is room, or
        nobody would see that the client hangs up."""
        self._held_beats = self._held_beats + 1 if self._held_back else 0
        if self._held_beats < HELD_BEATS_MAX or not self._backlog.in_memory:
            return
        with suppress(Unavailable):
            self._backlog.spill(reserve=self._gateway.settings.gateway_upload_bytes_max)
            self._pump()


def _chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)
