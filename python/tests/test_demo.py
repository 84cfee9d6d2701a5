"""The demo in small: its runs share their past, its verdict is right, its page stands alone."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

pytest.importorskip("torch")

from argus.demo import page, runs  # noqa: E402
from argus.demo.task import Corpus, Shape, reference_text  # noqa: E402

SMALL = runs.Plan(steps=50, onset=25, context=16, batch_size=4, shape=Shape(width=16, layers=1, heads=2))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "home"


@pytest.fixture(scope="module")
def records(home: Path) -> list[runs.Record]:
    corpus = Corpus(reference_text(), context=SMALL.context, batch_size=SMALL.batch_size, seed=SMALL.seed)
    return [runs.train(story, SMALL, corpus, lambda decision: None, home) for story in runs.stories()]


def test_the_runs_are_kept_where_the_demo_says(records: list[runs.Record], home: Path) -> None:
    assert (home / "argus.db").exists()


def test_all_runs_are_the_same_until_the_onset_and_differ_after_it(records: list[runs.Record]) -> None:
    healthy, *faulty = [record.losses for record in records]
    for losses in faulty:
        assert losses[: SMALL.onset] == healthy[: SMALL.onset]
        assert losses[-1] != healthy[-1]


def test_the_watch_had_no_errors(records: list[runs.Record]) -> None:
    assert [record.watch_errors for record in records] == [0, 0, 0]


def test_the_page_fetches_nothing_and_has_a_chart_for_each_run(records: list[runs.Record]) -> None:
    text = page.render(records)
    assert text.count("<svg") == 3
    assert not re.search(r"(src|href)=|https?://|@import|url\(", text)
    assert "$" not in re.sub(r"\$\{", "", text)
    assert "nan" not in re.findall(r' d="([^"]*)"', text)


def test_a_run_that_left_its_twin_for_good_is_lost_where_it_left() -> None:
    twin = [4.0 - 0.02 * i for i in range(100)]
    losses = twin[:60] + [5.0] * 40
    assert runs.lost_step(losses, twin, 50) == 60
    assert runs.lost_step(twin, twin, 50) is None


def test_an_excursion_that_returns_is_not_the_loss_of_the_run() -> None:
    twin = [4.0 - 0.02 * i for i in range(200)]
    losses = twin[:60] + [6.0] * 30 + twin[90:150] + [math.inf] * 50
    assert runs.lost_step(losses, twin, 50) == 150
    assert runs.lost_step(losses[:150], twin[:150], 50) is None
    assert runs.returned_steps(losses, twin, 60, 150) == 60
