"""A child's log file keeps within its bound and knows the last line."""

from __future__ import annotations

from pathlib import Path

from cli.supervisor.logs import LogFile


def test_a_log_never_grows_past_twice_its_bound(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log", bytes_max=1000)
    for number in range(500):
        log.write(f"line {number:04}\n".encode())
    log.close()
    sizes = {file.name: file.stat().st_size for file in tmp_path.iterdir()}
    assert set(sizes) == {"a.log", "a.log.1"}
    assert all(size <= 1000 for size in sizes.values())


def test_the_newest_lines_are_kept(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log", bytes_max=1000)
    for number in range(500):
        log.write(f"line {number:04}\n".encode())
    log.close()
    assert (tmp_path / "a.log").read_text().endswith("line 0499\n")


def test_the_last_line_that_says_something(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log")
    log.write(b"first\nthe reason\n\n  \n")
    assert log.last_line == "the reason"
    log.close()


def test_a_log_goes_on_where_the_last_run_ended(tmp_path: Path) -> None:
    for words in (b"one\n", b"two\n"):
        log = LogFile(tmp_path / "a.log")
        log.write(words)
        log.close()
    assert (tmp_path / "a.log").read_text() == "one\ntwo\n"


def test_only_the_owner_reads_logs(tmp_path: Path) -> None:
    LogFile(tmp_path / "a.log").close()
    assert (tmp_path / "a.log").stat().st_mode & 0o777 == 0o600
