# run-tests: timeout=300
"""The Redis adapter on a real Redis Cluster: three masters and three replicas of this file's own, in
a temporary directory, which crash, fail over, are resharded, flushed and filled up.

The adapter runs in redis_driver.c; each test is a conversation with it. ORDERD_BUILD_DIR says which
build is tested (the directory build by default). Skipped where there is no redis-server.
"""

import atexit
import binascii
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
import tap  # noqa: E402

BUILD = pathlib.Path(os.environ.get("ORDERD_BUILD_DIR", ROOT / "build")).resolve()
DRIVER = BUILD / "tests" / "stack" / "redis_driver"
NODES = 6
SLOTS = 16384
NODE_TIMEOUT_MS = 1000
TIMEOUT_MS = 500
WITHIN_SECONDS = 30


def wait_for(condition, what, within=WITHIN_SECONDS):
    """Calls `condition` until it gives something that counts as true, and returns that."""
    end = time.monotonic() + within
    while True:
        got = condition()
        if got:
            return got
        assert time.monotonic() < end, f"not within {within} s: {what}"
        time.sleep(0.05)


def free_ports(count):
    """Ports that nobody listens on, below those that the system gives to connections."""
    ports = []
    for port in random.sample(range(20000, 32000), 2000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports.append(port)
        if len(ports) == count:
            return ports
    raise RuntimeError("no free ports")


class Cluster:
    """Six redis-server processes."""

    def __init__(self):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="orderd-redis-"))
        ports = free_ports(2 * NODES)
        self.ports, self.bus = ports[:NODES], dict(zip(ports[:NODES], ports[NODES:]))
        self.processes = {}
        self.password = None
        atexit.register(self.close)
        for port in self.ports:
            self.start(port)
        addresses = [f"127.0.0.1:{port}" for port in self.ports]
        wait_for(lambda: all(self.answers(port) for port in self.ports), "the nodes answer")
        subprocess.run(
            ["redis-cli", "--cluster", "create", *addresses, "--cluster-replicas", "1",
             "--cluster-yes"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True, timeout=60,
        )  # fmt: skip
        self.wait_until_well()

    def start(self, port):
        home = self.home / str(port)
        home.mkdir(exist_ok=True)
        with open(home / "log", "ab") as log:
            self.processes[port] = subprocess.Popen(
                ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(home),
                 "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf",
                 "--cluster-port", str(self.bus[port]),
                 "--cluster-node-timeout", str(NODE_TIMEOUT_MS), "--save", "",
                 "--appendonly", "no", "--notify-keyspace-events", "Exe",
                 "--repl-diskless-sync-delay", "0", "--cluster-allow-replica-migration", "no"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def kill(self, port):
        self.processes[port].kill()
        self.processes[port].wait()

    def close(self):
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def call(self, port, *words, data=None):
        """What redis-cli prints; `data` is the last argument, as bytes."""
        done = subprocess.run(
            ["redis-cli", "-p", str(port), *(["-x"] if data is not None else []),
             *map(str, words)],
            input=data, stdin=subprocess.DEVNULL if data is None else None,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30, check=False,
            env={**os.environ, **({"REDISCLI_AUTH": self.password} if self.password else {})},
        )  # fmt: skip
        return done.stdout.decode(errors="replace").strip()

    def answers(self, port):
        return self.call(port, "PING") == "PONG"

    def nodes(self, port=None):
        """(port, id, flags, slots as pairs) of each node, as one that answers sees it."""
        for asked in [port] if port else self.ports:
            lines = [line.split() for line in self.call(asked, "CLUSTER", "NODES").splitlines()]
            if lines and all(len(line) >= 8 for line in lines):
                return [
                    (int(line[1].partition("@")[0].rpartition(":")[2]), line[0],
                     set(line[2].split(",")),
                     [tuple(int(x) for x in (text.split("-") * 2)[:2])
                      for text in line[8:] if not text.startswith("[")])
                    for line in lines
                ]  # fmt: skip
        return []

    def is_well(self):
        views = [self.nodes(port) for port in self.ports]
        return all(
            len(view) == NODES
            and all(flags <= {"myself", "master", "slave"} for _, _, flags, _ in view)
            and sum(bool(slots) for _, _, _, slots in view) == 3
            for view in views
        ) and all(
            "cluster_state:ok" in self.call(port, "CLUSTER", "INFO")
            and self.is_synchronised(port)
            for port in self.ports
        )

    def is_synchronised(self, port):
        info = self.call(port, "INFO", "replication")
        return "role:master" in info or "master_link_status:up" in info

    def wait_until_well(self):
        wait_for(self.is_well, "every node is well, and sees the others so")

    def heal(self):
        for port, process in self.processes.items():
            process.send_signal(signal.SIGCONT)
            if process.poll() is not None:
                self.start(port)
        self.wait_until_well()

    def masters(self):
        """Slot ranges of each master that has any, by port."""
        return {port: slots for port, _, flags, slots in self.nodes()
                if "master" in flags and slots and "fail" not in flags}  # fmt: skip

    def slot(self, order_id):
        return int(self.call(self.ports[0], "CLUSTER", "KEYSLOT", f"o:{{{order_id}}}"))

    def owner(self, slot):
        for port, ranges in self.masters().items():
            if any(first <= slot <= last for first, last in ranges):
                return port
        raise AssertionError(f"nobody has slot {slot}")

    def count_slots(self, port):
        return sum(last - first + 1 for first, last in self.masters()[port])

    def id_of(self, port):
        return next(node_id for at, node_id, _, _ in self.nodes() if at == port)


class Driver:
    """A redis_driver."""

    running = []

    def __init__(self, *settings, password=None, ports=None):
        nodes = ",".join(f"127.0.0.1:{port}" for port in ports or cluster().ports)
        environment = {**os.environ}
        if password:
            environment["ORDERD_REDIS_PASSWORD"] = password
        self.log = open(cluster().home / f"driver-{len(Driver.running)}", "w+b")
        self.process = subprocess.Popen(
            [DRIVER, f"redis.nodes={nodes}", f"redis.timeout_ms={TIMEOUT_MS}",
             "redis.watch_ms=100", "redis.map_refresh_ms=1000", *settings],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, env=environment,
        )  # fmt: skip
        Driver.running.append(self)

    def begin(self, *words):
        self.process.stdin.write(" ".join(map(str, words)).encode() + b"\n")
        self.process.stdin.flush()

    def end(self):
        line = self.process.stdout.readline().decode()
        assert line.endswith("\n"), ("the driver ended", self.log_text())
        return line.strip()

    def call(self, *words):
        self.begin(*words)
        return self.end()

    def metric(self, name):
        return int(self.call("metric", name))

    def tally(self, *words):
        """The counts of an answer such as `STORED=5 UNAVAILABLE=1`."""
        pairs = (pair.split("=") for pair in self.call(*words).split())
        return {name: int(count) for name, count in pairs}

    def log_text(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def close(self):
        self.process.stdin.close()
        status = self.process.wait(timeout=30)
        text = self.log_text()
        self.log.close()
        assert status == 0, (status, text[-4000:])


one_cluster = []


def cluster():
    if not one_cluster:
        if not shutil.which("redis-server") or not shutil.which("redis-cli"):
            tap.skip("redis-server and redis-tools are not installed")
        one_cluster.append(Cluster())
    return one_cluster[0]


def clean_up():
    drivers, Driver.running = Driver.running, []
    for driver in drivers:
        driver.close()
    if one_cluster:
        cluster().heal()
        for port in cluster().masters():
            cluster().call(port, "FLUSHALL")


def stored_again(driver, first, count, version=1):
    """Puts orders until every one is stored."""
    wait_for(lambda: driver.tally("put", first, count, version) == {"STORED": count},
             "everything is stored again")  # fmt: skip


# --- The port's operations ---


def test_what_was_put_is_found_and_what_was_not_is_absent():
    driver = Driver()
    assert driver.tally("put", 1, 20000, 1) == {"STORED": 20000}
    assert driver.tally("get", 1, 20000) == {"FOUND": 20000}
    assert driver.tally("get", 19991, 20) == {"FOUND": 10, "ABSENT": 10}
    for port in cluster().masters():
        assert int(cluster().call(port, "DBSIZE")) > 4000
    slot = cluster().slot(7)
    ttl = int(cluster().call(cluster().owner(slot), "PTTL", "o:{7}"))
    assert 29 * 86400_000 < ttl <= 30 * 86400_000, ttl


def test_a_higher_version_stays():
    driver = Driver()
    assert driver.tally("put", 5, 1, 3) == {"STORED": 1}
    assert driver.tally("put", 5, 1, 2) == {"STORED": 1}
    assert driver.call("get 5 1") == "FOUND=1 version=3"
    assert driver.tally("put", 5, 1, 4) == {"STORED": 1}
    assert driver.call("get 5 1") == "FOUND=1 version=4"


def test_in_a_race_an_older_version_never_wins():
    one, two = Driver(), Driver()
    for round_number in range(5):
        one.begin("storm", 77 + round_number, 3000, 2 * round_number)
        two.begin("storm", 77 + round_number, 2500, 2 * round_number + 1)
        assert (one.end(), two.end()) == ("STORED=3000", "STORED=2500")
        assert one.call(f"get {77 + round_number} 1") == "FOUND=1 version=3000"


def test_only_the_exact_bytes_are_removed():
    driver = Driver()
    assert driver.tally("put", 5, 1, 3) == {"STORED": 1}
    assert driver.tally("remove", 5, 1, 2) == {"STORED": 1}
    assert driver.tally("get", 5, 1) == {"FOUND": 1, "version": 3}
    assert driver.tally("remove", 5, 1, 3) == {"STORED": 1}
    assert driver.tally("get", 5, 1) == {"ABSENT": 1}


def test_a_lock_is_one_readers_and_a_change_voids_it():
    driver = Driver()
    assert driver.call("lock 9 111 0") == "STORED"
    assert driver.call("lock 9 222 0") == "MISMATCH"
    assert driver.call("fill 9 222 1") == "MISMATCH"
    assert driver.call("fill 9 111 1") == "STORED"
    assert driver.call("get 9 1") == "FOUND=1 version=1"
    assert driver.call("fill 9 111 2") == "MISMATCH"  # it gave the lock back
    assert driver.call("lock 9 333 0") == "STORED"
    assert driver.tally("put", 9, 1, 5) == {"STORED": 1}
    assert driver.call("fill 9 333 7") == "MISMATCH"
    assert driver.call("get 9 1") == "FOUND=1 version=5"
    assert driver.call("lock 9 444 0") == "STORED"
    assert driver.call("fill 9 444 0") == "STORED"  # only gives it back
    assert driver.call("lock 9 555 0") == "STORED"
    assert driver.call("fill 9 555 4") == "STORED"  # an older one is no harm
    assert driver.call("get 9 1") == "FOUND=1 version=5"


def test_a_lock_ends_by_itself():
    driver = Driver("redis.lock_ms=1000", "redis.timeout_ms=500")
    assert driver.call("lock 9 111 0") == "STORED"
    wait_for(lambda: driver.call("lock 9 222 0") == "STORED", "the lock ends")


# --- What others put there ---


def forged(order_id, version):
    """128 bytes that look like a record of this order, with a checksum that is wrong."""
    return struct.pack("<QQIBBH", order_id, 100, version, 1, 1, 1) + bytes(104)


def test_a_foreign_value_is_broken_and_the_next_put_replaces_it():
    driver = Driver()
    at = {order_id: cluster().owner(cluster().slot(order_id)) for order_id in range(1, 6)}
    cluster().call(at[1], "SET", "o:{1}", "junk")
    cluster().call(at[2], "RPUSH", "o:{2}", "a", "b")
    cluster().call(at[3], "SET", "o:{3}", data=forged(3, 8000))
    cluster().call(at[4], "SET", "o:{4}", data=forged(5, 8000))
    cluster().call(at[5], "SET", "o:{5}", data=forged(5, 4294967295))
    assert driver.tally("get", 1, 5) == {"BROKEN": 5}
    assert driver.metric("broken_total") == 5
    assert re.search(r"order [1-5]: what is under its key is no such order", driver.log_text())
    assert driver.tally("put", 1, 5, 2) == {"STORED": 5}
    assert driver.tally("get", 1, 5) == {"FOUND": 5}
    assert driver.metric("replaced_total") == 5
    assert driver.metric("broken_total") == 10


def test_a_fill_replaces_a_forged_record():
    driver = Driver()
    cluster().call(cluster().owner(cluster().slot(3)), "SET", "o:{3}", data=forged(3, 8000))
    assert driver.call("lock 3 1 0") == "STORED"
    assert driver.call("fill 3 1 2") == "STORED"
    assert driver.call("get 3 1") == "FOUND=1 version=2"


# --- The cluster changes ---


def test_scripts_that_a_node_forgot_are_sent_again():
    driver = Driver()
    assert driver.tally("put", 1, 1000, 1) == {"STORED": 1000}
    for port in cluster().masters():
        cluster().call(port, "SCRIPT", "FLUSH")
    assert driver.tally("put", 1, 1000, 2) == {"STORED": 1000}
    assert driver.metric("unknown_scripts_total") > 0
    assert driver.tally("remove", 1, 1000, 2) == {"STORED": 1000}
    assert driver.tally("get", 1, 1000) == {"ABSENT": 1000}


def move_slot(slot, source, target, finish=True):
    """Begins to move a slot; with `finish` brings its keys over and tells every node."""
    cluster().call(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", cluster().id_of(source))
    cluster().call(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", cluster().id_of(target))
    if finish:
        while keys := cluster().call(source, "CLUSTER", "GETKEYSINSLOT", slot, 100).split():
            cluster().call(source, "MIGRATE", "127.0.0.1", target, "", 0, 5000, "KEYS", *keys)
        target_id = cluster().id_of(target)
        for port in [target, source, *cluster().masters()]:
            cluster().call(port, "CLUSTER", "SETSLOT", slot, "NODE", target_id)


def test_a_slot_that_moved_is_followed_and_is_no_loss():
    driver = Driver("redis.map_refresh_ms=600000")
    slot = cluster().slot(42)
    source = cluster().owner(slot)
    target = next(port for port in cluster().masters() if port != source)
    assert driver.tally("put", 42, 1, 1) == {"STORED": 1}
    move_slot(slot, source, target)
    try:
        assert driver.call("get 42 1") == "FOUND=1 version=1"
        assert driver.metric("moved_total") == 1
        assert driver.tally("put", 42, 1, 2) == {"STORED": 1}
        assert driver.metric("moved_total") == 1, "the route is known by now"
        assert driver.call("loss 500") == "0"
    finally:
        move_slot(slot, target, source)


def test_a_slot_on_its_way_is_asked_for_on_both_sides():
    driver = Driver()
    slot = cluster().slot(42)
    source = cluster().owner(slot)
    target = next(port for port in cluster().masters() if port != source)
    other = next(n for n in range(100000, 10000000) if n != 42 and key_slot(f"{n}") == slot)
    assert driver.tally("put", 42, 1, 1) == {"STORED": 1}
    move_slot(slot, source, target, finish=False)
    try:
        assert driver.call("get 42 1") == "FOUND=1 version=1"
        assert driver.call(f"get {other} 1") == "ABSENT=1"  # by ASK
        assert driver.metric("ask_total") == 1
        assert driver.tally("put", 42, 1, 2) == {"STORED": 1}  # where it is
        assert driver.tally("put", other, 1, 3) == {"STORED": 1}  # where it will be
        assert driver.call("get 42 1") == "FOUND=1 version=2"
        assert driver.call(f"get {other} 1") == "FOUND=1 version=3"
        assert cluster().call(target, "CLUSTER", "COUNTKEYSINSLOT", slot) == "1"
        assert driver.metric("moved_total") == 0
        assert driver.metric("try_again_total") >= 1
    finally:
        move_slot(slot, source, target)
    assert driver.tally("get", other, 1) == {"FOUND": 1, "version": 3}
    assert driver.tally("get", 42, 1) == {"FOUND": 1, "version": 2}
    move_slot(slot, target, source)


def key_slot(tag):
    """CRC-16 of a hash tag, modulo the slots, as another implementation has it."""
    return binascii.crc_hqx(tag.encode(), 0) % SLOTS


def test_a_master_that_crashes_is_followed_by_its_replica_and_told_as_a_loss():
    driver = Driver()
    assert driver.tally("put", 1, 3000, 1) == {"STORED": 3000}
    assert driver.call("loss 200") == "0"
    victim = next(iter(cluster().masters()))
    slots = cluster().count_slots(victim)
    cluster().kill(victim)
    begin = time.monotonic()
    tally = driver.tally("put", 1, 3000, 2)
    assert time.monotonic() - begin < 4 * TIMEOUT_MS / 1000, "it waited"
    assert 0 < tally.get("UNAVAILABLE", 0) < 2000, tally
    stored_again(driver, 1, 3000, 2)
    assert driver.tally("get", 1, 3000) == {"FOUND": 3000}
    assert wait_for(lambda: int(driver.call("loss 1000")), "a loss is told") == slots


def test_a_master_that_comes_back_empty_is_told_as_a_loss():
    driver = Driver()
    assert driver.tally("put", 1, 3000, 1) == {"STORED": 3000}
    assert driver.call("loss 200") == "0"
    victim = next(iter(cluster().masters()))
    slots = cluster().count_slots(victim)
    cluster().kill(victim)
    cluster().start(victim)
    assert wait_for(lambda: int(driver.call("loss 1000")), "a loss is told") == slots
    cluster().wait_until_well()
    stored_again(driver, 1, 3000)
    assert driver.tally("get", 1, 3000) == {"FOUND": 3000}


def test_a_master_that_was_flushed_is_told_as_a_loss():
    driver = Driver()
    assert driver.tally("put", 1, 300, 1) == {"STORED": 300}
    assert driver.call("loss 300") == "0"
    victim = next(iter(cluster().masters()))
    cluster().call(victim, "FLUSHALL")
    assert driver.call("loss 5000") == str(cluster().count_slots(victim))
    assert driver.call("loss 300") == "0", "a loss is told once"


def test_with_every_node_down_answers_come_in_time_and_all_is_well_after():
    driver = Driver()
    assert driver.tally("put", 1, 500, 1) == {"STORED": 500}
    for port in cluster().ports:
        cluster().kill(port)
    for words in ("get 1 500", "put 1 500 2", "remove 1 500 2"):
        begin = time.monotonic()
        assert driver.call(words) == "UNAVAILABLE=500"
        assert time.monotonic() - begin < 2 * TIMEOUT_MS / 1000, words
    assert driver.call("lock 1 1 0") == "UNAVAILABLE"
    assert driver.call("fill 1 1 1") == "UNAVAILABLE"
    cluster().heal()
    stored_again(driver, 1, 500, 3)


def test_nodes_that_do_not_answer_are_given_up_in_time():
    driver = Driver()
    assert driver.tally("put", 1, 500, 1) == {"STORED": 500}
    for process in cluster().processes.values():
        process.send_signal(signal.SIGSTOP)
    begin = time.monotonic()
    assert driver.call("get 1 500") == "UNAVAILABLE=500"
    assert time.monotonic() - begin < 2 * TIMEOUT_MS / 1000
    assert driver.call("put 1 5000 2") == "UNAVAILABLE=5000"
    cluster().heal()
    stored_again(driver, 1, 500, 3)
    assert driver.tally("get", 1, 500) == {"FOUND": 500}


def test_a_driver_that_starts_before_the_cluster_finds_it_later():
    for port in cluster().ports:
        cluster().kill(port)
    driver = Driver()
    assert driver.call("put 1 10 1") == "UNAVAILABLE=10"
    cluster().heal()
    stored_again(driver, 1, 10)


def test_one_known_node_is_enough_and_a_replica_may_be_it():
    replica = next(port for port in cluster().ports if port not in cluster().masters())
    driver = Driver(ports=[replica])
    assert driver.tally("put", 1, 1000, 1) == {"STORED": 1000}
    assert driver.tally("get", 1, 1000) == {"FOUND": 1000}


# --- What Redis tells of ---


def test_entries_that_expire_are_told():
    driver = Driver("redis.ttl_seconds=1")
    assert driver.call("events 1000") == "FOUND lost=0"
    assert driver.tally("put", 1, 300, 1) == {"STORED": 300}
    for port in cluster().masters():
        cluster().call(port, "SET", "x{%d}" % tag_on(port), "1", "PX", 1)
    told = collect(driver, 300)
    assert told == {f"x:{order_id}" for order_id in range(1, 301)}
    assert driver.metric("events_foreign_total") >= 3


def tag_on(port):
    """A number whose slot is on this node."""
    ranges = cluster().masters()[port]
    return next(n for n in range(10000) for a, b in ranges if a <= key_slot(str(n)) <= b)


def collect(driver, count):
    told, end = set(), time.monotonic() + WITHIN_SECONDS
    while len(told) < count and time.monotonic() < end:
        words = driver.call("events 1000").split()
        assert words[:2] == ["FOUND", "lost=0"], words
        told.update(words[2:])
    return told


def test_entries_that_are_evicted_are_told_and_a_full_queue_counts_what_is_lost():
    driver = Driver("redis.events=64")
    assert driver.call("events 1000") == "FOUND lost=0"
    victim = next(iter(cluster().masters()))
    used = int(cluster().call(victim, "INFO", "memory").split("used_memory:")[1].split()[0])
    try:
        cluster().call(victim, "CONFIG", "SET", "maxmemory-policy", "allkeys-random")
        cluster().call(victim, "CONFIG", "SET", "maxmemory", used + 500_000)
        assert driver.tally("put", 1, 30000, 1) == {"STORED": 30000}
        words = driver.call("events 1000").split()
        assert words[0] == "FOUND" and int(words[1].partition("=")[2]) > 100, words[:2]
        assert len(words) == 2 + 64 and all(word.startswith("e:") for word in words[2:]), words
    finally:
        cluster().call(victim, "CONFIG", "SET", "maxmemory", 0)
        cluster().call(victim, "CONFIG", "SET", "maxmemory-policy", "noeviction")


def test_events_are_heard_again_after_a_failover():
    driver = Driver("redis.ttl_seconds=1")
    assert driver.call("events 1000") == "FOUND lost=0"
    victim = next(iter(cluster().masters()))
    cluster().kill(victim)
    stored_again(driver, 1, 300)
    wait_for(lambda: driver.metric("listeners_up") == 3, "three masters are listened to")
    assert driver.tally("put", 1000, 300, 1) == {"STORED": 300}
    told = {f"x:{order_id}" for order_id in range(1000, 1300)}
    seen = set()
    wait_for(lambda: seen.update(driver.call("events 500").split()) or told <= seen,
             "the events of all masters")  # fmt: skip


def test_no_events_while_nobody_is_listened_to():
    driver = Driver()
    for port in cluster().ports:
        cluster().kill(port)
    assert driver.call("events 300") == "UNAVAILABLE lost=0"


# --- The pipelines on it ---


def test_every_change_is_in_the_cache_when_it_is_committed_whatever_crashes():
    driver = Driver()
    driver.begin("follow", 1, 40000, 5)
    time.sleep(0.2)
    cluster().kill(next(iter(cluster().masters())))
    answer = dict(pair.split("=") for pair in driver.end().split())
    assert answer["committed"] == "200000" and int(answer["failures"]) > 0, answer
    # What the failed master had acknowledged and not passed on is a loss, and is told as one.
    lost = wait_for(lambda: int(driver.call("loss 1000")), "a loss is told")
    assert lost == SLOTS // 3 or lost == SLOTS // 3 + 1, lost
    driver.call("follow", 1, 20000, 5)
    for order_id in (1, 777, 20000):
        assert driver.call(f"get {order_id} 1") == "FOUND=1 version=5"
    assert driver.tally("get", 1, 20000) == {"FOUND": 20000}


def test_what_a_master_lost_is_filled_again_from_the_store():
    driver = Driver()
    assert driver.tally("put", 1, 5000, 1) == {"STORED": 5000}
    victim = next(iter(cluster().masters()))
    held = int(cluster().call(victim, "DBSIZE"))
    assert held > 1000
    assert driver.call("loss 300") == "0"
    driver.begin("refill", 1, 5000)
    time.sleep(0.3)
    cluster().call(victim, "FLUSHALL")
    assert driver.end() == f"rounds=1 refilled={held} scanned=5000"
    assert driver.tally("get", 1, 5000) == {"FOUND": 5000}


def test_what_expired_is_refreshed():
    driver = Driver("redis.ttl_seconds=1")
    assert driver.call("events 1000") == "FOUND lost=0"
    assert driver.tally("put", 1, 400, 1) == {"STORED": 400}
    answer = dict(pair.split("=") for pair in driver.call("refresh", 101, 300).split())
    assert int(answer["refreshed"]) >= 300 and int(answer["skipped"]) <= 100, answer


# --- The password ---


def test_the_password_is_given_and_a_wrong_one_is_no_wait():
    for port in cluster().ports:
        cluster().call(port, "CONFIG", "SET", "masterauth", "the secret")
    for port in cluster().ports:
        cluster().call(port, "CONFIG", "SET", "requirepass", "the secret")
    cluster().password = "the secret"
    try:
        right, wrong, none = Driver(password="the secret"), Driver(password="no"), Driver()
        assert right.tally("put", 1, 300, 1) == {"STORED": 300}
        assert right.call("events 1000") == "FOUND lost=0"
        for driver in (wrong, none):
            begin = time.monotonic()
            assert driver.call("get 1 10") == "UNAVAILABLE=10"
            assert time.monotonic() - begin < 2 * TIMEOUT_MS / 1000
        assert "does not take the password" in wrong.log_text()
        assert "the secret" not in right.log_text()
    finally:
        for port in cluster().ports:
            cluster().call(port, "CONFIG", "SET", "requirepass", "")
        cluster().password = None
        for port in cluster().ports:
            cluster().call(port, "CONFIG", "SET", "masterauth", "")


if __name__ == "__main__":
    tap.run(globals(), cleanup=clean_up)
