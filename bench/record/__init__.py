"""Recorder of real training runs with known faults, in the format of the recorded traces.

Every run is a real model trained by real forward, backward and optimizer steps; telemetry is computed from the tensors of the
run.  See README.md for the rooms and the command line.
"""
