"""Three real trainings of a small language model, one healthy and two with an accident, watched by argus.

Run it with `python -m argus.demo --out FOLDER`.
"""
