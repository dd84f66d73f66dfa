"""A load of creates and changes on a cluster, and the checker of what must be true after it.

    with load.Load([one, other]) as running:
        running.wait_for_more(200)      # acknowledged since now
        stack.kill("kafka")
        ...
    load.check(running)

Each client sends every request until its outcome is known, to one instance after the other: what is
refused (503), in doubt (504) or broken off is sent again. A reference is never used for two orders,
and nobody else changes them: so each acknowledged version is the truth.
"""

import http.client
import itertools
import os
import threading
import time

import cluster
import homes
import stack_harness as stack
import orders  # found by stack_harness

CLIENTS = 4
PAUSE_SECONDS = 0.015  # between two requests of a client: what is checked afterwards is bounded
BEHIND_SECONDS = 5  # what Redis may be behind the last event, on a machine that is not overloaded
names = itertools.count(1)


class Load:
    def __init__(self, instances):
        self.instances = instances
        self.partner = f"load-{next(names)}"
        self.acknowledged = {}  # order id: the order as it was answered last
        self.history = {}  # (order id, version): the order as it was answered then
        self.ids = []  # in the order in which they came
        self.count = 0  # requests that were acknowledged
        self.in_doubt = 0  # answers of 504, and requests that broke off
        self.refused = 0
        self.wrong = []
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.clients = [threading.Thread(target=self.work, args=(i,)) for i in range(CLIENTS)]

    def __enter__(self):
        for client in self.clients:
            client.start()
        return self

    def __exit__(self, kind, *_):
        self.stopping.set()
        for client in self.clients:
            client.join()
        if kind is None:
            assert not self.wrong, self.wrong[:5]
            print(f"# {self.count} requests acknowledged, {self.in_doubt} were in doubt and sent"
                  f" again, {self.refused} refused and sent again")  # fmt: skip

    def wait_for_more(self, count):
        """Waits until so many requests more are acknowledged; fails where an answer was wrong."""
        wanted = self.count + count

        def there():
            assert not self.wrong, self.wrong[:5]
            return self.count >= wanted

        stack.wait_for(there, cluster.WITHIN_SECONDS, f"{count} more acknowledged requests")

    def note(self, order):
        """An order as it was acknowledged. @thread with the lock."""
        order_id = order["order_id"]
        if order_id not in self.acknowledged:
            self.ids.append(order_id)
        self.count += 1
        self.history[order_id, order["version"]] = order
        self.acknowledged[order_id] = order

    def work(self, number):
        client = Client(self, number)
        try:
            for turn in itertools.count():
                if self.stopping.is_set():
                    return
                client.one_order(f"{number}-{turn}", turn)
        except Exception as error:  # shown by wait_for_more and at the end
            self.wrong.append((number, repr(error)))
        finally:
            client.close()


class Client:
    def __init__(self, load, number):
        self.load = load
        self.at = number  # of the instances, where requests go now
        self.connection = None

    def one_order(self, reference, turn):
        draft = orders.draft(partner_code=self.load.partner, partner_order_id=reference)
        order = self.settle("POST", "/v1/orders", draft, (201, 200))
        assert (order["version"], order["status"]) == (1, "pending"), order
        moves = ((), ("processing",), ("processing", "success"), ("cancel",))[turn % 4]
        for version, status in enumerate(moves, 2):
            order = self.settle("PATCH", orders.path_of(order), {"status": status}, (200,))
            assert (order["version"], order["status"]) == (version, status), order

    def settle(self, method, path, body, good):
        """Sends a request until its outcome is known; returns the order."""
        deadline = time.monotonic() + cluster.WITHIN_SECONDS
        while True:
            answer = self.send(method, path, body)
            if answer is not None and answer.status in good:
                with self.load.lock:
                    self.load.note(answer.json)
                time.sleep(PAUSE_SECONDS)
                return answer.json
            assert answer is None or answer.status in (503, 504), (method, path, body, answer)
            assert time.monotonic() < deadline, (method, path, body, answer)
            time.sleep(10 * PAUSE_SECONDS)

    def send(self, method, path, body):
        """One answer; None where it broke off. The next one goes to another instance."""
        instances = self.load.instances
        try:
            if self.connection is None:
                self.connection = orders.Client(instances[self.at % len(instances)])
            answer = self.connection.request(method, path, body)
        except (OSError, http.client.HTTPException):
            self.move()
            with self.load.lock:
                self.load.in_doubt += 1
            return None
        if answer.status in (503, 504):
            self.move()
            with self.load.lock:
                self.load.refused += answer.status == 503
                self.load.in_doubt += answer.status == 504
        return answer

    def move(self):
        self.close()
        self.at += 1

    def close(self):
        if self.connection is not None:
            self.connection.__exit__()
            self.connection = None


# --- The checker. ---


def check(load):
    """Nothing acknowledged is lost, nothing is there twice, and the tiers agree."""
    began = time.monotonic()
    stored = homes.in_store(load.partner)
    check_store(load, stored)
    waited = wait_for_cache(stored, began)
    published = wait_for_log(stored)
    print(f"# {len(stored)} orders; Redis in step {waited:.1f} s after the last of {published} changes")


def check_store(load, stored):
    for order_id, order in load.acknowledged.items():
        assert stored.get(order_id) == cluster.without_expiry(order), (order, stored.get(order_id))
    sql = f"SELECT order_id, partner_order_id FROM order_refs WHERE partner_code = '{load.partner}'"
    noted = {(str(order_id), reference) for order_id, reference in stack.rows(sql)}
    there = {(order["order_id"], order["partner_order_id"]) for order in stored.values()}
    assert noted == there, noted ^ there
    references = [reference for _, reference in there]
    assert len(references) == len(set(references)), "a reference has two orders"
    assert len(there) == len(load.acknowledged), "an order that nobody was told of"


def wait_for_cache(stored, began):
    """Waits until Redis has every order as MariaDB has it; returns the seconds since `began`."""
    slowness = max(1, os.getloadavg()[0] / os.cpu_count())
    behind = dict(stored)
    with stack.redis_cluster() as redis:

        def in_step():
            for order_id in list(behind):
                value = redis.call("GET", f"o:{{{order_id}}}")
                if value is None or cluster.without_expiry(orders.read_record(value)) != behind[order_id]:
                    return False
                del behind[order_id]
            return True

        what = "Redis in step with MariaDB"
        try:
            stack.wait_for(in_step, BEHIND_SECONDS * slowness, what)
        except AssertionError as error:
            order_id = next(iter(behind))
            raise AssertionError((str(error), len(behind), stack.cached(order_id), behind[order_id])) from error
    return time.monotonic() - began


def wait_for_log(stored):
    """Waits until orders.changes has the last version of every order, and judges what it has: each
    version once in rising order, and whatever comes again the same as before. Returns how many
    messages there are of these orders."""

    def versions():
        found, count = {order_id: {} for order_id in stored}, 0
        for message in stack.messages(cluster.CHANGES):
            seen = found.get(message.key.decode(errors="replace"))
            if seen is None:
                continue
            version = orders.RECORD.unpack(message.value)[2]
            if version in seen:
                assert seen[version] == message.value, ("it came again with another content", message)
            else:
                assert not seen or version > max(seen), ("an older version came later", message, seen)
                seen[version] = message.value
            count += 1
        behind = [i for i, order in stored.items() if order["version"] not in found[i]]
        return None if behind else (found, count)

    found, count = stack.wait_for(versions, cluster.WITHIN_SECONDS, "every change in the log")
    for order_id, order in stored.items():
        assert sorted(found[order_id]) == list(range(1, order["version"] + 1)), (order, found[order_id])
        last = orders.read_record(found[order_id][order["version"]])
        assert cluster.without_expiry(last) == order, (last, order)
    return count
