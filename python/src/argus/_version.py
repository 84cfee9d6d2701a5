"""The version of this package, as its wheel says it."""

from __future__ import annotations

from importlib import metadata


def package_version() -> str:
    """`0.1.0`; "source" where the package runs from its sources."""
    try:
        return metadata.version("argus")
    except metadata.PackageNotFoundError:
        return "source"
