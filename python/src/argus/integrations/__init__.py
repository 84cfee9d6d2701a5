"""Argus inside training frameworks. Each module imports its framework; importing this package imports none.

- `argus.integrations.huggingface.ArgusCallback` for `transformers.Trainer` and what is built on it (TRL)
- `argus.integrations.lightning.ArgusCallback` for `lightning.pytorch` and `pytorch_lightning`
- `argus.integrations.accelerate.watch` for a loop of one's own on Accelerate
- `argus.integrations.keras.ArgusCallback` for Keras 3 on the torch backend
- `argus.integrations.generic.ArgusCallback` for anything else that calls back
"""
