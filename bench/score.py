#!/usr/bin/env python3
"""Score a training-anomaly detector on recorded real training runs.

  score.py DATASET --cmd './build/argus replay --json {trace}'     score a program
  score.py DATASET --peer ewma                                      score a simple peer (threshold, ewma, pagehinkley, mad)
  options: --json OUT  write every figure   --runs  a line per run   --only REGEX  names to take   --jobs N   --label NAME

DATASET holds NAME.jsonl.gz (one step object per line, wire format v2) and NAME.meta.json, or NAME.jsonl with an INDEX.tsv
(real public logs: verdict instead of an onset). The program reads one trace and prints, per step and in order, one JSON object
with at least `step` and `harm_pressure`, and, while signals are active, `signals: [{"name": ...}]`, `spike_samples: [...]`.
Only the standard library is used. Faults marked harmless or undetectable count for false alarms before their onset only.

Figures
  healthy steps      every step of a healthy run, the steps before onset of a faulty one, and the clean interlude of a dual one
  alarm              harm_pressure >= 2                      watch   harm_pressure >= 1
  in time            an alarm that STARTS in [onset, collapse] (no collapse recorded: within 300 steps of onset); one that was
                     already up when the fault began earns nothing until it has been down
  real logs          by verdict and kind of event: share alarmed from 3 % of the run before the incident on, logged points late (median)
  detected           starts there or at most 100 steps later
  lead, delay        collapse - alarm, alarm - onset, in steps, medians over detected faults
  evidence           share of detected faults where a signal listed in expected_signals is active within 20 steps of the alarm
"""

import argparse
import csv
import glob
import gzip
import json
import math
import os
import re
import shlex
import statistics as st
import subprocess
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

ALARM, WATCH, CRITICAL = 2, 1, 3
GRACE_NO_COLLAPSE, LATE, INTERLUDE_SETTLE = 300, 100, 30


def opened(path):
    return gzip.open(path, "rt") if path.endswith(".gz") else open(path)


def number(v):
    if isinstance(v, str):
        return float(v.replace("Infinity", "inf"))
    return float("nan") if v is None else float(v)


def steps_of(path):
    with opened(path) as f:
        for line in f:
            if line.strip():
                yield json.loads(line)


# ---- simple peers, fed loss and gradient norm alone ---------------------------------------------------------------------
def peer_threshold(trace):
    """Alarm when the gradient norm exceeds 5x the median of the first 50, or the loss 2x its running minimum, or is not finite."""
    first, ref, low = [], None, math.inf
    for s in trace:
        t = s.get("training", {})
        loss, norm = number(t.get("loss")), number(t.get("grad_norm"))
        if ref is None:
            if math.isfinite(norm):
                first.append(norm)
            if len(first) == 50:
                ref = st.median(first)
        bad = not math.isfinite(loss) or (ref and norm > 5 * ref) or (low > 0 and loss > 2 * low and s["step"] > 50)
        if math.isfinite(loss):
            low = min(low, loss)
        yield s["step"], 2 if bad else 0


def peer_ewma(trace, z=4.0, a=0.02):
    """Alarm when loss or log gradient norm is more than 4 exponentially weighted standard deviations above its mean."""
    m, v, n = {}, {}, 0
    for s in trace:
        t = s.get("training", {})
        loss, norm = number(t.get("loss")), number(t.get("grad_norm"))
        bad, n = not math.isfinite(loss), n + 1
        for k, x in (("l", loss), ("g", math.log(norm) if norm > 0 and math.isfinite(norm) else math.nan)):
            if not math.isfinite(x):
                continue
            if k in m:
                d = x - m[k]
                if n > 30 and d > z * math.sqrt(v[k] + 1e-12):
                    bad = True
                m[k] += a * d
                v[k] = (1 - a) * (v[k] + a * d * d)
            else:
                m[k], v[k] = x, 0.0
        yield s["step"], 2 if bad else 0


def peer_pagehinkley(trace, delta=0.005, lam=50.0):
    """Page-Hinkley on the loss scaled by the spread of its first 30 values (river's defaults for delta and threshold)."""
    first, scale, n, mean, cum, low, hold = [], None, 0, 0.0, 0.0, 0.0, 0
    for s in trace:
        loss = number(s.get("training", {}).get("loss"))
        bad = not math.isfinite(loss)
        if not bad:
            if scale is None:
                first.append(loss)
                if len(first) == 30:
                    scale = st.pstdev(first) or 1.0
            else:
                n += 1
                x = loss / scale
                mean += (x - mean) / n
                cum += x - mean - delta
                low = min(low, cum)
                if cum - low > lam:
                    bad, n, mean, cum, low, hold = True, 0, 0.0, 0.0, 0.0, 5
        hold = max(0, hold - 1)
        yield s["step"], 2 if bad or hold else 0


def peer_mad(trace, z=6.0, width=64):
    """Alarm when loss or log gradient norm is more than 6 rolling median absolute deviations above the rolling median."""
    win = {"l": [], "g": []}
    for s in trace:
        t = s.get("training", {})
        loss, norm = number(t.get("loss")), number(t.get("grad_norm"))
        bad = not math.isfinite(loss)
        for k, x in (("l", loss), ("g", math.log(norm) if norm > 0 and math.isfinite(norm) else math.nan)):
            if not math.isfinite(x):
                continue
            w = win[k]
            if len(w) >= 30:
                c = st.median(w)
                d = 1.4826 * st.median([abs(y - c) for y in w]) + 1e-9
                if x > c + z * d:
                    bad = True
            w.append(x)
            if len(w) > width:
                w.pop(0)
        yield s["step"], 2 if bad else 0


PEERS = {n[5:]: f for n, f in globals().items() if n.startswith("peer_")}


# ---- running and scoring -----------------------------------------------------------------------------------------------
def decide(path, args):
    if args.peer:
        return [{"step": s, "harm_pressure": p} for s, p in PEERS[args.peer](steps_of(path))]
    cmd = [a.replace("{trace}", path) for a in shlex.split(args.cmd)]
    out = subprocess.run(cmd, capture_output=True, text=True, timeout=300)
    if out.returncode:
        raise SystemExit(f"{' '.join(cmd)}: exit {out.returncode}: {out.stderr[-400:]}")
    return [json.loads(line) for line in out.stdout.splitlines() if line.startswith("{")]


def runs_in(folder, only):
    real = {}
    index = os.path.join(folder, "INDEX.tsv")
    if os.path.exists(index):
        with open(index) as f:
            for row in csv.DictReader(f, delimiter="\t"):
                real[row["name"]] = row
    for path in sorted(glob.glob(os.path.join(folder, "**", "*.jsonl*"), recursive=True)):
        name = re.sub(r"\.jsonl(\.gz)?$", "", os.path.basename(path))
        if only and not re.search(only, name):
            continue
        meta = os.path.join(os.path.dirname(path), name + ".meta.json")
        if os.path.exists(meta):
            with open(meta) as f:
                yield name, path, json.load(f)
        elif name in real:
            row = real[name]
            if row["verdict"] == "unclear":
                continue
            first = (row.get("incident") or "").split(",")[0].split(";")[0].strip()
            yield (
                name,
                path,
                {
                    "name": name,
                    "label": "healthy" if row["verdict"] == "healthy" else "real",
                    "family": row.get("family", ""),
                    "fault": f"{row['verdict']}/{row.get('event_type') or '?'}",
                    "incident": float(first) if re.fullmatch(r"[0-9.]+", first) else None,
                },
            )


def score_one(name, path, meta, args):
    d = decide(path, args)
    n_trace = sum(1 for _ in steps_of(path))
    if len(d) != n_trace:
        raise SystemExit(f"{name}: {n_trace} steps in the trace, {len(d)} decisions")
    return judge(name, meta, d, bool(args.peer))


def judge(name, meta, d, is_peer):
    """The row of one run, from its decisions in order."""
    steps, p = [x["step"] for x in d], [int(x["harm_pressure"]) for x in d]
    r = {
        "name": name,
        "label": meta.get("label"),
        "fault": meta.get("fault", "none"),
        "family": meta.get("family", ""),
        "harmless": bool(meta.get("harmless")),
        "steps": len(d),
    }
    onset, collapse = meta.get("onset_step"), meta.get("collapse_step")
    if meta.get("label") == "real":
        # incidents were located on block medians: allow 3 % of the run (at least 3 points) before them
        at = (
            0
            if meta["incident"] is None
            else next((i for i, s in enumerate(steps) if s >= meta["incident"]), len(steps) - 1)
        )
        from_point = max(0, at - max(3, len(steps) * 3 // 100))
        hits = [i for i, (q, before) in enumerate(zip(p, [0] + p)) if q >= ALARM > before]
        r["alarm_point"] = next((i for i in hits if i >= from_point), None)
        r["points_late"] = None if r["alarm_point"] is None else max(0, r["alarm_point"] - at)
        r["early_false"] = any(i < from_point for i in hits)
        r["watched"] = any(q >= WATCH for q in p[from_point:])
        return r
    if meta["label"] == "healthy":
        ok = [True] * len(d)
    else:
        ok = [s < onset for s in steps]
        clear, onset2 = meta.get("clear_step"), meta.get("onset2_step")
        if clear is not None and onset2 is not None:
            ok = [k or clear + INTERLUDE_SETTLE <= s < onset2 for k, s in zip(ok, steps)]
    h = [q for q, k in zip(p, ok) if k]
    r["healthy_steps"] = len(h)
    r["alarm_steps"], r["watch_steps"] = sum(q >= ALARM for q in h), sum(q >= WATCH for q in h)
    r["critical_steps"] = sum(q >= CRITICAL for q in h)
    r["episodes"] = sum(b >= ALARM > a for a, b in zip([0] + h[:-1], h))
    if meta["label"] != "fault" or r["harmless"] or meta.get("undetectable"):
        return r
    parts = [(onset, collapse if meta.get("onset2_step") is None else None, "")]
    if meta.get("onset2_step") is not None:
        parts = [(onset, meta.get("clear_step"), "_first"), (meta["onset2_step"], collapse, "_second")]
    expected = set(meta.get("expected_signals", []))
    r["parts"] = []
    for o, c, tag in parts:
        deadline = c if c is not None else o + GRACE_NO_COLLAPSE
        a = next((s for s, q, before in zip(steps, p, [0] + p) if s >= o and q >= ALARM > before), None)
        part = {
            "fault": r["fault"] + tag,
            "alarm": a,
            "in_time": a is not None and a <= deadline,
            "detected": a is not None and a <= deadline + LATE,
        }
        if part["detected"]:
            part["delay"] = a - o
            part["lead"] = (c - a) if c is not None else None
            seen = {
                s["name"] if isinstance(s, dict) else s
                for x in d
                if a <= x["step"] <= a + 20
                for s in x.get("signals", [])
            }
            part["evidence"] = bool(seen & expected) if expected and not is_peer else None
        r["parts"].append(part)
    ids = set(map(str, meta.get("spike_ids", []) if isinstance(meta.get("spike_ids"), list) else []))
    if ids and not is_peer:
        named = [str(i) for x in d if x["step"] >= onset for i in x.get("spike_samples", [])]
        r["spike_precision"] = sum(i in ids for i in named) / len(named) if named else None
    return r


def median(v):
    v = [x for x in v if x is not None]
    return st.median(v) if v else None


def pct(a, b):
    return 100.0 * a / b if b else float("nan")


def summarise(rows):
    """Every figure over these rows."""
    healthy = [r for r in rows if r["label"] == "healthy"]
    scored = [r for r in rows if "healthy_steps" in r]
    parts = [p for r in rows for p in r.get("parts", [])]
    real = [r for r in rows if r["label"] == "real"]
    hs = sum(r["healthy_steps"] for r in scored)
    by = defaultdict(list)
    for p in parts:
        by[p["fault"]].append(p)
    out = {
        "runs": len(rows),
        "healthy_runs": len(healthy),
        "healthy_steps": hs,
    }
    out["healthy_runs_alarmed_pct"] = pct(sum(r["alarm_steps"] > 0 for r in healthy), len(healthy))
    out["healthy_runs_critical_pct"] = pct(sum(r["critical_steps"] > 0 for r in healthy), len(healthy))
    out["alarm_step_pct"] = pct(sum(r["alarm_steps"] for r in scored), hs)
    out["watch_step_pct"] = pct(sum(r["watch_steps"] for r in scored), hs)
    out["false_episodes_per_10k_steps"] = 1e4 * sum(r["episodes"] for r in scored) / hs if hs else None
    if parts:
        out["faults"] = len(parts)
        out["recall_in_time_pct"] = pct(sum(p["in_time"] for p in parts), len(parts))
        out["recall_detected_pct"] = pct(sum(p["detected"] for p in parts), len(parts))
        out["macro_recall_in_time_pct"] = st.mean(pct(sum(p["in_time"] for p in v), len(v)) for v in by.values())
        out["median_lead"], out["median_delay"] = (
            median([p.get("lead") for p in parts]),
            median([p.get("delay") for p in parts]),
        )
        ev = [p["evidence"] for p in parts if p.get("evidence") is not None]
        out["evidence_pct"] = pct(sum(ev), len(ev))
        out["by_fault"] = {
            k: {
                "n": len(v),
                "in_time_pct": pct(sum(p["in_time"] for p in v), len(v)),
                "detected_pct": pct(sum(p["detected"] for p in v), len(v)),
                "lead": median([p.get("lead") for p in v]),
                "delay": median([p.get("delay") for p in v]),
            }
            for k, v in sorted(by.items())
        }
    if real:
        out["real"] = {}
        for v in sorted({r["fault"] for r in real}):
            g = [r for r in real if r["fault"] == v]
            out["real"][v] = {
                "n": len(g),
                "alarmed_pct": pct(sum(r["alarm_point"] is not None for r in g), len(g)),
                "watched_pct": pct(sum(r["watched"] for r in g), len(g)),
                "points_late": median([r["points_late"] for r in g]),
                "early_false_pct": pct(sum(r["early_false"] for r in g), len(g)),
            }
    sp = [r["spike_precision"] for r in rows if r.get("spike_precision") is not None]
    if sp:
        out["spike_precision_pct"] = 100 * st.mean(sp)
    return out


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("dataset")
    ap.add_argument("--cmd")
    ap.add_argument("--peer", choices=sorted(PEERS))
    ap.add_argument("--json")
    ap.add_argument("--runs", action="store_true")
    ap.add_argument("--only")
    ap.add_argument("--jobs", type=int, default=2)
    ap.add_argument("--label", default="")
    args = ap.parse_args()
    if not args.cmd and not args.peer:
        ap.error("one of --cmd and --peer")
    todo = list(runs_in(args.dataset, args.only))
    if not todo:
        raise SystemExit(f"no runs in {args.dataset}")
    with ThreadPoolExecutor(args.jobs) as pool:
        rows = list(pool.map(lambda t: score_one(*t, args), todo))
    out = {"label": args.label or args.peer or args.cmd} | summarise(rows)
    if args.runs:
        for r in rows:
            print(json.dumps(r))
    for k, v in out.items():
        if k not in ("by_fault", "real"):
            print(f"{k:32} {v:.3f}" if isinstance(v, float) else f"{k:32} {v}")
    for k, v in out.get("by_fault", {}).items():
        print(
            f"  {k:28} n={v['n']:<3} in time {v['in_time_pct']:5.1f}%  detected {v['detected_pct']:5.1f}%  lead {v['lead']}  delay {v['delay']}"
        )
    for k, v in out.get("real", {}).items():
        print(
            f"  {k:34} n={v['n']:<3} alarmed {v['alarmed_pct']:5.1f}%  watched {v['watched_pct']:5.1f}%  points late {v['points_late']}  false before {v['early_false_pct']:5.1f}%"
        )
    if args.json:
        with open(args.json, "w") as f:
            json.dump(out, f, indent=1)


if __name__ == "__main__":
    main()
