"""A small client of Redis and of its cluster, over RESP2."""

import binascii

from stacklib import wire

SLOTS = 16384


class RedisError(Exception):
    """An error that Redis answered, as `MOVED 12 127.0.0.1:7001`."""


class Redis(wire.Client):
    """One connection to one node."""

    def __init__(self, address, timeout=5):
        super().__init__(address, timeout)

    def send(self, *words):
        """Sends a command without waiting for its answer."""
        parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        data = b"*%d\r\n" % len(parts)
        self.socket.sendall(data + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))

    def call(self, *words):
        """Sends a command and returns its answer: bytes, int, list or None; errors are raised."""
        self.send(*words)
        answer = self.receive()
        if isinstance(answer, RedisError):
            raise answer
        return answer

    def text(self, *words):
        return self.call(*words).decode()

    def info(self, *words):
        """The answer to `INFO section` or `CLUSTER INFO`, as a dictionary of texts."""
        pairs = (line.partition(":") for line in self.text(*words).splitlines() if ":" in line)
        return {name: value for name, _, value in pairs}

    def receive(self):
        line = self.stream.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("Redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            return RedisError(rest.decode())
        if kind == b":":
            return int(rest)
        size = int(rest)
        if size < 0:
            return None
        if kind == b"$":
            return self.read(size + 2)[:-2]
        return [self.receive() for _ in range(size)]


def slot_of(key):
    """The hash slot of a key: of what stands between its first braces, where that is something."""
    key = key if isinstance(key, bytes) else key.encode()
    begin = key.find(b"{")
    end = key.find(b"}", begin + 1)
    if begin >= 0 and end > begin + 1:
        key = key[begin + 1 : end]
    return binascii.crc_hqx(key, 0) % SLOTS


class Node:
    """A line of CLUSTER NODES, as one node sees another."""

    def __init__(self, line):
        words = line.split()
        self.id, self.master_id, self.link = words[0], words[3], words[7]
        self.address = words[1].partition("@")[0]
        self.flags = set(words[2].split(","))
        self.slots = words[8:]

    @property
    def is_master(self):
        return "master" in self.flags

    def slot_ranges(self):
        """(first, last) of each range of slots, without those that are on their way."""
        for text in self.slots:
            if not text.startswith("["):
                first, _, last = text.partition("-")
                yield int(first), int(last or first)

    @property
    def is_well(self):
        return self.flags <= {"myself", "master", "slave"} and self.link == "connected"


def parse_nodes(answer):
    """What CLUSTER NODES answered, as a list of Node."""
    return [Node(line) for line in answer.decode().splitlines()]


class Cluster:
    """All nodes: sends each command to the master that has its key."""

    def __init__(self, addresses):
        self.addresses = addresses
        self.connections = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for connection in self.connections.values():
            connection.close()
        self.connections = {}

    def node(self, address):
        """A connection to one node, kept until it breaks."""
        kept = self.connections.get(address)
        if kept is None or kept.is_closed():
            self.forget(address)
            self.connections[address] = Redis(address)
        return self.connections[address]

    def forget(self, address):
        broken = self.connections.pop(address, None)
        if broken is not None:
            broken.close()

    def ask(self, address, *words):
        """Sends a command to one node. It is sent once: what breaks on the way is raised."""
        try:
            return self.node(address).call(*words)
        except OSError:
            self.forget(address)
            raise

    def nodes(self):
        """The nodes, as the first that answers sees them."""
        for address in self.addresses:
            try:
                return parse_nodes(self.ask(address, "CLUSTER", "NODES"))
            except OSError:
                continue
        raise ConnectionError("no node of the cluster answers")

    def masters(self):
        """host:port of each master that has slots and is not taken for dead."""
        return [
            node.address
            for node in self.nodes()
            if node.is_master and node.slots and not node.flags & {"fail", "fail?"}
        ]

    def master_of(self, key):
        """host:port of the master that has the slot of a key."""
        slot = slot_of(key)
        for node in self.nodes():
            for first, last in node.slot_ranges() if node.is_master else ():
                if first <= slot <= last:
                    return node.address
        raise RedisError(f"CLUSTERDOWN no master has slot {slot}")

    def call(self, *words, key=None):
        """Sends a command to the master of its key: its second word, unless `key` says another."""
        target, asking = self.master_of(key or words[1]), False
        for _ in range(5):
            try:
                if asking:
                    self.ask(target, "ASKING")
                return self.ask(target, *words)
            except RedisError as error:
                kind, _, rest = str(error).partition(" ")
                if kind not in ("MOVED", "ASK"):
                    raise
                target, asking = rest.split()[1], kind == "ASK"
        raise RedisError("too many redirections")
