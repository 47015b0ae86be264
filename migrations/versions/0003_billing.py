"""Tables of billing, the journal's guards, and the one function that posts."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision: str | None = "0002"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE account_standing (
    account_id TEXT NOT NULL,
    stopped BOOLEAN NOT NULL,
    reason TEXT NOT NULL,
    at TIMESTAMPTZ NOT NULL,
    CONSTRAINT pk_account_standing PRIMARY KEY (account_id)
);

CREATE TABLE balance (
    ledger_account TEXT NOT NULL,
    asset TEXT NOT NULL,
    posted NUMERIC(40, 0) NOT NULL,
    held BIGINT NOT NULL,
    carry BIGINT NOT NULL,
    CONSTRAINT pk_balance PRIMARY KEY (ledger_account, asset),
    CONSTRAINT ck_balance_held CHECK (held >= 0),
    CONSTRAINT ck_balance_carry CHECK (carry >= 0 AND carry < 3774873600000000000)
)
WITH (fillfactor = 70);

CREATE TABLE gateway_boot (
    boot_id TEXT NOT NULL,
    gateway TEXT NOT NULL,
    offset_ns BIGINT NOT NULL,
    hello_ns BIGINT NOT NULL,
    seen_ns BIGINT NOT NULL,
    stated_ns BIGINT NOT NULL,
    closed BOOLEAN NOT NULL,
    CONSTRAINT pk_gateway_boot PRIMARY KEY (boot_id)
);

CREATE TABLE hold (
    id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    purpose TEXT NOT NULL,
    amount BIGINT NOT NULL,
    captured BIGINT NOT NULL,
    released BIGINT NOT NULL,
    state TEXT NOT NULL,
    opened_ns BIGINT NOT NULL,
    deadline_ns BIGINT NOT NULL,
    returned_ns BIGINT,
    boot_id TEXT,
    lease_id TEXT,
    CONSTRAINT pk_hold PRIMARY KEY (id),
    CONSTRAINT ck_hold_parts
        CHECK (captured >= 0 AND released >= 0 AND captured + released <= amount),
    CONSTRAINT ck_hold_closed CHECK (state = 'open' OR captured + released = amount),
    CONSTRAINT ck_hold_purpose CHECK (purpose IN ('slice', 'lease'))
);

CREATE INDEX ix_hold_account_id ON hold (account_id);

CREATE INDEX ix_hold_boot ON hold (boot_id) WHERE state = 'open';

CREATE INDEX ix_hold_open ON hold (deadline_ns) WHERE state = 'open';

CREATE TABLE journal_tx (
    id TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    input_hash TEXT NOT NULL,
    kind TEXT NOT NULL,
    memo TEXT NOT NULL,
    at TIMESTAMPTZ NOT NULL,
    CONSTRAINT pk_journal_tx PRIMARY KEY (id),
    CONSTRAINT uq_journal_tx_idempotency_key UNIQUE (idempotency_key)
);

CREATE TABLE meter_lease (
    lease_id TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    payer TEXT NOT NULL,
    provider TEXT,
    gpus INTEGER NOT NULL,
    mode TEXT NOT NULL,
    renter_rate_nano BIGINT NOT NULL,
    provider_rate_nano BIGINT NOT NULL,
    pool_rate_nano BIGINT NOT NULL,
    ceiling_prompt_nano BIGINT NOT NULL,
    ceiling_completion_nano BIGINT NOT NULL,
    fee_basis_points INTEGER NOT NULL,
    deployment_id TEXT NOT NULL,
    replica_id TEXT NOT NULL,
    opened_ns BIGINT NOT NULL,
    loading_ns BIGINT,
    ready_ns BIGINT,
    draining_ns BIGINT,
    evidence_ns BIGINT NOT NULL,
    closed_ns BIGINT,
    outcome TEXT,
    settled_ns BIGINT NOT NULL,
    busy_ready_ns NUMERIC(40, 0) NOT NULL,
    busy_drain_ns NUMERIC(40, 0) NOT NULL,
    rounding_ns NUMERIC(40, 0) NOT NULL,
    late_ns NUMERIC(40, 0) NOT NULL,
    billed_ns BIGINT,
    billed_nano BIGINT NOT NULL,
    earned_nano BIGINT NOT NULL,
    hold_id TEXT,
    finished BOOLEAN NOT NULL,
    CONSTRAINT pk_meter_lease PRIMARY KEY (lease_id),
    CONSTRAINT ck_meter_lease_mode CHECK (mode IN ('dedicated', 'pool'))
);

CREATE INDEX ix_meter_lease_deployment_id ON meter_lease (deployment_id);

CREATE INDEX ix_meter_lease_live ON meter_lease (settled_ns) WHERE NOT finished;

CREATE INDEX ix_meter_lease_payer ON meter_lease (payer);

CREATE INDEX ix_meter_lease_replica_id ON meter_lease (replica_id);

CREATE TABLE parked_segment (
    key TEXT NOT NULL,
    reason TEXT NOT NULL,
    payload JSONB NOT NULL,
    at TIMESTAMPTZ NOT NULL,
    CONSTRAINT pk_parked_segment PRIMARY KEY (key)
);

CREATE TABLE rate (
    name TEXT NOT NULL,
    starts_at TIMESTAMPTZ NOT NULL,
    value BIGINT NOT NULL,
    unit TEXT NOT NULL,
    CONSTRAINT pk_rate PRIMARY KEY (name, starts_at)
);

CREATE TABLE receiving (
    id SMALLINT NOT NULL,
    last_ns BIGINT NOT NULL,
    CONSTRAINT pk_receiving PRIMARY KEY (id)
);

CREATE TABLE receiving_gap (
    from_ns BIGINT NOT NULL,
    until_ns BIGINT NOT NULL,
    CONSTRAINT pk_receiving_gap PRIMARY KEY (from_ns)
);

CREATE TABLE usage_segment (
    day DATE NOT NULL,
    key TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    deployment_id TEXT NOT NULL,
    replica_id TEXT NOT NULL,
    lease_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    number INTEGER NOT NULL,
    start_ns BIGINT NOT NULL,
    end_ns BIGINT NOT NULL,
    weight INTEGER NOT NULL,
    ending TEXT NOT NULL,
    status INTEGER NOT NULL,
    model TEXT NOT NULL,
    route TEXT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    tokens_estimated BOOLEAN NOT NULL,
    slice_id TEXT,
    received_ns BIGINT NOT NULL,
    open_ns BIGINT NOT NULL,
    settled_ticks NUMERIC(40, 0) NOT NULL,
    late_until_ns BIGINT,
    late_ticks NUMERIC(40, 0) NOT NULL,
    outside_ns BIGINT NOT NULL,
    waived_units NUMERIC(60, 0) NOT NULL,
    waived_to TEXT,
    folded BOOLEAN NOT NULL,
    CONSTRAINT pk_usage_segment PRIMARY KEY (day, key)
);

CREATE INDEX ix_usage_segment_account ON usage_segment (account_id, request_id);

CREATE INDEX ix_usage_segment_lease ON usage_segment (lease_id, end_ns);

CREATE INDEX ix_usage_segment_open ON usage_segment (lease_id) WHERE NOT folded;

CREATE INDEX ix_usage_segment_slice ON usage_segment (slice_id)
    WHERE NOT folded AND slice_id IS NOT NULL;

CREATE TABLE watermark (
    boot_id TEXT NOT NULL,
    replica_id TEXT NOT NULL,
    until_ns BIGINT NOT NULL,
    stated_ns BIGINT NOT NULL,
    in_flight INTEGER NOT NULL,
    draining BOOLEAN NOT NULL,
    CONSTRAINT pk_watermark PRIMARY KEY (boot_id, replica_id)
);

CREATE INDEX ix_watermark_replica_id ON watermark (replica_id);

CREATE TABLE journal_entry (
    tx_id TEXT NOT NULL,
    line INTEGER NOT NULL,
    ledger_account TEXT NOT NULL,
    asset TEXT NOT NULL,
    amount BIGINT NOT NULL,
    CONSTRAINT pk_journal_entry PRIMARY KEY (tx_id, line),
    CONSTRAINT ck_journal_entry_asset CHECK (asset IN ('USD', 'GPUNS')),
    CONSTRAINT fk_journal_entry_tx_id FOREIGN KEY(tx_id) REFERENCES journal_tx (id)
);

CREATE INDEX ix_journal_entry_account ON journal_entry (ledger_account, tx_id);

CREATE TABLE lease_bill (
    lease_id TEXT NOT NULL,
    from_ns BIGINT NOT NULL,
    until_ns BIGINT NOT NULL,
    charge_nano BIGINT NOT NULL,
    earned_nano BIGINT NOT NULL,
    CONSTRAINT pk_lease_bill PRIMARY KEY (lease_id, from_ns),
    CONSTRAINT fk_lease_bill_lease_id_meter_lease FOREIGN KEY(lease_id)
        REFERENCES meter_lease (lease_id)
);

CREATE TABLE meter_window (
    lease_id TEXT NOT NULL,
    start_ns BIGINT NOT NULL,
    end_ns BIGINT NOT NULL,
    busy_ns BIGINT NOT NULL,
    shared_ticks NUMERIC(40, 0) NOT NULL,
    posted_ns BIGINT NOT NULL,
    rounding_ns BIGINT NOT NULL,
    at TIMESTAMPTZ NOT NULL,
    CONSTRAINT pk_meter_window PRIMARY KEY (lease_id, start_ns),
    CONSTRAINT fk_meter_window_lease_id FOREIGN KEY(lease_id) REFERENCES meter_lease (lease_id)
);

"""

GUARDS = """
CREATE FUNCTION journal_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'The journal is immutable: % on % is refused.', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation',
              HINT = 'Post a correcting transaction instead.';
END $$;

CREATE TRIGGER journal_tx_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON journal_tx
    FOR EACH STATEMENT EXECUTE FUNCTION journal_immutable();

CREATE TRIGGER journal_entry_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON journal_entry
    FOR EACH STATEMENT EXECUTE FUNCTION journal_immutable();

CREATE FUNCTION journal_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE wrong text;
BEGIN
    SELECT asset || ' ' || sum(amount) INTO wrong FROM journal_entry
    WHERE tx_id = NEW.tx_id GROUP BY asset HAVING sum(amount) <> 0 LIMIT 1;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'Transaction % does not sum to zero: %.', NEW.tx_id, wrong
            USING ERRCODE = 'check_violation', CONSTRAINT = 'journal_entry_balanced';
    END IF;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER journal_entry_balanced AFTER INSERT ON journal_entry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION journal_balanced();

CREATE FUNCTION ledger_lock(p_account text[], p_asset text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO balance (ledger_account, asset, posted, held, carry)
    SELECT DISTINCT w.account, w.asset, 0, 0, 0
    FROM unnest(p_account, p_asset) AS w(account, asset)
    WHERE NOT EXISTS (SELECT 1 FROM balance b
                      WHERE b.ledger_account = w.account AND b.asset = w.asset)
    ORDER BY w.account, w.asset
    ON CONFLICT DO NOTHING;
    PERFORM 1 FROM balance b
    JOIN (SELECT DISTINCT account, asset FROM unnest(p_account, p_asset) AS w(account, asset)) w
      ON b.ledger_account = w.account AND b.asset = w.asset
    ORDER BY b.ledger_account, b.asset
    FOR NO KEY UPDATE OF b;
END $$;

CREATE FUNCTION ledger_post(
    p_id text[], p_key text[], p_hash text[], p_kind text[], p_memo text[], p_at timestamptz[],
    e_tx text[], e_line int[], e_account text[], e_asset text[], e_amount bigint[],
    c_tx text[], c_hold text[], c_amount bigint[]
) RETURNS TABLE (posted_id text, outcome text) LANGUAGE plpgsql AS $$
DECLARE fresh text[];
BEGIN
    PERFORM ledger_lock(e_account, e_asset);
    WITH born AS (
        INSERT INTO journal_tx (id, idempotency_key, input_hash, kind, memo, at)
        SELECT * FROM unnest(p_id, p_key, p_hash, p_kind, p_memo, p_at)
        ON CONFLICT (idempotency_key) DO NOTHING RETURNING id
    ) SELECT array_agg(id) INTO fresh FROM born;
    WITH entry AS (
        INSERT INTO journal_entry (tx_id, line, ledger_account, asset, amount)
        SELECT e.tx, e.line, e.account, e.asset, e.amount
        FROM unnest(e_tx, e_line, e_account, e_asset, e_amount)
             AS e(tx, line, account, asset, amount)
        JOIN unnest(fresh) AS f(id) ON f.id = e.tx
        RETURNING ledger_account, asset, amount
    )
    UPDATE balance b SET posted = b.posted + d.amount
    FROM (SELECT ledger_account, asset, sum(amount) AS amount FROM entry GROUP BY 1, 2) d
    WHERE b.ledger_account = d.ledger_account AND b.asset = d.asset;
    IF cardinality(c_tx) > 0 THEN
        WITH want AS (
            SELECT c.hold, sum(c.amount)::bigint AS amount
            FROM unnest(c_tx, c_hold, c_amount) AS c(tx, hold, amount)
            JOIN unnest(fresh) AS f(id) ON f.id = c.tx GROUP BY c.hold
        ), covered AS (
            SELECT h.id, least(w.amount, h.amount - h.captured - h.released) AS amount
            FROM hold h JOIN want w ON w.hold = h.id WHERE h.state = 'open'
            ORDER BY h.id FOR UPDATE OF h
        ), taken AS (
            UPDATE hold h SET captured = h.captured + c.amount
            FROM covered c WHERE h.id = c.id RETURNING h.account_id, c.amount
        )
        UPDATE balance b SET held = b.held - t.amount
        FROM (SELECT account_id, sum(amount)::bigint AS amount FROM taken GROUP BY 1) t
        WHERE b.ledger_account = t.account_id AND b.asset = 'USD';
    END IF;
    RETURN QUERY
        SELECT t.id, CASE WHEN t.id = p.id THEN 'posted'
                          WHEN t.input_hash = p.hash THEN 'known' ELSE 'conflict' END
        FROM unnest(p_id, p_key, p_hash) WITH ORDINALITY AS p(id, key, hash, place)
        JOIN journal_tx t ON t.idempotency_key = p.key ORDER BY p.place;
END $$;
"""

FIRST_RATES = """
INSERT INTO rate (name, starts_at, value, unit) VALUES
    ('credit_price', '2020-01-01T00:00:00Z', 100000, 'nano-dollars per credit'),
    ('platform_fee', '2020-01-01T00:00:00Z', 1500, 'basis points of the renter''s charge'),
    ('cloud_markup', '2020-01-01T00:00:00Z', 2000, 'basis points on the cloud''s price')
"""


def upgrade() -> None:
    for statement in (TABLES + GUARDS).split(";\n\n"):
        op.execute(statement.strip().removesuffix(";"))
    op.execute(FIRST_RATES)


def downgrade() -> None:
    for function in ("ledger_post", "ledger_lock"):
        op.execute(f"DROP FUNCTION {function}")
    for table in DROPPED:
        op.execute(f"DROP TABLE {table}")
    for function in ("journal_balanced", "journal_immutable"):
        op.execute(f"DROP FUNCTION {function}")


DROPPED = (
    "lease_bill",
    "meter_window",
    "meter_lease",
    "parked_segment",
    "usage_segment",
    "receiving_gap",
    "receiving",
    "watermark",
    "gateway_boot",
    "rate",
    "account_standing",
    "hold",
    "balance",
    "journal_entry",
    "journal_tx",
)
