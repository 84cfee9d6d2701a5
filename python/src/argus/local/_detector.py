"""`LocalDetector`: nine failure modes seen from inside the model, within a budget of time."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from time import perf_counter
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from argus._errors import UsageError
from argus._hooks import remove
from argus._report import say
from argus.local._context import Context, Part
from argus.local._crew import Crew
from argus.local._governor import FLOOR_S, Governor
from argus.local._layers import Layers, is_compiled, unwrap
from argus.local._numbers import Numbers
from argus.local._passes import Passes
from argus.local._report import CheckReport, LocalReport, check_reports, health_of

#: The groups of checks, in the order in which they are called.
PARTS = (
    ("argus.local._activations", "Activations"),
    ("argus.local._parameters", "Parameters"),
    ("argus.local._attention", "Attention"),
    ("argus.local._origin", "Origin"),
)
# Steps between looks at whether the model's modules are still the same.
_LOOK_EVERY = 24
# Steps for which a summary for the watch stands.
_HEALTH_EVERY = 8


class LocalDetector:
    """Looks for nine failure modes inside a model that trains. Sends nothing anywhere; belongs to the thread that trains.

    Attached where it is made, and taken off by `detach()` or at the end of a `with`. It never raises after that, never changes a
    weight, gradient, output or random number, and never waits for a device. What fails inside is said once on stderr, counted,
    and switched off.

    Args:
        model: The model that trains, wrapped or not. Compiled models are watched by parameters, gradients and optimizer state.
        optimizer: Its optimizer, or a list of them. Without one, gradients and optimizer state are not watched, and each training
            pass counts as a step.
        budget: Share of the step time it may use, above 0 and up to 1, but for the first 300 steps, in which it learns what is
            normal. A floor of 20 microseconds a step holds for short steps. What is read is thinned to keep it; every layer is
            visited within 24 steps all the same.
        quiet: True prints nothing on stderr; the report has it all the same.

    Raises:
        UsageError: An argument that cannot be meant. Only here.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        >>> optimizer = torch.optim.Adam(model.parameters())
        >>> with LocalDetector(model, optimizer) as detector:
        ...     for _ in range(3):
        ...         loss = model(torch.ones(2, 4)).square().mean()
        ...         loss.backward()
        ...         optimizer.step()
        ...         optimizer.zero_grad()
        >>> detector.worst_level
        'ok'
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Iterable[Optimizer] | None = None,
        *,
        budget: float = 0.005,
        quiet: bool = False,
        path: str = "auto",
        parts: Sequence[type[Part]] | None = None,
    ) -> None:
        root, compiled = unwrap(_checked_model(model))
        optimizers = _checked_optimizers(optimizer)
        if not isinstance(budget, (int, float)) or not 0.0 < budget <= 1.0:
            raise UsageError(
                f"budget: {budget!r}; accepted is a share of the step time, above 0 and up to 1", field="budget"
            )
        self._quiet = quiet
        self._said: list[str] = []
        self._crew = crew = Crew(self._warn, lambda module: id(module) in self._layers.hidden)
        self._context = context = Context(
            root, optimizers, path=path, register=crew.register, warn=self._warn, once=crew.once
        )
        self._layers = Layers(context, self._warn)
        self._governor = Governor(context, float(budget))
        self._passes = Passes(
            context,
            crew,
            self._layers,
            look=self._look_at_model,
            on_pass=self._begin_without_update,
            on_error=self._give_up,
            warn=self._warn,
        )
        self._numbers = Numbers()
        self._handles: list[Any] = []
        self._stepped: set[int] = set()
        self._regular = set(range(len(optimizers)))
        self._step_end_s = 0.0
        self._look_step = 0
        self._rest = self._rested = self._lead = 0
        self._asleep: list[tuple[dict[int, Any], int, Any]] | None = None
        self._last_report: LocalReport | None = None
        self._health: dict[str, Any] | None = None
        self._health_step = -1
        if compiled:
            context.compiled = True
            self._say_compiled()
        if not optimizers:
            self._warn("no optimizer given: gradients, updates and optimizer state are not watched")
        self._layers.refresh()
        crew.attach(
            context,
            [_load(*entry) for entry in PARTS] if parts is None else list(parts),
        )
        self._passes.attach()
        for which, optimizer_of in enumerate(optimizers):
            self._handles.append(optimizer_of.register_step_pre_hook(self._pre_hook(which)))
            self._handles.append(optimizer_of.register_step_post_hook(self._post_hook(which)))

    def detach(self) -> None:
        """Takes everything off: the model is exactly as it was. The last report stays. Safe to call again."""
        self._rest, self._asleep = 0, None
        handles, self._handles = self._handles, []
        remove(handles)  # of optimizers: later, when one of them is going through its hooks now
        if self._last_report is not None:
            return
        self._passes.detach()
        self._last_report = self._make_report()
        self._crew.detach()
        self._context.release()

    def __enter__(self) -> LocalDetector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.detach()

    # What it says.

    @property
    def errors(self) -> int:
        """Failures inside the detector, contained."""
        return self._crew.errors

    @property
    def worst_level(self) -> str:
        """ok, warn or critical: the worst of the nine checks."""
        return self.report().worst_level

    def report(self) -> LocalReport:
        """What stands now, check by check. Some ten microseconds; nothing is read of the model."""
        return self._last_report if self._last_report is not None else self._make_report()

    def summary(self) -> str:
        """The report as some lines for a terminal."""
        return self.report().summary()

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-able values."""
        return self.report().to_dict()

    def health(self) -> dict[str, Any] | None:
        """The summary that travels with a watched step; None when all is well. At most a few steps old."""
        step = self._context.step
        if self._last_report is None and not 0 <= step - self._health_step < _HEALTH_EVERY:
            start = perf_counter()
            self._health_step = step
            self._health = health_of(self._checks(), len(self._layers))
            self._crew.spent_s += perf_counter() - start
        return self._health

    def reset(self) -> None:
        """The run was rolled back or reset on purpose: all histories begin anew."""
        self._health, self._health_step = None, -_HEALTH_EVERY
        self._crew.ask(lambda part: part.reset())

    def number(self, step: int) -> None:
        """The update before this call belongs to the loop's step of this number: reports speak of those. Else updates count from 0."""
        self._numbers.tell(max(0, self._context.step - 1), step)

    def _checks(self) -> dict[str, CheckReport]:
        try:
            found = [each for findings in self._crew.ask(lambda part: part.findings()) for each in findings]
            return check_reports(found, self._numbers.of)
        except Exception as error:
            self._crew.errors += 1
            self._warn(f"findings could not be read: {type(error).__name__}: {error}"[:300])
            return check_reports([], self._numbers.of)

    def _make_report(self) -> LocalReport:
        context, governor, crew = self._context, self._governor, self._crew
        checks = self._checks()
        levels = [check.level for check in checks.values()]
        facts: dict[str, Any] = {}
        for described in crew.ask(lambda part: part.describe()):
            facts.update(described)
        return LocalReport(
            worst_level=next((level for level in ("critical", "warn") if level in levels), "ok"),
            checks=checks,
            step=self._numbers.of(context.step),
            layers=len(self._layers),
            duty=governor.duty,
            budget=governor.budget,
            floor_us=FLOOR_S * 1e6,
            cost_us=governor.mean_cost_s * 1e6,
            step_ms=governor.step_s * 1e3,
            visited_within=context.period,
            deep_every=context.deep_every,
            memory_bytes=sum(crew.ask(lambda part: part.memory_bytes())),
            not_watched=list(self._said),
            errors=crew.errors,
            facts=facts,
        )

    # Updates. The hooks run inside optimizer.step(): nothing may come out of them.

    def _pre_hook(self, which: int) -> Callable[..., None]:
        context, crew = self._context, self._crew

        def hook(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            if self._last_report is not None or torch.compiler.is_compiling():
                return
            start = perf_counter()
            try:
                if context.idle and which not in self._stepped:
                    crew.call("skip_update", which, optimizer)
                else:
                    self._passes.end(None)
                    if which in self._stepped:  # another optimizer does not step every time
                        self._end_step()
                    crew.call("before_update", which, optimizer, _has_closure(args, kwargs))
                context.unseen[which] = 0
            except Exception as error:
                self._give_up(error)
            crew.spent_s += perf_counter() - start

        return hook

    def _post_hook(self, which: int) -> Callable[..., None]:
        context, crew = self._context, self._crew

        def hook(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            if self._rest > 0:
                if self._asleep is None:
                    self._sleep()
                else:
                    context.unseen[which] += 1
                if which == self._lead:
                    self._rest -= 1
                    self._rested += 1
                    context.step += 1
                return
            if self._last_report is not None or torch.compiler.is_compiling():
                return
            start = perf_counter()
            try:
                if self._asleep is not None:
                    context.unseen[which] += 1
                if not context.idle:
                    crew.call("after_update", which, optimizer)
                self._stepped.add(which)
                if self._stepped >= self._regular:
                    self._end_step(start)
                    return
            except Exception as error:
                self._give_up(error)
            crew.spent_s += perf_counter() - start

        return hook

    # Steps in a row that are not looked at, where even a hook that does nothing would be too much.

    def _sleep(self) -> None:
        """In the post-hook of the first of them: from here on only post-hooks count."""
        self._asleep = []
        for optimizer, handle in zip(self._context.optimizers, self._handles[::2], strict=False):
            table = optimizer._optimizer_step_pre_hooks
            if handle.id in table:
                self._asleep.append((table, handle.id, table.pop(handle.id)))
        self._passes.sleep()

    def _wake(self) -> None:
        for table, key, hook in self._asleep or ():
            table[key] = hook
        self._asleep = None
        self._passes.wake()

    def _begin_without_update(self) -> bool:
        """Where no optimizer tells of steps, each training pass begins one."""
        if self._context.optimizers:
            return False
        self._end_step()
        return True

    def _end_step(self, start: float | None = None) -> None:
        """`start`: the time from which on this call is not yet counted."""
        context, governor, crew = self._context, self._governor, self._crew
        counted = perf_counter() if start is None else start
        was_idle, was_deep, width, steps = context.idle, context.deep, context.width, 1 + self._rested
        if not was_idle:
            crew.call("end_step")
            self._regular = self._stepped & self._regular or set(self._stepped)
            if context.step >= self._look_step:
                self._look_step = context.step + (_LOOK_EVERY if self._look_step > 0 else 1)
                self._look_at_model()
        self._stepped.clear()
        context.pass_over(self._rested)
        self._rested = 0
        context.next_step(context.step + 1)
        now = perf_counter()
        if self._step_end_s > 0.0:
            cost = crew.spent_s + context.take_spent() + now - counted
            governor.step(cost, now - self._step_end_s, steps=steps, idle=was_idle, deep=was_deep, width=width)
        self._step_end_s = now
        crew.spent_s = 0.0
        # Behind the governor: how much a step reads does not change within it.
        if self._asleep is not None:
            self._wake()
        self._passes.next_step(was_idle)
        if context.idle and not (context.extras or crew.loose or crew.is_fixed):
            self._rest = context.idle_left() - 1
            self._lead = min(self._regular)

    def _look_at_model(self) -> None:
        """Layers that came or went, and compilation that came after attaching."""
        context = self._context
        if not context.compiled and is_compiled(self._context.model):
            context.compiled = True
            self._say_compiled()
        if self._layers.refresh():
            self._crew.keep_modules(self._layers.present - self._layers.hidden)
            self._crew.fix()
            for part in list(self._crew.parts):
                self._crew.call_one(part, part.layers_changed)
        if context.step > 2:
            self._layers.say_missing()

    # What can go wrong.

    def _give_up(self, error: Exception) -> None:
        """The shell itself failed: it takes itself off."""
        self._crew.errors += 1
        self._warn(f"the local detector is switched off: {type(error).__name__}: {error}"[:300])
        try:
            self.detach()
        except Exception as second:
            self._warn(f"it could not let go: {type(second).__name__}: {second}"[:300])

    def _say_compiled(self) -> None:
        self._warn("the model is compiled: only parameters, gradients and optimizer state are watched")

    def _warn(self, text: str) -> None:
        if text not in self._said:
            self._said.append(text)
            if not self._quiet:
                say(f"local detector: {text}")


def _has_closure(args: Any, kwargs: Any) -> bool:
    # args[0] is the optimizer itself.
    return bool(kwargs and kwargs.get("closure") is not None) or (len(args) > 1 and args[1] is not None)


def _load(module: str, name: str) -> type[Part]:
    kind: type[Part] = getattr(importlib.import_module(module), name)
    return kind


def _checked_model(model: Any) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise UsageError(f"model: a {type(model).__name__}; accepted is a torch.nn.Module", field="model")
    return model


def _checked_optimizers(optimizer: Any) -> list[Optimizer]:
    if optimizer is None:
        return []
    optimizers = list(optimizer) if isinstance(optimizer, (list, tuple)) else [optimizer]
    for each in optimizers:
        if not hasattr(each, "param_groups") or not hasattr(each, "register_step_pre_hook"):
            raise UsageError(
                f"optimizer: a {type(each).__name__}; accepted is a torch.optim.Optimizer or a list of them",
                field="optimizer",
            )
    return optimizers
