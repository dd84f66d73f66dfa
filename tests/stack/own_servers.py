"""A MariaDB and a Kafka of a test's own, in a directory of its own, that it may kill.

Kafka's class path is that of `make stack` (build/stack/cache/kafka, or STACK_CACHE/kafka).
"""

import getpass
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy" / "stack"))
from stacklib.kafka import new_cluster_id  # noqa: E402

CACHE = pathlib.Path(os.environ.get("STACK_CACHE") or ROOT / "build" / "stack" / "cache")
SCHEMA = ROOT / "deploy" / "schema" / "mysql" / "001_orders.sql"
READY_WITHIN_SECONDS = 120


class ServerError(Exception):
    """A server that does not start."""


def missing():
    """What is not there that the servers need, as one line, or None."""
    for name in ("mariadbd", "mariadb-install-db", "mariadb", "java", "kcat"):
        if shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin") is None:
            return f"no {name}"
    if not any((CACHE / "kafka").glob("kafka_*.jar")):
        return f"no Kafka in {CACHE}/kafka (make stack fetches it)"
    return None


def free_port():
    """A port below those of outgoing connections, which nobody listens on now."""
    for number in range(20000 + os.getpid() % 5000, 32000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", number))
            except OSError:
                continue
        if number not in free_port.given:
            free_port.given.add(number)
            return number
    raise ServerError("no free port")


free_port.given = set()


def wait_for(condition, what, seconds=READY_WITHIN_SECONDS):
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise ServerError(f"{what}: not within {seconds} s")
        time.sleep(0.05)


def is_listening(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


class Server:
    def __init__(self, name, directory):
        self.name = name
        self.directory = pathlib.Path(directory) / name
        self.directory.mkdir(parents=True)
        self.port = free_port()
        self.process = None

    def start(self):
        log = open(self.directory / "log", "ab")
        self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        log.close()

        def ready():
            if self.process.poll() is not None:
                tail = (self.directory / "log").read_text(errors="replace")[-3000:]
                raise ServerError(f"{self.name} ended at its start:\n{tail}")
            return is_listening(self.port) and self.answers()

        wait_for(ready, self.name)

    def answers(self):
        return True

    def kill(self):
        """As when the machine loses it: no goodbye."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None


class MariaDb(Server):
    """Sockets are left out: everything goes over TCP, as orderd does."""

    def __init__(self, directory, **settings):
        super().__init__("mariadb", directory)
        data = self.directory / "data"
        lines = {
            "datadir": data,
            "socket": self.directory / "socket",
            "tmpdir": self.directory,  # a server removes what others have in a shared one
            "port": self.port,
            "bind-address": "127.0.0.1",
            "user": getpass.getuser(),
            "log-bin": "orders",
            "binlog-format": "ROW",
            "binlog-row-image": "FULL",
            "binlog-row-metadata": "FULL",
            "sync-binlog": 1,
            "innodb-flush-log-at-trx-commit": 1,
            "server-id": 1,
            "gtid_strict_mode": 1,
            "innodb-buffer-pool-size": "256M",
            "innodb-log-file-size": "256M",
            "skip-name-resolve": 1,
            **settings,
        }
        self.conf = self.directory / "my.cnf"
        self.conf.write_text("[mysqld]\n" + "".join(f"{k} = {v}\n" for k, v in lines.items()))
        subprocess.run(
            ["mariadb-install-db", f"--defaults-file={self.conf}", "--skip-test-db",
             "--auth-root-authentication-method=normal", f"--user={getpass.getuser()}"],
            check=True, capture_output=True,
        )
        self.start()
        self.sql("CREATE DATABASE orders", database="")
        self.sql(SCHEMA.read_text())
        self.sql("INSERT INTO settings VALUES ('schema_version', '1'), ('shards', '1'), ('shard', '0')")
        self.sql("CREATE USER orderd@'127.0.0.1' IDENTIFIED BY 'secret'; "
                 "GRANT ALL ON orders.* TO orderd@'127.0.0.1'; "
                 "GRANT REPLICATION SLAVE ON *.* TO orderd@'127.0.0.1'")

    def command(self):
        return [shutil.which("mariadbd", path=os.environ["PATH"] + ":/usr/sbin"),
                f"--defaults-file={self.conf}"]

    def client(self, database="orders"):
        return ["mariadb", "--no-defaults", "-h", "127.0.0.1", "-P", str(self.port), "-u", "root",
                "-N", "-B", *([database] if database else [])]

    def answers(self):
        return subprocess.run([*self.client(""), "-e", "SELECT 1"], capture_output=True,
                              check=False).returncode == 0

    def sql(self, text, database="orders"):
        """Runs statements; the rows of the last ones as lists of texts."""
        done = subprocess.run(self.client(database), input=text, capture_output=True, text=True,
                              check=False)
        if done.returncode != 0:
            raise ServerError(f"{done.stderr.strip()}: {text[:200]}")
        return [line.split("\t") for line in done.stdout.splitlines()]


class Kafka(Server):
    def __init__(self, directory):
        super().__init__("kafka", directory)
        controller = free_port()
        self.conf = self.directory / "server.properties"
        self.conf.write_text(f"""
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={self.directory / "data"}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=2000
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
""")
        subprocess.run([*self.java(), "kafka.tools.StorageTool", "format", "-t", new_cluster_id(), "-c",
                        str(self.conf)], check=True, capture_output=True)
        self.start()

    @staticmethod
    def java():
        return ["java", "-Xmx384m", "-XX:+UseSerialGC", "-cp", f"{CACHE / 'kafka'}/*"]

    def command(self):
        return [*self.java(), "kafka.Kafka", str(self.conf)]

    def answers(self):
        return subprocess.run(["kcat", "-b", self.address, "-L", "-m", "2"], capture_output=True,
                              check=False).returncode == 0

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def read(self, topic, form):
        """Everything that is in a topic now, as bytes in kcat's format `form`."""
        return subprocess.run(
            ["kcat", "-b", self.address, "-C", "-q", "-e", "-o", "beginning", "-t", topic, "-f", form],
            capture_output=True, check=True, timeout=120,
        ).stdout

    def write(self, topic, lines):
        subprocess.run(["kcat", "-b", self.address, "-P", "-t", topic],
                       input="\n".join(lines) + "\n", text=True, check=True, timeout=60)


class Servers:
    """`with Servers() as servers:` has servers.mariadb and servers.kafka."""

    def __init__(self, kafka=True, **settings):
        self.settings = settings
        self.with_kafka = kafka
        self.running = []

    def __enter__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="orderd-relay-"))
        try:
            self.mariadb = MariaDb(self.directory, **self.settings)
            self.running.append(self.mariadb)
            if self.with_kafka:
                self.kafka = Kafka(self.directory)
                self.running.append(self.kafka)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for server in self.running:
            server.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
