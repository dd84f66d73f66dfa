# run-tests: timeout=600
"""The archive on a real Cassandra: what was stored is there after a crash, statements that the node
forgot are prepared again, and a node that is overloaded, stuck, changed by hand or made by another
version is met with a clear answer. cassandra_probe.c is the archive as a process of its own."""

import json
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

import stack_harness as stack
import harness  # found by stack_harness, as stacklib
from stacklib import layout, servers

KEYSPACE = "archive_probe"
TABLE = f"{KEYSPACE}.orders_by_slot"
STARTS_WITHIN_SECONDS = 180
AUTH_PORTS = {"native": 1, "storage": 2, "jmx": 3}  # above those of the stack's own node
USER, PASSWORD = "cassandra", "cassandra"  # that a new node begins with


class Probe:
    """A running probe; its log goes to a file of the test's."""

    def __init__(self, *settings, hosts=None):
        self.log = tempfile.TemporaryFile("w+")
        hosts = hosts or stack.env("CASSANDRA_HOSTS")
        self.process = subprocess.Popen(
            [harness.BUILD / "tests/stack/cassandra_probe", f"hosts={hosts}",
             f"keyspace={KEYSPACE}", "replication=datacenter1:1", *settings],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
        )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, kind, *rest):
        self.process.stdin.close()
        try:
            status = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        assert kind or status == 0, (status, self.logged())

    def logged(self):
        self.log.seek(0)
        return self.log.read()

    def send(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def answer(self):
        line = self.process.stdout.readline()
        assert line, f"the probe ended: {self.logged()}"
        return json.loads(line)

    def __call__(self, command):
        self.send(command)
        return self.answer()

    def opened(self, settle_ms=0):
        fault = self(f"open {settle_ms}")["fault"]
        assert fault == "", fault
        return self


def probe(*settings, **others):
    """A probe with an archive on a schema that is there."""
    one = Probe(*settings, **others)
    applied = one("apply")
    assert applied == {"fault": ""}, applied
    return one.opened()


def refusal(*settings, settle_ms=0):
    """What an archive that is opened says; empty where it starts."""
    with Probe(*settings) as one:
        return one(f"open {settle_ms}")["fault"]


# --- The schema ---


def test_the_start_refuses_what_is_no_schema_of_its_version_and_says_what_to_run():
    stack.fresh("cassandra")
    assert re.search("no schema .* run orderctl schema apply", refusal())
    with Probe() as one:
        assert one("apply") == {"fault": ""}
        assert one("apply") == {"fault": ""}  # again, at any time
        assert "has schema version 1 already" in one.logged()
    assert refusal() == ""
    changes = [
        ("schema_version", "2", "1", "run a newer orderd"),
        ("schema_version", "0", "1", "run orderctl schema apply"),
        ("slots_a_group", "32", "64", "slots_a_group = 32, this program has 64"),
    ]
    for name, wrong, right, expected in changes:
        setting = f"UPDATE {KEYSPACE}.settings SET value = '{{}}' WHERE name = '{name}'"
        with stack.cassandra() as connection:
            connection.query(setting.format(wrong))
            assert expected in refusal()
            connection.query(setting.format(right))
    with stack.cassandra() as connection:
        connection.query(f"ALTER KEYSPACE {KEYSPACE} WITH durable_writes = false")
        assert "durable_writes" in refusal()
        connection.query(f"ALTER KEYSPACE {KEYSPACE} WITH durable_writes = true")
    assert refusal() == ""


def test_the_start_refuses_a_consistency_that_could_miss_what_was_written():
    replication = "{{'class': 'NetworkTopologyStrategy', 'datacenter1': {}}}"
    alter = f"ALTER KEYSPACE {KEYSPACE} WITH replication = " + replication
    with probe():
        pass
    assert refusal("consistency=LOCAL_ONE") == ""
    with stack.cassandra() as connection:
        connection.query(alter.format(3))
        try:
            assert "has 3 replicas" in refusal("consistency=LOCAL_ONE")
        finally:
            connection.query(alter.format(1))
    assert refusal("consistency=ONE") == ""


def test_the_start_refuses_to_settle_sooner_than_the_commit_log_is_synced():
    with probe():
        pass
    with stack.cassandra() as connection:
        rows = dict(connection.query("SELECT name, value FROM system_views.settings"))
    if rows["commitlog_sync"] != "periodic":
        stack.skip("this node syncs before it answers")
    assert "archive.settle_seconds: expected at least" in refusal(settle_ms=1)
    assert refusal(settle_ms=60000) == ""


# --- Rows ---


def test_what_was_put_is_got_back():
    with probe() as one:
        assert one("get 0 2000")["absent"] == 2000
        assert one("put 0 20000")["stored"] == 20000
        got = one("get 0 20000")
        assert got["found"] == 20000 and got["wrong"] == 0, got
    with stack.cassandra() as connection:
        assert len(connection.query(f"SELECT order_id FROM {TABLE}")) == 20000
        row = connection.query(f"SELECT version, WRITETIME(status) FROM {TABLE} LIMIT 1")[0]
        assert row == (2, 2)


def test_a_row_that_was_changed_by_hand_is_not_served_until_it_is_repaired():
    with probe() as one:
        assert one("put 30000 1")["stored"] == 1
        with stack.cassandra() as connection:
            where = None
            for row in connection.query(
                f"SELECT slot_group, minute, order_id, partner_order_id FROM {TABLE}"
            ):
                if row[3] == "1001-10000":
                    where = "slot_group = {} AND minute = {} AND order_id = {}".format(*row[:3])
            assert where
            connection.query(f"UPDATE {TABLE} SET amount = -5 WHERE {where}")
        assert one("get 30000 1")["broken"] == 1
        assert where.rpartition(" ")[2] in one.logged()
        assert one("put 30000 1")["stored"] == 1  # below the time of the change: to no effect
        assert one("get 30000 1")["broken"] == 1
        looked = one("look 30000")
        assert looked["writetime"] > 10**15, looked
        assert one("repair 30000")["repaired"]
        got = one("get 30000 1")
        assert got["found"] == 1 and got["wrong"] == 0, got
        assert one("metrics")["broken_total"] >= 2


# --- A node that comes and goes ---


def test_what_was_stored_is_there_after_a_kill_under_load():
    # By default a node answers up to a second before a write is in its log for good.
    stack.stop("cassandra")
    stack.start("cassandra", STACK_CASSANDRA_SYNC="batch")
    try:
        with probe("request_timeout_ms=2000", "attempt_timeout_ms=1000") as one:
            one.send("load 30")
            time.sleep(4)
            stack.kill("cassandra")
            time.sleep(2)
            stack.start("cassandra", STACK_CASSANDRA_SYNC="batch")
            load = one.answer()
            assert load["stored"] > 1000 and load["unavailable"] > 0, load
            stack.wait_for(lambda: one("ready")["ready"], 30, "a connection")
            got = one("verify")
            assert got["found"] == load["stored"] and got["wrong"] == 0, (load, got)
            metrics = one("metrics")
            assert metrics["disconnects_total"] >= 1 and metrics["connects_total"] >= 3, metrics
    finally:
        stack.stop("cassandra")
        stack.start("cassandra")


def test_statements_that_the_node_forgot_are_prepared_again():
    with probe() as one:
        one.send("load 8")
        with stack.cassandra() as connection:
            for number in range(3):
                time.sleep(1)
                connection.query(f"ALTER TABLE {TABLE} ADD extra_{number} int")
        load = one.answer()
        assert load["unavailable"] == load["unknown"] == 0 and load["stored"] > 0, load
        metrics = one("metrics")
        assert metrics["unprepared_total"] > 0, metrics
        got = one("verify")
        assert got["found"] == load["stored"] and got["wrong"] == 0, got


def test_a_node_that_hangs_costs_no_more_than_the_time_out():
    with probe("request_timeout_ms=1000", "attempt_timeout_ms=500") as one:
        assert one("put 60000 500")["stored"] == 500
        stack.pause("cassandra")
        try:
            begin = time.monotonic()
            put = one("put 60500 500")
            assert put["stored"] == 0 and put["unknown"] + put["unavailable"] == 500, put
            assert time.monotonic() - begin < 3
        finally:
            stack.resume("cassandra")
        stack.wait_for(lambda: one("put 60500 500")["stored"] == 500, 30, "the node")
        assert one("get 60000 1000")["found"] == 1000


def test_an_overload_is_refused_and_what_was_taken_is_answered():
    with probe("queue_orders=8192", "streams=4", "request_timeout_ms=5000") as one:
        for _ in range(3):
            flood = one("flood")
            assert flood["busy"], flood
            answered = flood["stored"] + flood["unknown"] + flood["unavailable"]
            assert answered == flood["taken"] and flood["taken"] >= 7000, flood
            assert flood["ms"] < 7000, flood
        assert one("put 90000 500")["stored"] == 500


# --- Passwords ---


class PasswordNode:
    """A node of its own that asks for a password: what the stack's node is made of, in a directory
    and on ports of its own."""

    def __init__(self):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="orderd-cassandra-"))
        port = layout.port("cassandra") + AUTH_PORTS["native"]
        storage = layout.port("cassandra storage") + 500 + AUTH_PORTS["storage"]
        jmx = layout.port("cassandra jmx") + AUTH_PORTS["jmx"]
        self.address = f"127.0.0.1:{port}"
        node = servers.BY_NAME["cassandra"]
        values = {**node.values(), "PORT": port, "STORAGE_PORT": storage, "DATA": self.home}
        settings = layout.render("cassandra.yaml.in", values)
        settings += "\nauthenticator: PasswordAuthenticator\n"
        (self.home / "cassandra.yaml").write_text(settings)
        shutil.copy(node.conf / "logback.xml", self.home)
        command = [
            str(word)
            .replace(str(node.conf), str(self.home))
            .replace(str(node.data), str(self.home))
            .replace(f"jmx.local.port={layout.port('cassandra jmx')}", f"jmx.local.port={jmx}")
            for word in node.command()
        ]
        with open(self.home / "log", "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.home
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        shutil.rmtree(self.home, ignore_errors=True)


def test_a_wrong_password_is_refused_without_showing_it_and_the_right_one_works():
    with PasswordNode() as node:
        settings = [f"user={USER}", f"password={PASSWORD}", "consistency=LOCAL_ONE"]

        def applied():
            with Probe(*settings, hosts=node.address) as one:
                return one("apply")["fault"] == ""

        stack.wait_for(applied, STARTS_WITHIN_SECONDS, "a node that knows its first user")
        with Probe(*settings, hosts=node.address) as one:
            one.opened()
            assert one("put 0 1000")["stored"] == 1000
            assert one("get 0 1000")["found"] == 1000
        wrong = [f"user={USER}", "password=not-the-one"]
        with Probe(*wrong, hosts=node.address) as one:
            fault = one("open 0")["fault"]
            assert "log in: bad credentials" in fault, fault
            assert "not-the-one" not in fault + one.logged()
        with Probe(hosts=node.address) as one:
            assert "set cassandra.user and cassandra.password" in one("open 0")["fault"]


if __name__ == "__main__":
    stack.run(globals(), "cassandra")
