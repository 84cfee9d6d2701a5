"""TRL's trainers are Trainers: the same callback, in a real supervised fine-tuning."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("trl")

import torch  # noqa: E402
from accidents import BATCH, ONSET, STEPS, Changes, raise_rate  # noqa: E402
from datasets import Dataset  # noqa: E402
from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: E402
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, TrainerCallback  # noqa: E402
from trl import SFTConfig, SFTTrainer  # noqa: E402

from argus.integrations.huggingface import ArgusCallback  # noqa: E402


class Rate(TrainerCallback):
    """The learning rate is fifty times too high for some steps."""

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        raise_rate(kwargs["optimizer"], state.global_step)


def words() -> Any:
    vocabulary = {name: i for i, name in enumerate(["<pad>", "<eos>", *(f"w{i}" for i in range(32))])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>")


def sentences(count: int) -> Any:
    generator = torch.Generator().manual_seed(7)
    followers = torch.randint(0, 32, (32, 3), generator=torch.Generator().manual_seed(5))
    rows = [torch.randint(0, 32, (count,), generator=generator)]
    for _ in range(14):
        rows.append(followers[rows[-1], torch.randint(0, 3, (count,), generator=generator)])
    return Dataset.from_dict({"text": [" ".join(f"w{i}" for i in row) for row in torch.stack(rows, 1).tolist()]})


def tune(folder: Path, callbacks: list[Any], steps: int = STEPS) -> Any:
    torch.manual_seed(0)
    shape = GPT2Config(vocab_size=34, n_positions=32, n_embd=32, n_layer=2, n_head=2, bos_token_id=1, eos_token_id=1)
    settings = SFTConfig(
        output_dir=str(folder),
        num_train_epochs=2,
        per_device_train_batch_size=BATCH,
        learning_rate=3e-3,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        bf16=False,
        activation_checkpointing=False,
        seed=3,
        max_length=32,
        dataset_num_proc=None,
    )
    trainer = SFTTrainer(
        model=GPT2LMHeadModel(shape),
        args=settings,
        train_dataset=sentences(steps * BATCH // 2),
        processing_class=words(),
        callbacks=callbacks,
    )
    trainer.train()
    return trainer


def test_an_accident_in_a_fine_tuning_is_told_and_its_absence_is_not(tmp_path: Path) -> None:
    peaks = []
    for accident in ([], [Rate()]):
        changes = Changes()
        callback = ArgusCallback(quiet=True, on_change=changes)
        trainer = tune(tmp_path, [callback, *accident])
        peaks.append(changes.peak())
        history = callback.watch.history
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        assert history["step"].tolist() == list(range(1, STEPS + 1))
        assert history["loss"].tolist() == pytest.approx(losses, rel=1e-5)
        assert all(math.isfinite(x) and x > 0 for x in history["grad_norm"].tolist())
        assert (callback.errors, callback.watch.norm_source) == (0, "before_clipping")
    assert peaks[0] < 2 <= peaks[1]
    assert ONSET < changes.first_alarm() <= ONSET + 10
