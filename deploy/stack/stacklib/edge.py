"""The service itself on the servers of the stack, with STACK=full: instances of orderd, HAProxy before
them, and nginx with the WAF before that. HAProxy and nginx run on what deploy/haproxy and deploy/nginx
have; only addresses and paths are the stack's."""

import functools
import getpass
import http.client
import os
import pathlib
import shutil
import signal

from stacklib import download, layout, process
from stacklib.server import Server

DEPLOY = layout.SOURCE.parent
ANSWERED_WITHIN_SECONDS = 5
BACKGROUND = "relay,cache,refresh,results,timeout,expiry,archive,audit"
NGINX_MODULE = pathlib.Path("/usr/lib/nginx/modules/ngx_http_modsecurity_module.so")
CORE_RULES = pathlib.Path("/usr/share/modsecurity-crs/rules")


def built(name):
    """A program of ours: as ORDERD_BUILD_DIR has it, or the directory build."""
    path = pathlib.Path(os.environ.get("ORDERD_BUILD_DIR") or layout.ROOT / "build") / name
    if not path.exists():
        raise download.NotToBeHad(f"{layout.shown(path)} is not built: make build")
    return path.resolve()


def check_ready(address):
    """Raises ConnectionError unless /readyz answers 200 there."""
    connection = http.client.HTTPConnection(address, timeout=ANSWERED_WITHIN_SECONDS)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        text = answer.read(300).decode(errors="replace")
    except http.client.HTTPException as error:
        raise ConnectionError(f"no HTTP: {error!r}") from None
    finally:
        connection.close()
    if answer.status != 200:
        raise ConnectionError(f"/readyz says {answer.status} {text}")


class Instance(Server):
    """orderd with some roles."""

    roles = None
    settings = ()  # (option, value)

    def fetch(self):
        built("orderd"), built("orderctl")

    def prepare(self):
        super().prepare()
        shutil.copyfile(layout.ORDERD_CONF, self.conf / "orderd.conf")
        (self.conf / "orderd.conf").chmod(0o600)

    def set_up(self):
        """The tables and topics, where they are not there yet."""
        apply_schema(self.name)

    def command(self):
        settings = {
            "server.listen": self.address,
            "server.data_dir": self.data,
            "server.threads": 1,
            # As in deploy/orderd.conf: HAProxy is to notice first.
            "server.drain_delay_ms": 2000,
            "resp.listen": "",
            **dict(self.settings),
        }
        words = [built("orderd"), "--config", self.conf / "orderd.conf", "--roles", self.roles]
        for option, value in settings.items():
            words += ["--set", f"{option}={value}"]
        return words

    def check(self):
        check_ready(self.address)


@functools.lru_cache
def apply_schema(name):
    """Once a run of the tool; what it prints goes to the log of the instance that is first."""
    process.run(name, [built("orderctl"), "schema", "apply", "--config", layout.ORDERD_CONF])


class Command(Instance):
    roles = "command"


class Query(Instance):
    roles = "query"

    @property
    def settings(self):
        memory = os.environ.get("STACK_ORDERD_MEMORY") or "256"
        resp = layout.address(f"{self.name} resp")
        return (("memory.budget_mb", memory), ("resp.listen", resp))


class Pipeline(Instance):
    roles = BACKGROUND

    @property
    def settings(self):
        """The checker looks at what the query instances answer, too."""
        return (("audit.query_instances", ",".join(one.address for one in QUERIES)),)


class HaProxy(Server):
    templates = (("haproxy.cfg.in", "haproxy.cfg"), ("haproxy-limits.map.in", "limits.map"))
    needs = ("haproxy",)
    stop_signal = signal.SIGUSR1  # ends with its last request

    def values(self):
        others = (*COMMANDS, *QUERIES)
        return {
            "LISTEN": self.address,
            "MONITOR": layout.address("haproxy monitor"),
            "LIMITS": self.conf / "limits.map",
            **{one.name.upper().replace("-", "_"): one.address for one in others},
        }

    def command(self):
        files = (self.conf / "haproxy.cfg", DEPLOY / "haproxy" / "orderd.cfg")
        return [download.program("haproxy"), "-db", "-f", files[0], "-f", files[1]]

    def check(self):
        check_ready(self.address)


class Nginx(Server):
    templates = (
        ("nginx.conf.in", "nginx.conf"),
        ("nginx-listen.conf.in", "orderd/listen.conf"),
        ("nginx-haproxy.conf.in", "orderd/haproxy.conf"),
        ("modsecurity-machine.conf.in", "modsecurity/machine.conf"),
    )
    needs = ("nginx",)
    stop_signal = signal.SIGQUIT  # ends with its last request

    def fetch(self):
        super().fetch()
        for path in (NGINX_MODULE, CORE_RULES):
            if not path.exists():
                raise download.NotToBeHad(f"no {path}: tools/install-dependencies stack")

    def values(self):
        return {
            **super().values(),
            "USER": getpass.getuser(),
            "MODULE": NGINX_MODULE,
            "SITE": DEPLOY / "nginx" / "orderd.conf",
            "LISTEN": self.address,
            "RULES": self.conf / "modsecurity" / "main.conf",
            "HAPROXY": layout.address("haproxy"),
            "AUDIT_LOG": layout.LOG / "nginx-audit.log",
        }

    def prepare(self):
        shutil.rmtree(self.conf, ignore_errors=True)
        shutil.copytree(DEPLOY / "nginx" / "modsecurity", self.conf / "modsecurity")
        (self.conf / "orderd").mkdir()
        super().prepare()

    def command(self):
        return [download.program("nginx"), "-p", self.data, "-c", self.conf / "nginx.conf"]

    def check(self):
        check_ready(self.address)


COMMANDS = [Command("command-1"), Command("command-2")]
QUERIES = [Query("query-1"), Query("query-2")]
INSTANCES = [*COMMANDS, *QUERIES, Pipeline("pipeline-1")]
FRONT = [HaProxy("haproxy"), Nginx("nginx")]
