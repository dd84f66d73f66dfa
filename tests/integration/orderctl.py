"""Running orderctl in tests: against an orderd, against a stand-in, or against nobody."""

import http.server
import json
import os
import subprocess
import threading

import harness

ENDED_WITHIN_SECONDS = 60


class Result:
    """What one run left: exit status, what it wrote, and that as JSON."""

    def __init__(self, process):
        self.status = process.returncode
        self.out = process.stdout
        self.err = process.stderr

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def json_lines(self):
        return [json.loads(line) for line in self.out.splitlines()]

    def __repr__(self):
        return f"status {self.status}\nout: {self.out}\nerr: {self.err}"


def run(*arguments, server=None, status=0, stdin="", environment=None):
    """Runs orderctl and expects its exit status. `server` is a URL or an Orderd."""
    command = [harness.program("orderctl"), *map(str, arguments)]
    if server is not None:
        command += ["--server", getattr(server, "url", server)]
    variables = {key: value for key, value in os.environ.items() if key != "ORDERD_SERVER"}
    variables.update(environment or {})
    process = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=ENDED_WITHIN_SECONDS,
        env=variables,
        check=False,
    )
    result = Result(process)
    report = harness.SANITIZER_REPORT.search(result.err)
    assert not report, result
    assert result.status == status, (command, result)
    return result


def create(server, number, *arguments, partner="tests"):
    """Creates one order through orderctl; returns its document."""
    return run(
        "create", "--partner-code", partner, "--partner-order-id", f"n-{number}",
        "--amount", 100 + number, "--json", *arguments, server=server,
    ).json  # fmt: skip


class Server(http.server.ThreadingHTTPServer):
    """A server whose clients may go away at any time."""

    daemon_threads = True

    def handle_error(self, *_):
        pass


class Service:
    """A service that answers what the test wants: `answer(request)` returns (status, body), with
    the status 0 to say nothing at all. A body that is no bytes goes as problem+json."""

    def __init__(self, answer):
        service = self
        self.requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                size = int(self.headers.get("Content-Length", 0))
                request = (self.command, self.path, self.rfile.read(size), self.headers)
                service.requests.append(request)
                status, body = answer(request)
                if status == 0:
                    self.close_connection = True
                    return
                kind = "application/octet-stream"
                if not isinstance(body, bytes):
                    body, kind = json.dumps(body).encode(), "application/problem+json"
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PATCH = handle_any

            def log_message(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class Responder:
    """The stand-in for orderd that the bench is tested with (responder.c)."""

    def __init__(self, *arguments):
        command = [str(harness.BUILD / "tests/integration/responder"), *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
