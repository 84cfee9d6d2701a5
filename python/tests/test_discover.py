"""What a look at a model tells: its family, its measures, its parameters, its devices."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

import families  # noqa: E402
from torch import nn  # noqa: E402

from argus._discover import count_parameters, describe_devices, discover, versions  # noqa: E402


@pytest.mark.parametrize(
    ("family", "make"),
    [
        ("transformer", families.LanguageModel),
        ("transformer", lambda: nn.Transformer(16, 2, 2, 3, 32)),
        ("transformer", lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32), 2)),
        ("moe", lambda: families.LanguageModel(mixture=True)),
        ("cnn", families.Vgg),
        ("cnn", families.SqueezeExcite),
        ("cnn", lambda: nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Conv1d(4, 4, 3))),
        ("rnn", families.RecurrentLanguageModel),
        ("rnn", lambda: nn.ModuleDict({"cell": nn.GRUCell(4, 8), "out": nn.Linear(8, 2)})),
        ("mlp", families.Mlp),
        ("mlp", lambda: nn.Linear(3, 1)),
        ("mlp", families.Bandit),
        ("diffusion", families.TinyUNet),
        ("diffusion", families.DenoisingTransformer),
        ("gan", families.gan),
        ("rl", families.ActorCritic),
        ("ssm", families.StateSpaceLanguageModel),
        ("gnn", families.GCN),
        ("other", families.OwnWeights),
        ("other", families.Recommender),
        ("other", families.LinearRetention),
        ("other", families.Seq2SeqWithAttention),
        ("other", nn.Identity),
        ("other", lambda: nn.Embedding(10, 4)),
    ],
)
def test_the_family_is_read_off_the_structure(family: str, make: Callable[[], nn.Module]) -> None:
    assert discover(make()).model_type == family
    with torch.device("meta"):
        assert discover(make()).model_type == family


def test_models_of_transformers_are_known_by_their_configuration() -> None:
    transformers = pytest.importorskip("transformers")
    gpt = transformers.GPT2Config(n_layer=3, n_head=2, n_embd=16, vocab_size=70, n_positions=128)
    found = discover(transformers.GPT2LMHeadModel(gpt))
    assert (found.model_name, found.model_type) == ("GPT2LMHeadModel", "transformer")
    assert (found.num_layers, found.hidden_dim, found.vocab_size) == (3, 16, 70)
    mixtral = transformers.MixtralConfig(
        num_hidden_layers=2, hidden_size=16, intermediate_size=16, vocab_size=50, num_attention_heads=2,
        num_key_value_heads=1, num_local_experts=2,
    )  # fmt: skip
    assert discover(transformers.MixtralForCausalLM(mixtral)).model_type == "moe"
    mamba = transformers.MambaConfig(num_hidden_layers=2, hidden_size=16, vocab_size=50, state_size=4)
    assert discover(transformers.MambaForCausalLM(mamba)).model_type == "ssm"
    resnet = transformers.ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1])
    assert discover(transformers.ResNetForImageClassification(resnet)).model_type == "cnn"
    assert "transformers" in versions()


def test_measures_are_those_of_the_model() -> None:
    found = discover(families.LanguageModel())
    # 65 characters, not the 256 positions; three blocks, not their heads.
    assert (found.num_layers, found.hidden_dim, found.vocab_size) == (3, 16, 65)
    assert discover(nn.Transformer(16, 2, 2, 3, 32)).num_layers == 5
    recurrent = discover(families.RecurrentLanguageModel())
    assert (recurrent.num_layers, recurrent.hidden_dim, recurrent.vocab_size) == (2, 24, 100)
    mlp = discover(families.Mlp())
    assert (mlp.num_layers, mlp.hidden_dim, mlp.vocab_size) == (3, 32, None)
    ssm = discover(families.StateSpaceLanguageModel())
    assert (ssm.num_layers, ssm.hidden_dim) == (4, 16)
    assert discover(families.GCN()).num_layers == 2
    assert discover(families.DenoisingTransformer()).num_layers == 3
    assert discover(families.Vgg()).hidden_dim is None


def test_parameters_are_counted_once_and_frozen_ones_apart() -> None:
    model = families.LanguageModel()
    model.head.weight = model.tokens.weight
    model.position_embedding.requires_grad_(False)
    total, trainable = sum(p.numel() for p in set(model.parameters())), 256 * 16
    assert count_parameters(model) == (total, total - trainable)
    found = discover(model)
    assert (found.total_params, found.trainable_params) == (total, total - trainable)


def test_a_lazy_model_has_no_count_before_its_first_batch() -> None:
    model = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(2))
    found = discover(model)
    assert (found.total_params, found.trainable_params) == (None, None)
    assert (found.model_type, found.dtype, found.problems) == ("mlp", None, ())
    model(torch.zeros(1, 4))
    assert discover(model).total_params == 4 * 8 + 8 + 8 * 2 + 2


def test_a_model_on_the_meta_device_has_measures_and_no_device() -> None:
    with torch.device("meta"):
        model = families.LanguageModel()
    found = discover(model)
    assert found.total_params == discover(families.LanguageModel()).total_params
    assert (found.devices, found.dtype, found.num_layers) == ((), "float32", 3)


@pytest.mark.parametrize("given", [None, 7, "model", object(), nn.Identity(), nn.ModuleList()])
def test_what_is_no_model_or_has_no_parameters_is_not_invented(given: object) -> None:
    found = discover(given)
    assert found.model_type == "other"
    assert (found.num_layers, found.hidden_dim, found.vocab_size, found.dtype) == (None,) * 4
    assert found.total_params == (0 if isinstance(given, nn.Module) else None)
    assert found.devices == () and found.problems == ()


def test_dtype_is_that_of_most_parameters() -> None:
    model = nn.Sequential(nn.Linear(64, 64).to(torch.bfloat16), nn.LayerNorm(64))
    assert discover(model).dtype == "bfloat16"


def test_a_compiled_model_is_its_own_model_again() -> None:
    model = families.Mlp()
    assert discover(torch.compile(model)) == discover(model)
    assert discover(nn.DataParallel(model)) == discover(model)


def test_a_model_that_raises_when_looked_at_is_told_by_the_rest() -> None:
    class Odd(families.Mlp):
        @property
        def config(self) -> object:
            raise RuntimeError("not now")

    found = discover(Odd())
    assert found.total_params == discover(families.Mlp()).total_params
    assert found.model_type == "other"
    assert any("not now" in problem for problem in found.problems)


DISTRIBUTED = """
import torch
import torch.distributed as dist
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from torch.nn.parallel import DistributedDataParallel
import families
from argus._discover import discover

dist.init_process_group("fake", store=FakeStore(), rank=1, world_size=4)
whole = discover(families.LanguageModel())
assert discover(DistributedDataParallel(families.LanguageModel())) == whole
sharded = families.LanguageModel()
for block in sharded.blocks:
    fully_shard(block, mesh=init_device_mesh("cpu", (4,)))
fully_shard(sharded, mesh=init_device_mesh("cpu", (4,)))
assert sum(p.to_local().numel() for p in sharded.parameters()) < whole.total_params / 2
assert discover(sharded) == whole, (discover(sharded), whole)
for use_orig_params in (True, False):
    flat = FullyShardedDataParallel(families.LanguageModel(), device_id=torch.device("cpu"),
        auto_wrap_policy=ModuleWrapPolicy({families.Block}), use_orig_params=use_orig_params)
    assert sum(p.numel() for p in flat.parameters()) < whole.total_params / 2
    assert discover(flat) == whole, (discover(flat), whole)
print("as one")
"""


def test_a_model_on_several_ranks_is_told_whole() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1])\n" + DISTRIBUTED
    folder = families.__file__.rsplit("families", 1)[0]
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "as one", done.stderr


@pytest.mark.parametrize(("hip", "vendor"), [(None, "nvidia"), ("6.2", "amd")])
def test_of_a_gpu_only_vendor_and_memory_are_told(
    monkeypatch: pytest.MonkeyPatch, hip: str | None, vendor: str
) -> None:
    properties = SimpleNamespace(name="NVIDIA Secret 9000", total_memory=79 * 2**30 + 2**28, uuid="GPU-1234")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.version, "hip", hip)
    devices = {torch.device("cuda", 1), torch.device("cuda", 0), torch.device("cpu"), torch.device("mps")}
    assert describe_devices(devices) == (("cpu", None), (vendor, 79), (vendor, 79), ("apple", None))


def test_versions_are_without_the_suffix_of_a_build() -> None:
    found = versions()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["torch"] == torch.__version__.split("+")[0] and "+" not in found["torch"]
