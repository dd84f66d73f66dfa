# run-tests: parallel
"""tools/test-stack takes nothing that did not run for a pass, and stops what it has started."""

import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
import tap

STATUS = """  mariadb-0  127.0.0.1:23306  answers, process 12, 100 MB
  redis-1    is down
  kafka      127.0.0.1:29092  does not answer (it is down), process 13, 200 MB
  cassandra  is down
"""
TESTS = "def test_one():\n    pass\n\n\ndef test_two():\n    pass\n"


def run(stack="", install="", tests="echo '2 passed, 0 failed, 0 skipped'"):
    """Runs the tool beside stand-ins that note their calls and then do what the shell texts say.
    Returns (exit status, standard output, calls)."""
    with tempfile.TemporaryDirectory() as directory:
        top = pathlib.Path(directory)
        for folder in ("tools", "deploy/stack", "tests/stack"):
            (top / folder).mkdir(parents=True)
        shutil.copy(ROOT / "tools" / "test-stack", top / "tools")
        (top / "tests" / "stack" / "test_a.py").write_text(TESTS)
        status = f"if [[ $1 == status ]]; then cat <<'END'\n{STATUS}END\nexit 3\nfi\n"
        stand_ins = {
            "tools/install-dependencies": install,
            "deploy/stack/stack": status + stack,
            "tools/run-tests": tests,
        }
        for name, text in stand_ins.items():
            note = f'echo "{pathlib.Path(name).name} $*" >> {top}/calls'
            (top / name).write_text(f"#!/bin/bash\n{note}\n{text}\n")
            (top / name).chmod(0o755)
        done = subprocess.run(
            [top / "tools" / "test-stack", "build", "--only", "x"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        calls = (top / "calls").read_text().splitlines()
    return done.returncode, done.stdout, calls


def last_line(output):
    return output.splitlines()[-1]


def test_it_stops_only_what_was_down_before():
    status, output, calls = run()
    assert status == 0 and last_line(output) == "2 passed, 0 failed, 0 skipped", output
    assert calls[-2:] == ["run-tests build --only x --folder stack", "stack stop redis-1 cassandra"]


def test_failed_tests_are_its_failure_and_the_servers_are_stopped():
    status, output, calls = run(tests="echo '1 passed, 1 failed, 0 skipped'; exit 1")
    assert status == 1 and last_line(output) == "1 passed, 1 failed, 0 skipped", output
    assert calls[-1] == "stack stop redis-1 cassandra", calls


def test_the_service_on_the_servers_rests_while_they_are_tested():
    stopped = "[[ $* != 'stop full' ]] || echo '  nginx      stopped'"
    _, _, calls = run(stack=stopped)
    assert calls.index("stack stop full") < calls.index("stack start"), calls
    assert calls[-2:] == ["stack start full", "stack stop redis-1 cassandra"], calls
    _, _, calls = run()
    assert "stack stop full" in calls and "stack start full" not in calls, calls


def test_without_packages_every_test_has_failed():
    status, output, calls = run(install="exit 1")
    assert status == 1 and last_line(output) == "0 passed, 2 failed, 0 skipped", output
    assert calls == ["install-dependencies stack"], calls


def test_without_downloads_every_test_has_failed():
    status, output, calls = run(stack="[[ $1 != fetch ]] || exit 75")
    assert status == 1 and last_line(output) == "0 passed, 2 failed, 0 skipped", output
    assert calls[-1] == "stack fetch", calls


def test_where_a_server_does_not_start_every_test_has_failed_and_the_others_are_stopped():
    status, output, calls = run(stack="[[ $1 != start ]] || exit 1")
    assert status == 1 and last_line(output) == "0 passed, 2 failed, 0 skipped", output
    assert calls[-2:] == ["stack start", "stack stop redis-1 cassandra"], calls


if __name__ == "__main__":
    tap.run(globals())
