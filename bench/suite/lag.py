"""Commits changes at a steady rate, and observes when Redis has each of them.

The observer is a process of its own that knows nothing of orderd: it has every master of the cluster tell
when a key is set (keyspace events), and notes when it was told. What is between is the way of a change
from its COMMIT in MariaDB, whose answer the client has, to the cache: binlog, relay, Kafka, cache service,
the script in Redis. Both processes read the same monotonic clock.
"""

import multiprocessing
import re
import selectors
import threading
import time

from suite import stack
from suite.servers import Wrong
from suite.stack import real

EVENTS = "Exeg$"  # what orderd itself listens to, and sets
CHANNEL = "__keyevent@0__:set"
KEY = re.compile(rb"o:\{(\d+)\}")
TRANSACTION = 20  # changes
CONNECTIONS = 4


def observe(addresses, ready, stop, result):
    """The observer's process: [(time, bytes that were received)]."""
    nodes = [real.redis.Redis(address) for address in addresses]
    poll = selectors.DefaultSelector()
    for node in nodes:
        node.call("SUBSCRIBE", CHANNEL)
        poll.register(node.socket, selectors.EVENT_READ)
    ready.set()
    seen, rest = {}, {node.socket: b"" for node in nodes}
    while not stop.is_set():
        for key, _ in poll.select(0.1):
            data = key.fileobj.recv(1 << 16)
            now = time.monotonic()
            lines = (rest[key.fileobj] + data).split(b"\r\n")
            rest[key.fileobj] = lines.pop()
            for line in lines:
                found = KEY.fullmatch(line)
                if found:
                    seen.setdefault(int(found[1]), now)
    result.send(seen)
    result.close()


def commit_steadily(connection, transactions, begin, interval, done):
    """Each transaction when it is due. Appends (ids, when it was sent, when it was acknowledged)."""
    for number, ids in transactions:
        due = begin + number * interval
        wait = due - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        sent = time.monotonic()
        connection.query(
            "UPDATE orders SET status = 'success', version = version + 1, updated_at = NOW(6), "
            f"responded_at = NOW(6) WHERE order_id IN ({','.join(map(str, ids))})"
        )
        done.append((ids, sent, time.monotonic()))


def commit_all(ids, rate):
    """Changes every order once. Returns what was committed, and the rate that it came to."""
    interval = TRANSACTION / rate
    parts = [(at // TRANSACTION, ids[at : at + TRANSACTION]) for at in range(0, len(ids), TRANSACTION)]
    connections = [real.mariadb(0) for _ in range(CONNECTIONS)]
    done, begin = [], time.monotonic() + 0.2
    threads = []
    for number, connection in enumerate(connections):
        connection.query("SET SESSION time_zone = '+00:00'")
        share = parts[number::CONNECTIONS]
        threads.append(
            threading.Thread(target=commit_steadily, args=(connection, share, begin, interval, done))
        )
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for connection in connections:
        connection.close()
    if sum(len(part) for part, _, _ in done) != len(ids):
        raise Wrong("a transaction failed")
    return done, len(ids) / (max(acknowledged for _, _, acknowledged in done) - begin)


def measure(ids, rate):
    """Returns [(commit acknowledged, lag, lag from when the COMMIT was sent)], in the order of time, in
    seconds, and the rate."""
    with real.redis_cluster() as cluster:
        addresses = cluster.masters()
        for address in addresses:
            cluster.ask(address, "CONFIG", "SET", "notify-keyspace-events", EVENTS)
    context = multiprocessing.get_context("fork")
    ready, stop = context.Event(), context.Event()
    result, sender = context.Pipe(duplex=False)
    observer = context.Process(target=observe, args=(addresses, ready, stop, sender), daemon=True)
    observer.start()
    try:
        if not ready.wait(10):
            raise Wrong("the observer does not hear the masters")
        done, achieved = commit_all(ids, rate)
        with real.redis_cluster() as cluster:
            last = done[-1][0][-1]
            stack.wait_until(lambda: version_in(cluster, last) == 2, 30, "the last change in Redis")
        time.sleep(1)
    finally:
        stop.set()
    seen = result.recv() if result.poll(30) else {}
    observer.join(10)
    missing = [one for one in ids if one not in seen]
    if missing:
        raise Wrong(f"{len(missing)} of {len(ids)} changes never came to Redis")
    lags = [(acknowledged, seen[one] - acknowledged, seen[one] - sent)
            for part, sent, acknowledged in done for one in part]  # fmt: skip
    return sorted(lags), achieved


def version_in(cluster, order_id):
    record = cluster.call("GET", f"o:{{{order_id}}}")
    return int.from_bytes(record[16:20], "little") if record else 0


def quantile(values, part):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * part))]
