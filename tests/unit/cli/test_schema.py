"""What this copy knows of migrations, read from their files."""

from __future__ import annotations

from cli.supervisor import schema


def test_the_newest_migration_is_the_brains_head() -> None:
    from brain import migrate

    revisions, head = schema.known_revisions()
    assert head == migrate.head()
    assert head in revisions


def test_every_migration_is_known() -> None:
    files = list((schema.CLONE / "migrations" / "versions").glob("[0-9]*.py"))
    assert len(schema.known_revisions()[0]) == len(files)
