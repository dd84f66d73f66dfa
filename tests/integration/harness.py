"""What the integration tests share: starting and stopping orderd, and talking to it.

    import harness

    def test_an_order_is_created_and_read():
        orderd = harness.Orderd("order.timeout_seconds=5")
        order = {"partner_code": "a", "partner_order_id": "1", "amount": 500}
        answer = orderd.post("/v1/orders", order)
        assert answer.status == 201, answer
        assert orderd.get("/v1/orders/" + answer.json["order_id"]).json == answer.json

    if __name__ == "__main__":
        harness.run(globals())

Every Orderd has a port and a data directory of its own. What a test leaves running is killed after
it. A test fails when an orderd of it reported a sanitizer's finding, crashed, or ended unasked.
ORDERD_BUILD_DIR says which build is tested (the directory build by default).
"""

import dataclasses
import email.utils
import functools
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
import tap  # noqa: E402

BUILD = pathlib.Path(os.environ.get("ORDERD_BUILD_DIR", ROOT / "build")).resolve()
READY_WITHIN_SECONDS = 60  # a sanitizer's build on a busy machine
STOPPED_WITHIN_SECONDS = 60
ANSWERED_WITHIN_SECONDS = 30
LOG_LINES_SHOWN = 60
SANITIZER_REPORT = re.compile(
    r"ERROR: AddressSanitizer|ERROR: LeakSanitizer|runtime error:|WARNING: ThreadSanitizer"
)

skip = tap.skip


@dataclasses.dataclass
class Answer:
    """One HTTP answer. `headers` has lower-case names; equal ones are joined with a comma."""

    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class Service:
    """Something on this machine that speaks the API: orderd, or what stands before it."""

    source = None  # the address that is spoken from, where it matters

    def __init__(self, port, source=None):
        self.port = port
        self.source = source

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def http_connection(self):
        """A connection for an HTTP library, not yet made."""
        return http.client.HTTPConnection(
            "127.0.0.1",
            self.port,
            timeout=ANSWERED_WITHIN_SECONDS,
            source_address=self.source and (self.source, 0),
        )

    def request(self, method, target, body=None, headers=None):
        """One request over a connection of its own. A body that is no bytes goes as JSON."""
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        connection = self.http_connection()
        try:
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            return Answer(response.status, joined(response.getheaders()), response.read())
        finally:
            connection.close()

    def get(self, target, headers=None):
        return self.request("GET", target, None, headers)

    def post(self, target, body, headers=None):
        return self.request("POST", target, body, headers)

    def patch(self, target, body, headers=None):
        return self.request("PATCH", target, body, headers)

    def connect(self):
        return Connection(self.port, self.source)


class Orderd(Service):
    """A running orderd. `settings` are --set arguments; `arguments` any others."""

    started = []  # those of the present test, for cleanup

    def __init__(self, *settings, arguments=(), data_dir=None, wait=True):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="orderd-"))
        self.data_dir = pathlib.Path(data_dir or self.home / "data")
        self.port = free_port()
        self.log_path = self.home / "stderr"
        self.settings = [
            f"server.listen=127.0.0.1:{self.port}",
            f"server.data_dir={self.data_dir}",
            *(["resp.listen="] if has_option("resp", "listen") else []),
            *settings,
        ]
        self.arguments = list(arguments)
        self.process = None
        self.end_asked = False
        Orderd.started.append(self)
        self.start(wait)

    def start(self, wait=True):
        """Starts it, again after a stop or a kill: on the same port and data."""
        assert self.process is None or self.process.poll() is not None, "it runs already"
        command = [program("orderd"), *self.arguments]
        for setting in self.settings:
            command += ["--set", setting]
        self.end_asked = False
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.home
            )
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self, seconds=READY_WITHIN_SECONDS):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                last = self.log().splitlines()[-3:]
                raise AssertionError(f"orderd ended at the start: {self.process.returncode}: {last}")
            try:
                if self.get("/readyz").status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.02)
        raise AssertionError(f"orderd is not ready after {seconds} s")

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self):
        """Asks it to end in order (SIGTERM). Returns its exit status."""
        self.end_asked = True
        self.process.terminate()
        return self.process.wait(STOPPED_WITHIN_SECONDS)

    def kill(self):
        """Ends it at once (SIGKILL), as a crash would."""
        self.end_asked = True
        self.process.kill()
        self.process.wait()

    def wait_for_end(self, seconds=STOPPED_WITHIN_SECONDS):
        """Waits for it to end by itself, as after a bad option. Returns its exit status."""
        self.end_asked = True
        return self.process.wait(seconds)

    def log(self):
        return self.log_path.read_text(errors="replace")

    def orderctl(self, *arguments, status=0):
        """Runs orderctl against it; fails on another exit status. Returns its standard output."""
        command = [program("orderctl"), *map(str, arguments), "--server", self.url]
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=STOPPED_WITHIN_SECONDS, check=False
        )
        assert result.returncode == status, (command, result)
        return result.stdout

    def close(self):
        """Ends it and looks at what it left behind. Returns what is wrong, or None."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        log = self.log() if self.log_path.exists() else ""
        report = SANITIZER_REPORT.search(log)
        if report:
            return f"a sanitizer's report: {log[report.start() : report.start() + 4000]}"
        if self.process is not None and self.process.returncode != 0 and not self.end_asked:
            return f"orderd ended by itself: {self.process.returncode}"
        if self.process is not None and -self.process.returncode in CRASHES:
            return f"orderd crashed: {signal.Signals(-self.process.returncode).name}"
        return None


CRASHES = {signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE}


class Connection:
    """A socket to orderd, for what an HTTP library would not send."""

    def __init__(self, port, source=None):
        self.socket = socket.create_connection(
            ("127.0.0.1", port), ANSWERED_WITHIN_SECONDS, source and (source, 0)
        )
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def receive(self):
        """Waits for more bytes; False at the end of the stream."""
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        self.received += data
        return bool(data)

    def take(self, size):
        while len(self.received) < size:
            assert self.receive(), f"the stream ended before {size} bytes: {self.received!r}"
        taken, self.received = self.received[:size], self.received[size:]
        return taken

    def take_line(self):
        while b"\r\n" not in self.received:
            assert self.receive(), f"the stream ended within a line: {self.received!r}"
        line, _, self.received = self.received.partition(b"\r\n")
        return line

    def read_answer(self, to_head=False):
        """Reads one answer, as strictly as orderd should write it."""
        line = self.take_line()
        match = re.fullmatch(rb"HTTP/1\.[01] (\d{3}) [ -~]*", line)
        assert match, f"no status line: {line!r}"
        status, pairs = int(match[1]), []
        while line := self.take_line():
            name, colon, value = line.decode("latin-1").partition(":")
            assert colon and re.fullmatch(r"[!#-'*+.^-z|~0-9A-Z-]+", name), f"no header: {line!r}"
            pairs.append((name, value.strip()))
        headers = joined(pairs)
        if status >= 200:  # RFC 9110, 6.6.1
            date = headers.get("date", "none")
            distance = email.utils.parsedate_to_datetime(date).timestamp() - time.time()
            assert len(date) == 29 and abs(distance) < 60, f"no date: {date}"
        if to_head or status < 200 or status in (204, 304):
            return Answer(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, self.take_chunks())
        if "content-length" in headers:
            return Answer(status, headers, self.take(int(headers["content-length"])))
        return Answer(status, headers, self.read_to_end())

    def take_chunks(self):
        body = b""
        while size := int(self.take_line(), 16):
            body += self.take(size)
            assert self.take_line() == b"", "a chunk without an end"
        while self.take_line():
            pass
        return body

    def read_to_end(self):
        while self.receive():
            pass
        taken, self.received = self.received, b""
        return taken

    def is_closed(self):
        """True when nothing more comes and the other side has closed."""
        return not self.received and not self.receive()

    def exchange(self, data):
        self.send(data)
        return self.read_answer()


def joined(pairs):
    headers = {}
    for name, value in pairs:
        name = name.lower()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def program(name):
    path = BUILD / name
    assert path.exists(), f"{path} is not built"
    return str(path)


@functools.lru_cache
def has_option(section, key):
    """True where this build of orderd has the option. (A stand-in that prints nothing has all.)"""
    command = [program("orderd"), "--print-config"]
    printed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    if not printed:
        return True
    lines = printed.partition(f"[{section}]\n")[2].partition("\n[")[0].splitlines()
    return any(line.partition("=")[0].strip() == key for line in lines)


def free_port():
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, seconds=30, what="it"):
    """Waits until condition() is true and returns its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)
    return value


def cleanup():
    """Ends what the test started; after a failure, shows what it logged."""
    failing = sys.exc_info()[0] not in (None, tap.Skipped)
    instances, Orderd.started = Orderd.started, []
    wrong = [problem for problem in (orderd.close() for orderd in instances) if problem]
    for orderd in instances:
        if failing or wrong:
            print(f"# what orderd on port {orderd.port} logged, its last lines:")
            for line in orderd.log().splitlines()[-LOG_LINES_SHOWN:]:
                print(f"#     {line}")
        shutil.rmtree(orderd.home, ignore_errors=True)
    assert not wrong, "; ".join(wrong)


def run(namespace):
    """Runs the test_ functions of a module; call it as run(globals())."""
    tap.run(namespace, cleanup)
