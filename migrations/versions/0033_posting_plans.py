"""The journal's functions find rows by index, whatever size its tables had when they were planned.

A session keeps the plans of its first calls. Made while the journal was small, they read the whole
of it for every batch, and a session posted slower and slower as the journal grew.
"""

from __future__ import annotations

from alembic import op

revision = "0033"
down_revision: str | None = "0032"
branch_labels = None
depends_on = None

# A few rows of a table of any size: an index and a loop over it are never a wrong plan for that.
BY_INDEX = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin")
FUNCTIONS = (
    "ledger_lock(text[], text[])",
    "ledger_post(text[], text[], text[], text[], text[], timestamptz, text[], int[], text[],"
    " text[], bigint[], text[], text[], text[], text[], bigint[])",
    "journal_weighed()",
    "journal_balanced()",
    "journal_link(text[], text[], text[], text[], text[], text[], int[], text[], text[], bigint[],"
    " text[], bigint, timestamptz)",
)

# A join of two arrays has no index: what was posted is looked for in a set instead.
JOINED = "JOIN unnest(fresh) AS f(id) ON f.id = c.tx GROUP BY c.hold"
LOOKED_FOR = "WHERE whole OR c.tx IN (SELECT unnest(fresh)) GROUP BY c.hold"


def _post(captured: str) -> None:
    op.execute(POST.replace("CAPTURED", captured))


def upgrade() -> None:
    _post(LOOKED_FOR)
    for function in FUNCTIONS:
        for setting in BY_INDEX:
            op.execute(f"ALTER FUNCTION {function} SET {setting} = off")


def downgrade() -> None:
    for function in FUNCTIONS:
        op.execute(f"ALTER FUNCTION {function} RESET ALL")
    _post(JOINED)


POST = """
CREATE OR REPLACE FUNCTION ledger_post(
    p_id text[], p_key text[], p_hash text[], p_kind text[], p_memo text[], p_at timestamptz,
    e_tx text[], e_line int[], e_account text[], e_asset text[], e_amount bigint[],
    n_account text[], n_asset text[], c_tx text[], c_hold text[], c_amount bigint[]
) RETURNS TABLE (place bigint, known_id text, same boolean) LANGUAGE plpgsql AS $$
DECLARE fresh text[]; whole boolean; link bigint := nextval('journal_batch_id');
BEGIN
    WITH born AS (
        INSERT INTO journal_tx (id, idempotency_key, input_hash, kind, memo, at, batch)
        SELECT p.*, p_at, link FROM unnest(p_id, p_key, p_hash, p_kind, p_memo) AS p
        ON CONFLICT (idempotency_key) DO NOTHING RETURNING id
    ) SELECT coalesce(array_agg(id), '{}') INTO fresh FROM born;
    whole := cardinality(fresh) = cardinality(p_id);
    IF cardinality(fresh) > 0 THEN
        INSERT INTO journal_entry (tx_id, line, ledger_account, asset, amount)
        SELECT * FROM unnest(e_tx, e_line, e_account, e_asset, e_amount) AS e(tx)
        WHERE whole OR tx IN (SELECT unnest(fresh));
        PERFORM journal_link(p_id, p_key, p_hash, p_kind, p_memo, e_tx, e_line, e_account,
                             e_asset, e_amount, fresh, link, p_at);
        -- The balances come last: those who post at once wait for each other the least.
        PERFORM ledger_lock(n_account, n_asset);
        UPDATE balance b SET posted = b.posted + d.amount
        FROM (SELECT account, asset, sum(amount) AS amount
              FROM unnest(e_tx, e_account, e_asset, e_amount) AS e(tx, account, asset, amount)
              WHERE whole OR tx IN (SELECT unnest(fresh)) GROUP BY 1, 2) d
        WHERE b.ledger_account = d.account AND b.asset = d.asset;
    END IF;
    IF cardinality(c_tx) > 0 AND cardinality(fresh) > 0 THEN
        WITH want AS (
            SELECT c.hold, sum(c.amount)::bigint AS amount
            FROM unnest(c_tx, c_hold, c_amount) AS c(tx, hold, amount)
            CAPTURED
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
    IF NOT whole THEN
        RETURN QUERY
            SELECT p.place, t.id, t.input_hash = p.hash
            FROM unnest(p_id, p_key, p_hash) WITH ORDINALITY AS p(id, key, hash, place)
            JOIN journal_tx t ON t.idempotency_key = p.key WHERE t.id <> p.id;
    END IF;
END $$
"""
