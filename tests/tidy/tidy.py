"""The house rules that a machine can check. Each rule is one test; `tidy.py` runs them all over the tree.

  tidy.py [--junit FILE]     exit status 1 when a rule is broken

Long files and functions are printed and fail nothing: a long one needs a reason, not a split in two.
"""

import argparse
import ast
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# The rooms and what each may include, as DESIGN draws them: downward only. What a room's room may include, it may too.
ROOMS = {
    "base": (),
    "engine": ("base",),
    "probe": ("base",),
    "wire": ("engine", "base"),
    "record": ("wire", "engine", "base"),
    "store": ("base",),
    "runs": ("store", "record", "wire", "engine", "base"),
    "server": ("runs",),
    "client": ("wire", "runs"),
    "cli": ("server", "client"),
    "python": ("client", "probe", "engine"),
}
MADE_HEADERS = {"engine/tuned.h"}  # bench/ablation.py writes it into the copy of the engine that it tunes
TESTS_ALSO_SEE = {"client": {"server"}}  # its tests talk to the real one
OUTSIDE_ROOMS = ("bench", "fuzz", "tests", "include", "examples")  # may include any room

# Who may see a third-party header. A header that is neither here nor of the standard library is refused.
THIRD_PARTY = [
    ("rapidjson/", r"wire/json_reader\.cpp"),
    ("CLI/", r"cli/(main|[a-z_]+_flags)\.cpp"),
    ("spdlog/", r"base/log\.cpp"),
    ("toml++/", r"server/config_file\.cpp"),
    (
        "sodium.h",
        r"(cli/checkpoint_manifest|record/chain|runs/(export|run_service|signature)|server/auth/tokens|server/webhook|store/run_key)\.cpp",
    ),
    ("sqlite3.h", r"(store/sqlite|tests/sim)/.*\.cpp"),
    ("libpq-fe.h", r"store/(postgres/connection|testing/temporary_postgres)\.cpp"),
    ("poll.h", r"store/postgres/connection\.cpp"),
    ("pwd.h", r"store/testing/temporary_postgres\.cpp"),
    ("fmt/", r"(?!(engine|base|probe)/).*"),
    ("zlib.h", r"(wire|cli|bench)/.*\.cpp"),
    ("zstd.h", r"(wire|cli|bench)/.*\.cpp|record/frame\.cpp"),
    ("xxhash.h", r"record/frame\.cpp|client/spool_format\.cpp"),
    ("nanobind/", r"python/bindings/.*"),
    ("Python.h", r"python/bindings/.*"),
    ("argus/", r"client/installed_run\.cpp|(examples|tests/install)/.*"),
    ("torch/", r"examples/.*"),
    ("gtest/", r".*(_test\.cpp|_for_test\.(h|cpp)|test_[a-z_]+\.h|/testing/.*)"),
    ("gmock/", r".*_test\.cpp"),
    ("nlohmann/", r".*_test\.cpp"),
    ("benchmark/", r"bench/.*"),
    ("boost/", r"server/http_listener\.cpp"),
    ("curl/", r"server/webhook_post\.cpp|client/http_(transport|url)\.cpp"),
    ("prometheus/", r"server/metrics\.cpp"),
    ("openssl/", r".*_test\.cpp"),
    ("arpa/inet.h", r"bench/.*\.cpp|.*_test\.cpp|client/testing/scripted_server\.h"),
    ("netinet/", r"bench/.*\.cpp|server/webhook_post\.cpp|.*_test\.cpp|client/testing/scripted_server\.h"),
    (
        "unistd.h",
        r"(cli|bench)/.*\.cpp|client/(http_transport|spool[a-z_]*)\.cpp|store/sqlite/home\.cpp|store/testing/temporary_postgres\.cpp|.*_test\.cpp|client/testing/scripted_server\.h",
    ),
    (
        "sys/",
        r"(cli|bench)/.*\.cpp|client/spool[a-z_]*\.cpp|store/sqlite/home\.cpp|store/testing/temporary_postgres\.cpp|server/webhook_post\.cpp|.*_test\.cpp|client/testing/scripted_server\.h",
    ),
    ("spawn.h", r".*_test\.cpp"),
    ("fcntl.h", r"(cli|bench)/.*\.cpp|client/spool[a-z_]*\.cpp|store/sqlite/home\.cpp|.*_test\.cpp"),
    ("pthread.h", r"client/fork_guard\.cpp"),
    ("malloc.h", r"bench/.*|.*_test\.cpp"),
]
STANDARD = set(
    """algorithm any array atomic barrier bit bitset cassert cctype cerrno cfenv cfloat charconv chrono cinttypes climits
    clocale cmath compare complex concepts condition_variable csetjmp csignal cstdarg cstddef cstdint cstdio cstdlib cstring
    ctime cwchar deque exception filesystem forward_list fstream functional future initializer_list iomanip ios iosfwd
    iostream istream iterator latch limits list locale map memory memory_resource mutex new numbers numeric optional ostream
    queue random ratio regex scoped_allocator semaphore set shared_mutex span sstream stack stdexcept stop_token streambuf
    string string_view system_error thread tuple type_traits typeindex typeinfo unordered_map unordered_set utility valarray
    variant vector version ranges format source_location expected""".split()
)

TESTS = r".*_test\.cpp|.*_for_test\..*|[a-z]+/testing/.*|tests/.*|python/tests/.*"
LIBRARIES = r"(base|engine|wire|store|runs|server|client|probe)/(?!.*_test\.cpp|testing/)"
# (where, pattern, what to do instead)
BANNED = [
    (r".*", r"std::(ranges::)?views\b|#include <ranges>", "write the loop: Clang 14 cannot compile range adaptors"),
    (r".*", r"std::(expected|format|move_only_function|source_location)\b", "not to be had on Clang 14: Result, fmt"),
    (
        LIBRARIES,
        r"#include <(iostream|fstream)>|std::(cout|cerr|clog|cin)\b|\b(f|v|vf)?printf\(",
        "return it: only cli/ talks",
    ),
    (
        r"(?!base/clock)",
        r"\bsystem_clock\b|\bgettimeofday\b|\bclock_gettime\b|std::time\(|[^\w:.>]time\((NULL|nullptr|0)\)",
        "base/clock.h, or take the time as a parameter",
    ),
    (r".*", r"\bs?rand\(|\brandom_device\b", "a generator seeded by the caller, its seed in the failure message"),
    (
        TESTS,
        r"\bsleep_(for|until)\b|\bu?sleep\(",
        "wait on a condition: a sleep is slow when it works and wrong when it does not",
    ),
    (
        r"engine/(?!.*_test\.cpp|testing/)",
        r"#include <(thread|mutex|atomic|chrono|cstdio|cstdlib|filesystem|random|future)>",
        "nothing: the engine is pure",
    ),
    (
        r"engine/(?!.*_test\.cpp|testdata/|testing/)",
        r"std::(exp2?|expm1|log|log2|log10|log1p|pow|cbrt|hypot|sin|cos|tan|a?tanh?|sinh|cosh|erfc?|[tl]gamma)\(|\bfma\(",
        "engine/math.h: the C library's last bit differs between machines",
    ),
    (
        r"(base|engine|wire|store|runs|server|client|probe|cli)/(?!.*_test\.cpp|testing/)",
        r"\bthrow\b",
        "return Status or Result: our C++ does not throw",
    ),
]
BANNED_PYTHON = [
    (r"(python/tests|tests)/.*", r"\btime\.sleep\(", "wait on a condition, or pass a clock in"),
    (
        r"python/src/(?!argus/demo/)",
        r"^\s*print\((?!.*file=)",
        "write to the stream the caller gave (default: sys.stderr)",
    ),
]
BANNED_EVERYWHERE = [
    (
        r"(?!tests/tidy/)",
        r"(?<![\w.])/(work|root|home/\w+|opt)/\w",
        "a path of one machine: name it relative to the repository",
    ),
    (
        r"(?!tests/tidy/).*\.(cpp|h|py|cmake|txt|sh)$",
        r"\bTODO\b(?!\(#\d+\))|\bFIXME\b|\bXXX\b",
        "TODO(#issue), or do it now",
    ),
]
LONG_FILE_LINES = 400
LONG_FUNCTION_LINES = 70


class Tree:
    """The files under version control, and those that would be: what ./dev format and a commit see."""

    def __init__(self) -> None:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=False
        )
        if listed.returncode == 0:
            names = [name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
        else:  # an unpacked archive
            skipped = re.compile(r"(build[^/]*|\.venv|\.git|demo-out)/|.*__pycache__/")
            found = (path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if path.is_file())
            names = [name for name in found if not skipped.match(name)]
        self.names = sorted(set(names))
        self.cpp = [name for name in self.names if name.endswith((".cpp", ".h"))]
        self.headers = [name for name in self.cpp if name.endswith(".h")]
        self.python = [name for name in self.names if name.endswith(".py")]

    @cache  # noqa: B019 (one tree a process)
    def text(self, name: str) -> str:
        return (ROOT / name).read_text(encoding="utf-8", errors="replace")

    @cache  # noqa: B019
    def code(self, name: str) -> str:
        """C++ without comments and string contents, line for line."""
        return re.sub(r'//[^\n]*|/\*.*?\*/|(?<!#include )"(?:\\.|[^"\\\n])*"', _blank, self.text(name), flags=re.DOTALL)

    @cache  # noqa: B019
    def includes(self, name: str) -> tuple[tuple[int, str, str], ...]:
        """(line, '"' or '<', path)"""
        found = re.finditer(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">\n]+)[">]', self.text(name), flags=re.MULTILINE)
        return tuple((self.text(name).count("\n", 0, m.start()) + 1, m[1], m[2]) for m in found)


def _blank(match: re.Match[str]) -> str:
    text = match[0]
    if text.startswith('"'):
        return '""'
    return "\n" * text.count("\n")


def room_of(name: str) -> str:
    return name.split("/", 1)[0]


def allowed_rooms(room: str) -> set[str]:
    allowed = {room}
    for below in ROOMS[room]:
        allowed |= allowed_rooms(below)
    return allowed if room == "base" else allowed | {"base"}


# ---- rules: each yields one line for every break ---------------------------------------------------------------------


def includes_run_downward(tree: Tree) -> Iterator[str]:
    for name in tree.cpp:
        room = room_of(name)
        if room not in ROOMS and room not in OUTSIDE_ROOMS:
            yield f"{name}: '{room}' is not a room; the rooms are listed in ARCHITECTURE.md"
            continue
        allowed = allowed_rooms(room) if room in ROOMS else set(ROOMS) | set(OUTSIDE_ROOMS)
        if name.endswith("_test.cpp"):
            allowed |= TESTS_ALSO_SEE.get(room, set())
        for line, quote, path in tree.includes(name):
            if quote != '"':
                continue
            if not ((ROOT / path).is_file() or (ROOT / f"{path}.in").is_file() or path in MADE_HEADERS):
                yield f'{name}:{line}: "{path}" is no file; includes are written from the repository root'
            elif room_of(path) not in allowed:
                yield f"{name}:{line}: {room}/ may not include {room_of(path)}/ (it may see: {', '.join(sorted(allowed))})"


def own_header_comes_first(tree: Tree) -> Iterator[str]:
    for name in tree.cpp:
        header = re.sub(r"(_test)?\.cpp$", ".h", name)
        if name.endswith(".cpp") and header in tree.headers:
            first = next((path for _, _, path in tree.includes(name)), None)
            if first != header:
                yield f'{name}: the first include must be "{header}"'


def third_party_headers_stay_in_their_place(tree: Tree) -> Iterator[str]:
    for name in tree.cpp:
        for line, quote, path in tree.includes(name):
            if quote == '"' or path in STANDARD:
                continue
            place = next((where for prefix, where in THIRD_PARTY if path.startswith(prefix)), None)
            if place is None:
                yield f"{name}:{line}: <{path}> is neither standard nor in the table of tests/tidy"
            elif not re.fullmatch(place, name):
                yield f"{name}:{line}: <{path}> belongs in {place}"


def links_follow_includes(tree: Tree) -> Iterator[str]:
    """A room's CMake target names the rooms that its sources include."""
    for room in ROOMS:
        cmake = ROOT / room / "CMakeLists.txt"
        declared = (
            re.search(r"argus_room\(.*?DEPENDS([^)]*?)(LIBRARIES|\))", cmake.read_text(), re.DOTALL)
            if cmake.exists()
            else None
        )
        if declared is None:
            continue
        linked: set[str] = set()
        for direct in re.findall(r"argus::(\w+)", declared[1]):
            linked |= allowed_rooms(direct) if direct in ROOMS else set()
        for name in tree.cpp:
            if room_of(name) == room and not name.endswith("_test.cpp"):
                for line, quote, path in tree.includes(name):
                    if quote == '"' and room_of(path) not in linked | {room}:
                        yield f"{name}:{line}: includes {room_of(path)}/, which {room}/CMakeLists.txt does not link"


def banned_words(tree: Tree) -> Iterator[str]:
    tables = [
        (BANNED, tree.cpp, tree.code),
        (BANNED_PYTHON, tree.python, tree.text),
        (BANNED_EVERYWHERE, [n for n in tree.names if is_text(n)], tree.text),
    ]
    for table, names, read in tables:
        for where, pattern, instead in table:
            for name in names:
                if not re.match(where, name):
                    continue
                for number, line in enumerate(read(name).splitlines(), 1):
                    found = re.search(pattern, line)
                    if found:
                        yield f"{name}:{number}: '{found[0].strip()}': {instead}"


def is_text(name: str) -> bool:
    return (
        name.endswith((".cpp", ".h", ".py", ".md", ".txt", ".cmake", ".toml", ".json", ".yml"))
        or "." not in name.rsplit("/", 1)[-1]
    )


def headers_begin_with_pragma_once(tree: Tree) -> Iterator[str]:
    for name in tree.headers:
        first = next((line for line in tree.code(name).splitlines() if line.strip()), "")
        if first.strip() != "#pragma once":
            yield f"{name}: the first line of code must be #pragma once"


def every_header_compiles_alone(tree: Tree) -> Iterator[str]:
    headers = [name for name in tree.headers if room_of(name) != "python"]  # those need nanobind's own flags

    def compile_alone(name: str) -> str | None:
        command = ["g++", "-std=c++20", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-I", str(ROOT)]
        with tempfile.NamedTemporaryFile("w", suffix=".cpp") as source:
            source.write(f'#include "{name}"\n#include "{name}"\n')
            source.flush()
            done = subprocess.run([*command, source.name], capture_output=True, text=True, check=False)
        return None if done.returncode == 0 else f"{name}: does not compile alone\n{done.stderr[:1500]}"

    with ThreadPoolExecutor() as pool:
        yield from (problem for problem in pool.map(compile_alone, headers) if problem)


def nothing_lies_unused(tree: Tree) -> Iterator[str]:
    """Each source is built, each header included, each document linked, each picture shown."""
    cmake = {name: tree.text(name) for name in tree.names if name.endswith(("CMakeLists.txt", ".cmake"))}
    included = {path for name in tree.cpp for _, _, path in tree.includes(name)}
    documents = "\n".join(tree.text(name) for name in tree.names if name.endswith((".md", ".py")) or name == "dev")
    for name in tree.names:
        if name.endswith(".cpp"):
            built = any(_mentions(text, name, made) for made, text in cmake.items())
            if not built:
                yield f"{name}: no CMakeLists.txt builds it"
        elif name.endswith(".h") and name not in included and room_of(name) != "include":
            yield f"{name}: nothing includes it"
        elif name.startswith("docs/") and Path(name).name not in documents:
            yield f"{name}: no document links to it"


def _mentions(text: str, name: str, cmake_file: str) -> bool:
    folder = Path(cmake_file).parent
    if folder not in Path(name).parents:
        return False
    relative = Path(name).relative_to(folder).as_posix()
    return re.search(rf"(?<![\w/]){re.escape(relative)}(?!\w)", text) is not None or "GLOB" in text


RULES: list[Callable[[Tree], Iterable[str]]] = [
    includes_run_downward,
    own_header_comes_first,
    third_party_headers_stay_in_their_place,
    links_follow_includes,
    banned_words,
    headers_begin_with_pragma_once,
    every_header_compiles_alone,
    nothing_lies_unused,
]


# ---- sizes: printed only ---------------------------------------------------------------------------------------------


def long_files(tree: Tree) -> Iterator[tuple[int, str]]:
    for name in tree.cpp + tree.python:
        lines = tree.text(name).count("\n")
        if lines > LONG_FILE_LINES:
            yield lines, name


def long_functions(tree: Tree) -> Iterator[tuple[int, str]]:
    for name in tree.python:
        try:
            parsed = ast.parse(tree.text(name))
        except SyntaxError:
            continue
        for node in ast.walk(parsed):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno is not None:
                yield node.end_lineno - node.lineno + 1, f"{name}:{node.lineno} {node.name}"
    for name in tree.cpp:
        yield from cpp_functions(name, tree.code(name).splitlines())


def cpp_functions(name: str, lines: list[str]) -> Iterator[tuple[int, str]]:
    """By layout, which clang-format guarantees: a line ending in `) ... {` opens what a `}` at its own indent closes."""
    opening = re.compile(r"^( {0,2})(?![ }]|if|for|while|switch|else|do\b|catch|namespace|struct|class|enum).*\).*\{$")
    for start, line in enumerate(lines):
        opened = opening.match(line)
        if opened:
            closing = opened[1] + "}"
            end = next((i for i in range(start, len(lines)) if lines[i].startswith(closing)), start)
            yield end - start + 1, f"{name}:{start + 1}"


def print_sizes(tree: Tree) -> None:
    for lines, name in sorted(long_files(tree), reverse=True):
        print(f"long     {lines:5} lines  {name}")
    for lines, where in sorted(long_functions(tree), reverse=True):
        if lines > LONG_FUNCTION_LINES:
            print(f"long     {lines:5} lines  {where}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--junit", type=Path, help="also write the results as JUnit XML")
    options = parser.parse_args()
    tree = Tree()
    suite = ElementTree.Element("testsuite", name="tidy")
    broken = 0
    for rule in RULES:
        title = rule.__name__.replace("_", " ")
        problems = list(rule(tree))
        case = ElementTree.SubElement(suite, "testcase", classname="tidy", name=title)
        print(f"{'broken' if problems else 'ok    '}  {title}")
        for problem in problems:
            print(f"    {problem}")
        if problems:
            broken += 1
            ElementTree.SubElement(case, "failure", message=f"{len(problems)} places").text = "\n".join(problems)
    print_sizes(tree)
    if options.junit:
        ElementTree.ElementTree(suite).write(options.junit)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
