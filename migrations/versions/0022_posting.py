"""The journal posts faster, and each posted batch is a link of a chain; seals bind the chains.

A batch's hash covers its transactions, their entries and the hash before it in its chain. A chain
is one database session's, so that posting takes no lock that all share; a seal covers every
batch since the last one.
"""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision: str | None = "0021"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE journal_batch (
    id BIGINT NOT NULL,
    chain TEXT NOT NULL,
    number BIGINT NOT NULL,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL,
    txs INTEGER NOT NULL,
    at TIMESTAMPTZ NOT NULL,
    seal BIGINT,
    CONSTRAINT pk_journal_batch PRIMARY KEY (id),
    CONSTRAINT uq_journal_batch_chain_number UNIQUE (chain, number)
);

CREATE INDEX ix_journal_batch_unsealed ON journal_batch (id) WHERE seal IS NULL;

CREATE SEQUENCE journal_batch_id OWNED BY journal_batch.id;

CREATE TABLE journal_seal (
    number BIGINT NOT NULL,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL,
    batches BIGINT NOT NULL,
    at TIMESTAMPTZ NOT NULL,
    CONSTRAINT pk_journal_seal PRIMARY KEY (number)
);

CREATE TABLE journal_open (
    tx_id TEXT NOT NULL,
    CONSTRAINT pk_journal_open PRIMARY KEY (tx_id)
);

ALTER TABLE journal_tx ADD COLUMN batch BIGINT;

ALTER TABLE journal_entry DROP CONSTRAINT fk_journal_entry_tx_id;

DROP TRIGGER journal_entry_balanced ON journal_entry;

DROP FUNCTION ledger_post(text[], text[], text[], text[], text[], timestamptz[], text[], int[],
    text[], text[], bigint[], text[], text[], bigint[]);

"""

# One look for a whole statement: what it brings must belong to transactions that are there, and
# those that it leaves unbalanced are written down, to be looked at once more at the commit.
BALANCED = """
CREATE FUNCTION journal_weighed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE orphan text;
BEGIN
    SELECT b.tx_id INTO orphan FROM (SELECT DISTINCT tx_id FROM born) b
    LEFT JOIN journal_tx t ON t.id = b.tx_id WHERE t.id IS NULL LIMIT 1;
    IF orphan IS NOT NULL THEN
        RAISE EXCEPTION 'There is no transaction %.', orphan
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'journal_entry_tx';
    END IF;
    INSERT INTO journal_open (tx_id)
    SELECT DISTINCT tx_id FROM (
        SELECT tx_id FROM born GROUP BY tx_id, asset HAVING sum(amount) <> 0
    ) leaning ORDER BY tx_id ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;

CREATE TRIGGER journal_entry_weighed AFTER INSERT ON journal_entry
    REFERENCING NEW TABLE AS born FOR EACH STATEMENT EXECUTE FUNCTION journal_weighed();

CREATE OR REPLACE FUNCTION journal_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE wrong text;
BEGIN
    SELECT asset || ' ' || sum(amount) INTO wrong FROM journal_entry
    WHERE tx_id = NEW.tx_id GROUP BY asset HAVING sum(amount) <> 0 LIMIT 1;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'Transaction % does not sum to zero: %.', NEW.tx_id, wrong
            USING ERRCODE = 'check_violation', CONSTRAINT = 'journal_entry_balanced';
    END IF;
    DELETE FROM journal_open WHERE tx_id = NEW.tx_id;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER journal_open_balanced AFTER INSERT ON journal_open
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION journal_balanced();

"""

CHAIN = """
CREATE FUNCTION journal_batch_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.seal IS NULL AND (OLD.id, OLD.chain, OLD.number, OLD.previous, OLD.hash, OLD.txs,
            OLD.at) = (NEW.id, NEW.chain, NEW.number, NEW.previous, NEW.hash, NEW.txs, NEW.at)
        THEN RETURN NEW; END IF;
    END IF;
    RAISE EXCEPTION 'The journal is immutable: % on % is refused.', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER journal_batch_immutable BEFORE UPDATE OR DELETE ON journal_batch
    FOR EACH ROW EXECUTE FUNCTION journal_batch_immutable();

CREATE TRIGGER journal_batch_kept BEFORE TRUNCATE ON journal_batch
    FOR EACH STATEMENT EXECUTE FUNCTION journal_immutable();

CREATE TRIGGER journal_seal_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON journal_seal
    FOR EACH STATEMENT EXECUTE FUNCTION journal_immutable();

CREATE FUNCTION journal_digest(previous text, txs text, entries text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT encode(sha256(convert_to(concat_ws(E'\\x1d', previous, txs, entries), 'UTF8')), 'hex')
$$;

CREATE FUNCTION journal_link(
    p_id text[], p_key text[], p_hash text[], p_kind text[], p_memo text[],
    e_tx text[], e_line int[], e_account text[], e_asset text[], e_amount bigint[],
    fresh text[], p_batch bigint, p_at timestamptz
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    mine text := current_setting('ledger.chain', true);
    head record; txs text; entries text;
BEGIN
    IF coalesce(mine, '') = '' THEN
        mine := gen_random_uuid()::text;
        PERFORM set_config('ledger.chain', mine, false);
    END IF;
    SELECT number, hash INTO head FROM journal_batch
    WHERE chain = mine ORDER BY number DESC LIMIT 1;
    SELECT string_agg(concat_ws(E'\\x1f', id, key, hash, kind, memo), E'\\x1e'
                      ORDER BY id COLLATE "C") INTO txs
    FROM unnest(p_id, p_key, p_hash, p_kind, p_memo) AS p(id, key, hash, kind, memo)
    WHERE cardinality(fresh) = cardinality(p_id) OR id IN (SELECT unnest(fresh));
    SELECT string_agg(concat_ws(E'\\x1f', tx, line, account, asset, amount), E'\\x1e'
                      ORDER BY tx COLLATE "C", line) INTO entries
    FROM unnest(e_tx, e_line, e_account, e_asset, e_amount) AS e(tx, line, account, asset, amount)
    WHERE cardinality(fresh) = cardinality(p_id) OR tx IN (SELECT unnest(fresh));
    INSERT INTO journal_batch (id, chain, number, previous, hash, txs, at)
    VALUES (p_batch, mine, coalesce(head.number, 0) + 1, coalesce(head.hash, ''),
            journal_digest(coalesce(head.hash, ''), txs, entries), cardinality(fresh), p_at);
END $$;

"""

POST = """
CREATE FUNCTION ledger_post(
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
    IF NOT whole THEN
        RETURN QUERY
            SELECT p.place, t.id, t.input_hash = p.hash
            FROM unnest(p_id, p_key, p_hash) WITH ORDINALITY AS p(id, key, hash, place)
            JOIN journal_tx t ON t.idempotency_key = p.key WHERE t.id <> p.id;
    END IF;
END $$;

"""

# What was posted before is one batch, the first of a chain of its own.
GENESIS = """
ALTER TABLE journal_tx DISABLE TRIGGER journal_tx_immutable;

UPDATE journal_tx SET batch = 0;

ALTER TABLE journal_tx ENABLE TRIGGER journal_tx_immutable;

INSERT INTO journal_batch (id, chain, number, previous, hash, txs, at)
SELECT 0, 'genesis', 1, '', journal_digest('',
    (SELECT string_agg(concat_ws(E'\\x1f', id, idempotency_key, input_hash, kind, memo), E'\\x1e'
                       ORDER BY id COLLATE "C") FROM journal_tx),
    (SELECT string_agg(concat_ws(E'\\x1f', tx_id, line, ledger_account, asset, amount), E'\\x1e'
                       ORDER BY tx_id COLLATE "C", line) FROM journal_entry)),
    (SELECT count(*) FROM journal_tx), (SELECT max(at) FROM journal_tx)
WHERE EXISTS (SELECT 1 FROM journal_tx);

"""

BEFORE = """
ALTER TABLE journal_tx DROP COLUMN batch;

DROP TABLE journal_open;

DROP TABLE journal_seal;

DROP TABLE journal_batch;

ALTER TABLE journal_entry ADD CONSTRAINT fk_journal_entry_tx_id
    FOREIGN KEY (tx_id) REFERENCES journal_tx (id);

CREATE OR REPLACE FUNCTION journal_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
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

"""


OLD_POST = """
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
END $$
"""


def _run(statements: str) -> None:
    for statement in statements.split(";\n\n"):
        if statement.strip():
            op.execute(statement.strip().removesuffix(";"))


def upgrade() -> None:
    _run(TABLES + BALANCED + CHAIN + POST + GENESIS)


def downgrade() -> None:
    for function in (
        "ledger_post",
        "journal_link",
        "journal_digest",
    ):
        op.execute(f"DROP FUNCTION {function}")
    op.execute("DROP TRIGGER journal_entry_weighed ON journal_entry")
    op.execute("DROP FUNCTION journal_weighed")
    _run(BEFORE)
    op.execute("DROP FUNCTION journal_batch_immutable")
    op.execute(OLD_POST)
