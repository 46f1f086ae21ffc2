"""Prometheus text made from plain numbers, once per scrape: the hot path only adds to ints."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

__all__ = ["Metrics", "Histogram"]


class Histogram:
    """Counts of observations by upper bound, in the unit of its bounds.

    Args:
        bounds: The upper bounds, ascending.
        counts: Those that were made elsewhere, by bound and, in the end, above the last.
        total: The sum of all those.
    """

    def __init__(
        self, bounds: Sequence[float], *, counts: Sequence[int] | None = None, total: float = 0.0
    ) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1) if counts is None else list(counts)
        self._sum = total

    def observe(self, value: float) -> None:
        """Count one observation."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    @property
    def total(self) -> float:
        """The sum of all observations."""
        return self._sum

    def buckets(self) -> list[tuple[str, float]]:
        """Return the cumulative counts by upper bound, as Prometheus wants them."""
        labels = [*(str(bound) for bound in self._bounds), "+Inf"]
        return list(zip(labels, accumulate(self._counts), strict=True))


class Metrics(Collector):
    """One scrape: families are added, then rendered."""

    def __init__(self) -> None:
        self._families: list[Metric] = []

    def counter(self, name: str, description: str, values: Mapping[str, int], *, label: str) -> None:
        """Add a counter with one label."""
        family = CounterMetricFamily(f"voicegate_{name}", description, labels=[label])
        for key, value in values.items():
            family.add_metric([key], value)
        self._families.append(family)

    def gauge(self, name: str, description: str, value: float) -> None:
        """Add a gauge."""
        self._families.append(GaugeMetricFamily(f"voicegate_{name}", description, value=value))

    def histogram(
        self, name: str, description: str, values: Histogram | Mapping[str, Histogram], *, label: str = ""
    ) -> None:
        """Add a histogram, or several with one label."""
        labels = [] if isinstance(values, Histogram) else [label]
        family = HistogramMetricFamily(f"voicegate_{name}", description, labels=labels)
        for key, value in [("", values)] if isinstance(values, Histogram) else values.items():
            family.add_metric([key][: len(labels)], value.buckets(), value.total)
        self._families.append(family)

    def include(self, scrape: bytes, *, label: str, value: str) -> None:
        """Add what another process rendered, with one label more on each of its samples."""
        families = {family.name: family for family in self._families}
        for family in text_string_to_metric_families(scrape.decode()):
            merged = families.get(family.name)
            if merged is None:
                merged = Metric(family.name, family.documentation, family.type)
                self._families.append(merged)
            for sample in family.samples:
                labels = {label: value, **sample.labels}
                merged.add_sample(sample.name, labels, sample.value)

    def collect(self) -> Iterator[Metric]:
        """Give the families to the client library."""
        yield from self._families

    def render(self) -> bytes:
        """Return the Prometheus text."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)
