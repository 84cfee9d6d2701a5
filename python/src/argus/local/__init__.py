"""The local detector: failure modes of training that only show inside the model. Imports no network; sends nothing.

    from argus.local import LocalDetector

    with LocalDetector(model, optimizer) as detector:
        for inputs, targets in batches:
            criterion(model(inputs), targets).backward()
            optimizer.step()
            optimizer.zero_grad()
    detector.worst_level, detector.summary()

Importing this package imports torch.
"""

from argus.local._detector import LocalDetector
from argus.local._report import CHECKS, CheckReport, LocalReport

__all__ = ["CHECKS", "CheckReport", "LocalDetector", "LocalReport"]
