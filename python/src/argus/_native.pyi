"""
The native half of argus: the engine, its decisions and the history of a watched run.
"""

from collections.abc import Sequence
import enum
from typing import Annotated, Any, Final, overload

import numpy
from numpy.typing import NDArray


ENGINE_VERSION: str = '0.1.2'

class ActivationJudge:
    """
    Dead units, saturation and collapsing representations, judged from samples of activations in memory.

    Reads tensors through raw pointers: the caller answers for pointer, dtype, shape and stride being those of one
    living tensor on the CPU. A few microseconds a visit. Not thread-safe.
    """

    def __init__(self) -> None: ...

    def add_site(self, layer: str, chain: Sequence[str], is_output: bool) -> int:
        """The number of a new site; sites are added in order of execution."""

    def visit(self, site: int, step: int, pointer: int, dtype: int, shape: tuple[int, ...], stride: tuple[int, ...], unit_axis: int) -> int:
        """
        Reads and judges one tensor; 0: calm, 1: calibrating, 2: suspected, come again soon.
        """

    def visit_copied(self, site: int, step: int, pointer: int, shape: tuple[int, ...], stride: tuple[int, ...], unit_axis: int) -> int:
        """
        The same for float32 values gathered at `offsets` of a tensor of this shape and stride.
        """

    def offsets(self, shape: tuple[int, ...], stride: tuple[int, ...], unit_axis: int) -> bytes:
        """
        Offsets in elements of what `visit` would read, int64 as bytes; empty when it would read nothing.
        """

    def findings(self) -> Findings:
        """What stands now."""

    def reset(self) -> None:
        """Forgets all histories, keeps the sites."""

class AttentionJudge:
    """
    Judges the heads of all attention layers from their scans. Not thread-safe.
    """

    def __init__(self) -> None: ...

    def add(self, layer: str, chain: Sequence[str]) -> int:
        """
        A layer by its qualified name and the layers that make its queries and keys; the number to observe it by.
        """

    def observe(self, at: int, step: int, entropy: Sequence[float], spread: Sequence[float]) -> int:
        """
        One scan, a value a head: entropy over the keys as a share of its maximum, and standard deviation of the
        logits in nats. Steps after which the next scan is wanted; 0: whenever it suits.
        """

    def findings(self) -> Findings: ...

    def reset(self) -> None:
        """Forgets the histories, not the layers."""

def read_attention(sizes: Sequence[int], query: tuple[int, int, Sequence[int]], key: tuple[int, int, Sequence[int]] | None = None, mask: tuple[int, int, Sequence[int]] | None = None, causal_first: int = -1, causal_step: int = 0, scale: float = 1.0) -> list[float]:
    """
    Entropy over keys (share of its maximum) of each head, then the spread of its logits (nats), from a few rows.

    Args:
        sizes: sequences, heads, rows (at most 8), keys, width of a head, key heads.
        query: (address, dtype code, strides in elements) of (sequences, heads, rows, width); of the logits
            (sequences, heads, rows, keys) where `key` is None.
        key: The same of (sequences, key heads, keys, width).
        mask: The same of (sequences, heads, rows, keys), added to the logits; dtype -1: boolean, True may be seen.
        causal_first: Last key the first row may see, -1: not causal; causal_step: how many more each row may.

    The caller keeps the memory alive and readable.
    """

def all_finite(address: int, dtype: int, count: int, stride: int) -> bool:
    """
    True when none of `count` values, `stride` elements apart from `address` on, is infinite or NaN.
    The caller keeps the memory alive and readable.
    """

class Signal:
    """One active signal of a decision: evidence, not a diagnosis."""

    @property
    def name(self) -> str:
        """One of the eleven names of the wire protocol."""

    @property
    def severity(self) -> float:
        """
        Evidence in units of what confirms the signal: 1 or more while it is active.
        """

    @property
    def active_steps(self) -> int:
        """Observations in a row it has been active."""

    @property
    def since_step(self) -> int:
        """Estimated onset, a step number."""

    @property
    def value(self) -> float:
        """The observable now, in its own units."""

    @property
    def center(self) -> float:
        """Median of this run's own baseline."""

    @property
    def low(self) -> float:
        """Lower end of the baseline."""

    @property
    def high(self) -> float:
        """Upper end of the baseline."""

class Note:
    """Something worth knowing that never changes the pressure."""

    @property
    def kind(self) -> str:
        """
        overfitting, no_progress, re_anchored, new_segment, schedule or engine_changed.
        """

    @property
    def since_step(self) -> int:
        """The step it holds since."""

    @property
    def value(self) -> float:
        """Its measure, in the units of its kind."""

class Episode:
    """
    Open from the first rise until the dynamics, not only the loss, are back.
    """

    @property
    def id(self) -> int:
        """1, 2, ... within the run."""

    @property
    def opened_step(self) -> int:
        """The step it opened at."""

    @property
    def peak_pressure(self) -> int:
        """The highest harm pressure in it so far."""

class Recommendation:
    """What the engine would do. Nothing is applied unless the user does."""

    @property
    def id(self) -> int:
        """Unique in the run."""

    @property
    def kind(self) -> str:
        """
        REDUCE_LR, RESTORE_LR, RESET_OPTIMIZER, ROLLBACK, FILTER_SAMPLES or PAUSE.
        """

    @property
    def state(self) -> str:
        """
        proposed, applied, watching, recovered, released, failed or superseded.
        """

    @property
    def lr_factor(self) -> float:
        """For REDUCE_LR and RESTORE_LR, relative to the rate in force."""

    @property
    def suggested_lr(self) -> float | None:
        """For RESET_OPTIMIZER; None when the rate is not known."""

    @property
    def anchor_step(self) -> int | None:
        """For ROLLBACK; None when there is no anchor."""

    @property
    def signals(self) -> list[str]:
        """Names of the signals it rests on."""

    @property
    def evidence(self) -> float:
        """The largest severity it rests on."""

    @property
    def expires_step(self) -> int:
        """Not to be acted on after this step."""

class Anchor:
    """The last step certified before the anomaly began."""

    @property
    def anchor_step(self) -> int:
        """The certified step."""

    @property
    def collapse_step(self) -> int:
        """Estimated onset of the anomaly."""

    @property
    def method(self) -> str:
        """certified_calm or client_marked."""

    @property
    def quality_score(self) -> float:
        """Share of calm steps before it, 0 to 1."""

    @property
    def train_loss(self) -> float:
        """Loss at the anchor; NaN when it was not observed."""

SIGNALS: tuple[str, ...]

class Decision:
    """
    What the engine said about one step. A copy: later steps do not change it.
    """

    @property
    def step(self) -> int:
        """The step it speaks of."""

    @property
    def harm_pressure(self) -> int:
        """0 within expectation, 1 watch, 2 confirmed, 3 critical."""

    @property
    def signals(self) -> list[Signal]:
        """The active signals, in wire order."""

    @property
    def breakdown(self) -> dict[str, float]:
        """
        Severity of all eleven signals by name: 0 quiet, 1 or more exactly when active.
        """

    @property
    def episode(self) -> Episode | None:
        """The open episode, or None."""

    @property
    def notes(self) -> list[Note]:
        """What is worth knowing and never changes the pressure."""

    @property
    def expected_loss(self) -> tuple[float, float] | None:
        """
        (low, high) the engine expected of this step's loss; None while calibrating.
        """

    @property
    def expected_grad_norm(self) -> tuple[float, float] | None:
        """
        (low, high) the engine expected of this step's gradient norm; None while calibrating.
        """

    @property
    def calibrating(self) -> bool:
        """True until the run's own baseline exists."""

    @property
    def spike_indices(self) -> list[int]:
        """Positions in the step's sample arrays that outlier_batch rests on."""

    @property
    def action(self) -> str:
        """
        CONTINUE or CHECKPOINT; in AUTO also SET_LR and PAUSE; PAUSE and STOP when a person asked for it.
        """

    @property
    def intervention(self) -> str:
        """The recommended kind as a word; NONE when nothing is recommended."""

    @property
    def recommendation(self) -> Recommendation | None:
        """The recommendation in full, or None."""

    @property
    def lr_factor(self) -> float | None:
        """
        AUTO, with action SET_LR: multiply the rate in force by this, once; None otherwise.
        """

    @property
    def reset_optimizer(self) -> bool:
        """
        AUTO: forget the optimizer's state, and with a ROLLBACK restore the anchor.
        """

    @property
    def suggested_lr(self) -> float | None:
        """
        With reset_optimizer: the rate to go on with; None when the rate is not known.
        """

    @property
    def checkpoint_signal(self) -> str:
        """
        NONE, SAVE (a certified healthy moment) or SAVE_NOW (freeze what you have).
        """

    @property
    def checkpoint_reason(self) -> str:
        """Why, in words; empty for NONE."""

    @property
    def checkpoint_slot(self) -> int:
        """With SAVE: the place in the ring, 0 up."""

    @property
    def proactive_anchor(self) -> bool:
        """The step of this SAVE may become an anchor."""

    @property
    def anchor(self) -> Anchor | None:
        """The last step certified before the anomaly began, or None."""

    def __repr__(self) -> str: ...

SCALARS: tuple[str, ...]

STEP_SKIPPED: int = 1

LR_RESTARTED: int = 2

IS_ANCHOR: int = 4

NAN_DETECTED: int = 8

class Engine:
    """
    Judges one run, one step at a time, in order. Not thread-safe.

    The same steps give the same decisions, bit for bit. A scalar step costs about a microsecond
    and allocates nothing.
    """

    def __init__(self, family: str = 'other', auto: bool = False, total_steps: int = 0) -> None:
        """
        `family` is a hint that shortens calibration: transformer, llm, cnn, vision, rnn, mlp, diffusion, rl, gan,
        moe, ssm, gnn or other. Unknown words read as other. With `auto` decisions carry what is to be done
        (SET_LR, PAUSE, lr_factor, reset_optimizer). `total_steps` is the planned length, 0 when unknown.
        """

    def observe(self, step: int, seq: int, segment: int, flags: int, scalars: list[float | None], losses: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu', writable=False)] | None = None, confidences: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu', writable=False)] | None = None, margins: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu', writable=False)] | None = None, entropies: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu', writable=False)] | None = None, correct: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu', writable=False)] | None = None, applied: Sequence[tuple[int, str, int, bool]] | None = None) -> int:
        """
        Judges one step and learns from it; returns the harm pressure, 0 to 3.

        Args:
            step: Optimizer step, 0 or more.
            seq: Rises by one with each observation.
            segment: Rises by one with each rewind.
            flags: STEP_SKIPPED, LR_RESTARTED, IS_ANCHOR and NAN_DETECTED, or-ed.
            scalars: One float or None (not measured) for each name in SCALARS.
            losses: Per-sample arrays of float64, this one and the following: all that are given of one length,
                at most 65536.
            applied: (recommendation id, kind, step, ok) of what was done about recommendations since the last
                step.

        Raises:
            ValueError: A count, length, kind or step number out of range. Nothing was observed.
        """

    def decision(self) -> Decision:
        """
        A copy of the newest decision; before the first step a calibrating one.
        """

    def reset(self, step: int) -> None:
        """
        A checkpoint was restored and the optimizer reset: a new segment begins at `step`.
        """

    def save(self) -> bytes:
        """
        The state as versioned bytes. A restored engine makes the same later decisions, bit for bit.
        """

    @staticmethod
    def load(state: bytes) -> Engine:
        """
        An engine from the bytes of `save`.

        Raises:
            argus.ArgusError: The bytes are torn, or of a version this build does not know.
        """

class Check(enum.IntEnum):
    """The nine checks of the local detector."""

    DEAD_NEURONS = 0

    ACTIVATION_SATURATION = 1

    GRADIENT_FLOW = 2

    WEIGHT_NORMS = 3

    OPTIMIZER_STATE = 4

    ATTENTION_COLLAPSE = 5

    HARDWARE_INTEGRITY = 6

    PRECISION_EROSION = 7

    REPRESENTATION_COLLAPSE = 8

class Level(enum.IntEnum):
    """How bad a finding is."""

    OK = 0

    WARN = 1

    CRITICAL = 2

class Finding:
    """One layer's departure under one check, standing now."""

    def __init__(self, *, check: Check, level: Level, layer: str, chain: Sequence[str] = [], severity: float = 0.0, value: float = 0.0, baseline: float = 0.0, change: float = 0.0, since: int = -1, last_good: int = -1, note: str = '') -> None: ...

    @property
    def check(self) -> Check:
        """Which check found it."""

    @property
    def level(self) -> Level:
        """WARN or CRITICAL."""

    @property
    def layer(self) -> str:
        """Qualified name of the parametrised layer concerned."""

    @property
    def chain(self) -> list[str]:
        """Further names of the same place."""

    @property
    def severity(self) -> float:
        """0 to 1."""

    @property
    def value(self) -> float:
        """What the check measures, now; unit in `note`."""

    @property
    def baseline(self) -> float:
        """The layer's own normal value of it."""

    @property
    def change(self) -> float:
        """Severity now minus severity at the last visits; above 0 it worsens."""

    @property
    def since(self) -> int:
        """Step of the onset."""

    @property
    def last_good(self) -> int:
        """Newest step without it; -1 when there was none."""

    @property
    def note(self) -> str:
        """What was seen, in numbers with units."""

class Findings:
    """What a group of checks says when asked."""

    def __init__(self) -> None: ...

    def add(self, finding: Finding) -> None:
        """Adds a copy of one finding."""

    @property
    def standing(self) -> list[Finding]:
        """The findings that stand now, copies."""

    @property
    def judged(self) -> list[int]:
        """For each check, layers it could judge (past calibration)."""

    @judged.setter
    def judged(self, arg: Sequence[int], /) -> None: ...

    @property
    def known(self) -> list[int]:
        """For each check, layers it watches at all."""

    @known.setter
    def known(self, arg: Sequence[int], /) -> None: ...

class Parameters:
    """
    Judges parameters, gradients and optimizer states around updates. Lists hold numbers of parameters.
    """

    def __init__(self, dtypes: dict[Any, int]) -> None:
        """torch dtypes and their codes."""

    def add_layer(self, name: str) -> int:
        """The number of a new layer, 0 up."""

    def add_parameter(self, layer: int, parameter: object, sets_norm: bool, strides: object | None, in_place: bool) -> int:
        """
        The number of a new parameter, of which all is read once. `strides`: those of a dense layout that is not the
        contiguous one, or None.
        """

    def release(self) -> None:
        """Lets go of all parameters; what was judged stays."""

    def release_one(self, parameter: int) -> None:
        """Lets go of one."""

    def add_group(self, states: Sequence[tuple[str, int]]) -> int:
        """
        The number of a new group of parameters with the same settings. `states`: (name, kind) of up to three.
        """

    def set_group(self, group: int, lr: float, keep: Sequence[float], gain: Sequence[float], sign: float, l2_decay: float, adaptive: bool, known: bool) -> None:
        """The settings of its next update."""

    def assign(self, parameter: int, group: int, keys: tuple[str, ...]) -> None:
        """The group of a parameter, and the keys of its state tensors."""

    def set_order(self, order: Sequence[int]) -> None:
        """Layers in execution order."""

    def before(self, optimizer: int, step: int, fed: bool, states: object, due: list[int], compared: list[int]) -> None:
        """
        Right before an update. `fed`: gradients are there. `compared`: were `due` or `left` in the last update.
        """

    def after(self, optimizer: int, step: int, states: object, due: list[int], left: list[int]) -> None:
        """
        Right after it, with the same `due`. `left`: what else is to be compared before the next one.
        """

    def pass_over(self, optimizer: int, updates: int) -> None:
        """So many updates went by without a call."""

    def begin_update(self, optimizer: int) -> None:
        """An update whose values are fed."""

    def feed(self, moment: int, parameter: int, optimizer: int, step: int, fed: bool, bits: int, values: int, sampled: int, count: int, parts: int, counter: float) -> None:
        """
        A parameter whose values were taken elsewhere. `moment`: 0 before, 1 compared, 2 after, 3 left. `values`: the
        address of doubles, `count` of the weight, then as many of each part: bit 0 the gradient, bits 1 to 3 the states.
        """

    @staticmethod
    def positions(count: int) -> list[int]:
        """Which elements of a dense tensor of `count` are read."""

    def next_piece(self, parameter: int, step: int, count: int) -> tuple[int, int]:
        """
        The next piece to scan: first element, count; nothing of too small a parameter.
        """

    def judge_piece(self, parameter: int, step: int, first: int, count: int, largest: float, norm: float, neighbours: float) -> None:
        """
        A piece that was read elsewhere: its largest magnitude, its norm, and the RMS of the sampled rest.
        """

    def scan(self, step: int, rows: list[int], all: bool) -> None:
        """Reads the next piece of weights, or all of them."""

    def hash(self, rows: list[int]) -> int:
        """Hash of sampled bits of weights."""

    def end_step(self, step: int) -> bool:
        """
        All updates of the step are through. True when another look soon would settle something.
        """

    def take_alarm(self) -> bool:
        """Whether a gradient read since the last call was not finite."""

    def forget_states(self, optimizer: int) -> None:
        """Its state was replaced."""

    def reset(self) -> None:
        """Rolled back: histories begin anew."""

    def scan_passes(self) -> int:
        """Whole passes over the parameter that was read least of."""

    def findings(self, step: int) -> Findings:
        """What stands at a step."""

class Run:
    """
    One run: judged here, at once; recorded by a server or in a home folder, later.

    `observe`, `report`, `reset` and `decision` belong to one thread at a time; the rest may be called from any.
    In a forked child a run of the parent does nothing. A scalar step costs a few microseconds.
    """

    def __init__(self, *, run_id: str, model_type: str = 'other', sdk_version: str = '', auto: bool = False, total_steps: int = 0, url: str = '', key: str = '', home: str = '', record: bool = True, spool_bytes_max: int = 1073741824, num_layers: int = 0, hidden_dim: int = 0, vocab_size: int = 0, dtype: str = '') -> None:
        """
        Begins to watch, or goes on with, the run of that id. Waits for no network: what is missing is told by
        `take_notices`.

        Args:
            run_id: 1 to 128 characters of [A-Za-z0-9._:-].
            model_type: Family hint, as for Engine.
            sdk_version: Told to the record.
            auto: Decisions carry what is to be done.
            total_steps: Planned length, 0 when unknown.
            url: The server that keeps the run; empty: the home does.
            key: The server's.
            home: Folder of the embedded store, and of what waits for a server.
            record: False: judge only.
            spool_bytes_max: Bound of what waits on disk.
            num_layers, hidden_dim, vocab_size, dtype: Of the model, told with its first step; 0 and empty: unknown.

        Raises:
            argus.ArgusError: An argument that cannot be meant.
        """

    def observe(self, step: int, flags: int, scalars: list[float | None], losses: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu', writable=False)] | None = None, confidences: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu', writable=False)] | None = None, margins: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu', writable=False)] | None = None, entropies: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu', writable=False)] | None = None, correct: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu', writable=False)] | None = None, sample_ids: list[int | str] | None = None, local_health: dict[str, object] | None = None) -> int:
        """
        Judges one step at once and hands it over to be recorded; returns the harm pressure, 0 to 3.

        Args:
            step: Optimizer step, 0 to 2**53. Below the last one: a new segment begins.
            flags: STEP_SKIPPED, LR_RESTARTED, IS_ANCHOR and NAN_DETECTED, or-ed.
            scalars: One float or None (not measured) for each name in SCALARS. What is out of the range of its
                field is taken for not measured, and counted.
            losses: Per-sample arrays of float64, this one and the following: all that are given of one length,
                at most 65536. Above 1024 every n-th is judged and recorded, see `sample_stride`.
            sample_ids: Integers of 64 bits or texts of at most 256 bytes, of that length.
            local_health: What the local detector says: worst_level, trend, scale, affected_fraction,
                first_seen_step, and last_stable_step or None; all of them.

        Raises:
            ValueError: A count, length, id, word or step number out of range. Nothing was observed.
        """

    def report(self, id: int, kind: str, step: int, ok: bool, detail: str = '') -> None:
        """
        What was done about a recommendation: told with the next observation to the engine here and to the
        record.

        Raises:
            ValueError: No such kind, a step below 0, or 64 reports wait already.
        """

    def decision(self) -> Decision:
        """
        A copy of the newest decision; before the first step a calibrating one.
        """

    def reset(self, step: int) -> None:
        """
        A checkpoint was restored and the optimizer reset: a new segment begins with the next observation.
        """

    @property
    def sample_stride(self) -> int:
        """
        Every how many samples one was taken of the newest step: `spike_indices` count in such strides.
        """

    def take_command(self) -> str:
        """PAUSE or STOP when a person asked for it, once; else empty."""

    def take_notices(self) -> list[str]:
        """Lines worth telling the user, each once."""

    def counters(self) -> dict[str, int | float]:
        """What became of the steps, and the pace of delivery."""

    def analytics(self, event_json: str) -> bool:
        """
        Hands over one event of the second stream, as `analytics_event` writes it. False: not taken, because the
        run is not recorded or 64 wait.
        """

    def complete(self, status: str, step: int | None, error: str, duration_s: float | None, wait_s: float) -> str:
        """
        The run has ended with COMPLETED, FAILED or STOPPED. Goes out behind all that was observed before.

        Waits at most `wait_s` seconds. Returns the signed certificate, JSON; empty when there is none by then.
        Repeated, it waits for the same one.
        """

    def flush(self, wait_s: float) -> bool:
        """
        Waits at most `wait_s` seconds until all observed so far is acknowledged; whether it is.
        """

    def close(self, wait_s: float) -> bool:
        """
        As `flush`, and ends recording; what is not delivered is durable on disk. Later steps are judged only.
        """

    @property
    def run_id(self) -> str:
        """The run's id."""

    @property
    def is_recording(self) -> bool:
        """False: what is observed is judged only."""

class History:
    """
    The newest steps of a watched run, as columns, oldest first.

    A column is read as a memoryview (`numpy.asarray(history["loss"])` wraps it without a copy). Scalars
    are float64 and NaN where nothing was measured; the severity of a signal is float32, under its name.
    """

    def __init__(self, capacity: int) -> None:
        """`capacity` in steps; about 260 bytes each, taken as the run grows."""

    @overload
    def record(self, engine: Engine) -> None:
        """Appends the engine's newest step and decision."""

    @overload
    def record(self, run: Run) -> None:
        """Appends the run's newest step and decision."""

    def __len__(self) -> int: ...

    def __getitem__(self, name: str, /) -> memoryview:
        """
        A copy of one column.

        Raises:
            KeyError: There is no column of that name.
        """

    @property
    def capacity(self) -> int:
        """Steps it can hold."""

    names: Final[tuple[str, ...]] = ...
    """The names of all columns."""

def explain_telemetry(*, json: bool = False) -> str:
    """
    Everything argus can send from a training process: each field of both streams and of the other calls, with
    type, meaning and an example; from the tables that the program itself writes by.

    Args:
        json: One JSON object for scripts instead of text for people.
    """

def analytics_event(run_id: str, event: str, ts: float, fields: dict[str, object]) -> str:
    """
    The JSON of one event of the second stream.

    Args:
        run_id: 1 to 128 characters of [A-Za-z0-9._:-].
        event: run_start, heartbeat, milestone or run_end.
        ts: Seconds since 1970.
        fields: By the names of the table; None is left out, and so is what this kind of event does not carry.
            `versions` is a dict, `devices` a list of (vendor, GiB or None). Of a vendor one of a few words
            stays; texts are bounded and lose their paths.

    Raises:
        ValueError: A name that is not in the table, or a value that is not accepted there.
    """
