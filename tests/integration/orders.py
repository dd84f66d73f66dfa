"""Orders as the integration tests make, send, read and check them (the API, sections 2 to 5).

Small settings are the default here, so that an orderd starts in a moment and writes little.
"""

import calendar
import contextlib
import http.client
import itertools
import json
import re
import socket
import struct
import time

import harness

SMALL = ("memory.budget_mb=64", "journal.segment_mb=8", "server.threads=2", "archive.cache_mb=8")

STATUSES = ("pending", "processing", "success", "cancel", "timeout", "error")
FINAL = ("success", "cancel", "timeout", "error")
MOVES = {
    "pending": ("processing", "cancel", "timeout", "error", "success"),
    "processing": ("success", "cancel", "timeout", "error"),
}
PAYMENTS = ("pay_with_bank", "pay_with_card", "pay_with_wallet")
MEMBERS = (
    "order_id partner_code partner_order_id amount currency payment_type bank_code status version"
    " created_at updated_at requested_at responded_at expires_at"
).split()
AMOUNT_MAX = 2**63 - 1
EPOCH_SECONDS = calendar.timegm((2026, 1, 1, 0, 0, 0))
TICK_SECONDS = 0.01

numbers = itertools.count(1)
run = f"{time.time_ns() & 0xFFFFFFFF:08x}"


def start(*settings, **arguments):
    """A running orderd with small settings."""
    return harness.Orderd(*SMALL, *settings, **arguments)


# --- One order. ---


def new_reference():
    return f"r-{run}-{next(numbers)}"


def draft(**members):
    """The body of a create with a reference that no other has; None leaves a member out."""
    body = {"partner_code": "acme", "partner_order_id": new_reference(), "amount": 1000, **members}
    return {name: value for name, value in body.items() if value is not None}


def path_of(order):
    return f"/v1/orders/{order['order_id'] if isinstance(order, dict) else order}"


def create(orderd, **members):
    """Creates an order; returns it."""
    answer = orderd.post("/v1/orders", draft(**members))
    assert answer.status == 201, answer
    return answer.json


def change(orderd, order, status, headers=None, **members):
    """Changes an order's status; returns the order."""
    answer = orderd.patch(path_of(order), {"status": status, **members}, headers)
    assert answer.status == 200, answer
    return answer.json


def read(orderd, order):
    answer = orderd.get(path_of(order))
    assert answer.status == 200, answer
    return answer.json


def microseconds(text):
    """A time as the service writes it, in microseconds since 1970."""
    match = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)\.(\d{6})Z", text)
    assert match, f"no RFC 3339 UTC time with microseconds: {text!r}"
    *parts, fraction = map(int, match.groups())
    return calendar.timegm(tuple(parts)) * 1_000_000 + fraction


def now_us():
    return time.time_ns() // 1000


def rfc3339(time_us):
    seconds, fraction = divmod(time_us, 1_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction:06d}Z"


def check_order(order, timeout_seconds=900):
    """Holds what the service says of an order against section 2."""
    assert list(order) == MEMBERS, list(order)
    assert re.fullmatch(r"[1-9][0-9]{0,18}", order["order_id"]), order
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,16}", order["partner_code"]), order
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,36}", order["partner_order_id"]), order
    assert type(order["amount"]) is int and 1 <= order["amount"] <= AMOUNT_MAX, order
    assert re.fullmatch(r"[A-Z]{3}", order["currency"]), order
    assert order["payment_type"] in PAYMENTS and order["status"] in STATUSES, order
    bank = order["bank_code"]
    assert bank is None or re.fullmatch(r"[A-Za-z0-9_-]{1,12}", bank), order
    assert type(order["version"]) is int and order["version"] >= 1, order
    created, updated = microseconds(order["created_at"]), microseconds(order["updated_at"])
    assert created <= updated, order
    assert microseconds(order["expires_at"]) == created + timeout_seconds * 1_000_000, order
    assert (order["version"] == 1) == (order["status"] == "pending"), order
    check_times_given(order)
    tick = int(order["order_id"]) >> 27
    id_us = (EPOCH_SECONDS + tick * TICK_SECONDS) * 1_000_000
    assert -TICK_SECONDS * 1e6 <= id_us - created <= 1.02e6, f"the id tells another time: {order}"


def check_times_given(order):
    responded = order["responded_at"]
    if order["status"] in ("success", "error"):
        assert responded is not None, order
    if order["status"] in ("pending", "processing", "timeout"):
        assert responded is None, order
    if order["status"] == "processing":
        assert order["requested_at"] is not None, order
    for name in ("requested_at", "responded_at"):
        assert order[name] is None or microseconds(order[name]), order


# --- Problems. ---


def check_problem(answer, status, fields=None):
    """Fails unless the answer is this problem; `fields` are the names of all field errors."""
    assert answer.status == status, answer
    assert answer.headers.get("content-type") == "application/problem+json", answer
    problem = answer.json
    check_problem_document(problem, status)
    if status == 422 or fields is not None:
        assert "errors" in problem, problem
    if fields is not None:
        named = sorted(error["field"] for error in problem["errors"])
        assert named == sorted(fields), f"expected errors of {fields}: {problem}"
    if status == 503:
        assert re.fullmatch(r"[0-9]+", answer.headers.get("retry-after", "")), answer
    return problem


def check_problem_document(problem, status):
    assert isinstance(problem, dict) and problem["status"] == status, problem
    for name in ("type", "title", "detail"):
        assert isinstance(problem[name], str) and problem[name], problem
    for error in problem.get("errors", []):
        assert set(error) == {"field", "detail"} and error["detail"], problem


# --- Connections that stay open. ---


class Client:
    """Requests over one connection that is kept."""

    def __init__(self, orderd):
        self.connection = orderd.http_connection()
        self.connection.connect()
        self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def request(self, method, target, body=None, headers=None):
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        self.connection.request(method, target, body, headers)
        response = self.connection.getresponse()
        pairs = harness.joined(response.getheaders())
        return harness.Answer(response.status, pairs, response.read())

    def get(self, target, headers=None):
        return self.request("GET", target, None, headers)

    def post(self, target, body, headers=None):
        return self.request("POST", target, body, headers)

    def patch(self, target, body, headers=None):
        return self.request("PATCH", target, body, headers)


def head(method, target, *lines, body=None, version="1.1"):
    """The bytes of a request; `body` adds its length and itself."""
    lines = [f"{method} {target} HTTP/{version}", "Host: a", *lines]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")


def create_request(*lines, **members):
    body = json.dumps(draft(**members)).encode()
    return head("POST", "/v1/orders", "Content-Type: application/json", *lines, body=body)


# --- Records (section 4). ---

RECORD = struct.Struct("<QQIBBHqqqq4s12s16s36sI")
RECORD_FIELDS = (
    "order_id amount version status payment_type format created_at updated_at requested_at"
    " responded_at currency bank_code partner_code partner_order_id crc"
).split()
assert RECORD.size == 128

RESULT = struct.Struct("<QIHBB")  # order_id, version, code, status, zero
STATE = struct.Struct("<IBBH")  # version, status, flags, zero
ID = struct.Struct("<Q")

OCTETS = {"Content-Type": "application/octet-stream"}
LINES = {"Content-Type": "application/x-ndjson"}


def record(**fields):
    """A 128-byte record for a create; what is not given is what a create needs."""
    wanted = dict.fromkeys(RECORD_FIELDS, 0)
    wanted.update(amount=1000, currency=b"", bank_code=b"", partner_code=b"acme")
    wanted.update(partner_order_id=new_reference().encode())
    wanted.update(fields)
    return RECORD.pack(*(wanted[name] for name in RECORD_FIELDS))


def crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC_TABLE = crc_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def text_of(field):
    used = field.rstrip(b"\0")
    assert b"\0" not in used, field
    return used.decode("ascii")


def read_record(data, timeout_seconds=900):
    """The JSON form of a record; its checksum and its format are judged."""
    fields = dict(zip(RECORD_FIELDS, RECORD.unpack(data)))
    assert fields["crc"] == crc32c(data[:124]), fields
    assert fields["format"] == 1, fields
    order = {name: fields[name] for name in RECORD_FIELDS if name in MEMBERS}
    order["order_id"] = str(fields["order_id"])
    order["status"] = STATUSES[fields["status"] - 1]
    order["payment_type"] = PAYMENTS[fields["payment_type"] - 1]
    for name in ("currency", "bank_code", "partner_code", "partner_order_id"):
        order[name] = text_of(fields[name]) or None
    order["expires_at"] = fields["created_at"] + timeout_seconds * 1_000_000
    for name in MEMBERS:
        if name.endswith("_at"):
            order[name] = rfc3339(order[name]) if order[name] else None
    return {name: order[name] for name in MEMBERS}


def post_records(orderd, records):
    """A binary batch of creates; returns (order_id, version, code, status) for each."""
    answer = orderd.post("/v1/batch/orders", b"".join(records), OCTETS)
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "application/octet-stream", answer
    assert len(answer.body) == RESULT.size * len(records), answer
    results = list(RESULT.iter_unpack(answer.body))
    assert all(result[4] == 0 for result in results), results
    return [result[:4] for result in results]


def post_lines(orderd, lines):
    """A batch of creates, one a line (of bytes, or to be made JSON); returns the answers' lines."""
    lines = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    answer = orderd.post("/v1/batch/orders", b"".join(line + b"\n" for line in lines), LINES)
    assert answer.status == 200, answer
    return read_lines(answer, len(lines))


def read_lines(answer, count):
    assert answer.headers["content-type"] == "application/x-ndjson", answer
    assert answer.body == b"" or answer.body.endswith(b"\n"), answer
    results = [json.loads(line) for line in answer.body.splitlines()]
    assert len(results) == count, (len(results), count)
    for result in results:
        expected = "order" if result["code"] < 300 else "problem"
        assert list(result) == ["code", expected], result
        if expected == "problem":
            check_problem_document(result["problem"], result["code"])
    return results


def pack_ids(ids):
    return b"".join(ID.pack(int(order_id)) for order_id in ids)


def post_statuses(orderd, ids):
    """(version, status, flags) for each id."""
    answer = orderd.post("/v1/batch/statuses", pack_ids(ids), OCTETS)
    assert answer.status == 200, answer
    assert len(answer.body) == STATE.size * len(ids), answer
    states = list(STATE.iter_unpack(answer.body))
    assert all(state[3] == 0 for state in states), states
    return [state[:3] for state in states]


def post_get(orderd, ids):
    """The JSON form of each order; None where there is none."""
    answer = orderd.post("/v1/batch/get", pack_ids(ids), OCTETS)
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "application/octet-stream", answer
    assert len(answer.body) == RECORD.size * len(ids), answer
    records = [answer.body[at : at + RECORD.size] for at in range(0, len(answer.body), RECORD.size)]
    return [read_record(data) if any(data) else None for data in records]


# --- Event streams. ---


class Events:
    """An event stream, read event by event. `target` is its path."""

    def __init__(self, orderd, target, *lines, receive_buffer=None):
        self.connection = orderd.connect()
        if receive_buffer is not None:
            option = (socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self.connection.socket.setsockopt(*option)
        self.connection.send(head("GET", target, "Accept: text/event-stream", *lines))
        self.answer = None
        self.text = b""
        self.comments = 0
        self.ended = False

    def __enter__(self):
        self.begin()
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.connection.socket.close()

    def begin(self):
        """Reads the head of the answer; any other than a stream fails."""
        line = self.connection.take_line()
        assert line.startswith(b"HTTP/1.1 200 "), (line, self.connection.received)
        pairs = []
        while line := self.connection.take_line():
            name, _, value = line.decode("latin-1").partition(":")
            pairs.append((name, value.strip()))
        headers = harness.joined(pairs)
        assert headers["content-type"].partition(";")[0] == "text/event-stream", headers
        assert headers.get("transfer-encoding") == "chunked", headers
        self.answer = headers

    def take_chunk(self):
        size = int(self.connection.take_line(), 16)
        if size == 0:
            assert self.connection.take_line() == b""
            self.ended = True
            return
        self.text += self.connection.take(size)
        assert self.connection.take(2) == b"\r\n"

    def next(self, seconds=harness.ANSWERED_WITHIN_SECONDS):
        """The next event as (id, name, order); None at the end of the stream."""
        self.connection.socket.settimeout(seconds)
        while True:
            while b"\n\n" in self.text:
                block, _, self.text = self.text.partition(b"\n\n")
                event = self.parse(block.decode())
                if event:
                    return event
            if self.ended:
                assert self.text == b"", self.text
                return None
            self.take_chunk()

    def parse(self, block):
        """One block; None for a comment."""
        fields = []
        for line in block.split("\n"):
            if line.startswith(":"):
                self.comments += 1
            else:
                name, colon, value = line.partition(":")
                assert colon, block
                fields.append((name, value.removeprefix(" ")))
        if not fields:
            return None
        fields = dict(fields)
        assert set(fields) == {"id", "event", "data"}, block
        return fields["id"], fields["event"], json.loads(fields["data"])

    def take(self, count, seconds=harness.ANSWERED_WITHIN_SECONDS):
        return [self.next(seconds) for _ in range(count)]

    def is_silent(self, seconds=0.2):
        """True where no event comes within this time."""
        try:
            return self.next(seconds) is None
        except socket.timeout:
            return True


# --- The service. ---


def metrics(orderd):
    """Every sample, those of several threads added up."""
    values = {}
    for line in orderd.get("/metrics").body.decode().splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            values[name] = values.get(name, 0) + float(value)
    return values


def wait_for_metric(orderd, name, at_least, seconds=30):
    def reached():
        value = metrics(orderd).get(name)
        assert value is not None, f"there is no metric {name}"
        return value >= at_least

    harness.wait_for(reached, seconds, f"{name} >= {at_least}")


def wait_until_archived(orderd, count, seconds=30):
    """Waits until so many orders have been archived since the start."""
    wait_for_metric(orderd, "orderd_archiver_archived_total", count, seconds)


@contextlib.contextmanager
def many(count, make):
    """Opens `count` things and closes them all."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(make()) for _ in range(count)]
