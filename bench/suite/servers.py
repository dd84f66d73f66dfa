"""The servers that are compared: each on loopback, on its own core, with a data directory of its
own, and gone when the bench ends."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

READY_WITHIN_SECONDS = 120
STOPPED_WITHIN_SECONDS = 60
SETTLED_WITHIN_SECONDS = 60

# memory.budget_mb that has room for a number of orders and not much more: the table, and the filter
# of archived references.
BUDGET_BYTES_AN_ORDER = 158
BUDGET_BYTES_BESIDE = 42 << 20


class Wrong(Exception):
    """Something did not answer as it must: the bench fails, and says so."""


def cores():
    """The core of the servers and the core of the load; the same one where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[1 if len(usable) > 1 else 0]


SERVER_CORE, LOAD_CORE = cores()


def pinned(core, *command):
    return ["taskset", "-c", str(core), *map(str, command)]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Wrong(f"{what}: not within {seconds} s")
        time.sleep(0.005)


class Server:
    """A process on the servers' core. Its output goes to a file in its directory."""

    def __init__(self, name, directory):
        self.name = name
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.process = None

    def launch(self, *command, core=SERVER_CORE):
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                pinned(core, *command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def check_alive(self):
        if self.process.poll() is not None:
            log = (self.directory / "log").read_text(errors="replace").splitlines()[-5:]
            raise Wrong(f"{self.name} ended: {self.process.returncode}: {' | '.join(log)}")

    def stop(self, how=signal.SIGTERM):
        """Ends it, and waits for its end."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(STOPPED_WITHIN_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def remove(self):
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2]
        user, system = fields.split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self):
        pages = pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def settle(self):
        """Waits until it has nothing left to do: what it does after a load is not measured."""
        deadline = time.monotonic() + SETTLED_WITHIN_SECONDS
        while time.monotonic() < deadline:
            before = self.cpu_seconds()
            time.sleep(0.5)
            if self.cpu_seconds() - before < 0.04:
                return


class Orderd(Server):
    """orderd with one network thread."""

    def __init__(self, build, directory, orders, *settings):
        super().__init__("orderd", directory)
        self.build = pathlib.Path(build)
        self.port = free_port()
        self.resp_port = free_port()
        self.ids = self.directory / "ids"
        self.orders = 0
        budget_mb = (orders * BUDGET_BYTES_AN_ORDER + BUDGET_BYTES_BESIDE) // (1 << 20) + 1
        self.settings = [
            f"server.listen=127.0.0.1:{self.port}",
            f"resp.listen=127.0.0.1:{self.resp_port}",
            f"server.data_dir={self.directory / 'data'}",
            "server.threads=1",
            f"memory.budget_mb={budget_mb}",
            "order.timeout_seconds=86400",  # nothing becomes final while it is measured
            *settings,
        ]
        self.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        """Returns how long it took until it was ready."""
        command = [self.build / "orderd"]
        for setting in self.settings:
            command += ["--set", setting]
        begun = time.monotonic()
        self.launch(*command)
        wait_for(self.is_ready, READY_WITHIN_SECONDS, "orderd ready")
        return time.monotonic() - begun

    def is_ready(self):
        self.check_alive()
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return answer.status == 200
        except (OSError, urllib.error.URLError):
            return False

    def get(self, target):
        with urllib.request.urlopen(self.url + target, timeout=30) as answer:
            return answer.read()

    def metric(self, name):
        for line in self.get("/metrics").decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        raise Wrong(f"orderd has no metric {name}")

    def bench(self, kind, *arguments):
        """Runs `orderctl bench` against it on the load's core; a wrong answer is an error."""
        command = [self.build / "orderctl", "bench", kind, *arguments, "--server", self.url]
        return run_json(pinned(LOAD_CORE, *command, "--json"))

    def load(self, count):
        result = self.bench("load", "--orders", count, "--ids", self.ids)
        self.orders = count
        self.check_orders()
        self.settle()
        return result

    def check_orders(self):
        """Expects that it has all of its orders. The metric follows a moment later."""
        what = f"orderd with {self.orders} orders"
        wait_for(lambda: self.metric("orderd_process_orders") == self.orders, 10, what)

    def read_ids(self):
        return read_ids(self.ids)


def read_ids(path):
    """The ids of a file that `orderctl bench load --ids` has written."""
    data = pathlib.Path(path).read_bytes()
    return [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), 8)]


class Redis(Server):
    """One Redis, without persistence."""

    def __init__(self, directory):
        super().__init__("redis", directory)
        self.port = free_port()
        self.launch("redis-server", "--port", self.port, "--bind", "127.0.0.1", "--save", "",
                    "--appendonly", "no", "--dir", self.directory)  # fmt: skip
        wait_for(self.is_ready, READY_WITHIN_SECONDS, "redis ready")

    def is_ready(self):
        self.check_alive()
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16) == b"+PONG\r\n"
        except OSError:
            return False

    def used_memory(self):
        with socket.create_connection(("127.0.0.1", self.port), 30) as connection:
            file = connection.makefile("rb")
            connection.sendall(b"INFO memory\r\n")
            text = file.read(int(file.readline()[1:])).decode()
        return next(int(line[12:]) for line in text.splitlines() if line.startswith("used_memory:"))

    def fill(self, orderd):
        """Gives it the same values under the same keys: what orderd's MGET answers."""
        keys = [b"%d" % order_id for order_id in orderd.read_ids()]
        with socket.create_connection(("127.0.0.1", orderd.resp_port), 30) as source:
            with socket.create_connection(("127.0.0.1", self.port), 30) as sink:
                file = source.makefile("rb", 1 << 20)
                for at in range(0, len(keys), 500):
                    copy_values(source, file, sink, keys[at : at + 500])


def resp_string(data):
    return b"$%d\r\n%s\r\n" % (len(data), data)


def copy_values(source, file, sink, keys):
    source.sendall(b"*%d\r\n$4\r\nMGET\r\n" % (len(keys) + 1) + b"".join(map(resp_string, keys)))
    if file.readline() != b"*%d\r\n" % len(keys):
        raise Wrong("orderd did not answer MGET")
    sets = []
    for key in keys:
        size = int(file.readline()[1:])
        if size < 0:
            raise Wrong(f"orderd does not have the order {key.decode()}")
        value = file.read(size + 2)[:-2]
        sets.append(b"*3\r\n$3\r\nSET\r\n" + resp_string(key) + resp_string(value))
    sink.sendall(b"".join(sets))
    expected = b"+OK\r\n" * len(keys)
    replies = b""
    while len(replies) < len(expected) and (got := sink.recv(len(expected) - len(replies))):
        replies += got
    if replies != expected:
        raise Wrong("redis did not take every value")


NGINX_CONFIGURATION = """
daemon off;
user root;
worker_processes 1;
pid {directory}/pid;
error_log {directory}/errors;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_requests 100000000;
    open_file_cache max=1000 inactive=60s;
    open_file_cache_valid 600s;
    types {{ application/json json; }}
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{ listen 127.0.0.1:{port} backlog=1024; root {directory}/files; }}
}}
"""


class Nginx(Server):
    """nginx with one worker that serves one static JSON file."""

    def __init__(self, directory, document):
        super().__init__("nginx", directory)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/order.json"
        (self.directory / "files").mkdir()
        (self.directory / "files/order.json").write_bytes(document)
        text = NGINX_CONFIGURATION.format(directory=self.directory, port=self.port)
        if os.geteuid() != 0:
            text = text.replace("user root;\n", "")
        (self.directory / "nginx.conf").write_text(text)
        self.launch("nginx", "-p", self.directory, "-c", self.directory / "nginx.conf")
        wait_for(self.is_ready, READY_WITHIN_SECONDS, "nginx ready")

    def is_ready(self):
        self.check_alive()
        try:
            return bool(fetch(self.url))
        except (OSError, urllib.error.URLError):
            return False


def fetch(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read()


def run_json(command):
    """Runs a program that prints one JSON object; an error or a wrong answer is an exception."""
    result = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=600, check=False
    )
    try:
        document = json.loads(result.stdout)
    except ValueError:
        document = {}
    if result.returncode != 0 or document.get("errors", 0) != 0 or not document:
        said = (result.stderr or result.stdout).strip()[-500:]
        raise Wrong(f"{' '.join(map(str, command[3:6]))}: {document.get('first_error', said)}")
    if document.get("ops") == 0:
        raise Wrong(f"{' '.join(map(str, command[3:6]))}: nothing was answered: {document}")
    return document
