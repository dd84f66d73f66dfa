"""Clients that read what a load (load.py) creates and changes, in every way that there is, and hold each
answer against what was acknowledged.

    with load.Load(commands) as writing, reading.Readers(queries, writing) as readers:
        readers.wait_for_more(50)       # good answers of each kind since now
    readers.check()

What must hold of every answer: an order that was acknowledged is never "not there"; with `min_version`
it is at least what the same client has seen, or what was acknowledged before it asked; and each version
is what the service answered to the change that made it. "Not known now" (202, 503, a flag) is right as
often as it comes: wait_for_more is who says that it does not always come.
"""

import collections
import http.client
import random
import threading
import time

import cluster
import stack_harness as stack
import orders  # found by stack_harness

CLIENTS = 12
BATCH_STATUSES, BATCH_GET = 64, 32
RECENT = 300  # of the orders, those that half of the reads are for
PAUSE_SECONDS = 0.03
KINDS = ("id", "reference", "statuses", "get")


class Readers:
    def __init__(self, instances, load):
        self.instances, self.load = instances, load
        self.good = collections.Counter()  # answers of each kind that told something
        self.unknown = collections.Counter()  # those that told that it is not known now
        self.broken = 0  # requests that broke off
        self.wrong = []
        self.unproved = {}  # (order id, version): what was read before its change was acknowledged
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.clients = [threading.Thread(target=self.work, args=(i,)) for i in range(CLIENTS)]

    def __enter__(self):
        for client in self.clients:
            client.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for client in self.clients:
            client.join()

    def wait_for_more(self, count, kinds=KINDS):
        """Waits until so many answers more of each kind told something."""
        wanted = {kind: self.good[kind] + count for kind in kinds}

        def there():
            assert not self.wrong, self.wrong[:3]
            return all(self.good[kind] >= wanted[kind] for kind in kinds)

        stack.wait_for(there, cluster.WITHIN_SECONDS, f"{count} more answers of each kind")

    def check(self):
        """After the load has ended: every answer was right."""
        assert not self.wrong, (len(self.wrong), self.wrong[:3])
        for (order_id, version), found in self.unproved.items():
            last = self.load.acknowledged[order_id]
            known = self.load.history.get((order_id, version))
            assert version <= last["version"], ("a version that nobody made", found, last)
            assert known is None or cluster.without_expiry(known) == found, (found, known)
        print(f"# answers: {dict(self.good)}; not known: {dict(self.unknown)}; broken off: {self.broken}")

    def work(self, number):
        reader = Reader(self, number)
        try:
            while not self.stopping.is_set():
                reader.read()
                time.sleep(PAUSE_SECONDS)
        except Exception as error:  # shown by wait_for_more and check
            self.wrong.append((number, repr(error)))
        finally:
            reader.close()


class Reader:
    """One client: it goes from instance to instance, and remembers which versions it has seen."""

    def __init__(self, readers, number):
        self.readers, self.load = readers, readers.load
        self.chance = random.Random(number)
        self.turn = number
        self.connections = {}
        self.seen = {}

    def read(self):
        if not self.load.ids:
            return
        self.turn += 1
        kind = KINDS[self.turn % len(KINDS)]
        instance = self.turn // len(KINDS) % len(self.readers.instances)
        ask = {"id": self.by_id, "reference": self.by_reference, "statuses": self.statuses, "get": self.many}
        try:
            if instance not in self.connections:
                self.connections[instance] = orders.Client(self.readers.instances[instance])
            told = ask[kind](self.connections[instance])
        except (OSError, http.client.HTTPException):
            self.drop(instance)
            self.readers.broken += 1
            return
        with self.readers.lock:
            (self.readers.good if told else self.readers.unknown)[kind] += 1

    def drop(self, instance):
        client = self.connections.pop(instance, None)
        if client is not None:
            client.__exit__()

    def close(self):
        for instance in list(self.connections):
            self.drop(instance)

    def choose(self, count=1):
        ids = self.load.ids
        from_ids = ids[-RECENT:] if self.chance.random() < 0.5 else ids
        return [self.chance.choice(from_ids) for _ in range(count)]

    def least(self, order_id):
        """What the order is at least, as this client knows."""
        return max(self.load.acknowledged[order_id]["version"], self.seen.get(order_id, 0))

    # Each returns whether the answer told something.

    def by_id(self, client):
        (order_id,) = self.choose()
        least = self.least(order_id)
        answer = client.get(f"/v1/orders/{order_id}?min_version={least}")
        return self.judge_one(answer, order_id, least)

    def by_reference(self, client):
        (order_id,) = self.choose()
        order = self.load.acknowledged[order_id]
        path = f"/v1/orders?partner_code={order['partner_code']}&partner_order_id={order['partner_order_id']}"
        return self.judge_one(client.get(path), order_id, 1)

    def judge_one(self, answer, order_id, least):
        if answer.status in (202, 503):
            assert answer.headers["retry-after"] == "1", answer
            return False
        if answer.status != 200 or answer.json["version"] < least:
            self.readers.wrong.append((answer, least, self.load.acknowledged[order_id]))
            return True
        assert answer.json["order_id"] == order_id, (answer, order_id)
        self.judge(answer.json)
        return True

    def judge(self, order):
        key = order["order_id"], order["version"]
        self.seen[key[0]] = max(key[1], self.seen.get(key[0], 0))
        found, known = cluster.without_expiry(order), self.load.history.get(key)
        if known is None:
            known = self.readers.unproved.setdefault(key, found)
        if found != cluster.without_expiry(known):
            self.readers.wrong.append((order, known))

    def statuses(self, client):
        ids = self.choose(BATCH_STATUSES)
        answer = client.post("/v1/batch/statuses", orders.pack_ids(ids), orders.OCTETS)
        if answer.status != 200:
            self.readers.wrong.append(answer)
            return True
        told = 0
        for order_id, (version, status, flags, zero) in zip(ids, orders.STATE.iter_unpack(answer.body)):
            known = self.load.history.get((order_id, version))
            if version == 0:
                good = status == 0 and flags in (1, 2)
            else:
                good = flags == 0 and (known is None or orders.STATUSES[status - 1] == known["status"])
            if not good or zero != 0:
                self.readers.wrong.append((order_id, version, status, flags, known))
            told += version > 0
        return told == len(ids)

    def many(self, client):
        ids = self.choose(BATCH_GET)
        answer = client.post("/v1/batch/get", orders.pack_ids(ids), orders.OCTETS)
        if answer.status == 503:
            return False
        if answer.status != 200 or len(answer.body) != orders.RECORD.size * len(ids):
            self.readers.wrong.append(answer)
            return True
        for number, order_id in enumerate(ids):
            record = answer.body[number * orders.RECORD.size :][: orders.RECORD.size]
            if not any(record):
                self.readers.wrong.append(("absent", order_id, self.load.acknowledged[order_id]))
                continue
            order = orders.read_record(record)
            assert order["order_id"] == order_id, (order, order_id)
            self.judge(order)
        return True
