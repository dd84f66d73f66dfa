# run-tests: parallel
"""Batches: creates as lines and as records, states and orders by id (the API, sections 3 and 4)."""

import json

import harness
import orders
from orders import (
    LINES,
    OCTETS,
    change,
    check_order,
    check_problem,
    create,
    draft,
    post_get,
    post_lines,
    post_records,
    post_statuses,
    record,
)

PATHS = ("/v1/batch/orders", "/v1/batch/statuses", "/v1/batch/get")


def code_of(status):
    return orders.STATUSES.index(status) + 1


# --- Lines. ---


def test_each_line_has_its_answer_in_order():
    orderd = orders.start()
    known = create(orderd, amount=7)
    same = draft(partner_order_id=known["partner_order_id"], amount=7)
    fresh = draft(amount=1, bank_code="B", currency="EUR", payment_type="pay_with_card")
    lines = [
        fresh,
        same,
        {**same, "amount": 8},
        b"{",
        b"",
        {},
        [],
        {**draft(), "amount": 0, "colour": 1},
        {**draft(), "order_id": None},
        draft(amount=2),
    ]
    results = post_lines(orderd, lines)
    codes = [201, 200, 409, 400, 400, 422, 422, 422, 422, 201]
    assert [result["code"] for result in results] == codes, results
    check_order(results[0]["order"])
    assert {name: results[0]["order"][name] for name in fresh} == fresh, results[0]
    assert results[1]["order"] == known, results[1]
    assert results[2]["problem"]["order_id"] == known["order_id"], results[2]
    assert "empty" in results[4]["problem"]["detail"], results[4]
    fields = [error["field"] for error in results[5]["problem"]["errors"]]
    assert sorted(fields) == ["amount", "partner_code", "partner_order_id"], results[5]
    fields = [error["field"] for error in results[7]["problem"]["errors"]]
    assert sorted(fields) == ["amount", "colour"], results[7]
    for result in (results[0], results[9]):
        assert orders.read(orderd, result["order"]) == result["order"]


def test_an_empty_batch_is_answered_with_an_empty_body():
    orderd = orders.start()
    for path, headers in ((PATHS[0], LINES), *((path, OCTETS) for path in PATHS)):
        answer = orderd.post(path, b"", headers)
        assert answer.status == 200 and answer.body == b"", (path, answer)
        assert answer.headers["content-type"] == headers["Content-Type"], answer
        # Without a Content-Length a request has no body either.
        with orderd.connect() as connection:
            request = orders.head("POST", path, f"Content-Type: {headers['Content-Type']}")
            answer = connection.exchange(request)
            assert answer.status == 200 and answer.body == b"", (path, answer)


def test_line_ends_may_be_crlf_and_the_last_may_be_missing():
    orderd = orders.start()
    for end, last in ((b"\n", b"\n"), (b"\r\n", b"\r\n"), (b"\n", b""), (b"\r\n", b"")):
        lines = [json.dumps(draft()).encode() for _ in range(3)]
        answer = orderd.post(PATHS[0], end.join(lines) + last, LINES)
        results = orders.read_lines(answer, 3)
        assert [result["code"] for result in results] == [201] * 3, results
    lines = json.dumps(draft()).encode()
    for body, codes in (
        (b"\n", [400]),
        (b"\r\n", [400]),
        (b"\n\n", [400, 400]),
        (lines + b"\n\n", [201, 400]),
        (b"\n" + lines, [400, 200]),
        (b" \n" + lines + b" \t\n", [400, 200]),
        (b"\xef\xbb\xbf" + lines, [400]),
        (lines.replace(b",", b",\n"), [400, 400, 400]),
        (lines + b"\r" + lines, [400]),
    ):
        answer = orderd.post(PATHS[0], body, LINES)
        results = orders.read_lines(answer, len(codes))
        assert [result["code"] for result in results] == codes, (body, results)


def test_a_line_of_16_kib_is_read_and_one_byte_more_fails_alone_with_413():
    orderd = orders.start()
    fits = json.dumps(draft()).encode().ljust(16384)
    over = json.dumps(draft()).encode().ljust(16385)
    huge = b"x" * 500_000
    results = post_lines(orderd, [fits, over, draft(), huge, draft()])
    assert [result["code"] for result in results] == [201, 413, 201, 413, 201], results
    # A carriage return before the line feed is no part of the line.
    results = post_lines(orderd, [fits + b"\r", over + b"\r", b"\r"])
    assert [result["code"] for result in results] == [200, 413, 400], results
    assert "empty" in results[2]["problem"]["detail"], results


def test_1000_lines_are_taken_and_1001_are_413():
    orderd = orders.start()
    lines = [json.dumps(draft()).encode() for _ in range(1001)]
    body = b"\n".join(lines)
    check_problem(orderd.post(PATHS[0], body, LINES), 413)
    check_problem(orderd.post(PATHS[0], body + b"\n", LINES), 413)
    check_problem(orderd.post(PATHS[0], b"\n" * 1001, LINES), 413)
    assert orders.metrics(orderd)["orderd_store_created_total"] == 0
    results = post_lines(orderd, lines[:1000])
    assert {result["code"] for result in results} == {201}
    assert len({result["order"]["order_id"] for result in results}) == 1000
    again = post_lines(orderd, lines[:1000])
    assert {result["code"] for result in again} == {200}
    assert [result["order"] for result in again] == [result["order"] for result in results]


def test_a_body_of_1_mib_is_read_and_one_byte_more_is_413():
    orderd = orders.start()
    lines = b"".join(json.dumps(draft()).encode().ljust(16384 - 1) + b"\n" for _ in range(64))
    assert len(lines) == 2**20
    results = orders.read_lines(orderd.post(PATHS[0], lines, LINES), 64)
    assert {result["code"] for result in results} == {201}, results
    check_problem(orderd.post(PATHS[0], lines + b" ", LINES), 413)


def test_the_longest_answers_to_1000_lines_fit():
    orderd = orders.start()
    longest = [
        draft(
            partner_code="p" * 16,
            partner_order_id=f"{number:036d}",
            amount=orders.AMOUNT_MAX,
            payment_type="pay_with_wallet",
            bank_code="b" * 12,
        )
        for number in range(1000)
    ]
    results = post_lines(orderd, longest)
    assert {result["code"] for result in results} == {201}
    name = "\u00e9" * 32
    wrong = {name + str(number): 1 for number in range(4)}
    results = post_lines(orderd, [{**wrong, "amount": []}] * 500 + [b'{"a":"\\ud800"}'] * 500)
    assert [result["code"] for result in results] == [422] * 500 + [400] * 500
    # Everything at once, and more than an answer has room for: each line still has its problem.
    many = {**{name: 0 for name in orders.MEMBERS}, **{f"x{number}": 1 for number in range(12)}}
    results = post_lines(orderd, [*longest[:500], *[many] * 500])
    assert [result["code"] for result in results] == [200] * 500 + [422] * 500
    assert all(result["problem"]["errors"] for result in results[500:]), results[-1]


def test_every_wrong_member_of_a_line_is_named():
    orderd = orders.start()
    known = [name for name in orders.MEMBERS if name != "partner_code"]
    wrong = {**{name: 0 for name in known}, "colour": 1, "size": 2, "note": None}
    for result in post_lines(orderd, [wrong] * 100):
        fields = [error["field"] for error in result["problem"]["errors"]]
        assert sorted(fields) == sorted([*wrong, "partner_code"]), result


def test_the_same_reference_twice_in_one_batch_is_one_order():
    orderd = orders.start()
    body = draft(amount=3)
    other = {**body, "amount": 4}
    results = post_lines(orderd, [body, other, body, draft(), {**body, "bank_code": "X"}])
    assert [result["code"] for result in results] == [201, 409, 200, 201, 409], results
    order = results[0]["order"]
    assert results[2]["order"] == order, results
    for at in (1, 4):
        assert results[at]["problem"]["order_id"] == order["order_id"], results
    packed = record(partner_order_id=body["partner_order_id"].encode(), amount=3)
    wrong = record(partner_order_id=body["partner_order_id"].encode(), amount=4)
    fresh = record()
    results = post_records(orderd, [packed, wrong, fresh, fresh, packed])
    assert [result[2] for result in results] == [200, 409, 201, 200, 200], results
    known = (int(order["order_id"]), 1)
    assert [result[:2] for result in results[:2]] == [known, known], results
    assert results[2][:2] == results[3][:2], results


# --- Records. ---


def test_records_are_created_with_16_bytes_for_each():
    orderd = orders.start()
    records = [
        record(),
        record(payment_type=0, currency=b"", format=0),
        record(payment_type=1, currency=b"USD", format=1, bank_code=b"B-1"),
        record(payment_type=2, amount=1),
        record(payment_type=3, amount=orders.AMOUNT_MAX, partner_code=b"p" * 16),
        record(partner_order_id=b"x" * 36, bank_code=b"b" * 12),
    ]
    results = post_records(orderd, records)
    for result in results:
        assert result[1:] == (1, 201, code_of("pending")), result
    read = [orders.read(orderd, str(result[0])) for result in results]
    for order in read:
        check_order(order)
    assert [order["payment_type"] for order in read[1:5]] == [
        "pay_with_bank",
        "pay_with_bank",
        "pay_with_card",
        "pay_with_wallet",
    ], read
    assert [order["currency"] for order in read[:3]] == ["VND", "VND", "USD"], read
    assert [order["bank_code"] for order in read[1:3]] == [None, "B-1"], read
    assert read[4]["amount"] == orders.AMOUNT_MAX and read[4]["partner_code"] == "p" * 16, read
    assert read[5]["partner_order_id"] == "x" * 36 and read[5]["bank_code"] == "b" * 12, read
    assert post_get(orderd, [result[0] for result in results]) == read


def test_replays_and_conflicts_of_records_name_the_order_as_it_is():
    orderd = orders.start()
    packed = record(amount=5, bank_code=b"B", currency=b"EUR", payment_type=2)
    order_id = post_records(orderd, [packed])[0][0]
    change(orderd, str(order_id), "processing")
    reference = orders.RECORD.unpack(packed)[-2]
    again = {"partner_order_id": reference, "amount": 5, "bank_code": b"B", "currency": b"EUR"}
    known = (order_id, 2, 200, code_of("processing"))
    conflict = (order_id, 2, 409, code_of("processing"))
    results = post_records(
        orderd,
        [
            packed,
            record(**{**again, "payment_type": 1}),
            record(**{**again, "payment_type": 2, "amount": 6}),
            record(**{**again, "payment_type": 2, "currency": b""}),
            record(**{**again, "payment_type": 2, "bank_code": b""}),
            record(**{**again, "payment_type": 2}),
        ],
    )
    assert results == [known, conflict, conflict, conflict, conflict, known], results
    orders.change(orderd, str(order_id), "success")
    orders.wait_until_archived(orderd, 1)
    assert post_records(orderd, [packed]) == [(order_id, 3, 200, code_of("success"))]


def test_a_record_with_a_field_of_the_service_or_a_wrong_value_is_422_and_zeros():
    orderd = orders.start()
    text_fields = ("currency", "bank_code", "partner_code", "partner_order_id")
    given = ("order_id", "version", "status", "created_at", "updated_at", "requested_at")
    wrong = [record(**{name: 1}) for name in (*given, "responded_at", "crc")]
    wrong += [record(**{name: -1}) for name in given[3:]]
    wrong += [record(order_id=2**63), record(version=2**31), record(crc=2**31)]
    wrong += [record(amount=amount) for amount in (0, 2**63, 2**64 - 1)]
    wrong += [record(payment_type=value) for value in (4, 255)]
    wrong += [record(format=value) for value in (2, 256, 65535)]
    wrong += [record(partner_code=b""), record(partner_order_id=b"")]
    wrong += [record(**{name: b"\0a"}) for name in text_fields]
    wrong += [record(**{name: b"US\0D"}) for name in text_fields]
    wrong += [record(**{name: b"USD"[:2] + b"\xe9"}) for name in text_fields]
    wrong += [record(**{name: b"a b"}) for name in text_fields]
    wrong += [record(partner_code=b"a" + bytes(14) + b"a")]
    wrong += [record(partner_order_id=b"a" + bytes(34) + b"x")]
    wrong += [record(bank_code=b"a".ljust(11, b"\0") + b"\x01"), record(bank_code=bytes(11) + b"a")]
    wrong += [record(partner_code=b"a.b"), record(bank_code=b"a.b")]
    wrong += [record(partner_order_id=b"a:b")]
    wrong += [record(currency=code) for code in (b"usd", b"XXX", b"XAU", b"US", b"USDX", b"USD ")]
    wrong += [record(currency=b"\0USD"), b"\xff" * 128, bytes(128)]
    mixed = []
    for packed in wrong:
        mixed += [packed, record()]
    results = post_records(orderd, mixed)
    for packed, result in zip(wrong, results[::2]):
        assert result == (0, 0, 422, 0), (packed, result)
    assert all(result[1:] == (1, 201, 1) for result in results[1::2]), results
    assert orders.metrics(orderd)["orderd_store_created_total"] == len(wrong)


def test_lengths_that_are_no_multiple_are_400():
    orderd = orders.start()
    for size in (1, 127, 129, 255, 128 * 5 + 8, 128 * 8191 + 1):
        check_problem(orderd.post(PATHS[0], b"x" * size, OCTETS), 400)
    for path in PATHS[1:]:
        for size in (1, 7, 9, 15, 8 * 8191 + 4):
            check_problem(orderd.post(path, bytes(size), OCTETS), 400)


def test_8192_items_are_taken_and_8193_are_413():
    orderd = orders.start()
    records = [record() for _ in range(8192)]
    results = post_records(orderd, records)
    assert {result[1:] for result in results} == {(1, 201, 1)}
    ids = [result[0] for result in results]
    assert len(set(ids)) == 8192
    check_problem(orderd.post(PATHS[0], b"".join(records) + record(), OCTETS), 413)
    assert post_statuses(orderd, ids) == [(1, 1, 0)] * 8192
    assert [int(order["order_id"]) for order in post_get(orderd, ids)] == ids
    for path in PATHS[1:]:
        check_problem(orderd.post(path, orders.pack_ids([*ids, 1]), OCTETS), 413)
        check_problem(orderd.post(path, orders.pack_ids([*ids, 1])[:-4], OCTETS), 413)
    assert orders.metrics(orderd)["orderd_store_created_total"] == 8192


def test_each_batch_path_has_its_content_types():
    orderd = orders.start()
    json_type = {"Content-Type": "application/json"}
    for path in PATHS:
        for headers in ({}, json_type, {"Content-Type": "text/plain"}, {"Content-Type": ""}):
            check_problem(orderd.request("POST", path, b"", headers), 415)
    for path in PATHS[1:]:
        check_problem(orderd.post(path, b"", LINES), 415)
    check_problem(orderd.request("POST", "/v1/orders", b"", LINES), 415)


# --- States and orders by id. ---


def odd_ids(known):
    """Ids that nobody has."""
    return [0, 1, 127, 128, 2**27, 2**62, 2**63 - 1, 2**63, 2**64 - 1, known + 1, known + 128]


def test_statuses_tell_version_and_status_of_each_id():
    orderd = orders.start()
    by_status = {}
    for status in orders.STATUSES:
        order = create(orderd)
        by_status[status] = order if status == "pending" else change(orderd, order, status)
    order = change(orderd, change(orderd, create(orderd), "processing"), "success")
    ids, expected = [], []
    for status, one in by_status.items():
        ids.append(int(one["order_id"]))
        expected.append((one["version"], code_of(status), 0))
    ids.append(int(order["order_id"]))
    expected.append((3, code_of("success"), 0))
    assert post_statuses(orderd, ids) == expected
    assert post_statuses(orderd, ids * 3) == expected * 3, "the same id may come again"
    odd = odd_ids(ids[-1])
    assert post_statuses(orderd, odd) == [(0, 0, 0)] * len(odd)
    mixed = [one for pair in zip(ids, odd) for one in pair]
    wanted = [one for state in expected for one in (state, (0, 0, 0))]
    assert post_statuses(orderd, mixed) == wanted
    assert post_statuses(orderd, [ids[0]]) == expected[:1]


def test_batch_get_gives_whole_records_and_zeros_where_there_is_none():
    orderd = orders.start()
    made = [create(orderd, amount=number + 1) for number in range(5)]
    made[1] = change(orderd, made[1], "processing")
    made[2] = change(orderd, change(orderd, made[2], "processing"), "cancel")
    made[3] = change(orderd, made[3], "timeout")
    ids = [int(order["order_id"]) for order in made]
    assert post_get(orderd, ids) == made
    odd = odd_ids(ids[-1])
    answer = orderd.post(PATHS[2], orders.pack_ids(odd), OCTETS)
    assert answer.status == 200 and answer.body == bytes(128 * len(odd)), answer
    mixed = [one for pair in zip(ids * 2, odd) for one in pair]
    wanted = [one for order in made * 2 for one in (order, None)]
    assert post_get(orderd, mixed) == wanted
    assert post_get(orderd, [ids[0]] * 100) == [made[0]] * 100


# --- More orders than fit into memory. ---


def test_archived_and_evicted_orders_are_all_still_found():
    """Twice as many orders as memory has room for, ended by their time-out."""
    orderd = orders.start(
        "memory.budget_mb=8", "journal.tail_changes=16384", "order.timeout_seconds=1"
    )
    capacity = int(orders.metrics(orderd)["orderd_process_orders_capacity"])
    known = {}
    while len(known) < capacity * 2:
        packed = [record(bank_code=b"B") for _ in range(8000)]
        results = post_records(orderd, packed)
        assert {result[2] for result in results} <= {201, 503}, "no room is 503"
        for result, one in zip(results, packed):
            if result[2] == 201:
                known[result[0]] = orders.RECORD.unpack(one)[-2]
    orders.wait_until_archived(orderd, len(known))
    now = orders.metrics(orderd)
    assert now["orderd_process_evicted_total"] >= len(known) - capacity, now
    assert now["orderd_process_orders"] <= capacity, now
    check_all(orderd, known)
    orderd.stop()
    orderd.start()
    check_all(orderd, known)


def check_all(orderd, known):
    """Every order is there, by all ways."""
    ids = list(known)
    final = (2, code_of("timeout"), 0)
    for begin in range(0, len(ids), 8192):
        part = ids[begin : begin + 8192]
        assert post_statuses(orderd, part) == [final] * len(part)
    for begin in range(0, len(ids), 4096):
        part = ids[begin : begin + 4096 : 8]
        for order_id, order in zip(part, post_get(orderd, part)):
            assert int(order["order_id"]) == order_id, order
            assert order["status"] == "timeout" and order["version"] == 2, order
            assert order["partner_order_id"].encode() == known[order_id].rstrip(b"\0"), order
    sample = ids[:: max(1, len(ids) // 300)]
    for begin in range(0, len(sample), 100):
        part = sample[begin : begin + 100]
        packed = [record(partner_order_id=known[one], bank_code=b"B") for one in part]
        again = post_records(orderd, packed)
        assert again == [(one, 2, 200, code_of("timeout")) for one in part], again
        packed = [record(partner_order_id=known[one], bank_code=b"C") for one in part]
        again = post_records(orderd, packed)
        assert again == [(one, 2, 409, code_of("timeout")) for one in part], again
    with orders.Client(orderd) as client:
        for one in sample[::3]:
            reference = known[one].rstrip(b"\0").decode()
            query = f"?partner_code=acme&partner_order_id={reference}"
            answer = client.get("/v1/orders" + query)
            assert answer.status == 200 and answer.json["order_id"] == str(one), answer
            read = client.get(f"/v1/orders/{one}")
            assert read.json == answer.json, (read, answer)


if __name__ == "__main__":
    harness.run(globals())
