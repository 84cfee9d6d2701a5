"""Whatever a state holds comes back exactly, or is refused with its name before anything is written."""

from __future__ import annotations

import collections
import math
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
numpy = pytest.importorskip("numpy")

from checkpoint_training import bits, difference  # noqa: E402
from torch import nn  # noqa: E402

from argus import UsageError  # noqa: E402
from argus._checkpoint_state import Parts  # noqa: E402
from argus._checkpoint_tree import CheckpointError, flatten, unflatten  # noqa: E402
from argus._checkpoints import Checkpoints  # noqa: E402


class Holder:
    """An object whose state is whatever it was given."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def state_dict(self) -> Any:
        return self.state

    def load_state_dict(self, state: Any) -> None:
        self.state = state


def through_disk(directory: Path, state: Any, model: nn.Module | None = None) -> Any:
    """What comes back of `state`, from a checkpoint on disk."""
    holder = Holder(state)
    model = model or nn.Linear(2, 2)
    problems: list[str] = []
    checkpoints = Checkpoints(
        directory, model=model, optimizers=[], extra={"it": holder}, on_problem=lambda _, text: problems.append(text)
    )
    assert checkpoints.stage(1, signal="SAVE", slot=0, reason="", loss=None), problems
    assert checkpoints.wait(60) and not problems
    holder.state = None
    checkpoints.restore(1)
    checkpoints.close()
    return holder.state


def dtypes() -> list[torch.dtype]:
    names = ("float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 uint16 uint32 uint64 bool complex64 complex128 "
             "complex32 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz")  # fmt: skip
    return [getattr(torch, name) for name in names.split() if hasattr(torch, name)]


@pytest.mark.parametrize("dtype", dtypes(), ids=lambda dtype: str(dtype).removeprefix("torch."))
def test_every_dtype_keeps_every_bit(dtype: torch.dtype, tmp_path: Path) -> None:
    count = 24
    raw = torch.randint(0, 2 if dtype is torch.bool else 256, (count * dtype.itemsize,), dtype=torch.uint8)
    tensor = raw.view(dtype)
    state = {"flat": tensor, "square": tensor.view(4, 6), "one": tensor[3].clone(), "none": tensor[:0].clone()}
    assert difference(through_disk(tmp_path, state), state) == ""


def test_layouts_and_views_keep_their_values(tmp_path: Path) -> None:
    base = torch.randn(6, 8)
    coo = torch.sparse_coo_tensor(torch.tensor([[0, 2, 2], [1, 0, 0]]), torch.tensor([3.0, 4.0, 5.0]), (3, 4))
    state = {
        "transposed": base.t(),
        "strided": base[::2, 1::3],
        "reversed order": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "expanded": torch.arange(3.0)[:, None].expand(3, 5),
        "two views of one": [base[:4], base[2:]],
        "conjugate": torch.randn(4, dtype=torch.complex64).conj(),
        "negative view": torch.randn(4, dtype=torch.complex64).conj().imag,
        "coo": coo,
        "coalesced": coo.coalesce(),
        "csr": torch.eye(4).to_sparse_csr(),
        "not finite": torch.tensor([math.nan, math.inf, -math.inf, -0.0]),
        "requires grad": torch.ones(2, requires_grad=True),
    }
    assert difference(through_disk(tmp_path, state), state) == ""


def test_one_tensor_kept_twice_is_one_tensor_again(tmp_path: Path) -> None:
    shared = torch.randn(4)
    back = through_disk(tmp_path, {"a": shared, "b": [shared], "c": shared.clone()})
    assert back["a"] is back["b"][0] and back["a"] is not back["c"]
    back["a"].zero_()
    assert bits(back["c"]) == bits(shared), "restored tensors do not share memory"


def test_containers_and_numbers_come_back_as_they_were(tmp_path: Path) -> None:
    state = {
        "numbers": [0, -1, 2**200, True, False, 0.1, -0.0, math.nan, math.inf, 1 + 2j, None],
        "text": ["", 'Ω\n"\\', "!"],
        "bytes": [b"\x00\xff", bytearray(b"ab")],
        "nested": ({"a": (1, [2, {3}])}, frozenset({4}), collections.deque([1, 2], 5)),
        "keys": {1: "int", (2, "t"): "tuple", None: 0, 1.5: 1, "!": "the tag", True and "x": 3},
        "tagged": {"!": "tensor", "file": "model"},
        "ordered": collections.OrderedDict([("z", 1), ("a", 2)]),
        "counter": collections.Counter({3: 1, 6: 2}),
        "arrays": [numpy.arange(6).reshape(2, 3), numpy.array(2.5), numpy.array([]), numpy.array(["ab", "c"])],
        "scalars": [numpy.float64(0.1), numpy.int32(-3), numpy.bool_(True), numpy.float16(math.inf)],
        "torch": [torch.bfloat16, torch.device("cpu"), torch.device("cuda:1")],
    }
    back = through_disk(tmp_path, state)
    assert difference(back, state) == ""
    assert math.copysign(1, back["numbers"][6]) == -1 and back["nested"][2].maxlen == 5


class Wicked(nn.Module):
    """Buffers that are hard to put back: expanded, sparse, not in the state dict, sharing memory with a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))
        self.register_buffer("expanded", torch.arange(3.0)[:, None].expand(3, 5))
        self.register_buffer("sparse", torch.eye(3).to_sparse_coo().coalesce())
        self.register_buffer("loose", torch.zeros(2), persistent=False)
        self.register_buffer("view", self.weight.detach()[:2])
        self.register_buffer("nothing", None)
        self.child = nn.Module()
        self.child.register_buffer("grows", torch.zeros(1), persistent=False)

    def get_extra_state(self) -> Any:
        return {"note": ("kept", 1)}

    def set_extra_state(self, state: Any) -> None:
        self.noted = state


def test_all_buffers_of_a_model_are_put_back(tmp_path: Path) -> None:
    model = Wicked()
    checkpoints = Checkpoints(tmp_path, model=model, optimizers=[])
    then = {name: bits(tensor) for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    assert checkpoints.stage(1, signal="SAVE", slot=0, reason="", loss=None) and checkpoints.wait(60)
    weight = model.weight
    with torch.no_grad():
        model.weight.fill_(7.0)
        model.expanded[:, 0] = 9.0
        model.sparse.zero_()
        model.loose += 1
        model.child.grows = torch.ones(5)
    checkpoints.restore(1)
    assert {name: bits(t) for name, t in [*model.named_parameters(), *model.named_buffers()]} == then
    assert model.weight is weight and model.noted == {"note": ("kept", 1)}
    assert model.view.data_ptr() == model.weight.data_ptr(), "what shares memory still does"


def test_the_safetensors_library_reads_every_file(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    model = nn.ModuleDict({str(i): nn.Linear(3, 5) for i in range(3)})
    model["odd"] = nn.Linear(3, 3).to(torch.float16)
    model.register_buffer("flag", torch.tensor(True))
    model.register_buffer("empty", torch.empty(0, 3))
    through_disk(
        tmp_path,
        {"exotic": torch.randn(3, dtype=torch.complex128), "byte": torch.tensor([1], dtype=torch.uint8)},
        model,
    )
    folder = next(tmp_path.glob("step-*"))
    weights = load_file(folder / "model.safetensors")
    assert difference(weights, {key: model.state_dict()[key].detach() for key in weights}) == ""
    assert set(weights) == set(model.state_dict())
    assert len(load_file(folder / "state.safetensors")) >= 3


@pytest.mark.parametrize(
    ("state", "named"),
    [
        ({"a": {"b": torch.empty(3, device="meta")}}, r"extra\.it\.a\.b is on the meta device"),
        ({"f": [lambda: 1]}, r"extra\.it\.f\.0 is a builtins\.function; accepted are tensors, numbers"),
        ({"o": numpy.array([object()])}, r"extra\.it\.o is a NumPy array of object"),
        ({"q": torch.quantize_per_tensor(torch.rand(3), 0.1, 0, torch.quint8)}, r"extra\.it\.q is a quantized"),
        (
            {"n": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])},
            r"extra\.it\.n is a (quantized or )?nested",
        ),
    ],
)
def test_what_cannot_be_told_exactly_is_refused_by_name(state: Any, named: str, tmp_path: Path) -> None:
    problems: list[str] = []
    checkpoints = Checkpoints(
        tmp_path,
        model=nn.Linear(2, 2),
        optimizers=[],
        extra={"it": Holder(state)},
        on_problem=lambda _, t: problems.append(t),
    )
    assert not checkpoints.stage(3, signal="SAVE", slot=0, reason="", loss=None)
    assert not checkpoints.stage(4, signal="SAVE_NOW", slot=4, reason="", loss=None)
    assert checkpoints.wait(60) and checkpoints.list() == [] and checkpoints.failed == 2
    assert len(problems) == 1
    pytest.raises(CheckpointError, flatten, {"extra": {"it": state}}).match(named)


def test_models_without_values_are_refused(tmp_path: Path) -> None:
    for model in (nn.Linear(2, 2, device="meta"), nn.LazyLinear(3)):
        problems: list[str] = []
        checkpoints = Checkpoints(tmp_path, model=model, optimizers=[], on_problem=lambda _, t: problems.append(t))  # noqa: B023
        assert not checkpoints.stage(3, signal="SAVE", slot=0, reason="", loss=None)
        assert len(problems) == 1 and "model.state.weight" in problems[0]


def test_sharded_models_ask_for_a_saver(tmp_path: Path) -> None:
    class FullyShardedDataParallel(nn.Linear):
        pass

    with pytest.raises(UsageError, match="sharded") as caught:
        Checkpoints(tmp_path, model=FullyShardedDataParallel(2, 2), optimizers=[])
    assert "save=" in caught.value.hint


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"optimizers": [3]}, r"optimizers\[0\] is a int; accepted are objects with state_dict"),
        ({"scaler": object()}, "scaler is a object"),
        ({"extra": {"ema": torch.zeros(1)}}, r"extra\['ema'\] is a Tensor"),
        ({"model": [nn.Linear(1, 1)]}, r"model is a list; accepted is a torch\.nn\.Module"),
        ({"keep": 0}, "keep=0"),
        ({"directory": 3}, "directory is 3; accepted is a path"),
        ({"rank": 2, "world_size": 2}, "rank=2"),
    ],
)
def test_wrong_arguments_are_refused_by_name(given: dict[str, Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=named):
        Checkpoints(**{"directory": tmp_path, "model": nn.Linear(2, 2), "optimizers": [], **given})


@pytest.mark.parametrize("skeleton", [{"!": "wicked"}, {"!": "tensor"}, {"!": "dict", "pairs": [[[], 1]]}, {"!": "float", "value": "x"},
                                      {"!": "torch.dtype", "name": "load"}, {"!": "numpy.scalar", "dtype": "O", "base64": ""}])  # fmt: skip
def test_a_skeleton_that_is_none_is_refused(skeleton: Any) -> None:
    with pytest.raises(CheckpointError):
        unflatten(skeleton, lambda node: torch.zeros(node["shape"]))


def test_position_is_that_of_the_loader_else_of_its_sampler() -> None:
    model = nn.Linear(1, 1)
    plain = torch.utils.data.DataLoader(range(3))
    assert "loader" not in Parts(model, (), loader=plain).names()
    assert "loader" in Parts(model, (), loader=Holder({})).names()
