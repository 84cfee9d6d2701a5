"""Samples left out of training: a set of ids, a mask over a batch, and a sampler that skips them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

#: Most ids left out at a time.
EXCLUDED_MAX = 1024


class SampleFilter:
    """The ids that are left out. Empty until AUTO acts on a FILTER_SAMPLES.

    Attributes:
        consulted: Whether anybody has asked yet: where nobody does, leaving samples out has no effect.
    """

    def __init__(self) -> None:
        self._excluded: set[Any] = set()
        self._on_device: dict[Any, Any] = {}
        self.consulted = False

    def __len__(self) -> int:
        return len(self._excluded)

    def __contains__(self, sample_id: object) -> bool:
        return sample_id in self._excluded

    def _has(self, sample_id: Any) -> bool:
        try:
            return sample_id in self._excluded
        except TypeError:  # a list, say: nothing that can be compared was ever left out
            return False

    def add(self, ids: Iterable[Any]) -> list[Any]:
        """Leaves these out from now on, as far as there is room; returns those that are new."""
        new: list[Any] = []
        for each in ids:
            if len(self._excluded) >= EXCLUDED_MAX:
                break
            if each not in self._excluded:
                self._excluded.add(each)
                new.append(each)
        self._on_device.clear()
        return new

    def remove(self, ids: Iterable[Any]) -> None:
        """Lets these in again."""
        self._excluded.difference_update(ids)
        self._on_device.clear()

    def keep(self, batch_ids: Any) -> Any:
        """Which samples of a batch to train on: True to keep.

        Args:
            batch_ids: The ids of the batch: a list of integers or strings, a NumPy array, or an integer tensor on any device.

        Returns:
            A list of booleans; for a tensor a boolean tensor of its shape and device, made without waiting for the device.
            A batch that would be left out whole is kept whole: a loss over nothing is not a number.
        """
        self.consulted = True
        if hasattr(batch_ids, "detach"):
            return self._keep_tensor(batch_ids)
        ids = batch_ids.tolist() if hasattr(batch_ids, "tolist") else list(batch_ids)
        if not self._excluded:
            return [True] * len(ids)
        kept = [not self._has(each) for each in ids]
        return kept if any(kept) else [True] * len(ids)

    def _keep_tensor(self, ids: Any) -> Any:
        import torch

        # What an integer of 64 bits cannot hold is in no tensor.
        excluded = [each for each in self._excluded if isinstance(each, int) and -(1 << 63) <= each < 1 << 63]
        if not excluded:
            return torch.ones_like(ids, dtype=torch.bool)
        table = self._on_device.get(ids.device)
        if table is None:
            table = self._on_device[ids.device] = torch.tensor(excluded).to(ids.device, non_blocking=True)
        kept = ~torch.isin(ids, table)
        return kept | ~kept.any()


class FilteredSampler:
    """A sampler, or a batch sampler, for a `torch.utils.data.DataLoader` that skips the samples AUTO leaves out.

    Order, randomness and length are those of the sampler within; nothing is drawn in place of what is skipped. A batch that would be left out whole
    is given whole. Loader processes ask some batches ahead, so that a sample may come once more after it was left out.

    Args:
        sampler: Yields indices, or lists of them.
        left_out: The watch, or a `SampleFilter`.
        ids: The id of each index, as a sequence, a mapping or a function; without it the index is the id.

    Example:
        >>> left_out = SampleFilter()
        >>> _ = left_out.add([3])
        >>> list(FilteredSampler(range(5), left_out))
        [0, 1, 2, 4]
    """

    def __init__(
        self,
        sampler: Any,
        left_out: Any,
        ids: Sequence[Any] | Mapping[int, Any] | Callable[[int], Any] | None = None,
    ) -> None:
        self.sampler = sampler
        self._filter: SampleFilter = getattr(left_out, "left_out", left_out)
        self._id_of = ids if callable(ids) else (ids.__getitem__ if ids is not None else int)

    def __iter__(self) -> Iterator[Any]:
        self._filter.consulted = True
        for item in self.sampler:
            if isinstance(item, (list, tuple)):
                kept = [index for index in item if self._id_of(index) not in self._filter]
                yield kept or item
            elif self._id_of(item) not in self._filter:
                yield item

    def __len__(self) -> int:
        """At most so many: what is left out is not known beforehand."""
        return len(self.sampler)
