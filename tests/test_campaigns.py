"""What campaigns read and count, so that one run by hand after months says what is so."""

import pytest
from each_extra_alone import CHECKS, libraries
from environment import PROJECT, ROOT, counted, named, report
from lowest_versions import declared, same
from mutants import SELECTIONS, Mutant, at, drawn, mutants, selection
from mutated_commands import judged

RECORD = """<testsuites><testsuite>
  <testcase classname="tests.test_a" name="test_right"/>
  <testcase classname="tests.test_a" name="test_wrong"><failure/></testcase>
  <testcase classname="tests.test_a" name="test_left_out"><skipped/></testcase>
  <testcase classname="" name="tests.test_b"><error/></testcase>
</testsuite></testsuites>"""

SOURCE = """@compiled
def kernel(a, b):
    \"\"\"Add 1 + 2.\"\"\"
    return min(a, b) + 3


def plain(a, *b):
    return f(*b) if a < 1 else a
"""


@pytest.mark.parametrize("extra", ["none", *PROJECT["optional-dependencies"]])
def test_every_extra_has_its_check(extra):
    assert CHECKS[extra].offers
    assert CHECKS[extra].tests


def test_no_check_is_of_an_extra_that_is_gone():
    assert CHECKS.keys() - {"none"} == PROJECT["optional-dependencies"].keys()


def test_an_extra_that_takes_in_another_brings_its_libraries(monkeypatch):
    extras = {"a": ["nmsim[b, c]"], "b": ["x>=1"], "c": ["nmsim[b]", "y"]}
    monkeypatch.setitem(PROJECT, "optional-dependencies", extras)
    assert {*map(named, libraries("a"))} == {"nmsim", "x", "y"}


def test_lower_bounds_are_those_of_the_project_and_of_the_extra_test(monkeypatch):
    monkeypatch.setitem(PROJECT, "dependencies", ["ruamel.yaml>=0.18", "b >=1.2,<3"])
    extras = {"test": ["nmsim[plots, b]", "pytest>=8"], "plots": ["p_q>=3.1"], "b": ["cmaes>=0.1"]}
    monkeypatch.setitem(PROJECT, "optional-dependencies", extras)
    wanted = {"ruamel-yaml": "0.18", "b": "1.2", "pytest": "8", "p-q": "3.1", "cmaes": "0.1"}
    assert declared() == wanted


@pytest.mark.parametrize(
    ("bound", "version", "is_same"),
    [("2.0", "2.0.0", True), ("2", "2.0.0", True), ("2.0.1", "2.1", False), ("1.1", "1.10", False)],
)
def test_a_bound_is_a_version_whatever_zeros_follow(bound, version, is_same):
    assert same(bound, version) == is_same


def test_tests_are_counted_by_how_they_ended(tmp_path):
    record = tmp_path / "record.xml"
    record.write_text(RECORD, "utf-8")
    counts = counted(record, 1)
    assert (counts.passed, counts.what) == (1, ("tests.test_a::test_wrong", "tests.test_b"))
    record.write_text("<testsuites/>", "utf-8")
    assert counted(record, 5).what == ("pytest ended with 5",)


@pytest.mark.parametrize("wrong", [(), ("tests.test_b",)])
def test_a_campaign_ends_with_one_line_and_fails_if_anything_did(capsys, wrong):
    with pytest.raises(SystemExit) as end:
        report("figures", wrong)
    assert end.value.code == bool(wrong)
    assert capsys.readouterr() == ("figures\n", "".join(f"{each}\n" for each in wrong))


def test_mutants_change_one_token_of_a_function_and_no_docstring():
    found = mutants("f.py", SOURCE)
    told = [(mutant.line, mutant.old, mutant.new, mutant.in_kernel) for mutant in found]
    in_kernel = [(4, "min", "max", True), (4, "+", "-", True), (4, "3", "4", True)]
    assert told == [*in_kernel, (8, "<", "<=", False), (8, "1", "2", False)]
    assert found[0].applied(SOURCE) == SOURCE.replace("min", "max")


def test_half_of_the_mutants_are_in_kernels_and_no_two_of_a_line():
    found = [Mutant("f.py", i // 2, i, "+", "-", i < 8) for i in range(40)]
    chosen = drawn(found, 6, seed=0)
    assert len({mutant.line for mutant in chosen}) == 6
    assert sum(mutant.in_kernel for mutant in chosen) >= 3
    assert chosen == drawn(found, 6, seed=0) != drawn(found, 6, seed=1)


def test_mutants_are_found_by_line_or_by_column():
    found = mutants("f.py", SOURCE)
    assert at(found, ["f.py:8"]) == at(found, ["f.py:8:22", "f.py:8:24"]) == found[3:]
    assert at(found, ["f.py:4:23", "f.py:8", "f.py:8"]) == found[2:]
    with pytest.raises(SystemExit, match=r"f\.py:1 has no mutant"):
        at(found, ["f.py:8", "f.py:1"])


def test_every_selection_is_of_modules_and_tests_that_are_there():
    files = [path.relative_to(ROOT).as_posix() for path in ROOT.glob("nmsim/**/*.py")]
    assert {selection(file) for file in files} - {None} == {*SELECTIONS.values()}
    named = {test.removeprefix("--deselect=") for tests in SELECTIONS.values() for test in tests}
    for test in named:
        file, _, function = test.partition("::")
        assert f"def {function.partition('[')[0]}" in (ROOT / file).read_text("utf-8")


@pytest.mark.parametrize(
    ("status", "told", "what"),
    [
        (0, "", "answered"),
        (2, "nmsim: a/m.yaml: rows is missing\n", "refused"),
        (2, "nmsim: rows is missing\n", "names no file"),
        (2, f"nmsim: m.yaml: {'x' * 2000}\n", "a line of 2015 characters"),
        (2, "nmsim: out of memory\n", "memory"),
        (0, "x.py:3: RuntimeWarning: overflow\n", "a library tells"),
        (143, "nmsim: interrupted\n", "status 143"),
        (2, "", "status 2"),
        (None, "KeyError at a.py:3", "KeyError"),
    ],
)
def test_what_a_command_makes_of_a_damaged_file_is_judged(status, told, what):
    assert judged(status, told, ["m.yaml"]).startswith(what)
