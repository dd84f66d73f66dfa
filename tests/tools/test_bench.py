"""The tool that measures: what it makes of numbers, and that a wrong answer is a failure."""

import csv
import json
import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "bench")]
sys.dont_write_bytecode = True
import tap  # noqa: E402
from suite import plots, report, servers  # noqa: E402

RUN = ROOT / "bench/run"


def row(**settings):
    return report.Row(**{"name": "a", "title": "A", "unit": "/s", **settings})


def test_a_row_has_medians_a_ratio_and_the_larger_spread():
    made = row(ours=[90, 100, 130], peer=[50, 40, 45], peer_name="P")
    assert (made.ours_median, made.peer_median) == (100, 45)
    assert abs(made.ratio - 100 / 45) < 1e-9
    assert abs(made.spread - 0.4) < 1e-9
    assert made.cells()[1:4] == ["100 /s", "45 /s (P)", "2.22 ×"]


def test_a_goal_is_judged_on_the_side_that_it_is_for():
    assert row(ours=[100], goal=100).verdict == "reached"
    assert row(ours=[99], goal=100).verdict == report.BELOW_GOAL
    assert row(ours=[99], goal=100, less_is_better=True).verdict == "reached"
    assert row(ours=[101], goal=100, less_is_better=True).verdict == report.BELOW_GOAL
    assert row(ours=[300], peer=[100], goal=2, goal_is_ratio=True).verdict == "reached"
    assert row(ours=[199], peer=[100], goal=2, goal_is_ratio=True).verdict == report.BELOW_GOAL
    assert row(ours=[5]).verdict == ""


def test_a_wrong_answer_counts_more_than_a_goal():
    assert row(ours=[300], goal=100, error="order 7 has another amount").verdict == report.WRONG
    assert row(error="nothing was measured").cells()[1] == ""


def test_numbers_have_three_digits_and_a_unit():
    shown = {
        (23_456_789, "/s"): "23.5 M/s",
        (412_345, "/s"): "412 k/s",
        (950, "/s"): "950 /s",
        (3.3e9, "B/s"): "3.3 GB/s",
        (146.3, "B"): "146 B",
        (2.084, "s"): "2.08 s",
        (1234.5, "us"): "1,234 µs",
    }
    for (value, unit), text in shown.items():
        assert report.number_text(value, unit) == text, (value, unit)


def test_json_and_csv_have_every_run():
    rows = [row(ours=[1, 2, 3], peer=[4, 5, 6], peer_name="P"), row(name="b", error="bad")]
    with tempfile.TemporaryDirectory() as directory:
        out = pathlib.Path(directory)
        report.write_json(out / "r.json", {"date": "now"}, rows, {"growth": {10: {1: 5.0}}})
        report.write_csv(out / "r.csv", rows)
        document = json.loads((out / "r.json").read_text())
        lines = list(csv.reader((out / "r.csv").open()))
    assert document["rows"][0]["ours"] == [1, 2, 3] and document["rows"][0]["ratio"] == 0.4
    assert document["rows"][1]["verdict"] == report.WRONG
    assert lines[1:] == [["a", "/s", side, str(run + 1), str(value)]
                         for side, first in (("orderd", 1), ("P", 4))
                         for run, value in enumerate(range(first, first + 3))]  # fmt: skip


def test_plots_are_well_formed():
    rows = [row(ours=[3], peer=[2], peer_name="a < b"), row(ours=[1])]
    series = {"10 orders": [(1, 5.0), (8, 70.0)], "one": [(1, 1.0)]}
    for text in (plots.comparisons(rows), plots.comparisons([]),
                 plots.lines("t", "/s", "x", series), plots.lines("t", "/s", "x", {})):  # fmt: skip
        assert xml.etree.ElementTree.fromstring(text).tag.endswith("svg")


def test_labels_that_would_cover_each_other_are_moved_apart():
    assert plots.spread_apart([100, 102, 50]) == [100, 117, 50]
    assert plots.spread_apart([10, 60]) == [10, 60]


def test_a_program_that_finds_wrong_answers_ends_the_comparison():
    for code in ("print('{\"errors\": 2, \"first_error\": \"order 7\"}')", "print('no JSON')",
                 "import sys; print('{\"errors\": 0}'); sys.exit(1)", "pass",
                 "print('{\"errors\": 0, \"ops\": 0}')"):  # fmt: skip
        try:
            servers.run_json([sys.executable, "-c", code])
        except servers.Wrong:
            continue
        raise AssertionError(f"taken as right: {code}")
    assert servers.run_json([sys.executable, "-c", "print('{\"errors\": 0}')"]) == {"errors": 0}


def test_the_bench_names_its_rows_and_refuses_others():
    listed = subprocess.run([RUN, "--list"], capture_output=True, text=True, check=True).stdout.split()
    assert "resp-get" in listed and len(listed) == len(set(listed))
    refused = subprocess.run(
        [RUN, "--only", "no-such-row"], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2 and "no-such-row" in refused.stderr


def test_the_document_has_a_place_for_the_report():
    text = (ROOT / "docs/performance.md").read_text()
    begin, end = text.find("<!-- bench: begin -->"), text.find("<!-- bench: end -->")
    assert 0 < begin < end


if __name__ == "__main__":
    tap.run(globals())
