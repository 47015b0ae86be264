"""What a worker's page of metrics says of how full it is."""

from __future__ import annotations

import pytest

from inference.gauges import CROWD_MAX, Page, Reading

PAGE = b"""# HELP vllm:kv_cache_usage_perc KV-cache usage. 1 means 100 percent usage.
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="a } b"} 0.9
vllm:num_requests_running{engine="0",model_name="m"} 4.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:num_requests_waiting_by_reason{reason="capacity"} 7.0
vllm:e2e_request_latency_seconds_bucket{le="0.3"} 5.0
"""
CACHE = b"vllm:kv_cache_usage_perc"


def read(page: bytes) -> Reading | None:
    of = Page()
    of.feed(page)
    return of.reading(5)


@pytest.mark.feature("D6")
def test_the_gauges_are_found_among_the_others() -> None:
    assert read(PAGE) == Reading(5, 0.9, 4, 2)


def test_wherever_it_is_cut_it_says_the_same() -> None:
    for cut in range(len(PAGE)):
        of = Page()
        of.feed(PAGE[:cut])
        of.feed(PAGE[cut:])
        assert of.reading(5) == Reading(5, 0.9, 4, 2)


def test_engines_side_by_side_are_one_worker() -> None:
    two = PAGE + PAGE.replace(b'engine="0"', b'engine="1"').replace(b"0.9", b"0.5")
    found = read(two)
    assert found is not None
    assert (round(found.cache, 3), found.running, found.queued) == (0.7, 8, 4)


def test_the_older_name_is_known() -> None:
    assert read(PAGE.replace(b"kv_cache", b"gpu_cache")) == Reading(5, 0.9, 4, 2)


@pytest.mark.parametrize(
    "page", [b"", b"vllm:kv_cache_usage_perc", b"vllm:kv_cache_usage_perc NaN"]
)
def test_a_page_without_a_cache_says_nothing(page: bytes) -> None:
    assert read(page) is None


@pytest.mark.parametrize("value", [b"1e308", b"-1e308", b"1e300", b"NaN", b"+Inf", b"1e10", b"x"])
def test_a_gauge_that_can_be_no_count_is_not_taken(value: bytes) -> None:
    """A page of nonsense must not end the telling of all others."""
    for name in (b"vllm:num_requests_waiting", b"vllm:num_requests_running", CACHE):
        line = name + b"{engine='1'} " + value + b"\n"
        assert read(PAGE + line * 3) == Reading(5, 0.9, 4, 2)


@pytest.mark.feature("D6")
@pytest.mark.parametrize(
    ("reading", "need"),
    [
        (Reading(0, 0.5, 4, 0), 0.5),
        (Reading(0, 1.0, 4, 2), 1.5),
        (Reading(0, 1.0, 1, 50), CROWD_MAX),
        (Reading(0, 0.9, 0, 3), 0.9 * CROWD_MAX),
    ],
)
def test_who_queues_for_a_cache_needs_more_than_there_is(reading: Reading, need: float) -> None:
    assert reading.need == pytest.approx(need)
