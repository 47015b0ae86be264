"""Letters through a real SMTP connection: sent after the commit, tried again, never twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from brain.adapters.mail import LogMailer, SmtpMailer, SmtpTerms
from brain.adapters.mail.smtp import message
from brain.notices import Letter, MailRefused, deliver_mail, mail
from brain.plumbing import Ctx
from kernel.clock import ManualClock
from tests.support.smtp import SmtpServer, smtp_server


@pytest.fixture
async def server() -> AsyncIterator[SmtpServer]:
    async with smtp_server() as made:
        yield made


@pytest.fixture
def mailer(server: SmtpServer) -> SmtpMailer:
    return SmtpMailer(terms(server.port))


def terms(port: int) -> SmtpTerms:
    return SmtpTerms("127.0.0.1", port, "none", "", "", "billing@gpu.example", "GPU House")


async def asked(ctx: Ctx, to: str = "ada@example.com") -> None:
    async with ctx.db.begin() as tx:
        mail(tx, ctx, to, "Your credit is low", "Grüße\n.\nAdd some.")


@pytest.mark.feature("G6")
async def test_a_letter_arrives_whole(ctx: Ctx, server: SmtpServer, mailer: SmtpMailer) -> None:
    await asked(ctx)
    assert await deliver_mail(ctx, mailer, owner="t") == 1
    (letter,) = server.letters
    assert (letter["To"], letter["Subject"]) == ("ada@example.com", "Your credit is low")
    assert letter["From"] == "GPU House <billing@gpu.example>"
    assert letter.get_content().splitlines() == ["Grüße", ".", "Add some."]


@pytest.mark.feature("G6")
async def test_a_letter_of_a_transaction_that_fails_is_never_sent(
    ctx: Ctx, server: SmtpServer, mailer: SmtpMailer
) -> None:
    async with ctx.db.begin() as tx:
        mail(tx, ctx, "ada@example.com", "x", "y")
        await tx.flush()
        await tx.rollback()
    assert await deliver_mail(ctx, mailer, owner="t") == 0
    assert server.letters == []


@pytest.mark.feature("G6")
async def test_a_letter_is_tried_until_it_is_taken(
    ctx: Ctx, clock: ManualClock, server: SmtpServer, mailer: SmtpMailer
) -> None:
    server.fail_next = 2
    await asked(ctx)
    sent = []
    for _ in range(4):
        sent.append(await deliver_mail(ctx, mailer, owner="t"))
        clock.advance(600)
    assert (sent, len(server.letters)) == ([0, 0, 1, 0], 1)


@pytest.mark.feature("G6")
async def test_an_address_that_is_refused_for_good_is_given_up(
    ctx: Ctx, clock: ManualClock, server: SmtpServer, mailer: SmtpMailer
) -> None:
    server.refuse["nobody@example.com"] = 550
    await asked(ctx, "nobody@example.com")
    await deliver_mail(ctx, mailer, owner="t")
    clock.advance(3600)
    del server.refuse["nobody@example.com"]
    assert await deliver_mail(ctx, mailer, owner="t") == 0
    assert server.letters == []


@pytest.mark.feature("G6")
async def test_many_at_once_send_each_letter_once(
    ctx: Ctx, server: SmtpServer, mailer: SmtpMailer
) -> None:
    for _ in range(12):
        await asked(ctx)
    await asyncio.gather(*(deliver_mail(ctx, mailer, owner=f"w{n}") for n in range(4)))
    ids = {letter["Message-ID"] for letter in server.letters}
    assert len(server.letters) == len(ids) == 12


@pytest.mark.feature("G6")
@pytest.mark.parametrize("to", ["a@b\r\nBcc: all@example.com", "", "no address"])
def test_no_header_is_slipped_in(to: str) -> None:
    with pytest.raises(MailRefused):
        message(Letter("work_1", to, "subject", "text"), terms(25))


async def test_without_a_server_letters_go_to_the_log(ctx: Ctx) -> None:
    await asked(ctx)
    assert await deliver_mail(ctx, LogMailer(), owner="t") == 1
