"""A small client of MariaDB's text protocol: for the stack's own questions and for tests, which
need connections that they can hold open and break.

Source: https://mariadb.com/kb/en/clientserver-protocol/
"""

import hashlib
import struct

from stacklib import wire

LONG_PASSWORD, CONNECT_WITH_DB, PROTOCOL_41 = 0x1, 0x8, 0x200
TRANSACTIONS, SECURE_CONNECTION, MULTI_STATEMENTS = 0x2000, 0x8000, 0x10000
MULTI_RESULTS, PLUGIN_AUTH = 0x20000, 0x80000
MORE_RESULTS_EXIST = 0x8
UTF8MB4 = 45
BINARY = 63
COM_QUIT, COM_QUERY = 0x01, 0x03
INTEGER_TYPES = {1, 2, 3, 8, 9, 13}
PACKET_MAX = 0xFFFFFF


class MysqlError(Exception):
    """What the server answered instead of a result. `code` is its number, as 1213 (deadlock)."""

    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code = code


def native_password(password, scramble):
    """The answer of mysql_native_password: SHA1(password) ^ SHA1(scramble + SHA1(SHA1(password)))."""
    if not password:
        return b""
    once = hashlib.sha1(password.encode()).digest()
    mask = hashlib.sha1(scramble + hashlib.sha1(once).digest()).digest()
    return bytes(left ^ right for left, right in zip(once, mask))


class Reader(wire.Reader):
    """A packet that is taken apart from the front."""

    def integer(self, size):
        return self.unsigned(size, "little")

    def length(self):
        """A length-encoded integer; None for NULL."""
        first = self.integer(1)
        if first == 0xFB:
            return None
        return first if first < 0xFB else self.integer({0xFC: 2, 0xFD: 3, 0xFE: 8}[first])

    def text(self):
        size = self.length()
        return None if size is None else self.take(size)

    def until_zero(self):
        end = self.data.index(b"\0", self.at)
        taken, self.at = self.data[self.at : end], end + 1
        return taken


class Connection(wire.Client):
    """One connection: to `address`, host:port or the path of a socket."""

    def __init__(self, address, user, password="", database="", timeout=10):
        super().__init__(address, timeout)
        self.sequence = 0
        self.affected = 0
        try:
            self.log_in(user, password, database)
        except BaseException:
            self.drop()
            raise

    def close(self):
        """Says goodbye. A transaction that is open is rolled back by the server."""
        try:
            self.sequence = 0
            self.send(bytes([COM_QUIT]))
        except OSError:
            pass
        self.drop()

    def drop(self):
        """Closes without a word, as when a client dies."""
        super().close()

    def receive(self):
        """One packet; an error packet is raised."""
        data = b""
        while True:
            head = self.read(4)
            size = int.from_bytes(head[:3], "little")
            self.sequence = (head[3] + 1) % 256
            data += self.read(size)
            if size < PACKET_MAX:
                break
        if data[:1] == b"\xff":
            code = struct.unpack_from("<H", data, 1)[0]
            text = data[3:].decode(errors="replace")
            raise MysqlError(code, text[6:] if text.startswith("#") else text)
        return data

    def send(self, data):
        while True:
            part, data = data[:PACKET_MAX], data[PACKET_MAX:]
            self.socket.sendall(len(part).to_bytes(3, "little") + bytes([self.sequence]) + part)
            self.sequence = (self.sequence + 1) % 256
            if len(part) < PACKET_MAX:
                return

    def log_in(self, user, password, database):
        greeting = Reader(self.receive())
        greeting.take(1)
        self.server_version = greeting.until_zero().decode()
        self.thread_id = greeting.integer(4)
        scramble = greeting.take(8)
        greeting.take(19)  # filler, capabilities, character set, status, length, reserved
        scramble += greeting.take(12)
        flags = LONG_PASSWORD | PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | MULTI_STATEMENTS
        flags |= MULTI_RESULTS | PLUGIN_AUTH | (CONNECT_WITH_DB if database else 0)
        answer = native_password(password, scramble)
        packet = struct.pack("<IIB23x", flags, PACKET_MAX, UTF8MB4) + user.encode() + b"\0"
        packet += bytes([len(answer)]) + answer + (database.encode() + b"\0" if database else b"")
        self.send(packet + b"mysql_native_password\0")
        reply = self.receive()
        if reply[:1] == b"\xfe":  # the user has another plugin
            switch = Reader(reply)
            switch.take(1)
            plugin, scramble = switch.until_zero(), switch.data[switch.at :].rstrip(b"\0")
            native = plugin == b"mysql_native_password"
            self.send(native_password(password, scramble) if native else b"")
            self.receive()

    def query(self, sql):
        """Runs one or several statements. Returns the rows of the last that has any, as tuples;
        `affected` is then what the last one changed. Integers are int, binary values bytes, all
        others str, NULL is None."""
        self.sequence = 0
        self.send(bytes([COM_QUERY]) + (sql if isinstance(sql, bytes) else sql.encode()))
        rows, more = [], True
        while more:
            first = Reader(self.receive())
            if first.data[0] == 0:
                first.take(1)
                self.affected = first.length()
                first.length()  # last insert id
                more = first.integer(2) & MORE_RESULTS_EXIST
            else:
                rows, more = self.receive_rows(first.length())
        return rows

    def receive_rows(self, count):
        columns = [self.receive_column() for _ in range(count)]
        self.receive()  # the end of the columns
        rows = []
        while True:
            packet = self.receive()
            if packet[:1] == b"\xfe" and len(packet) < 9:
                return rows, struct.unpack_from("<H", packet, 3)[0] & MORE_RESULTS_EXIST
            reader = Reader(packet)
            rows.append(tuple(self.value(reader.text(), *column) for column in columns))

    def receive_column(self):
        """(type, character set) of one column of a result."""
        reader = Reader(self.receive())
        for _ in range(6):  # catalog, database, table, its origin, name, its origin
            reader.text()
        reader.length()
        character_set = reader.integer(2)
        reader.take(4)
        return reader.integer(1), character_set

    @staticmethod
    def value(data, kind, character_set):
        if data is None:
            return None
        if kind in INTEGER_TYPES:
            return int(data)
        is_text = kind < 16 or kind == 246 or character_set != BINARY
        return data.decode() if is_text else data
