"""orderctl import: batches, refused lines, overload, running it again."""
# run-tests: parallel

import json
import threading

import harness
import orderctl


def lines(first, count, partner="import"):
    return "".join(
        json.dumps({"partner_code": partner, "partner_order_id": f"i-{number}", "amount": 5}) + "\n"
        for number in range(first, first + count)
    )


def write_file(orderd, text):
    path = orderd.home / "orders.ndjson"
    path.write_text(text)
    return path


def test_every_line_becomes_an_order_and_once_only():
    orderd = harness.Orderd()
    path = write_file(orderd, lines(0, 2500))
    summary = orderctl.run("import", path, "--json", server=orderd).json
    assert summary["lines"] == summary["created"] == 2500 and summary["complete"], summary
    again = orderctl.run("import", path, "--json", server=orderd).json
    assert again["existing"] == 2500 and again["created"] == again["refused"] == 0, again
    assert orderctl.run("find", "import", "i-2499", "--json", server=orderd).json["amount"] == 5


def test_refused_lines_are_told_with_their_numbers():
    orderd = harness.Orderd()
    text = lines(0, 1100) + "garbage\n\n" + lines(5000, 2).replace('"amount": 5', '"amount": 0')
    text += "x" * 20000 + "\n" + lines(1100, 1).rstrip("\n")
    path = write_file(orderd, text)
    result = orderctl.run("import", path, server=orderd, status=1)
    told = [line for line in result.out.splitlines() if line.startswith("line ")]
    numbers = sorted(int(line.split()[1].rstrip(":")) for line in told)
    assert numbers == [1101, 1102, 1103, 1104, 1105], result
    assert any("line 1103: 422" in line and "amount" in line for line in told), told
    assert any("line 1105: 413" in line for line in told), told
    assert "1101 created" in result.out and "5 refused" in result.out, result
    documents = orderctl.run("import", path, "--json", server=orderd, status=1).json_lines
    assert documents[-1]["existing"] == 1101 and documents[-1]["refused"] == 5, documents[-1]
    codes = {document["line"]: document["code"] for document in documents[:-1]}
    assert codes == {1101: 400, 1102: 400, 1103: 422, 1104: 422, 1105: 413}, codes


def test_standard_input_and_an_empty_file_will_do():
    orderd = harness.Orderd()
    result = orderctl.run("import", "-", "--json", server=orderd, stdin=lines(0, 3))
    assert result.json["created"] == 3, result
    assert orderctl.run("import", "-", "--json", server=orderd).json["lines"] == 0


def test_a_file_that_is_none_is_exit_status_2():
    for path in ("/nowhere/at/all", "/"):
        result = orderctl.run("import", path, server="127.0.0.1:1", status=2)
        assert f"{path}: " in result.err and result.out == "", result


def test_a_line_that_is_too_long_is_told_as_the_service_would():
    orderd = harness.Orderd()
    first, second = (line.encode() for line in lines(0, 2).splitlines())
    text = first.ljust(16384) + b"\r\n" + second.ljust(16385) + b"\r\n"
    result = orderctl.run("import", "-", "--json", server=orderd, stdin=text.decode(), status=1)
    refused, summary = (json.loads(line) for line in result.out.splitlines())
    assert refused["line"] == 2 and refused["code"] == refused["problem"]["status"] == 413, refused
    assert refused["problem"]["title"] == "Content Too Large" and refused["problem"]["detail"]
    assert summary["created"] == 1 and summary["refused"] == 1, summary


class Busy:
    """A service that is overloaded in every way before it takes each line."""

    def __init__(self):
        self.lock = threading.Lock()
        self.calls = 0
        self.taken = {}

    def __call__(self, request):
        with self.lock:
            self.calls += 1
            if self.calls == 2:
                return 503, {"title": "busy", "status": 503}
            if self.calls == 3:
                return 0, b""
            answers = []
            for place, line in enumerate(request[2].decode().splitlines()):
                reference = json.loads(line)["partner_order_id"]
                if (place + self.calls) % 3 == 0:
                    answers.append({"code": 503 if place % 2 else 504})
                else:
                    known = reference in self.taken
                    self.taken[reference] = self.taken.get(reference, 0) + 1
                    answers.append({"code": 200 if known else 201, "order": {}})
            return 200, "".join(json.dumps(answer) + "\n" for answer in answers).encode()


def test_what_an_overloaded_service_cannot_take_is_sent_again():
    busy = Busy()
    with orderctl.Service(busy) as service:
        result = orderctl.run("import", "-", "--json", server=service.url, stdin=lines(0, 3000))
        summary = result.json
        assert summary["created"] == 3000 and summary["refused"] == 0, summary
        assert summary["resent"] > 0, summary
        assert len(busy.taken) == 3000 and set(busy.taken.values()) == {1}


def test_a_service_that_stays_overloaded_refuses_the_lines_in_the_end():
    arguments = ["import", "-", "--retries", 2]
    busy = {"title": "Service Unavailable", "status": 503}

    def answer(request):
        count = request[2].count(b"\n")
        return 200, b"".join(b'{"code":503}\n' for _ in range(count))

    with orderctl.Service(answer) as service:
        result = orderctl.run(*arguments, server=service.url, stdin=lines(0, 2), status=1)
        assert "line 1: 503" in result.out and "2 refused" in result.out, result
        assert len(service.requests) == 3, len(service.requests)
    with orderctl.Service(lambda request: (503, busy)) as service:
        result = orderctl.run(*arguments, server=service.url, stdin=lines(0, 1), status=1)
        assert "line 1: 503 Service Unavailable" in result.out, result


def test_a_batch_that_is_refused_whole_is_told_line_by_line():
    with orderctl.Service(lambda request: (415, {"title": "No", "status": 415})) as service:
        result = orderctl.run("import", "-", server=service.url, stdin=lines(0, 3), status=1)
        assert result.out.count(": 415 No") == 3, result


def test_an_answer_of_another_length_ends_the_import():
    with orderctl.Service(lambda request: (200, b'{"code":201}\n')) as service:
        result = orderctl.run("import", "-", server=service.url, stdin=lines(0, 3), status=1)
        assert "one line for each" in result.err, result


def test_a_service_that_goes_away_is_exit_status_3_and_says_how_far_it_was():
    calls = []

    def answer(request):
        calls.append(1)
        if len(calls) > 2:
            return 0, b""
        return 200, b'{"code":201}\n' * request[2].count(b"\n")

    with orderctl.Service(answer) as service:
        result = orderctl.run(
            "import", "-", "--parallel", 1, "--retries", 2, "--json", server=service.url, stdin=lines(0, 4000),
            status=3,
        )  # fmt: skip
        assert result.json["created"] == 2000 and not result.json["complete"], result
        assert "run it again" in result.err, result


if __name__ == "__main__":
    harness.run(globals())
