# run-tests: timeout=600
"""The cluster's archive pipeline on real servers: final orders go from MariaDB to Cassandra, are told
of in orders.archived, and leave MariaDB only when they are in Cassandra; also those that no message
told of, and through the deaths of the pipeline and of the servers. archive_host.c is the pipeline."""

import json
import subprocess
import tempfile
import time

import stack_harness as stack
import harness  # found by stack_harness

KEYSPACE = "archive_flow"
SETTINGS = {
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
    """A running pipeline; its log goes to a file of the test's."""

    def __init__(self):
        self.log = tempfile.TemporaryFile("w+")
        settings = {
            **SETTINGS,
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
        answer = self(f"create {count} {every}")
        assert answer == {"created": True}, self.logged()

    def run_until_empty(self, seconds=120):
        """Lets it work until MariaDB has no order any more; returns the last counters."""
        deadline = time.monotonic() + seconds
        while True:
            counters = self("run 1")
            if not hot_orders():
                return counters
            assert time.monotonic() < deadline, (len(hot_orders()), counters, self.logged()[-4000:])


def hot_orders():
    """The ids that MariaDB has, of all shards."""
    found = set()
    for shard in range(stack.SHARDS):
        with stack.mariadb(shard) as connection:
            found |= {int(row[0]) for row in connection.query("SELECT order_id FROM orders")}
    return found


def archived_orders():
    with stack.cassandra() as connection:
        rows = connection.query(f"SELECT order_id, status FROM {KEYSPACE}.orders_by_slot")
    assert all(status == "success" for _, status in rows)
    return {order_id for order_id, _ in rows}


def told_orders():
    return {int(message.key) for message in stack.messages("orders.archived")}


def test_final_orders_move_home_also_those_that_no_message_told_of():
    with Host() as host:
        host.opened().create(5000, every=10)
        created = hot_orders()
        assert len(created) == 5000
        counters = host.run_until_empty()
        assert archived_orders() >= created and told_orders() >= created
        assert counters["scanned"] >= 500, counters
        assert counters["mismatches"] == counters["not_released"] == 0, counters
        assert counters["released"] >= 5000, counters


def test_a_pipeline_that_is_killed_again_and_again_loses_nothing():
    with Host() as host:
        host.opened().create(6000, every=20)
    created = hot_orders()
    assert len(created) == 6000
    for pause in (0.5, 1.5, 2.5, 3.5):
        with Host() as host:
            host.opened().send("run 60")
            time.sleep(pause)
            host.kill()
        assert created <= hot_orders() | archived_orders()
    with Host() as host:
        host.opened().run_until_empty()
    assert archived_orders() >= created and told_orders() >= created


def test_a_cassandra_that_dies_while_orders_settle_gets_them_again():
    with Host() as host:
        host.opened().create(4000)
        created = hot_orders()
        host.send("run 25")
        time.sleep(1.5)
        stack.kill("cassandra")
        time.sleep(1)
        assert len(hot_orders()) > 0
        stack.start("cassandra")
        host.answer()
        assert created <= hot_orders() | archived_orders()
        host.run_until_empty()
        assert archived_orders() >= created


def test_a_row_that_was_changed_by_hand_while_it_settled_does_not_leave():
    with Host() as host:
        host.opened().create(100)
        created = hot_orders()
        host("run 1.5")
        with stack.cassandra() as connection:
            rows = connection.query(
                f"SELECT slot_group, minute, order_id FROM {KEYSPACE}.orders_by_slot"
            )
            slot_group, minute, order_id = next(row for row in rows if row[2] in created)
            connection.query(
                f"UPDATE {KEYSPACE}.orders_by_slot SET amount = 1 WHERE slot_group = {slot_group}"
                f" AND minute = {minute} AND order_id = {order_id}"
            )
        stack.wait_for(lambda: host("run 1") and hot_orders() <= {order_id}, 60, "the others")
        counters = host("run 5")
        assert hot_orders() == {order_id}
        assert counters["not_released"] + counters["mismatches"] >= 1, counters
        assert str(order_id) in host.logged()


if __name__ == "__main__":
    stack.run(globals(), "mariadb", "kafka", "cassandra")
