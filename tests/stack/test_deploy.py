# run-tests: parallel
"""The files of deploy/ for the machines before orderd, and for its own: each judged by the program that
reads it, and the network's rules also by connections that are made. Needs no servers."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import stack_harness  # finds the other modules
import harness
import tap
from stacklib import download

DEPLOY = stack_harness.ROOT / "deploy"
ENDS_BY_FORCE_SECONDS = 60  # of src/orderd/main.c: after the drain's own time
ENVIRONMENTS = ("command", "query", "pipeline")


def run(*command, status=0, **others):
    """Runs a program; returns all that it said."""
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
        **others,
    )
    assert status is None or done.returncode == status, (command, done.returncode, done.stdout)
    return done.stdout


def scratch(function):
    """Calls `function` with a directory of its own."""

    def test():
        with tempfile.TemporaryDirectory() as directory:
            function(pathlib.Path(directory))

    return test


# --- HAProxy ---


def haproxy(*changes, **environment):
    """Whether HAProxy takes its configuration, with some texts of orderd.cfg replaced; and what it
    says."""
    with tempfile.TemporaryDirectory() as directory:
        text = (DEPLOY / "haproxy" / "orderd.cfg").read_text()
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        changed = pathlib.Path(directory) / "orderd.cfg"
        changed.write_text(text)
        done = subprocess.run(
            [download.program("haproxy"), "-c", "-f", DEPLOY / "haproxy/haproxy.cfg", "-f", changed],
            env={
                **os.environ,
                "ORDERD_EDGE_LIMITS": DEPLOY / "haproxy" / "orderd-limits.map",
                **environment,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode == 0, done.stdout + done.stderr


def test_haproxy_takes_its_configuration_without_a_warning():
    is_taken, said = haproxy()
    assert is_taken and "WARNING" not in said and "ALERT" not in said, said
    is_taken, said = haproxy(ORDERD_EDGE_PEERS="10.0.0.41 10.0.0.42", ORDERD_EDGE_LISTEN="10.0.0.31:8081")
    assert is_taken, said
    is_taken, said = haproxy(ORDERD_EDGE_PEERS="10.0.0.41 nonsense")
    assert not is_taken and "nonsense" in said, said
    is_taken, said = haproxy(("timeout connect 1s", "timeout conect 1s"))
    assert not is_taken and "conect" in said, said


def test_haproxy_notices_an_instance_that_ends_before_it_stops_listening():
    text = (DEPLOY / "haproxy" / "orderd.cfg").read_text()
    check = re.search(r"inter (\d+)ms fastinter (\d+)ms downinter \d+ms fall 2 ", text)
    (delay,) = re.findall(r"^drain_delay_ms = (\d+)$", (DEPLOY / "orderd.conf").read_text(), re.M)
    assert int(delay) >= 2 * (int(check[1]) + int(check[2])), (delay, check[0])


# --- nginx with ModSecurity ---


def nginx(directory, listen="listen.conf", rules=""):
    """What `nginx -t` says of the configuration, moved to `directory` with all the paths in it; with
    more `rules` for the WAF."""
    shutil.copytree(DEPLOY / "nginx", directory, dirs_exist_ok=True)
    shutil.copyfile(DEPLOY / "nginx" / "orderd" / listen, directory / "orderd" / "listen.conf")
    with open(directory / "modsecurity" / "orderd-after.conf", "a") as file:
        file.write(rules)
    for path in directory.rglob("*.conf"):
        text = path.read_text()
        text = re.sub(r"/etc/nginx/(?!modules-enabled)|/var/log/nginx/|/var/lib/nginx/|/run/", f"{directory}/", text)
        text = re.sub(r"(listen (127\.0\.0\.1:)?)\d+", rf"\g<1>{harness.free_port()}", text)
        path.write_text(text)
    (directory / "body").mkdir(exist_ok=True)
    command = [download.program("nginx"), "-t", "-c", directory / "nginx.conf"]
    return run(*command, status=None)


@scratch
def test_nginx_takes_its_configuration_with_all_rules_of_the_waf(directory):
    said = nginx(directory)
    warnings = [line for line in said.splitlines() if "[warn]" in line]
    as_nobody = 'the "user" directive'  # means something to root only
    assert "test is successful" in said and all(as_nobody in line for line in warnings), said
    rules = re.search(r"rules loaded inline/local/remote: \d+/(\d+)/", said)
    assert rules and int(rules[1]) > 400, said


@scratch
def test_nginx_takes_the_configuration_for_partners_with_certificates(directory):
    key, certificate = directory / "orderd/server.key", directory / "orderd/server.pem"
    key.parent.mkdir()
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out",
        certificate, "-subj", "/CN=orders.example", "-days", "1")  # fmt: skip
    shutil.copy(certificate, directory / "orderd" / "partners-ca.pem")
    said = nginx(directory, listen="listen-tls.conf")
    assert "test is successful" in said, said


@scratch
def test_nginx_refuses_a_rule_that_is_none(directory):
    said = nginx(directory, rules='SecRule ARGS "@rx a" "id:1,phase:2,nonsense"\n')
    assert "test failed" in said and "orderd-after.conf" in said, said


# --- nftables ---

# Run in a network of its own: rules for its loopback, a server that takes every connection, and sources
# that open many at once.
INSIDE = r"""
import fcntl, select, socket, struct, subprocess, sys

with socket.socket() as any_socket:  # ip link set lo up
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 0x49))
subprocess.run([sys.argv[1], "-f", sys.argv[2]], check=True)
server = socket.create_server(("127.0.0.1", 80), backlog=4096)


def opened(source, count):
    '''How many of so many connections, begun at once, are there before any has tried twice.'''
    clients = []
    for _ in range(count):
        client = socket.socket()
        client.setblocking(False)
        client.bind((source, 0))
        client.connect_ex(("127.0.0.1", 80))
        clients.append(client)
    poll = select.poll()
    for client in clients:
        poll.register(client, select.POLLOUT)
    poll.poll(200)
    return sum(not (event & select.POLLERR) for _, event in poll.poll(0))


print(opened("127.0.0.5", 450), opened("127.0.0.6", 20), opened("127.0.0.5", 450))
"""


def in_own_network(*command):
    """Runs a program in a network namespace; skips where this system gives none."""
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    probe = ["unshare", *as_root, "--net", download.program("nft"), "list", "ruleset"]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        tap.skip(f"no network of its own can be made and filtered here: {done.stderr.strip()[:200]}")
    return run("unshare", *as_root, "--net", *command)


def test_nft_takes_the_rules_of_the_network():
    rules = DEPLOY / "nftables" / "orderd.nft"
    assert in_own_network(download.program("nft"), "-c", "-f", rules) == ""
    twice = f"nft -f {rules} && nft -f {rules} && nft list table inet orderd_edge"
    listed = in_own_network("sh", "-c", f"PATH=$PATH:/usr/sbin; {twice}")
    assert listed.count("chain input") == 1 and "limit rate over 50/second" in listed, listed


def test_a_source_that_opens_connections_too_fast_is_slowed_and_another_is_not():
    rules = DEPLOY / "nftables" / "orderd.nft"
    said = in_own_network(sys.executable, "-c", INSIDE, download.program("nft"), rules)
    many, few, again = map(int, said.split())
    # 200 at once, and 50 for each second that it took.
    assert 200 <= many < 450 and few == 20 and again < 450, said


# --- systemd ---


def units(directory):
    """The units with the built orderd in them, as {name: path}; the template as an instance too."""
    paths = {}
    for path in (DEPLOY / "systemd").glob("*.service"):
        text = path.read_text().replace("/usr/local/bin/orderd", harness.program("orderd"))
        for name in ENVIRONMENTS if "@" in path.name else ("",):
            named = directory / path.name.replace("@", f"@{name}")
            named.write_text(text)
            paths[named.name] = named
            if name:
                (directory / path.name).write_text(text)
    return paths


@scratch
def test_systemd_takes_the_units(directory):
    for path in units(directory).values():
        assert run("systemd-analyze", "verify", "--man=no", path) == ""
    broken = directory / "broken.service"
    broken.write_text((directory / "orderd.service").read_text().replace("LimitNOFILE=", "LimitNOFILES="))
    assert "LimitNOFILES" in run("systemd-analyze", "verify", "--man=no", broken, status=None)


@scratch
def test_the_units_leave_orderd_no_more_rights_than_it_needs(directory):
    for path in units(directory).values():
        # 0 would be a service that can do nothing, 10 one that may do everything; 20 is its scale of tenths.
        run("systemd-analyze", "security", "--offline=true", "--threshold=20", path)


@scratch
def test_the_units_start_orderd_with_options_that_it_has(directory):
    for path in (DEPLOY / "systemd").glob("*.service"):
        (line,) = re.findall(r"^ExecStart=(.*)$", path.read_text(), re.M)
        for name in ENVIRONMENTS if "@" in path.name else (None,):
            text = (DEPLOY / "systemd" / f"{name}.env").read_text() if name else ""
            variables = dict(re.findall(r"^(\w+)=(.*)$", text, re.M))
            command = re.sub(r"\$\{?(\w+)\}?", lambda match: variables[match[1]], line)
            cluster = directory / "cluster.conf"
            cluster.write_text((DEPLOY / "orderd.conf").read_text())
            command = command.replace("/etc/orderd/cluster.conf", str(cluster))
            command = command.replace("/etc/orderd/orderd.conf", "/dev/null")
            command = command.replace("/usr/local/bin/orderd", harness.program("orderd"))
            run(*command.split(), "--check-config")


@scratch
def test_a_stop_has_the_time_that_a_drain_may_take(directory):
    printed = run(harness.program("orderd"), "--print-config")
    (drain,) = re.findall(r"^drain_timeout_ms = (\d+)$", printed, re.M)
    (delay,) = re.findall(r"^drain_delay_ms = (\d+)$", (DEPLOY / "orderd.conf").read_text(), re.M)
    longest = (int(drain) + int(delay)) / 1000 + ENDS_BY_FORCE_SECONDS
    for path in units(directory).values():
        (stop,) = re.findall(r"^TimeoutStopSec=(\d+)s$", path.read_text(), re.M)
        assert int(stop) > longest, (path.name, stop, longest)


if __name__ == "__main__":
    tap.run(globals())
