"""The local detector: failure modes of training that only show inside the model."""
