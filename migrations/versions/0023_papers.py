"""Prices of services and packages of credits as dated rows; documents, their numbers and lines."""

from __future__ import annotations

from alembic import op

revision = "0023"
down_revision: str | None = "0022"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE service_price (
    service TEXT NOT NULL,
    starts_at TIMESTAMPTZ NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    unit TEXT NOT NULL,
    per INTEGER NOT NULL,
    milli_credits BIGINT NOT NULL,
    vendor_nano_min BIGINT NOT NULL,
    vendor_nano_max BIGINT NOT NULL,
    source TEXT NOT NULL,
    CONSTRAINT pk_service_price PRIMARY KEY (service, starts_at),
    CONSTRAINT ck_service_price_price CHECK (per > 0 AND milli_credits >= 0),
    CONSTRAINT ck_service_price_cost
        CHECK (0 <= vendor_nano_min AND vendor_nano_min <= vendor_nano_max)
);

CREATE TABLE credit_package (
    name TEXT NOT NULL,
    starts_at TIMESTAMPTZ NOT NULL,
    credits_min BIGINT NOT NULL,
    credits_max BIGINT NOT NULL,
    CONSTRAINT pk_credit_package PRIMARY KEY (name, starts_at),
    CONSTRAINT ck_credit_package_range CHECK (0 <= credits_min AND credits_min <= credits_max)
);

CREATE TABLE journal_document (
    tx_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    document_id TEXT NOT NULL,
    CONSTRAINT pk_journal_document PRIMARY KEY (tx_id, account_id)
);

CREATE INDEX ix_journal_document_document_id ON journal_document (document_id);

CREATE TABLE billing_profile (
    account_id TEXT NOT NULL,
    legal_name TEXT NOT NULL,
    address TEXT NOT NULL,
    country TEXT NOT NULL,
    tax_id TEXT NOT NULL,
    email TEXT NOT NULL,
    tax_name TEXT NOT NULL,
    tax_basis_points INTEGER NOT NULL,
    tax_note TEXT NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT pk_billing_profile PRIMARY KEY (account_id),
    CONSTRAINT ck_billing_profile_tax_basis_points CHECK (tax_basis_points BETWEEN 0 AND 10000)
);

CREATE TABLE invoice_series (
    series TEXT NOT NULL,
    year SMALLINT NOT NULL,
    last INTEGER NOT NULL,
    CONSTRAINT pk_invoice_series PRIMARY KEY (series, year)
);

CREATE TABLE invoice_month (
    month DATE NOT NULL,
    account_id TEXT NOT NULL,
    CONSTRAINT pk_invoice_month PRIMARY KEY (month, account_id)
);

CREATE TABLE invoice (
    id TEXT NOT NULL,
    paper TEXT NOT NULL,
    series TEXT NOT NULL,
    year SMALLINT NOT NULL,
    place INTEGER NOT NULL,
    number TEXT NOT NULL,
    account_id TEXT NOT NULL,
    month DATE,
    period_from TIMESTAMPTZ,
    period_until TIMESTAMPTZ,
    issued_at TIMESTAMPTZ NOT NULL,
    currency TEXT NOT NULL,
    net_nano BIGINT NOT NULL,
    net_cents BIGINT NOT NULL,
    tax_name TEXT NOT NULL,
    tax_basis_points INTEGER NOT NULL,
    tax_cents BIGINT NOT NULL,
    gross_cents BIGINT NOT NULL,
    note TEXT NOT NULL,
    corrects TEXT,
    seller JSONB NOT NULL,
    customer JSONB NOT NULL,
    CONSTRAINT pk_invoice PRIMARY KEY (id),
    CONSTRAINT uq_invoice_series_year_place UNIQUE (series, year, place),
    CONSTRAINT uq_invoice_number UNIQUE (number),
    CONSTRAINT ck_invoice_paper CHECK (paper IN ('invoice', 'credit_note', 'receipt')),
    CONSTRAINT ck_invoice_gross CHECK (gross_cents = net_cents + tax_cents),
    CONSTRAINT fk_invoice_corrects FOREIGN KEY(corrects) REFERENCES invoice (id)
);

CREATE INDEX ix_invoice_account_id_id ON invoice (account_id, id);

CREATE INDEX ix_invoice_corrects ON invoice (corrects);

CREATE UNIQUE INDEX uq_invoice_account_id_month ON invoice (account_id, month)
    WHERE month IS NOT NULL;

CREATE TABLE invoice_line (
    invoice_id TEXT NOT NULL,
    place INTEGER NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    title TEXT NOT NULL,
    quantity TEXT NOT NULL,
    from_ns BIGINT,
    until_ns BIGINT,
    nano BIGINT NOT NULL,
    cents BIGINT NOT NULL,
    CONSTRAINT pk_invoice_line PRIMARY KEY (invoice_id, place),
    CONSTRAINT fk_invoice_line_invoice_id FOREIGN KEY(invoice_id) REFERENCES invoice (id)
)
"""

GUARDS = """
CREATE FUNCTION paper_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is immutable: % is refused.', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation',
              HINT = 'Issue a credit note, or begin a new dated row.';
END $$;

CREATE FUNCTION paper_sums() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE found bigint;
BEGIN
    SELECT coalesce(sum(cents), 0) INTO found FROM invoice_line WHERE invoice_id = NEW.id;
    IF found <> NEW.net_cents THEN
        RAISE EXCEPTION 'The lines of % sum to %, not to %.', NEW.number, found, NEW.net_cents
            USING ERRCODE = 'check_violation', CONSTRAINT = 'invoice_sums';
    END IF;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER invoice_sums AFTER INSERT ON invoice
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION paper_sums();
"""

IMMUTABLE = ("service_price", "credit_package", "journal_document", "invoice", "invoice_line")

# What one credit buys is the product's; what vendors take is public list prices, by the date that
# stands there. Later figures are later rows.
PACKAGES = (
    ("Startup", 50_000, 200_000),
    ("Growing", 200_000, 1_000_000),
    ("Enterprise", 1_000_000, 10_000_000),
)
READ = "public list price, 2026-11"
PRICES = (
    # service, provider, model, unit, per, thousandths of a credit, vendor's cost in nano-dollars
    ("gpt-4o-mini", "openai", "gpt-4o-mini", "token", 1000, 1_000, 150_000, 600_000),
    ("gpt-4o", "openai", "gpt-4o", "token", 1000, 8_000, 2_500_000, 10_000_000),
    ("gpt-4", "openai", "gpt-4", "token", 1000, 25_000, 30_000_000, 60_000_000),
    ("cartesia", "cartesia", "sonic", "character", 1000, 800, 37_375_000, 50_000_000),
    ("deepgram", "deepgram", "nova-3", "second", 60, 8_000, 4_800_000, 7_700_000),
    ("twilio", "twilio", "voice", "minute", 1, 20_000, 8_500_000, 14_000_000),
    ("livekit", "livekit", "participant", "minute", 1, 12_000, 400_000, 500_000),
    ("vision-low", "openai", "gpt-4o image, low detail", "image", 1, 40_000, 212_500, 212_500),
    ("vision-high", "openai", "gpt-4o image, high detail", "image", 1, 50_000, 637_500, 3_612_500),
)


def upgrade() -> None:
    for statement in (TABLES + ";\n\n" + GUARDS).split(";\n\n"):
        op.execute(statement.strip().removesuffix(";"))
    for table in IMMUTABLE:
        op.execute(
            f"CREATE TRIGGER {table}_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION paper_immutable()"
        )
    for name, least, most in PACKAGES:
        op.execute(
            f"INSERT INTO credit_package VALUES ('{name}', '2020-01-01T00:00:00Z', {least}, {most})"
        )
    for service, provider, model, unit, *figures in PRICES:
        numbers = ", ".join(str(figure) for figure in figures)
        op.execute(
            "INSERT INTO service_price VALUES"
            f" ('{service}', '2020-01-01T00:00:00Z', '{provider}', '{model}', '{unit}',"
            f" {numbers}, '{READ}')"
        )


def downgrade() -> None:
    for table in (
        *("invoice_line", "invoice", "invoice_month", "invoice_series", "billing_profile"),
        *("journal_document", "credit_package", "service_price"),
    ):
        op.execute(f"DROP TABLE {table}")
    for function in ("paper_sums", "paper_immutable"):
        op.execute(f"DROP FUNCTION {function}")
