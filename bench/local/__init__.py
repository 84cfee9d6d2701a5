"""The proof of the local detector: real small trainings, faults put into them, and healthy runs of all kinds."""
