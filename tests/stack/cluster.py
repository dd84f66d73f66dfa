"""What the tests of a whole cluster share: instances of orderd on the stack, the state of an order in
every tier, and results as the balance service sends them.

    with cluster.instances("command", "relay,cache") as (command, pipelines):
        order = orders.create(command)
        cluster.wait_for_version(order, 1)

Instances end in order (SIGTERM), and must exit with 0: what they held is then given back at once, so
that the next test need not wait for leases and memberships to end by themselves.
"""

import contextlib
import functools
import json
import signal

import stack_harness as stack
import harness
import orders

CHANGES = "orders.changes"
WITHIN_SECONDS = 90  # on a machine that has much else to do


class Instance(stack.Orderd):
    """A running orderd with some roles. What a test takes down on purpose is `gone`."""

    def __init__(self, roles, *settings, **others):
        prepare()
        super().__init__(roles, *orders.SMALL, *settings, **others)

    @property
    def runs(self):
        return self.process is not None and self.process.poll() is None

    def metric(self, name):
        """The sum of a metric over its labels; 0 where there is none of it."""
        found = self.metrics().items()
        return sum(value for key, value in found if key.partition("{")[0] == f"orderd_{name}")

    def wait_for_metric(self, name, at_least, seconds=WITHIN_SECONDS):
        what = f"{name} >= {at_least}"
        return stack.wait_for(lambda: self.metric(name) >= at_least, seconds, what)

    def wait_for_log(self, *parts, seconds=WITHIN_SECONDS):
        """Waits until one line of the log has all these parts; returns it."""

        def line():
            return next((one for one in self.log().splitlines() if all(p in one for p in parts)), None)

        return stack.wait_for(line, seconds, f"a log line with {parts}")


@functools.lru_cache
def prepare():
    """Sets the servers up, once a file."""
    stack.apply_schema()


@contextlib.contextmanager
def instances(*roles, settings=()):
    """Instances with these roles, started one beside the other. A test that passed ends them."""
    started = [Instance(one, *settings, wait=False) for one in roles]
    for one in started:
        one.wait_until_ready(WITHIN_SECONDS)
    yield started[0] if len(started) == 1 else started
    end(*started)


def end(*running):
    """Ends instances in order, all at once; each must exit with 0."""
    for one in running:
        if one.runs:
            one.end_asked = True
            one.signal(signal.SIGTERM)
    for one in running:
        if one.runs:
            status = one.process.wait(harness.STOPPED_WITHIN_SECONDS)
            assert status == 0, (status, one.settings, one.log()[-2000:])


# --- An order in every tier. ---


def in_store(order):
    """The order as MariaDB has it, as the service would write it, without expires_at; None."""
    row = stack.order_row(order["order_id"])
    return None if row is None else shown(row)


def shown(row):
    """A row of MariaDB, as {column: value}, as the service would write it."""
    order = {name: row[name] for name in orders.MEMBERS if name in row}
    order["order_id"] = str(row["order_id"])
    for name in ("created_at", "updated_at", "requested_at", "responded_at"):
        if row[name] is not None:
            order[name] = row[name].replace(" ", "T") + "Z"
    return order


def in_cache(order):
    """The order as Redis has it; None where there is nothing. What is no record fails."""
    value = stack.cached(order["order_id"])
    return None if value is None else orders.read_record(value)


def in_log(order):
    """The versions of an order in orders.changes, in the order in which they were published."""
    return versions_in_log([order])[order["order_id"]]


def versions_in_log(made):
    """The same for many orders: {order id: versions}."""
    found = {order["order_id"]: [] for order in made}
    for message in stack.messages(CHANGES):
        versions = found.get(message.key.decode(errors="replace"))
        if versions is None:
            continue
        record = orders.read_record(message.value)
        event = "created" if record["version"] == 1 else "changed"
        assert record["order_id"].encode() == message.key, message
        assert message.headers == {"event": event}, message
        versions.append(record["version"])
    return found


def without_expiry(order):
    return {name: value for name, value in order.items() if name != "expires_at"}


def wait_for_version(order, version, seconds=WITHIN_SECONDS):
    """Waits until Redis has this version, and the log too; MariaDB must have it by then, and all
    three the same."""
    wait_for_versions([(order, version)], seconds)


def wait_for_versions(wanted, seconds=WITHIN_SECONDS):
    """The same for many: pairs of an order and its version."""
    for order, version in wanted:

        def cached(order=order, version=version):
            found = in_cache(order)
            return found if found is not None and found["version"] >= version else None

        found = stack.wait_for(cached, seconds, f"version {version} of {order['order_id']} in Redis")
        assert found["version"] == version, found
        assert without_expiry(found) == in_store(order), (found, in_store(order))

    def logged():
        found = versions_in_log([order for order, _ in wanted])
        return all(version in found[order["order_id"]] for order, version in wanted)

    stack.wait_for(logged, seconds, f"all versions in {CHANGES}")


# --- The balance service. ---


def result(order, what, **members):
    """A message of balance.results."""
    order_id = order["order_id"] if isinstance(order, dict) else order
    return order_id, json.dumps({"order_id": order_id, "result": what, **members})


def send_results(*messages):
    stack.publish("balance.results", messages)
