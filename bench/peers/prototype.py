#!/usr/bin/python3
"""Argus detector prototype: one pass, O(1) state, deterministic. prototype.py TRACE prints one JSON decision per step."""

import gzip
import json
import math
import sys
from bisect import bisect_left, insort
from collections import deque


def num(v):
    if v is None:
        return None
    if isinstance(v, str):
        try:
            return float(v.replace("Infinity", "inf"))
        except ValueError:
            return None
    return float(v)


def clip(x, a, b):
    return a if x < a else b if x > b else x


LN96 = math.log(96.0)


class P:  # all constants: budgets, time constants, effect sizes in the run's own units
    h = 8.5  # evidence (nats) for confirmation: ~ 2 consecutive values at >1.1 ranges above the record
    cap = 6.5  # most one value of one channel may contribute (< h: one outlier never confirms alone)
    allow = 1.5
    hold = 0.6  # values this many ranges above the record are held back from the baseline
    ring = 96
    nmin = 16
    adopt = 40  # held values until a stable new regime is adopted
    gross = 2.2
    dd_k = 4.0
    dd_on = 1.0
    dd_lag = 32
    grace = 24
    mat = 0.1
    smat = 0.1
    rtau = 100.0
    early = 100.0
    van = 1.5
    wid = 6.0
    ddr = 0.8
    ddq = 0.7
    vanr = 4.0
    cr = 0.5
    l2T = 1.8
    sud = 2.0
    rho_on = 1
    rho_tau = 128.0
    rho0 = 0.25
    resid = 1
    npw = 2.0
    delay = 6
    delayG = 0
    calm = 24
    lralone = 2.3
    coolw = 10
    hyst = 8
    prog = 5.0
    lrn = 1.3
    soft = 2
    off = frozenset()


class Nov:
    """Upward novelty: distance above the median of the last 96 accepted values in doublings of (largest - median)."""

    def __init__(s, ring=None, cap=None, allow=None, hold=None, nmin=None, delay=0):
        s.delay = delay
        s.nmin = nmin or P.nmin
        s.dl = deque()
        s.N = ring or P.ring
        s.q = deque()
        s.srt = []
        s.pend = deque(maxlen=48)
        s.S = 0.0
        s.v = -9.0
        s.x = -9.0
        s.held = 0
        s.good = 0
        s.since = None
        s.readopt = 0
        s.cap = cap or P.cap
        s.allow = P.allow if allow is None else allow
        s.hold = P.hold if hold is None else hold

    def _ins(s, y):
        s.q.append(y)
        insort(s.srt, y)
        if len(s.q) > s.N:
            o = s.q.popleft()
            del s.srt[bisect_left(s.srt, o)]

    def reset(s):
        s.__init__(s.N, s.cap, s.allow, s.hold, s.nmin, s.delay)

    def step(s, y, widen=1.0, floor=0.0, rec=None):
        n = len(s.q)
        if n < s.nmin:
            s._ins(y)
            s.v = -9.0
            s.x = -9.0
            return
        md, mx = s.srt[n // 2], s.srt[-1]
        lo = s.srt[max(0, n // 10)]
        sc = max(mx - md, 0.5 * (md - lo), floor, 1e-5 * abs(md), 1e-300) * widen
        if rec is not None:
            mx = max(mx, rec)
            sc = max(sc, mx - md)
        u = (y - md) / sc
        s.v = v = clip(math.log2(0.5 * (1 + u)), -9.0, 50.0) if u > -0.9 else -9.0
        s.x = x = (math.log(n) - math.log(s.N) + v * math.log(n / 2.0)) - s.allow
        if v > -0.1:
            s.S = max(0.0, s.S + clip(x, -3.0, s.cap))
        else:
            s.S = max(0.0, 0.6 * s.S - 1.0)
        s.S = min(s.S, 6 * P.h)
        if v > s.hold:
            s.held += 1
            s.good = 0
            s.pend.append(y)
            if s.held >= P.adopt:
                p = list(s.pend)[-P.adopt :]
                a = sorted(p[: P.adopt // 2])
                b = sorted(p[P.adopt // 2 :])
                m = P.adopt // 4
                spread = max(sorted(p)[int(0.9 * P.adopt)] - sorted(p)[P.adopt // 2], 1e-300)
                if b[m] - a[m] < spread or s.held > 200:
                    s.q.clear()
                    s.srt.clear()
                    s.dl.clear()
                    for z in p:
                        s._ins(z)
                    s.S = 0.0
                    s.held = 0
                    s.pend.clear()
                    s.readopt += 1
        else:
            if s.held:
                s.good += 1
                if s.good >= 3:
                    if s.S < P.h:
                        for z in list(s.pend)[-2:]:
                            s._ins(min(z, mx + 0.35 * sc))
                    s.held = 0
                    s.pend.clear()
                    s.good = 0
            s.dl.append(y)
            if len(s.dl) > s.delay:
                s._ins(s.dl.popleft())


class DD:
    """Draw-up of the smoothed value from its lowest level, in units of its own noise, against the largest this run showed while healthy."""

    def __init__(s, tau, k=None, lag=None, forget=1500.0):
        s.tau = tau
        s.k = k or P.dd_k
        s.lag = lag or P.dd_lag
        s.forget = forget
        s.n = 0
        s.f = 0.0
        s.sc = 0.0
        s.M = 1e300
        s.Dm = 0.0
        s.r = 0.0
        s.q = deque()
        s.susp = 0
        s.pm = 0.0
        s.on = 0
        s.alarmed = False
        s.D = 0.0
        s.noise = 0.0
        s.adopted = 0
        s.f0 = None
        s.fh = deque(maxlen=tau)
        s.up = 0.0
        s.P = 0.0
        s.fs = 0.0
        s.hi = None
        s.lo = None
        s.scl = 0.0
        s.c0 = 0.0
        s.c1 = 0.0
        s.ep = 0.0
        s.rq = deque()
        s.rng = 0.0
        s.rr = 0.0

    def reset(s):
        s.__init__(s.tau, s.k, s.lag, s.forget)

    def step(s, y, grace=0.0):
        s.n += 1
        n = s.n
        if n == 1:
            s.f = y
            return
        a = max(1.0 / s.tau, 1.0 / n)
        e = y - s.f
        c = 4.0 * s.sc if n > 10 else 1e300
        s.f += a * clip(e, -c, c)
        q = 0.25 if s.susp else 1.0
        s.sc += q * max(1 / 64.0, 1.0 / (n - 1)) * (min(abs(e), 3 * s.sc if n > 10 else 1e300) - s.sc)
        ee = clip(e, -3 * s.sc, 3 * s.sc)
        w = q * max(1 / P.rho_tau, 1.0 / n)
        s.c0 += w * (ee * ee - s.c0)
        s.c1 += w * (ee * s.ep - s.c1)
        s.ep = ee
        s.scl += max(1 / 400.0, 1.0 / n) * (s.sc - s.scl)
        s.sc = max(s.sc, 0.1 * s.scl)
        if n < max(10, s.tau):
            return
        if s.f0 is None:
            s.f0 = s.f
        if s.f < s.M:
            s.M = s.f
        if len(s.fh) == s.tau:
            um = max(0.0, s.f - s.fh[0])
            nz = 1.25 * s.sc * math.sqrt(a / (2 - a))
            s.up += q * max(1 / 96.0, 1.0 / (n - s.tau)) * (min(um, 3 * s.up + 2 * nz) - s.up)
        s.fh.append(s.f)
        rho = clip(s.c1 / (s.c0 + 1e-300) - P.rho0, 0.0, 0.95)
        infl = math.sqrt((1 + rho) / (1 - rho)) if P.rho_on else 1.0
        s.noise = max(1.25 * s.sc * math.sqrt(a / (2 - a)) * infl, 2.0 * s.up) + 1e-6 * abs(s.f) + 1e-300
        s.P = (s.f0 - s.M) / s.noise
        s.D = D = (s.f - s.M) / s.noise
        if s.hi is None:
            s.hi = s.lo = s.f
        s.hi = max(s.f, s.hi - (s.hi - s.f) / P.rtau)
        s.lo = min(s.f, s.lo + (s.f - s.lo) / P.rtau)
        if not s.susp:
            s.rq.append(s.hi - s.lo)
            if len(s.rq) > s.lag:
                s.rng = s.rq.popleft()
            else:
                s.rng = max(s.rng, s.hi - s.lo)
        s.rr = (s.f - s.M) / (s.rng + s.noise)
        den = s.Dm * (1 + grace) + s.k * (1 + grace) * (1 + P.early / n)
        s.r = (D - s.Dm * (1 + grace)) / den
        s.Dm *= 1 - 1 / s.forget
        if s.r > 0.2 and n > 2 * s.tau:
            if not s.susp:
                s.fs = s.f
            s.susp += 1
            s.pm = max(s.pm, D)
        else:
            if s.susp and s.r < 0:
                s.Dm = max(s.Dm, (0.5 if s.alarmed else 0.9) * s.pm)
                s.susp = 0
                s.pm = 0.0
                s.alarmed = False
            if not s.susp:
                if n % 4 == 0:
                    s.q.append(D)
                    if len(s.q) > s.lag // 4:
                        s.Dm = max(s.Dm, s.q.popleft())
                if n < 2 * s.tau:
                    s.Dm = max(s.Dm, D)
        if s.susp > 300:
            s.susp = 0
            s.alarmed = False
            s.adopted += 1
            s.M = s.f - 0.5 * D * s.noise
            s.Dm = 0.5 * D
            s.pm = 0.0
        s.on = s.on + 1 if s.r > P.dd_on else 0
        if s.on >= 3:
            s.alarmed = True


class Freeze:
    """weights moved at (nearly) every step and now do not move at all"""

    def __init__(s):
        s.last = None
        s.n = 0
        s.mov = 0
        s.still = 0
        s.maxstill = 0
        s.sev = 0.0

    def step(s, key):
        if s.last is not None:
            s.n += 1
            if key == s.last:
                s.still += 1
            else:
                s.mov += 1
                s.maxstill = max(s.maxstill, s.still)
                s.still = 0
        s.last = key
        need = max(5, 3 * s.maxstill + 3)
        s.sev = s.still / need if s.n >= 20 and s.mov > 0.5 * (s.n - s.still) else 0.0


NAMES = [
    "loss_divergence",
    "gradient_explosion",
    "vanishing_gradients",
    "oscillation",
    "training_stagnation",
    "distribution_shift",
    "confidence_collapse",
    "entropy_drift",
    "outlier_batch",
    "label_noise",
    "representational_collapse",
]


class Engine:
    def __init__(s):
        s.t = 0
        s.pos = True
        s.c = None
        s.first = []
        s.new_trackers()
        s.bad = 0
        s.pressure = 0
        s.hold2 = 0
        s.lrmax = 0.0
        s.lrlast = None
        s.grace = 0
        s.bs = None
        s.laststep = None
        s.calm = 0
        s.since = {}
        s.lrage = 0
        s.lrbase = None
        s.lrnov = 0.0

    def new_trackers(s):
        s.nL = Nov(delay=P.delay)
        s.dL8 = DD(8)
        s.dL24 = DD(24)
        s.nG = Nov(delay=P.delayG)
        s.dG = DD(12)
        s.dV = DD(6)
        s.nU = Nov(cap=40.0)
        s.dU = DD(12)
        s.urec = 0.0
        s.lastU = -99
        s.ddon = [0, 0]
        s.sudon = 0
        s.lost = 0
        s.pp = 0
        s.age = 0
        s.cool = 0
        s.worst = [0, 0, 0]
        s.lastworse = 0
        s.spk = []
        s.lastloss = 0.0
        s.nE = Nov()
        s.nC = Nov()
        s.nK = Nov()
        s.nSp = Nov()
        s.nO = Nov()
        s.nMx = Nov()
        s.nOs = Nov()
        s.nLr = Nov(delay=P.delay)
        s.dE = DD(12)
        s.dC = DD(12)
        s.dK = DD(12)
        s.dSp = DD(12)
        s.nR = Nov(nmin=40)
        s.nW = Nov(nmin=40)
        s.nR3 = Nov(nmin=48)
        s.nR3n = Nov(nmin=48)
        s.nW3 = Nov(nmin=48)
        s.nW3n = Nov(nmin=48)
        s.uz = 0
        s.upos = 0
        s.l2on = 0
        s.Rl = deque(maxlen=33)
        s.Wl = deque(maxlen=33)
        s.lins = 0.0
        s.Rh = deque(maxlen=9)
        s.Wh = deque(maxlen=9)
        s.fr = Freeze()
        s.lin = None
        s.linmin = None
        s.L0 = None
        s.gconst = 0
        s.glast = None
        s.osc = 0.0
        s.d1 = None
        s.oscn = 0
        s.oscd = 0.0
        s.last3 = deque(maxlen=3)
        s.yl = None

    def tl(s, x):
        if s.pos:
            return math.log(x)
        return math.copysign(math.log1p(abs(x) / s.c), x)

    def step(s, st):
        tr = st.get("training", {})
        loss = num(tr.get("loss"))
        g = num(tr.get("grad_norm"))
        u = num(tr.get("update_norm"))
        lr = num(tr.get("current_lr"))
        w = st.get("weights", {})
        l1, l2 = num(w.get("l1_norm")), num(w.get("l2_norm"))
        s.t += 1
        sev = dict.fromkeys(NAMES, 0.0)
        out = {"step": st["step"]}
        if s.laststep is not None and st["step"] <= s.laststep:
            s.new_trackers()
            s.first = []
            s.pos = True
            s.c = None
        s.laststep = st["step"]
        # ---- schedule
        if lr and math.isfinite(lr) and lr > 0:
            if s.lrlast and lr > 1.3 * s.lrlast and lr <= 1.05 * s.lrmax:
                s.grace = P.grace
            if lr > s.lrmax:
                if s.lrage >= 50:
                    s.lrbase = s.lrmax
                s.lrage = 0
            else:
                s.lrage += 1
            s.lrnov = math.log2(lr / s.lrbase) if s.lrbase else 0.0
            s.lrmax = max(s.lrmax, lr)
            s.lrlast = lr
        if tr.get("lr_restarted"):
            s.grace = s.gmax = 2 * P.grace
        b = st.get("batch_meta", {})
        key = (b.get("batch_size"), b.get("sequence_length"))
        if s.bs is not None and key != s.bs:
            s.grace = P.grace
        s.bs = key
        gr = min(1.0, s.grace / P.grace)
        s.grace = max(0, s.grace - 1)
        widen = 1 + P.wid * gr
        nonfin = (
            bool(st.get("nan_detected"))
            or (loss is not None and not math.isfinite(loss))
            or (g is not None and not math.isfinite(g))
        )
        if nonfin:
            s.bad = min(20, s.bad + 3)
        else:
            s.bad = max(0, s.bad - 1)
        # ---- loss
        if loss is not None and math.isfinite(loss):
            if s.c is None:
                s.first.append(loss)
                if loss <= 0:
                    s.pos = False
                if len(s.first) >= 8:
                    z = sorted(abs(x) for x in s.first)
                    s.c = max(0.1 * z[4], 1e-300)
                    s.L0 = sorted(s.first)[4]
                    s.lin = s.L0
                    s.linmin = s.L0
                    if min(s.first) <= 0:
                        s.pos = False
                    for x in s.first:
                        s.feed_loss(x, 1.0, 0.0)
            else:
                if loss <= 0:
                    s.pos = False
                s.feed_loss(loss, widen, gr)
        # ---- gradient norm
        if g is not None and math.isfinite(g) and g > 0:
            s.gconst = s.gconst + 1 if g == s.glast else 0
            s.glast = g
            y = math.log(g)
            if s.gconst < 2:
                s.nG.step(g, widen)
                s.dG.step(y, gr)
                o = s.dV.susp
                s.dV.step(-y, gr)
                if s.dV.susp == 1 and o == 0:
                    s.lins = s.lin or 0.0
        if (
            u is not None
            and math.isfinite(u)
            and u > 0
            and not (s.upos >= 20 and len(s.nU.srt) >= 16 and u <= 0.01 * s.nU.srt[0] and s.uz < 100)
        ):
            s.upd(u, widen, gr)
        if u is not None:
            low = s.nU.srt[0] if len(s.nU.srt) >= 16 else 0.0
            if u > 0.01 * low:
                s.upos += 1
                s.uz = 0
            elif s.upos >= 20 and g is not None and g > 0:
                s.uz += 1
        if l1 and l2 and math.isfinite(l1) and math.isfinite(l2):
            s.fr.step((l1, l2))
            R, W = math.log(l1 / l2), math.log(l2)
            wd = widen if gr > 0 else 1.0
            if len(s.Rh) == 9:
                s.nR.step(abs(R - s.Rh[0]), wd, 1e-5)
                s.nW.step(abs(W - s.Wh[0]), wd, 1e-5)
            s.Rh.append(R)
            s.Wh.append(W)
            if len(s.Rl) == 33:
                (
                    s.nR3.step(R - s.Rl[0], wd, 1e-5),
                    s.nR3n.step(s.Rl[0] - R, wd, 1e-5),
                    s.nW3.step(W - s.Wl[0], wd, 1e-5),
                    s.nW3n.step(s.Wl[0] - W, wd, 1e-5),
                )
            s.Rl.append(R)
            s.Wl.append(W)
        # ---- Layer 2
        s.spk = []
        sl = st.get("sample_losses")

        def mean(k):
            a = st.get(k)
            if not a:
                return None
            a = [float(x) for x in a if x is not None and not isinstance(x, str)]
            return sum(a) / len(a) if a else None

        cf, en, ck = mean("sample_confidences"), mean("sample_entropies"), mean("sample_correct")
        if cf is not None:
            s.nC.step(-cf, widen, 0.01)
            s.dC.step(-cf, gr)
        if en is not None:
            s.nE.step(en, widen, 0.01)
            s.dE.step(en, gr)
        if ck is not None:
            s.nK.step(-ck, widen, 0.03)
            s.dK.step(-ck, gr)
        if sl and len(sl) >= 4:
            a = sorted(num(x) for x in sl)
            n = len(a)
            if all(math.isfinite(x) for x in a):
                q1, q2, q3 = a[n // 4], a[n // 2], a[(3 * n) // 4]
                sp = math.log(max(a[-1] - a[0], 1e-300))
                s.nSp.step(sp, widen)
                s.dSp.step(sp, gr)
                s.spk = [
                    i for i, x in zip(st.get("sample_ids", []), sl) if len(s.nMx.srt) >= 16 and num(x) > s.nMx.srt[-1]
                ]
                s.nMx.step(a[-1], widen)
                orat = (a[-1] - q2) / max(q3 - q1, 1e-12 + 1e-3 * abs(q2))
                s.nO.step(math.log1p(max(0, orat)), widen)
        # ---- evidence
        L, G, U = s.nL, s.nG, s.nU
        eL = max(L.S, s.nLr.S if P.resid else 0.0)
        eG = G.S if s.gconst < 3 else 0.0
        aux = [clip(c.x, 0, 12) for c in (s.nE, s.nC, s.nK, s.nSp) if c.x > 0]
        xG = clip(G.x, 0, 12) if s.gconst < 3 else 0
        xU = clip(U.x, 0, 12)
        fused = eL + 0.3 * (xG + 0.5 * xU + 0.5 * (max(aux) if aux else 0)) if eL > 0 else 0.0
        fused2 = eG + 0.3 * (clip(L.x, 0, 12) + 0.5 * xU) if eG > 0 else 0.0
        mat = imat = 1.0
        if s.linmin is not None and s.L0 is not None and s.L0 > s.linmin:
            mat = (s.lin - s.linmin) / (s.L0 - s.linmin)
            imat = (s.lastloss - s.linmin) / (s.L0 - s.linmin)
        d8, d24 = s.dL8, s.dL24
        rL = max(d8.r, d24.r)
        rl2 = max(s.dE.r, s.dC.r, s.dK.r)
        wr = max(s.nR.S, s.nW.S, s.nR3.S, s.nW3.S, s.nR3n.S, s.nW3n.S) / P.h
        ddL = 0.0
        hasU = s.dU.n > 20 and s.t - s.lastU < 10
        cor = rl2 > P.cr or wr > 0.5 or s.dU.r > P.cr or s.lrnov > 0.5 or not hasU
        for i, d in enumerate((d8, d24)):
            ok = d.r > P.ddr and d.rr > P.ddq and mat > P.mat and d24.P > P.prog and d.P > P.prog and cor
            s.ddon[i] = s.ddon[i] + 1 if ok else 0
            if s.ddon[i] >= 4:
                ddL = max(ddL, d.r / P.ddr)
        lrv = (
            s.lrnov / P.lrn
            if s.lrnov >= P.lralone
            or s.lrnov >= P.lrn
            and (rL > 0.15 or U.v > 0 or s.dU.r > 0.2 or G.v > 0.3 or L.v > 0.3)
            else 0.0
        )
        sud = d8.r / P.sud if d8.r > P.sud and d8.susp <= 24 and d8.rr > 1.0 and s.t > 100 else 0.0
        s.sudon = s.sudon + 1 if sud else 0
        if s.sudon >= 2:
            ddL = max(ddL, sud)
        uS = max(U.S / (2 * P.h), 0.0)
        if max(mat, imat) < P.smat:
            fused = min(fused, 0.9 * P.h)
        sev["loss_divergence"] = max(fused / P.h, ddL)
        sev["gradient_explosion"] = max(fused2 / P.h, uS, lrv)
        van = 0.0
        if s.dV.on >= 3 and s.dV.susp and s.gconst < 3:
            fall = s.dV.f - s.dV.fs
            dl = math.log(s.lins / s.lin) if s.pos and s.lin and s.lin > 0 and s.lins > 0 else 0.0
            if dl < 0.3 * fall and s.dV.rr > P.van:
                van = s.dV.r
        sev["vanishing_gradients"] = van / P.vanr
        sev["training_stagnation"] = max(s.fr.sev, s.uz / 6.0) if not (s.pos and s.L0 and s.lin < 1e-3 * s.L0) else 0.0
        sev["representational_collapse"] = max(s.nR.S, s.nR3.S, s.nR3n.S) / P.h
        T = clip(s.dE.r, 0, 1.5) + clip(s.dC.r, 0, 1.5) + clip(s.dK.r, 0, 1.5) + clip(rL, 0, 1.5)
        okT = T > P.l2T and s.t >= 60 and rl2 > 0.3
        s.l2on = s.l2on + 1 if okT else 0
        l2 = s.l2on >= 4
        for k, dd, nn in (
            ("entropy_drift", s.dE, s.nE),
            ("confidence_collapse", s.dC, s.nC),
            ("label_noise", s.dK, s.nK),
        ):
            sev[k] = max(
                nn.S / P.h, dd.r / 0.35 if l2 and dd.r > 0.35 else 0.0, dd.r / 1.2 if dd.on >= 3 and s.t >= 60 else 0.0
            )
        sev["distribution_shift"] = s.nSp.S / P.h
        sev["outlier_batch"] = s.nO.S / P.h
        for k in P.off:
            sev[k] = 0.0
        softs = [
            k
            for k in (
                "representational_collapse",
                "entropy_drift",
                "confidence_collapse",
                "label_noise",
                "distribution_shift",
                "outlier_batch",
            )
            if sev[k] >= 1
        ]
        hard = max(sev["loss_divergence"], sev["vanishing_gradients"], sev["training_stagnation"])
        if sev["gradient_explosion"] >= 1 and (U.S >= P.h or lrv >= 1 or L.v > -0.5 or rL > 0.3 or wr > 0.5):
            hard = max(hard, sev["gradient_explosion"])
        corr = rL > 0.3 or L.S > 0.4 * P.h
        p = 0
        if softs or sev["gradient_explosion"] >= 1 or (max(d8.on, d24.on) >= 8 and mat > P.mat) or hard > 0.8:
            p = 1
        if len(softs) >= P.soft or (softs and corr):
            p = 2
        if hard >= 1 or l2:
            p = 2
        sev["oscillation"] = s.nOs.S / P.h
        # critical: all progress lost while the evidence is far past confirmation
        lost = d24.P > P.prog and mat > 1.0 and sev["loss_divergence"] > 2.0 and p >= 2
        s.lost = s.lost + 1 if lost else 0
        # hysteresis and bounded suspicion
        lev = (d8.f, s.dG.f, s.dV.f)
        nz = (d8.noise, s.dG.noise, s.dV.noise)
        rel = (sev["loss_divergence"] >= 1 or l2, sev["gradient_explosion"] >= 1, sev["vanishing_gradients"] >= 1)
        if p >= 2 and s.pp < 2 and s.age == 0:
            s.worst = list(lev)
            s.lastworse = s.t
        if p >= 2:
            s.age += 1
            s.cool = P.hyst
            for i in range(3):
                if rel[i] and lev[i] > s.worst[i] + nz[i]:
                    s.worst[i] = lev[i]
                    s.lastworse = s.t
            if sev["training_stagnation"] >= 1 and s.age < 200:
                s.lastworse = s.t
            if s.t - s.lastworse > P.calm:
                p = 1
        elif s.cool > 0:
            s.cool -= 1
            p = max(p, 2 if hard > 0.6 and s.pp >= 2 else 1)
            if s.cool == 0:
                s.age = 0
        if s.lost >= 2 and p >= 2:
            p = 3
        if s.bad:
            p = 3
            sev["loss_divergence"] = max(sev["loss_divergence"], 2.0)
            sev["gradient_explosion"] = max(sev["gradient_explosion"], 1.0)
        s.pp = p
        s.dbg = dict(
            fL=fused,
            fG=fused2,
            vL=L.v,
            vG=G.v,
            vU=U.v,
            r8=s.dL8.r,
            r24=s.dL24.r,
            rG=s.dG.r,
            rV=s.dV.r,
            fr=s.fr.sev,
            van=van,
            R=s.nR.S,
            R3=s.nR3.S,
            R3n=s.nR3n.S,
            W=s.nW.S,
            W3=s.nW3.S,
            W3n=s.nW3n.S,
            rU=s.dU.r,
            U=s.nU.S,
            dC=s.dC.r,
            dK=s.dK.r,
            PL=s.dL24.P,
            rr8=min(s.dL8.rr, s.dL8.r),
            rr24=min(s.dL24.rr, s.dL24.r),
            ddL=ddL,
            P8=d8.P,
            P24=d24.P,
            rr8_=d8.rr,
            rr24_=d24.rr,
            on8=d8.on,
            on24=d24.on,
            lrnov=s.lrnov,
            rrG=s.dG.rr,
            rrU=s.dU.rr,
            rrV=s.dV.rr,
            fs2=uS,
            vE=s.nE.v,
            vC=s.nC.v,
            vK=s.nK.v,
            vSp=s.nSp.v,
            vO=s.nO.v,
            xG=xG,
            xU=xU,
            r8p=s.dL8.r if s.dL8.P > 5 else 0,
            r24p=s.dL24.r if s.dL24.P > 5 else 0,
            rGL=min(s.dG.r, max(s.dL8.r, s.dL24.r)),
            E=s.nE.S,
            dE=s.dE.r,
            C=s.nC.S,
            K=s.nK.S,
            Sp=s.nSp.S,
            dSp=s.dSp.r,
            O=s.nO.S,
            mat=mat,
            gr=gr,
        )
        out["harm_pressure"] = p
        act = [{"name": k, "severity": round(v, 2)} for k, v in sev.items() if v >= 1]
        if act:
            out["signals"] = act
        if sev["outlier_batch"] >= 1 and s.spk:
            out["spike_samples"] = s.spk
        return out

    def upd(s, u, widen, gr):
        s.lastU = s.t
        s.nU.step(u, widen, 0.0, s.urec if s.dU.n > P.nmin else None)
        s.dU.step(math.log(u), gr)
        if s.dU.n > 3:
            s.urec = max(s.urec * (1 - 1 / 2000.0), u if s.nU.v < 0.3 else min(u, 1.1 * s.urec))

    def feed_loss(s, x, widen, gr):
        if s.dL24.n > 24 and s.dL24.P < P.prog:
            widen *= P.npw
        d = x - s.lastloss
        if s.d1 is not None:
            s.nOs.step(math.sqrt(max(0.0, -d * s.d1)), widen)
        s.d1 = d
        if s.dL8.n > 8:
            s.nLr.step(x - s.dL8.f, widen)
        s.lastloss = x
        y = x
        s.nL.step(y, widen)
        s.dL8.step(y, gr)
        s.dL24.step(y, gr)
        if s.lin is not None:
            s.lin += 0.2 * (x - s.lin)
            if s.lin < s.linmin:
                s.linmin = s.lin
        s.yl = y


def run(trace, debug=None, **kw):
    for k, v in kw.items():
        setattr(P, k, v)
    e = Engine()
    o = []
    for st in trace:
        o.append(e.step(st))
        if debug is not None:
            debug.append(dict(e.dbg))
    return o


def main():
    path = sys.argv[1]
    op = gzip.open if path.endswith(".gz") else open
    e = Engine()
    with op(path, "rt") as f:
        for line in f:
            if line.strip():
                print(json.dumps(e.step(json.loads(line))))


if __name__ == "__main__":
    main()
