# run-tests: timeout=600
"""The query services' answers while orders are created, changed and archived, and each server and each
process is killed in turn (reading.py says what must hold of each); and at the end every order that was
acknowledged is in its home, once, and every instance says so."""

import concurrent.futures
import itertools
import random
import threading
import time

import cluster
import homes
import load
import reading
import stack_harness as stack
import orders

FAULT_SECONDS = 60
SOME_WRITES, SOME_READS = 60, 15  # acknowledged requests; good answers of each kind
SETTINGS = (
    "mysql.deadline_ms=4000", "mysql.read_timeout_ms=2000", "cassandra.request_timeout_ms=2000",
    "cassandra.attempt_timeout_ms=1000", "cassandra.reconnect_ms_max=1000", "kafka.session_timeout_ms=2000",
    "archive.settle_seconds=2", "archive.scan_every_seconds=3", "archive.scan_after_seconds=3",
)  # fmt: skip
# For whom an order is soon so old that Cassandra is asked for it first.
SOON_OLD = ("order.timeout_seconds=5", "order.idempotency_window_seconds=600")
ROLES = ("command", "command", "relay", "cache,refresh", "archive")


class Forgetting:
    """Takes orders out of Redis, and by repairs out of every local memory, so that reads go to the
    databases all the time."""

    def __init__(self, writing):
        self.writing = writing
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.work)
        self.count = 0

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()

    def work(self):
        chance = random.Random(1)
        while not self.stopping.wait(0.5):
            ids = self.writing.ids
            some = {chance.choice(ids) for _ in range(40)} | {chance.choice(ids[-100:]) for _ in range(40)}
            try:
                self.forget(some)
            except (OSError, AssertionError, stack.RedisError, ConnectionError):
                continue  # a server is down
            self.count += len(some)

    @staticmethod
    def forget(some):
        with stack.redis_cluster() as redis:
            for order_id in some:
                redis.call("DEL", f"o:{{{order_id}}}")
        if stack.pid("kafka") is not None:
            stack.publish("orders.refresh", [(one, b"") for one in some], headers={"kind": "repair"})


def test_answers_are_never_wrong_while_each_server_and_process_is_killed_in_turn():
    with cluster.instances(*ROLES, settings=SETTINGS) as parts:
        commands, (relay, cache, archive) = parts[:2], parts[2:]
        queries = [cluster.Instance("query", *SETTINGS), cluster.Instance("query", *SETTINGS, *SOON_OLD)]
        for query in queries:
            query.wait_for_metric("memory_current", 1)
        with load.Load(commands) as writing:
            writing.wait_for_more(SOME_WRITES)
            with reading.Readers(queries, writing) as readers, Forgetting(writing) as forgetting:
                kill_in_turn(writing, readers, (archive, relay, cache, commands[0], *queries))
        readers.check()
        print(f"# {forgetting.count} times an order was forgotten by Redis and local memory")
        came_from_every_tier(queries)
        all_are_home(writing)
        for query in queries:
            all_are_told(query, writing)
        cluster.end(*queries)


def kill_in_turn(writing, readers, processes):
    """Everything once, and then the processes again until the time is over. The first of them is the
    archive."""

    def goes_on():
        writing.wait_for_more(SOME_WRITES)
        readers.wait_for_more(SOME_READS)

    end = time.monotonic() + FAULT_SECONDS
    goes_on()
    for one in processes:
        kill_process(one, goes_on)
    kill_server("mariadb-0")
    goes_on()
    kill_redis_master(goes_on)
    kill_server("kafka", goes_on)
    goes_on()
    # Cassandra takes a while to come back; the archive does not start without it.
    kill_server("cassandra", goes_on, processes[1:])
    goes_on()
    for count in itertools.count(len(processes)):
        kill_process(processes[count % len(processes)], goes_on)
        goes_on()
        if time.monotonic() > end:
            print(f"# {count + 1} processes killed besides those while Cassandra was down")
            return


def kill_process(one, goes_on):
    one.kill()
    goes_on()
    one.start()


def kill_server(name, goes_on=None, processes=()):
    """Kills a server and starts it again. Where it can be done without, the load goes on before; while it
    starts, processes are killed and started too."""
    stack.kill(name)
    time.sleep(1)
    if goes_on is not None:
        goes_on()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        starting = pool.submit(stack.start, name)
        for one in itertools.cycle(processes):
            one.kill()
            one.start(wait=False)
            goes_on()
            if starting.done():
                break
        starting.result()
    for one in processes:
        one.wait_until_ready()


def kill_redis_master(goes_on):
    name = next(one for one in stack.named("redis") if role(one) == "master")
    stack.kill(name)
    goes_on()
    stack.wait_for(
        lambda: sum(role(one) == "master" for one in stack.named("redis") if one != name) == 3,
        cluster.WITHIN_SECONDS,
        "a failover",
    )
    goes_on()
    stack.start(name)


def role(name):
    with stack.redis_node(name) as node:
        return node.info("INFO", "replication")["role"]


def came_from_every_tier(queries):
    for name in ("query_memory_hits", "lookup_cache_hits", "lookup_store_found", "lookup_archive_found"):
        total = sum(one.metric(f"{name}_total") for one in queries)
        print(f"# {name}: {total:.0f} since the last start")
        assert total > 0, name


# --- At the end. ---


def all_are_home(writing):
    """Every final order is in Cassandra alone, every other one in MariaDB alone, as it was acknowledged,
    and there is no other."""
    truth = {one: cluster.without_expiry(order) for one, order in writing.acknowledged.items()}
    final = {one for one, order in truth.items() if order["status"] in orders.FINAL}

    def moved():
        return not final & homes.in_store(writing.partner).keys()

    stack.wait_for(moved, cluster.WITHIN_SECONDS, "every final order gone home")
    count = homes.check(truth)
    assert (count.store, count.both, count.archive) == (len(truth) - len(final), 0, len(final)), count
    archived = {one for one, order in homes.in_archive().items() if order["partner_code"] == writing.partner}
    assert archived == final and homes.in_store(writing.partner).keys() == truth.keys() - final
    sql = f"SELECT order_id, partner_order_id FROM order_refs WHERE partner_code = '{writing.partner}'"
    noted = sorted((str(one), reference) for one, reference in stack.rows(sql))
    assert noted == sorted((one, order["partner_order_id"]) for one, order in truth.items())
    print(f"# {len(truth)} orders acknowledged: {count}")


def all_are_told(query, writing):
    """An instance tells every order, as it was acknowledged last, by its id and many at once."""
    ids = list(writing.acknowledged)

    def told():
        found = []
        for at in range(0, len(ids), 500):
            found += orders.post_get(query, ids[at : at + 500])
        return {one["order_id"]: one for one in found if one is not None}

    stack.wait_for(lambda: query.metric("memory_current") == 1, cluster.WITHIN_SECONDS, "its memory")
    truth = {one: cluster.without_expiry(order) for one, order in writing.acknowledged.items()}
    found = {one: cluster.without_expiry(order) for one, order in told().items()}
    wrong = [(found.get(one), truth[one]) for one in ids if found.get(one) != truth[one]]
    assert not wrong, (len(wrong), wrong[0])
    with orders.Client(query) as client:
        for order_id in ids[:: max(1, len(ids) // 300)]:
            least = truth[order_id]["version"]
            answer = client.get(f"/v1/orders/{order_id}?min_version={least}")
            assert answer.status == 200 and cluster.without_expiry(answer.json) == truth[order_id], answer


if __name__ == "__main__":
    stack.run(globals())
