"""Completion in bash: what is offered, and that it is what the program knows of itself."""
# run-tests: parallel

import re
import subprocess

import harness
import orderctl

SCRIPT = harness.ROOT / "deploy/completion/orderctl.bash"


def complete(*words, directory=None):
    """What bash offers for the last of the words behind `orderctl`."""
    program = """
        set -euo pipefail
        source "$1"
        shift
        COMP_WORDS=(orderctl "$@")
        COMP_CWORD=$#
        _orderctl
        printf '%s\\n' "${COMPREPLY[@]+"${COMPREPLY[@]}"}"
    """
    result = subprocess.run(
        ["bash", "-c", program, "bash", str(SCRIPT), *words],
        capture_output=True, text=True, check=False, cwd=directory,
    )  # fmt: skip
    assert result.returncode == 0 and not result.stderr, result
    return set(result.stdout.split())


def commands():
    lines = orderctl.run("help").out.splitlines()
    return {line.split()[0] for line in lines if line.startswith("  ")}


def test_commands_are_offered_and_they_are_all():
    assert complete("") == commands()
    assert complete("s") == {"schema", "set", "stats"}
    assert complete("help", "") == commands()
    assert complete("nothing", "x") == set()


def test_every_option_of_every_command_is_offered():
    for command in commands():
        out = orderctl.run(command, "--help").out
        known = set(re.findall(r"^  (--[a-z-]+)", out, re.M))
        assert complete(command, "--") == known, (command, complete(command, "--") ^ known)
    assert complete("create", "--p") == {
        "--partner-code", "--partner-order-id", "--payment-type"
    }  # fmt: skip


def test_a_value_is_expected_behind_an_option_that_has_one_and_behind_no_other():
    for command in commands():
        out = orderctl.run(command, "--help").out
        for option, value in re.findall(r"^  (--[a-z-]+)( \S+)?", out, re.M):
            offered = complete(command, option, "--") != set()
            assert offered == (value == ""), (command, option)


def test_statuses_are_offered_where_they_stand():
    statuses = {"pending", "processing", "success", "cancel", "timeout", "error"}
    assert complete("set", "12", "") == statuses
    assert complete("set", "12", "p") == {"pending", "processing"}
    assert complete("set", "--if-match", "3", "12", "") == statuses
    assert complete("--json", "--server", "h", "set", "12", "su") == {"success"}
    assert complete("set", "") == set()
    assert complete("set", "12", "success", "") == set()


def test_values_of_options_are_offered():
    methods = {"pay_with_bank", "pay_with_card", "pay_with_wallet"}
    assert complete("create", "--payment-type", "") == methods
    # Bash hands an equals sign over as a word of its own.
    assert complete("create", "--payment-type", "=", "pay_with_c") == {"pay_with_card"}
    assert complete("create", "--payment-type", "=") == methods
    assert complete("bench", "resp", "--command", "m") == {"mget"}
    assert complete("create", "--amount", "") == set()
    kinds = {"statuses", "get", "create", "http-get", "http-create", "resp", "load"}
    assert complete("bench", "") == kinds
    assert complete("bench", "--json", "http-") == {"http-get", "http-create"}


def test_files_and_directories_are_offered():
    orderd_home = harness.pathlib.Path(harness.tempfile.mkdtemp(prefix="completion-"))
    (orderd_home / "data").mkdir()
    (orderd_home / "orders.ndjson").touch()
    assert complete("verify", "", directory=orderd_home) == {"data"}
    assert complete("import", "o", directory=orderd_home) == {"orders.ndjson"}
    assert complete("bench", "get", "--ids", "", directory=orderd_home) == {
        "data", "orders.ndjson"
    }  # fmt: skip
    harness.shutil.rmtree(orderd_home)


if __name__ == "__main__":
    harness.run(globals())
