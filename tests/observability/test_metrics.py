"""What a scrape says."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from voicegate.observability import Histogram, Metrics


def scrape(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def test_counters_and_gauges_are_read_back() -> None:
    metrics = Metrics()
    metrics.counter("drops", "Dropped", {"late": 3, 'odd "\\\n': 1}, label="reason")
    metrics.gauge("calls", "Calls now", 2)
    assert scrape(metrics) == {
        ("voicegate_drops_total", (("reason", "late"),)): 3,
        ("voicegate_drops_total", (("reason", 'odd "\\\n'),)): 1,
        ("voicegate_calls", ()): 2,
    }


def test_a_histogram_counts_up_to_and_with_each_bound() -> None:
    histogram = Histogram([0.5, 1, 2.5])
    for value in (0.0, 0.5, 0.6, 1.0, 2.5, 2.6, 100.0):
        histogram.observe(value)
    assert histogram.buckets() == [("0.5", 2), ("1", 4), ("2.5", 5), ("+Inf", 7)]
    assert histogram.total == 107.2
    metrics = Metrics()
    metrics.histogram("wait_seconds", "Waited", {"dtls": histogram}, label="phase")
    read = scrape(metrics)
    assert read["voicegate_wait_seconds_bucket", (("le", "0.5"), ("phase", "dtls"))] == 2
    assert read["voicegate_wait_seconds_bucket", (("le", "+Inf"), ("phase", "dtls"))] == 7
    assert read["voicegate_wait_seconds_count", (("phase", "dtls"),)] == 7
    assert read["voicegate_wait_seconds_sum", (("phase", "dtls"),)] == 107.2


def test_a_histogram_may_have_been_counted_elsewhere_and_stand_alone() -> None:
    metrics = Metrics()
    metrics.histogram("sizes", "Sizes", Histogram([1, 2], counts=[3, 0, 4], total=50))
    read = scrape(metrics)
    assert read["voicegate_sizes_bucket", (("le", "2"),)] == 3
    assert (read["voicegate_sizes_count", ()], read["voicegate_sizes_sum", ()]) == (7, 50)


def test_what_other_processes_count_is_told_apart_by_a_label() -> None:
    scrapes = {}
    for worker, waited in (("0", 0.5), ("1", 3.0)):
        metrics = Metrics()
        metrics.gauge("calls", "Calls now", 2)
        metrics.counter("drops", "Dropped", {"late": 3}, label="reason")
        histogram = Histogram([1])
        histogram.observe(waited)
        metrics.histogram("wait_seconds", "Waited", histogram)
        scrapes[worker] = metrics.render()
    merged = Metrics()
    merged.gauge("workers", "Workers", 2)
    for worker, text in scrapes.items():
        merged.include(text, label="worker", value=worker)
    whole = merged.render().decode()
    assert (
        whole.count("# TYPE voicegate_calls gauge\n")
        == whole.count("# HELP voicegate_calls Calls now\n")
        == 1
    )
    assert whole.count("# TYPE voicegate_drops_total counter\n") == 1
    assert whole.count("# TYPE voicegate_wait_seconds histogram\n") == 1
    read = scrape(merged)
    assert read["voicegate_workers", ()] == 2
    for worker, count in (("0", 1), ("1", 0)):
        assert read["voicegate_calls", (("worker", worker),)] == 2
        assert read["voicegate_drops_total", (("reason", "late"), ("worker", worker))] == 3
        assert read["voicegate_wait_seconds_bucket", (("le", "1"), ("worker", worker))] == count
        assert read["voicegate_wait_seconds_count", (("worker", worker),)] == 1


def test_nothing_to_include_changes_nothing() -> None:
    metrics = Metrics()
    metrics.gauge("calls", "Calls now", 1)
    before = metrics.render()
    metrics.include(b"", label="worker", value="0")
    assert metrics.render() == before


@given(st.lists(st.floats(0, 1000), max_size=50))
def test_buckets_are_what_counting_gives(values: list[float]) -> None:
    bounds = (0.01, 1.0, 10.0, 500.0)
    histogram = Histogram(bounds)
    for value in values:
        histogram.observe(value)
    counted = [sum(value <= bound for value in values) for bound in (*bounds, float("inf"))]
    assert [count for _, count in histogram.buckets()] == counted


def test_each_scrape_stands_alone() -> None:
    first, second = Metrics(), Metrics()
    first.gauge("calls", "Calls now", 1)
    second.gauge("calls", "Calls now", 2)
    assert scrape(first) == {("voicegate_calls", ()): 1}
    assert scrape(second) == {("voicegate_calls", ()): 2}
