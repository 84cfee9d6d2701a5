"""However a program ends, its run ends with it: as completed, failed or stopped, with every step."""

import json
import signal

import pytest
from losses import WAIT_S, feed, kept, steps_of
from serving import serving

import argus

LOOP = """
import argus, os, sys
watch = argus.watch(run_id="ended", quiet=True, url=os.environ.get("URL") or None)
for step in range(100):
    watch.step(2.0 + step % 7 * 0.01, step=step, grad_norm=1.0 + step % 5 * 0.01)
print("LOOP", flush=True)
"""


def ended(program, argus_program, home) -> tuple[str, str]:
    done = argus_program("runs", "show", "ended", "--home", home, "--json")
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)["run"]
    return run["status"], json.dumps(run)


@pytest.mark.parametrize(
    ("ending", "status", "code"),
    [
        ("", "COMPLETED", 0),
        ("watch.complete()", "COMPLETED", 0),
        ("raise ValueError('broken batch')", "FAILED", 1),
        ("sys.exit(3)", "COMPLETED", 3),
        ("raise KeyboardInterrupt", "STOPPED", None),
        ("with watch: raise RuntimeError('inside')", "FAILED", 1),
    ],
)
def test_a_program_that_ends_completes_its_run(program, argus_program, home, python, ending, status, code):
    process = python(LOOP + ending)
    _, err = process.communicate(timeout=WAIT_S)
    if code is not None:
        assert process.returncode == code, err
    assert ended(program, argus_program, home)[0] == status
    assert steps_of(kept(program, argus_program, home, "ended")) == list(range(100))


def test_sigterm_stops_the_run_and_still_ends_the_program(program, argus_program, home, python):
    process = python(LOOP + "import signal\nsignal.pause()")
    assert process.stdout is not None and process.stdout.readline().strip() == "LOOP"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=WAIT_S)
    assert process.returncode == -signal.SIGTERM
    assert ended(program, argus_program, home)[0] == "STOPPED"
    assert steps_of(kept(program, argus_program, home, "ended")) == list(range(100))


def test_a_handler_of_the_users_own_is_left_alone(home, python):
    process = python(
        """
        import signal
        signal.signal(signal.SIGTERM, lambda *_: (print("MINE", flush=True), exit(0)))
        """
        + LOOP.replace("\n", "\n        ")
        + """
        signal.pause()
        """
    )
    assert process.stdout is not None
    while process.stdout.readline().strip() != "LOOP":
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0
    assert "MINE" in out


def test_after_kill_9_the_next_process_delivers_what_was_left(program, argus_program, home, python, tmp_path):
    with serving(program, tmp_path / "server") as server:
        port = server.port
    # Nobody listens: everything waits on disk when the program is killed.
    process = python(
        LOOP + "watch.run.flush(1.0)\nprint('FLUSHED', flush=True)\nimport signal\nsignal.pause()",
        URL=f"http://127.0.0.1:{port}",
    )
    assert process.stdout is not None
    while process.stdout.readline().strip() != "FLUSHED":
        assert process.poll() is None
    process.kill()
    process.communicate(timeout=WAIT_S)
    with serving(program, tmp_path / "server", "--port", port):
        watched = argus.watch(run_id="ended", quiet=True, url=f"http://127.0.0.1:{port}")
        feed(watched, 20, first=100)
        watched.complete(wait_s=WAIT_S)
    assert steps_of(kept(program, argus_program, tmp_path / "server", "ended")) == list(range(120))


def test_forked_workers_leave_the_run_alone(program, argus_program, home, python):
    process = python(
        LOOP
        + """
for number in range(4):
    child = os.fork()
    if child == 0:
        watch.step(99.0)
        watch.complete()
        sys.exit(0)
    os.waitpid(child, 0)
watch.step(2.0, step=100)
"""
    )
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err
    observations = kept(program, argus_program, home, "ended")
    assert steps_of(observations) == list(range(101))
    assert all(o["step"]["training"]["loss"] < 3 for o in observations)


def test_two_processes_of_one_home_keep_their_runs_apart(program, argus_program, home, python):
    code = LOOP.replace('run_id="ended"', 'run_id=os.environ["RUN"]')
    processes = [python(code, RUN=f"run-{i}") for i in range(3)]
    for process in processes:
        _, err = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0, err
    for i in range(3):
        assert steps_of(kept(program, argus_program, home, f"run-{i}")) == list(range(100))


@pytest.mark.parametrize(
    ("total", "status"), [(0, "COMPLETED"), (100, "COMPLETED"), (1000, "STOPPED")], ids=["unknown", "reached", "short"]
)
def test_a_run_whose_function_was_left_is_completed(program, argus_program, home, python, total, status):
    process = python(
        """
        import argus, gc
        def train():
            watch = argus.watch(run_id="ended", quiet=True)
            for step in range(100):
                watch.step(2.0 + step % 7 * 0.01, step=step)
        train()
        gc.collect()
        """,
        ARGUS_TOTAL_STEPS=total,
    )
    _, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, err) == (0, "")
    found, run = ended(program, argus_program, home)
    assert found == status
    assert ("after 100 of 1000 steps" in run) == (status == "STOPPED")
    assert steps_of(kept(program, argus_program, home, "ended")) == list(range(100))


SIGNALLED = """
import argus, math, os, signal, sys
def at_once(_):
    os.kill(os.getpid(), signal.{name})
watch = argus.watch(run_id="ended", quiet=True, on_change=at_once)
for step in range(100):
    watch.step(2.0 + step % 7 * 0.01, step=step)
{before}
watch.step(math.nan, step=100)  # the signal comes while this is on the stack
watch.step(2.0, step=101)
print("WENT ON", watch.errors)
"""


def test_sigterm_amid_a_step_keeps_that_step(program, argus_program, home, python):
    process = python(SIGNALLED.format(name="SIGTERM", before=""))
    out, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == -signal.SIGTERM
    assert out == ""
    assert ended(program, argus_program, home)[0] == "STOPPED"
    assert steps_of(kept(program, argus_program, home, "ended")) == list(range(101))


def test_a_users_handler_may_complete_the_run_amid_a_step(program, argus_program, home, python):
    before = "signal.signal(signal.SIGUSR1, lambda *_: watch.complete('STOPPED', 'preempted'))"
    process = python(SIGNALLED.format(name="SIGUSR1", before=before))
    out, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, out, err) == (0, "WENT ON 0\n", "")
    status, run = ended(program, argus_program, home)
    assert status == "STOPPED"
    assert "preempted" in run
    assert steps_of(kept(program, argus_program, home, "ended")) == list(range(101))


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_users_exit_function_may_complete_the_run(program, argus_program, home, python, when):
    register = "import atexit; atexit.register(lambda: watch.complete('FAILED', 'mine'))\n"
    process = python(register + LOOP if when == "before" else LOOP + register)
    _, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, err) == (0, "")
    # Exit functions are called in reverse: whoever comes first says how it ended.
    assert ended(program, argus_program, home)[0] == ("COMPLETED" if when == "before" else "FAILED")
    assert steps_of(kept(program, argus_program, home, "ended")) == list(range(100))


def test_processes_the_program_starts_are_as_without_a_watch(program, argus_program, home, python):
    process = python(
        LOOP
        + """
import multiprocessing, signal
def disposition(_):
    return signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
assert not disposition(0)
for how in ("fork", "spawn"):
    with multiprocessing.get_context(how).Pool(2) as pool:
        print(pool.map(abs if how == "spawn" else disposition, [1, 1]))
watch.step(2.0, step=100)
"""
    )
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err
    assert out == "LOOP\n[True, True]\n[1, 1]\n"
    assert steps_of(kept(program, argus_program, home, "ended")) == list(range(101))


def test_the_end_of_the_program_waits_for_a_checkpoint_also_where_nothing_is_recorded(argus_program, python, tmp_path):
    pytest.importorskip("torch")
    process = python(
        """
        import argus, os, torch
        model = torch.nn.Linear(1000, 1000)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        watch = argus.watch(model, optimizer, record=False, checkpoint_dir=os.environ["RING"])
        watch.step(1.0)
        assert watch.checkpoints.stage(0, signal="SAVE_NOW", slot=0, reason="last", loss=1.0)
        """,
        RING=tmp_path / "ring",
    )
    _, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, err) == (0, "")
    listed = argus_program("checkpoints", "list", tmp_path / "ring", "--json")
    assert '"SAVE_NOW"' in listed.stdout
    verified = argus_program("checkpoints", "verify", tmp_path / "ring")
    assert verified.returncode == 0, verified.stdout
