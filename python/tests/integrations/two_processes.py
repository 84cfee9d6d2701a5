"""One of two processes of a training with transformers.Trainer. Arguments: folder. Prints what it came to as JSON."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from pathlib import Path

import torch
from accidents import bits
from test_huggingface import Weights, gpt2, trainer

from argus.integrations.huggingface import ArgusCallback

torch.set_num_threads(1)
folder = Path(sys.argv[1])
model = gpt2()
callback = ArgusCallback(quiet=True, run_id="two-processes")
run = trainer(folder, [callback, Weights(math.nan)], model, ddp_backend="gloo", per_device_train_batch_size=4)
run.train()
weights = hashlib.sha256(bits(model.parameters())).hexdigest()
print(
    json.dumps(
        {
            "steps": run.state.global_step,
            "weights": weights,
            "certificate": callback.watch.complete(),
            "errors": callback.errors + callback.watch.errors,
        }
    )
)
