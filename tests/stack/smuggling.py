"""Requests that two programs in a row may read as different ones: each form holds, somewhere, a whole
second request that must never be executed."""

import json

CRLF = b"\r\n"


def create(partner, reference):
    """A create as one would send it by itself."""
    order = {"partner_code": partner, "partner_order_id": reference, "amount": 1}
    body = json.dumps(order).encode()
    lines = (
        "POST /v1/orders HTTP/1.1", "Host: a", "Content-Type: application/json",
        f"Content-Length: {len(body)}", "Connection: close",
    )  # fmt: skip
    return "\r\n".join(lines).encode() + CRLF * 2 + body


def request(*lines, body=b"", method=b"POST", version=b"HTTP/1.1"):
    head = [method + b" /v1/orders " + version, b"Host: a", b"Content-Type: application/json"]
    return CRLF.join([*head, *lines]) + CRLF * 2 + body


def length(value):
    return b"Content-Length: " + (str(value).encode() if isinstance(value, int) else value)


def with_two_lengths(hidden):
    """The one length says that `hidden` is of the body, the other that it is not."""
    whole = length(len(hidden))
    yield "two lengths, the first is 0", request(length(0), whole, body=hidden)
    yield "two lengths, the second is 0", request(whole, length(0), body=hidden)
    yield "a list of lengths", request(length(b"0, %d" % len(hidden)), body=hidden)
    yield "a signed length", request(length(b"+0"), body=hidden)
    yield "a negative length", request(length(b"-1"), body=hidden)
    yield "a hexadecimal length", request(length(b"0x0"), body=hidden)
    yield "two numbers", request(length(b"0 %d" % len(hidden)), body=hidden)
    yield "a length with a zero byte", request(length(b"0\0"), body=hidden)
    yield "a length past 64 bits", request(length(b"18446744073709551616"), body=hidden)
    yield "a length that is a hop's affair", request(whole, b"Connection: Content-Length", body=hidden)
    yield "a GET with a body", request(whole, method=b"GET", body=hidden)


def with_chunks_and_length(hidden):
    """Read in chunks the body ends at once; by its length `hidden` is of it. And the reverse."""
    ended = b"0\r\n\r\n" + hidden
    whole = length(len(ended))
    chunked = b"Transfer-Encoding: chunked"
    inside = b"%x\r\n" % len(hidden) + hidden + b"\r\n0\r\n\r\n"
    yield "a length and chunks", request(whole, chunked, body=ended)
    yield "chunks and a length", request(chunked, whole, body=ended)
    yield "a length that ends before the chunks", request(length(4), chunked, body=inside)
    for name, line in (
        ("a space before the colon", b"Transfer-Encoding : chunked"),
        ("a tab before the colon", b"Transfer-Encoding\t: chunked"),
        ("a folded line", b"Transfer-Encoding:\r\n chunked"),
        ("a folded line before it", b"X-A: b\r\n Transfer-Encoding: chunked"),
        ("a bare line feed", b"X-A: b\nTransfer-Encoding: chunked"),
        ("a bare carriage return", b"X-A: b\rTransfer-Encoding: chunked"),
        ("another coding", b"Transfer-Encoding: xchunked"),
        ("a list that ends with another", b"Transfer-Encoding: chunked, identity"),
        ("a list that begins with another", b"Transfer-Encoding: identity, chunked"),
        ("a vertical tab", b"Transfer-Encoding: \x0bchunked"),
        ("quotation marks", b'Transfer-Encoding: "chunked"'),
        ("a parameter", b"Transfer-Encoding: chunked;q=1"),
        ("a zero byte", b"Transfer-Encoding: chunked\0"),
        ("two codings", b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked"),
        ("a high byte in the name", b"Transfer-Encoding\xff: chunked"),
    ):
        yield name, request(whole, line, body=ended)


def with_odd_chunks(hidden):
    """Chunks whose sizes or ends can be read in two ways."""
    chunked = b"Transfer-Encoding: chunked"
    size = b"%x" % len(hidden)
    for name, body in (
        ("a size past 64 bits", b"10000000000000000\r\n\r\n" + hidden),
        ("a negative size", b"-1\r\n\r\n" + hidden),
        ("a size with 0x", b"0x0\r\n\r\n" + hidden),
        ("a signed size", b"+0\r\n\r\n" + hidden),
        ("no size", b"\r\n\r\n" + hidden),
        ("an extension with a line feed", b"2;a\n{}\r\n" + size + b"\r\n" + hidden),
        ("a size that ends with a line feed", b"0\n\n" + hidden),
        ("a chunk without its end", b"2\r\n{}0\r\n\r\n" + hidden),
        ("a chunk that is longer than it says", b"1\r\n{}\r\n0\r\n\r\n" + hidden),
    ):
        yield name, request(chunked, body=body)
    yield "chunks in HTTP/1.0", request(chunked, body=b"0\r\n\r\n" + hidden, version=b"HTTP/1.0")


def with_another_protocol(hidden):
    h2c = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAARAAAAA")
    websocket = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13",
                 b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")  # fmt: skip
    whole = length(len(hidden))
    yield "an upgrade to HTTP/2", request(*h2c, whole, body=hidden)
    yield "an upgrade to a web socket", request(*websocket, whole, body=hidden)
    yield "HTTP/2 from the start", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + hidden


def forms(hidden):
    """Pairs of a name and the bytes to send."""
    for some in (with_two_lengths, with_chunks_and_length, with_odd_chunks, with_another_protocol):
        yield from some(hidden)
