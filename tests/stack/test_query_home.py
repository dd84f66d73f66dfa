# run-tests: timeout=600
"""Orders on their way from MariaDB to Cassandra, as clients see them: a whole life over several
instances; readers in a tight loop while thousands move; and a table of orders that does not grow."""

import json
import signal
import threading
import time

import cluster
import homes
import stack_harness as stack
import orders  # found by stack_harness

WITHIN_SECONDS = cluster.WITHIN_SECONDS
SETTLE = ("archive.settle_seconds=1", "archive.scan_every_seconds=3", "archive.scan_after_seconds=3")
MOVED_IN = 6
NO_VERSION = 2**32 - 1  # that nobody has: memory and Redis are of no help


def reference_of(order):
    return "/v1/orders?partner_code={partner_code}&partner_order_id={partner_order_id}".format(**order)


# --- A whole life. ---


def test_the_whole_life_of_an_order_over_several_instances():
    settings = (*SETTLE, "archive.settle_seconds=2")
    roles = ("command", "query", "relay,cache,results,archive")
    with cluster.instances(*roles, settings=settings) as (writer, reader, pipelines):
        reader.wait_for_metric("memory_current", 1)
        with orders.Events(reader, "/v1/changes?after=0") as events:
            order = orders.create(writer)
            created = told(events, "created", order)
            where = Where(reader)
            assert both_ways(reader, order) == order
            assert where.of_reads() == {"memory": 2}, "the log told memory of it"

            processing = orders.change(writer, order, "processing")
            told(events, "changed", processing)
            assert both_ways(reader, order) == processing

            time_text = orders.rfc3339(orders.now_us())
            cluster.send_results(
                cluster.result(order, "success", bank_code="VCB", responded_at=time_text)
            )
            success = told(events, "changed")
            assert (success["order_id"], success["version"], success["status"]) == (
                order["order_id"], 3, "success")  # fmt: skip
            assert (success["bank_code"], success["responded_at"]) == ("VCB", time_text), success
            assert both_ways(reader, order) == success
            assert where.of_reads() == {"memory": 4}

        # From Redis, by an instance whose memory has nothing.
        cluster.wait_for_version(order, 3)
        from_redis = cluster.Instance("query")
        where = Where(from_redis)
        assert from_redis.get(orders.path_of(order)).json == success
        assert where.of_reads() == {"cache": 1}
        from_redis.wait_for_metric("memory_fills_total", 1)
        assert both_ways(from_redis, order) == success
        assert where.of_reads() == {"memory": 2}, "a final order stays"

        # It goes home; from then on Cassandra is the only one that has it.
        stack.wait_for(lambda: cluster.in_store(order) is None, WITHIN_SECONDS, "the order gone home")
        assert homes.check({order["order_id"]: cluster.without_expiry(success)}).archive == 1
        archived = stack.wait_for_messages("orders.archived", 1)
        assert [message.key.decode() for message in archived] == [order["order_id"]]
        assert orders.read_record(archived[0].value) == success
        forget(order)
        for path in (orders.path_of(order), reference_of(order)):
            from_cassandra = cluster.Instance("query")
            where = Where(from_cassandra)
            assert from_cassandra.get(path).json == success
            assert where.of_reads()["archive"] == 1
            from_cassandra.wait_for_metric("memory_fills_total", 1)
            assert both_ways(from_cassandra, order) == success
            assert where.of_reads() == {"memory": 2}
            forget(order)
            cluster.end(from_cassandra)
        assert both_ways(reader, order, "?min_version=3") == success
        after_its_end(writer, pipelines, order, success)
        assert cluster.in_log(order) == [1, 2, 3]
        assert created["version"] == 1
        cluster.end(from_redis)


def both_ways(instance, order, query=""):
    """The order as it is told by its id and by its reference."""
    by_id, by_reference = instance.get(orders.path_of(order) + query), instance.get(reference_of(order))
    assert by_id.status == by_reference.status == 200, (by_id, by_reference)
    assert by_id.json == by_reference.json, (by_id, by_reference)
    assert by_id.headers["etag"] == f'"{by_id.json["version"]}"', by_id
    return by_id.json


def told(events, name, order=None):
    """The next event of the stream, of this name and of this order."""
    found = events.next()
    assert found[1] == name and (order is None or found[2] == order), (found, order)
    return found[2]


def forget(order):
    with stack.redis_cluster() as redis:
        redis.call("DEL", f"o:{{{order['order_id']}}}")


class Where:
    """From where an instance answered since it was asked the last time."""

    METRICS = {
        "memory": "query_memory_hits_total",
        "cache": "lookup_cache_hits_total",
        "store": "lookup_store_found_total",
        "archive": "lookup_archive_found_total",
    }

    def __init__(self, instance):
        self.instance = instance
        self.before = self.now()

    def now(self):
        return {tier: int(self.instance.metric(name)) for tier, name in self.METRICS.items()}

    def of_reads(self):
        now = self.now()
        grown = {tier: now[tier] - self.before[tier] for tier in now}
        self.before = now
        return {tier: count for tier, count in grown.items() if count > 0}


def after_its_end(writer, pipelines, order, success):
    """What commands and results are told of an order that only Cassandra has."""
    same = {name: order[name] for name in ("partner_code", "partner_order_id", "amount")}
    # The bank code came later: to ask for none is another content.
    conflict = writer.post("/v1/orders", same)
    assert conflict.status == 409 and conflict.json["order_id"] == order["order_id"], conflict
    replay = writer.post("/v1/orders", {**same, "bank_code": "VCB"})
    assert replay.status == 200 and replay.json == success, replay
    assert replay.headers["idempotent-replay"] == "true", replay
    illegal = writer.patch(orders.path_of(order), {"status": "cancel"})
    assert illegal.status == 409 and illegal.json["order"] == success, illegal
    unchanged = writer.patch(orders.path_of(order), {"status": "success"})
    assert unchanged.status == 200 and unchanged.json == success, unchanged
    repeated = pipelines.metric("results_repeated_total")
    cluster.send_results(cluster.result(order, "success"), cluster.result(order, "cancel"))
    late = stack.wait_for_messages("orders.late", 1, WITHIN_SECONDS)
    assert [json.loads(message.value)["result"] for message in late] == ["cancel"]
    pipelines.wait_for_metric("results_repeated_total", repeated + 1)
    # Not known is neither "not there" nor "new".
    stack.pause("cassandra")
    try:
        orders.check_problem(writer.post("/v1/orders", same), 503)
        orders.check_problem(writer.patch(orders.path_of(order), {"status": "cancel"}), 503)
    finally:
        stack.resume("cassandra")


# --- Readers while orders move. ---


class Asker:
    """Asks an instance for orders in a tight loop, many requests at once, so that only the databases can
    answer: each time with a version that nobody has. The answer is 412 with the version that there is."""

    AT_ONCE = 250

    def __init__(self, instance, some):
        self.instance, self.some = instance, some
        self.versions = {order_id: [] for order_id in some}
        self.unknown, self.rounds, self.wrong = 0, 0, []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.work)

    def work(self):
        try:
            with self.instance.connect() as connection:
                while not self.stop.is_set():
                    for at in range(0, len(self.some), self.AT_ONCE):
                        self.ask(connection, self.some[at : at + self.AT_ONCE])
                    self.rounds += 1
        except Exception as error:  # shown by check
            self.wrong.append(repr(error))

    def ask(self, connection, ids):
        paths = [f"/v1/orders/{order_id}?min_version={NO_VERSION}" for order_id in ids]
        connection.send(b"".join(orders.head("GET", path) for path in paths))
        for order_id in ids:
            answer = connection.read_answer()
            if answer.status == 412:
                self.versions[order_id].append(answer.json["version"])
            elif answer.status in (202, 503):
                self.unknown += 1
            else:
                self.wrong.append(answer)

    def check(self):
        assert not self.wrong, (len(self.wrong), self.wrong[:3])
        for order_id, versions in self.versions.items():
            assert versions == sorted(versions) and versions[-1] == 2, (order_id, versions)


def test_readers_in_a_tight_loop_meet_no_404_while_thousands_of_orders_move_home():
    count = 4000
    with cluster.instances("command", "relay", settings=SETTLE) as (writer, relay):
        made = orders.post_records(writer, [orders.record(partner_code=b"move") for _ in range(count)])
        assert all(code == 201 for _, _, code, _ in made)
        ids = [str(order_id) for order_id, *_ in made]
        # One takes every order for young, the other one for old: it asks Cassandra first.
        young = cluster.Instance("query")
        old = cluster.Instance(
            "query", "order.timeout_seconds=1", "order.idempotency_window_seconds=60",
            "mysql.read_lanes=1", "mysql.read_batch=1",  # many wait for MariaDB when it stands still
        )  # fmt: skip
        time.sleep(1.1)
        askers = [Asker(young, ids[0::3]), Asker(old, ids[1::3]), Asker(old, ids[2::3])]
        for asker in askers:
            asker.thread.start()
        movers = cluster.Instance("results,archive", *SETTLE)
        try:
            for part in range(MOVED_IN):  # some are on their way all the time
                some = ids[part::MOVED_IN]
                cluster.send_results(*(cluster.result(order_id, "success") for order_id in some))
                stand_still(old)
            while stack.rows("SELECT COUNT(*) FROM orders WHERE partner_code = 'move'") != [(0,), (0,)]:
                stand_still(old)
            rounds = [asker.rounds for asker in askers]
            stack.wait_for(
                lambda: all(asker.rounds > before + 1 for asker, before in zip(askers, rounds)),
                WITHIN_SECONDS,
                "another round",
            )
        finally:
            for asker in askers:
                asker.stop.set()
            for asker in askers:
                asker.thread.join()
        for asker in askers:
            asker.check()
        answers = sum(len(versions) for asker in askers for versions in asker.versions.values())
        unknown = sum(asker.unknown for asker in askers)
        found = [sum(one.metric(f"lookup_{tier}_found_total") for one in (young, old))
                 for tier in ("store", "archive")]  # fmt: skip
        print(f"# {answers} answers from MariaDB ({found[0]:.0f}) and Cassandra ({found[1]:.0f}), {unknown} not"
              f" known, {[asker.rounds for asker in askers]} rounds")  # fmt: skip
        for one in (young, old):
            assert one.metric("query_memory_hits_total") == one.metric("lookup_cache_hits_total") == 0
        assert sum(found) >= answers and min(found) > count / 2, (found, answers)
        assert movers.metric("settling_released_total") >= count
        cluster.end(movers, young, old)
        assert relay.runs


def stand_still(instance):
    """A process that does nothing for longer than orders settle, as on a machine that was paused: what
    one tier told it before is old when it asks the next one."""
    instance.signal(signal.SIGSTOP)
    time.sleep(2)
    instance.signal(signal.SIGCONT)
    time.sleep(0.3)


# --- The size of the table. ---


class Stream:
    """Creates orders at a constant rate, and ends each by a change."""

    BATCH = 30
    EVERY_SECONDS = 0.1

    def __init__(self, instance):
        self.instance = instance
        self.ended = 0
        self.failure = None
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.work)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        assert self.failure is None, self.failure

    def work(self):
        try:
            with self.instance.connect() as connection:
                due = time.monotonic()
                while not self.stop.is_set():
                    self.one_batch(connection)
                    due += self.EVERY_SECONDS
                    time.sleep(max(0, due - time.monotonic()))
        except Exception as error:  # shown at the end
            self.failure = error

    def one_batch(self, connection):
        made = orders.post_records(self.instance, [orders.record() for _ in range(self.BATCH)])
        body = json.dumps({"status": "success"}).encode()
        for order_id, *_ in made:
            path = f"/v1/orders/{order_id}"
            connection.send(orders.head("PATCH", path, "Content-Type: application/json", body=body))
        for _ in made:
            answer = connection.read_answer()
            assert answer.status == 200, answer
            self.ended += 1


def table_size():
    """(rows of `orders`, bytes of its files), of all shards."""
    rows = sum(count for (count,) in stack.rows("SELECT COUNT(*) FROM orders"))
    sql = "SELECT FILE_SIZE FROM information_schema.INNODB_SYS_TABLESPACES WHERE NAME = 'orders/orders'"
    return rows, sum(size for shard in range(stack.SHARDS) for (size,) in root_rows(shard, sql))


def root_rows(shard, sql):
    with stack.mariadb_root(shard) as root:
        return root.query(sql)


def test_the_table_of_orders_stays_as_large_as_it_is_under_a_constant_load():
    with cluster.instances("command", "relay,archive", settings=SETTLE) as (writer, _):
        sizes = []
        with Stream(writer) as stream:
            for _ in range(24):
                time.sleep(1)
                sizes.append((stream.ended, *table_size()))
        warm, later = sizes[8:16], sizes[16:]
        rate = (later[-1][0] - warm[0][0]) / (len(warm) + len(later) - 1)
        rows_warm, rows_later = (max(rows for _, rows, _ in part) for part in (warm, later))
        bytes_warm, bytes_later = (max(size for _, _, size in part) for part in (warm, later))
        print(f"# {rate:.0f} orders/s, {later[-1][0]} in all; rows of `orders` at most {rows_warm}, then"
              f" {rows_later}; {bytes_warm >> 10} KiB, then {bytes_later >> 10} KiB")  # fmt: skip
        assert rows_later < 1.3 * rows_warm and rows_later < later[-1][0] / 3, sizes
        assert bytes_later <= bytes_warm, sizes
        stack.wait_for(lambda: table_size()[0] == 0, WITHIN_SECONDS, "an empty table")


if __name__ == "__main__":
    stack.run(globals())
