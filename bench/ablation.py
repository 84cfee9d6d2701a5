"""What each observable, rule and constant is worth: the recorded runs scored without it, or with it moved.

    python3 bench/ablation.py [--sections observables,rules,constants]

The engine is copied out of the commit (`git archive`), and in the copy every named constant of the detector becomes a variable,
so that one build answers every question. Writes the tables of docs/ablation.md between their markers. Takes about ten minutes on one free core.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import score
from detection import ROOT, SIGNALS, recorded_runs
from tables import replace_between, table

DOCUMENT = ROOT / "docs" / "ablation.md"
SCRATCH = ROOT / "build-ablation"

# Files whose constants decide about pressure and signals; the rest of engine/life advises and keeps books.
DETECTOR = ("*.h", "*.cpp", "trackers/*", "signals/*", "life/dynamics.cpp", "life/episode.cpp")
# Constants that only keep arithmetic in range, or that size storage.
FIXED = {
    "kUnknown",
    "kFarInside",
    "kLimit",
    "kLn2",
    "kEvidenceMax",
    "kAdoptValues",
    "kLong",
    "kShort",
    "kN",
    "kReAnchor",
}

TUNED_H = """// Constants as variables, for bench/ablation.py only.
#pragma once
#include <deque>
#include <string>
#include <string_view>
namespace argus::tuned {
struct Entry { std::string name; double value, was; int whole, was_whole; };
inline std::deque<Entry>& entries() { static std::deque<Entry> all; return all; }
inline Entry& entry(std::string_view name, double value) {
  for (Entry& e : entries()) if (e.name == name) return e;
  const int whole = value > 2e9 ? 2000000000 : (value < -2e9 ? -2000000000 : static_cast<int>(value));
  return entries().emplace_back(Entry{std::string(name), value, value, whole, whole});
}
inline double& real(std::string_view name, double value) { return entry(name, value).value; }
inline int& whole(std::string_view name, double value) { return entry(name, value).whole; }
inline bool set(std::string_view name, double value) {
  for (Entry& e : entries()) {
    if (e.name != name) continue;
    e.value = value;
    e.whole = value > 2e9 ? 2000000000 : (value < -2e9 ? -2000000000 : static_cast<int>(value));
    return true;
  }
  return false;
}
inline void restore() { for (Entry& e : entries()) { e.value = e.was; e.whole = e.was_whole; } }
}  // namespace argus::tuned
"""

OBSERVABLES = [
    ("everything", []),
    ("update norm", ["without update_norm"]),
    ("weight norms L1, L2", ["without weights"]),
    ("per-sample arrays (Layer 2)", ["without samples"]),
    ("gradient norm", ["without grad_norm"]),
    ("gradient norm before clipping (cut off at the median of its first 20)", ["without norm_before_clipping"]),
    ("learning rate", ["without learning_rate"]),
    ("learning rate and declared restarts", ["without learning_rate", "without restarts"]),
    ("batch size, sequence length", ["without sizes"]),
    ("validation loss", ["without val_loss"]),
    ("loss scale", ["without loss_scale"]),
    ("gradient similarity", ["without gradient_similarity"]),
    ("gradient norms by depth thirds", ["without depth_thirds"]),
    ("L1 and L2 of the gradients", ["without gradient_l1_l2"]),
]  # fmt: skip
POORER = ["update_norm", "weights", "samples", "gradient_similarity", "depth_thirds", "gradient_l1_l2", "val_loss"]
OBSERVABLES += [
    ("all but loss, gradient norm, learning rate, sizes", [f"without {n}" for n in POORER]),
    ("all but loss and gradient norm", [f"without {n}" for n in [*POORER, "learning_rate", "sizes", "restarts"]]),
    ("all but the loss", [f"without {n}" for n in [*POORER, "learning_rate", "sizes", "restarts", "grad_norm"]]),
]

OFF = 1e9
RULES = [
    ("nothing: the engine as it is", {}),
    ("hold-back of suspects", {"constants.h:kHold": OFF}),
    ("the cap on one value's evidence", {"novelty:cap": OFF}),
    ("the allowance per step", {"constants.h:kAllowance": 0}),
    ("the delay before a loss is learned", {"novelty:delay": 0}),
    ("longer warm-up of the weight streams", {"novelty:warm-up 40": 16, "novelty:warm-up 48": 16}),
    ("materiality of a loss rise", {f"signals/loss_divergence.cpp:{k}": -OFF for k in ("kMaterial", "kMaterialNow")}),
    ("corroboration of slow loss rises", {"signals/loss_divergence.cpp:kAgree": -OFF}),
    ("the doubt while the gradient norm is at rest", {"signals/loss_divergence.cpp:kNormRise": -OFF}),
    ("the progress gate", {"signals/loss_divergence.cpp:kProgress": -OFF}),
    ("the range gate", {"signals/loss_divergence.cpp:kSlowRange": -OFF}),
    ("slow draw-ups of the loss", {"signals/loss_divergence.cpp:kSlow": OFF}),
    ("sudden shifts of the loss", {"signals/loss_divergence.cpp:kSudden": OFF}),
    ("relapse above the start", {"relapse.cpp:kShare": OFF}),
    ("autocorrelation widening", {"drawup.cpp:kRhoAllowed": OFF}),
    ("early widening of young records", {"drawup.cpp:kEarly": 0}),
    ("the lag of the draw-up record", {"drawup.cpp:kLag": 0}),
    ("schedule grace", {"trackers/schedule.cpp:kGrace": -1, "trackers/schedule.cpp:kRestartGrace": 0}),
    ("the LR record", {"signals/gradient_explosion.cpp:kLr": OFF, "signals/gradient_explosion.cpp:kLrAlone": OFF}),
    ("the update norm's standing record", {"signals/gradient_explosion.cpp:kUpdate": OFF}),
    ("draw-down of the gradient norm", {"signals/vanishing_gradients.cpp:kExcess": OFF}),
    ("the lowest gradient norm that stood", {"signals/vanishing_gradients.cpp:kDecay": OFF}),
    ("updates that collapse", {"trackers/update_tracker.cpp:kStill": 0}),
    ("an LR that falls to nothing", {"trackers/schedule.cpp:kStall": 0}),
    ("streams that died at exactly 0", {"trackers/dead_stream.cpp:kZeros": OFF}),
    ("the joint sum of sample means", {"signals/sample_means.cpp:kJoint": OFF}),
    ("slow draw-up of one sample mean", {"signals/sample_means.cpp:kAlone": OFF}),
    ("bounded suspicion (alarms end when nothing worsens)", {"fusion.cpp:kCalm": OFF}),
    ("hysteresis", {"fusion.cpp:kHysteresis": 0}),
    ("pressure 1 while hidden damage shows", {"life/episode.cpp:kShown": OFF}),
]  # fmt: skip


def detector_files(folder: Path) -> list[Path]:
    found = {p for pattern in DETECTOR for p in folder.glob(pattern) if p.suffix in (".h", ".cpp")}
    return sorted(
        p
        for p in found
        if "_test" not in p.name
        and p.name not in ("tuned.h", "prior.h", "prior.cpp", "math.h", "archive.h", "decision.h", "step.h")
    )


def loosen(text: str, file: str, found: dict[str, tuple[float, bool]]) -> str:
    """Turns constants into references to entries of tuned.h; `found` collects name -> (value, whole number)."""

    def declaration(m: re.Match) -> str:
        prefix, type_name, rest = m["prefix"] or "", m["type"], m["rest"]
        out = []
        for part in rest.split(", "):
            name, _, value = part.partition(" = ")
            if name in FIXED or not re.fullmatch(r"[-+0-9.e/ ()]+", value):
                if value == f"constants::{name}":
                    out.append(f"{prefix.replace('static ', 'static inline ')}{type_name}& {name} = {value};")
                else:
                    digits = re.fullmatch(r"[-+0-9.e/ ()]+", value)
                    out.append(f"{prefix}{'constexpr' if digits else 'const'} {type_name} {name} = {value};")
                continue
            whole = type_name != "double"
            found[f"{file}:{name}"] = (float(eval(value)), whole)  # digits and operators alone
            call = f'argus::tuned::{"whole" if whole else "real"}("{file}:{name}", {value})'
            inline = "inline " if file.endswith(".h") and "inline" not in prefix else ""
            out.append(f"{prefix}{inline}{'int' if whole else 'double'}& {name} = {call};")
        return " ".join(out)

    pattern = (
        r"(?P<prefix>inline |static )?constexpr (?P<type>double|int|std::int32_t|std::int64_t) (?P<rest>k\w+ = [^;]+);"
    )
    text = re.sub(pattern, declaration, text)

    def options(m: re.Match) -> str:
        cap, warmup, delay = m.groups()
        cells = []
        for name, value, kind in (
            ("cap", cap, "real"),
            (f"warm-up {warmup}", warmup, "whole"),
            ("delay", delay, "whole"),
        ):
            key = "novelty:" + (name if name != "cap" or cap == "6.5" else "update cap")
            if name == "delay" and value == "0":
                cells.append(value)
                continue
            found[key] = (float(value), kind == "whole")
            cells.append(f'argus::tuned::{kind}("{key}", {value})')
        return "Novelty::Options{" + ", ".join(cells) + "}"

    text = re.sub(r"Novelty::Options\{([0-9.]+), ([0-9]+), ([0-9]+)\}", options, text)
    return (
        text.replace("#pragma once", '#pragma once\n#include "engine/tuned.h"')
        if file.endswith(".h")
        else '#include "engine/tuned.h"\n' + text
    )


def build(commit: str) -> tuple[Path, dict[str, tuple[float, bool]]]:
    source, out = SCRATCH / "src", SCRATCH / "out"
    subprocess.run(["rm", "-rf", source], check=True)
    source.mkdir(parents=True)
    rooms = [
        "base",
        "engine",
        "wire",
        "cli",
        "cmake",
        "CMakeLists.txt",
        "bench/CMakeLists.txt",
        "bench/engine_bench.cpp",
    ]
    archive = subprocess.run(["git", "-C", ROOT, "archive", commit, *rooms], capture_output=True, check=True).stdout
    subprocess.run(["tar", "x", "-C", source], input=archive, check=True)
    for name in ("ablation_replay.cpp", "CMakeLists.txt"):
        (source / "bench" / name).write_text((ROOT / "bench" / name).read_text())
    found: dict[str, tuple[float, bool]] = {}
    engine = source / "engine"
    for path in detector_files(engine):
        path.write_text(loosen(path.read_text(), str(path.relative_to(engine)), found))
    (engine / "tuned.h").write_text(TUNED_H)
    options = ["-DCMAKE_BUILD_TYPE=Release", "-DARGUS_BENCH=ON", "-DARGUS_TESTS=OFF", "-DCMAKE_CXX_FLAGS=-DARGUS_TUNED"]
    subprocess.run(["cmake", "-S", source, "-B", out, "-G", "Ninja", *options], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(
        ["cmake", "--build", out, "-j1", "--target", "ablation_replay"], check=True, stdout=subprocess.DEVNULL
    )
    return out / "bench" / "ablation_replay", found


class Replayer:
    """The tool with every run in memory; judges one variant at a time."""

    def __init__(self, program: Path, runs: list):
        self.runs = runs
        files = [str(path) for _, _, path, _ in runs]
        self.child = subprocess.Popen([program, *files], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def rows(self, commands: list[str]) -> list[dict]:
        self.child.stdin.write("\n".join([*commands, "run"]) + "\n")
        self.child.stdin.flush()
        rows, names = [], {}
        decisions: list[dict] = []
        at = -1
        for line in self.child.stdout:
            words = line.split()
            if words[0] in ("run", "end"):
                if at >= 0:
                    rows.append(self.judge(at, decisions))
                if words[0] == "end":
                    return rows
                at, decisions = at + 1, []
                continue
            mask = words[2]
            if mask not in names:
                names[mask] = [{"name": n} for i, n in enumerate(SIGNALS) if int(mask, 16) >> i & 1]
            d = {"step": int(words[0]), "harm_pressure": int(words[1]), "signals": names[mask]}
            if len(words) > 3:
                d["spike_samples"] = words[3:]
            decisions.append(d)
        raise SystemExit(f"ablation_replay ended early on {commands}")

    def judge(self, at: int, decisions: list[dict]) -> dict:
        part, name, _, meta = self.runs[at]
        row = score.judge(name, meta, decisions, False)
        row["part"] = part
        return row


HEAD = "healthy runs alarmed / alarmed steps / watch % / detected / in time / right signal"


def cell(rows: list[dict]) -> str:
    healthy = [r for r in rows if r["label"] == "healthy"]
    scored = [r for r in rows if "healthy_steps" in r]
    faults = [p for r in rows for p in r.get("parts", [])]
    evidence = [p["evidence"] for p in faults if p.get("evidence") is not None]
    watch = 100 * sum(r["watch_steps"] for r in scored) / sum(r["healthy_steps"] for r in scored)
    return " / ".join([
        str(sum(r["alarm_steps"] > 0 for r in healthy)),
        str(sum(r["alarm_steps"] for r in scored)),
        f"{watch:.2f}",
        str(sum(p["detected"] for p in faults)),
        str(sum(p["in_time"] for p in faults)),
        f"{sum(evidence)}/{len(evidence)}",
    ])  # fmt: skip


PARTS = ("study, tuning", "study, validation", "extra A", "extra B")


def cells(rows: list[dict]) -> list[str]:
    return [cell([r for r in rows if r["part"] == p]) for p in PARTS]


def sizes(rows: list[dict]) -> str:
    said = []
    for p in PARTS:
        chosen = [r for r in rows if r["part"] == p]
        healthy = sum(r["label"] == "healthy" for r in chosen)
        said.append(f"{p}: {healthy} healthy runs, {sum(len(r.get('parts', [])) for r in chosen)} faults")
    return "; ".join(said)


def commands_of(changes: dict[str, float]) -> list[str]:
    return [f"set {name.replace(' ', '~')} {value:.12g}" for name, value in changes.items()]


def observables(replayer: Replayer) -> str:
    rows = [[name, *cells(replayer.rows(commands))] for name, commands in OBSERVABLES]
    return table(["withheld", *PARTS], [["nothing", *rows[0][1:]], *rows[1:]])


def rules(replayer: Replayer, found: dict) -> str:
    known = [(name, changes) for name, changes in RULES if all(c in found for c in changes)]
    for name, changes in RULES:
        if (name, changes) not in known:
            print(f"no such constant any more: {sorted(set(changes) - set(found))} ({name})", file=sys.stderr)
    return table(["switched off", *PARTS], [[n, *cells(replayer.rows(commands_of(c)))] for n, c in known])


def moved(value: float, whole: bool, factor: float) -> float:
    new = value * factor
    return float(round(new) if round(new) != value else value + (1 if factor > 1 else -1)) if whole else new


def totals(rows: list[dict]) -> tuple[int, int, float, int, int]:
    healthy = [r for r in rows if r["label"] == "healthy"]
    scored = [r for r in rows if "healthy_steps" in r]
    faults = [p for r in rows for p in r.get("parts", [])]
    watch = 100 * sum(r["watch_steps"] for r in scored) / sum(r["healthy_steps"] for r in scored)
    return (
        sum(r["alarm_steps"] > 0 for r in healthy),
        sum(r["alarm_steps"] for r in scored),
        watch,
        sum(p["detected"] for p in faults),
        sum(p["in_time"] for p in faults),
    )


def constants(replayer: Replayer, found: dict) -> str:
    def text(t: tuple) -> str:
        return f"{t[0]} / {t[1]} / {t[2]:.2f} / {t[3]} / {t[4]}"

    base = totals(replayer.rows([]))
    rows = []
    for name, (value, whole) in sorted(found.items()):
        new = [moved(value, whole, f) for f in (0.7, 1.5)]
        if name == "novelty:delay":
            new[1] = min(new[1], 7)  # its queue holds 8
        answers = [totals(replayer.rows(commands_of({name: n}))) for n in new]
        weight = max(abs(a[0] - base[0]) + abs(a[3] - base[3]) + abs(a[4] - base[4]) for a in answers)
        rows.append(
            (weight, [f"`{name}`", f"{value:g}", f"{new[0]:g}: {text(answers[0])}", f"{new[1]:g}: {text(answers[1])}"])
        )
        print(rows[-1], flush=True)
    rows.sort(key=lambda r: -r[0])
    loud = [r for w, r in rows if w > 0]
    flat = [r[0] for w, r in rows if w == 0]
    out = f"All parts together, unmoved: {text(base)} (healthy runs alarmed / alarmed steps / watch % / detected / in time).\n\n"
    out += table(["constant", "value", "30 % smaller", "50 % larger"], loud)
    if flat:
        out += f"\nThese {len(flat)} change neither count in either direction: {', '.join(flat)}.\n"
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", default="observables,rules,constants")
    parser.add_argument("--commit", default="HEAD")
    args = parser.parse_args()
    commit = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "--short=10", args.commit], capture_output=True, text=True, check=True
    ).stdout.strip()
    program, found = build(commit)
    print(f"{len(found)} constants", file=sys.stderr)
    replayer = Replayer(program, recorded_runs())
    made = {"observables": lambda: observables(replayer), "rules": lambda: rules(replayer, found)}
    made["constants"] = lambda: constants(replayer, found)
    for name in args.sections.split(","):
        rows = replayer.rows([])
        head = f"Made by `bench/ablation.py` from commit {commit}. {sizes(rows)}.\n\n"
        if name != "constants":
            head += f"Each cell: {HEAD}.\n\n"
        text = head + made[name]()
        print(f"\n## {name}\n\n{text}", flush=True)
        replace_between(DOCUMENT, name, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
