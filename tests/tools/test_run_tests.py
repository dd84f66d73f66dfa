# run-tests: parallel
"""tools/run-tests counts what passed, and takes nothing that went wrong for a pass."""

import json
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
import tap


def run(programs, *arguments, sanitizer="none", scripts=None, timeout=20, protocol="tap"):
    """Runs the tool over programs, {name: shell text or command}. Returns (status, output)."""
    with tempfile.TemporaryDirectory() as directory:
        top = pathlib.Path(directory)
        information = top / "build" / "meson-info"
        information.mkdir(parents=True)
        tests = []
        for name, text in programs.items():
            tests.append(
                {
                    "name": name,
                    "suite": ["orderd:unit"],
                    "cmd": ["bash", "-c", text] if isinstance(text, str) else text,
                    "env": {"FROM_MESON": "yes"},
                    "workdir": None,
                    "timeout": timeout,
                    "is_parallel": name.startswith("parallel"),
                    "protocol": protocol,
                }
            )
        (information / "intro-tests.json").write_text(json.dumps(tests))
        options = [{"name": "b_sanitize", "value": sanitizer}]
        (information / "intro-buildoptions.json").write_text(json.dumps(options))
        for name, text in (scripts or {}).items():
            path = top / "tests" / ("" if "/" in name else "integration") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        tool = [sys.executable, ROOT / "tools" / "run-tests"]
        result = subprocess.run(
            [*tool, top / "build", "--source", top, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
    return result.returncode, result.stdout


def expect(result, status, last_line, *parts):
    assert result[0] == status, result
    assert result[1].splitlines()[-1] == last_line, result[1]
    for part in parts:
        assert part in result[1], result[1]


GOOD = "echo 1..2; echo ok 1 - a; echo ok 2 - b"


def test_passed_tests_are_summed_up():
    expect(run({"a": GOOD, "parallel": GOOD}), 0, "4 passed, 0 failed, 0 skipped")


def test_the_plan_may_stand_at_the_end():
    expect(run({"a": "echo ok 1; echo 1..1"}), 0, "1 passed, 0 failed, 0 skipped")


def test_a_failed_point_fails_and_its_output_is_shown():
    program = "echo 1..2; echo ok 1 - a; echo '# why it failed'; echo not ok 2 - b"
    result = run({"a": program, "parallel": GOOD})
    expect(result, 1, "3 passed, 1 failed, 0 skipped", "# why it failed", "--only unit/a")


def test_output_of_what_passed_is_not_shown():
    assert "loud" not in run({"a": GOOD + "; echo loud >&2"})[1]


def test_missing_points_fail():
    result = run({"a": "echo 1..3; echo ok 1"})
    expect(result, 1, "1 passed, 2 failed, 0 skipped", "3 tests planned")


def test_points_without_a_plan_fail():
    expect(run({"a": "echo ok 1"}), 1, "1 passed, 1 failed, 0 skipped", "no plan")
    expect(run({"a": "true"}), 1, "0 passed, 1 failed, 0 skipped", "no plan")


def test_more_points_than_planned_fail():
    expect(run({"a": "echo 1..1; echo ok 1; echo ok 2"}), 1, "2 passed, 1 failed, 0 skipped")


def test_a_crash_fails_even_after_the_last_point():
    expect(run({"a": GOOD + "; kill -SEGV $$"}), 1, "2 passed, 1 failed, 0 skipped", "SIGSEGV")
    expect(run({"a": GOOD + "; exit 3"}), 1, "2 passed, 1 failed, 0 skipped", "exit status 3")


def test_a_program_that_cannot_start_fails():
    result = run({"a": ["/nonexistent/program"], "b": GOOD})
    expect(result, 1, "2 passed, 1 failed, 0 skipped", "cannot be started")


def test_a_program_without_end_fails_and_its_children_end():
    begin = time.monotonic()
    result = run({"a": "echo 1..1; sleep 100 & sleep 100; echo ok 1"}, timeout=1)
    expect(result, 1, "0 passed, 1 failed, 0 skipped", "out of time after 1 s")
    assert time.monotonic() - begin < 20


def test_what_a_test_leaves_running_is_ended():
    with tempfile.NamedTemporaryFile() as note:
        program = f"sleep 100 & echo $! > {note.name}; {GOOD}"
        expect(run({"a": program}), 0, "2 passed, 0 failed, 0 skipped")
        left = int(note.read())
    state = pathlib.Path(f"/proc/{left}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z", "it still runs"


def test_skipped_tests_are_counted_and_said():
    program = "echo 1..3; echo ok 1 '# SKIP no root'; echo 'not ok 2 # SKIP'; echo ok 3"
    expect(run({"a": program}), 0, "1 passed, 0 failed, 2 skipped", "no root")
    whole = run({"a": "echo '1..0 # SKIP no server'"})
    expect(whole, 0, "0 passed, 0 failed, 1 skipped", "no server")


def test_a_report_of_a_sanitizer_fails():
    for report in (
        "==1==ERROR: AddressSanitizer: heap-use-after-free",
        "WARNING: ThreadSanitizer: data race",
        "src/a.c:1:2: runtime error: shift exponent 64 is too large",
    ):
        result = run({"a": f"{GOOD}; echo '{report}' >&2"})
        expect(result, 1, "2 passed, 1 failed, 0 skipped", "a sanitizer's report")


def test_a_program_judged_by_its_exit_status_is_one_test():
    programs = {"a": "true", "b": "exit 1", "c": "exit 77"}
    expect(run(programs, protocol="exitcode"), 1, "1 passed, 1 failed, 1 skipped")


def test_a_sanitizer_build_gets_more_time():
    slow = {"a": "sleep 2; " + GOOD}
    expect(run(slow, timeout=1), 1, "0 passed, 1 failed, 0 skipped", "out of time after 1 s")
    expect(run(slow, timeout=1, sanitizer="thread"), 0, "2 passed, 0 failed, 0 skipped")


def test_a_filter_chooses_by_name():
    expect(run({"one": GOOD, "two": "exit 1"}, "--only", "one"), 0, "2 passed, 0 failed, 0 skipped")
    expect(run({"one": GOOD}, "--only", "none"), 1, "0 passed, 1 failed, 0 skipped", "no test has")


def test_scripts_are_found_and_say_how_they_want_to_run():
    slow = "# run-tests: parallel, timeout=1\nimport time\nprint('1..1')\ntime.sleep(30)\n"
    good = "print('1..1')\nprint('ok 1')\n"
    result = run({}, scripts={"test_slow.py": slow, "test_good.py": good, "harness.py": "1/0\n"})
    expect(result, 1, "1 passed, 1 failed, 0 skipped", "integration/slow", "out of time after 1 s")


def test_scripts_that_need_servers_run_only_when_their_folder_is_named():
    good = "print('1..1')\nprint('ok 1')\n"
    scripts = {"test_good.py": good, "stack/test_servers.py": good + "print('1..9')\n"}
    expect(run({"a": GOOD}, scripts=scripts), 0, "3 passed, 0 failed, 0 skipped", "integration/good")
    named = run({"a": GOOD}, "--folder", "stack", scripts=scripts)
    expect(named, 1, "1 passed, 1 failed, 0 skipped", "stack/servers", "more than one plan")


def test_a_test_gets_its_settings_and_a_scratch_directory():
    checks = '[ "$FROM_MESON" = yes ] && [ -d "$TMPDIR" ] && [ -d "$ORDERD_BUILD_DIR" ]'
    expect(run({"a": f"{checks} && {{ {GOOD}; }}"}), 0, "2 passed, 0 failed, 0 skipped")


if __name__ == "__main__":
    tap.run(globals())
