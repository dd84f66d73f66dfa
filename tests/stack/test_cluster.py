# run-tests: timeout=600
"""A whole cluster end to end: instances of orderd on the real MariaDB, Redis Cluster, Kafka and
Cassandra, seen from outside, over HTTP and in every server. What happens when servers and processes
die under load is in test_cluster_faults.py; the relay's own ways are in test_cluster_relay.py."""

import http.client
import struct
import threading

import cluster
import stack_harness as stack
import orders  # found by stack_harness

WITHIN_SECONDS = cluster.WITHIN_SECONDS
TTL_MS = 30 * 24 * 3600 * 1000


# --- The way of an order. ---


def test_an_order_is_the_same_in_every_tier_at_every_version():
    with cluster.instances("command,query") as first:
        order = orders.create(first)
        orders.check_order(order)
        # Nobody relays yet: the entry is the command service's own.
        stack.wait_for(lambda: cluster.in_cache(order), WITHIN_SECONDS, "the entry in Redis")
        assert cluster.in_cache(order) == order, (cluster.in_cache(order), order)
        assert cluster.in_store(order) == cluster.without_expiry(order), cluster.in_store(order)
        sql = f"SELECT 1 FROM orders WHERE order_id = {order['order_id']}"
        assert len(stack.rows(sql)) == 1, "the order is on a shard that is not its own"
        assert cluster.in_log(order) == []
        with stack.redis_cluster() as redis:
            left_ms = redis.call("PTTL", f"o:{{{order['order_id']}}}")
        assert TTL_MS - 3600 * 1000 < left_ms <= TTL_MS, left_ms

        with cluster.instances("all") as second:
            cluster.wait_for_version(order, 1)
            changed = orders.change(second, order, "processing")
            cluster.wait_for_version(order, 2)
            assert cluster.in_cache(order) == changed
            time = orders.rfc3339(orders.now_us())
            message = cluster.result(order, "success", bank_code="VCB", responded_at=time)
            cluster.send_results(message)
            cluster.wait_for_version(order, 3)
            assert cluster.in_log(order) == [1, 2, 3]
            wanted = {"status": "success", "version": 3, "bank_code": "VCB", "responded_at": time}
            for one in (first, second):
                answer = one.get(orders.path_of(order) + "?min_version=3")
                assert answer.status == 200, answer
                orders.check_order(answer.json)
                assert answer.json.items() >= wanted.items(), answer
            slot = int(order["order_id"]) >> 17 & 1023
            partitions = {m.partition for m in stack.messages(cluster.CHANGES)
                          if m.key == order["order_id"].encode()}  # fmt: skip
            assert partitions == {slot % 12}, (partitions, slot)


def test_a_reference_sent_to_two_instances_at_once_is_one_order():
    count, pairs = 1000, 4
    with cluster.instances("command", "command") as both:
        answers = [[None, None] for _ in range(count)]
        barriers = [threading.Barrier(2) for _ in range(pairs)]

        def send(pair, side):
            try:
                with orders.Client(both[side]) as client:
                    for number in range(pair, count, pairs):
                        draft = orders.draft(partner_code="race", partner_order_id=f"race-{number}")
                        barriers[pair].wait(WITHIN_SECONDS)
                        answers[number][side] = settled(client, draft)
            except BaseException:
                barriers[pair].abort()
                raise

        threads = [threading.Thread(target=send, args=(pair, side)) for pair in range(pairs)
                   for side in (0, 1)]  # fmt: skip
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number, (one, other) in enumerate(answers):
            assert one is not None and other is not None, number
            assert one.json["order_id"] == other.json["order_id"], (number, one, other)
            assert sorted((one.status, other.status)) in ([200, 201], [200, 200]), (one, other)
        created = sum(answer.status == 201 for pair in answers for answer in pair)
        ids = {pair[0].json["order_id"] for pair in answers}
        assert len(ids) == count and created >= count * 9 // 10, (len(ids), created)
    found = stack.rows("SELECT order_id, partner_order_id FROM orders WHERE partner_code = 'race'")
    noted = stack.rows("SELECT order_id, partner_order_id FROM order_refs WHERE partner_code = 'race'")
    assert len(found) == count and {str(row[0]) for row in found} == ids
    assert sorted(found) == sorted(noted)


def settled(client, draft):
    """Creates until the outcome is known: what is busy (503) or in doubt (504) is sent again."""
    answers = []

    def known():
        answers.append(client.post("/v1/orders", draft))
        return answers[-1].status not in (503, 504)

    stack.wait_for(known, WITHIN_SECONDS, "an outcome")
    return answers[-1]


# --- Readiness and roles. ---


def test_readiness_names_the_server_that_does_not_answer():
    with cluster.instances("all") as orderd:
        for kind, servers in (
            ("cassandra", ["cassandra"]),
            ("kafka", ["kafka"]),
            ("mysql", ["mariadb-1"]),
            ("redis", ["redis"]),
        ):
            stack.stop(*servers)

            def is_named(kind=kind):
                answer = orderd.get("/readyz")
                return answer.status == 503 and kind in answer.json["detail"]

            stack.wait_for(is_named, WITHIN_SECONDS, f"a readiness that names {kind}")
            assert orderd.get("/healthz").status == 200
            stack.start(*servers)
            orderd.wait_until_ready(WITHIN_SECONDS)
        cluster.wait_for_version(orders.create(orderd), 1)


def test_each_role_does_its_part_and_no_other():
    with cluster.instances("relay,cache", "command", "query") as (pipelines, command, query):
        orders.check_problem(pipelines.post("/v1/orders", orders.draft()), 503)
        orders.check_problem(query.post("/v1/orders", orders.draft()), 503)
        order = orders.create(command)
        change = {"status": "processing"}
        orders.check_problem(pipelines.patch(orders.path_of(order), change), 503)
        orders.check_problem(pipelines.get(orders.path_of(order)), 503)
        assert orders.read(query, order) == order
        cluster.wait_for_version(order, 1)
        orders.change(command, order, "processing")
        cluster.wait_for_version(order, 2)
        assert query.get(orders.path_of(order) + "?min_version=2").json["version"] == 2


# --- What happens to orders by themselves. ---


def test_overdue_orders_time_out_once_though_two_instances_look_and_one_is_killed():
    settings = ("order.timeout_seconds=2",)
    roles = ("command,timeout", "command,timeout,relay,cache")
    with cluster.instances(*roles, settings=settings) as (one, other):
        made = [orders.create((one, other)[number % 2]) for number in range(30)]
        for order in made[:10]:
            orders.change(one, order, "processing")
        for order in made[10:15]:
            orders.change(other, order, "success")
        overdue = [(order, 3) for order in made[:10]] + [(order, 2) for order in made[15:]]
        cluster.wait_for_versions(overdue)
        timed_out = [i.metric("timeout_timed_out_total") for i in (one, other)]
        assert sum(timed_out) >= len(overdue), timed_out

        one.kill()  # with whatever leases it had
        later = [orders.create(other) for _ in range(20)]
        overdue += [(order, 2) for order in later]
        cluster.wait_for_versions(overdue)
        assert all(cluster.in_store(order)["status"] == "timeout" for order, _ in overdue)
        assert all(cluster.in_store(order)["status"] == "success" for order in made[10:15])
        logged = cluster.versions_in_log(made + later)
        for order, version in overdue + [(order, 2) for order in made[10:15]]:
            assert logged[order["order_id"]] == list(range(1, version + 1)), (order, logged)


def test_references_of_final_orders_are_forgotten_after_the_window_and_those_of_open_ones_never():
    settings = ("order.timeout_seconds=2", "order.idempotency_window_seconds=3")
    with cluster.instances("command,expiry", settings=settings) as orderd:
        final, still_open = orders.draft(), orders.draft()
        ids = {}
        for draft in (final, still_open):
            answer = orderd.post("/v1/orders", draft)
            assert answer.status == 201, answer
            ids[draft["partner_order_id"]] = answer.json["order_id"]
        orders.change(orderd, ids[final["partner_order_id"]], "success")

        def made_anew():
            answer = orderd.post("/v1/orders", final)
            if answer.status == 200:
                assert answer.json["order_id"] == ids[final["partner_order_id"]], answer
            return answer.json if answer.status == 201 else None

        anew = stack.wait_for(made_anew, WITHIN_SECONDS, "the end of the reference")
        assert anew["order_id"] != ids[final["partner_order_id"]]
        again = orderd.post("/v1/orders", still_open)
        assert again.status == 200, again
        assert again.json["order_id"] == ids[still_open["partner_order_id"]], again


# --- Results of the balance service. ---


def test_results_that_cannot_be_used_are_put_aside_and_late_ones_told():
    with cluster.instances("command,results") as orderd:
        order, other, ended = (orders.create(orderd) for _ in range(3))
        orders.change(orderd, ended, "cancel")
        order_id, nobody = order["order_id"], str(int(order["order_id"]) + 1)
        unusable = {
            "not json": "no JSON",
            "[]": "no JSON object",
            '{"order_id": "1", "order_id": "1", "result": "success"}': "no JSON",
            '{"result": "success"}': "order_id is missing",
            f'{{"order_id": {order_id}, "result": "success"}}': "order_id is no text",
            f'{{"order_id": "0{order_id}", "result": "success"}}': "order_id is no order id",
            f'{{"order_id": "{order_id}"}}': "result is missing",
            f'{{"order_id": "{order_id}", "result": "timeout"}}': "result is none of success",
            cluster.result(order, "success", bank_code="?")[1]: "bank_code is no bank code",
            cluster.result(order, "success", responded_at="now")[1]: "responded_at is no time",
            cluster.result(order, "success", remark="x" * 16384)[1]: "larger than 16 KiB",
            cluster.result(nobody, "success")[1]: "no such order",
        }
        cluster.send_results(*((f"bad-{i}", value) for i, value in enumerate(unusable)))
        # Each of these twice, and once more below: the same as once.
        useful = [cluster.result(order, "processing"), cluster.result(order, "success")]
        cluster.send_results(*useful, *useful, cluster.result(ended, "cancel"))
        cluster.send_results(cluster.result(ended, "success"), cluster.result(ended, "processing"))
        dead = stack.wait_for_messages("balance.results.dead", len(unusable), WITHIN_SECONDS)
        wanted = {f"bad-{i}": (text, unusable[text]) for i, text in enumerate(unusable)}
        found = {m.key.decode(): (m.value.decode(), m.headers["reason"]) for m in dead}
        assert found == wanted, found
        late = stack.wait_for_messages("orders.late", 1, WITHIN_SECONDS)

        cluster.send_results(*useful, cluster.result(other, "error"))
        stack.wait_for(lambda: cluster.in_store(other)["version"] == 2, WITHIN_SECONDS, "the last one")
        orderd.wait_for_metric("results_repeated_total", 6)
        assert [(m.key.decode(), m.value.decode()) for m in late] == [cluster.result(ended, "success")]
        assert late[0].headers["reason"].startswith("success"), late
        assert len(stack.messages("orders.late")) == 1
        assert len(stack.messages("balance.results.dead")) == len(unusable)
        for one, status, version in ((order, "success", 3), (other, "error", 2), (ended, "cancel", 2)):
            row = cluster.in_store(one)
            assert (row["status"], row["version"]) == (status, version), row
        assert orderd.metric("results_changed_total") == 3
        orderd.wait_for_log("results", "cannot be used")


# --- What others put where orders are. ---


def test_messages_that_are_no_orders_are_passed_over():
    with cluster.instances("command,relay,cache") as orderd:
        order = orders.create(orderd)
        cluster.wait_for_version(order, 1)
        key = order["order_id"]
        bad = forgeries(stack.cached(key))
        for headers in ({"event": "changed"}, {}):
            stack.publish(cluster.CHANGES, [(key, value) for value in bad], headers)
        sound = sealed(stack.cached(key), version=9)
        stack.publish(cluster.CHANGES, [("5", sound), ("x" * 3000, sound), (f"0{key}", sound)])
        orderd.wait_for_metric("cache_invalid_total", 2 * len(bad) + 3)
        line = orderd.wait_for_log("cache", key, "passed over")
        assert "offset" in line, line
        # It goes on behind them, and for this order too.
        committed = orderd.metric("cache_commits_total")
        changed = orders.change(orderd, order, "processing")
        stack.wait_for(lambda: cluster.in_cache(order) == changed, WITHIN_SECONDS, "version 2")
        orderd.wait_for_metric("cache_commits_total", committed + 1)
        other = orders.create(orderd)
        stack.wait_for(lambda: cluster.in_cache(other) == other, WITHIN_SECONDS, "another order")
    # And they are behind it for good.
    with cluster.instances("command,relay,cache") as orderd:
        other = orders.create(orderd)
        orderd.wait_for_metric("cache_stored_total", 1)
        stack.wait_for(lambda: cluster.in_cache(other) == other, WITHIN_SECONDS, "another order")
        assert orderd.metric("cache_invalid_total") == 0


def sealed(record, **fields):
    """The record with other fields and the checksum that belongs to them."""
    values = dict(zip(orders.RECORD_FIELDS, orders.RECORD.unpack(record)))
    values.update(fields)
    body = orders.RECORD.pack(*(values[name] for name in orders.RECORD_FIELDS))[:124]
    return body + struct.pack("<I", orders.crc32c(body))


def forgeries(record):
    """Values that are no record of this order, most of them with a version that would win."""
    newer = sealed(record, version=9)
    return [
        newer[:127],
        newer + b"\0",
        b"x",
        newer[:124] + b"\0\0\0\0",
        newer[:-1] + bytes([newer[-1] ^ 1]),
        sealed(record, version=9, format=2),
        sealed(record, version=9, status=0),
        sealed(record, version=9, status=7),
        sealed(record, version=9, amount=0),
        sealed(record, version=9, currency=b"\0\0\0\0"),
        sealed(record, version=9, partner_code=b"a\0b"),
        sealed(record, version=0),
    ]


def test_values_in_redis_that_are_no_orders_are_not_served_and_give_way_to_orders():
    with cluster.instances("command,relay,cache") as command:
        made = [orders.create(command) for _ in range(14)]
        cluster.wait_for_versions([(order, 1) for order in made])
        good = [stack.cached(order["order_id"]) for order in made]
        forged = [forgeries(record)[i] for i, record in enumerate(good[:12])]
        forged += [good[0]]  # another order's record
        with stack.redis_cluster() as redis:
            for order, value in zip(made, forged):
                redis.call("SET", f"o:{{{order['order_id']}}}", value)
            key = f"o:{{{made[13]['order_id']}}}"
            redis.call("DEL", key)
            redis.call("RPUSH", key, "a list")
        query = cluster.Instance("query")  # with nothing in its memory
        for order in made:
            assert orders.read(query, order) == order, order
        query.wait_for_metric("redis_broken_total", len(made))
        query.wait_for_log("redis", made[0]["order_id"])
        cluster.end(query)
        for order in made:
            changed = orders.change(command, order, "processing")
            stack.wait_for(lambda: is_cached(changed), WITHIN_SECONDS, "the order in its place")


def is_cached(order):
    """True where Redis has this version of it, whatever else may be there."""
    try:
        return cluster.in_cache(order) == order
    except (AssertionError, struct.error, stack.RedisError):
        return False


def test_a_row_that_was_made_impossible_by_hand_is_left_alone_and_nothing_waits_for_it():
    with cluster.instances("command,relay,cache,results,refresh") as command:
        broken, sound = orders.create(command), orders.create(command)
        cluster.wait_for_version(broken, 1)
        cluster.wait_for_version(sound, 1)
        entry = stack.cached(broken["order_id"])
        change_row(broken, "amount = 0")
        command.wait_for_metric("relay_broken_rows_total", 1)
        command.wait_for_log("binlog", broken["order_id"])
        # Nothing is made of it, by any way to a change; others go on.
        orders.check_problem(command.patch(orders.path_of(broken), {"status": "cancel"}), 503)
        cluster.send_results(cluster.result(broken, "success"), cluster.result(sound, "success"))
        cluster.wait_for_version(sound, 2)
        message = cluster.result(broken, "success")[1].encode()

        def reason():
            dead = stack.messages("balance.results.dead")
            return next((one.headers["reason"] for one in dead if one.value == message), None)

        assert "broken" in stack.wait_for(reason, WITHIN_SECONDS, "a dead message")
        command.wait_for_log("mysql", broken["order_id"])
        assert cluster.in_log(broken) == [1]
        assert stack.cached(broken["order_id"]) == entry
        assert cluster.in_store(broken)["amount"] == 0
        # Where no tier has a sound copy it is not known, rather than absent.
        with stack.redis_cluster() as redis:
            redis.call("PEXPIRE", f"o:{{{broken['order_id']}}}", 1)
        command.wait_for_metric("refresh_broken_total", 1)
        query = cluster.Instance("query")  # with nothing in its memory
        orders.check_problem(query.get(orders.path_of(broken)), 503)
        cluster.end(query)
        # Mended by hand, it is an order again.
        change_row(broken, f"amount = {broken['amount']}")
        orders.change(command, broken, "cancel")
        cluster.wait_for_version(broken, 2)


def change_row(order, assignment):
    with stack.mariadb(stack.shard_of(order["order_id"])) as connection:
        connection.query(f"UPDATE orders SET {assignment} WHERE order_id = {order['order_id']}")
        assert connection.affected == 1, order


def test_entries_that_expire_come_back_by_orders_refresh():
    with cluster.instances("command,refresh") as orderd:
        order, final = orders.create(orderd), orders.create(orderd)
        orders.change(orderd, final, "success")
        stack.wait_for(lambda: cluster.in_cache(order), WITHIN_SECONDS, "the entry")
        stack.wait_for(lambda: cluster.in_cache(final)["version"] == 2, WITHIN_SECONDS, "the other")
        with stack.redis_cluster() as redis:
            for one in (final, order):
                redis.call("PEXPIRE", f"o:{{{one['order_id']}}}", 1)
        orderd.wait_for_metric("refresh_refreshed_total", 1)
        stack.wait_for(lambda: cluster.in_cache(order) == order, WITHIN_SECONDS, "the entry again")
        orderd.wait_for_metric("refresh_skipped_total", 1)
        assert stack.cached(final["order_id"]) is None
        ours = {order["order_id"].encode(), final["order_id"].encode()}
        told = [m for m in stack.messages("orders.refresh") if m.key in ours]
        assert {m.key for m in told} == ours, told
        assert all(m.headers == {"kind": "refresh"} and not m.value for m in told), told


def test_instances_that_are_asked_to_end_under_load_answer_what_they_took_and_exit_with_0():
    with cluster.instances("all", "command") as (one, other):
        acknowledged, failures = [], []

        def create(orderd):
            try:
                with orders.Client(orderd) as client:
                    while True:
                        answer = client.post("/v1/orders", orders.draft())
                        if answer.status == 201:
                            acknowledged.append(answer.json)
                        elif answer.status != 503:
                            failures.append(answer)
                            return
            except (OSError, http.client.HTTPException):
                return  # it has ended

        threads = [threading.Thread(target=create, args=(orderd,)) for orderd in (one, other) * 2]
        for thread in threads:
            thread.start()
        stack.wait_for(lambda: len(acknowledged) >= 200, WITHIN_SECONDS, "a load")
        cluster.end(other, one)
        for thread in threads:
            thread.join()
    assert not failures, failures
    stored = {str(row[0]) for row in stack.rows("SELECT order_id FROM orders")}
    lost = [order for order in acknowledged if order["order_id"] not in stored]
    assert not lost, lost


if __name__ == "__main__":
    stack.run(globals())
