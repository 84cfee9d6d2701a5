"""The short form of the proof: a fixed subset with floors, a minute or two on two cores. Nothing is thinned, so that it does not depend on
the clock."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .faults import FAULTS
from .loop import Setup, Trace
from .plan import Job, faulty, run
from .score import CHECKS, Verdict, alarms, judge

SEED = 2000
#: Fault and task; four or more a check.
FAULTY = """
bias_down mlp_relu, incoming_zeroed cnn_bn, stuck_channels vit, bias_down resnet,
preactivation_scaled mlp_tanh, weights_swell lenet_tanh, input_unnormalised gru, gain_stuck mlp_tanh,
detached mlp_relu, backward_zero vit, backward_tiny lenet_tanh, gradient_lost gpt,
decay_bug mlp_relu, rescaled cnn_bn, slow_growth lstm, rate_hundredfold vit,
moments_zeroed mlp_relu, second_scaled cnn_bn, count_stale lstm, moments_swapped recall,
scores_scaled vit, temperature recall, bias_bug gpt, keys_zeroed recall,
exponent_flip mlp_relu, stuck_page cnn_bn, burst_of_noise lstm, exponent_flip gpt,
rounded_to_bf16 mlp_relu, rounded_to_fp8 vit, large_offset cnn_bn, epsilon_bug lstm,
constant_output cnn_bn, rank_one mlp_relu, embedding_collapses lstm, repeated_sample vit,
forward_nan mlp_relu, backward_inf cnn_bn, weight_inf lstm, input_nan vit
"""
HEALTHY = (
    Setup("mlp_relu", SEED, "adamw", label="plain"),
    Setup("mlp_relu", SEED + 1, "adamw", sparse=0.5, label="sparse from the start"),
    Setup("mlp_tanh", SEED + 2, "momentum", schedule="cosine", label="cosine to zero"),
    Setup("mlp_tanh", SEED + 3, "adam", samples=128, label="learned by heart"),
    Setup("cnn_bn", SEED + 4, "adamw", dropout=0.3, label="dropout"),
    Setup("cnn_bn", SEED + 5, "rmsprop", frozen=("conv1", "bn1"), label="frozen layers"),
    Setup("lenet_tanh", SEED + 6, "adagrad", accumulate=2, batch_size=8, label="accumulation"),
    Setup("lenet_tanh", SEED + 7, "adamw", schedule="restarts", label="warm restarts"),
    Setup("resnet", SEED + 8, "momentum", schedule="warmup", clip=1.0, label="warmup, clipping"),
    Setup("resnet", SEED + 9, "adamw", bfloat16=True, label="bfloat16 autocast"),
    Setup("gpt", SEED + 10, "adamw", schedule="warmup", label="tied weights"),
    Setup("gpt", SEED + 11, "adamw", dropout=0.1, schedule="cosine", clip=1.0, label="dropout, cosine, clipping"),
    Setup("vit", SEED + 12, "adamw", frozen=("patch", "place", "blocks.0"), thaw_every=80, label="gradual unfreezing"),
    Setup("recall", SEED + 13, "adam", evaluate_every=25, average=True, label="moving average swaps"),
    Setup("encoder", SEED + 14, "adamw", dropout=0.1, label="dropout"),
    Setup("lstm", SEED + 15, "adamw", clip=0.1, label="clipping"),
    Setup("lstm", SEED + 16, "adamw", clamp=0.3, label="clamped weights"),
    Setup("gru", SEED + 17, "adamw", schedule="steps", label="steps of the rate"),
)
# Floors against regressions, below what is measured: another processor rounds otherwise and trains other runs.
FOUND, RIGHT = 0.84, 0.75  # least shares, over all checks
WARNED, CRITICAL = 2, 1  # healthy runs with a warn, and with a critical one, at most


def faulty_runs() -> list[Job]:
    jobs = []
    for i, pair in enumerate(FAULTY.replace("\n", " ").split(",")):
        fault, task = pair.split()
        job = faulty(fault, task, SEED + 2 * (i % 5))
        if job is None:
            raise ValueError(f"{task} cannot have {fault}")
        jobs.append(job)
    return jobs


@dataclass(frozen=True)
class Result:
    verdicts: list[Verdict]
    healthy: list[Trace]

    def short_of(self) -> list[str]:
        """What fell below its floor, with the runs that did it; empty when all is well."""
        real = [v for v in self.verdicts if v.trace.real]
        hits = [v for v in real if v.found_after is not None]
        missed = [v.line() for v in real if v.found_after is None]
        wrong = [v.line() for v in hits if not v.right_any]
        worst = [(t.setup, alarms(t)) for t in self.healthy if alarms(t)]
        told = []
        if len(hits) < FOUND * len(real) or len(real) < 0.9 * len(self.verdicts):
            told.append(f"found {len(hits)} of {len(real)}, of {len(self.verdicts)} made: {missed}")
        if len(hits) - len(wrong) < RIGHT * len(hits):
            told.append(f"wrong layer in {len(wrong)} of {len(hits)}: {wrong}")
        silent = set(CHECKS) - {v.fault.check for v in hits}
        if silent:
            told.append(f"never spoke up: {sorted(silent)}")
        if len(worst) > WARNED or sum("critical" in w.values() for _, w in worst) > CRITICAL:
            told.append(f"healthy runs alarmed: {worst}")
        return told

    def told(self) -> str:
        real = [v for v in self.verdicts if v.trace.real]
        return "\n".join(
            (
                f"{sum(v.found_after is not None for v in real)} of {len(real)} faults found, "
                f"{sum(v.right_first for v in real)} with the right layer first; "
                f"{sum(bool(alarms(t)) for t in self.healthy)} of {len(self.healthy)} healthy runs with an alarm",
                *(v.line() for v in real if not v.right_first),
                *(f"{t.setup}: {alarms(t)}" for t in self.healthy if alarms(t)),
                *(f"BELOW THE FLOOR: {line}" for line in self.short_of()),
            )
        )


def measure(workers: int) -> Result:
    jobs: list[Job] = [*faulty_runs(), *((setup, None) for setup in HEALTHY)]
    done = run([(replace(setup, budget=1.0), fault) for setup, fault in jobs], workers)
    return Result([judge(t, FAULTS[name]) for (_, name), t in done if name], [t for (_, name), t in done if not name])
