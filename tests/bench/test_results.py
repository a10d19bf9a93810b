"""Medians, the Markdown table and the chart, from measurements that nobody had to take."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import pytest

from bench import chart, table
from bench.results import Measurement, Report, medians

MACHINE = {"date": "2026-01-02", "processor": "a processor, 2 cores", "kernel": "Linux 6", "cores": "peer on core 0"}


def got(peer: str, cpu_us: float, scenario: str = "get-100", **changes) -> Measurement:
    values = {"cpu": cpu_us / 1e6 * 1000, "seconds": 1.0, "requests": 1000, "moved": 100_000, "p50": 1.0, "p99": 2.0, "memory": 2**20}
    return Measurement(peer=peer, scenario=scenario, **(values | changes))


def kept(peer: str, kib: float, scenario: str = "idle-1000") -> Measurement:
    return Measurement(peer=peer, scenario=scenario, cpu=0.0, seconds=2.0, connections=1000, held=int(kib * 1024 * 1000))


@pytest.fixture
def report():
    one = Report(machine=MACHINE, installed={"this gateway": "1"}, missing={"Envoy, oauth2 filter": "no <binary> & no | hope"})
    one.measurements += [got("this gateway", value, turn=turn) for turn, value in enumerate((30, 50, 40))]
    one.measurements += [got("nginx, bare proxy", 20), got("oauth2-proxy", 120)]
    one.measurements += [kept("this gateway", 30.0), kept("oauth2-proxy", -0.5)]
    return one


def test_a_row_is_the_median_and_says_how_far_the_repeats_were_apart(report):
    row = medians(report.measurements)[0]
    assert row.cpu_us == pytest.approx(40)
    assert row.lowest == pytest.approx(30)
    assert row.per_cpu_second == pytest.approx(25_000)
    assert row.spread == pytest.approx(0.5)
    assert row.megabytes_per_cpu_second == pytest.approx(0.1 / 0.04)
    assert row.held_kib is None


def test_idle_connections_have_memory_and_no_requests(report):
    row = medians(report.measurements)[3]
    assert (row.held_kib, row.cpu_us, row.per_cpu_second, row.spread) == (pytest.approx(30.0), None, None, None)


def test_every_line_of_the_table_has_the_same_number_of_cells(report):
    lines = table.table(medians(report.measurements)).splitlines()
    assert {line.count("|") for line in lines} == {13}
    assert len(lines) == 2 + 5


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(None, "-", id="no figure"),
        pytest.param(0.04, "0.04", id="small"),
        pytest.param(12.34, "12.3", id="tens"),
        pytest.param(123.4, "123", id="hundreds"),
        pytest.param(51234.6, "51,235", id="thousands"),
    ],
)
def test_a_number_has_the_digits_that_count(value, text):
    assert table.number(value) == text


def test_targets_are_judged_only_where_both_sides_were_measured(report):
    lines = table.targets(report.measurements).splitlines()[2:]
    assert [line.split(" | ")[-3:] for line in lines] == [
        ["at least 3.5", "4.00", "met |"],
        ["at most 2.5", "1.50", "met |"],
        ["at most 20", "30.00", "**missed** |"],
    ]


def test_a_peer_that_is_missing_is_named_with_the_reason(report):
    assert "- **missed**" not in table.render(report)
    assert "- **missing**: Envoy, oauth2 filter: no <binary> & no | hope" in table.render(report)


def test_the_block_of_a_page_is_replaced_and_the_rest_stays(tmp_path):
    page = tmp_path / "benchmarks.md"
    page.write_text(f"before\n\n{table.BEGIN}\nold\n{table.END}\n\nafter\n")
    table.write_into(page, "new")
    assert page.read_text() == f"before\n\n{table.BEGIN}\n\nnew\n\n{table.END}\n\nafter\n"


def test_a_page_that_is_not_there_is_made(tmp_path):
    page = tmp_path / "benchmarks.md"
    table.write_into(page, "new")
    assert "new" in page.read_text()


def test_the_chart_is_well_formed_and_has_a_bar_for_every_figure(report):
    picture = ET.fromstring(chart.render(report))  # noqa: S314 - our own
    bars = [one for one in picture.iter("{http://www.w3.org/2000/svg}rect") if one.get("width") != "100%"]
    assert len(bars) == 5
    assert all(float(bar.get("width")) > 0 for bar in bars)


def test_a_run_without_any_result_still_renders():
    empty = Report(machine=MACHINE)
    ET.fromstring(chart.render(empty))  # noqa: S314 - our own
    assert "2026-01-02" in table.render(empty)


def test_the_json_holds_medians_and_every_measurement(report):
    document = json.loads(json.dumps(report.as_json()))
    assert len(document["measurements"]) == 7
    assert len(document["medians"]) == 5
