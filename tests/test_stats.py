"""stats: figures that add up, percentiles within their promise, a file that node_exporter can read."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from queuekit import Program, program_in

from batchctl import histogram, metrics
from batchctl.console.spark import sparkline
from batchctl.metrics import EDGES, escaped
from batchctl.views.outages import Outage
from batchctl.views.stats import MOST_STEPS, begun

NOW = 1_800_000_000_000
DAY = 86_400_000


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Program]:
    with program_in(tmp_path, monkeypatch, capsys) as made:
        yield made


@given(st.integers(0, 100 * DAY))
def test_a_bucket_holds_what_is_in_its_bounds(ms: int) -> None:
    low, high = histogram.bounds(histogram.bucket_of(ms))
    assert low <= ms < high
    assert histogram.bucket_of(high) == histogram.bucket_of(ms) + 1


@given(st.lists(st.integers(0, DAY), min_size=1), st.sampled_from([0.5, 0.95, 1.0]))
def test_a_percentile_is_off_by_no_more_than_is_promised(lengths: list[int], share: float) -> None:
    buckets: dict[int, int] = {}
    for ms in lengths:
        bucket = histogram.bucket_of(ms)
        buckets[bucket] = buckets.get(bucket, 0) + 1
    exact = sorted(lengths)[max(0, -int(-share * len(lengths) // 1) - 1)]
    found = histogram.percentile(buckets, share)
    assert found is not None
    assert abs(found - exact) <= 0.0625 * exact


def test_no_attempts_have_no_percentile() -> None:
    assert histogram.percentile({}, 0.5) is None
    assert histogram.percentile({histogram.NONE: 3}, 0.5) is None


def test_the_edges_of_prometheus_buckets_are_edges_of_ours() -> None:
    for edge in EDGES:
        assert histogram.bounds(histogram.bucket_of(edge))[0] == edge


@given(st.integers(60_000, 400 * DAY))
def test_the_timeline_has_every_step_of_the_window(length: int) -> None:
    found = begun(NOW - length, NOW)
    times = [at for at, _ in found.timeline]
    assert 1 <= len(times) <= MOST_STEPS + 1
    assert times[0] == found.since <= NOW - length
    assert all(later - at == found.step for at, later in pairwise(times))
    assert times[-1] + found.step > NOW


def test_a_row_of_bars() -> None:
    assert sparkline([0, 1, 4, 8]) == " ▁▄█"
    assert sparkline([0, 0]) == "  "
    assert sparkline([]) == ""


def fill(program: Program) -> None:
    """acme: 2 completed, 1 failed, 1 in backoff, 1 pending; without an organization, another processor: 1 completed."""
    program.queue.add(5, org="acme", processor="p")
    one, two, three, four = program.queue.claim(4, "p")
    program.queue.complete(one)
    program.queue.complete(two)
    program.queue.fail(three)
    program.queue.retry_later(four)
    program.queue.add(1, user="bob", processor="q")
    program.queue.complete(*program.queue.claim(1, "q"))


def test_figures(program: Program) -> None:
    fill(program)
    answer = program("stats", "--json").json
    queue = {name: count for name, count in answer["queue"].items() if "oldest" not in name}
    assert queue == {"items": 2, "pending": 1, "waiting": 1, "processing": 0, "submitted": 0, "batches": 1}
    counts = {name: answer[name] for name in ("completed", "failed", "retried", "attempts", "success_percent")}
    assert counts == {"completed": 3, "failed": 1, "retried": 1, "attempts": 5, "success_percent": 75.0}
    assert (answer["mean_ms"], answer["p50_ms"], answer["p95_ms"]) == (5, 5.0, 5.0), "queuekit's items take 5 ms"
    by = {
        kind: {one["name"]: one["completed"] for one in answer[kind]}
        for kind in ("processors", "organizations", "users")
    }
    assert by == {
        "processors": {"p": 2, "q": 1},
        "organizations": {"acme": 2, None: 1},
        "users": {"ann": 2, "bob": 1},
    }
    assert sum(step["completed"] for step in answer["timeline"]) == 3
    assert program("stats", "--format", "json").json.keys() == answer.keys()


def test_only_an_organization(program: Program) -> None:
    fill(program)
    answer = program("stats", "--org", "acme", "--json").json
    assert answer["completed"] == 2
    assert [one["name"] for one in answer["processors"]] == ["p"]
    assert 'organization=""' not in program("stats", "--org", "acme", "--format", "prometheus").out


def test_only_a_window(program: Program) -> None:
    engine = program.queue.store.engine
    with pytest.MonkeyPatch.context() as patch:
        now = engine.now()
        patch.setattr(engine, "now", lambda: now - 30 * DAY)
        fill(program)
    program.queue.add(1, processor="late")
    program.queue.complete(*program.queue.claim(1, "late"))
    assert program("stats", "--json").json["completed"] == 1
    assert program("stats", "--since", "40d", "--json").json["completed"] == 4


def test_what_is_paused_waits(program: Program) -> None:
    fill(program)
    program("pause", "--processor", "p")
    assert program("stats", "--json").json["queue"]["waiting"] == 2


def test_for_people(program: Program) -> None:
    fill(program)
    out = program("stats").out
    assert "2 items in 1 batch (1 pending, 1 waiting)" in out
    assert "3 completed, 1 failed, 75.0% success, 1 retry" in out
    assert re.search(r"^p +2 .* 2 +1 +66\.7% +1 ", out, re.MULTILINE)
    assert "▕" not in out, "no bars in a pipe"


def test_an_empty_store_and_none(program: Program) -> None:
    assert "empty" in program("stats").out
    assert program("stats", "--json").json["completed"] == 0
    none = program("stats", "--store", "nowhere.db", "--json")
    assert (none.json["attempts"], none.json["queue"]["items"]) == (0, 0)
    assert "no store" in none.err
    assert "batchctl_workers 0" in program("stats", "--store", "nowhere.db", "--format", "prometheus").out
    assert not Path("nowhere.db").exists()


SAMPLE = re.compile(r'(batchctl_\w+)(?:\{((?:\w+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (-?[\d.]+(?:e[+-]?\d+)?)')


def test_prometheus(program: Program) -> None:
    fill(program)
    program.queue.add(1, org='a "b"\\c')
    text = program("stats", "--format", "prometheus").out
    types: dict[str, str] = {}
    values: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in types, "a family stands in one place"
            types[name] = kind
        elif not line.startswith("# HELP "):
            match = SAMPLE.fullmatch(line)
            assert match, line
            family = re.sub(r"_(bucket|sum|count)$", "", match[1]) if match[1] not in types else match[1]
            assert family in types, line
            values[line.rpartition(" ")[0]] = float(match[3])
    assert types["batchctl_attempts_total"] == "counter"
    assert types["batchctl_completed_attempt_duration_seconds"] == "histogram"
    assert values['batchctl_attempts_total{processor="p",organization="acme",outcome="completed"}'] == 2
    assert values['batchctl_items{processor="p",organization="acme",state="waiting"}'] == 1
    buckets = [value for name, value in values.items() if '_bucket{processor="p"' in name]
    assert buckets == sorted(buckets)
    assert buckets[-1] == 2
    assert r'organization="a \"b\"\\c"' in text


def test_prometheus_names_what_is_down() -> None:
    def outage(since: int) -> Outage:
        return Outage("p", "https://erp.example.com", since, gates=True, probe_at=None, error="503")

    sample = 'batchctl_outage_age_seconds{processor="p",origin="https://erp.example.com"}'
    assert f"{sample} 90.0\n" in metrics.text({}, {}, metrics.Facts("1", 100_000, 0, outages=[outage(10_000)]))
    assert f"{sample} 0.0\n" in metrics.text({}, {}, metrics.Facts("1", 100_000, 0, outages=[outage(100_001)])), (
        "a clock set back"
    )
    assert sample not in metrics.text({}, {}, metrics.Facts("1", 100_000, 0))


def test_escaping() -> None:
    assert escaped('a"b\\c\nd') == r"a\"b\\c\nd"


def test_a_textfile_is_replaced_as_a_whole_and_readable_by_others(program: Program, tmp_path: Path) -> None:
    fill(program)
    old = os.umask(0o077)  # as cron may have it
    try:
        program("stats", "--format", "prometheus", "-o", "b.prom")
    finally:
        os.umask(old)
    path = tmp_path / "b.prom"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    before = path.stat().st_ino
    program("stats", "--format", "prometheus", "-o", "b.prom")
    assert path.stat().st_ino != before
    assert [found.name for found in tmp_path.iterdir() if "prom" in found.name] == ["b.prom"]
    assert "batchctl_info" in path.read_text()


def test_refusals(program: Program) -> None:
    assert "xml" in program("stats", "--format", "xml", code=2).err
    assert "prometheus" in program("stats", "-o", "x", code=2).err
    assert "cannot write" in program("stats", "--format", "prometheus", "-o", "no/where.prom", code=2).err
