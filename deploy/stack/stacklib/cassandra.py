"""A small client of Cassandra: the native protocol, version 4, statements as text.

Source: doc/native_protocol_v4.spec of Cassandra.
"""

import datetime
import decimal
import struct
import uuid

from stacklib import wire

VERSION = 4
RESPONSE = 0x80
ERROR, STARTUP, READY, QUERY, RESULT = 0x00, 0x01, 0x02, 0x07, 0x08
ROWS, SET_KEYSPACE = 2, 3
GLOBAL_TABLE, HAS_MORE_PAGES, NO_METADATA = 0x1, 0x2, 0x4
CONSISTENCY = {"ONE": 1, "QUORUM": 4, "ALL": 5, "LOCAL_QUORUM": 6, "LOCAL_ONE": 10}
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


class CassandraError(Exception):
    """An error that Cassandra answered. `code` is its number, as 0x2200 (invalid)."""

    def __init__(self, code, text):
        super().__init__(f"{code:#06x}: {text}")
        self.code = code


class Reader(wire.Reader):
    """A body that is taken apart from the front."""

    def integer(self):
        return self.signed(4)

    def short(self):
        return self.unsigned(2)

    def text(self):
        return self.take(self.short()).decode()

    def value(self):
        size = self.integer()
        return None if size < 0 else self.take(size)

    def column_type(self):
        """The number of a type, or (number, parts) of a collection or tuple."""
        number = self.short()
        if number == 0x00:
            self.text()
        elif number in (0x20, 0x22):
            return number, [self.column_type()]
        elif number == 0x21:
            return number, [self.column_type(), self.column_type()]
        elif number == 0x31:
            return number, [self.column_type() for _ in range(self.short())]
        return number


def integer(data):
    return int.from_bytes(data, "big", signed=True)


def decode_decimal(data):
    return decimal.Decimal(integer(data[4:])).scaleb(-integer(data[:4]))


DECODERS = {
    0x01: bytes.decode,  # ascii
    0x02: integer,  # bigint
    0x04: lambda data: data != b"\0",  # boolean
    0x05: integer,  # counter
    0x06: decode_decimal,
    0x07: lambda data: struct.unpack(">d", data)[0],
    0x08: lambda data: struct.unpack(">f", data)[0],
    0x09: integer,  # int
    0x0B: lambda data: EPOCH + datetime.timedelta(milliseconds=integer(data)),  # timestamp
    0x0C: lambda data: uuid.UUID(bytes=data),
    0x0D: bytes.decode,  # varchar
    0x0E: integer,  # varint
    0x0F: lambda data: uuid.UUID(bytes=data),  # timeuuid
    0x12: integer,  # time
    0x13: integer,  # smallint
    0x14: integer,  # tinyint
}


def decode(data, kind):
    """A value of one of the simple types; of the others the bytes."""
    if data is None or kind not in DECODERS:
        return data
    return DECODERS[kind](data)


class Connection(wire.Client):
    """One connection to one node."""

    def __init__(self, address, timeout=30):
        super().__init__(address, timeout)
        try:
            self.exchange(STARTUP, b"\0\1" + b"".join(map(short_text, ("CQL_VERSION", "3.0.0"))))
        except BaseException:
            self.close()
            raise

    def exchange(self, opcode, body):
        """Sends a request and returns the body of its answer; an error is raised."""
        self.socket.sendall(struct.pack(">BBhBI", VERSION, 0, 0, opcode, len(body)) + body)
        version, _, _, answer, size = struct.unpack(">BBhBI", self.read(9))
        reader = Reader(self.read(size))
        assert version == VERSION | RESPONSE, f"protocol version {version:#x}"
        if answer == ERROR:
            raise CassandraError(reader.integer(), reader.text())
        expected = READY if opcode == STARTUP else RESULT
        assert answer == expected, f"an answer of kind {answer:#x}"
        return reader

    def query(self, cql, consistency="ONE"):
        """Runs one statement. Returns its rows, as tuples, all pages together."""
        rows, page = [], None
        while True:
            flags = bytes([0 if page is None else 0x08])
            body = struct.pack(">I", len(cql.encode())) + cql.encode()
            body += struct.pack(">H", CONSISTENCY[consistency]) + flags
            if page is not None:
                body += struct.pack(">i", len(page)) + page
            answer = self.exchange(QUERY, body)
            if answer.integer() != ROWS:
                return rows
            page = self.read_rows(answer, rows)
            if page is None:
                return rows

    @staticmethod
    def read_rows(answer, rows):
        """Adds the rows of an answer. Returns the state of the paging, None at the end."""
        flags, columns = answer.integer(), answer.integer()
        page = answer.value() if flags & HAS_MORE_PAGES else None
        if flags & GLOBAL_TABLE:
            answer.text(), answer.text()
        kinds = []
        for _ in range(columns):
            if not flags & GLOBAL_TABLE:
                answer.text(), answer.text()
            answer.text()
            kinds.append(answer.column_type())
        for _ in range(answer.integer()):
            rows.append(tuple(decode(answer.value(), kind) for kind in kinds))
        return page


def short_text(text):
    return struct.pack(">H", len(text)) + text.encode()
