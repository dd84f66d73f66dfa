# run-tests: parallel
"""tools/install-dependencies installs what is missing, and nothing where nothing is."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
import tap

TOOL = ROOT / "tools" / "install-dependencies"
NOBODY = 65534
# Answers as dpkg-query does: what is not installed is missing from the answer, or not "installed".
DPKG_QUERY = """#!/bin/bash
shift 3
for name; do
    case " $MISSING " in *" $name "*) echo "no packages found matching $name" >&2 ;;
    *) echo "$name:amd64 installed" ;; esac
done
[[ -z $MISSING ]]
"""


class Machine:
    """A PATH with only what the tool may use, and an apt-get and a sudo that note their calls."""

    def __init__(self, directory, with_sudo=True, with_dpkg=True):
        self.directory = directory
        self.log = directory / "log"
        directory.chmod(0o755)
        for name in ("bash", "sed", "env", "install", "rm"):
            (directory / name).symlink_to(shutil.which(name))
        self.policy = directory / "policy-rc.d"
        self.program(
            "apt-get",
            f'#!/bin/bash\necho "apt-get $*" >> {self.log}\n'
            f"[[ -x {self.policy} ]] && echo services stay off >> {self.log}\nexit $APT_STATUS\n",
        )
        if with_sudo:
            self.program("sudo", f'#!/bin/bash\necho sudo >> {self.log}\nexec "$@"\n')
        if with_dpkg:
            self.program("dpkg-query", DPKG_QUERY)
        self.log.touch()
        self.log.chmod(0o666)

    def program(self, name, text):
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o755)

    def run(self, *groups, missing="", apt_status=0, root=True):
        """Returns (exit status, standard error, the lines of the log)."""
        if root and os.geteuid() != 0:
            tap.skip("needs root")
        other = {} if root or os.geteuid() != 0 else {"user": NOBODY, "extra_groups": []}
        result = subprocess.run(
            ["/bin/bash", TOOL, *groups],
            env={
                "PATH": str(self.directory),
                "MISSING": missing,
                "APT_STATUS": str(apt_status),
                "POLICY_RC_D": str(self.policy),
            },
            capture_output=True,
            text=True,
            check=False,
            **other,
        )
        return result.returncode, result.stderr, self.log.read_text().splitlines()


def machine(function):
    """Calls `function` with a new directory for its machine."""

    def test():
        with tempfile.TemporaryDirectory(dir="/tmp") as directory:
            function(pathlib.Path(directory))

    return test


@machine
def test_nothing_missing_is_quick_and_changes_nothing(directory):
    complete = Machine(directory)
    seconds = []
    for _ in range(3):  # other work on the machine may slow one of them
        begin = time.monotonic()
        status, _, log = complete.run("build", "test", "fuzz")
        seconds.append(time.monotonic() - begin)
        assert (status, log) == (0, [])
    assert min(seconds) < 0.3, seconds


@machine
def test_only_what_is_missing_is_installed(directory):
    status, _, log = Machine(directory).run("build", missing="meson libjansson-dev")
    assert status == 0 and len(log) == 1, log
    assert log[0].endswith("install -y --no-install-recommends meson libjansson-dev"), log


@machine
def test_a_group_brings_its_own_packages_and_those_of_the_build(directory):
    status, _, log = Machine(directory).run("fuzz", missing="clang-14 meson")
    assert status == 0 and log[0].endswith("meson clang-14"), log


@machine
def test_the_build_needs_no_clang(directory):
    assert Machine(directory).run("build", missing="clang-14 clang-format-14")[2] == []


@machine
def test_servers_are_installed_without_being_started(directory):
    plain = Machine(directory)
    plain.program("systemctl", f'#!/bin/bash\necho "systemctl $*" >> {plain.log}\n')
    status, _, log = plain.run("stack", missing="redis-server kcat")
    assert status == 0 and len(log) == 3, log
    assert log[0].endswith("redis-server kcat") and log[1] == "services stay off", log
    assert log[2] == "systemctl disable --quiet redis-server", log
    assert not plain.policy.exists()


@machine
def test_a_policy_of_the_machine_and_servers_that_were_there_are_left_alone(directory):
    plain = Machine(directory)
    assert plain.run("stack", missing="kcat")[2][1:] == []
    plain.program("policy-rc.d", "#!/bin/sh\nexit 0\n")
    assert plain.run("stack", missing="mariadb-server")[0] == 0
    assert plain.policy.read_text() == "#!/bin/sh\nexit 0\n"


@machine
def test_a_failed_installation_is_tried_again_with_new_lists(directory):
    status, _, log = Machine(directory).run("build", missing="meson", apt_status=100)
    assert status != 0
    assert [line.split()[-1] for line in log] == ["meson", "update"], log


@machine
def test_without_root_sudo_is_used(directory):
    status, _, log = Machine(directory).run("build", missing="meson", root=False)
    assert status == 0 and log[0] == "sudo" and log[1].endswith(" meson"), log


@machine
def test_without_root_and_sudo_it_says_what_is_missing(directory):
    plain = Machine(directory, with_sudo=False)
    status, errors, log = plain.run("build", missing="meson", root=False)
    assert status == 1 and log == [] and "missing: meson" in errors and "sudo" in errors, errors


@machine
def test_another_system_than_debian_is_told_what_is_needed(directory):
    status, errors, _ = Machine(directory, with_dpkg=False).run("build", root=False)
    assert status == 1 and "no Debian system" in errors and "libjansson-dev" in errors, errors


@machine
def test_an_unknown_group_is_a_usage_error(directory):
    status, errors, _ = Machine(directory).run("bulid", root=False)
    assert status == 2 and "no group \"bulid\"" in errors, errors


if __name__ == "__main__":
    tap.run(globals())
