"""What this copy knows of migrations, read from their files as Alembic reads them."""

from __future__ import annotations

from alembic.script import ScriptDirectory

from brain import migrate
from migrations import known_revisions


def test_the_newest_migration_is_alembics_head() -> None:
    head = known_revisions()[1]
    assert [head] == list(ScriptDirectory.from_config(migrate.config()).get_heads())
    assert head == migrate.head()


def test_every_migration_is_known() -> None:
    scripts = ScriptDirectory.from_config(migrate.config())
    known = {script.revision for script in scripts.walk_revisions()}
    assert known_revisions()[0] == known
