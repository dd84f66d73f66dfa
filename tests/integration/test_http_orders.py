# run-tests: parallel
"""Creating, reading, finding and changing one order over HTTP (the API, sections 2, 3 and 5)."""

import ctypes
import ctypes.util
import json
import threading
import time

import harness
import orders
from orders import AMOUNT_MAX, Client, change, check_order, check_problem, create, draft, path_of

JSON = {"Content-Type": "application/json"}
JSON_LINE = "Content-Type: application/json"

# In circulation by ISO 4217, and codes that are not: metals, funds, test codes, withdrawn ones.
CURRENCIES = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF
CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ
GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP
LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR
PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC
SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VES VND VUV WST XAF XCD XOF XPF YER
ZAR ZMW ZWG
""".split()
NO_CURRENCIES = """
XAU XAG XPT XPD XDR XSU XUA XTS XXX XBA XBB XBC XBD BOV CHE CHW CLF COU MXV USN UYI UYW DEM FRF HRK
AAA QQQ usd Usd US USDX
""".split()

WRONG_TYPES = (True, False, 0, -1, 1.5, [], {}, ["USD"], {"a": 1})


def post_raw(orderd, body, headers=None):
    return orderd.request("POST", "/v1/orders", body, headers or JSON)


def member_text(name, value):
    """A create's JSON with the member's value spelt exactly so."""
    body = draft()
    body.pop(name, None)
    return (json.dumps(body)[:-1] + f', "{name}": {value}}}').encode()


# --- Create. ---


def test_a_create_answers_201_with_location_etag_and_the_whole_order():
    orderd = orders.start()
    body = draft(amount=5, currency="EUR", payment_type="pay_with_card", bank_code="B-1_z")
    before = orders.now_us()
    answer = orderd.post("/v1/orders", body)
    after = orders.now_us()
    assert answer.status == 201, answer
    assert answer.headers["content-type"] == "application/json", answer
    order = answer.json
    check_order(order)
    assert {name: order[name] for name in body} == body, order
    assert order["status"] == "pending" and order["version"] == 1, order
    assert answer.headers["etag"] == '"1"', answer
    assert answer.headers["location"] == path_of(order), answer
    assert "idempotent-replay" not in answer.headers, answer
    assert order["updated_at"] == order["created_at"], order
    assert before <= orders.microseconds(order["created_at"]) <= after, order
    assert order["requested_at"] is None and order["responded_at"] is None, order
    read = orderd.get(answer.headers["location"])
    assert read.status == 200 and read.json == order and read.headers["etag"] == '"1"', read


def test_absent_and_null_members_take_their_defaults():
    orderd = orders.start("order.currency=JPY", "order.timeout_seconds=77")
    for extra in ({}, {"currency": None, "payment_type": None, "bank_code": None}):
        body = json.dumps({**draft(), **extra}).encode()
        answer = post_raw(orderd, body)
        assert answer.status == 201, answer
        order = answer.json
        check_order(order, timeout_seconds=77)
        assert order["currency"] == "JPY", order
        assert order["payment_type"] == "pay_with_bank", order
        assert order["bank_code"] is None, order


def test_the_default_currency_is_the_one_of_the_configuration():
    orderd = orders.start()
    assert create(orderd)["currency"] == "VND"


def test_a_missing_required_member_is_named():
    orderd = orders.start()
    with Client(orderd) as client:
        for name in ("partner_code", "partner_order_id", "amount"):
            body = draft()
            del body[name]
            check_problem(client.post("/v1/orders", body), 422, [name])
            check_problem(client.post("/v1/orders", {**body, name: None}), 422, [name])
        every = ["partner_code", "partner_order_id", "amount"]
        check_problem(client.post("/v1/orders", {}), 422, every)


def test_every_wrong_member_of_a_request_is_named_at_once():
    orderd = orders.start()
    body = {"partner_code": "", "amount": 0, "currency": "XXX", "payment_type": "", "bank_code": ""}
    body["colour"] = "red"
    body["status"] = "pending"
    check_problem(orderd.post("/v1/orders", body), 422, [*body, "partner_order_id"])
    # Whatever is unknown beside it; of that, the first are named.
    many = {f"x{number}": number for number in range(200)}
    problem = check_problem(orderd.post("/v1/orders", {**many, **body}), 422)
    named = [error["field"] for error in problem["errors"]]
    assert set(named) >= {*body, "partner_order_id", "x0", "x9"} - {"colour"}, named
    # The longest that can be told.
    longest = {"x" * 62 + f"{number:02}": number for number in range(20)}
    given = {name: 0 for name in orders.MEMBERS}
    problem = check_problem(orderd.post("/v1/orders", {**longest, **given}), 422)
    named = [error["field"] for error in problem["errors"]]
    assert set(named) >= {*orders.MEMBERS, *list(longest)[:10]}, named


def test_a_time_that_is_wrong_in_two_ways_is_named_once():
    orderd = orders.start()
    body = {"status": "error", "requested_at": "2999-01-01T00:00:00Z", "responded_at": "no time"}
    answer = orderd.patch(path_of(create(orderd)), body)
    check_problem(answer, 422, ["requested_at", "responded_at"])


def test_members_that_the_service_gives_or_that_no_order_has_are_refused():
    orderd = orders.start()
    given = "order_id status version created_at updated_at requested_at responded_at expires_at"
    unknown = ["Amount", "partner-code", "", "x" * 60, "amount ", "é", "note"]
    with Client(orderd) as client:
        for name in [*given.split(), *unknown]:
            for value in (None, "pending", 1):
                check_problem(client.post("/v1/orders", {**draft(), name: value}), 422, [name])


def test_a_wrong_type_is_refused_for_every_member():
    orderd = orders.start()
    texts = ("partner_code", "partner_order_id", "currency", "payment_type", "bank_code")
    with Client(orderd) as client:
        for name in texts:
            for value in WRONG_TYPES:
                check_problem(client.post("/v1/orders", {**draft(), name: value}), 422, [name])
        for value in (True, False, "5", "", "1000", [], {}, [5], {"amount": 5}):
            check_problem(client.post("/v1/orders", {**draft(), "amount": value}), 422, ["amount"])


def test_amounts_are_whole_numbers_from_1_to_the_largest_64_bit_integer():
    orderd = orders.start()
    for amount in (1, 2, 2**31, 2**32, 2**53 + 1, AMOUNT_MAX - 1, AMOUNT_MAX):
        order = create(orderd, amount=amount)
        assert order["amount"] == amount, order
        assert orders.read(orderd, order)["amount"] == amount
    wrong = f"0 -1 -0 1.0 1.5 1e3 1E3 1e0 10e-1 0.0 {2**63} {2**64} {2**64 + 5} {10**30} 1e400"
    for text in wrong.split():
        check_problem(post_raw(orderd, member_text("amount", text)), 422, ["amount"])
    for text in ("+1", "01", "1.", ".5", "0x10", "1_000", "1e", "--1", "NaN", "Infinity", "5 5"):
        check_problem(post_raw(orderd, member_text("amount", text)), 400)


def test_partner_code_has_1_to_16_of_its_characters():
    orderd = orders.start()
    for code in ("a", "Z", "0", "-", "_", "A" * 16, "abcXYZ019_-", "0123456789abcdef"):
        assert create(orderd, partner_code=code)["partner_code"] == code
    for code in ("", "a" * 17, "a" * 1000, "a.b", "a b", "ä", "a/b", "a\n", " a", "a\u0001", "ａ"):
        check_problem(orderd.post("/v1/orders", draft(partner_code=code)), 422, ["partner_code"])


def test_partner_order_id_has_1_to_36_of_its_characters():
    orderd = orders.start()
    unique = orders.new_reference()
    for reference in ("a", ".", "..", "-", "_", "0", unique.ljust(36, "x"), "A.B_c-9"):
        order = create(orderd, partner_order_id=reference)
        assert order["partner_order_id"] == reference, order
    for reference in ("", "a" * 37, "a:b", "a b", "é", "a/b", "a+b", "a%41", "a\t", "💶"):
        answer = orderd.post("/v1/orders", draft(partner_order_id=reference))
        check_problem(answer, 422, ["partner_order_id"])


def test_bank_code_has_1_to_12_of_its_characters():
    orderd = orders.start()
    for code in ("a", "-", "_", "9", "A" * 12, "VCB_1-x"):
        assert create(orderd, bank_code=code)["bank_code"] == code
    for code in ("", "a" * 13, "a.b", "a b", "ß"):
        check_problem(orderd.post("/v1/orders", draft(bank_code=code)), 422, ["bank_code"])


def test_payment_types_are_the_three_that_there_are():
    orderd = orders.start()
    for payment in orders.PAYMENTS:
        assert create(orderd, payment_type=payment)["payment_type"] == payment
    for payment in ("", "none", "bank", "PAY_WITH_BANK", "pay_with_cash", "pay_with_bank "):
        answer = orderd.post("/v1/orders", draft(payment_type=payment))
        check_problem(answer, 422, ["payment_type"])


def test_currencies_are_those_in_circulation_in_capitals():
    orderd = orders.start()
    with Client(orderd) as client:
        for currency in CURRENCIES:
            answer = client.post("/v1/orders", draft(currency=currency))
            assert answer.status == 201 and answer.json["currency"] == currency, answer
        for currency in [*NO_CURRENCIES, "", "US ", "U$D", "€", "\u0000USD"[1:] + "\u0001"]:
            check_problem(client.post("/v1/orders", draft(currency=currency)), 422, ["currency"])


def test_escaped_spellings_mean_the_same():
    orderd = orders.start()
    reference = orders.new_reference()
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in reference)
    body = '{"partner_c\\u006fde":"\\u0061cme","amount":7,"bank_code":"\\u0042"'
    answer = post_raw(orderd, f'{body},"partner_order_id":"{escaped}"}}'.encode())
    assert answer.status == 201, answer
    order = answer.json
    assert order["partner_code"] == "acme" and order["partner_order_id"] == reference, order
    assert order["bank_code"] == "B", order
    replay = orderd.post("/v1/orders", draft(partner_order_id=reference, amount=7, bank_code="B"))
    assert replay.status == 200 and replay.json == order, replay


# --- JSON. ---


def test_a_key_that_stands_twice_is_400_in_any_spelling_and_depth():
    orderd = orders.start()
    whole = json.dumps(draft())[:-1]
    for member in (
        '"amount":5',
        '"amount":1000',
        '"\\u0061mount":5',
        '"amoun\\u0074":5',
        '"\\u0061\\u006d\\u006F\\u0075\\u006E\\u0074":1',
        '"x":1,"x":2',
        '"x":{"y":1,"y":1}',
        '"x":[{"y":1,"\\u0079":1}]',
        '"":1,"":2',
        '"/":1,"\\/":2',
        '"😀":1,"\\ud83d\\ude00":2',
    ):
        check_problem(post_raw(orderd, f"{whole},{member}}}".encode()), 400)
    # The same key in two objects is no double.
    answer = post_raw(orderd, f'{whole},"x":[{{"y":1}},{{"y":1}}]}}'.encode())
    check_problem(answer, 422, ["x"])


def test_json_that_does_not_parse_is_400():
    orderd = orders.start()
    good = json.dumps(draft())
    cases = {
        "empty": b"",
        "blank": b" \r\n\t",
        "byte order mark": b"\xef\xbb\xbf" + good.encode(),
        "UTF-16": good.encode("utf-16"),
        "two documents": good.encode() + good.encode(),
        "trailing bracket": good.encode() + b"}",
        "trailing NUL": good.encode() + b"\0",
        "trailing letter": good.encode() + b" x",
        "trailing comma": good[:-1].encode() + b",}",
        "no end": good[:-1].encode(),
        "single quotes": good.replace('"', "'").encode(),
        "no quotes": b"{amount:5}",
        "no colon": b'{"amount" 5}',
        "comment": b'{"amount":5 /* a */}',
        "bare word": b"undefined",
        "half a word": b'{"amount":tru}',
        "capital word": b'{"amount":True}',
        "form feed as space": b'\x0c{"amount":5}',
        "no-break space": "\u00a0{}".encode(),
        "vertical tab": b'{"amount":\x0b5}',
    }
    for name, body in cases.items():
        answer = post_raw(orderd, body)
        assert answer.status == 400, (name, answer)
        check_problem(answer, 400)
    for body, said in ((b"", "it ends where a value is expected"), (b"x", "no value begins here")):
        assert said in post_raw(orderd, body).json["detail"], said


def test_strings_with_bad_bytes_or_escapes_are_400():
    orderd = orders.start()
    texts = {
        "overlong": b"\xc0\xaf",
        "overlong of three": b"\xe0\x80\xaf",
        "a surrogate": b"\xed\xa0\x80",
        "past the last code point": b"\xf4\x90\x80\x80",
        "a lone continuation": b"\x80",
        "a cut sequence": b"\xe2\x82",
        "Latin-1": "é".encode("latin-1"),
        "a raw line feed": b"\n",
        "a raw tab": b"\t",
        "a raw NUL": b"\0",
        "a raw control": b"\x1f",
        "an unknown escape": b"\\x41",
        "a capital escape": b"\\N",
        "a short escape": b"\\u12",
        "no hexadecimal": b"\\u00zz",
        "a signed escape": b"\\u+041",
        "an escaped NUL": b"\\u0000",
        "a lone high surrogate": b"\\ud800",
        "a lone low surrogate": b"\\udc00",
        "two high surrogates": b"\\ud800\\ud800",
        "a high surrogate and a letter": b"\\ud800\\u0041",
        "surrogates in the wrong order": b"\\udc00\\ud800",
    }
    for name, text in texts.items():
        for place in (b'{"partner_code":"%s"}', b'{"%s":1}', b'{"x":[{"y":"%s"}]}'):
            answer = post_raw(orderd, place % text)
            assert answer.status == 400, (name, place, answer)
    # Whole ones are text, which no member of an order may hold.
    check_problem(
        post_raw(orderd, b'{"partner_code":"\\ud83d\\ude00","partner_order_id":"1","amount":1}'),
        422,
        ["partner_code"],
    )


def test_json_that_is_no_object_is_422():
    orderd = orders.start()
    for body in (b"[]", b"[{}]", b"null", b"true", b"5", b'"x"', b"-1.5e3", b" [1, 2] "):
        check_problem(post_raw(orderd, body), 422)
    for body in (b"[", b"nul", b'"x', b"[1,]", b"5 5"):
        check_problem(post_raw(orderd, body), 400)


def test_nesting_of_32_is_read_and_of_33_is_400():
    orderd = orders.start()

    def nested(levels, left, right, inner):
        return b'{"x":' + left * (levels - 1) + inner + right * (levels - 1) + b"}"

    for left, right, inner in ((b"[", b"]", b""), (b'{"a":', b"}", b"1"), (b"[", b"]", b"1")):
        answer = post_raw(orderd, nested(32, left, right, inner))
        assert answer.status == 422, (left, answer)
        check_problem(post_raw(orderd, nested(33, left, right, inner)), 400)
    check_problem(post_raw(orderd, b"[" * 32 + b"]" * 32), 422)
    check_problem(post_raw(orderd, b"[" * 33 + b"]" * 33), 400)
    check_problem(post_raw(orderd, b"[" * 8000 + b"]" * 8000), 400)
    check_problem(post_raw(orderd, b'{"x":' * 2000), 400)


def test_white_space_around_and_in_the_document_is_fine():
    orderd = orders.start()
    text = json.dumps(draft(), indent=3).replace("\n", "\r\n\t")
    assert post_raw(orderd, f" \t\r\n{text}\r\n ".encode()).status == 201


# --- Sizes and types of bodies. ---


def test_a_body_of_16_kib_is_read_and_one_byte_more_is_413():
    orderd = orders.start()
    body = json.dumps(draft()).encode()
    full = body + b" " * (16384 - len(body))
    assert post_raw(orderd, full).status == 201
    check_problem(post_raw(orderd, full + b" "), 413)
    check_problem(post_raw(orderd, b"x" * 16385), 413)
    order = create(orderd)
    wide = b'{"status":"processing"' + b" " * (16384 - 23) + b"}"
    assert len(wide) == 16384
    check_problem(orderd.request("PATCH", path_of(order), wide + b" ", JSON), 413)
    assert orderd.request("PATCH", path_of(order), wide, JSON).status == 200


def test_a_missing_or_wrong_content_type_is_415():
    orderd = orders.start()
    order = create(orderd)
    wrong = (
        None,
        "",
        "text/json",
        "text/plain",
        "application/jsonp",
        "application/json5",
        "application/x-ndjson",
        "application/octet-stream",
        "application/problem+json",
        "application",
        "*/*",
        "application/json, application/json",
        "application/json; charset=latin-1",
        "application/json;charset=utf-16",
    )
    for kind in wrong:
        headers = {} if kind is None else {"Content-Type": kind}
        check_problem(orderd.request("POST", "/v1/orders", b"{}", headers), 415)
        check_problem(orderd.request("PATCH", path_of(order), b"{}", headers), 415)
    for kind in (
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json ; Charset=UTF-8",
    ):
        answer = orderd.post("/v1/orders", json.dumps(draft()).encode(), {"Content-Type": kind})
        assert answer.status == 201, (kind, answer)


# --- The same reference again. ---


def test_the_same_create_again_answers_200_with_the_order_as_it_is_now():
    orderd = orders.start()
    body = draft(amount=9, currency="USD", bank_code="B1", payment_type="pay_with_wallet")
    first = orderd.post("/v1/orders", body)
    for _ in range(3):
        again = orderd.post("/v1/orders", body)
        assert again.status == 200, again
        assert again.headers["idempotent-replay"] == "true", again
        assert again.headers["etag"] == '"1"' and again.json == first.json, again
    changed = change(orderd, first.json, "processing")
    again = orderd.post("/v1/orders", body)
    assert again.status == 200 and again.json == changed, again
    assert again.headers["etag"] == '"2"', again


def test_defaults_that_are_spelt_out_are_the_same_request():
    orderd = orders.start()
    body = draft()
    first = orderd.post("/v1/orders", body)
    spelt = {**body, "currency": "VND", "payment_type": "pay_with_bank", "bank_code": None}
    again = orderd.post("/v1/orders", spelt)
    assert first.status == 201 and again.status == 200 and again.json == first.json, again


def test_a_replay_with_any_other_content_is_409_and_names_the_order():
    orderd = orders.start()
    body = draft(amount=9, currency="USD", bank_code="B1", payment_type="pay_with_card")
    order = orderd.post("/v1/orders", body).json
    for name, value in (
        ("amount", 10),
        ("currency", "EUR"),
        ("currency", None),
        ("bank_code", "B2"),
        ("bank_code", "b1"),
        ("bank_code", None),
        ("payment_type", "pay_with_bank"),
        ("payment_type", None),
    ):
        problem = check_problem(orderd.post("/v1/orders", {**body, name: value}), 409)
        assert problem["order_id"] == order["order_id"], problem
    assert orders.read(orderd, order) == order
    assert orderd.post("/v1/orders", body).status == 200


def test_references_differ_by_partner_and_by_case():
    orderd = orders.start()
    reference = orders.new_reference()
    seen = set()
    for partner in ("a", "A", "ab", "a-", "a_"):
        for name in (reference, reference.upper(), reference + "."):
            seen.add(create(orderd, partner_code=partner, partner_order_id=name)["order_id"])
    # A code and an id whose joined text is the same are not the same reference.
    seen.add(create(orderd, partner_code="x1", partner_order_id=reference)["order_id"])
    seen.add(create(orderd, partner_code="x", partner_order_id="1" + reference)["order_id"])
    assert len(seen) == 17, seen


def test_many_clients_with_one_reference_make_one_order():
    orderd = orders.start()
    body = draft()
    answers = []
    barrier = threading.Barrier(16)

    def send():
        with Client(orderd) as client:
            barrier.wait()
            answers.append(client.post("/v1/orders", body))

    threads = [threading.Thread(target=send) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status for answer in answers) == [200] * 15 + [201], answers
    assert len({answer.json["order_id"] for answer in answers}) == 1, answers
    for answer in answers:
        assert ("idempotent-replay" in answer.headers) == (answer.status == 200), answer


def test_a_reference_is_free_again_after_the_idempotency_window():
    orderd = orders.start("order.timeout_seconds=1", "order.idempotency_window_seconds=2")
    body = draft()
    first = orderd.post("/v1/orders", body).json
    change(orderd, first, "success")
    assert orderd.post("/v1/orders", body).json["order_id"] == first["order_id"]
    conflict = {**body, "amount": 5}
    check_problem(orderd.post("/v1/orders", conflict), 409)
    second = harness.wait_for(
        lambda: (answer := orderd.post("/v1/orders", conflict)).status == 201 and answer.json,
        what="a new order under the old reference",
    )
    assert second["order_id"] != first["order_id"], second
    age = orders.microseconds(second["created_at"]) - orders.microseconds(first["created_at"])
    assert age >= 2_000_000, "it was free too early"
    assert orders.read(orderd, first)["status"] == "success"
    query = f"?partner_code=acme&partner_order_id={body['partner_order_id']}"
    assert orderd.get("/v1/orders" + query).json == second


# --- Ids (section 5). ---


def xxh3():
    """XXH3-64 of the system's library."""
    name = ctypes.util.find_library("xxhash") or "libxxhash.so.0"
    try:
        function = ctypes.CDLL(name).XXH3_64bits
    except (OSError, AttributeError):
        harness.skip("the system has no libxxhash")
    function.restype = ctypes.c_uint64
    function.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return lambda data: function(data, len(data))


def test_an_id_tells_the_slot_of_its_reference_and_its_time():
    hash_of = xxh3()
    orderd = orders.start()
    nodes = set()
    for length in (1, 5, 16):
        for reference in ("a", "b" * 36, orders.new_reference()):
            order = create(orderd, partner_code="p" * length, partner_order_id=reference)
            order_id = int(order["order_id"])
            joined = f"{order['partner_code']}\0{reference}".encode()
            assert order_id >> 17 & 1023 == hash_of(joined) & 1023, order
            check_order(order)
            nodes.add(order_id >> 7 & 1023)
    assert len(nodes) == 1, "one instance has one node number"


def test_ids_rise_and_never_repeat_also_across_a_kill():
    orderd = orders.start()
    ticks = []
    seen = set()
    for _ in range(3):
        for result in orders.post_records(orderd, [orders.record() for _ in range(2000)]):
            assert result[2] == 201 and result[0] not in seen, result
            seen.add(result[0])
        newest = max(seen) >> 27
        assert not ticks or newest > ticks[-1]
        ticks.append(newest)
        orderd.kill()
        orderd.start()


def slot_mates(hash_of, count, slot=7):
    """References of one slot."""
    found = []
    number = 0
    while len(found) < count:
        reference = f"s{number}"
        number += 1
        if hash_of(f"acme\0{reference}".encode()) & 1023 == slot:
            found.append(reference)
    return found


def test_a_slot_gives_128_ids_a_tick_and_then_goes_on_to_the_next():
    hash_of = xxh3()
    orderd = orders.start()
    mates = slot_mates(hash_of, 400)
    results = orders.post_records(
        orderd, [orders.record(partner_order_id=mate.encode()) for mate in mates]
    )
    ids = [result[0] for result in results]
    assert {result[2] for result in results} == {201}
    assert {order_id >> 17 & 1023 for order_id in ids} == {7}
    assert ids == sorted(set(ids)), "ids of one slot rise"
    per_tick = {}
    for order_id in ids:
        per_tick[order_id >> 27] = per_tick.get(order_id >> 27, 0) + 1
    assert max(per_tick.values()) <= 128, per_tick
    for order in orders.post_get(orderd, ids):
        check_order(order)


def test_an_order_id_in_a_path_is_1_to_19_digits_within_63_bits():
    orderd = orders.start()
    order = create(orderd)
    order_id = order["order_id"]
    bad = (
        "0",
        "00",
        "01",
        "0" + order_id,
        "-1",
        "+1",
        "1.0",
        "1e5",
        "0x10",
        "abc",
        order_id + "a",
        str(2**63),
        str(2**64),
        "9999999999999999999",
        "1" * 20,
        "1" * 100,
        "%31",
        "%" + hex(ord(order_id[0]))[2:] + order_id[1:],
        order_id[:-1] + "%3" + order_id[-1],
        "1%20",
        "١",
        "null",
        "*",
        ".",
    )
    for text in bad:
        target = "/v1/orders/" + "".join(
            letter if letter < "\x7f" else "".join(f"%{byte:02X}" for byte in letter.encode())
            for letter in text
        )
        check_problem(orderd.get(target), 400)
        check_problem(orderd.get(target + "/events"), 400)
        check_problem(orderd.patch(target, {"status": "success"}), 400)
    unknown = (1, 2, 127, 128, 2**27, int(order_id) + 1, int(order_id) + 128, 2**62, 2**63 - 1)
    for number in unknown:
        check_problem(orderd.get(f"/v1/orders/{number}"), 404)
        check_problem(orderd.get(f"/v1/orders/{number}/events"), 404)
        check_problem(orderd.patch(f"/v1/orders/{number}", {"status": "success"}), 404)


# --- Read. ---


def test_a_read_honours_if_none_match():
    orderd = orders.start()
    order = change(orderd, create(orderd), "processing")
    for same in ('"2"', '"1", "2"', '"2","1"', 'W/"2"', '"1", W/"2"', "*", ' "2" ', '"9",, "2"'):
        answer = orderd.get(path_of(order), {"If-None-Match": same})
        assert answer.status == 304 and answer.body == b"", (same, answer)
        assert answer.headers["etag"] == '"2"', answer
        assert "content-type" not in answer.headers, answer
    for other in ('"1"', '"3"', '"1", "3"', 'W/"1"', '"22"'):
        answer = orderd.get(path_of(order), {"If-None-Match": other})
        assert answer.status == 200 and answer.json == order, (other, answer)
    malformed = ("2", '"2', '2"', "''", '"abc"', '"-1"', '"1", *', 'w/"2"', '"02"', '""', '"1" "2"')
    for bad in malformed:
        check_problem(orderd.get(path_of(order), {"If-None-Match": bad}), 400)


def test_a_find_honours_if_none_match():
    orderd = orders.start()
    order = create(orderd)
    target = f"/v1/orders?partner_code=acme&partner_order_id={order['partner_order_id']}"
    assert orderd.get(target, {"If-None-Match": '"1"'}).status == 304
    assert orderd.get(target, {"If-None-Match": '"2"'}).status == 200
    check_problem(orderd.get(target, {"If-None-Match": "1"}), 400)


def test_min_version_is_never_undercut():
    orderd = orders.start()
    order = change(orderd, create(orderd), "processing")
    for minimum in (0, 1, 2):
        answer = orderd.get(f"{path_of(order)}?min_version={minimum}")
        assert answer.status == 200 and answer.json == order, answer
    for minimum in (3, 4, 65535, 4294967295):
        begin = time.monotonic()
        problem = check_problem(orderd.get(f"{path_of(order)}?min_version={minimum}"), 412)
        assert problem["version"] == 2, problem
        assert time.monotonic() - begin < 10, "the wait is bounded"
    for bad in ("", "-1", "+1", "1.0", "1e1", "abc", "0x1", "4294967296", "9" * 30, "%20", "1%"):
        check_problem(orderd.get(f"{path_of(order)}?min_version={bad}"), 400)
    check_problem(orderd.get(f"{path_of(order)}?min_version"), 400)
    check_problem(orderd.get(f"{path_of(order)}?min_version=1&min_version=1"), 400)
    assert orderd.get(f"{path_of(order)}?min_version=%32").status == 200
    check_problem(orderd.get("/v1/orders/5?min_version=3"), 404)


def test_unknown_query_parameters_are_ignored():
    orderd = orders.start()
    order = create(orderd)
    for query in ("", "a", "a=b", "a=%00", "&&", "=", "Min_Version=x", "min_versions=x", "a=b&c=d"):
        answer = orderd.get(f"{path_of(order)}?{query}")
        assert answer.status == 200 and answer.json == order, (query, answer)
    reference = f"partner_code=acme&partner_order_id={order['partner_order_id']}"
    for query in (f"x=1&{reference}", f"{reference}&x=1&x=2", f"&&{reference}&"):
        assert orderd.get("/v1/orders?" + query).json == order, query
    assert orderd.post("/v1/orders?min_version=x&a=b", draft()).status == 201
    assert orderd.patch(path_of(order) + "?x=y", {"status": "success"}).status == 200


def test_head_is_get_without_the_body():
    orderd = orders.start()
    order = create(orderd)
    find = f"/v1/orders?partner_code=acme&partner_order_id={order['partner_order_id']}"
    for target in (path_of(order), find, "/healthz", "/readyz", "/openapi.json", "/v1/orders/5"):
        with orderd.connect() as connection:
            whole = connection.exchange(orders.head("GET", target))
            connection.send(orders.head("HEAD", target))
            alone = connection.read_answer(to_head=True)
            assert alone.status == whole.status, (target, alone)
            alone.headers.pop("date"), whole.headers.pop("date")  # may be of another second
            assert alone.headers == whole.headers, (target, alone, whole)
            assert connection.exchange(orders.head("GET", "/healthz")).status == 200
    with orderd.connect() as connection:
        connection.send(orders.head("HEAD", path_of(order), 'If-None-Match: "1"'))
        assert connection.read_answer(to_head=True).status == 304
        connection.send(orders.head("HEAD", "/v1/orders/0"))
        assert connection.read_answer(to_head=True).status == 400
        assert connection.exchange(orders.head("GET", "/healthz")).status == 200


# --- Find. ---


def test_an_order_is_found_by_its_reference():
    orderd = orders.start()
    order = create(orderd, partner_code="p_-9", partner_order_id="a.b_c-" + orders.run)
    target = f"/v1/orders?partner_code=p_-9&partner_order_id={order['partner_order_id']}"
    answer = orderd.get(target)
    assert answer.status == 200 and answer.json == order, answer
    assert answer.headers["etag"] == '"1"', answer
    changed = change(orderd, order, "success")
    assert orderd.get(target).json == changed
    escaped = target.replace("p_-9", "%70%5F-9")
    assert orderd.get(escaped).json == changed
    names = target.replace("partner_", "partner%5F") + f"&{'u' * 100}=1"
    assert orderd.get(names).json == changed
    swapped = f"/v1/orders?partner_order_id={order['partner_order_id']}&partner_code=p_-9"
    assert orderd.get(swapped).json == changed
    for partner, reference in (("p_-8", order["partner_order_id"]), ("p_-9", "nobody"), ("z", "z")):
        target = f"/v1/orders?partner_code={partner}&partner_order_id={reference}"
        check_problem(orderd.get(target), 404)


def test_a_find_without_a_valid_reference_is_400():
    orderd = orders.start()
    for query in (
        "",
        "?",
        "?partner_code=a",
        "?partner_order_id=a",
        "?partner_code=&partner_order_id=a",
        "?partner_code=a&partner_order_id=",
        "?partner_code&partner_order_id=a",
        f"?partner_code={'a' * 17}&partner_order_id=a",
        f"?partner_code=a&partner_order_id={'a' * 37}",
        f"?partner_code=a&partner_order_id={'a' * 1000}",
        "?partner_code=a.b&partner_order_id=a",
        "?partner_code=a&partner_order_id=a%2Fb",
        "?partner_code=a&partner_order_id=a+b",
        "?partner_code=a&partner_order_id=a%00",
        "?partner_code=a&partner_order_id=a%4",
        "?partner_code=a&partner_order_id=a%zz",
        "?partner_code=a&partner_code=a&partner_order_id=a",
        "?partner_code=a&partner%5fcode=b&partner_order_id=a",
        "?partner_code=a&partner_order_id=a&partner_order_id=b",
    ):
        check_problem(orderd.get("/v1/orders" + query), 400)


# --- Change: the state machine. ---


def order_in(orderd, status):
    """A new order in this status, by the longest way."""
    order = create(orderd)
    if status == "pending":
        return order
    order = change(orderd, order, "processing")
    return order if status == "processing" else change(orderd, order, status)


def test_the_state_machine_is_complete_over_http():
    orderd = orders.start()
    for begin in orders.STATUSES:
        for end in orders.STATUSES:
            order = order_in(orderd, begin)
            answer = orderd.patch(path_of(order), {"status": end})
            if begin == end:
                assert answer.status == 200 and answer.json == order, (begin, end, answer)
                assert answer.headers["etag"] == f'"{order["version"]}"', answer
            elif end in orders.MOVES.get(begin, ()):
                assert answer.status == 200, (begin, end, answer)
                changed = answer.json
                check_order(changed)
                assert changed["status"] == end, answer
                assert changed["version"] == order["version"] + 1, answer
                assert answer.headers["etag"] == f'"{changed["version"]}"', answer
                assert changed["updated_at"] >= order["updated_at"], answer
                for name in orders.MEMBERS[:7] + ["created_at", "expires_at"]:
                    assert changed[name] == order[name], (name, answer)
                order = changed
            else:
                problem = check_problem(answer, 409)
                assert problem["order"] == order, problem
            assert orders.read(orderd, order) == order, (begin, end)


def test_each_final_status_is_reached_from_pending_at_once():
    orderd = orders.start()
    for end in orders.FINAL:
        order = change(orderd, create(orderd), end)
        check_order(order)
        assert order["status"] == end and order["version"] == 2, order
        for other in orders.STATUSES:
            if other != end:
                check_problem(orderd.patch(path_of(order), {"status": other}), 409)
        assert orders.read(orderd, order) == order


def test_a_change_of_an_unknown_order_is_404():
    orderd = orders.start()
    for order_id in (1, 12345, 2**62, 2**63 - 1, int(create(orderd)["order_id"]) + 1):
        for headers in ({}, {"If-Match": "*"}, {"If-Match": '"1"'}):
            answer = orderd.patch(f"/v1/orders/{order_id}", {"status": "success"}, headers)
            check_problem(answer, 404)


def test_a_change_with_wrong_members_is_422_and_names_them():
    orderd = orders.start()
    order = create(orderd)
    for value in ("", "done", "Success", "SUCCESS", "pending ", 1, True, [], {}, ["success"]):
        check_problem(orderd.patch(path_of(order), {"status": value}), 422, ["status"])
    check_problem(orderd.patch(path_of(order), {}), 422, ["status"])
    check_problem(orderd.patch(path_of(order), {"status": None}), 422, ["status"])
    for name in orders.MEMBERS:
        if name not in ("status", "requested_at", "responded_at"):
            for value in (order[name], None):
                body = {"status": "success", name: value}
                check_problem(orderd.patch(path_of(order), body), 422, [name])
    body = {"status": "success", "colour": None}
    check_problem(orderd.patch(path_of(order), body), 422, ["colour"])
    for body in (b"[]", b"null", b'"success"'):
        check_problem(orderd.request("PATCH", path_of(order), body, JSON), 422)
    for body in (b"", b"{", b'{"status":"success","status":"success"}', b'{"status":"success"}x'):
        check_problem(orderd.request("PATCH", path_of(order), body, JSON), 400)
    assert orders.read(orderd, order) == order


# --- Change: If-Match. ---


def test_a_change_honours_if_match():
    orderd = orders.start()
    for match in ('"1"', "*", '"1", "2"', '"7","1"', ' "1"', '"0", "1"', '"4294967295", "1"'):
        order = create(orderd)
        answer = orderd.patch(path_of(order), {"status": "processing"}, {"If-Match": match})
        assert answer.status == 200 and answer.json["version"] == 2, (match, answer)
    for match in ('"2"', '"0"', '"2", "3"', '"11"', '"4294967295"'):
        order = create(orderd)
        answer = orderd.patch(path_of(order), {"status": "processing"}, {"If-Match": match})
        problem = check_problem(answer, 412)
        assert problem["version"] == 1, problem
        assert orders.read(orderd, order) == order


def test_a_long_list_of_versions_in_if_match_is_read():
    orderd = orders.start()
    order = create(orderd)
    many = ", ".join(f'"{version}"' for version in range(2, 200))
    answer = orderd.patch(path_of(order), {"status": "processing"}, {"If-Match": many})
    assert check_problem(answer, 412)["version"] == 1
    answer = orderd.patch(path_of(order), {"status": "processing"}, {"If-Match": f'{many}, "1"'})
    assert answer.status == 200, answer


def test_a_list_in_several_if_match_fields_is_one_list():
    orderd = orders.start()
    order = create(orderd)
    body = b'{"status":"processing"}'
    with orderd.connect() as connection:
        for lines, status in (
            (['If-Match: "2"', 'If-Match: "3"'], 412),
            (['If-Match: "2"', "If-Match: *"], 400),
            (['If-Match: "2"', 'If-Match: W/"1"'], 400),
            (['If-Match: "2"', 'If-Match: "1"'], 200),
        ):
            answer = connection.exchange(
                orders.head("PATCH", path_of(order), *lines, JSON_LINE, body=body)
            )
            assert answer.status == status, (lines, answer)


def test_a_malformed_or_weak_if_match_is_400():
    orderd = orders.start()
    order = create(orderd)
    bad = (
        'W/"1"',
        'w/"1"',
        '"2", W/"1"',
        "1",
        '"1',
        '1"',
        "'1'",
        "",
        ",",
        '""',
        '"abc"',
        '"1a"',
        '"-1"',
        '"+1"',
        '"01"',
        '" 1"',
        '"1.0"',
        '"4294967296"',
        f'"{10**30}"',
        '"1" "2"',
        '"1"; "2"',
        '*, "1"',
        '"1", *',
        "**",
        "1-1",
    )
    for match in bad:
        answer = orderd.patch(path_of(order), {"status": "processing"}, {"If-Match": match})
        assert answer.status == 400, (match, answer)
        check_problem(answer, 400)
    assert orders.read(orderd, order) == order


def test_if_match_is_judged_before_the_transition_and_before_no_change():
    orderd = orders.start()
    order = order_in(orderd, "success")
    match = {"If-Match": '"1"'}
    for status in orders.STATUSES:
        answer = orderd.patch(path_of(order), {"status": status}, match)
        assert check_problem(answer, 412)["version"] == 3
    right = {"If-Match": '"3"'}
    assert orderd.patch(path_of(order), {"status": "success"}, right).json == order
    check_problem(orderd.patch(path_of(order), {"status": "pending"}, right), 409)


def test_of_two_changes_with_one_if_match_one_wins():
    orderd = orders.start()
    for _ in range(20):
        order = create(orderd)
        answers = []
        barrier = threading.Barrier(4)

        def send(status, order=order, answers=answers, barrier=barrier):
            with Client(orderd) as client:
                barrier.wait()
                body = {"status": status}
                answers.append(client.patch(path_of(order), body, {"If-Match": '"1"'}))

        threads = [threading.Thread(target=send, args=(status,)) for status in orders.FINAL]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answer.status for answer in answers) == [200, 412, 412, 412], answers
        winner = next(answer.json for answer in answers if answer.status == 200)
        assert orders.read(orderd, order) == winner
        assert all(answer.json["version"] == 2 for answer in answers), answers


# --- Change: times. ---


def test_a_change_sets_requested_at_and_responded_at_to_now():
    orderd = orders.start()

    def is_now(text, begin):
        return begin <= orders.microseconds(text) <= orders.now_us()

    for end in ("success", "error", "cancel"):
        begin = orders.now_us()
        order = change(orderd, create(orderd), "processing")
        assert is_now(order["requested_at"], begin) and order["responded_at"] is None, order
        requested = order["requested_at"]
        begin = orders.now_us()
        order = change(orderd, order, end)
        assert order["requested_at"] == requested, order
        assert is_now(order["responded_at"], begin), order
    for end in ("success", "error"):
        begin = orders.now_us()
        order = change(orderd, create(orderd), end)
        assert order["requested_at"] is None and is_now(order["responded_at"], begin), order
    for begin, end in (("pending", "cancel"), ("pending", "timeout"), ("processing", "timeout")):
        order = change(orderd, order_in(orderd, begin), end)
        assert order["responded_at"] is None, order
        assert (order["requested_at"] is None) == (begin == "pending"), order


def test_a_change_takes_the_time_that_is_given_with_it():
    orderd = orders.start()

    def spellings(second):
        """Texts for times within this second, and the microseconds they mean."""
        date, clock = orders.rfc3339(second * 1_000_000)[:19].split("T")
        yield f"{date}T{clock}Z", 0
        yield f"{date}t{clock}z", 0
        yield f"{date}T{clock}.000001Z", 1
        yield f"{date}T{clock}.5Z", 500_000
        yield f"{date}T{clock}.999999999Z", 999_999
        yield f"{date}T{clock}.123456{'7' * 100}Z", 123_456
        yield f"{date}T{clock}.120000+00:00", 120_000
        yield f"{date}T{clock}.25-00:00", 250_000
        for sign, hours, minutes in ((1, 2, 0), (-1, 5, 30), (1, 14, 0), (-1, 23, 59)):
            local = second + sign * (hours * 3600 + minutes * 60)
            offset = f"{'-' if sign < 0 else '+'}{hours:02d}:{minutes:02d}"
            yield orders.rfc3339(local * 1_000_000)[:19] + offset, 0

    for number in range(len(list(spellings(0)))):
        order = create(orderd)
        second = orders.microseconds(order["created_at"]) // 1_000_000 + 2
        given, fraction = list(spellings(second))[number]
        expected = orders.rfc3339(second * 1_000_000 + fraction)
        order = change(orderd, order, "processing", requested_at=given)
        assert order["requested_at"] == expected, (given, order)
        order = change(orderd, order, "success", responded_at=given)
        assert order["responded_at"] == expected, (given, order)
        assert orders.read(orderd, order) == order


def test_given_times_lie_from_the_creation_to_60_s_ahead():
    orderd = orders.start()
    for status, name in (("processing", "requested_at"), ("error", "responded_at")):
        for ahead_us, good in ((0, True), (1, True), (55_000_000, True), (-1, False)):
            order = create(orderd)
            given = orders.rfc3339(orders.microseconds(order["created_at"]) + ahead_us)
            answer = orderd.patch(path_of(order), {"status": status, name: given})
            if good:
                assert answer.status == 200 and answer.json[name] == given, answer
            else:
                check_problem(answer, 422, [name])
                assert orders.read(orderd, order) == order
        for ahead_us in (62_000_000, 3_600_000_000, 10**15):
            order = create(orderd)
            body = {"status": status, name: orders.rfc3339(orders.now_us() + ahead_us)}
            check_problem(orderd.patch(path_of(order), body), 422, [name])
        for given in ("1970-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "0001-01-01T00:00:00Z"):
            body = {"status": status, name: given}
            check_problem(orderd.patch(path_of(order), body), 422, [name])
        assert orders.read(orderd, order) == order


def test_a_time_that_is_none_is_422():
    orderd = orders.start()
    order = create(orderd)
    for given in (
        "",
        "now",
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:00",
        "2026-01-01 00:00:00Z",
        "2026-01-01",
        "2026-01-01T00:00Z",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00+0100",
        "2026-01-01T00:00:00+01",
        " 2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00Z ",
        1767225600,
        1767225600.5,
        True,
        [],
        {},
    ):
        body = {"status": "processing", "requested_at": given}
        check_problem(orderd.patch(path_of(order), body), 422, ["requested_at"])
        body = {"status": "success", "responded_at": given}
        check_problem(orderd.patch(path_of(order), body), 422, ["responded_at"])
    assert orders.read(orderd, order) == order
    answer = change(orderd, order, "processing", requested_at=None, responded_at=None)
    assert answer["requested_at"] is not None, answer


def test_a_time_that_this_change_does_not_set_is_422():
    orderd = orders.start()
    setting = {
        ("pending", "processing"): {"requested_at"},
        ("pending", "success"): {"responded_at"},
        ("pending", "error"): {"responded_at"},
        ("processing", "success"): {"responded_at"},
        ("processing", "error"): {"responded_at"},
        ("processing", "cancel"): {"responded_at"},
    }
    for begin, ends in orders.MOVES.items():
        for end in ends:
            for name in ("requested_at", "responded_at"):
                order = order_in(orderd, begin)
                given = orders.rfc3339(orders.now_us())
                answer = orderd.patch(path_of(order), {"status": end, name: given})
                if name in setting.get((begin, end), ()):
                    assert answer.status == 200 and answer.json[name] == given, answer
                else:
                    check_problem(answer, 422, [name])
                    assert orders.read(orderd, order) == order


def test_the_time_of_a_change_that_changes_nothing_is_not_taken():
    orderd = orders.start()
    order = order_in(orderd, "success")
    given = orders.rfc3339(orders.now_us() + 5_000_000)
    assert change(orderd, order, "success", responded_at=given) == order
    order = order_in(orderd, "processing")
    assert change(orderd, order, "processing", requested_at=given) == order


# --- Time-out. ---


def test_an_order_that_nobody_ends_becomes_timeout():
    orderd = orders.start("order.timeout_seconds=1")
    begun = [create(orderd), change(orderd, create(orderd), "processing")]
    done = change(orderd, create(orderd), "success")
    for order in begun:
        after = harness.wait_for(
            lambda order=order: (now := orders.read(orderd, order))["version"] != order["version"]
            and now,
            what="the time-out",
        )
        check_order(after, timeout_seconds=1)
        assert after["status"] == "timeout" and after["version"] == order["version"] + 1, after
        assert after["requested_at"] == order["requested_at"], after
        assert after["updated_at"] >= order["expires_at"], after
        late = orders.microseconds(after["updated_at"]) - orders.microseconds(order["expires_at"])
        assert late < 5_000_000, f"{late} us late"
    assert orders.read(orderd, done) == done


# --- Order of judgement. ---


def test_of_two_wrongs_the_one_that_is_judged_first_is_answered():
    """HTTP form, path, method, content type, size, JSON, members, 404, If-Match, transition."""
    orderd = orders.start()
    final = order_in(orderd, "success")
    here, gone, none = path_of(final), "/v1/orders/77", "/v2/nothing"
    json_type, text_type = JSON_LINE, "Content-Type: text/plain"
    huge, bad, wrong, fine = b"x" * 20000, b"{", b"{}", b'{"status":"pending"}'
    weak, other = 'If-Match: W/"1"', 'If-Match: "9"'
    cases = [
        # two rules broken, the earlier one first
        (400, "POST", none, ["Bad Field: x"], b""),  # form, path
        (400, "PUT", here, ["Content-Length: +1"], None),  # form, method
        (404, "PUT", none, [], b""),  # path, method
        (404, "POST", none, [text_type], huge),  # path, content type and size
        (400, "DELETE", "/v1/orders/0", [], b""),  # path (no id), method
        (400, "PATCH", "/v1/orders/0", [text_type], fine),  # path (no id), content type
        (400, "PATCH", "/v1/orders/0", [json_type], huge),  # path (no id), size
        (400, "PATCH", "/v1/orders/0", [json_type], bad),  # path (no id), JSON
        (405, "POST", here, [text_type], fine),  # method, content type
        (405, "PUT", "/v1/orders", [json_type], huge),  # method, size
        (405, "PATCH", "/v1/orders", [json_type], bad),  # method, JSON
        (405, "POST", gone, [json_type], fine),  # method, 404
        (415, "POST", "/v1/orders", [text_type], huge),  # content type, size
        (415, "POST", "/v1/orders", [text_type], bad),  # content type, JSON
        (415, "PATCH", gone, [text_type], fine),  # content type, 404
        (415, "PATCH", here, [weak], fine),  # content type, If-Match
        (413, "POST", "/v1/orders", [json_type], huge),  # size, JSON
        (413, "PATCH", gone, [json_type], huge),  # size, 404
        (413, "PATCH", here, [json_type, weak], huge),  # size, If-Match
        (400, "PATCH", gone, [json_type], bad),  # JSON, 404
        (422, "PATCH", gone, [json_type], wrong),  # members, 404
        (422, "PATCH", here, [json_type, weak], wrong),  # members, a malformed If-Match
        (422, "PATCH", here, [json_type, other], wrong),  # members, another version
        (404, "GET", gone, ["If-None-Match: 1"], None),  # 404, a malformed If-None-Match
        (404, "PATCH", gone, [json_type, weak], fine),  # 404, a malformed If-Match
        (404, "PATCH", gone, [json_type, other], fine),  # 404, another version
        (400, "PATCH", here, [json_type, weak], fine),  # a malformed If-Match, transition
        (412, "PATCH", here, [json_type, other], fine),  # another version, transition
        (409, "PATCH", here, [json_type], fine),
    ]
    for status, method, target, lines, body in cases:
        with orderd.connect() as connection:
            answer = connection.exchange(orders.head(method, target, *lines, body=body))
            assert answer.status == status, (method, target, lines, body and body[:30], answer)
            check_problem(answer, status)
    assert orders.read(orderd, final) == final


def test_a_key_twice_is_no_json_whatever_else_is_wrong_with_the_members():
    orderd = orders.start()
    for body in (
        b'{"amount":0,"amount":0}',
        b'{"colour":1,"colour":2}',
        b'{"amount":"x","partner_code":5,"partner_code":5}',
        b'{"amount":0} x',
        b'{"amount":0,"x":"\\ud800"}',
    ):
        check_problem(post_raw(orderd, body), 400)


# --- Orders that have left for the archive. ---


def archived(orderd, status="success", **settings):
    """An order in the archive; returns it."""
    before = orders.metrics(orderd)["orderd_archiver_archived_total"]
    order = change(orderd, create(orderd, **settings), "processing")
    order = change(orderd, order, status)
    orders.wait_until_archived(orderd, before + 1)
    return order


def check_archived(orderd, order):
    """Everything that can be asked of an archived order, which does not change by it."""
    here = path_of(order)
    assert orders.read(orderd, order) == order
    assert orderd.get(here, {"If-None-Match": f'"{order["version"]}"'}).status == 304
    assert orderd.get(f"{here}?min_version={order['version']}").json == order
    problem = check_problem(orderd.get(f"{here}?min_version={order['version'] + 1}"), 412)
    assert problem["version"] == order["version"], problem
    find = f"?partner_code={order['partner_code']}&partner_order_id={order['partner_order_id']}"
    assert orderd.get("/v1/orders" + find).json == order
    same = {name: order[name] for name in orders.MEMBERS[1:7]}
    replay = orderd.post("/v1/orders", same)
    assert replay.status == 200 and replay.json == order, replay
    assert replay.headers["idempotent-replay"] == "true", replay
    conflict = check_problem(orderd.post("/v1/orders", {**same, "amount": 77}), 409)
    assert conflict["order_id"] == order["order_id"], conflict
    assert change(orderd, order, order["status"]) == order
    for status in orders.STATUSES:
        if status != order["status"]:
            problem = check_problem(orderd.patch(here, {"status": status}), 409)
            assert problem["order"] == order, problem
        answer = orderd.patch(here, {"status": status}, {"If-Match": '"1"'})
        assert check_problem(answer, 412)["version"] == order["version"], answer
    answer = orderd.patch(here, {"status": "pending"}, {"If-Match": 'W/"1"'})
    check_problem(answer, 400)
    assert orderd.get(here).json == order


def test_an_archived_order_is_read_found_replayed_and_never_changed():
    orderd = orders.start()
    for status in orders.FINAL:
        check_archived(orderd, archived(orderd, status, bank_code="B", currency="EUR"))


def test_the_same_holds_after_a_restart_when_memory_no_longer_has_it():
    orderd = orders.start("journal.checkpoint_mb=1", "journal.keep_mb=0")
    order = archived(orderd)
    for _ in range(2):
        orderd.stop()
        orderd.start()
        check_archived(orderd, order)
    orderd.kill()
    orderd.start()
    check_archived(orderd, order)


if __name__ == "__main__":
    harness.run(globals())
