"""`argus.watch`: puts a watch together from what was given, the environment and the model itself."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib import metadata
from typing import TYPE_CHECKING, Any

from argus import _endings, _options
from argus._analytics import Analytics
from argus._errors import ArgusError, UsageError
from argus._native import Decision, Run
from argus._options import Options
from argus._report import say
from argus._watch import Watch

if TYPE_CHECKING:
    import os

    from torch import nn
    from torch.optim import Optimizer

    from argus._checkpoints import Checkpoints
    from argus._discover import Architecture
    from argus._ranks import Ranks


def watch(
    model: nn.Module | None = None,
    optimizer: Optimizer | Iterable[Optimizer] | None = None,
    *,
    scheduler: Any = None,
    scaler: Any = None,
    loader: Any = None,
    url: str | None = None,
    key: str | None = None,
    run_id: str | None = None,
    mode: str | None = None,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    total_steps: int | None = None,
    home: str | os.PathLike[str] | None = None,
    record: bool | None = None,
    model_type: str | None = None,
    measure: bool = True,
    quiet: bool | None = None,
    on_change: Callable[[Decision], object] | None = None,
    on_pause: Callable[[str], object] | str | None = None,
    history_steps: int | None = None,
    analytics: bool | None = None,
    local: bool | None = None,
) -> Watch:
    """Watches a training run. Decisions are made in this process; the run is kept in the home folder, or by a server.

    Every argument but the objects may come from the environment instead: ARGUS_URL, ARGUS_API_KEY, ARGUS_RUN_ID, ARGUS_MODE,
    ARGUS_CHECKPOINT_DIR, ARGUS_TOTAL_STEPS, ARGUS_HOME, ARGUS_RECORD, ARGUS_MODEL_TYPE, ARGUS_QUIET, ARGUS_ON_PAUSE (raise),
    ARGUS_HISTORY_STEPS, ARGUS_ANALYTICS, ARGUS_LOCAL.

    Args:
        model: The model that trains. Gives the depth order of its parameters; without it the optimizer's order is used.
        optimizer: Its optimizer, or several. Without any, what can be read at `step` is; without a model either, only what is
            given to `step` is watched, and torch is not needed.
        scheduler: Learning-rate scheduler, or several: kept in checkpoints.
        scaler: A `torch.amp.GradScaler`, kept in checkpoints; found by itself at the first step it lets through.
        loader: A data loader with `state_dict` (or whose sampler has one): its position is kept in checkpoints.
        url: Server that keeps the run, `http(s)://host:port`. Without one it is kept in the home folder.
        key: API key of that server.
        run_id: 1 to 128 of `A-Z a-z 0-9 . _ : -`. A run of this id that was interrupted goes on. Default: a new one from the
            model's name and the time.
        mode: "manual" (default) changes nothing, ever. "auto" (experimental) carries out what is recommended, checks what it did
            and takes it back.
        checkpoint_dir: Where checkpoints driven by health are kept. Without one none are, and "auto" cannot roll back.
        total_steps: Optimizer steps the run is meant to take: spaces checkpoints.
        home: Folder of runs kept here, and of the spool. Default `~/.argus`.
        record: False keeps nothing anywhere: decisions only, no file and no thread.
        model_type: A hint that shortens calibration and never adds an alarm: transformer, llm, cnn, vision, rnn, mlp, diffusion,
            rl, gan, moe, ssm, gnn or other. Default: read off the model.
        measure: False to measure nothing and watch only what is given to `step` and the learning rate.
        quiet: True prints no line when the pressure rises or clears. Failures inside argus are said all the same, once.
        on_change: Called with the decision whenever the pressure changes, on the training thread; its exceptions are contained.
        on_pause: What a PAUSE does: "raise" raises `TrainingPaused` from `step`; a function is called with the reason.
        history_steps: Steps `Watch.history` keeps, about 260 bytes each; default 100,000.
        analytics: True sends the second stream (`argus explain-telemetry` lists its fields) to the same place.
        local: True looks inside the model too, with an `argus.LocalDetector`; what it finds travels with the steps as a summary
            (`local_health`), and is in `Watch.local` in full.

    Raises:
        UsageError: An argument is of a kind that cannot be meant. Only here, never from a call inside the loop.

    Example:
        >>> watch = argus.watch(record=False)
        >>> for loss in (2.3, 2.2, 2.1):
        ...     pressure = watch.step(loss, grad_norm=1.0)
        >>> watch.decision.step
        2
        >>> watch.history["loss"].tolist()
        [2.3, 2.2, 2.1]
    """
    options = _options.resolve(
        {
            "url": url, "key": key, "run_id": run_id, "mode": mode, "checkpoint_dir": checkpoint_dir,
            "total_steps": total_steps, "home": home, "record": record, "model_type": model_type, "quiet": quiet,
            "on_change": on_change, "on_pause": on_pause, "history_steps": history_steps, "analytics": analytics,
            "local": local,
        }
    )  # fmt: skip
    optimizers = _checked_optimizers(model, optimizer)
    if options.local and model is None:
        raise UsageError("local: needs the model; accepted is argus.watch(model, optimizer, local=True)", field="model")
    _end_earlier(optimizers)
    team_ranks = _discover_ranks(model)
    if team_ranks is not None:
        options = replace(options, run_id=team_ranks.common_run_id(options.run_id or _options.new_run_id(model)))
        if not team_ranks.reports:  # one rank speaks, records and decides
            options = replace(options, quiet=True, record=False, url="", analytics=False)
    run, problem = _open_run(options, model)
    watched = Watch(options, run)
    if problem:
        watched.say_once("record", problem)
    _endings.enroll(watched, keeps=options.record or bool(options.checkpoint_dir) or team_ranks is not None)
    _attach(watched, options, team_ranks, model, optimizers, scheduler, scaler, loader, measure)
    return watched


def _end_earlier(optimizers: list[Optimizer]) -> None:
    """An optimizer is watched once: read twice it costs twice, and under AUTO its rate would be lowered twice."""
    for earlier in _endings.open_runs():
        if any(mine is theirs for mine in optimizers for theirs in earlier.optimizers):
            say(f"run {earlier.run_id} was not complete when its optimizer came to be watched anew: stopped")
            earlier.end("STOPPED", "its optimizer came to be watched by another run", _endings.SIGTERM_WAIT_S)


def _open_run(options: Options, model: Any) -> tuple[Run, str]:
    """The run, and why it is not recorded where it cannot be."""
    found = _discover(model)
    arguments: dict[str, Any] = {
        "run_id": options.run_id or _options.new_run_id(model),
        "model_type": options.model_type or found.model_type,
        "num_layers": found.num_layers or 0,
        "hidden_dim": found.hidden_dim or 0,
        "vocab_size": found.vocab_size or 0,
        "dtype": found.dtype or "",
        "sdk_version": f"argus-python/{_version()}",
        "auto": options.auto,
        "total_steps": options.total_steps,
        "home": options.home,
    }
    try:
        return Run(**arguments, url=options.url, key=options.key, record=options.record), ""
    except ArgusError as error:
        return Run(**arguments, record=False), f"this run is watched but not recorded: {error}"


def _attach(
    watched: Watch,
    options: Options,
    ranks: Ranks | None,
    model: Any,
    optimizers: list[Optimizer],
    scheduler: Any,
    scaler: Any,
    loader: Any,
    measure: bool,
) -> None:
    """Gives a watch what it needs of the model. What cannot be had is said, and the run is watched without it."""
    from argus._actions import Actions
    from argus._parts import Parts

    checkpoints = _checkpoints(watched, options, ranks, model, optimizers, scheduler, scaler, loader)
    lr_scale = None
    if options.auto and optimizers:
        from argus._lr_scale import LearningRateScale

        lr_scale = LearningRateScale(optimizers, watched.contain)
    actions = Actions(
        "auto" if options.auto else "manual",
        optimizers=optimizers,
        lr_scale=lr_scale,
        checkpoints=checkpoints,
        on_pause=options.on_pause,
    )
    analytics = None
    if options.analytics:
        analytics = Analytics(watched.send_analytics, watched.run_id, model, optimizers)
        analytics.start()
    if options.auto:
        # A client that has reported once is not taken to have done what it is asked at once: ranks must agree first.
        watched.run.report(0, "NONE", 0, True, "AUTO: what is done is reported here")
    parts = Parts(watched.run, checkpoints=checkpoints, actions=actions, acts=options.auto, analytics=analytics)
    if ranks is not None:
        from argus._team import Team

        agrees = options.auto or checkpoints is not None or options.on_pause is not None
        parts.team = Team(ranks, can_apply=parts.can_apply if agrees else None, say_once=watched.say_once)
    watched.attach(parts, actions.left_out)
    watched.optimizers = optimizers
    if model is None and not optimizers:
        return
    from argus._gather import Gather

    try:
        # Behind the learning-rate scale: its hooks come first, so that the rate in force is what is read.
        watched.gather = Gather(model, optimizers, scaler, measure=measure, on_error=watched.lose_gather)
    except Exception as error:  # an optimizer that cannot be hooked is still trained
        watched.lose_gather(error)
    if options.local:
        _look_inside(watched, options, model, optimizers)


def _look_inside(watched: Watch, options: Options, model: Any, optimizers: list[Optimizer]) -> None:
    from argus.local import LocalDetector

    try:
        watched.local = LocalDetector(model, optimizers or None, quiet=options.quiet)
    except Exception as error:  # a model that cannot be hooked is still trained
        watched.contain(error)


def _checkpoints(
    watched: Watch,
    options: Options,
    ranks: Ranks | None,
    model: Any,
    optimizers: list[Optimizer],
    scheduler: Any,
    scaler: Any,
    loader: Any,
) -> Checkpoints | None:
    if not options.checkpoint_dir:
        return None
    if model is None:
        raise UsageError(
            "checkpoint_dir: needs the model; accepted is argus.watch(model, optimizer, ...)", field="model"
        )
    from argus._checkpoints import Checkpoints

    many = isinstance(scheduler, (list, tuple))
    return Checkpoints(
        options.checkpoint_dir,
        model=model,
        optimizers=optimizers,
        schedulers=() if scheduler is None else scheduler if many else (scheduler,),
        scaler=scaler,
        loader=loader,
        rank=0 if ranks is None else ranks.rank,
        world_size=1 if ranks is None else ranks.world_size,
        run_id=watched.run_id,
        on_problem=watched.say_once,
    )


def _discover_ranks(model: Any) -> Ranks | None:
    """The ranks this process is one of; None alone, or where torch is not even loaded."""
    if "torch" not in sys.modules:
        return None
    from argus._ranks import Ranks

    return Ranks.discover()


def _discover(model: Any) -> Architecture:
    """What can be known of the model by looking at it."""
    from argus._discover import Architecture, discover

    return Architecture() if model is None else discover(model)


def _version() -> str:
    try:
        return metadata.version("argus")
    except metadata.PackageNotFoundError:  # run from its sources
        return "source"


def _checked_optimizers(model: Any, optimizer: Any) -> list[Optimizer]:
    if model is None and optimizer is None:
        return []
    from torch import nn

    if model is not None and not isinstance(model, nn.Module):
        raise UsageError(f"model: a {type(model).__name__}; accepted is a torch.nn.Module or None", field="model")
    if optimizer is None:
        return []
    optimizers = list(optimizer) if isinstance(optimizer, (list, tuple)) else [optimizer]
    optimizers = list({id(each): each for each in optimizers}.values())  # named twice, it is still one
    for each in optimizers:
        if not hasattr(each, "param_groups") or not hasattr(each, "register_step_pre_hook"):
            raise UsageError(
                f"optimizer: a {type(each).__name__}; accepted is a torch.optim.Optimizer or a list of them",
                field="optimizer",
            )
    return optimizers
