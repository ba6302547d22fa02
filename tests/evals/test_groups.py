"""Groups of suites, and what of HEIM's aspects they cover."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from evals.reports.tables import markdown_table
from evals.runner.records import RunFolder
from evals.runner.run import run_suite
from evals.suites import GROUPS, SUITES, OutsideSuite, find_suites
from evals.suites.coverage import BEYOND, COVERAGE, coverage_rows
from evals.suites.groups import STANDARD, minutes
from mtgen.errors import RecordsError
from tests.conftest import ROOT

HEIM = (
    "alignment", "quality", "aesthetics", "originality", "reasoning", "knowledge", "bias",
    "toxicity", "fairness", "robustness", "multilinguality", "efficiency",
)  # fmt: skip


def test_the_standard_group_takes_about_half_an_hour():
    assert 20 <= sum(map(minutes, GROUPS["standard"])) <= 40
    assert {suite.task for suite in GROUPS["standard"]} == {"text", "translation", "image"}


def test_the_full_group_is_all_that_needs_no_other_data():
    full = {suite.name for suite in find_suites("full")}
    assert full == {n for n, suite in SUITES.items() if not isinstance(suite, OutsideSuite)}
    assert STANDARD.keys() <= full


@pytest.mark.parametrize("suite", [s for s in GROUPS["standard"] if s.drawn], ids=lambda s: s.name)
def test_a_part_of_a_suite_is_of_all_its_kinds_and_always_the_same(suite):
    whole, part = SUITES[suite.name].chosen(), suite.chosen()
    assert len(part) == suite.drawn < len(whole)
    assert part == suite.chosen()
    assert [sample for sample in whole if sample in part] == part  # in the same order
    assert suite.checksum == SUITES[suite.name].checksum

    def kinds(samples):
        names = ("style", "category", "variant")
        return {tuple(getattr(sample, name, None) for name in names) for sample in samples}

    assert kinds(part) == kinds(whole)


def test_variants_of_a_sentence_are_drawn_together():
    [suite] = [s for s in GROUPS["standard"] if s.name == "translation-robustness"]
    drawn = [sample.of for sample in suite.chosen()]
    assert sum(drawn.count(name) == 5 for name in set(drawn)) >= len(set(drawn)) - 1


def test_a_drawn_run_says_so_and_is_no_other_run(tiny, tmp_path):
    run_suite(replace(SUITES["text-choice"], drawn=4), tiny, tmp_path)
    assert RunFolder(tmp_path).manifest()["drawn"] == 4
    assert len(RunFolder(tmp_path).records()) == 4
    with pytest.raises(RecordsError, match="holds a run with drawn=4, not None"):
        run_suite(SUITES["text-choice"], tiny, tmp_path)


def test_every_aspect_is_covered_or_says_why_not():
    assert tuple(COVERAGE) == HEIM
    for coverage in COVERAGE.values():
        assert coverage.images or coverage.texts or coverage.missing


def test_every_suite_is_in_the_coverage_and_every_name_in_it_is_a_suite():
    everything = (COVERAGE | BEYOND).values()
    images = {name for coverage in everything for name in coverage.images}
    texts = {name for coverage in everything for name in coverage.texts}
    assert images | texts == SUITES.keys()
    for name, suite in SUITES.items():
        assert (name in images) == (suite.task == "image"), name
        assert (name in texts) == (suite.task != "image"), name


def test_the_table_in_the_docs_is_that_of_the_code():
    rows = [list(row.values()) for row in coverage_rows()]
    table = markdown_table(list(coverage_rows()[0]), rows)
    assert table in (ROOT / "docs" / "evals.md").read_text("utf-8"), (
        "paste the output of 'python -m evals list --coverage' into docs/evals.md"
    )


@pytest.mark.slow
def test_the_shell_lists_groups_and_coverage(shell):
    listed = json.loads(shell("-m", "evals", "list", "--json").stdout)
    assert {group["group"] for group in listed["groups"]} == GROUPS.keys()
    assert all(group["minutes"] > 0 for group in listed["groups"])
    covered = json.loads(shell("-m", "evals", "list", "--coverage", "--json").stdout)["aspects"]
    assert [row["aspect"] for row in covered] == [*HEIM, *BEYOND]
