"""per_sample against a reference written one sample at a time."""

from __future__ import annotations

import math

import pytest

import argus

torch = pytest.importorskip("torch")


def reference(row: list[float], target: int) -> tuple[float, float, float, float, float]:
    top = max(row)
    weights = [math.exp(x - top) for x in row]
    p = [w / sum(weights) for w in weights]
    best = sorted(p, reverse=True)
    entropy = -sum(x * math.log(x) for x in p if x > 0)
    return -math.log(p[target]), best[0], best[0] - best[1], entropy, float(p.index(best[0]) == target)


def columns(batch: argus.PerSample) -> list[list[float]]:
    arrays = (batch.losses, batch.confidences, batch.margins, batch.entropies, batch.correct)
    return [array.tolist() for array in arrays]


def test_classification_agrees_with_the_reference() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20, 7, generator=generator) * 3
    targets = torch.randint(7, (20,), generator=generator)
    got = columns(argus.per_sample(logits, targets))
    want = zip(*[reference(row.tolist(), int(t)) for row, t in zip(logits, targets)])
    for got_column, want_column in zip(got, want):
        assert got_column == pytest.approx(list(want_column), abs=1e-5)


def test_sequences_are_averaged_over_their_counted_tokens() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 5, 9, generator=generator)
    targets = torch.randint(9, (3, 5), generator=generator)
    targets[1, 2:] = -100
    got = columns(argus.per_sample(logits, targets))
    for i in range(3):
        tokens = [reference(logits[i, t].tolist(), int(targets[i, t])) for t in range(5) if int(targets[i, t]) != -100]
        want = [sum(column) / len(tokens) for column in zip(*tokens)]
        assert [column[i] for column in got] == pytest.approx(want, abs=1e-5)


def test_a_sequence_without_counted_tokens_is_nan() -> None:
    batch = argus.per_sample(torch.zeros(2, 3, 4), torch.full((2, 3), -100))
    assert torch.isnan(batch.losses).all()


def test_at_most_32_samples_evenly_strided_and_always_the_same() -> None:
    logits, targets = torch.randn(100, 4), torch.randint(4, (100,))
    first, second = argus.per_sample(logits, targets), argus.per_sample(logits, targets)
    assert first.indices == second.indices == tuple(range(0, 100, 4))
    assert len(argus.per_sample(logits, targets, max_samples=100)) == 100


def test_a_vocabulary_too_large_for_the_bound_is_thinned_by_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("argus._samples.ELEMENTS_MAX", 2 * 4 * 10)
    logits, targets = torch.randn(2, 16, 10), torch.randint(10, (2, 16))
    batch = argus.per_sample(logits, targets)
    thinned = argus.per_sample(logits[:, ::4], targets[:, ::4])
    assert batch.losses.tolist() == thinned.losses.tolist()


def test_impossible_classes_do_not_become_nan_entropy() -> None:
    batch = argus.per_sample(torch.tensor([[0.0, float("-inf"), 1.0]]), torch.tensor([0]))
    assert math.isfinite(float(batch.entropies[0]))


def test_non_finite_logits_stay_visible() -> None:
    batch = argus.per_sample(torch.tensor([[float("nan"), 1.0]]), torch.tensor([0]))
    assert math.isnan(float(batch.losses[0]))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_any_precision_is_taken_and_float32_given(dtype: str) -> None:
    logits = torch.randn(4, 3).to(getattr(torch, dtype)).requires_grad_()
    batch = argus.per_sample(logits, torch.tensor([0, 1, 2, 0]))
    assert batch.losses.dtype == torch.float32
    assert not batch.losses.requires_grad


@pytest.mark.parametrize("shapes", [((3, 4), (4,)), ((3,), (3,)), ((2, 3, 4), (2, 4)), ((2, 3, 4, 5), (2, 3, 4))])
def test_shapes_that_do_not_fit_give_nothing(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    batch = argus.per_sample(torch.zeros(shapes[0]), torch.zeros(shapes[1], dtype=torch.long))
    assert len(batch) == 0
    watch = argus.watch(quiet=True)
    watch.step(1.0, samples=batch)
    assert watch.rejected == 0


def test_what_it_gives_is_what_step_takes_with_ids_of_the_whole_batch() -> None:
    logits, targets = torch.randn(64, 4), torch.randint(4, (64,))
    watch = argus.watch(quiet=True)
    watch.step(1.0, samples=argus.per_sample(logits, targets), sample_ids=[f"r{i}" for i in range(64)])
    assert watch.rejected == 0
    assert watch._ids == [f"r{i}" for i in range(0, 64, 2)]
