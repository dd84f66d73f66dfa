# run-tests: parallel
"""The integration tests' harness sees what goes wrong in an orderd, here a stand-in for one."""

import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
import tap

# Takes --set server.listen=..., answers every GET with "ok", and does what the path says.
STAND_IN = f'''#!{sys.executable}
import http.server, os, signal, sys

settings = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
if "fail.start" in settings:
    sys.exit("a bad option")
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/abort":
            os.abort()
        if self.path == "/exit":
            os._exit(3)
        if self.path == "/report":
            print("a.c:1:2: runtime error: shift exponent", file=sys.stderr, flush=True)
        if self.path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"3\\r\\nabc\\r\\n2\\r\\nde\\r\\n0\\r\\n\\r\\n")
            return
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

host, port = settings["server.listen"].split(":")
http.server.HTTPServer((host, int(port)), Handler).serve_forever()
'''

HEAD = """import harness

def answered(function):
    try:
        return function()
    except (OSError, AssertionError, harness.http.client.HTTPException):
        return None

"""


def outcome(body):
    """Runs a module with these tests; returns its TAP points and all of its output."""
    with tempfile.TemporaryDirectory() as directory:
        top = pathlib.Path(directory)
        (top / "orderd").write_text(STAND_IN)
        (top / "orderd").chmod(0o755)
        module = top / "module.py"
        module.write_text(f"{HEAD}{body}\nharness.run(globals())\n")
        search = str(ROOT / "tests" / "integration")
        environment = {**os.environ, "ORDERD_BUILD_DIR": directory, "PYTHONPATH": search}
        result = subprocess.run(
            [sys.executable, module],
            env={**environment, "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": directory},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        left = [path.name for path in top.iterdir() if path.name.startswith("orderd-")]
    assert not left, f"left behind: {left}"
    points = [line for line in result.stdout.splitlines() if "ok " in line[:7]]
    assert (result.returncode == 0) == all(point.startswith("ok") for point in points)
    return points, result.stdout + result.stderr


def test_a_well_behaved_orderd_passes():
    points, output = outcome(
        """
def test_stop():
    orderd = harness.Orderd()
    assert orderd.get("/").body == b"ok"
    assert orderd.stop() == 0

def test_left_running():
    harness.Orderd()

def test_kill_and_start_again():
    orderd = harness.Orderd()
    orderd.kill()
    orderd.start()
    assert orderd.get("/").status == 200

def test_skip():
    harness.skip("not here")
"""
    )
    assert len(points) == 4 and all(point.startswith("ok") for point in points), output
    assert points[3].endswith("# SKIP not here"), points


def test_a_raw_connection_reads_pipelined_answers():
    points, output = outcome(
        """
def test_raw():
    with harness.Orderd().connect() as connection:
        get = b"GET %s HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"
        connection.send(get % b"/" + get % b"/chunked" + get % b"/")
        assert connection.read_answer().body == b"ok"
        assert connection.read_answer().body == b"abcde"
        assert connection.read_answer().body == b"ok"
"""
    )
    assert points == ["ok 1 - raw"], output


def test_what_goes_wrong_in_orderd_fails_the_test():
    points, output = outcome(
        """
def test_report():
    harness.Orderd().get("/report")

def test_abort():
    orderd = harness.Orderd()
    answered(lambda: orderd.get("/abort"))
    orderd.wait_for_end()

def test_exit():
    orderd = harness.Orderd()
    answered(lambda: orderd.get("/exit"))
    orderd.process.wait()

def test_start():
    harness.Orderd("fail.start=1")
"""
    )
    assert len(points) == 4 and all(point.startswith("not ok") for point in points), output
    for part in ("a sanitizer's report", "SIGABRT", "ended by itself: 3", "a bad option"):
        assert part in output, output


if __name__ == "__main__":
    tap.run(globals())
