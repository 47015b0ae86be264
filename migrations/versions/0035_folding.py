"""Folding finds a lease's segments by their keys, however many others the day has; and a batch's
balances are made, locked and moved in one pass.

A partition of today has no statistics yet, or those of an empty one. Planned by them, folding read
all of a day's segments for each lease, or compared each with each.
"""

from __future__ import annotations

from alembic import op

revision = "0035"
down_revision: str | None = "0034"
branch_labels = None
depends_on = None

# The keys are looked up as a set, in index order, and joined to what is known of them by a hash:
# neither depends on what the planner thinks there is. A subquery for the set, or else it would
# weigh each key against the statistics.
FOLD = """
CREATE FUNCTION usage_fold(
    p_lease text, p_day date, p_key text[], p_open bigint[], p_ticks numeric[], p_late numeric[],
    p_outside bigint[], p_late_until bigint[], p_done text[]
) RETURNS void LANGUAGE plpgsql
SET enable_nestloop = off SET enable_seqscan = off SET plan_cache_mode = force_custom_plan AS $$
DECLARE kept bigint;
BEGIN
    UPDATE usage_segment s SET open_ns = f.open, settled_ticks = s.settled_ticks + f.ticks,
        late_ticks = s.late_ticks + f.late, outside_ns = s.outside_ns + f.outside,
        late_until_ns = coalesce(f.late_until, s.late_until_ns), folded = f.open >= s.end_ns
    FROM unnest(p_key, p_open, p_ticks, p_late, p_outside, p_late_until)
         AS f(key, open, ticks, late, outside, late_until)
    WHERE s.day = p_day AND s.key = ANY (ARRAY(SELECT unnest(p_key))) AND s.key = f.key;
    GET DIAGNOSTICS kept = ROW_COUNT;
    IF kept <> cardinality(p_key) THEN
        RAISE EXCEPTION 'Of % segments of % there are %.', cardinality(p_key), p_day, kept;
    END IF;
    DELETE FROM usage_waiting w
    WHERE w.lease_id = p_lease AND w.day = p_day AND w.key = ANY (ARRAY(SELECT unnest(p_done)));
END $$
"""

# In name order, as an insert takes its rows in the order in which they are given.
UPSERT = """\
        -- The balances come last: those who post at once wait for each other the least. One pass
        -- makes, locks and moves them, in name order.
        INSERT INTO balance AS b (ledger_account, asset, posted, held, carry)
        SELECT account, asset, sum(amount), 0, 0
        FROM unnest(e_tx, e_account, e_asset, e_amount) AS e(tx, account, asset, amount)
        WHERE whole OR tx IN (SELECT unnest(fresh)) GROUP BY 1, 2 ORDER BY 1, 2
        ON CONFLICT (ledger_account, asset) DO UPDATE SET posted = b.posted + excluded.posted;
"""
LOCKED_BEFORE = """\
        -- The balances come last: those who post at once wait for each other the least.
        PERFORM ledger_lock(n_account, n_asset);
        UPDATE balance b SET posted = b.posted + d.amount
        FROM (SELECT account, asset, sum(amount) AS amount
              FROM unnest(e_tx, e_account, e_asset, e_amount) AS e(tx, account, asset, amount)
              WHERE whole OR tx IN (SELECT unnest(fresh)) GROUP BY 1, 2) d
        WHERE b.ledger_account = d.account AND b.asset = d.asset;
"""
OLD_NAMES = "n_account text[], n_asset text[], "

POST = """
CREATE FUNCTION ledger_post(
    p_id text[], p_key text[], p_hash text[], p_kind text[], p_memo text[], p_at timestamptz,
    e_tx text[], e_line int[], e_account text[], e_asset text[], e_amount bigint[],
    NAMESc_tx text[], c_hold text[], c_amount bigint[]
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
MOVED    END IF;
    IF cardinality(c_tx) > 0 AND cardinality(fresh) > 0 THEN
        WITH want AS (
            SELECT c.hold, sum(c.amount)::bigint AS amount
            FROM unnest(c_tx, c_hold, c_amount) AS c(tx, hold, amount)
            WHERE whole OR c.tx IN (SELECT unnest(fresh)) GROUP BY c.hold
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
ARGUMENTS = (
    "text[], text[], text[], text[], text[], timestamptz, text[], int[], text[], text[], bigint[],"
    " {}text[], text[], bigint[]"
)


def _post(names: str, moved: str, dropped: str, made: str) -> None:
    op.execute(f"DROP FUNCTION ledger_post({ARGUMENTS.format(dropped)})")
    op.execute(POST.replace("NAMES", names).replace("MOVED", moved))
    for setting in ("enable_seqscan", "enable_hashjoin", "enable_mergejoin"):
        op.execute(f"ALTER FUNCTION ledger_post({ARGUMENTS.format(made)}) SET {setting} = off")


def upgrade() -> None:
    op.execute(FOLD)
    _post("", UPSERT, "text[], text[], ", "")


def downgrade() -> None:
    _post(OLD_NAMES, LOCKED_BEFORE, "", "text[], text[], ")
    op.execute(
        "DROP FUNCTION usage_fold(text, date, text[], bigint[], numeric[], numeric[], bigint[],"
        " bigint[], text[])"
    )
