# run-tests: timeout=300
"""Twenty crashes under load: `kill -9` at a random moment, a restart on the same data, and then
everything that was acknowledged is there, exactly as it was acknowledged.

What chance decides comes from a seed, which is printed; ORDERD_TEST_SEED=N gives it. (The threads'
interleaving is not in it: a seed repeats what is sent, not the moment at which it arrives.)
"""

import http.client
import json
import os
import random
import threading
import time

import harness
import orders
from orders import Client, head, path_of

ROUNDS = 20
WORKERS = 6
LOAD_SECONDS_MAX = 1.0
ORDERS_A_ROUND_MAX = 2500  # of each worker, so that the checks stay short
REPLAYED_BEFORE = 1000  # orders of earlier rounds that are created again after each crash
READ_WHOLE = 250  # orders that are read whole after each crash

SEED = int(os.environ.get("ORDERD_TEST_SEED") or random.SystemRandom().randrange(1 << 32))

# Small segments, early checkpoints, nothing kept for the change log: several of each come about.
SETTINGS = ("journal.checkpoint_mb=1", "journal.keep_mb=0", "journal.max_mb=64")

STATUS_NUMBERS = {name: number for number, name in enumerate(orders.STATUSES, 1)}
PENDING = STATUS_NUMBERS["pending"]

BROKEN = (OSError, http.client.HTTPException)  # what a client sees of a crash

# Metrics that tell what came about in a round; they begin at 0 with each process.
COUNTED = {
    "checkpoints": "orderd_journal_checkpoints_total",
    "segments removed": "orderd_journal_segments_removed_total",
    "orders archived": "orderd_archiver_archived_total",
    "orders created": "orderd_store_created_total",
    "orders changed": "orderd_store_changed_total",
}


class Order:
    """What a worker knows of an order that it has asked for."""

    __slots__ = ("reference", "amount", "id", "version", "status", "attempt")

    def __init__(self, chance):
        self.reference = orders.new_reference()
        self.amount = chance.randrange(1, 1 << 40)
        self.id = None  # None: the create was not acknowledged
        self.version = 0
        self.status = PENDING
        self.attempt = None  # the status of a change that was sent and not acknowledged

    def body(self):
        return orders.draft(partner_order_id=self.reference, amount=self.amount)

    def record(self):
        return orders.record(partner_order_id=self.reference.encode(), amount=self.amount)

    def is_open(self):
        status = orders.STATUSES[self.status - 1]
        return self.id is not None and self.attempt is None and status in orders.MOVES

    def take(self, order_id, version, status):
        """Notes what an acknowledgement or a read says; fails where it cannot be so."""
        assert order_id > 0 and self.id in (None, order_id), (self.reference, self.id, order_id)
        told = (version, status)
        possible = [(self.version, self.status) if self.id is not None else (1, PENDING)]
        if self.attempt is not None:
            possible.append((self.version + 1, self.attempt))
        assert told in possible, f"{self.reference}, {order_id}: {told} is none of {possible}"
        self.id, self.version, self.status, self.attempt = order_id, version, status, None

    def take_json(self, order):
        status = STATUS_NUMBERS[order["status"]]
        self.take(int(order["order_id"]), order["version"], status)
        assert (order["partner_order_id"], order["amount"]) == (self.reference, self.amount), order


class Pipeline(harness.Connection):
    """Requests sent together; the end of the stream is an error like any other."""

    def receive(self):
        if not super().receive():
            raise ConnectionError("the stream has ended")
        return True


class Worker:
    """A client with orders of its own, which nobody else changes."""

    def __init__(self, number):
        self.chance = random.Random(f"{SEED} {number}")
        self.orders = []
        self.fresh = []  # of the present round
        self.wrong = None

    def make(self, count):
        made = [Order(self.chance) for _ in range(count)]
        self.fresh += made  # before they are sent: the answer may never come
        return made

    def run(self, orderd, end):
        """Sends whatever comes to mind until the crash; `end` is when none came."""
        actions = (
            self.create_records,
            self.create_lines,
            self.create_one,
            self.change_one,
            self.change_many,
            self.change_many,
            self.replay_one,
            self.read_one,
        )
        try:
            with Client(orderd) as client, Pipeline(orderd.port) as pipeline:
                while time.monotonic() < end:
                    self.chance.choice(actions)(client, pipeline)
        except BROKEN:
            pass
        except Exception as error:  # told by the main thread
            self.wrong = error

    def has_room(self):
        return len(self.fresh) < ORDERS_A_ROUND_MAX

    def some(self, count, wanted):
        """Up to so many orders, older ones too."""
        known = self.orders + self.fresh
        chosen = {self.chance.choice(known) for _ in range(count)} if known else ()
        return [order for order in chosen if wanted(order)]

    def create_records(self, client, _):
        if not self.has_room():
            return
        made = self.make(self.chance.randrange(1, 1000))
        take_records(made, create_by_records(client, made))

    def create_lines(self, client, _):
        if not self.has_room():
            return
        made = self.make(self.chance.randrange(1, 100))
        body = b"".join(json.dumps(order.body()).encode() + b"\n" for order in made)
        answer = client.post("/v1/batch/orders", body, orders.LINES)
        assert answer.status in (200, 503), answer
        if answer.status == 200:
            for order, result in zip(made, orders.read_lines(answer, len(made))):
                assert result["code"] in (201, 503), result
                if result["code"] == 201:
                    order.take_json(result["order"])

    def create_one(self, client, _):
        if self.has_room():
            order = self.make(1)[0]
            self.take_answer(order, client.post("/v1/orders", order.body()), 201)

    def change_one(self, client, _):
        for order in self.some(1, Order.is_open):
            status = self.attempt(order)
            self.take_answer(order, client.patch(f"/v1/orders/{order.id}", {"status": status}), 200)

    def change_many(self, _, pipeline):
        chosen = self.some(200, Order.is_open)
        lines = [json.dumps({"status": self.attempt(order)}).encode() for order in chosen]
        kind = "Content-Type: application/json"
        for order, body in zip(chosen, lines):
            pipeline.send(head("PATCH", path_of(str(order.id)), kind, body=body))
        for order in chosen:
            self.take_answer(order, pipeline.read_answer(), 200)

    def attempt(self, order):
        """Chooses where to change an order to, mostly to a final state; returns its name."""
        moves = orders.MOVES[orders.STATUSES[order.status - 1]]
        name = self.chance.choice(moves)
        order.attempt = STATUS_NUMBERS[name]
        return name

    def replay_one(self, client, _):
        for order in self.some(1, lambda order: order.id is not None):
            self.take_answer(order, client.post("/v1/orders", order.body()), 200)

    def read_one(self, client, _):
        for order in self.some(1, lambda order: order.id is not None):
            self.take_answer(order, client.get(f"/v1/orders/{order.id}"), 200)

    def take_answer(self, order, answer, expected):
        assert answer.status in (expected, 503), (order.reference, answer)
        if answer.status == expected:
            order.take_json(answer.json)


def create_by_records(client, wanted):
    """Creates orders, in pieces that a batch takes; returns the results of all."""
    results = []
    for at in range(0, len(wanted), 8192):
        piece = wanted[at : at + 8192]
        body = b"".join(order.record() for order in piece)
        answer = client.post("/v1/batch/orders", body, orders.OCTETS)
        assert answer.status in (200, 503), answer
        if answer.status == 503:
            return results
        assert len(answer.body) == orders.RESULT.size * len(piece), answer
        results += orders.RESULT.iter_unpack(answer.body)
    return results


def take_records(made, results):
    for order, (order_id, version, code, status, _) in zip(made, results):
        assert code in (201, 503), (order.reference, code)
        if code == 201:
            order.take(order_id, version, status)


# --- What holds after a crash. ---


def check_states(client, known):
    """Every order that was acknowledged is there, as it was acknowledged or attempted."""
    for at in range(0, len(known), 8192):
        piece = known[at : at + 8192]
        ids = orders.pack_ids(order.id for order in piece)
        answer = client.post("/v1/batch/statuses", ids, orders.OCTETS)
        assert answer.status == 200, answer
        for order, (version, status, flags, _) in zip(
            piece, orders.STATE.iter_unpack(answer.body), strict=True
        ):
            assert flags == 0, (order.reference, order.id, flags)
            order.take(order.id, version, status)


def check_references(client, asked):
    """The same create again finds the same order. One that was never acknowledged may be there or
    not; from now on it is."""
    results = create_by_records(client, asked)
    assert len(results) == len(asked), "a batch was refused"
    for order, (order_id, version, code, status, _) in zip(asked, results):
        acknowledged = order.id is not None
        assert code == 200 or code == 201 and not acknowledged, (order.reference, order.id, code)
        order.take(order_id, version, status)


def check_whole(orderd, chosen):
    """What is read by id is the order, with an intact checksum."""
    found = orders.post_get(orderd, [order.id for order in chosen])
    for order, read in zip(chosen, found, strict=True):
        assert read is not None, (order.reference, order.id)
        order.take_json(read)
        assert read["partner_code"] == "acme" and read["currency"] == "VND", read


def check(orderd, workers, chance):
    """Holds the service against what the workers were told. Returns how many orders there are."""
    before = [order for worker in workers for order in worker.orders]
    fresh = [order for worker in workers for order in worker.fresh]
    again = chance.sample(before, min(len(before), REPLAYED_BEFORE)) + fresh
    chance.shuffle(again)
    with Client(orderd) as client:
        # What is asked first brings an archived order back into memory for what is asked next.
        for way in chance.sample(("id", "reference"), 2):
            if way == "id":
                known = [order for order in before + fresh if order.id is not None]
                check_states(client, known)
            else:
                check_references(client, again)
    check_whole(orderd, chance.sample(before + fresh, min(len(before + fresh), READ_WHOLE)))
    ids = {order.id for order in before + fresh}
    assert len(ids) == len(before + fresh), "two orders have one id"
    for worker in workers:
        worker.orders += worker.fresh
        worker.fresh = []
    return len(ids)


# --- Rounds. ---


def crash(orderd, workers, seconds):
    """Kills the service after so many seconds of load. Returns what it counted before."""
    end = time.monotonic() + LOAD_SECONDS_MAX + 30
    threads = [threading.Thread(target=worker.run, args=(orderd, end)) for worker in workers]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    counted = orders.metrics(orderd)
    orderd.kill()
    for thread in threads:
        thread.join()
    for worker in workers:
        assert worker.wrong is None, worker.wrong
    return {name: counted[metric] for name, metric in COUNTED.items()}


def restart(orderd, chance):
    """Starts it again; now and then it is killed while it starts, too."""
    while chance.random() < 0.25:
        orderd.start(wait=False)
        time.sleep(chance.uniform(0, 0.1))
        orderd.kill()
    orderd.start()


def verify(orderd):
    """No damage, says who reads the whole data directory."""
    orderd.orderctl("verify", orderd.data_dir)


def test_20_crashes_under_load_lose_and_repeat_nothing_that_was_acknowledged():
    print(f"# ORDERD_TEST_SEED={SEED} repeats what this run sends", flush=True)
    chance = random.Random(SEED)
    orderd = orders.start(*SETTINGS)
    workers = [Worker(number) for number in range(WORKERS)]
    counted = dict.fromkeys(COUNTED, 0)
    count = 0
    for _ in range(ROUNDS):
        seconds = chance.uniform(0.02, LOAD_SECONDS_MAX)
        for name, value in crash(orderd, workers, seconds).items():
            counted[name] += value
        verify(orderd)
        restart(orderd, chance)
        count = check(orderd, workers, chance)
    assert orderd.stop() == 0
    verify(orderd)
    orderd.start()
    known = [order for worker in workers for order in worker.orders]
    with Client(orderd) as client:
        check_states(client, known)
        check_references(client, known)
    orderd.kill()
    verify(orderd)
    print(f"# {count} orders;", ", ".join(f"{int(counted[name])} {name}" for name in counted))
    assert all(counted.values()), f"the load was too light to prove anything: {counted}"


if __name__ == "__main__":
    harness.run(globals())
