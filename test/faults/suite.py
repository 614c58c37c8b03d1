"""The suite: where things are, what a run's options are, and how results are counted."""
import os
import random
import shutil
import time
from pathlib import Path

from folder import OutputFolder
from job import Fault, Grid, Job

# A model that starts, steps and saves in a few milliseconds each.
MODEL = ["--preset", "tiny-gpt2", "--num-layers", "2", "--hidden-size", "32", "--device", "cpu",
         "--num-threads", "1", "--peak-tflops", "1", "--micro-batch-size", "1",
         "--num-microbatches", "2", "--log-interval", "1"]


class Suite:
    def __init__(self, build, work, seed):
        self.top = Path(__file__).resolve().parents[2]
        self.work = Path(work).resolve()
        self.build = Path(build).resolve()
        self.random = random.Random(seed)
        self.begin = self.last_line = time.monotonic()
        self.passed = self.failed = self.skipped = 0
        self.references = {}
        # Copies, so that neither a new build nor an edited text changes what runs.
        self.program = self._copy(self.build / "bin/cuboid")
        self.shim = self._copy(self.build / "test/faults/libfaultshim.so")
        self.text = self._copy(self.top / "README.md")
        self.environment = dict(os.environ) | {
            "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_mpi_yield_when_idle": "1",
            "OMP_NUM_THREADS": "1"}

    def _copy(self, path):
        return Path(shutil.copy2(path, self.work))

    def training(self, out, grid, steps, save_interval, *more):
        """Arguments of a run. `out` is its output folder."""
        evaluation = [] if "--eval-steps" in more else ["--eval-steps", "0"]
        return ["pretrain", *MODEL, *grid.options(), *evaluation, "--data-dir", str(self.text),
                "--output-dir", str(out), "--max-steps", str(steps),
                "--save-interval", str(save_interval), *more]

    def folder(self, path):
        return OutputFolder(path, self.program)

    def reference(self, grid, steps, save_interval, *more):
        """An undisturbed run, made once: its folder, seconds, time of the first line and the number
        of calls that the shim saw on each rank."""
        key = (str(grid), steps, save_interval, more)
        if key not in self.references:
            logs = self.work / "reference" / f"{len(self.references)}-{grid}"
            out = logs / "out"
            fault = Fault(path=str(out))
            job = Job(self, self.training(out, grid, steps, save_interval, *more), grid.ranks,
                      logs=logs, fault=fault)
            job.wait_for("Step 1 ")
            first_step = job.seconds()
            ended = job.wait()
            if ended.code != 0:
                raise SystemExit(f"the undisturbed run failed, see {logs}: {ended.last_line()}")
            lines = [line.split("\t") for line in job.calls.read_text().splitlines()]
            calls = [sum(1 for line in lines if int(line[2]) == rank) for rank in range(grid.ranks)]
            self.references[key] = Reference(self.folder(out), ended.seconds, first_step, calls)
        return self.references[key]

    def injection(self, kind, name):
        return Injection(self, kind, name)

    def line(self, text):
        self.last_line = time.monotonic()
        print(text, flush=True)

    def show_progress(self, kind):
        """A line a minute where a class of faults takes long."""
        if time.monotonic() - self.last_line > 60:
            self.line(f"... {kind}: {self.passed} passed, {self.failed} failed so far, "
                      f"{time.monotonic() - self.begin:.0f} s")

    def skip(self, what, why):
        self.skipped += 1
        self.line(f"SKIPPED {what}: {why}")


class Reference:
    def __init__(self, folder, seconds, first_step, calls):
        self.folder = folder
        self.seconds = seconds
        self.first_step = first_step
        self.calls = calls


class Injection:
    """One injection: `expect` what must hold. What failed is printed, and its files stay."""

    def __init__(self, suite, kind, name, path=None):
        self.suite = suite
        self.kind = kind
        self.name = name
        self.path = path or suite.work / kind / name
        self.owns_path = path is None
        self.problems = []

    def __enter__(self):
        self.path.mkdir(parents=True, exist_ok=True)
        return self

    def expect(self, truth, problem):
        if not truth:
            self.problems.append(problem)
        return bool(truth)

    def expect_none(self, problems):
        self.problems += problems

    def expect_over(self, ended):
        """The job ended by itself and left no process."""
        self.expect(not ended.hung, f"the job hung: it was killed after {ended.seconds:.0f} s")
        self.expect(not ended.orphans, f"processes outlived the job: {ended.orphans}")

    def __exit__(self, error, value, trace):
        if error is not None:
            return False
        if self.problems:
            self.suite.failed += 1
            self.suite.line(f"FAILED {self.kind} {self.name} (evidence: {self.path})")
            for problem in self.problems[:4]:
                self.suite.line("    " + problem.strip().replace("\n", "\n    ")[:600])
        else:
            self.suite.passed += 1
            if self.owns_path:
                shutil.rmtree(self.path, ignore_errors=True)
        self.suite.show_progress(self.kind)
        return False


__all__ = ["Fault", "Grid", "Injection", "Job", "Suite"]
