"""Figures added up over workers, and their text, read by the library of Prometheus."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from relayq.adapters.figures import FAMILIES, Histogram, add_up, is_lasting, render, series


def parsed(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_a_label_says_arrives_as_it_was() -> None:
    odd = 'a "quoted" back\\slash\nand }{ a line, =x'
    text = render({series("relayq_given_back_total", reason=odd): 3, "relayq_hosts_down": 2.5})
    assert parsed(text) == {
        ("relayq_given_back_total", frozenset({("reason", odd)})): 3.0,
        ("relayq_hosts_down", frozenset()): 2.5,
    }
    assert text.endswith("\n")


def test_a_histogram_is_cumulative_and_in_order() -> None:
    histogram = Histogram("relayq_delivery_seconds", (0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(seconds)
    figures: dict[str, float] = {}
    histogram.write_to(figures)
    [family] = text_string_to_metric_families(render(add_up((figures, figures))))
    assert family.type == "histogram"
    buckets = [(sample.labels["le"], sample.value) for sample in family.samples if sample.name.endswith("_bucket")]
    assert buckets == [("0.1", 4.0), ("1", 6.0), ("+Inf", 8.0)]
    ends = {sample.name: sample.value for sample in family.samples if not sample.labels}
    assert ends["relayq_delivery_seconds_count"] == 8.0
    assert ends["relayq_delivery_seconds_sum"] == pytest.approx(15.3)


def test_workers_are_added_up_but_what_all_of_them_know_is_not() -> None:
    one = {"relayq_deliveries_total": 3.0, "relayq_hosts_down": 4.0, "relayq_messages_held": 1.0}
    other = {"relayq_deliveries_total": 5.0, "relayq_hosts_down": 2.0}
    assert add_up((one, other)) == {
        "relayq_deliveries_total": 8.0,
        "relayq_hosts_down": 4.0,
        "relayq_messages_held": 1.0,
    }
    lasting = [name for name in one if is_lasting(name)]
    assert lasting == ["relayq_deliveries_total"]
    assert is_lasting('relayq_delivery_seconds_bucket{le="1"}')


def test_every_family_is_described_as_its_name_says() -> None:
    for family, (kind, meaning) in FAMILIES.items():
        assert (kind == "counter") == family.endswith("_total"), family
        assert meaning.endswith(".")
        assert "\n" not in meaning
