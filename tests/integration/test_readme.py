# run-tests: timeout=120
"""What README.md tells a reader to type does what README.md says.

The service listens where the README says, in a network of this process's own where the system
gives one; elsewhere the port must be free.
"""

import ctypes
import fcntl
import json
import re
import shutil
import socket
import struct
import subprocess

import harness
import orders

README = (harness.ROOT / "README.md").read_text()
PORT = 8080
KILL = "kill -9 $(pidof orderd)"  # by name: the test itself kills the one that it started

CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914
IFF_UP = 1


def enter_own_network():
    """True where this process now has a network, with a loopback interface, to itself."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("16sH14x", b"lo", 0)
        name, flags = struct.unpack("16sH14x", fcntl.ioctl(probe, SIOCGIFFLAGS, request))
        fcntl.ioctl(probe, SIOCSIFFLAGS, struct.pack("16sH14x", name, flags | IFF_UP))
    return True


def start_as_the_readme_does():
    """orderd where it is by default, its ./data in a directory of the test's own."""
    if not enter_own_network():
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", PORT)) == 0:
                harness.skip(f"port {PORT} is taken, and the system gives no network of our own")
    printed = subprocess.run(
        [harness.program("orderd"), "--print-config"], capture_output=True, text=True, check=True
    ).stdout
    for line in (f"\nlisten = 127.0.0.1:{PORT}\n", "\ndata_dir = ./data\n"):
        assert line in printed, f"no longer the default: {line}"
    orderd = orders.start(f"server.listen=127.0.0.1:{PORT}", "server.data_dir=./data", wait=False)
    orderd.port, orderd.data_dir = PORT, orderd.home / "data"
    orderd.wait_until_ready()
    return orderd


class Shell:
    """A shell that a reader types into; tells what each command printed."""

    def __init__(self, directory):
        self.process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=directory,
        )
        self.send("""trap 'printf "\\n@@ %s\\n" "$BASH_COMMAND"' DEBUG\n""")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.kill()
        self.process.wait()

    def send(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def run(self, text):
        """Returns [(the command's first line, its output)]."""
        self.send(f"{text}\n: done\n")
        commands = []
        for line in self.process.stdout:
            if line.strip() == b"@@ : done":
                return [(name, output.strip(b"\n")) for name, output in commands]
            if line.startswith(b"@@ "):
                commands.append((line[3:].decode().strip(), b""))
            elif commands:
                name, output = commands.pop()
                commands.append((name, output + line))
        raise AssertionError(f"the shell has ended: {commands}")


def answer_of(output):
    """(status, headers, JSON) of what curl -i printed."""
    text, _, body = output.replace(b"\r\n", b"\n").partition(b"\n\n")
    first, *lines = text.decode().split("\n")
    match = re.fullmatch(r"HTTP/1\.1 (\d{3}) .*", first)
    assert match, output
    headers = harness.joined(tuple(line.split(": ", 1)) for line in lines)
    return int(match[1]), headers, json.loads(body)


def test_the_curl_lines_do_what_is_said_of_them():
    for name in ("curl", "bash", "sed", "timeout"):
        if shutil.which(name) is None:
            harness.skip(f"there is no {name}")
    [block] = re.findall(r"^```sh\n(.*?)^```$", README, re.M | re.S)
    before, kill, after = block.partition(KILL)
    assert kill, f"it no longer has the line {KILL!r}; this test needs it to know where to kill"
    orderd = start_as_the_readme_does()
    with Shell(orderd.home) as shell:
        ran = shell.run(before)
        curls = [answer_of(output) for name, output in ran if name.startswith("curl ")]
        assert len(curls) == 4, ran
        (status, headers, order) = curls[0]
        here = f"/v1/orders/{order['order_id']}"
        assert (status, headers["location"], headers["etag"]) == (201, here, '"1"'), curls[0]
        assert order["partner_order_id"] == "invoice-1" and order["status"] == "pending", order
        assert curls[1][0] == 200 and curls[1][1]["idempotent-replay"] == "true", curls[1]
        assert curls[1][2] == order == curls[2][2] and curls[2][0] == 200, curls[2]
        assert curls[3][0] == 200 and curls[3][2]["status"] == "processing", curls[3]
        assert any(name.startswith("ID=") for name, _ in ran), ran
        orderd.kill()
        orderd.start()
        [(_, output)] = shell.run(after)
        assert answer_of(output)[::2] == (200, curls[3][2]), output
        check_streams(shell, curls[3][2])


def check_streams(shell, order):
    """The curl lines within the text follow changes until one ends them."""
    lines = re.findall(r"`(curl [^`]*)`", README)
    assert len(lines) == 2, lines
    for line in lines:
        [(_, output)] = shell.run(f"timeout 2 {line}")
        data = [json.loads(text[6:]) for text in output.split(b"\n") if text.startswith(b"data: ")]
        assert data and data[-1] == order, (line, output)


def test_every_command_that_it_names_exists():
    help_text = subprocess.run(
        ["make", "help"], cwd=harness.ROOT, capture_output=True, text=True, check=True
    ).stdout
    targets = set(re.findall(r"^  make (\S+)", help_text, re.M))
    named = set(re.findall(r"make ([a-z][a-z-]*)", " ".join(re.findall(r"`([^`\n]+)`", README))))
    assert named and named <= targets, named - targets
    for name, arguments in re.findall(r"`build/(orderd|orderctl) ([^`]*)`", README):
        command = [harness.program(name), *arguments.split()]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert result.returncode == 0 and result.stdout, (command, result)
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (harness.ROOT / path).exists(), f"there is no {path}"


if __name__ == "__main__":
    harness.run(globals())
