"""What argus replay takes for a record in each format, and how records and answers stay in step."""

import json
import subprocess

import pytest

from conftest import healthy_run

DONE, BAD_INPUT = 0, 3


def answers(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def replay(argus, tmp_path):
    def run(name, content, *flags):
        file = tmp_path / name
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return argus("replay", "--json", *flags, file)

    return run


class TestWireLines:
    def test_a_pack_has_one_answer_holding_all(self, replay):
        steps = healthy_run(4)
        done = replay("packs.jsonl", "\n".join([json.dumps(steps[0]), json.dumps(steps[1:3]), json.dumps(steps[3:])]))
        assert done.returncode == DONE, done.stderr
        first, pack, single = answers(done)
        assert "steps" not in first
        assert pack["step"] == 2 and [s["step"] for s in pack["steps"]] == [1, 2]
        assert single["step"] == 3 and len(single["steps"]) == 1

    def test_a_resend_is_answered_with_the_same_bytes(self, replay):
        lines = [json.dumps(s) for s in healthy_run(50)]
        done = replay("resent.jsonl", "\n".join(lines + lines[-5:]))
        assert done.returncode == DONE, done.stderr
        printed = done.stdout.splitlines()
        assert printed[50:] == printed[45:50]

    def test_runs_in_one_file_are_kept_apart(self, replay, argus, tmp_path):
        steps = healthy_run(60)
        mixed = [json.dumps(dict(s, run_id=r)) for s in steps for r in ("a", "b")]
        done = replay("mixed.jsonl", "\n".join(mixed))
        assert [a["run_id"] for a in answers(done)] == ["a", "b"] * 60
        alone = replay("alone.jsonl", "\n".join(json.dumps(dict(s, run_id="a")) for s in steps))
        assert answers(done)[::2] == answers(alone)

    def test_a_byte_order_mark_and_windows_line_ends_are_passed_over(self, replay):
        done = replay("windows.jsonl", b"\xef\xbb\xbf" + b'{"step":1}\r\n\r\n{"step":2}\r\n')
        assert [a["step"] for a in answers(done)] == [1, 2]

    def test_keep_going_answers_every_record(self, replay):
        done = replay("torn.jsonl", '{"step":1}\n{"step":\n\n{"step":3,"epoch":-1}\n{"step":4}\n', "--keep-going")
        assert done.returncode == DONE
        first, second, third, fourth = answers(done)
        assert (first["step"], fourth["step"]) == (1, 4)
        assert (second["line"], second["error"]["code"]) == (2, "malformed")
        assert (third["line"], third["error"]["field"]) == (4, "epoch")
        assert len(done.stderr.splitlines()) == 2

    def test_a_line_beyond_the_limit_is_passed_over(self, replay):
        done = replay(
            "long.jsonl", '{"step":1}\n' + "x" * 5000 + '\n{"step":2}', "--keep-going", "--max-line-bytes", 1000
        )
        assert [a.get("step", a.get("line")) for a in answers(done)] == [1, 2, 2]

    def test_standard_input(self, program):
        text = "\n".join(json.dumps(s) for s in healthy_run(5))
        done = subprocess.run(
            [program, "replay", "--json", "-"], input=text, capture_output=True, text=True, check=True
        )
        assert len(answers(done)) == 5

    def test_the_callers_sample_ids_come_back_as_sent(self, replay):
        steps = []
        for s in healthy_run(400):
            losses = [2.0 + 0.01 * (i % 7) + 0.001 * (s["step"] % 5) for i in range(16)]
            if s["step"] == 390:
                losses[3] = 500.0
            steps.append(dict(s, sample_ids=[f"doc/{i}" for i in range(16)], sample_losses=losses))
        for a in answers(replay("ids.jsonl", "\n".join(map(json.dumps, steps)))):
            assert set(a["spike_samples"]) <= {f"doc/{i}" for i in range(16)}


class TestTrainerState:
    def test_rows_that_observe_nothing_have_no_answer(self, replay):
        rows = [
            {"step": 10, "loss": 2.0, "grad_norm": 1.0, "learning_rate": 1e-4, "epoch": 0.1},
            {"step": 10, "eval_loss": 2.1, "note": 'brackets ] } in "text"'},
            {"step": 20, "train_runtime": 5.0, "train_loss": 1.9, "total_flos": 1e15},
        ]
        for indent in (None, 2):
            done = replay(
                "trainer_state.json", json.dumps({"epoch": 1.0, "log_history": rows, "x": [{"loss": 1}]}, indent=indent)
            )
            assert done.returncode == DONE, done.stderr
            assert [a["step"] for a in answers(done)] == [10, 10]

    def test_a_wrong_row_is_named_by_its_line(self, replay):
        text = '{\n"log_history": [\n{"step": 1, "loss": 2},\n{"step": 2, "loss": "x"},\n{"step": 3, "loss": 1}\n]}'
        done = replay("trainer_state.json", text)
        assert done.returncode == BAD_INPUT
        assert ":4: log_history.loss is" in done.stderr
        assert [a.get("step") for a in answers(replay("trainer_state.json", text, "--keep-going"))] == [1, None, 3]

    def test_a_document_that_was_cut_short(self, replay):
        done = replay("trainer_state.json", '{\n"log_history": [\n{"step": 1, "loss": 2},\n{"step"')
        assert done.returncode == BAD_INPUT
        assert "cut short" in done.stderr


class TestCsv:
    @pytest.mark.parametrize(
        "header",
        [
            "step,loss,grad_norm",
            "Step;Train/Loss;gnorm",
            "global_step\ttrain_loss\tgradient-norm",
            '"_step","loss","train/grad_norm"',
        ],
    )
    def test_usual_names_are_recognised(self, replay, header):
        separator = next(c for c in "\t;," if c in header)
        rows = [
            separator.join(map(str, (s["step"], s["training"]["loss"], s["training"]["grad_norm"])))
            for s in healthy_run(80)
        ]
        done = replay("log.csv", "\n".join([header, *rows]))
        assert done.returncode == DONE, done.stderr
        assert answers(done)[-1]["expected"]["loss"] is not None

    def test_columns_are_named_by_flags(self, replay):
        text = "n,objective\n0,1.5\n1,1.25\n"
        assert replay("own.csv", text).returncode == BAD_INPUT
        done = replay("own.csv", text, "--step-column", "n", "--loss-column", "objective")
        assert [a["step"] for a in answers(done)] == [0, 1]
        assert "objective" in replay("own.csv", text, "--loss-column", "objektive").stderr

    def test_empty_cells_are_absent_and_quotes_hold_anything(self, replay):
        done = replay("q.csv", 'step,loss,note\n0,,"a ""b"", c"\n1,NaN,"two\nlines"\n\n2,1.5,\n')
        assert done.returncode == DONE, done.stderr
        assert [a["step"] for a in answers(done)] == [0, 1, 2]

    def test_rows_count_where_there_is_no_step_column(self, replay):
        assert [a.get("step") for a in answers(replay("n.csv", "loss\n1\nx\n2\n", "--keep-going"))] == [0, None, 2]

    def test_a_wrong_cell_is_named_by_line_and_column(self, replay):
        done = replay("w.csv", "step,loss,grad_norm\n0,1,1\n1,1,-2\n")
        assert done.returncode == BAD_INPUT
        assert ":3: grad_norm is -2" in done.stderr


class TestSummary:
    def test_counts_what_was_sent_again_and_passed_over(self, argus, tmp_path):
        lines = [json.dumps(s) for s in healthy_run(50)]
        file = tmp_path / "s.jsonl"
        file.write_text("\n".join([*lines, lines[-1], "{", json.dumps({"step": 10, "training": {"loss": 9.0}})]))
        done = argus("replay", "--summary-json", "--keep-going", file)
        summary = json.loads(done.stdout)
        assert summary["skipped_records"] == 1
        (run,) = summary["runs"]
        assert (run["steps"], run["duplicates"], run["rewinds"]) == (51, 1, 1)
        assert sum(run["steps_at_pressure"]) == run["steps"]

    def test_calm_runs_are_said_to_be_calm(self, argus, tmp_path):
        file = tmp_path / "calm.jsonl"
        file.write_text("\n".join(json.dumps(s) for s in healthy_run(300)))
        assert "nothing to report" in argus("replay", file).stdout

    def test_output_that_cannot_be_written_is_an_error(self, program, tmp_path):
        file = tmp_path / "calm.jsonl"
        file.write_text("\n".join(json.dumps(s) for s in healthy_run(300)))
        with open("/dev/full", "w") as full:
            command = [program, "replay", "--json", file]
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == BAD_INPUT
        assert "cannot be written" in done.stderr
