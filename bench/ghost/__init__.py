"""Recorder of ghost recoveries: runs that come back from an accident and die of it later, beside runs that come back for good."""
