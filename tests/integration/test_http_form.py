# run-tests: parallel
"""The form of HTTP: what is refused, what is read in which pieces, how long it may take, and how
connections end (the API, section 3)."""

import json
import random
import socket
import threading
import time

import harness
import orders
from orders import Client, check_problem, create, draft, head, path_of

JSON_LINE = "Content-Type: application/json"
HEALTH = head("GET", "/healthz")


def refused(orderd, request, status, closed=True):
    """The request is answered with the problem; nothing behind it is taken for a request."""
    with orderd.connect() as connection:
        connection.send(request + HEALTH)
        answer = connection.read_answer()
        assert answer.status == status, (request[:200], answer)
        check_problem(answer, status)
        if closed:
            assert answer.headers.get("connection") == "close", (request[:200], answer)
            assert connection.read_to_end() == b"", request[:200]


def lines(*parts):
    return "\r\n".join(parts).encode("latin-1") + b"\r\n\r\n"


def post(body, *fields, version="1.1"):
    """A create whose framing is wholly in `fields`."""
    start = f"POST /v1/orders HTTP/{version}"
    return lines(start, "Host: a", JSON_LINE, *fields) + body


def chunked(body, *sizes, extension=b"", trailers=b""):
    """The body in chunks of these sizes; the last chunk has what is left."""
    out = b""
    for size in [*sizes, len(body) - sum(sizes)]:
        piece, body = body[:size], body[size:]
        if piece:
            out += b"%x%s\r\n%s\r\n" % (len(piece), extension, piece)
    return out + b"0" + extension + b"\r\n" + trailers + b"\r\n"


# --- Malformed requests. ---


def test_malformed_request_lines_are_400_and_close():
    orderd = orders.start()
    for line in (
        "GET",
        "GET /healthz",
        "GET  /healthz HTTP/1.1",
        "GET /healthz  HTTP/1.1",
        "GET\t/healthz HTTP/1.1",
        "GET /healthz\tHTTP/1.1",
        " GET /healthz HTTP/1.1",
        "GET /healthz HTTP/1.1 ",
        "GET /healthz HTTP/1.1 x",
        "GET /healthz x HTTP/1.1",
        "GET /healthz HTTP/1",
        "GET /healthz HTTP/11",
        "GET /healthz HTTP/1.10",
        "GET /healthz HTTP/1.x",
        "GET /healthz http/1.1",
        "GET /healthz HTTX/1.1",
        "GET /healthz HTTP/ 1.1",
        "GET healthz HTTP/1.1",
        "GET * HTTP/1.1",
        "GET a:80 HTTP/1.1",
        "GET ftp://a/healthz HTTP/1.1",
        "GET http:///healthz HTTP/1.1",
        "GET http://a b/healthz HTTP/1.1",
        "GET /healthz#fragment HTTP/1.1",
        "GET /health\x00z HTTP/1.1",
        "GET /health\x7fz HTTP/1.1",
        "GET /health\xe9z HTTP/1.1",
        "GET /healthz?a=\x01 HTTP/1.1",
        "GET /healthz?a=<b> HTTP/1.1",
        'GET /healthz?a="b" HTTP/1.1',
        "GET /healthz\\ HTTP/1.1",
        "GET /health%zz HTTP/1.1",
        "GET /health% HTTP/1.1",
        "GET /health%4 HTTP/1.1",
        "G(T /healthz HTTP/1.1",
        "GET: /healthz HTTP/1.1",
        "\x16\x03\x01\x02",
    ):
        refused(orderd, lines(line, "Host: a"), 400)
    refused(orderd, lines("PRI * HTTP/2.0", "Host: a"), 505, closed=False)


def test_malformed_header_lines_are_400_and_close():
    orderd = orders.start()
    for line in (
        "no colon",
        ": no name",
        "Name : value",
        "Name\t: value",
        " Name: value",
        "\tName: value",
        "Na me: value",
        "Na(me: value",
        "Nam\xe9: value",
        "Name\x00: value",
        "Name: va\x00lue",
        "Name: va\x01lue",
        "Name: va\x7flue",
        "Name: va\rlue",
        "Name: va\nlue",
        "Name: a\r\n folded",
        "Name: a\r\n\tfolded",
        "\x0bName: value",
        "Name: a\n\n",
        "Name: a\r\r\n",
    ):
        request = ("GET /healthz HTTP/1.1\r\nHost: a\r\n" + line + "\r\n\r\n").encode("latin-1")
        refused(orderd, request, 400)
        first = ("GET /healthz HTTP/1.1\r\n" + line + "\r\nHost: a\r\n\r\n").encode("latin-1")
        refused(orderd, first, 400)


def test_line_ends_are_carriage_return_and_line_feed():
    orderd = orders.start()
    refused(orderd, b"GET /healthz HTTP/1.1\nHost: a\n\n", 400)
    refused(orderd, b"GET /healthz HTTP/1.1\r\nHost: a\n\r\n", 400)
    refused(orderd, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\n", 400)
    refused(orderd, b"GET /healthz HTTP/1.1\rHost: a\r\r", 400)
    refused(orderd, b"\n\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", 400)


def test_host_is_there_once_and_valid():
    orderd = orders.start()
    refused(orderd, lines("GET /healthz HTTP/1.1"), 400)
    refused(orderd, lines("GET /healthz HTTP/1.1", "Host: a", "Host: a"), 400)
    refused(orderd, lines("GET /healthz HTTP/1.1", "Host: a", "host: b"), 400)
    for host in ("a b", "a/b", "a@b", "[::1", "a:b", "a:123456", "http://a", "a\tb"):
        refused(orderd, lines("GET /healthz HTTP/1.1", f"Host: {host}"), 400)
    for host in ("a", "a.example:80", "127.0.0.1", "[::1]:8080", "a:", "A-b.c"):
        with orderd.connect() as connection:
            answer = connection.exchange(lines("GET /healthz HTTP/1.1", f"Host: {host}"))
            assert answer.status == 200, (host, answer)


def test_content_length_is_plain_digits_once_within_64_bits():
    orderd = orders.start()
    body = json.dumps(draft()).encode()
    size = len(body)
    for value in (
        f"+{size}",
        f"-{size}",
        "-1",
        "-0",
        "",
        " ",
        f"{size}, {size}",
        f"{size},{size}",
        f"{size}, 0",
        f"{size} {size}",
        f"{size};",
        f"{size}a",
        f"0x{size:x}",
        f"{size}.0",
        f"{size}e0",
        f'"{size}"',
        "18446744073709551616",
        f"1844674407370955{1616 + size:05d}",
        "9" * 40,
        "\u00b2",
        f"{size}\x0b",
    ):
        refused(orderd, post(body, f"Content-Length: {value}"), 400)
    for second in (str(size), "0", f"{size + 1}", "x"):
        refused(orderd, post(body, f"Content-Length: {size}", f"Content-Length: {second}"), 400)
        refused(orderd, post(body, f"Content-Length: {size}", f"content-length: {second}"), 400)
    refused(orderd, post(body, f"Content-Length : {size}"), 400)
    refused(orderd, post(body, f"Content-Length\x00: {size}"), 400)
    refused(orderd, post(body, "Content-Length: 18446744073709551615"), 413)
    with orderd.connect() as connection:
        assert connection.exchange(post(body, f"Content-Length: \t{size} ")).status == 201


def test_transfer_encoding_is_exactly_chunked_and_never_with_a_length():
    orderd = orders.start()
    body = json.dumps(draft()).encode()
    whole = chunked(body)
    for coding in (
        "gzip",
        "identity",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked,",
        ", chunked",
        "xchunked",
        "chunkedx",
        "chunked;q=1",
        '"chunked"',
        "chun ked",
        "",
    ):
        refused(orderd, post(whole, f"Transfer-Encoding: {coding}"), 501)
    for first, second in (("chunked", "chunked"), ("gzip", "chunked"), ("chunked", "identity")):
        request = post(whole, f"Transfer-Encoding: {first}", f"Transfer-Encoding: {second}")
        refused(orderd, request, 501)
    for coding in ("chunked", "gzip", "identity", "xchunked"):
        for size in (0, len(body), len(whole)):
            fields = [f"Transfer-Encoding: {coding}", f"Content-Length: {size}"]
            refused(orderd, post(whole, *fields), 400)
            refused(orderd, post(whole, *reversed(fields)), 400)
    refused(orderd, post(whole, "Transfer-Encoding : chunked"), 400)
    refused(orderd, post(whole, "Transfer-Encoding:\x0bchunked"), 400)
    refused(orderd, post(whole, "Transfer-Encoding: chunked\r\n "), 400)
    refused(orderd, post(whole, "Transfer-Encoding: chunked", version="1.0"), 400)


def test_malformed_chunks_are_400_and_close():
    orderd = orders.start()
    body = json.dumps(draft()).encode()
    size = b"%x" % len(body)
    for raw in (
        b"+" + size + b"\r\n" + body + b"\r\n0\r\n\r\n",
        b"-" + size + b"\r\n" + body + b"\r\n0\r\n\r\n",
        b"0x" + size + b"\r\n" + body + b"\r\n0\r\n\r\n",
        b" " + size + b"\r\n" + body + b"\r\n0\r\n\r\n",
        size + b" \r\n" + body + b"\r\n0\r\n\r\n",
        size + b"\n" + body + b"\r\n0\r\n\r\n",
        size + b"\r" + body + b"\r\n0\r\n\r\n",
        size + b"\r\n" + body + b"\n0\r\n\r\n",
        size + b"\r\n" + body + b"0\r\n\r\n",
        size + b"\r\n" + body + b"x\r\n0\r\n\r\n",
        size + b";\x00\r\n" + body + b"\r\n0\r\n\r\n",
        size + b";a\nb\r\n" + body + b"\r\n0\r\n\r\n",
        size + b";a\rb\r\n" + body + b"\r\n0\r\n\r\n",
        b"\r\n" + body + b"\r\n0\r\n\r\n",
        b"g\r\n" + body + b"\r\n0\r\n\r\n",
        b"1_0\r\n" + body + b"\r\n0\r\n\r\n",
        b"1" + b"0" * 16 + b"\r\n",
        b"0" * 17 + size + b"\r\n",
        size + b"\r\n" + body + b"\r\n0\r\nno colon\r\n\r\n",
        size + b"\r\n" + body + b"\r\n0\r\n folded: x\r\n\r\n",
        size + b"\r\n" + body + b"\r\n0\r\nA: b\n\r\n",
        size + b"\r\n" + body + b"\r\n0\r\nA: \x00\r\n\r\n",
        size + b"\r\n" + body + b"\r\n0\n\n",
        size + b"\r\n" + body + b"\r\n0\r\nGET /healthz HTTP/1.1\r\n\r\n",
    ):
        refused(orderd, post(raw, "Transfer-Encoding: chunked"), 400)
    refused(orderd, post(b"f" * 16 + b"\r\n", "Transfer-Encoding: chunked"), 413)
    refused(orderd, post(b"4001\r\n", "Transfer-Encoding: chunked"), 413)
    check = orders.metrics(orderd)
    assert check["orderd_store_created_total"] == 0, "none of them made an order"


def test_too_long_targets_headers_and_trailers():
    orderd = orders.start("http.target_bytes_max=500", "http.head_bytes_max=2000")
    with orderd.connect() as connection:
        fits = "/v1/orders/5?" + "x" * (500 - 13)
        assert connection.exchange(head("GET", fits)).status == 404
    refused(orderd, head("GET", fits + "x"), 414)
    refused(orderd, head("GET", "/" + "x" * 5000), 414)
    refused(orderd, head("GET", "/healthz", "A: " + "x" * 2000), 431)
    refused(orderd, head("GET", "/healthz", *[f"A{n}: b" for n in range(400)]), 431)
    refused(orderd, head("GET", "/healthz", "x" * 5000), 431)
    body = json.dumps(draft()).encode()
    raw = chunked(body, trailers=b"A: " + b"x" * 20000 + b"\r\n")
    refused(orderd, post(raw, "Transfer-Encoding: chunked"), 431)
    with orderd.connect() as connection:
        base = len(head("GET", "/healthz", "A: "))
        answer = connection.exchange(head("GET", "/healthz", "A: " + "x" * (2000 - base)))
        assert answer.status == 200, answer


def test_many_small_header_fields_are_431():
    orderd = orders.start()
    refused(orderd, head("GET", "/healthz", *["a:" for _ in range(2000)]), 431)


def test_a_truncated_request_is_no_request():
    orderd = orders.start()
    request = orders.create_request()
    for size in (1, 5, 20, len(request) // 2, len(request) - 1):
        with orderd.connect() as connection:
            connection.send(request[:size])
            connection.socket.shutdown(socket.SHUT_WR)
            left = connection.read_to_end()
            assert b"201" not in left.partition(b"\r\n")[0], left
    assert orders.metrics(orderd)["orderd_store_created_total"] == 0


# --- Versions, methods, expectations. ---


def test_other_http_versions_are_505():
    orderd = orders.start()
    for version in ("0.9", "1.2", "1.9", "2.0", "3.0", "9.9"):
        refused(orderd, head("GET", "/healthz", version=version), 505, closed=False)


def test_http_1_0_is_answered_and_closed():
    orderd = orders.start()
    order = create(orderd)
    for request in (
        lines("GET /healthz HTTP/1.0"),
        lines("GET /healthz HTTP/1.0", "Connection: keep-alive"),
        head("GET", path_of(order), version="1.0"),
        orders.create_request().replace(b"HTTP/1.1", b"HTTP/1.0"),
        head("GET", "/v1/orders/0", version="1.0"),
    ):
        with orderd.connect() as connection:
            connection.send(request + HEALTH)
            answer = connection.read_answer()
            assert answer.status in (200, 201, 400), answer
            assert "transfer-encoding" not in answer.headers, answer
            assert answer.headers.get("connection", "close") == "close", answer
            assert connection.read_to_end() == b"", request


def test_connection_close_is_answered_and_closed():
    orderd = orders.start()
    for value in ("close", "Close", "keep-alive, close", "close, foo", "foo,close"):
        with orderd.connect() as connection:
            connection.send(HEALTH + head("GET", "/healthz", f"Connection: {value}") + HEALTH)
            assert "connection" not in connection.read_answer().headers
            answer = connection.read_answer()
            assert answer.status == 200 and answer.headers["connection"] == "close", answer
            assert connection.read_to_end() == b"", value
    with orderd.connect() as connection:
        connection.send(orders.create_request("Connection: close"))
        answer = connection.read_answer()
        assert answer.status == 201 and answer.headers["connection"] == "close", answer
        assert connection.is_closed()
    with orderd.connect() as connection:
        connection.send(head("GET", "/healthz", "Connection: closed, clo, keep-alive") + HEALTH)
        assert connection.read_answer().status == 200
        assert connection.read_answer().status == 200


def test_unknown_methods_are_501_and_known_ones_405_with_allow():
    orderd = orders.start()
    order = path_of(create(orderd))
    for method in ("get", "Get", "TRACE", "CONNECT", "FOO", "GETS", "PURGE", "M-SEARCH", "X" * 40):
        for target in ("/healthz", "/v1/orders", order):
            with orderd.connect() as connection:
                check_problem(connection.exchange(head(method, target, body=b"{}")), 501)
                # It was a request like any other: the connection goes on.
                assert connection.exchange(HEALTH).status == 200, method
        for target, status in (("/nowhere", 404), ("/v1/orders/x", 400), ("/", 404)):
            check_problem(orderd.request(method, target), status)
    known = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    allowed = {
        "/v1/orders": {"GET", "HEAD", "POST"},
        order: {"GET", "HEAD", "PATCH"},
        order + "/events": {"GET", "HEAD"},
        "/v1/changes": {"GET", "HEAD"},
        "/v1/batch/orders": {"POST"},
        "/v1/batch/statuses": {"POST"},
        "/v1/batch/get": {"POST"},
        "/healthz": {"GET", "HEAD"},
        "/readyz": {"GET", "HEAD"},
        "/metrics": {"GET", "HEAD"},
        "/openapi.json": {"GET", "HEAD"},
    }
    for target, methods in allowed.items():
        for method in known:
            if method in methods:
                continue
            with orderd.connect() as connection:
                connection.send(head(method, target))
                answer = connection.read_answer(to_head=method == "HEAD")
                assert answer.status == 405, (method, target, answer)
                if method != "HEAD":
                    check_problem(answer, 405)
                told = {name.strip() for name in answer.headers["allow"].split(",")}
                assert told == methods, (target, method, answer)
                assert connection.exchange(HEALTH).status == 200, "the connection goes on"


def test_unknown_paths_are_404():
    orderd = orders.start()
    order = path_of(create(orderd))
    for target in (
        "/",
        "//",
        "/v1",
        "/v1/",
        "/v2/orders",
        "/V1/orders",
        "/v1/Orders",
        "//v1/orders",
        "/v1//orders",
        "/v1/order",
        "/v1/ordersx",
        order + "/",
        order + "/event",
        order + "/events/",
        order + "/events/x",
        order + "//events",
        "/v1/changes/",
        "/v1/batch",
        "/v1/batch/",
        "/v1/batch/orders/",
        "/v1/batch/other",
        "/healthz/",
        "/healthzz",
        "/./healthz",
        "/x/../healthz",
        "/favicon.ico",
        "/?",
    ):
        for method in ("GET", "POST", "DELETE"):
            with orderd.connect() as connection:
                answer = connection.exchange(head(method, target, JSON_LINE))
                assert answer.status == 404, (method, target, answer)
                check_problem(answer, 404)


def test_an_absolute_target_is_the_same_as_its_path():
    orderd = orders.start()
    order = create(orderd)
    with orderd.connect() as connection:
        for base in ("http://a", "http://a.example:8080", "HTTP://[::1]:80"):
            answer = connection.exchange(head("GET", base + path_of(order)))
            assert answer.status == 200 and answer.json == order, answer
        assert connection.exchange(head("GET", "http://a/v1/orders/0")).status == 400


def test_expect_100_continue_is_met_before_the_body_and_others_are_417():
    orderd = orders.start()
    body = json.dumps(draft()).encode()
    fields = (JSON_LINE, f"Content-Length: {len(body)}", "Expect: 100-continue")
    ask = head("POST", "/v1/orders", *fields)
    with orderd.connect() as connection:
        for spelling in ("100-continue", "100-Continue"):
            fresh = json.dumps(draft(partner_order_id=orders.new_reference())).encode().ljust(120)
            asked = [JSON_LINE, f"Content-Length: {len(fresh)}", f"Expect: {spelling}"]
            connection.send(head("POST", "/v1/orders", *asked))
            assert connection.read_answer().status == 100
            connection.send(fresh)
            assert connection.read_answer().status == 201
        assert connection.exchange(HEALTH).status == 200
    with orderd.connect() as connection:  # the body is there already
        connection.send(ask + body + HEALTH)
        statuses = [connection.read_answer().status]
        if statuses[0] == 100:
            statuses.append(connection.read_answer().status)
        assert statuses[-1] == 201, statuses
        assert connection.read_answer().status == 200
    with orderd.connect() as connection:  # a chunked one
        asked = (JSON_LINE, "Transfer-Encoding: chunked", "Expect: 100-continue")
        connection.send(head("POST", "/v1/orders", *asked))
        assert connection.read_answer().status == 100
        connection.send(chunked(json.dumps(draft()).encode(), 10, 20))
        assert connection.read_answer().status == 201
    for expectation in ("x", "200-ok", "100-continue, x", "", "100-continue;q=1"):
        request = head("POST", "/v1/orders", JSON_LINE, f"Expect: {expectation}", body=body)
        refused(orderd, request, 417, closed=False)


def test_a_refused_expectation_gets_its_answer_without_100():
    orderd = orders.start()
    cases = (
        (415, "/v1/orders", ["Content-Type: text/plain", "Content-Length: 9"]),
        (413, "/v1/orders", [JSON_LINE, "Content-Length: 20000"]),
        (404, "/nothing", [JSON_LINE, "Content-Length: 9"]),
        (405, "/healthz", [JSON_LINE, "Content-Length: 9"]),
    )
    for status, target, fields in cases:
        with orderd.connect() as connection:
            connection.send(head("POST", target, *fields, "Expect: 100-continue"))
            check_problem(connection.read_answer(), status)


# --- Bodies in pieces. ---


def test_chunked_bodies_in_odd_pieces_are_read():
    orderd = orders.start()
    dice = random.Random(7)
    with orderd.connect() as connection:
        for round_number in range(40):
            body = json.dumps(draft(amount=round_number + 1)).encode() + b" " * dice.randrange(3000)
            sizes = []
            while sum(sizes) < len(body):
                sizes.append(min(dice.choice((1, 2, 3, 16, 17, 255, 1000)), len(body) - sum(sizes)))
            sizes = sizes[:-1]
            extension = dice.choice((b"", b";a", b";a=b;c", b';a="b"'))
            trailers = dice.choice((b"", b"A: b\r\n", b"Content-Length: 5\r\nX:\r\n"))
            raw = chunked(body, *sizes, extension=extension, trailers=trailers)
            data = post(raw, "Transfer-Encoding: chunked")
            while data:
                size = dice.choice((1, 3, 50, 400, 4000, 100000))
                connection.send(data[:size])
                data = data[size:]
            answer = connection.read_answer()
            assert answer.status == 201 and answer.json["amount"] == round_number + 1, answer


def test_trailers_are_dropped():
    orderd = orders.start()
    order = create(orderd)
    raw = chunked(b'{"status":"processing"}', trailers=b'If-Match: "9"\r\nContent-Type: x\r\n')
    request = head("PATCH", path_of(order), JSON_LINE, "Transfer-Encoding: chunked") + raw
    with orderd.connect() as connection:
        connection.send(request + HEALTH)
        assert connection.read_answer().status == 200
        assert connection.read_answer().status == 200


def test_a_chunked_batch_of_1_mib_is_read_and_more_is_413():
    orderd = orders.start()
    records = b"".join(orders.record() for _ in range(8192))
    fields = ("Content-Type: application/octet-stream", "Transfer-Encoding: chunked")
    for sizes in ((), (1, 100000, 3), (65536,) * 15):
        with orderd.connect() as connection:
            connection.send(head("POST", "/v1/batch/orders", *fields) + chunked(records, *sizes))
            answer = connection.read_answer()
            assert answer.status == 200 and len(answer.body) == 8192 * 16, answer.status
            assert connection.exchange(HEALTH).status == 200
    with orderd.connect() as connection:
        connection.send(head("POST", "/v1/batch/orders", *fields) + b"%x\r\n" % (2**20 + 1))
        check_problem(connection.read_answer(), 413)
    with orderd.connect() as connection:
        connection.send(head("POST", "/v1/batch/orders", *fields) + b"100000\r\n" + records)
        connection.send(b"\r\n1\r\n")
        check_problem(connection.read_answer(), 413)


def test_requests_that_come_byte_by_byte_are_read():
    orderd = orders.start()
    body = json.dumps(draft()).encode()
    second = post(chunked(body, 5), "Transfer-Encoding: chunked")
    requests = orders.create_request() + second + HEALTH
    with orderd.connect() as connection:
        for at in range(len(requests)):
            connection.send(requests[at : at + 1])
        assert [connection.read_answer().status for _ in range(3)] == [201, 201, 200]


def test_a_refused_body_is_read_over_and_the_next_request_is_served():
    orderd = orders.start()
    with orderd.connect() as connection:
        connection.send(head("POST", "/nothing", body=b"x" * 5000) + HEALTH)
        assert connection.read_answer().status == 404
        assert connection.read_answer().status == 200
        connection.send(head("POST", "/v1/orders", "Content-Type: a/b", body=HEALTH * 50) + HEALTH)
        assert connection.read_answer().status == 415
        assert connection.read_answer().status == 200
        connection.send(head("GET", "/healthz", body=HEALTH * 3) + HEALTH)
        assert connection.read_answer().status == 200
        assert connection.read_answer().status == 200
        connection.send(HEALTH)
        assert connection.read_answer().status == 200


def test_a_large_refused_body_does_not_keep_the_peer_from_its_answer():
    orderd = orders.start()
    for size in (20000, 100000, 10**6, 10**7):
        with orderd.connect() as connection:
            connection.send(head("POST", "/v1/orders", JSON_LINE, f"Content-Length: {size}"))
            sent = 0
            try:
                while sent < size:
                    sent += connection.socket.send(b"x" * min(65536, size - sent))
            except OSError:
                pass
            check_problem(connection.read_answer(), 413)


# --- Keep-alive and pipelining. ---


def test_a_connection_serves_many_requests():
    orderd = orders.start()
    with orderd.connect() as connection:
        for _ in range(300):
            assert connection.exchange(HEALTH).status == 200
            assert connection.exchange(orders.create_request()).status == 201


def test_pipelined_requests_of_every_kind_are_answered_in_order():
    orderd = orders.start()
    old = create(orderd)
    orders.change(orderd, old, "success")
    orders.wait_until_archived(orderd, 1)
    find = f"/v1/orders?partner_code=acme&partner_order_id={old['partner_order_id']}"
    octets = "Content-Type: application/octet-stream"
    record = orders.record()
    kinds = (
        (HEALTH, 200, b'{"status":"ok"}'),
        (head("GET", path_of(old)), 200, old["order_id"].encode()),
        (head("GET", "/v1/orders/12345"), 404, b"no such order"),
        (head("GET", find), 200, b"success"),
        (head("POST", "/v1/batch/get", octets, body=orders.pack_ids([5])), 200, bytes(128)),
        (head("POST", "/v1/batch/statuses", octets, body=orders.pack_ids([5] * 9)), 200, bytes(72)),
        (head("PATCH", path_of(old), JSON_LINE, body=b'{"status":"pending"}'), 409, b"success"),
        (head("DELETE", "/healthz"), 405, b"405"),
        (head("POST", "/v1/orders", JSON_LINE, body=b"{"), 400, b"JSON"),
        (head("POST", "/v1/batch/orders", octets, body=record), 200, None),
    )
    dice = random.Random(11)
    expected = []
    sent = b""
    for _ in range(400):
        if dice.randrange(4) == 0:
            name = orders.new_reference()
            sent += orders.create_request(partner_order_id=name)
            expected.append((201, name.encode()))
        else:
            request, status, part = dice.choice(kinds)
            sent += request
            expected.append((status, part))
    with orderd.connect() as connection:
        writer = threading.Thread(target=connection.send, args=(sent,))
        writer.start()
        for status, part in expected:
            answer = connection.read_answer()
            assert answer.status == status, (status, part, answer)
            assert part is None or part in answer.body, (status, part, answer)
        writer.join()
        assert connection.exchange(HEALTH).status == 200


def test_a_stream_behind_pipelined_requests_begins_in_its_turn():
    """The output buffer is well filled when the stream begins."""
    orderd = orders.start()
    order = create(orderd)
    with orderd.connect() as connection:
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        count = 150
        events = head("GET", path_of(order) + "/events")
        connection.send(head("GET", path_of(order)) * count + events)
        time.sleep(0.2)
        for _ in range(count):
            assert connection.read_answer().json == order
        while b"event: order" not in connection.received:
            assert connection.receive()


def test_answers_that_nobody_reads_are_not_gathered_in_memory():
    orderd = orders.start("http.receive_buffer_bytes=16384")
    with orderd.connect() as connection:
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        before = orders.metrics(orderd)["orderd_process_resident_bytes"]
        document_bytes = len(orderd.get("/openapi.json").body)
        connection.socket.settimeout(0.5)
        requests = 0
        try:
            while requests < 20000:
                connection.send(head("GET", "/openapi.json") * 10)
                requests += 10
        except socket.timeout:
            pass  # it reads no more requests than it can answer
        assert requests < 20000, f"{requests * document_bytes} bytes of answers were taken on"
        assert orders.metrics(orderd)["orderd_process_resident_bytes"] < before + 64 * 2**20
        for _ in range(200):
            assert len(connection.read_answer().body) == document_bytes


# --- Time limits. ---

LIMITS = ("http.head_timeout_ms=400", "http.body_timeout_ms=400", "http.linger_timeout_ms=100")


def seconds_until_closed(connection):
    begin = time.monotonic()
    data = connection.read_to_end()
    return time.monotonic() - begin, data


def test_a_slow_head_is_408_and_closed_however_it_drips():
    orderd = orders.start(*LIMITS, "http.idle_timeout_ms=60000")
    with orderd.connect() as connection:
        connection.send(b"GET /healthz HT")
        check_problem(connection.read_answer(), 408)
        assert connection.is_closed()
    with orderd.connect() as connection:
        connection.socket.settimeout(0.05)
        begin = time.monotonic()
        done = False
        while not done and time.monotonic() - begin < 10:
            try:
                connection.send(b"GET /healthz HTTP/1.1\r\n"[:1] if connection.received else b"G")
                done = connection.receive()
            except socket.timeout:
                pass
            except OSError:
                break
        assert time.monotonic() - begin < 5, "dripping kept it open"
    assert orders.metrics(orderd)["orderd_http_head_timeouts_total"] >= 1


def test_a_slow_body_is_408_and_closed():
    orderd = orders.start(*LIMITS)
    for request in (
        head("POST", "/v1/orders", JSON_LINE, "Content-Length: 100") + b"{",
        head("POST", "/v1/orders", JSON_LINE, "Transfer-Encoding: chunked") + b"5\r\n{",
        head("POST", "/v1/orders", JSON_LINE, "Transfer-Encoding: chunked") + b"5",
        head("POST", "/v1/orders", JSON_LINE, "Transfer-Encoding: chunked") + b"1\r\n{\r\n0\r\n",
    ):
        with orderd.connect() as connection:
            connection.send(request)
            check_problem(connection.read_answer(), 408)
            assert connection.is_closed()
    assert orders.metrics(orderd)["orderd_http_body_timeouts_total"] == 4


def test_a_slow_but_steady_request_within_the_limit_is_served():
    orderd = orders.start("http.head_timeout_ms=5000", "http.body_timeout_ms=5000")
    request = orders.create_request()
    with orderd.connect() as connection:
        for at in range(0, len(request), 20):
            connection.send(request[at : at + 20])
            time.sleep(0.01)
        assert connection.read_answer().status == 201


def test_an_idle_connection_is_closed_in_silence_and_a_busy_one_is_kept():
    orderd = orders.start("http.idle_timeout_ms=400")
    silent, used, busy = orderd.connect(), orderd.connect(), orderd.connect()
    with silent, used, busy:
        assert used.exchange(HEALTH).status == 200
        begin = time.monotonic()
        while time.monotonic() - begin < 0.9:
            assert busy.exchange(HEALTH).status == 200
            time.sleep(0.1)
        assert silent.is_closed()
        assert used.is_closed()
        assert busy.exchange(HEALTH).status == 200
    assert orders.metrics(orderd)["orderd_http_idle_timeouts_total"] >= 2


def test_a_client_that_never_reads_is_closed_and_others_are_served():
    orderd = orders.start("http.write_timeout_ms=500", "http.send_buffer_bytes=8192")
    with orderd.connect() as connection, Client(orderd) as other:
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.socket.settimeout(0.1)
        try:
            for _ in range(3000):
                connection.send(head("GET", "/openapi.json"))
        except OSError:
            pass  # its own buffers are full, or it was closed already
        begin = time.monotonic()
        assert other.get("/healthz").status == 200
        assert time.monotonic() - begin < 1
        harness.wait_for(lambda: orders.metrics(orderd)["orderd_http_connections"] == 2)
        assert other.get("/healthz").status == 200
    harness.wait_for(lambda: orders.metrics(orderd)["orderd_http_large_buffers_taken"] == 0)
    harness.wait_for(lambda: orders.metrics(orderd)["orderd_http_medium_buffers_taken"] == 0)


def test_a_client_that_vanishes_in_every_phase_leaves_nothing_behind():
    orderd = orders.start()
    request = orders.create_request()
    order = create(orderd)
    batch = head(
        "POST",
        "/v1/batch/orders",
        "Content-Type: application/octet-stream",
        body=b"".join(orders.record() for _ in range(2000)),
    )
    for number in range(60):
        for data in (
            b"",
            request[:30],
            request[:-5],
            orders.create_request(),
            batch,
            batch[:-50],
            head("GET", path_of(order) + "/events"),
            head("GET", "/v1/changes?after=0"),
            head("GET", "/openapi.json") * 50,
        ):
            connection = orderd.connect()
            if number % 2:
                linger = (1).to_bytes(4, "little") + bytes(4)
                connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.send(data)
            connection.socket.close()

    def clean():
        now = orders.metrics(orderd)
        gauges = ("connections", "streams", "medium_buffers_taken", "large_buffers_taken")
        left = [now["orderd_http_" + name] for name in gauges]
        return [*left, now["orderd_api_streams"]] == [1, 0, 0, 0, 0]

    harness.wait_for(clean, what="the end of every connection")
    assert orderd.post("/v1/orders", draft()).status == 201


# --- Many connections. ---


def test_connections_over_the_limit_are_answered_503_and_others_go_on():
    orderd = orders.start("http.connections_max=8", "server.threads=1", "http.linger_timeout_ms=50")
    with orders.many(8, orderd.connect) as connections:
        for connection in connections:
            assert connection.exchange(HEALTH).status == 200
        for _ in range(20):
            with orderd.connect() as extra:
                extra.send(HEALTH)
                answer = extra.read_answer()
                check_problem(answer, 503)
                assert extra.read_to_end() == b""
        for connection in connections:
            assert connection.exchange(HEALTH).status == 200
    harness.wait_for(lambda: orderd.get("/healthz").status == 200, what="room again")
    assert orders.metrics(orderd)["orderd_http_connections_refused_total"] >= 20


def test_many_silent_clients_do_not_keep_others_from_being_served():
    orderd = orders.start()
    with orders.many(600, orderd.connect) as connections:
        for number, connection in enumerate(connections):
            connection.send(orders.create_request()[: number % 100])
        begin = time.monotonic()
        with Client(orderd) as client:
            for _ in range(100):
                assert client.post("/v1/orders", draft()).status == 201
        assert time.monotonic() - begin < 5


def test_a_half_closed_client_gets_all_its_answers():
    orderd = orders.start()
    order = create(orderd)
    with orderd.connect() as connection:
        connection.send(HEALTH + orders.create_request() + head("GET", path_of(order)))
        connection.socket.shutdown(socket.SHUT_WR)
        assert [connection.read_answer().status for _ in range(3)] == [200, 201, 200]
        assert connection.is_closed()


# --- The end of the process. ---


class Load(threading.Thread):
    """Creates orders over one connection until it ends; keeps what was acknowledged."""

    def __init__(self, orderd):
        super().__init__()
        self.orderd = orderd
        self.acknowledged = []
        self.wrong = None

    def run(self):
        try:
            connection = self.orderd.connect()
        except OSError:
            return
        with connection:
            while True:
                sent = False
                try:
                    connection.send(orders.create_request())
                    sent = True
                    if not connection.receive():
                        return  # closed between two requests
                    answer = connection.read_answer()
                    self.acknowledged.append(answer.json)
                    if answer.headers.get("connection") == "close":
                        return
                except OSError:
                    return
                except AssertionError as error:
                    self.wrong = (sent, error)
                    return


def test_sigterm_answers_what_is_in_flight_refuses_new_connections_and_exits_0():
    orderd = orders.start()
    waiting = orderd.connect()
    request = orders.create_request()
    waiting.send(request[:-10])
    idle = orderd.connect()
    assert idle.exchange(HEALTH).status == 200
    stream = orders.Events(orderd, "/v1/changes")
    stream.begin()
    load = [Load(orderd) for _ in range(8)]
    for thread in load:
        thread.start()
    harness.wait_for(lambda: all(len(thread.acknowledged) > 20 for thread in load))
    orderd.end_asked = True
    orderd.process.terminate()
    assert idle.is_closed()
    harness.wait_for(lambda: is_refused(orderd), what="refused connections")
    for thread in load:
        thread.join(10)
        assert not thread.is_alive() and thread.wrong is None, thread.wrong
    while stream.next() is not None:
        pass
    assert orderd.process.poll() is None, "it waits for the request that is being sent"
    waiting.send(request[-10:])
    answer = waiting.read_answer()
    assert answer.status == 201 and answer.headers["connection"] == "close", answer
    assert waiting.is_closed()
    begin = time.monotonic()
    assert orderd.process.wait(10) == 0
    assert time.monotonic() - begin < 5
    orderd.start()
    acknowledged = [order for thread in load for order in thread.acknowledged] + [answer.json]
    for order in acknowledged:
        assert orders.read(orderd, order) == order


def is_refused(orderd):
    try:
        orderd.connect().socket.close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_request_that_never_ends_does_not_hold_the_drain_up_for_ever():
    orderd = orders.start("server.drain_timeout_ms=300")
    with orderd.connect() as connection:
        connection.send(orders.create_request()[:-10])
        assert orderd.get("/healthz").status == 200
        begin = time.monotonic()
        assert orderd.stop() == 0
        assert time.monotonic() - begin < 5


def test_sigint_ends_it_in_order_too():
    orderd = orders.start()
    order = create(orderd)
    orderd.end_asked = True
    orderd.signal(harness.signal.SIGINT)
    assert orderd.process.wait(10) == 0
    orderd.start()
    assert orders.read(orderd, order) == order


if __name__ == "__main__":
    harness.run(globals())
