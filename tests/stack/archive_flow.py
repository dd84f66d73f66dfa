"""The archive pipeline as a process of its own on the real servers (archive_host.c), with a keyspace of
its own.

    with archive_flow.Host() as host:
        host.opened().create(1000)
        host.run_until_empty()
"""

import json
import signal
import subprocess
import tempfile
import time

import homes
import stack_harness as stack
import harness  # found by stack_harness

KEYSPACE = "archive_flow"
SETTINGS = {
    "kafka.session_timeout_ms": 1000,  # who was killed is not waited for
    "archive.settle_seconds": 2,
    "archive.scan_every_seconds": 3,
    "archive.scan_after_seconds": 3,
    "cassandra.keyspace": KEYSPACE,
    "cassandra.replication": "datacenter1:1",
    "cassandra.request_timeout_ms": 2000,
    "cassandra.attempt_timeout_ms": 1000,
    "cassandra.reconnect_ms_max": 1000,
}


class Host:
    """A running pipeline; its log goes to a file of the test's. Settings are "section.key=value"."""

    def __init__(self, *settings):
        self.log = tempfile.TemporaryFile("w+")
        settings = {
            **SETTINGS,
            **dict(one.split("=", 1) for one in settings),
            "cassandra.hosts": stack.env("CASSANDRA_HOSTS"),
            "kafka.brokers": stack.env("KAFKA_BROKERS").replace(" ", ","),
            "mysql.shards": stack.env("MYSQL_SHARDS").replace(" ", ","),
            "mysql.user": stack.env("MYSQL_USER"),
            "mysql.password": stack.env("MYSQL_PASSWORD"),
        }
        self.process = subprocess.Popen(
            [harness.BUILD / "tests/stack/archive_host", *map("{0[0]}={0[1]}".format, settings.items())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
        )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, kind, *rest):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                status = self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
            assert kind or status == 0, (status, self.logged())

    def logged(self):
        self.log.seek(0)
        return self.log.read()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def send(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def answer(self):
        line = self.process.stdout.readline()
        assert line, f"the pipeline ended: {self.logged()}"
        return json.loads(line)

    def __call__(self, command):
        self.send(command)
        return self.answer()

    def opened(self):
        for command in ("prepare", "open"):
            answer = self(command)
            assert answer == {"fault": ""}, (command, answer, self.logged())
        return self

    def create(self, count, every=0):
        """Creates orders and ends them; every `every`-th one is not told of. Returns them by id."""
        before = homes.in_store()
        answer = self(f"create {count} {every}")
        assert answer == {"created": True}, self.logged()
        made = {order_id: one for order_id, one in homes.in_store().items() if order_id not in before}
        assert len(made) == count and all(one["status"] == "success" for one in made.values())
        return made

    def run_until(self, condition, seconds=120):
        """Lets it work until condition(counters) is true; returns the counters."""
        deadline = time.monotonic() + seconds
        while not condition(counters := self("run 0.2")):
            assert time.monotonic() < deadline, (counters, self.logged()[-4000:])
        return counters

    def run_until_empty(self, seconds=120):
        """Lets it work until MariaDB has no order any more; returns the last counters."""
        return self.run_until(lambda counters: counters["settling"] == 0 and not store_ids(), seconds)

    def run_to_death(self, step, moment, seconds=60):
        """Lets it work until it has killed itself at this moment of this step."""
        assert self(f"kill {step} {moment}") == {"armed": True}
        self.send(f"run {seconds}")
        status = self.process.wait(seconds)
        assert status == -signal.SIGKILL and f"met: {moment} {step}" in self.logged(), (
            status,
            self.logged()[-4000:],
        )


def store_ids():
    """The ids that MariaDB has."""
    return {str(row[0]) for row in stack.rows("SELECT order_id FROM orders")}


def told_orders():
    """The ids that orders.archived tells of."""
    return {message.key.decode() for message in stack.messages("orders.archived")}


def spoil(order_id):
    """Changes the copy of an order in Cassandra by hand."""
    slot, minute = int(order_id) >> 17 & 1023, (int(order_id) >> 27) // 6000
    with stack.cassandra() as connection:
        connection.query(
            f"UPDATE {KEYSPACE}.orders_by_slot SET amount = 1 WHERE slot_group = {slot // 64}"
            f" AND minute = {minute} AND order_id = {order_id}"
        )
