"""Floating dtypes by the codes of probe/view.h."""

from __future__ import annotations

import torch

#: argus::probe::DType. What is not here cannot be read in place.
CODES: dict[torch.dtype, int] = {
    torch.float64: 0,
    torch.float32: 1,
    torch.float16: 2,
    torch.bfloat16: 3,
    torch.float8_e4m3fn: 4,
    torch.float8_e5m2: 5,
    torch.float8_e4m3fnuz: 6,
    torch.float8_e5m2fnuz: 7,
}
