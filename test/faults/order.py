"""The order of system calls in saves of real runs, on several grids."""
import subprocess
import sys
from pathlib import Path

from job import Fault, Grid, Job
from order_rules import Call, judge

GRIDS = ["1x1x1", "2x1x1", "1x2x1", "1x1x2", "1x2x2", "2x2x2"]


def run(suite, count):
    """`count` runs of ten saves each."""
    saves = 0
    for i in range(count):
        grid = Grid.of(GRIDS[i % len(GRIDS)])
        options = ["--keep-last", "2"]
        options += ["--save-async", "true"] if (i // len(GRIDS)) % 2 else []
        with suite.injection("order", f"{i}-{grid}") as injection:
            saves += judge_run(suite, injection, grid, options)
    with suite.injection("order", "checker") as injection:
        test = Path(__file__).with_name("order_rules_check.py")
        done = subprocess.run([sys.executable, test], capture_output=True, text=True, check=False)
        injection.expect(done.returncode == 0, done.stderr)
    return f"{saves} saves of {count} runs"


def judge_run(suite, injection, grid, options):
    out = injection.path / "out"
    job = Job(suite, suite.training(out, grid, 20, 2, *options), grid.ranks, logs=injection.path,
              fault=Fault(path=str(out)))
    ended = job.wait()
    injection.expect_over(ended)
    injection.expect(ended.code == 0, ended.last_line())
    problems, saves = judge([Call.of(line) for line in job.calls.read_text().splitlines()], keep_last=2)
    injection.expect_none(problems)
    injection.expect(saves == 10, f"{saves} saves in the log, wanted 10")
    return saves
