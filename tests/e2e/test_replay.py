"""argus replay as a whole program: what it prints, what it returns, and what it does with bad input."""

import csv
import gzip
import json
import re
import shutil
import subprocess
import sys

import pytest

from conftest import diverging_run, healthy_run, write_jsonl

DONE, FAILED_ON, USAGE, BAD_INPUT = 0, 1, 2, 3
FAULT_STEP = 400


def refuse_constant(word):
    raise ValueError(f"{word} is not strict JSON")


def decisions(done):
    return [json.loads(line, parse_constant=refuse_constant) for line in done.stdout.splitlines()]


@pytest.fixture
def healthy(tmp_path):
    return write_jsonl(tmp_path / "healthy.jsonl", healthy_run())


@pytest.fixture
def diverging(tmp_path):
    return write_jsonl(tmp_path / "diverging.jsonl", diverging_run(fault_step=FAULT_STEP))


class TestDecisions:
    def test_healthy_run_passes_in_silence(self, argus, healthy):
        done = argus("replay", "--json", healthy)
        assert done.returncode == DONE, done.stderr
        assert [d["step"] for d in decisions(done)] == list(range(600))
        assert max(d["harm_pressure"] for d in decisions(done)) < 2

    def test_divergence_is_alarmed_after_its_onset_and_in_time(self, argus, diverging):
        done = argus("replay", "--json", diverging)
        assert done.returncode == DONE, done.stderr
        alarms = [d["step"] for d in decisions(done) if d["harm_pressure"] >= 2]
        assert alarms and FAULT_STEP <= alarms[0] <= FAULT_STEP + 60

    def test_run_id_defaults_to_the_file_name(self, argus, healthy):
        assert decisions(argus("replay", "--json", healthy))[0]["run_id"].startswith("healthy")

    def test_same_file_gives_the_same_bytes(self, argus, diverging):
        assert argus("replay", "--json", diverging).stdout == argus("replay", "--json", diverging).stdout

    def test_one_object_per_line_with_rewinds_duplicates_and_blank_lines(self, argus, tmp_path):
        run = healthy_run(100)
        steps = run[:60] + run[59:60] + run[40:]
        file = tmp_path / "resumed.jsonl"
        file.write_text("\n\n".join(json.dumps(step) for step in steps) + "\n")
        done = argus("replay", "--json", file)
        assert done.returncode == DONE, done.stderr
        assert [d["step"] for d in decisions(done)] == [s["step"] for s in steps]


class TestExitStatus:
    def test_what_was_found_changes_nothing_unless_asked(self, argus, healthy, diverging):
        assert argus("replay", diverging).returncode == DONE
        assert argus("replay", "--fail-on", 2, diverging).returncode == FAILED_ON
        assert argus("replay", "--fail-on", 2, healthy).returncode == DONE

    @pytest.mark.parametrize("arguments", [["replay"], ["replay", "--no-such-flag", "x"], ["no-such-command"]])
    def test_wrong_usage(self, argus, arguments):
        done = argus(*arguments)
        assert done.returncode == USAGE
        assert done.stderr.strip()

    def test_a_file_that_is_not_there(self, argus, tmp_path):
        done = argus("replay", tmp_path / "absent.jsonl")
        assert done.returncode == BAD_INPUT
        assert "absent.jsonl" in done.stderr


class TestFormats:
    def test_gzip_reads_as_the_plain_file_does(self, argus, tmp_path, diverging):
        packed = tmp_path / "gz" / "diverging.jsonl.gz"
        packed.parent.mkdir()
        packed.write_bytes(gzip.compress(diverging.read_bytes()))
        pressures = [d["harm_pressure"] for d in decisions(argus("replay", "--json", diverging))]
        assert [d["harm_pressure"] for d in decisions(argus("replay", "--json", packed))] == pressures

    @pytest.mark.skipif(shutil.which("zstd") is None, reason="there is no zstd program to pack with")
    def test_zstd_reads_as_the_plain_file_does(self, argus, tmp_path, diverging):
        packed = tmp_path / "diverging.jsonl.zst"
        subprocess.run(["zstd", "-q", str(diverging), "-o", str(packed)], check=True)
        pressures = [d["harm_pressure"] for d in decisions(argus("replay", "--json", diverging))]
        assert [d["harm_pressure"] for d in decisions(argus("replay", "--json", packed))] == pressures

    def test_trainer_state_and_csv_find_the_same_alarm(self, argus, tmp_path):
        rows = [(s["step"], s["training"]["loss"], s["training"]["grad_norm"]) for s in diverging_run()]
        state = tmp_path / "trainer_state.json"
        history = [{"step": step, "loss": loss, "grad_norm": norm, "epoch": 0.1} for step, loss, norm in rows]
        state.write_text(json.dumps({"best_metric": None, "global_step": 600, "log_history": history}))
        table = tmp_path / "log.csv"
        with table.open("w", newline="") as out:
            csv.writer(out).writerows([("step", "loss", "grad_norm"), *rows])
        for file in (state, table):
            done = argus("replay", "--json", file)
            assert done.returncode == DONE, done.stderr
            alarms = [d["step"] for d in decisions(done) if d["harm_pressure"] >= 2]
            assert alarms and FAULT_STEP <= alarms[0] <= FAULT_STEP + 60

    def test_summary_json_is_one_object(self, argus, diverging):
        done = argus("replay", "--summary-json", diverging)
        assert done.returncode == DONE, done.stderr
        assert isinstance(json.loads(done.stdout, parse_constant=refuse_constant), (dict, list))


class TestAccount:
    """What people read."""

    def test_a_value_is_shown_only_where_it_lies_outside_of_what_was_expected(self, argus, tmp_path, diverging):
        steps = healthy_run()
        for step in steps[400:430]:
            step["training"]["loss"] *= 3
        jump = write_jsonl(tmp_path / "jump.jsonl", steps)
        told = argus("replay", jump, diverging).stdout
        assert len(re.findall("at worst", told)) >= 2
        shown = re.findall(r": (\S+), where (\S+) to (\S+) was expected", told)
        assert shown
        assert not [row for row in shown if float(row[1]) <= float(row[0]) <= float(row[2])]


class TestBadInput:
    """A clear message with the line, or a decision for every line: never a crash, never a silent wrong answer."""

    @pytest.mark.parametrize("flags", [(), ("--keep-going",)])
    def test_an_export_is_told_from_a_log(self, argus, tmp_path, flags):
        file = tmp_path / "export.jsonl"
        file.write_text('{"argus_export":1,"run_id":"r"}\n{"index":0}\n')
        done = argus("replay", *flags, file)
        assert done.returncode == BAD_INPUT
        assert len(done.stderr.splitlines()) == 1
        assert "argus runs import" in done.stderr

    def run_on(self, argus, tmp_path, content, *flags, name="bad.jsonl"):
        file = tmp_path / name
        file.write_bytes(content)
        done = argus("replay", "--json", *flags, file)
        assert done.returncode >= 0, f"ended by signal {-done.returncode}"
        return done

    def test_binary_junk(self, argus, tmp_path):
        done = self.run_on(argus, tmp_path, bytes(range(256)) * 64)
        assert done.returncode == BAD_INPUT
        assert "bad.jsonl:1:" in done.stderr

    def test_empty_file(self, argus, tmp_path):
        done = self.run_on(argus, tmp_path, b"")
        assert done.returncode in (DONE, BAD_INPUT)
        assert done.stdout == ""
        assert done.stderr.strip()

    def test_truncated_gzip(self, argus, tmp_path, healthy):
        whole = gzip.compress(healthy.read_bytes())
        done = self.run_on(argus, tmp_path, whole[: len(whole) // 2], name="torn.jsonl.gz")
        assert done.returncode == BAD_INPUT
        assert "torn.jsonl.gz" in done.stderr

    def test_wrong_line_is_named_and_keep_going_skips_it(self, argus, tmp_path, healthy):
        lines = healthy.read_bytes().splitlines()[:50]
        lines[20] = b'{"step": 20, "training": {"grad_norm": -1}}'
        done = self.run_on(argus, tmp_path, b"\n".join(lines))
        assert done.returncode == BAD_INPUT
        assert "bad.jsonl:21:" in done.stderr and "grad_norm" in done.stderr
        done = self.run_on(argus, tmp_path, b"\n".join(lines), "--keep-going")
        assert "bad.jsonl:21:" in done.stderr
        answers = decisions(done)
        assert [a.get("step") for a in answers] == [*range(20), None, *range(21, 50)]
        assert answers[20]["error"]["field"] == "training.grad_norm"

    def test_ten_gigabyte_line_is_refused_in_bounded_memory(self, program, tmp_path):
        file = tmp_path / "endless.jsonl"
        with file.open("wb") as out:
            out.write(b'{"step": 1, "run_id": "')
            out.truncate(10 << 30)  # sparse: the rest of the line is zeros
        # A process begins with the resident memory of the one that made it: a small one makes this one.
        measure = (
            "import os, resource, subprocess, sys; "
            "code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode; "
            "print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        command = [sys.executable, "-c", measure, program, "replay", "--json", file]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        code, resident_kib = map(int, done.stdout.split())
        assert "endless.jsonl:1:" in done.stderr
        assert code == BAD_INPUT
        assert resident_kib < 512 << 10

    @pytest.mark.parametrize("loss", ["NaN", "1e300", "-1e300", "1e-300", "0.0", "2.5"])
    def test_a_constant_stream_is_answered_line_by_line(self, argus, tmp_path, loss):
        lines = [f'{{"step": {step}, "training": {{"loss": {loss}}}}}' for step in range(300)]
        done = self.run_on(argus, tmp_path, "\n".join(lines).encode())
        assert done.returncode == DONE, done.stderr
        assert len(decisions(done)) == 300

    def test_sample_arrays_of_differing_length(self, argus, tmp_path):
        step = {"step": 1, "sample_ids": [1, 2, 3], "sample_losses": [0.1, 0.2]}
        done = self.run_on(argus, tmp_path, json.dumps(step).encode())
        assert done.returncode == BAD_INPUT
        assert "sample_losses" in done.stderr or "sample_ids" in done.stderr

    def test_steps_logged_every_fifty(self, argus, tmp_path):
        file = write_jsonl(tmp_path / "sparse.jsonl", [dict(s, step=50 * s["step"]) for s in diverging_run()])
        done = argus("replay", "--json", file)
        assert done.returncode == DONE, done.stderr
        alarms = [d["step"] for d in decisions(done) if d["harm_pressure"] >= 2]
        assert alarms and 50 * FAULT_STEP <= alarms[0] <= 50 * (FAULT_STEP + 60)
