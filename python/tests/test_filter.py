"""Samples left out: the mask, and the sampler, for every kind of id."""

from __future__ import annotations

import doctest
from types import SimpleNamespace

import pytest

from argus import FilteredSampler, _filter
from argus._filter import EXCLUDED_MAX, SampleFilter


def test_the_mask_says_what_to_keep_for_lists_of_any_ids() -> None:
    left_out = SampleFilter()
    left_out.add([3, "c"])
    assert left_out.keep([1, 3, 5]) == [True, False, True]
    assert left_out.keep(["a", "c"]) == [True, False]


def test_the_mask_of_a_tensor_is_a_tensor() -> None:
    torch = pytest.importorskip("torch")
    left_out = SampleFilter()
    ids = torch.tensor([1, 3, 5])
    assert left_out.keep(ids).tolist() == [True, True, True]
    left_out.add([3])
    assert left_out.keep(ids).tolist() == [True, False, True]
    left_out.remove([3])
    assert left_out.keep(ids).tolist() == [True, True, True]


def test_a_batch_that_would_be_left_out_whole_is_kept() -> None:
    torch = pytest.importorskip("torch")
    left_out = SampleFilter()
    left_out.add([1, 2])
    assert left_out.keep([1, 2]) == [True, True]
    assert left_out.keep(torch.tensor([2, 1])).tolist() == [True, True]
    assert list(FilteredSampler([[1, 2], [2, 3]], left_out)) == [[1, 2], [3]]


def test_the_set_is_bounded() -> None:
    left_out = SampleFilter()
    assert len(left_out.add(range(EXCLUDED_MAX + 5))) == EXCLUDED_MAX
    assert left_out.add([-1]) == []
    assert len(left_out) == EXCLUDED_MAX


def test_asking_marks_it_as_in_use() -> None:
    left_out = SampleFilter()
    sampler = FilteredSampler([0], left_out)
    assert not left_out.consulted
    list(sampler)
    assert left_out.consulted


def test_a_loader_skips_what_is_left_out() -> None:
    torch = pytest.importorskip("torch")
    from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

    data = TensorDataset(torch.arange(20))
    left_out = SampleFilter()
    watch = SimpleNamespace(left_out=left_out)
    single = DataLoader(data, batch_size=4, sampler=FilteredSampler(RandomSampler(data), watch))
    whole = DataLoader(data, batch_sampler=FilteredSampler(BatchSampler(RandomSampler(data), 4, False), watch))
    for loader in (single, whole):
        assert sorted(int(i) for (batch,) in loader for i in batch) == list(range(20))
    left_out.add([3, 7])
    for loader in (single, whole):
        assert sorted(int(i) for (batch,) in loader for i in batch) == [i for i in range(20) if i not in (3, 7)]


@pytest.mark.parametrize("ids", [["a", "b", "c"], {0: "a", 1: "b", 2: "c"}, lambda i: "abc"[i]])
def test_indices_are_mapped_to_the_ids_given_to_step(ids: object) -> None:
    left_out = SampleFilter()
    left_out.add(["b"])
    assert list(FilteredSampler(range(3), left_out, ids)) == [0, 2]  # type: ignore[arg-type]


def test_examples_in_docstrings_run() -> None:
    result = doctest.testmod(_filter)
    assert result.attempted > 0
    assert result.failed == 0
