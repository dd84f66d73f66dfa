"""A small client of Kafka's administration: topics, groups, offsets. Messages go through kcat.

Versions of the requests are the newest without "flexible" fields, all of which Kafka 4 knows.
Source: https://kafka.apache.org/protocol
"""

import base64
import os
import struct

from stacklib import wire

LIST_OFFSETS, METADATA, OFFSET_FETCH, FIND_COORDINATOR = 2, 3, 9, 10
LIST_GROUPS, CREATE_TOPICS, DELETE_TOPICS, DELETE_RECORDS, INIT_PRODUCER_ID = 16, 19, 20, 21, 22
DELETE_GROUPS = 42
EARLIEST, LATEST = -2, -1
UNKNOWN_TOPIC, TOPIC_EXISTS, NON_EMPTY_GROUP, GROUP_NOT_FOUND = 3, 36, 68, 69
LEADER_NOT_AVAILABLE, NOT_LEADER = 5, 6
NOT_THERE_YET = (UNKNOWN_TOPIC, LEADER_NOT_AVAILABLE, NOT_LEADER)  # said of a new topic for a moment
ERRORS = {
    UNKNOWN_TOPIC: "unknown topic or partition",
    LEADER_NOT_AVAILABLE: "the partition has no leader yet",
    NOT_LEADER: "the partition has another leader",
    14: "coordinator load in progress",
    15: "coordinator not available",
    16: "not the coordinator",
    TOPIC_EXISTS: "the topic exists",
    38: "invalid replication factor (or the broker is not let in yet)",
    41: "not the controller",
    NON_EMPTY_GROUP: "the group has members",
    GROUP_NOT_FOUND: "the group is not found",
}


def new_cluster_id():
    """A random id for a new cluster, as `StorageTool format -t` takes it."""
    while True:
        identity = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
        if not identity.startswith("-"):  # which would be taken for an option
            return identity


class KafkaError(Exception):
    """An error number that Kafka answered."""

    def __init__(self, code, what):
        super().__init__(f"{what}: {ERRORS.get(code, 'error')} ({code})")
        self.code = code


def text(value):
    data = value.encode()
    return struct.pack(">h", len(data)) + data


def array(items):
    return struct.pack(">i", len(items)) + b"".join(items)


class Reader(wire.Reader):
    """An answer that is taken apart from the front."""

    def number(self, form):
        return struct.unpack(">" + form, self.take(struct.calcsize(">" + form)))[0]

    def text(self):
        size = self.number("h")
        return None if size < 0 else self.take(size).decode()

    def array(self, read):
        return [read() for _ in range(self.number("i"))]


class Kafka(wire.Client):
    """One connection to the broker, of which the stack has one."""

    def __init__(self, address, timeout=30):
        super().__init__(address, timeout)
        self.correlation = 0

    def exchange(self, api, version, body):
        self.correlation += 1
        head = struct.pack(">hhi", api, version, self.correlation) + text("stack")
        self.socket.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
        reader = Reader(self.read(int.from_bytes(self.read(4), "big")))
        assert reader.number("i") == self.correlation, "an answer to another request"
        return reader

    def topics(self, internal=False):
        """{name: number of partitions}, without Kafka's own."""
        answer = self.exchange(METADATA, 4, struct.pack(">i?", -1, False))
        answer.number("i")
        answer.array(lambda: (answer.number("i"), answer.text(), answer.number("i"), answer.text()))
        answer.text(), answer.number("i")

        def partition():
            answer.number("h"), answer.number("i"), answer.number("i")
            answer.array(lambda: answer.number("i"))
            answer.array(lambda: answer.number("i"))

        def topic():
            answer.number("h")
            return answer.text(), answer.number("?"), len(answer.array(partition))

        found = answer.array(topic)
        return {name: count for name, is_internal, count in found if internal or not is_internal}

    def create_topics(self, topics, configs=None, only_check=False):
        """Makes topics, {name: number of partitions}; one that exists is an error."""
        settings = [text(name) + text(str(value)) for name, value in (configs or {}).items()]
        wanted = [
            text(name) + struct.pack(">ih", count, 1) + array([]) + array(settings)
            for name, count in topics.items()
        ]
        answer = self.exchange(CREATE_TOPICS, 4, array(wanted) + struct.pack(">i?", 30000, only_check))
        answer.number("i")
        for name, code, _ in answer.array(
            lambda: (answer.text(), answer.number("h"), answer.text())
        ):
            check(code, f"topic {name}")

    def delete_topics(self, names):
        """Removes topics; one that does not exist is no error."""
        body = array([text(name) for name in names]) + struct.pack(">i", 30000)
        answer = self.exchange(DELETE_TOPICS, 3, body)
        answer.number("i")
        for name, code in answer.array(lambda: (answer.text(), answer.number("h"))):
            check(code, f"topic {name}", UNKNOWN_TOPIC)

    def groups(self):
        answer = self.exchange(LIST_GROUPS, 1, b"")
        answer.number("i")
        check(answer.number("h"), "the groups")
        return [name for name, _ in answer.array(lambda: (answer.text(), answer.text()))]

    def delete_groups(self, names):
        """Removes groups and their offsets. One that has members cannot be: an error."""
        answer = self.exchange(DELETE_GROUPS, 0, array([text(name) for name in names]))
        answer.number("i")
        for name, code in answer.array(lambda: (answer.text(), answer.number("h"))):
            check(code, f"group {name}", GROUP_NOT_FOUND)

    def offsets(self, topic, at=LATEST):
        """The offset at which each partition of a topic ends, or begins with EARLIEST."""
        count = self.topics().get(topic)
        if count is None:
            raise KafkaError(UNKNOWN_TOPIC, f"topic {topic}")
        partitions = [struct.pack(">iq", number, at) for number in range(count)]
        body = struct.pack(">i", -1) + array([text(topic) + array(partitions)])
        answer = self.exchange(LIST_OFFSETS, 1, body)

        def partition():
            number, code = answer.number("i"), answer.number("h")
            check(code, f"partition {number} of {topic}")
            answer.number("q")
            return number, answer.number("q")

        found = answer.array(lambda: (answer.text(), answer.array(partition)))
        return [offset for _, offset in sorted(found[0][1])]

    def delete_records(self, topic):
        """Removes everything that a topic has now; offsets go on."""
        partitions = [
            struct.pack(">iq", number, end) for number, end in enumerate(self.offsets(topic))
        ]
        body = array([text(topic) + array(partitions)]) + struct.pack(">i", 30000)
        answer = self.exchange(DELETE_RECORDS, 1, body)
        answer.number("i")

        def partition():
            number, _, code = answer.number("i"), answer.number("q"), answer.number("h")
            check(code, f"partition {number} of {topic}")

        answer.array(lambda: (answer.text(), answer.array(partition)))

    def committed(self, group):
        """{(topic, partition): offset} that a group has committed."""
        answer = self.exchange(OFFSET_FETCH, 2, text(group) + struct.pack(">i", -1))

        def partition():
            number, offset = answer.number("i"), answer.number("q")
            answer.text(), answer.number("h")
            return number, offset

        found = answer.array(lambda: (answer.text(), answer.array(partition)))
        check(answer.number("h"), f"group {group}")
        return {(topic, number): offset for topic, parts in found for number, offset in parts}

    def check_ready(self):
        """Raises until everything that a client needs is there: the controller takes changes and
        has let the broker in, groups have a coordinator, idempotent producers get their id."""
        self.create_topics({"stack.check": 1}, only_check=True)
        answer = self.exchange(FIND_COORDINATOR, 1, text("stack.check") + b"\0")
        answer.number("i")
        check(answer.number("h"), "the groups' coordinator")
        self.committed("stack.check")
        answer = self.exchange(INIT_PRODUCER_ID, 0, struct.pack(">hi", -1, 1000))
        answer.number("i")
        check(answer.number("h"), "a producer's id")


def check(code, what, *allowed):
    if code not in (0, *allowed):
        raise KafkaError(code, what)
