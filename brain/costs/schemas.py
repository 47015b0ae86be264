"""Bodies of the routes of costs and of clouds' bills."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, Field, StringConstraints

from brain.costs.bills import BillLine, Statement
from brain.costs.sums import By, Line
from brain.edge import Body
from brain.edge import Line as Sentence
from kernel.errors import BadInput
from kernel.money import Money

Short = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
LINES_MAX = 2000  # of one request; a longer statement comes in parts


class CostLineView(BaseModel):
    """``charged`` and ``margin`` are null where charges are not known by this."""

    name: str = Field(description="An id, a day, a model …; empty: what belongs to none.")
    title: str = Field(description="What people call it.")
    cost_nano: int
    cost_usd: str
    charged_nano: int | None
    charged_usd: str | None
    margin_nano: int | None = Field(description="What is left of the charges.")
    units: dict[str, int] = Field(description="By unit, such as gpu_ms or gib_s.")

    @classmethod
    def of(cls, line: Line, title: str) -> CostLineView:
        charged = line.charged_nano
        return cls(
            name=line.name,
            title=title,
            cost_nano=line.cost_nano,
            cost_usd=str(Money(line.cost_nano)),
            charged_nano=charged,
            charged_usd=None if charged is None else str(Money(charged)),
            margin_nano=None if charged is None else charged - line.cost_nano,
            units=line.units,
        )


class CostsView(BaseModel):
    """What work cost us in [since, until), the dearest first; days in their order."""

    by: By
    since: datetime
    until: datetime
    lines: list[CostLineView]
    cost_nano: int
    cost_usd: str
    charged_nano: int | None
    charged_usd: str | None


class ChargeLineView(BaseModel):
    name: str
    title: str
    nano: int
    usd: str
    requests: int | None = None
    gpu_seconds: str | None = None


class ChargesView(BaseModel):
    """What the account was charged in [since, until)."""

    by: By
    since: datetime
    until: datetime
    lines: list[ChargeLineView]
    nano: int
    usd: str


class BillLineBody(Body):
    """A stretch of time that the cloud billed."""

    machine_id: Annotated[Short, Field(description="Empty: all machines together.")] = ""
    from_at: AwareDatetime
    until_at: AwareDatetime
    amount_usd: Annotated[str, StringConstraints(max_length=40)]
    line: Annotated[Short, Field(description="Its name in the statement; else made up.")] = ""

    def value(self) -> BillLine:
        since, until = self.from_at.astimezone(UTC), self.until_at.astimezone(UTC)
        if until <= since:
            raise BadInput("A line of a bill ends after it begins.", param="until_at")
        return BillLine(
            line=self.line or f"{self.machine_id}/{since:%Y-%m-%dT%H:%M:%S}/{until:%H:%M:%S}",
            machine_id=self.machine_id,
            from_at=since,
            until_at=until,
            amount_nano=Money.usd(self.amount_usd).nano,
        )


class StatementBody(Body):
    """A vendor's statement, or a part of one: repeating it adds nothing."""

    statement: Sentence
    lines: Annotated[list[BillLineBody], Field(min_length=1, max_length=LINES_MAX)]
    only_ours: Annotated[
        bool, Field(description="Leave out machines that were never this installation's.")
    ] = False
    replace: Annotated[bool, Field(description="Take the whole statement anew.")] = False


class TakenView(BaseModel):
    added: int
    known: int
    left_out: int


class StatementView(BaseModel):
    """``agrees``: within half a percent, or a cent where that is more."""

    cloud: str
    statement: str
    from_at: datetime
    until_at: datetime
    lines: int
    billed_usd: str
    recorded_usd: str
    difference_nano: int = Field(description="Billed less recorded.")
    difference_usd: str
    unknown_machines: int = Field(description="Lines of machines that were never ours.")
    agrees: bool

    @classmethod
    def of(cls, one: Statement) -> StatementView:
        difference = one.billed_nano - one.recorded_nano
        return cls(
            cloud=one.cloud,
            statement=one.statement,
            from_at=one.from_at,
            until_at=one.until_at,
            lines=one.lines,
            billed_usd=str(Money(one.billed_nano)),
            recorded_usd=str(Money(one.recorded_nano)),
            difference_nano=difference,
            difference_usd=str(Money(difference)),
            unknown_machines=one.unknown,
            agrees=one.agrees,
        )
