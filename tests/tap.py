"""Runs the functions of a module whose names begin with `test_` and speaks TAP on stdout.

    if __name__ == "__main__":
        tap.run(globals())

A test passes when it returns, is skipped when it calls tap.skip(reason), and fails on any other
exception. Names on the command line choose tests: `test_x.py test_one test_two`.
"""

import sys
import traceback


class Skipped(Exception):
    """Raised by skip."""


def skip(reason):
    raise Skipped(reason)


def run_one(number, name, function, cleanup):
    """Runs one test and prints its line; True where it did not fail."""
    title = name.removeprefix("test_")
    try:
        try:
            function()
        finally:
            if cleanup is not None:
                cleanup()
    except Skipped as reason:
        print(f"ok {number} - {title} # SKIP {reason}", flush=True)
        return True
    except Exception:  # whatever it is, it is this test's, and the next one runs
        for line in traceback.format_exc().splitlines():
            print(f"# {line}")
        print(f"not ok {number} - {title}", flush=True)
        return False
    print(f"ok {number} - {title}", flush=True)
    return True


def run(namespace, cleanup=None):
    """Runs the tests of `namespace` in the order of the file and exits. `cleanup` is called after
    each; what it raises fails that test."""
    tests = {
        name: value
        for name, value in namespace.items()
        if name.startswith("test_") and callable(value)
    }
    chosen = sys.argv[1:]
    unknown = [name for name in chosen if name not in tests]
    if unknown:
        sys.exit(f"no such test: {' '.join(unknown)}; there are: {' '.join(tests)}")
    if chosen:
        tests = {name: tests[name] for name in chosen}
    print(f"1..{len(tests)}", flush=True)
    results = [
        run_one(number, name, function, cleanup)
        for number, (name, function) in enumerate(tests.items(), 1)
    ]
    sys.exit(0 if all(results) else 1)
