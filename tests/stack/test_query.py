# run-tests: timeout=600
"""The query side on the real servers, with two instances: where an order is read from, shown by the
counters; who looks it up; what local memory believes; and both event streams."""

import random
import resource
import signal
import threading
import time

import asked
import stack_harness as stack
import harness
import orders

LOOKUP_LOCK_SECONDS = 8
TRUST_SECONDS = 1
SLACK_SECONDS = 2  # on a machine that has much else to do
LAG_SECONDS = 2
READERS = 1000
FLUSH_READERS, FLUSH_ORDERS = 8, 400
SMALL = ("memory.budget_mb=64", "server.threads=2")
FEED = "relay,cache"  # what carries changes on
NO_HURRY = "archive.scan_every_seconds=3600"


def start(roles, *settings):
    return stack.Orderd(roles, *SMALL, *settings)


def begin():
    """Empty servers with the tables."""
    stack.fresh()
    stack.apply_schema()


def start_feed(roles=FEED):
    """Carries changes on; what was there before is published by now."""
    feed = start(roles)
    stack.wait_for(lambda: feed.log().count("the snapshot is read") == stack.SHARDS, 30, "the feed")
    return feed


def forget(order):
    """Redis no longer has the order."""
    with stack.redis_cluster() as cluster:
        cluster.call("DEL", f"o:{{{order['order_id']}}}")


def flush_redis():
    for one in stack.servers.REDIS_NODES:
        with stack.redis.Redis(one.address) as node:
            if node.info("INFO", "replication")["role"] == "master":
                node.call("FLUSHALL")


class Counters:
    """What counters of instances have grown by since they were last looked at."""

    def __init__(self, *instances):
        self.instances = instances
        self.before = self.now()

    def now(self):
        total = {}
        for one in self.instances:
            for name, value in one.metrics().items():
                total[name] = total.get(name, 0) + value
        return total

    def grown(self, *names):
        now = self.now()
        found = tuple(int(now[f"orderd_{name}"] - self.before[f"orderd_{name}"]) for name in names)
        self.before = now
        return found


WHERE = ("query_memory_hits_total", "lookup_cache_hits_total", "lookup_store_asked_total",
         "lookup_archive_asked_total")  # fmt: skip


def wait_current(*instances):
    for one in instances:
        orders.wait_for_metric(one, "orderd_memory_current", 1)


def answered(orderd, order, version, seconds=10):
    """Waits until an instance answers with this version, and never with another status."""

    def has_it():
        found = orders.read(orderd, order)
        assert found["version"] <= version, found
        return found["version"] == version

    harness.wait_for(has_it, seconds, f"version {version}")


# --- Where an order is read from ---


def test_an_order_of_one_instance_is_read_by_another_from_redis_and_then_from_memory():
    begin()
    first, second = start("command,query"), start("query")
    wait_current(first, second)
    order = orders.create(first)
    stack.wait_for(lambda: stack.cached(order["order_id"]), 10, "the order in Redis")
    counters = Counters(second)
    assert orders.read(second, order) == order
    assert counters.grown(*WHERE) == (0, 1, 0, 0)
    orders.wait_for_metric(second, "orderd_memory_fills_total", 1)
    assert orders.read(second, order) == order
    assert counters.grown(*WHERE) == (1, 0, 0, 0)
    # It is not final, and no change told of it: it is believed for a while only.
    orders.wait_for_metric(second, "orderd_memory_revalidations_total", 1, TRUST_SECONDS + 5)
    assert orders.read(second, order) == order
    assert counters.grown(*WHERE) == (0, 1, 0, 0)
    # Once the log is carried on, memory has it for good.
    start_feed()
    orders.wait_for_metric(second, "orderd_memory_changes_total", 1)
    time.sleep(2 * TRUST_SECONDS)
    counters.grown(*WHERE)
    assert orders.read(second, order) == order
    changed = orders.change(first, order, "processing")
    answered(second, order, 2)
    assert orders.read(second, order) == changed
    hits, cache, store, archive = counters.grown(*WHERE)
    assert hits >= 2 and (cache, store, archive) == (0, 0, 0), (hits, cache, store, archive)


def test_a_version_that_memory_and_redis_do_not_have_is_read_from_the_database():
    begin()
    first, second = start("command,query"), start("query")
    wait_current(second)
    order = orders.create(first)
    with stack.redis_cluster() as cluster:
        stack.wait_for(lambda: stack.cached(order["order_id"]), 10, "the order in Redis")
        old = stack.cached(order["order_id"])
        orders.change(first, order, "processing")
        cluster.call("SET", f"o:{{{order['order_id']}}}", old)  # a cache that lags
    assert orders.read(second, order)["version"] == 1
    answer = second.get(orders.path_of(order) + "?min_version=2")
    assert answer.status == 200 and answer.json["version"] == 2, answer
    answered(second, order, 2)  # memory and Redis have it by that, in a moment


def test_the_age_of_an_order_says_which_database_is_asked_first_and_the_servers_count_it():
    begin()
    feed = start("command,relay,archive", "archive.settle_seconds=1", NO_HURRY)
    still_open, final = orders.create(feed), orders.create(feed)
    final = orders.change(feed, final, "cancel")
    stack.wait_for(lambda: stack.order_row(final["order_id"]) is None, 30, "the order gone home")
    feed.stop()
    nobody = {"order_id": str(int(final["order_id"]) + 1)}  # another sequence number: it may be given
    # To one of them every order is young, to the other one each is older than the time-out.
    young = start("query")
    old = start("query", "order.timeout_seconds=1", "order.idempotency_window_seconds=60")
    wait_current(young, old)
    time.sleep(1)
    with asked.Databases() as databases:

        def cost(reader, order, status=200):
            """(statements of MariaDB, reads of Cassandra) for one read that no memory answers."""
            forget(order)
            answer = reader.get(orders.path_of(order))
            assert answer.status == status, answer
            if status == 200:
                assert answer.json["version"] == order["version"], answer
            return databases.asked_for(order["order_id"])

        assert cost(young, still_open) == (1, 0)
        assert cost(old, final) == (0, 1)
        assert cost(young, final) == (1, 1)  # a wrong guess
        assert cost(old, still_open) == (1, 1)
        assert cost(young, nobody, 404) == (1, 1)
        assert cost(old, nobody, 404) == (1, 1)
    for reader in (young, old):
        metrics = reader.metrics()
        assert metrics["orderd_lookup_second_asked_total"] == 2, metrics


def in_cassandra(order):
    with stack.cassandra() as connection:
        found = connection.query("SELECT order_id FROM orders.orders_by_slot")
    return any(int(row[0]) == int(order["order_id"]) for row in found)


def test_an_archived_order_is_found_by_its_reference():
    begin()
    feed = start("command,relay,archive")
    order = orders.create(feed)
    order = orders.change(feed, order, "cancel")
    stack.wait_for(lambda: in_cassandra(order), 30, "the order in Cassandra")
    feed.stop()
    with stack.mariadb(stack.shard_of(order["order_id"])) as connection:
        connection.query(f"DELETE FROM orders WHERE order_id = {order['order_id']}")
    forget(order)
    reader = start("query")
    target = "/v1/orders?partner_code={}&partner_order_id={}".format(
        order["partner_code"], order["partner_order_id"]
    )
    counters = Counters(reader)
    answer = reader.get(target)
    assert answer.status == 200 and answer.json == order, answer
    assert counters.grown("lookup_archive_found_total") == (1,)
    orders.wait_for_metric(reader, "orderd_memory_fills_total", 1)
    counters.grown("query_memory_hits_total")
    assert reader.get(target).json == order
    assert counters.grown("query_memory_hits_total") == (1,)
    assert reader.get(target + "x").status == 404


def test_an_id_in_neither_tier_asks_both_once_and_an_impossible_one_asks_nobody():
    begin()
    writer, reader = start("command"), start("query")
    order = orders.create(writer)
    counters = Counters(reader)
    nobody = int(order["order_id"]) + 1  # another sequence number: it may have been given
    assert reader.get(f"/v1/orders/{nobody}").status == 404
    assert counters.grown("lookup_store_asked_total", "lookup_archive_asked_total") == (1, 1)
    future = int(order["order_id"]) + (100 * 3600 << 27)
    node = int(order["order_id"]) ^ 1023 << 7

    def cost(*impossible):
        for one in impossible:
            assert reader.get(f"/v1/orders/{one}").status == 404
        return counters.grown(
            "query_impossible_total", "lookup_cache_misses_total", "lookup_store_asked_total",
            "lookup_archive_asked_total",
        )  # fmt: skip

    assert cost(2**63 - 1, future) == (2, 0, 0, 0)
    # A node that is not known has the leases read again, at most once a second.
    stack.wait_for(lambda: cost(node) == (1, 0, 0, 0), 10, "the node to be known as unknown")


# --- Who looks it up ---


def test_a_thousand_readers_of_one_order_cost_one_query():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    begin()
    writer = start("command")
    order = orders.create(writer)
    forget(order)
    readers = [start("query", "lookup.wait_ms=5000") for _ in range(2)]
    wait_current(*readers)
    counters = Counters(*readers)
    connections = [readers[i % 2].connect() for i in range(READERS)]
    with asked.Databases() as databases:
        send_while_nothing_answers(readers, connections, order)
        for connection in connections:
            answer = connection.read_answer()
            assert answer.status == 200 and answer.json == order, answer
            connection.socket.close()
        assert databases.asked_for(order["order_id"]) == (1, 0)
    found = counters.grown(
        "lookup_store_asked_total", "lookup_archive_asked_total", "lookup_locks_total"
    )
    assert found == (1, 0, 1), found


def send_while_nothing_answers(readers, connections, order):
    """Every connection asks for the order before its shard answers any."""
    shard = f"mariadb-{stack.shard_of(order['order_id'])}"
    stack.pause(shard)
    try:
        for connection in connections:
            connection.send(orders.head("GET", orders.path_of(order)))
        stack.wait_for(
            lambda: sum(one.metrics()["orderd_query_memory_misses_total"] for one in readers)
            >= READERS,
            30,
            "all readers",
        )
    finally:
        stack.resume(shard)


def test_the_holder_of_the_lock_is_killed_and_others_are_told_pending_and_then_the_order():
    begin()
    order = orders.create(start("command"))
    forget(order)
    holder, other = start("query"), start("query")
    shard = f"mariadb-{stack.shard_of(order['order_id'])}"
    stack.pause(shard)
    try:
        with holder.connect() as connection:
            connection.send(orders.head("GET", orders.path_of(order)))
            orders.wait_for_metric(holder, "orderd_lookup_store_asked_total", 1)
            locked = time.monotonic()
            holder.kill()
        answer = other.get(orders.path_of(order))
        assert answer.status == 202, answer
        assert answer.headers["retry-after"] == "1"
        assert answer.json == {
            "order_id": order["order_id"],
            "status": "pending",
            "provisional": True,
        }
    finally:
        stack.resume(shard)
    while (answer := other.get(orders.path_of(order))).status == 202:
        assert time.monotonic() - locked < LOOKUP_LOCK_SECONDS + 2
        time.sleep(0.1)
    assert answer.status == 200 and answer.json == order, answer
    assert other.metrics()["orderd_lookup_store_asked_total"] == 1


class Readers:
    """Clients that read orders again and again, with the version that they know of; `versions` has what
    was acknowledged before a read begins."""

    def __init__(self, instances, versions, amounts):
        self.versions, self.amounts = versions, amounts
        self.stop, self.wrong, self.count = threading.Event(), [], 0
        self.threads = [
            threading.Thread(target=self.read_on, args=(one, number))
            for number in range(FLUSH_READERS // len(instances))
            for one in instances
        ]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def read_on(self, instance, seed):
        chance = random.Random(seed)
        known = list(self.versions)
        with orders.Client(instance) as client:
            while not self.stop.is_set():
                order_id = chance.choice(known)
                least = self.versions[order_id]
                answer = client.get(f"/v1/orders/{order_id}?min_version={least}")
                self.count += 1
                if answer.status == 202:
                    continue
                good = answer.status == 200 and answer.json["version"] >= least
                if not good or answer.json["amount"] != self.amounts[order_id]:
                    self.wrong.append(answer)
                    return


def test_redis_is_flushed_under_load_and_no_answer_is_wrong():
    begin()
    writer = start("command")
    # No log is carried on, and nothing is trusted: every read goes to Redis.
    instances = [start("query", "memory.fill_trust_ms=0") for _ in range(2)]
    made = [orders.create(writer, amount=1 + number) for number in range(FLUSH_ORDERS)]
    versions = {order["order_id"]: 1 for order in made}
    amounts = {order["order_id"]: order["amount"] for order in made}
    with asked.Databases() as databases, Readers(instances, versions, amounts) as readers:
        for number, order in enumerate(made[: FLUSH_ORDERS // 4]):
            if number % 20 == 0:
                flush_redis()
            orders.change(writer, order, "processing")
            versions[order["order_id"]] = 2
        # Without changes there is one question for an order, whoever misses it and wherever.
        wait_until_cached(versions)
        databases.forget()
        flush_redis()
        wait_until_cached(versions)
        questions = databases.store_statements()
        counters = Counters(*instances)
        time.sleep(1)
        hits, misses = counters.grown("lookup_cache_hits_total", "lookup_cache_misses_total")
    assert not readers.wrong, readers.wrong
    asked_for = [questions[order_id] for order_id in versions]
    print(f"# {readers.count} reads; after the flush {sum(asked_for)} questions for {FLUSH_ORDERS} orders,"
          f" at most {max(asked_for)} for one; then {hits} hits and {misses} misses")  # fmt: skip
    assert sum(asked_for) > 0 and max(asked_for) == 1, questions.most_common(5)
    assert hits > 100 and misses == 0, (hits, misses)


def wait_until_cached(versions):
    """Waits until the readers have had Redis filled again."""
    missing = set(versions)

    def all_there():
        with stack.redis_cluster() as cluster:
            missing.difference_update(
                [one for one in missing if cluster.call("EXISTS", f"o:{{{one}}}")]
            )
        return not missing

    stack.wait_for(all_there, 60, "every order in Redis")


# --- What memory believes ---


def test_without_kafka_memory_is_not_believed_and_nothing_old_is_served():
    begin()
    writer, feed, reader = start("command"), start_feed(), start("query")
    wait_current(reader)
    order = orders.create(writer)
    answered(reader, order, 1)
    orders.wait_for_metric(reader, "orderd_memory_changes_total", 1)
    stack.pause("kafka")
    try:
        stack.wait_for(lambda: reader.metrics()["orderd_memory_current"] == 0, 10, "the doubt")
        changed = orders.change(writer, order, "processing")
        assert orders.read(reader, order) == changed
        counters = Counters(reader)
        assert orders.read(reader, order) == changed
        assert counters.grown("query_memory_doubted_total", "lookup_cache_hits_total") == (1, 1)
    finally:
        stack.resume("kafka")
    wait_current(reader)
    answered(reader, order, 2, seconds=60)
    metrics = reader.metrics()
    assert metrics["orderd_memory_behind_total"] >= 1
    assert metrics["orderd_memory_gaps_total"] == 0
    orders.wait_for_metric(reader, "orderd_memory_changes_total", 2, 60)
    counters = Counters(reader)
    assert orders.read(reader, order) == changed
    assert counters.grown("query_memory_hits_total") == (1,)
    assert feed.process.poll() is None


def put_back(entries):
    """Redis has older versions of orders again: a cache that lags."""
    with stack.redis_cluster() as cluster:
        for order_id, entry in entries.items():
            cluster.call("SET", f"o:{{{order_id}}}", entry)


def entries_of(some, version):
    """What Redis has of orders, once it has this version of each."""

    def has_it(order_id):
        entry = stack.cached(order_id)
        return entry if entry is not None and orders.read_record(entry)["version"] == version else None

    return {
        order["order_id"]: stack.wait_for(lambda o=order: has_it(o["order_id"]), 10, "the order in Redis")
        for order in some
    }


def test_a_stale_fill_is_served_no_longer_than_it_is_trusted_and_never_for_a_higher_version():
    begin()
    writer, feed = start("command"), start_feed("relay")  # a cache pipeline would mend Redis
    some = [orders.create(writer) for _ in range(20)]
    old = entries_of(some, 1)
    for order in some:
        orders.change(writer, order, "processing")
    new = entries_of(some, 2)
    stack.wait_for_messages("orders.changes", 2 * len(some))
    put_back(old)
    trust_seconds = 3
    reader = start("query", f"memory.fill_trust_ms={1000 * trust_seconds}")  # version 2 passed before
    wait_current(reader)
    plain, exact = some[:5], some[5:]
    began = time.monotonic()
    for number, order in enumerate(plain, 1):
        assert orders.read(reader, order)["version"] == 1
        orders.wait_for_metric(reader, "orderd_memory_fills_total", number)
    for order in exact * 5:
        answer = reader.get(orders.path_of(order) + "?min_version=2")
        assert answer.status == 200 and answer.json["version"] == 2, answer
    put_back(new)  # Redis has caught up: only memory can be behind
    caught_up = time.monotonic()
    counters = Counters(reader)
    versions = [orders.read(reader, order)["version"] for order in plain]
    if time.monotonic() < began + trust_seconds:
        assert versions == [1] * len(plain), versions
        assert counters.grown("query_memory_hits_total") == (len(plain),)
    stack.wait_for(
        lambda: all(orders.read(reader, order)["version"] == 2 for order in plain),
        caught_up + trust_seconds + SLACK_SECONDS - time.monotonic(),
        "version 2",
    )
    assert reader.metrics()["orderd_memory_revalidations_total"] >= len(plain)
    assert feed.process.poll() is None


def test_a_version_that_passes_on_the_log_while_an_older_one_is_filled_wins():
    begin()
    writer, feed = start("command"), start_feed("relay")
    some = [orders.create(writer) for _ in range(120)]
    old = entries_of(some, 1)
    stack.wait_for_messages("orders.changes", len(some))
    # With nothing in its memory, and little trust: it fills from Redis all the time.
    reader = start("query", "memory.fill_trust_ms=10")
    wait_current(reader)
    acknowledged, seen, wrong, stop = {}, {}, [], threading.Event()

    def read_on(mine, exact):
        """All of them at once, so that something is on its way nearly always."""
        with reader.connect() as connection:
            while not stop.is_set():
                wanted, asked_at = [], time.monotonic()
                for order in mine:
                    least = acknowledged.get(order["order_id"], 1) if exact else 0
                    wanted.append((order["order_id"], least))
                paths = [f"/v1/orders/{order_id}?min_version={least}" for order_id, least in wanted]
                connection.send(b"".join(orders.head("GET", path) for path in paths))
                for order_id, least in wanted:
                    answer = connection.read_answer()
                    if answer.status in (202, 503):
                        continue
                    version = answer.json["version"]
                    if answer.status != 200 or version < least:
                        wrong.append(answer)
                    elif version == 1:
                        seen[order_id] = asked_at

    # Who wants version 2 has Redis mended: so those are others.
    plain, exact = some[:100], some[100:]
    parts = ((plain, False), (plain, False), (exact, True))
    threads = [threading.Thread(target=read_on, args=part) for part in parts]
    for thread in threads:
        thread.start()
    try:
        orders.wait_for_metric(reader, "orderd_memory_revalidations_total", len(some))
        for order in some:
            orders.change(writer, order, "processing")
            put_back({order["order_id"]: old[order["order_id"]]})  # and stays behind
            acknowledged[order["order_id"]] = 2
        orders.wait_for_metric(reader, "orderd_memory_changes_total", len(some))
        passed = time.monotonic()
        time.sleep(2 * SLACK_SECONDS)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong, wrong
    assert seen.keys() == {order["order_id"] for order in some}
    late = [order_id for order_id, asked_at in seen.items() if asked_at > passed + SLACK_SECONDS]
    assert not late, f"{len(late)} orders were old long after their change had passed"
    assert all(orders.read(reader, order)["version"] == 2 for order in some)
    assert feed.process.poll() is None


def test_a_reader_that_slept_past_the_end_of_the_log_serves_nothing_old():
    begin()
    writer, feed, reader = start("command"), start_feed(), start("query")
    wait_current(reader)
    some = [orders.create(writer) for _ in range(20)]
    orders.wait_for_metric(reader, "orderd_memory_changes_total", len(some))
    with orders.Events(reader, "/v1/changes?after=0") as events:
        early = events.take(len(some))[0][0]
    reader.signal(signal.SIGSTOP)
    changed = [orders.change(writer, one, "processing") for one in some]
    stack.wait_for_messages("orders.changes", 2 * len(some))
    with stack.kafka() as client:
        client.delete_records("orders.changes")
    time.sleep(LAG_SECONDS + 0.5)
    reader.signal(signal.SIGCONT)
    for one in changed:
        assert orders.read(reader, one) == one
    stack.wait_for(
        lambda: all(orders.read(reader, one) == one for one in changed)
        and reader.metrics()["orderd_memory_current"] == 1,
        30,
        "memory to be believed again",
    )
    last = [orders.change(writer, one, "success") for one in some]
    for one in last:
        answered(reader, one, 3)
    answer = reader.get(f"/v1/changes?after={early}")
    assert answer.status == 410, answer
    assert feed.process.poll() is None


def test_a_repair_is_heard_by_every_instance():
    begin()
    writer, feed = start("command"), start_feed()
    readers = [start("query") for _ in range(2)]
    wait_current(*readers)
    order = orders.create(writer)
    for reader in readers:
        answered(reader, order, 1)
        orders.wait_for_metric(reader, "orderd_memory_changes_total", 1)
    stack.publish("orders.refresh", [(order["order_id"], b"")], headers={"kind": "refresh"})
    stack.publish("orders.refresh", [(order["order_id"], b"")], headers={"kind": "repair"})
    for reader in readers:
        orders.wait_for_metric(reader, "orderd_memory_repairs_total", 1, 5)
        counters = Counters(reader)
        assert orders.read(reader, order) == order
        assert counters.grown("query_memory_hits_total", "lookup_cache_hits_total") == (0, 1)
    assert feed.process.poll() is None


# --- Event streams ---


def test_changes_are_followed_on_one_instance_and_continued_on_another():
    begin()
    writer, feed = start("command"), start_feed()
    first, second = start("query"), start("query")
    some = [orders.create(writer) for _ in range(10)]
    with orders.Events(first, "/v1/changes?after=0") as events:
        seen = events.take(6)
    assert all(name == "created" for _, name, _ in seen), seen
    cursor = seen[-1][0]
    changed = [orders.change(writer, one, "cancel") for one in some]
    with orders.Events(second, "/v1/changes?after=0", f"Last-Event-ID: {cursor}") as events:
        seen += events.take(14)
        assert events.is_silent()
        late = orders.create(writer)
        seen.append(events.next())
    for order in [*some, *changed, late]:
        assert sum(1 for _, _, found in seen if found == order) == 1, order
    for order in some:
        versions = [found["version"] for _, _, found in seen if found["order_id"] == order["order_id"]]
        assert versions == [1, 2], versions
    # From now on, without a cursor.
    orders.wait_for_metric(first, "orderd_memory_changes_total", 21)
    with orders.Events(first, "/v1/changes") as events:
        assert events.is_silent()
        assert orders.create(writer) == events.next()[2]
    for bad in ("x", "1", "1.2.3", cursor + ".1", cursor.replace(".", ".999999", 1)):
        answer = second.get(f"/v1/changes?after={bad}")
        assert answer.status == 400, (bad, answer)
    first.stop(), first.start()
    with orders.Events(first, f"/v1/changes?after={cursor}") as events:
        assert len(events.take(16)) == 16
    assert feed.process.poll() is None


def test_the_events_of_an_order_end_with_it_on_any_instance():
    begin()
    writer, feed = start("command"), start_feed()
    first, second = start("query"), start("query")
    order = orders.create(writer)
    for reader in (first, second):
        answered(reader, order, 1)
        orders.wait_for_metric(reader, "orderd_memory_changes_total", 1)
    target = orders.path_of(order) + "/events"
    with orders.Events(first, target) as one, orders.Events(second, target) as other:
        assert one.next()[1:] == ("order", order)
        assert other.next()[1:] == ("order", order)
        processing = orders.change(writer, order, "processing")
        assert one.next()[1:] == ("changed", processing)
        assert other.next()[1:] == ("changed", processing)
        success = orders.change(writer, order, "success")
        for stream in (one, other):
            assert stream.next()[1:] == ("changed", success)
            assert stream.next() is None
    assert feed.process.poll() is None


def test_a_stream_that_begins_just_after_a_change_misses_no_other():
    begin()
    writer, feed, reader = start("command"), start_feed(), start("query")
    wait_current(reader)
    for number in range(100):
        order = orders.create(writer)
        if number % 2 == 0:
            answered(reader, order, 1)
        orders.change(writer, order, "processing")
        with orders.Events(reader, orders.path_of(order) + "/events") as events:
            last = orders.change(writer, order, "success")
            seen = []
            while (event := events.next(10)) is not None:
                seen.append(event[2])
        assert seen[-1] == last, seen
        versions = [one["version"] for one in seen]
        assert versions == list(range(versions[0], 4)), versions
    assert feed.process.poll() is None


if __name__ == "__main__":
    stack.run(globals())
