# run-tests: timeout=900
"""The relay between a real MariaDB and a real Kafka: what is committed arrives, in order for each
order, whatever is killed; positions are right; what cannot be read on is said aloud."""

import atexit
import collections
import os
import pathlib
import re
import signal
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import own_servers
import tap

BUILD = pathlib.Path(os.environ.get("ORDERD_BUILD_DIR") or own_servers.ROOT / "build")
STATUSES = {1: "pending", 2: "processing", 3: "success", 4: "cancel", 5: "timeout", 6: "error"}
TIMES = "'2026-11-22 10:00:00.000001', '2026-11-22 10:00:00.000002'"

shared = {}


def servers():
    """The servers of all tests here, started by the first that needs them."""
    if "servers" not in shared:
        reason = own_servers.missing()
        if reason:
            tap.skip(reason)
        started = own_servers.Servers().__enter__()
        atexit.register(started.__exit__)
        shared["servers"] = started
    return shared["servers"]


def order_id(number):
    """Ids of one instant, over many slots."""
    return 4000000 << 27 | (number % 1024) << 17 | 1 << 7 | number // 1024 % 128


class Relay:
    """The relay's process."""

    count = 0

    def __init__(self, owner="a", **settings):
        stack = servers()
        Relay.count += 1
        self.log = stack.directory / f"relay-{Relay.count}.log"
        values = {
            "mysql.shards": f"127.0.0.1:{stack.mariadb.port}",
            "mysql.password": "secret",
            "host.owner": owner,
            "host.make_topics": "yes",
            "kafka.brokers": stack.kafka.address,
            "kafka.delivery_timeout_ms": 3000,
            "kafka.request_timeout_ms": 2000,
            "binlog.silence_ms": 2000,
            "binlog.heartbeat_ms": 500,
            **settings,
        }
        arguments = [text for name, value in values.items() for text in ("--set", f"{name}={value}")]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [BUILD / "tests/stack/relay_host", *arguments], stdout=log, stderr=log)
        shared.setdefault("relays", []).append(self)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def stop(self, within=15):
        """Ends it in good order; its metrics by name."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(within) == 0, self.text()
        return self.metrics()

    def has_ended(self):
        if self.process.poll() is not None:
            raise own_servers.ServerError(f"the relay has ended with {self.process.returncode}")
        return False

    def text(self):
        return self.log.read_text(errors="replace")

    def metrics(self):
        return {name: int(value) for name, value in
                re.findall(r"^orderd_(\w+) (\d+)$", self.text(), re.MULTILINE)}

    def wait_for(self, text, seconds=30):
        try:
            own_servers.wait_for(lambda: text in self.text() or self.has_ended(), repr(text), seconds)
        except own_servers.ServerError:
            print(f"# {self.text()[-3000:]}")
            raise


class Loader(threading.Thread):
    """Creates orders and ends half of them, a transaction each batch; tries again what failed."""

    def __init__(self, first, count, batch=100):
        super().__init__()
        self.numbers = range(first, first + count)
        self.batch = batch
        self.failures = 0
        self.start()

    def run(self):
        for at in range(0, len(self.numbers), self.batch):
            numbers = self.numbers[at : at + self.batch]
            rows = ",".join(
                f"({order_id(n)}, 'acme', 'r-{n}', {n + 1}, 'EUR', 'pay_with_bank', NULL, 'pending', 1, "
                f"{TIMES}, NULL, NULL)" for n in numbers)
            ended = ",".join(str(order_id(n)) for n in numbers if n % 2)
            self.do(f"INSERT IGNORE INTO orders VALUES {rows}")
            self.do("UPDATE orders SET status = 'success', version = 2, updated_at = "
                    f"'2026-11-22 10:00:01.5' WHERE version = 1 AND order_id IN ({ended})")

    def do(self, sql):
        while True:
            try:
                servers().mariadb.sql(sql)
                return
            except own_servers.ServerError:
                self.failures += 1
                time.sleep(0.1)


def published():
    """(id, version, status, amount, partition, event) of every message, in the topic's order."""
    data = servers().kafka.read("orders.changes", "%k|%p|%h|%s\n")
    found, at = [], 0
    while at < len(data):
        key, partition, header, rest = data[at : at + 200].split(b"|", 3)
        at += len(data[at : at + 200]) - len(rest)
        number, amount, version, status = struct.unpack_from("<QQIB", data, at)
        assert number == int(key), (number, key)
        found.append((number, version, STATUSES[status], amount, int(partition), header.decode()))
        at += 128 + 1
    return found


def check_published(first, count, as_of=1):
    """Everything of these orders is there, each order's versions first appear in order. `as_of`: the
    version from which they can be there."""
    seen = collections.defaultdict(list)
    for number, version, status, amount, partition, header in published():
        slot = number >> 17 & 1023
        assert partition == slot % 12, (number, partition)
        assert header == ("event=created" if version == 1 else "event=changed"), header
        assert status == ("pending" if version == 1 else "success")
        if version not in seen[number]:
            seen[number].append(version)
    for n in range(first, first + count):
        expected = [1, 2][as_of - 1 :] if n % 2 else [1]
        assert seen[order_id(n)] == expected, (n, order_id(n), seen[order_id(n)])


def wait_published(first, count, seconds=60, as_of=1):
    def complete():
        wanted = {order_id(n): 2 if n % 2 else 1 for n in range(first, first + count)}
        for message in published():
            if wanted.get(message[0]) == message[1]:
                del wanted[message[0]]
        return not wanted

    own_servers.wait_for(complete, f"orders {first} to {first + count}", seconds)
    check_published(first, count, as_of)


def stored_position():
    rows = servers().mariadb.sql("SELECT position, updated_at FROM positions WHERE name = 'relay/0'")
    return rows[0] if rows else ["", ""]


def check_position(relay):
    """The position that the relay leaves is behind every change: the next one finds none."""
    relay.stop()
    next_one = Relay()
    next_one.wait_for("reading from")
    time.sleep(1)
    metrics = next_one.stop()
    assert metrics["relay_published_total"] == 0, metrics
    assert metrics["relay_snapshots_total"] == 0, metrics


def test_rows_written_by_sql_arrive_in_order():
    relay = Relay()
    relay.wait_for("the snapshot is read")
    Loader(0, 2000).join()
    wait_published(0, 2000)
    metrics = relay.stop()
    assert metrics["relay_published_total"] >= 3000, metrics
    assert metrics["relay_commit_to_read_microseconds_count"] >= 3000, metrics
    assert metrics["relay_broken_rows_total"] == 0


def test_what_was_there_before_the_first_start_is_published():
    mariadb = servers().mariadb
    mariadb.sql("UPDATE positions SET position = '', owner = '', lease_until = '2020-01-01'")
    Loader(3000, 300).join()
    relay = Relay()
    wait_published(3000, 300, as_of=2)  # a snapshot has the last versions only
    metrics = relay.stop()
    assert metrics["relay_snapshots_total"] == 1
    assert metrics["relay_snapshot_orders_total"] >= 300


def test_an_idle_relay_stores_no_position_though_the_log_moves():
    relay = Relay()
    relay.wait_for("reading from")
    Loader(4000, 10).join()
    wait_published(4000, 10)
    time.sleep(1)
    before = stored_position()
    log_before = servers().mariadb.sql("SELECT @@gtid_binlog_pos")
    time.sleep(4)  # the lease is renewed meanwhile, which is in the log
    assert servers().mariadb.sql("SELECT @@gtid_binlog_pos") != log_before
    assert stored_position() == before
    relay.stop()


def test_a_relay_that_is_killed_loses_nothing():
    loader = Loader(10000, 6000)
    kills = 0
    while loader.is_alive():
        relay = Relay(owner=f"k{kills}", **{"host.lease_ms": 600})
        time.sleep(1.2)
        relay.kill()
        kills += 1
    relay = Relay(owner="last", **{"host.lease_ms": 600})
    wait_published(10000, 6000)
    assert kills >= 2, kills
    relay.stop()


def test_a_broker_that_is_killed_costs_nothing():
    relay = Relay()
    relay.wait_for("reading from")
    loader = Loader(20000, 4000)
    time.sleep(0.5)
    servers().kafka.kill()
    time.sleep(4)  # past the time that a message has
    servers().kafka.start()
    loader.join()
    wait_published(20000, 4000)
    check_position(relay)


def test_a_database_that_is_killed_costs_nothing():
    relay = Relay()
    relay.wait_for("reading from")
    loader = Loader(30000, 4000)
    time.sleep(0.7)
    servers().mariadb.kill()
    time.sleep(1)
    servers().mariadb.start()
    loader.join()
    assert loader.failures > 0
    wait_published(30000, 4000)
    check_position(relay)


def test_a_log_that_is_rotated_is_read_on():
    relay = Relay()
    relay.wait_for("reading from")
    loader = Loader(40000, 3000)
    while loader.is_alive():
        servers().mariadb.sql("FLUSH BINARY LOGS")
        time.sleep(0.2)
    wait_published(40000, 3000)
    check_position(relay)
    assert relay.metrics()["binlog_connections_total"] == 1, relay.metrics()


def test_servers_that_hang_do_not_keep_it_from_ending():
    relay = Relay()
    relay.wait_for("reading from")
    mariadb, kafka = servers().mariadb, servers().kafka
    for server in (mariadb, kafka):
        server.process.send_signal(signal.SIGSTOP)
    try:
        time.sleep(1)
        begin = time.monotonic()
        relay.process.send_signal(signal.SIGTERM)
        assert relay.process.wait(40) == 0
        print(f"# ended after {time.monotonic() - begin:.1f} s")
    finally:
        for server in (mariadb, kafka):
            server.process.send_signal(signal.SIGCONT)


def test_two_relays_take_turns():
    first = Relay(owner="one", **{"host.lease_ms": 1500})
    first.wait_for("reading from")
    second = Relay(owner="two", **{"host.lease_ms": 1500})
    Loader(50000, 500).join()
    wait_published(50000, 500)
    assert "has the lease" not in second.text()
    first.kill()
    Loader(50500, 500).join()
    second.wait_for("has the lease")
    wait_published(50000, 1000)
    second.stop()


def test_a_purged_log_halts_it_until_a_snapshot_is_asked_for():
    mariadb = servers().mariadb
    Loader(60000, 300).join()
    mariadb.sql("FLUSH BINARY LOGS")
    last = mariadb.sql("SHOW BINARY LOGS")[-1][0]

    def purged():  # a log that is still being sent to the relay before is not removed
        mariadb.sql(f"PURGE BINARY LOGS TO '{last}'")
        return mariadb.sql("SHOW BINARY LOGS")[0][0] == last

    own_servers.wait_for(purged, "the log to be purged", 20)
    relay = Relay(**{"host.lease_ms": 1000})
    relay.wait_for("the position is not in the log")
    relay.wait_for("halted")
    time.sleep(1)
    assert relay.process.poll() is None
    mariadb.sql("UPDATE positions SET position = '', owner = '', lease_until = '2020-01-01' "
                "WHERE name = 'relay/0'")
    wait_published(60000, 300, as_of=2)
    metrics = relay.stop()
    assert metrics["relay_snapshots_total"] == 1 and metrics["relay_halted"] == 0, metrics


def test_removals_and_rows_that_are_no_orders_are_counted():
    relay = Relay()
    relay.wait_for("reading from")
    servers().mariadb.sql(f"DELETE FROM orders WHERE order_id IN ({order_id(0)}, {order_id(1)}); "
                          f"INSERT INTO orders VALUES ({order_id(70000)}, 'acme', 'no good!', 1, 'EUR', "
                          f"'pay_with_bank', NULL, 'pending', 1, {TIMES}, NULL, NULL)")
    Loader(70002, 10).join()
    wait_published(70002, 10)
    metrics = relay.stop()
    assert metrics["relay_skipped_deletes_total"] == 1, metrics
    assert metrics["relay_alarming_deletes_total"] == 1, metrics
    assert metrics["relay_broken_rows_total"] == 1, metrics
    assert f"order {order_id(70000)}" in relay.text()


def read_lines(process, into):
    for line in process.stdout:
        into.append(line.strip())


def test_members_of_a_group_read_everything_though_one_is_killed():
    kafka = servers().kafka
    Relay().wait_for("reading from")  # makes the topics
    total, hosts, lines = 3000, [], []

    def join():
        host = subprocess.Popen([BUILD / "tests/stack/topic_host", kafka.address, "test-group"],
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        atexit.register(host.kill)
        threading.Thread(target=read_lines, args=(host, lines), daemon=True).start()
        hosts.append(host)
        return host

    def values():
        return {line.split()[2] for line in list(lines) if not line.startswith("commit")}

    first = join()
    kafka.write("balance.results", [f"m{n}" for n in range(total)])
    own_servers.wait_for(lambda: len(values()) > 100, "some messages", 30)
    join()
    first.kill()
    kafka.write("balance.results", [f"m{n}" for n in range(total, 2 * total)])
    own_servers.wait_for(lambda: len(values()) == 2 * total, f"all messages; {len(values())}", 30)
    assert any(line.startswith("commit") for line in lines)
    hosts[1].send_signal(signal.SIGTERM)
    assert hosts[1].wait(15) == 0
    del lines[:]
    last = join()
    time.sleep(4)
    last.send_signal(signal.SIGTERM)
    assert last.wait(15) == 0
    assert not values(), "what was committed came again"


def test_the_change_log_reads_from_any_cursor_and_follows():
    relay = Relay()
    relay.wait_for("reading from")
    Loader(80000, 500).join()
    wait_published(80000, 500)
    kafka = servers().kafka

    def follow(cursor):
        host = subprocess.Popen([BUILD / "tests/stack/changes_host", kafka.address, cursor],
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        atexit.register(host.kill)
        lines = []
        threading.Thread(target=read_lines, args=(host, lines), daemon=True).start()
        return host, lines

    def changes(lines):
        return [tuple(map(int, line.split()[1:5])) for line in list(lines) if line.startswith("change")]

    everything = [(m[0], m[1]) for m in published()]
    old, old_lines = follow("0")
    own_servers.wait_for(lambda: len(changes(old_lines)) >= len(everything), "the whole log", 30)
    new, new_lines = follow("now")
    own_servers.wait_for(lambda: any(line.startswith("at ") for line in new_lines), "its begin", 30)
    Loader(81000, 300).join()
    wanted = len(everything) + 450
    own_servers.wait_for(lambda: len(changes(old_lines)) >= wanted, "what came since", 30)
    own_servers.wait_for(lambda: len(changes(new_lines)) >= 450, "what came since", 30)
    found = changes(old_lines)
    assert sorted((c[2], c[3]) for c in found) == sorted((m[0], m[1]) for m in published())
    assert len(found) == wanted and len(changes(new_lines)) == 450
    for part in range(12):
        positions = [c[1] for c in found if c[0] == part]
        assert positions == sorted(set(positions)), part
    # From the cursor in the middle of it, exactly the rest.
    cursor = [line for line in old_lines if line.startswith("at ")][1].split()[1]
    seen = sum(map(int, cursor.split(".")))
    rest, rest_lines = follow(cursor)
    own_servers.wait_for(lambda: len(changes(rest_lines)) >= wanted - seen, "the rest", 30)
    assert len(changes(rest_lines)) == wanted - seen
    bad, bad_lines = follow(".".join(["999999999"] * 12))
    own_servers.wait_for(lambda: "result 2" in bad_lines, f"a refusal; {bad_lines}", 30)
    for host in (old, new, rest, bad):
        host.send_signal(signal.SIGTERM)
        assert host.wait(15) == 0


def test_another_table_halts_it():
    relay = Relay(**{"host.lease_ms": 1000})
    relay.wait_for("reading from")
    Loader(90000, 2).join()
    servers().mariadb.sql("ALTER TABLE orders ADD COLUMN note INT NULL; "
                          f"UPDATE orders SET note = 1 WHERE order_id = {order_id(90000)}")
    relay.wait_for("14 columns")
    relay.wait_for("halted")
    relay.stop()


def end_relays():
    """After each test: one that failed leaves none behind that holds the lease."""
    for relay in shared.pop("relays", []):
        relay.kill()
    if "servers" in shared:
        shared["servers"].mariadb.sql("UPDATE positions SET lease_until = '2020-01-01'")


if __name__ == "__main__":
    tap.run(globals(), cleanup=end_relays)
