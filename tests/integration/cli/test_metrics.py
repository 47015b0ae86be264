"""The metrics commands against a running product: what they refuse, and in which words."""

from __future__ import annotations

import pytest

from tests.support.installation import Installation, command


@pytest.mark.feature("N2", "C3")
def test_a_node_that_is_none_and_a_time_that_is_none_are_refused_in_a_sentence(
    installation: Installation,
) -> None:
    # The account of `make run` is an administrator, who may see every node that there is.
    node = f"node_{'0' * 32}"
    extra = {"BRAIN_URL": installation.ready["brain_url"]}
    for last, words in (("1h", "that you may look into"), ("1w", "Write it as 90s, 30m, 1h or 7d")):
        done = command(installation.home, "nodes", "metrics", node, "--last", last, extra=extra)
        assert done.returncode == 1
        assert words in done.stderr
