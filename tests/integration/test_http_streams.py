# run-tests: parallel
"""The event streams: one order until it is final, and every committed change (the API, section 3).
"""

import random
import threading
import time

import harness
import orders
from orders import Client, Events, change, check_problem, create, head, path_of

CHANGES = "/v1/changes"


def after(cursor):
    return f"{CHANGES}?after={cursor}"


def first_cursor(orderd):
    """The cursor of the newest change, by way of a new one."""
    order = create(orderd)
    with Events(orderd, path_of(order) + "/events") as events:
        return events.next()[0]


# --- One order. ---


def test_an_order_stream_tells_the_order_then_each_change_and_ends_when_it_is_final():
    orderd = orders.start()
    for path in (("processing", "success"), ("processing", "error"), ("cancel",), ("timeout",)):
        order = create(orderd)
        with Events(orderd, path_of(order) + "/events") as events:
            cursor, name, data = events.next()
            assert (name, data) == ("order", order)
            cursors = [int(cursor)]
            assert events.is_silent(0.05)
            for status in path:
                order = change(orderd, order, status)
                cursor, name, data = events.next()
                assert (name, data) == ("changed", order)
                cursors.append(int(cursor))
            assert events.next() is None, "it goes on after a final state"
            assert cursors == sorted(set(cursors)), cursors


def test_a_stream_of_a_final_or_archived_order_has_one_event():
    orderd = orders.start()
    order = change(orderd, create(orderd), "success")
    for _ in range(2):
        with Events(orderd, path_of(order) + "/events") as events:
            assert events.next()[1:] == ("order", order)
            assert events.next() is None
        orders.wait_until_archived(orderd, 1)
    orderd.stop()
    orderd.start()
    with Events(orderd, path_of(order) + "/events") as events:
        assert events.next()[1:] == ("order", order)
        assert events.next() is None


def test_a_stream_shows_the_time_out():
    orderd = orders.start("order.timeout_seconds=1")
    order = create(orderd)
    with Events(orderd, path_of(order) + "/events") as events:
        assert events.next()[2] == order
        cursor, name, data = events.next()
        assert name == "changed" and data["status"] == "timeout" and data["version"] == 2, data
        assert events.next() is None


def test_a_connection_goes_on_after_a_stream_has_ended():
    orderd = orders.start()
    order = change(orderd, create(orderd), "success")
    with orderd.connect() as connection:
        for _ in range(3):
            connection.send(head("GET", path_of(order) + "/events") + head("GET", "/healthz"))
            assert b"event: order" in connection.read_answer().body
            assert connection.read_answer().status == 200


def test_streams_of_unknown_orders_are_404_and_of_no_id_400():
    orderd = orders.start()
    order = create(orderd)
    for order_id in (1, 2**62, int(order["order_id"]) + 1):
        check_problem(orderd.get(f"/v1/orders/{order_id}/events"), 404)
    for text in ("0", "x", "01", str(2**63)):
        check_problem(orderd.get(f"/v1/orders/{text}/events"), 400)
    assert orders.metrics(orderd)["orderd_api_streams"] == 0


def test_head_of_a_stream_is_its_head_and_leaves_no_stream():
    orderd = orders.start()
    order = create(orderd)
    with orderd.connect() as connection:
        for target in (path_of(order) + "/events", CHANGES, after(0)):
            connection.send(head("HEAD", target))
            answer = connection.read_answer(to_head=True)
            assert answer.status == 200, answer
            assert answer.headers["content-type"] == "text/event-stream", answer
        connection.send(head("HEAD", after("x")))
        assert connection.read_answer(to_head=True).status == 400
        assert connection.exchange(head("GET", "/healthz")).status == 200
    assert orders.metrics(orderd)["orderd_api_streams"] == 0


def test_http_1_0_gets_the_stream_without_chunks():
    orderd = orders.start()
    order = create(orderd)
    with orderd.connect() as connection:
        connection.send(head("GET", path_of(order) + "/events", version="1.0"))
        harness.wait_for(lambda: connection.receive() and b"\n\n" in connection.received)
        change(orderd, order, "success")
        text = connection.read_to_end()
        fields, _, body = text.partition(b"\r\n\r\n")
        assert fields.startswith(b"HTTP/1.1 200 ") and b"ransfer-" not in fields, fields
        assert body.count(b"\n\n") == 2 and body.startswith(b"id: "), body


def test_every_change_is_seen_whenever_the_stream_is_opened():
    """Streams are opened just before, between and just after the changes of an order."""
    orderd = orders.start()
    dice = random.Random(3)

    def advance(order, pause):
        with Client(orderd) as client:
            for status in ("processing", "success"):
                time.sleep(pause * dice.random())
                assert client.patch(path_of(order), {"status": status}).status == 200

    for number in range(60):
        order = create(orderd)
        changer = threading.Thread(target=advance, args=(order, 0.004 * (number % 3)))
        changer.start()
        streams = []
        for _ in range(4):
            streams.append(Events(orderd, path_of(order) + "/events"))
            time.sleep(0.002 * dice.random())
        for events in streams:
            with events:
                seen = []
                while (event := events.next()) is not None:
                    seen.append(event)
                versions = [data["version"] for _, _, data in seen]
                assert versions == list(range(versions[0], 4)), versions
                names = [name for _, name, _ in seen]
                assert names == ["order"] + ["changed"] * (len(seen) - 1), names
                assert seen[-1][2]["status"] == "success", seen
        changer.join()


# --- All changes. ---


def test_the_change_stream_begins_now_and_names_created_and_changed():
    orderd = orders.start()
    before = create(orderd)
    with Events(orderd, CHANGES) as events:
        assert events.is_silent(0.05), "it begins now"
        order = create(orderd)
        expected = [("created", order)]
        for status in ("processing", "success"):
            order = change(orderd, order, status)
            expected.append(("changed", order))
        expected.append(("changed", change(orderd, before, "cancel")))
        # What changes nothing is no change.
        change(orderd, order, "success")
        assert orderd.patch(path_of(order), {"status": "pending"}).status == 409
        again = {name: order[name] for name in orders.MEMBERS[1:7]}
        assert orderd.post("/v1/orders", again).status == 200
        expected.append(("created", create(orderd)))
        seen = events.take(len(expected))
        assert [event[1:] for event in seen] == expected
        cursors = [int(event[0]) for event in seen]
        assert cursors == sorted(set(cursors)), cursors
        assert events.is_silent(0.05)


def test_after_0_begins_with_the_oldest_that_is_kept():
    orderd = orders.start()
    with Events(orderd, after(0)) as events:
        assert events.is_silent(0.05)
        made = [create(orderd) for _ in range(3)]
        assert [event[1:] for event in events.take(3)] == [("created", order) for order in made]
    with Events(orderd, after(0)) as events:
        assert [event[1:] for event in events.take(3)] == [("created", order) for order in made]
    orderd.kill()
    orderd.start()
    with Events(orderd, after(0)) as events:
        assert [event[1:] for event in events.take(3)] == [("created", order) for order in made]
        last = create(orderd)
        assert events.next()[1:] == ("created", last)


def test_a_stream_resumes_behind_its_cursor_and_last_event_id_beats_after():
    orderd = orders.start()
    made = [create(orderd) for _ in range(5)]
    with Events(orderd, after(0)) as events:
        cursors = [event[0] for event in events.take(5)]
    for at in range(5):
        for target, lines in (
            (after(cursors[at]), ()),
            (CHANGES, (f"Last-Event-ID: {cursors[at]}",)),
            (after(cursors[4 - at]), (f"Last-Event-ID: {cursors[at]}",)),
            (after("nonsense"), (f"last-event-id: {cursors[at]}",)),
        ):
            with Events(orderd, target, *lines) as events:
                rest = events.take(4 - at)
                assert [event[0] for event in rest] == cursors[at + 1 :], (target, lines)
                assert [event[2] for event in rest] == made[at + 1 :]
                assert events.is_silent(0.02)
    with Events(orderd, after(cursors[0]), "Last-Event-ID: 0") as events:
        assert [event[0] for event in events.take(5)] == cursors


def test_both_streams_share_their_cursors():
    orderd = orders.start()
    order = create(orderd)
    with Events(orderd, path_of(order) + "/events") as events:
        first = events.next()[0]
        other = create(orderd)
        order = change(orderd, order, "processing")
        second = events.next()[0]
        order = change(orderd, order, "success")
    with Events(orderd, after(second)) as events:
        assert events.next()[1:] == ("changed", order)
    with Events(orderd, after(first)) as events:
        seen = events.take(3)
        wanted = [("created", other["order_id"], 1)]
        wanted += [("changed", order["order_id"], version) for version in (2, 3)]
        found = [(name, data["order_id"], data["version"]) for _, name, data in seen]
        assert found == wanted, found
        assert seen[1][0] == second, "the same change has the same cursor"


def test_a_cursor_that_is_none_is_400():
    orderd = orders.start()
    newest = int(first_cursor(orderd))
    bad = ["", "x", "-1", "+1", "01", "00", "1.5", "1.1", "1e3", "0x1", "%20", "1%20", "1,2"]
    bad += [str(newest + 1), str(newest + 1000), str(2**63), str(2**64 - 1), str(2**64), "9" * 30]
    bad += ["9" * 800, "1" + "0" * 19]
    for text in bad:
        check_problem(orderd.get(after(text)), 400)
    for text in ("x", "-1", str(newest + 1), str(2**64 - 1), str(2**64), "1 2", '"1"'):
        answer = orderd.get(CHANGES, {"Last-Event-ID": text})
        check_problem(answer, 400)
        assert "Last-Event-ID: " in answer.json["detail"], answer
        check_problem(orderd.get(after(newest), {"Last-Event-ID": text}), 400)
    check_problem(orderd.get(after(1) + "&after=1"), 400)
    check_problem(orderd.get(CHANGES + "?after"), 400)
    assert orders.metrics(orderd)["orderd_api_streams"] == 0
    with Events(orderd, after(newest)) as events:
        order = create(orderd)
        assert events.next()[1:] == ("created", order)


def test_a_cursor_that_is_no_longer_kept_is_410_and_after_0_goes_on():
    orderd = orders.start(
        "journal.checkpoint_mb=1",
        "journal.keep_mb=0",
        "journal.tail_changes=16384",
        "order.timeout_seconds=1",
    )
    oldest = first_cursor(orderd)
    with Events(orderd, after(0)) as events:
        assert events.next()[0] == oldest
    made = {}

    def removed():
        for result in orders.post_records(orderd, [orders.record() for _ in range(8000)]):
            made[result[0]] = result[1]
        return orders.metrics(orderd)["orderd_journal_segments_removed_total"] >= 1

    harness.wait_for(removed, what="the removal of a segment")
    harness.wait_for(lambda: orderd.get(after(oldest)).status == 410, what="410")
    check_problem(orderd.get(after(oldest)), 410)
    check_problem(orderd.get(CHANGES, {"Last-Event-ID": oldest}), 410)
    with Events(orderd, after(0)) as events:
        last = None
        for cursor, name, data in events.take(5000):
            assert int(cursor) > int(oldest) + 1 if last is None else int(cursor) == last + 1
            assert name == ("created" if data["version"] == 1 else "changed"), (name, data)
            # The order of first_cursor is too old to be here, but for its time-out.
            assert int(data["order_id"]) in made or data["version"] > 1, data
            last = int(cursor)


def test_cursors_survive_a_restart_and_a_kill():
    orderd = orders.start()
    expected = []
    cursor = "0"
    for round_number in range(4):
        fresh = [create(orderd) for _ in range(20)]
        expected = [("created", order) for order in fresh]
        expected += [("changed", change(orderd, order, "processing")) for order in fresh[::2]]
        if round_number % 2:
            orderd.kill()
        else:
            orderd.stop()
        orderd.start()
        expected.append(("changed", change(orderd, fresh[1], "success")))
        with Events(orderd, after(cursor)) as events:
            seen = events.take(len(expected))
            assert [event[1:] for event in seen] == expected
            assert events.is_silent(0.02)
        cursor = seen[-1][0]


class Mover(threading.Thread):
    """Makes orders and changes them; keeps what was acknowledged, by order and version."""

    def __init__(self, orderd, count, seed):
        super().__init__()
        self.orderd = orderd
        self.count = count
        self.dice = random.Random(seed)
        self.acknowledged = {}

    def run(self):
        with Client(self.orderd) as client:
            opened = []
            for _ in range(self.count):
                if opened and self.dice.randrange(3):
                    order = opened.pop(self.dice.randrange(len(opened)))
                    status = self.dice.choice(orders.MOVES[order["status"]])
                    order = client.patch(path_of(order), {"status": status}).json
                else:
                    order = client.post("/v1/orders", orders.draft()).json
                self.acknowledged[order["order_id"], order["version"]] = order
                if order["status"] in orders.MOVES:
                    opened.append(order)


def check_history(events, acknowledged):
    """Each acknowledged change came exactly once, and those of an order in their order."""
    versions = {}
    last = 0
    for _ in acknowledged:
        cursor, name, data = events.next()
        assert int(cursor) > last, "cursors rise"
        last = int(cursor)
        order_id, version = data["order_id"], data["version"]
        assert version == versions.get(order_id, 0) + 1, (order_id, version)
        versions[order_id] = version
        assert name == ("created" if version == 1 else "changed"), (name, data)
        assert acknowledged[order_id, version] == data, data
    assert events.is_silent(0.05)


def test_every_committed_change_comes_once_and_in_order_under_load():
    orderd = orders.start()
    live = [Events(orderd, CHANGES) for _ in range(3)]
    for events in live:
        events.begin()
    movers = [Mover(orderd, 400, seed) for seed in range(8)]
    for mover in movers:
        mover.start()
    for mover in movers:
        mover.join()
    acknowledged = {}
    for mover in movers:
        acknowledged.update(mover.acknowledged)
    for events in live:
        with events_closed(events):
            check_history(events, acknowledged)
    with Events(orderd, after(0)) as events:
        check_history(events, acknowledged)
    orderd.kill()
    orderd.start()
    with Events(orderd, after(0)) as events:
        check_history(events, acknowledged)


class events_closed:
    """As `with events`, for a stream that has begun already."""

    def __init__(self, events):
        self.events = events

    def __enter__(self):
        return self.events

    def __exit__(self, *_):
        self.events.close()


# --- Many, and slow ones. ---


def test_many_streams_at_once_each_get_their_events():
    orderd = orders.start()
    made = [create(orderd) for _ in range(150)]
    streams = [Events(orderd, path_of(order) + "/events") for order in made for _ in range(2)]
    all_changes = [Events(orderd, CHANGES) for _ in range(30)]
    for events in streams + all_changes:
        events.begin()
    for number, events in enumerate(streams):
        assert events.next()[1:] == ("order", made[number // 2])
    harness.wait_for(lambda: orders.metrics(orderd)["orderd_api_streams"] == 330)
    done = []
    with Client(orderd) as client:
        for order in made:
            done.append(client.patch(path_of(order), {"status": "success"}).json)
    for number, events in enumerate(streams):
        assert events.next()[1:] == ("changed", done[number // 2])
        assert events.next() is None
        events.close()
    for events in all_changes:
        assert [event[2] for event in events.take(len(done))] == done
        events.close()
    harness.wait_for(lambda: orders.metrics(orderd)["orderd_api_streams"] == 0)


def test_streams_over_the_limit_are_503_until_one_ends():
    orderd = orders.start("api.streams_max=4", "server.threads=1")
    order = create(orderd)
    with orders.many(3, lambda: Events(orderd, CHANGES)), Events(orderd, after(0)):
        check_problem(orderd.get(CHANGES), 503)
        check_problem(orderd.get(path_of(order) + "/events"), 503)
        assert orders.read(orderd, order) == order
    with harness.wait_for(lambda: opened(orderd), what="room for a stream") as events:
        order = create(orderd)
        assert events.next()[2] == order


def opened(orderd):
    events = Events(orderd, CHANGES)
    try:
        return events_begun(events)
    except AssertionError:
        events.close()
        return None


def events_begun(events):
    events.begin()
    return events_closed(events)


def test_a_slow_reader_hurts_nobody_and_still_gets_everything():
    orderd = orders.start("http.send_buffer_bytes=8192", "journal.tail_changes=16384")
    slow = Events(orderd, CHANGES, receive_buffer=32768)
    slow.begin()
    quick = Events(orderd, CHANGES)
    quick.begin()
    batches = [[orders.record() for _ in range(4000)] for _ in range(3)]
    begin = time.monotonic()
    ids = [result[0] for batch in batches for result in orders.post_records(orderd, batch)]
    assert time.monotonic() - begin < 10
    for events in (quick, slow):
        with events_closed(events):
            seen = [int(event[2]["order_id"]) for event in events.take(len(ids))]
            assert seen == ids
    assert orders.metrics(orderd)["orderd_api_streams_dropped_total"] == 0


def test_a_reader_that_never_reads_is_closed():
    orderd = orders.start("http.send_buffer_bytes=8192", "http.write_timeout_ms=500")
    with Events(orderd, CHANGES, receive_buffer=32768):
        orders.post_records(orderd, [orders.record() for _ in range(8000)])
        harness.wait_for(lambda: orders.metrics(orderd)["orderd_api_streams"] == 0)
        assert orders.metrics(orderd)["orderd_http_connections"] == 1


def test_silent_streams_get_a_comment_line_every_15_seconds():
    orderd = orders.start("http.idle_timeout_ms=2000", "http.write_timeout_ms=2000")
    order = create(orderd)
    with Events(orderd, CHANGES) as changes, Events(orderd, path_of(order) + "/events") as one:
        begin = time.monotonic()
        assert one.next()[1] == "order"
        harness.wait_for(lambda: comes_comment(one), 20, "a comment")
        assert 13 < time.monotonic() - begin < 18
        harness.wait_for(lambda: comes_comment(changes), 3, "a comment")
        order = change(orderd, order, "success")
        assert changes.next()[2] == order and one.next()[2] == order


def comes_comment(events):
    events.is_silent(0.1)
    return events.comments > 0


if __name__ == "__main__":
    harness.run(globals())
