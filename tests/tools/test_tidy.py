# run-tests: parallel
"""tools/tidy finds what it is there to find, and only that."""

import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
import tap

HEADER = "/** What it is. */\n#ifndef {guard}\n#define {guard}\n\n{body}\n#endif\n"
GOOD_SOURCE = """#include "base/sample.h"

#include <string.h>

static const char *const names[] = {"one", "two"};
static const struct point origin = {0, 0};

int sample_count(const char *text) {
    static const int limits[] = {1, 2};
    /* strcpy(a, b) in a comment is no call. */
    return (int)strlen(text) + limits[0] + (names[0] == text) + origin.x;
}
"""
GOOD_HEADER = HEADER.format(
    guard="ORDERD_BASE_SAMPLE_H",
    body="struct point {\n    int x;\n    int y;\n};\n\nint sample_count(const char *text);\n",
)


def findings(files):
    """What tidy says of a tree with these files, as lines; the good ones are always there too."""
    tree = {
        ".clang-format": "DisableFormat: true\n",
        "src/base/sample.h": GOOD_HEADER,
        "src/base/sample.c": GOOD_SOURCE,
        **files,
    }
    with tempfile.TemporaryDirectory() as directory:
        for name, text in tree.items():
            path = pathlib.Path(directory) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        command = [sys.executable, ROOT / "tools" / "tidy", directory]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lines = result.stdout.splitlines()
    lines = [line for line in lines if not line.startswith("skipped:")]
    assert result.returncode == (1 if lines else 0), (result.returncode, result.stderr)
    return lines


def expect(files, *wanted):
    """Exactly one finding for each of `wanted`, which begins it."""
    found = findings(files)
    assert len(found) == len(wanted), found
    for line, text in zip(found, wanted):
        assert line.startswith(text), f"{line!r} does not begin with {text!r}"


def source(body):
    return {"src/base/sample.c": body}


def test_good_files_have_no_findings():
    expect({})


def test_an_include_against_the_layers_is_found():
    header = HEADER.format(guard="ORDERD_MEMORY_A_H", body="")
    cases = {
        "src/base/a.c": "memory/a.h",
        "src/order/a.c": "memory/a.h",
        "src/port/a.c": "memory/a.h",
        "src/net/a.c": "order/a.h",
        "src/memory/a.c": "net/a.h",
        "src/service/a.c": "adapter/redis/a.h",
        "src/service/b.c": "net/a.h",
        "src/pipeline/a.c": "api/a.h",
        "src/api/a.c": "adapter/embedded/a.h",
        "src/adapter/redis/a.c": "adapter/kafka/a.h",
        "src/adapter/redis/b.c": "service/a.h",
    }
    files = {path: f'#include "{target}"\n' for path, target in cases.items()}
    wanted = [f"{path}:1: expected" for path in sorted(cases)]
    expect({"src/memory/a.h": header, **files}, *wanted)


def test_an_include_along_the_layers_is_accepted():
    expect(
        {
            "src/orderd/main.c": '#include "adapter/redis/a.h"\n\n#include "net/loop.h"\n',
            "src/api/a.c": '#include "net/a.h"\n#include "service/a.h"\n',
            "src/adapter/redis/a.c": '#include "adapter/redis/b.h"\n#include "memory/a.h"\n',
            "src/service/a.c": '#include "memory/a.h"\n#include "port/a.h"\n',
        }
    )


def test_an_include_in_a_comment_does_not_count():
    expect({"src/base/a.c": '/* Like\n#include "net/a.h"\n */\n#include "base/a.h"\n'})


def test_an_unknown_layer_is_found():
    expect({"src/misc/a.c": "int a(void);\n"}, "src/misc/a.c:1: expected a layer")


def test_input_and_output_in_the_domain_are_found():
    impure = {"src/order/a.c": "#include <stdio.h>\n"}
    expect(impure, "src/order/a.c:1: expected order/ to stay pure")


def test_a_long_function_is_found_and_one_of_seventy_lines_is_not():
    def function(lines):
        return "int work(void) {\n" + "    (void)0;\n" * (lines - 3) + "    return 0;\n}\n"

    expect(source(function(70)))
    late = "struct point;\n\n" + function(71)
    expect(source(late), "src/base/sample.c:3: expected a function of at most 70")


def test_a_long_file_is_found():
    lines = "/* One. */\n" * 601
    expect(source(lines), "src/base/sample.c:601: expected a file of at most 600")
    expect(source("/* One. */\n" * 600))


def test_a_wrong_format_is_found():
    if not shutil.which("clang-format-14"):
        tap.skip("clang-format 14 is not installed")
    style = {".clang-format": (ROOT / ".clang-format").read_text()}
    expect({**style, **source("int  a(void);\n")}, "src/base/sample.c:1: expected the format")
    expect({**style, **source("int a(void);\n")})


def test_a_header_without_comment_or_with_another_guard_is_found():
    no_comment = GOOD_HEADER.partition("\n")[2]
    other_guard = GOOD_HEADER.replace("ORDERD_BASE_SAMPLE_H", "BASE_SAMPLE_H")
    late_guard = GOOD_HEADER.replace("#ifndef", "#include <stdio.h>\n#ifndef", 1)
    name = "src/base/sample.h"
    expect({name: no_comment}, f"{name}:1: expected a comment")
    expect({name: other_guard}, f"{name}:2: expected the include guard ORDERD_BASE_SAMPLE_H")
    expect({name: late_guard}, f"{name}:1: expected nothing but")


def test_every_form_of_a_variable_that_can_change_is_found():
    for declaration in (
        "int count;",
        "static int count = 3;",
        "static _Atomic int count;",
        "static _Thread_local int count;",
        "static const char *name;",
        'static const char *names[] = {"a", "b"};',
        "static struct point {\n    int x;\n} origin;",
        "static struct point points[4];",
        "static int (*callback)(int);",
        "static int (*callbacks[3])(int);",
    ):
        text = f"struct first;\n\n{declaration}\n"
        expect(source(text), "src/base/sample.c:3: expected state in a struct")


def test_a_variable_after_a_table_macro_is_found():
    body = "TABLE(one, struct two, THREE)\nstatic int four;\n"
    expect(source(body), "src/base/sample.c:1: expected state")


def test_a_static_variable_in_a_function_is_found():
    body = "int next(void) {\n    static int last;\n    return ++last;\n}\n"
    expect(source(body), "src/base/sample.c:2: expected no static variable in a function: last")
    body = "int next(void) {\n    static struct point last = {1, 2};\n    return last.x;\n}\n"
    expect(source(body), "src/base/sample.c:2: expected no static variable in a function: last")


def test_what_only_looks_like_a_variable_is_accepted():
    expect(
        source(
            "typedef int number;\n"
            "enum { ONE, TWO };\n"
            "extern const int elsewhere;\n"
            '_Static_assert(sizeof(int) == 4, "int x = 3;");\n'
            "TABLE(table, struct point, OPTIONS)\n"
            "MADE(one)\n\nstatic enum a_long_name another_one_that_goes_on(int at) { return at; }\n"
            "int walk(void (*visit)(void *context, int at), void *context);\n"
            "static int forward(int *const *rows, const char *text);\n"
            "static const int squares[] = {[0] = 0, [1] = 1};\n"
            "static int (*const callback)(int) = NULL;\n"
            "struct point {\n    int x;\n    int (*move)(struct point *point);\n};\n"
        )
    )


def test_unfinished_work_is_found_in_comments_only():
    word = "TO" + "DO"
    expect(source(f"/* {word}: later. */\n"), "src/base/sample.c:1: expected finished work")
    expect(source(f'const char *name(void) {{\n    return "{word}";\n}}\n'))
    expect({"tools/a.sh": f"#!/bin/bash\ntrue # {word}\n"}, "tools/a.sh:2: expected finished work")


def test_unclean_text_is_found():
    expect({"docs/a.md": "one \n"}, "docs/a.md:1: expected no space at the end")
    expect({"docs/a.md": "\tone\n"}, "docs/a.md:1: expected spaces, not tabs")
    expect({"docs/a.md": "one"}, "docs/a.md:1: expected a line feed at the end")
    expect({"docs/a.md": "one\n\n"}, "docs/a.md:2: expected no empty line at the end")
    expect({"Makefile": "all:\n\ttrue\n", "docs/picture.png": b"\0 \t"})


def test_scripts_that_do_not_parse_are_found():
    expect({"tools/a": "#!/usr/bin/env bash\nif true\n"}, "tools/a:")
    expect({"tools/a.py": "def a(:\n    pass\n"}, "tools/a.py:1: expected Python")
    expect({"tools/a": "#!/usr/bin/env python3\nx = = 1\n"}, "tools/a:2: expected Python")


def test_unsafe_functions_are_found_but_not_their_namesakes():
    for name in ("strcpy", "strcat", "sprintf", "atoi", "system", "gets", "strtok", "alloca"):
        body = f"void work(char *a, char *b) {{\n    {name}(a, b);\n}}\n"
        expect(source(body), "src/base/sample.c:2: expected")
    body = 'int work(void) {\n    return my_system("strcpy(a, b)") + table.system(1);\n}\n'
    expect(source(body))


def test_a_test_that_no_build_file_names_is_found():
    test = {"tests/unit/base/test_new.c": "/* A test. */\n"}
    expect(test, "tests/unit/base/test_new.c:1: expected the test in the meson.build")
    expect({**test, "tests/unit/meson.build": "names = ['new']\n"})


def test_tap_output_has_a_line_for_every_rule():
    command = [sys.executable, ROOT / "tools" / "tidy", "--tap"]
    with tempfile.TemporaryDirectory() as directory:
        result = subprocess.run([*command, directory], capture_output=True, text=True, check=False)
    lines = [line for line in result.stdout.splitlines() if not line.startswith("#")]
    assert lines[0] == f"1..{len(lines) - 1}" and len(lines) > 10, lines
    assert all(line.startswith("ok ") for line in lines[1:]), lines


if __name__ == "__main__":
    tap.run(globals())
