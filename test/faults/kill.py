"""SIGKILL of a rank, of all ranks or of mpirun, at any moment: chains of runs that are killed and
resumed until one reaches the end, where its losses and weights equal those of a run left alone."""
import shutil
import signal
import subprocess

from folder import differences, resumed_step
from job import HANG_SECONDS, Grid
from suite import Fault, Injection, Job

STEPS = 60
SAVE_INTERVAL = 3
GRIDS = ["1x1x1", "2x1x1", "1x2x1", "1x1x2", "2x2x2"]
VARIANTS = [[], ["--save-async", "true"], ["--keep-every", "12"],
            ["--save-async", "true", "--keep-every", "15"]]


def plan_moment(suite, grid, reference, done):
    """A random moment of what is left of a run: (seconds, targets) or a Fault at a call."""
    if suite.random.random() < 0.5:
        left = (reference.seconds - reference.first_step) * (1 - done / STEPS)
        seconds = suite.random.uniform(0, reference.first_step + left)
        ranks = list(range(grid.ranks))
        choices = [[suite.random.choice(ranks)], ranks]
        if grid.ranks > 1:
            choices += [["mpirun"], ["mpirun", *ranks]]
        return seconds, suite.random.choice(choices)
    rank = suite.random.randrange(grid.ranks)
    last = max(2, round(reference.calls[rank] * (1 - done / STEPS)))
    kind = suite.random.choice(["kill", "kill-all", "kill-parent"] if grid.ranks > 1 else ["kill"])
    return Fault(path="", kind=kind, nth=suite.random.randint(1, last), rank=rank)


def kill_at(job, moment):
    """Waits for the moment and kills: how the job ended, and whether it was that which ended it."""
    if isinstance(moment, Fault):
        ended = job.wait(120)
        return ended, ended.code != 0
    seconds, targets = moment
    if job.has_ended_after(seconds):
        return job.wait(), False
    # A job that has only begun has no ranks yet.
    if not job.signal(signal.SIGKILL, targets):
        job.signal(signal.SIGKILL, job.pids())
    ended = job.wait(HANG_SECONDS)
    return ended, ended.code != 0


def keep_every(variant):
    return int(variant[variant.index("--keep-every") + 1]) if "--keep-every" in variant else 0


def expect_same_end(injection, out, reference, step):
    """The finished run's losses, weights and moments are those of the undisturbed one."""
    injection.expect_none(differences(out.metrics(), reference.metrics()))
    injection.expect(not out.leftovers(), f"left over: {out.leftovers()}")
    files = [folder.checkpoints().get(step) for folder in (out, reference)]
    if not injection.expect(files[0], f"no checkpoint of step {step}"):
        return
    for group in ("/parameters", "/optimizer"):
        done = subprocess.run(["h5diff", *files, group, group], capture_output=True, check=False)
        injection.expect(done.returncode == 0, f"{group} differs from that of {files[1]}")


class Chain:
    """One output folder, killed and resumed until it is done."""

    def __init__(self, suite, number):
        self.suite = suite
        self.grid = Grid.of(GRIDS[number % len(GRIDS)])
        self.variant = VARIANTS[(number // len(GRIDS)) % len(VARIANTS)]
        self.reference = suite.reference(self.grid, STEPS, SAVE_INTERVAL)
        self.path = suite.work / "kill" / f"chain-{number}-{self.grid}"
        self.out = suite.folder(self.path / "out")
        self.name = f"chain {number} ({self.grid} {' '.join(self.variant)})"
        self.num_runs = 0

    def run(self, moment):
        """One run, killed at the moment; none: left alone. Returns how it ended, whether it was
        killed, and the problems found."""
        self.num_runs += 1
        before = self.out.snapshot()
        if isinstance(moment, Fault):
            moment.path = str(self.out.path)
        arguments = self.suite.training(self.out.path, self.grid, STEPS, SAVE_INTERVAL, "--resume",
                                        "auto", "--keep-last", "2", *self.variant)
        job = Job(self.suite, arguments, self.grid.ranks, logs=self.path, name=f"{self.num_runs}",
                  fault=moment if isinstance(moment, Fault) else None)
        ended, killed = (job.wait(), False) if moment is None else kill_at(job, moment)
        problems = self.out.compare(before, 2, keep_every(self.variant))
        step = resumed_step(ended.out)
        if "Step " in ended.out and step != max(before, default=None):
            problems.append(f"resumed from step {step}; there were {sorted(before)}")
        return ended, killed, problems


def run(suite, count, max_kills_a_chain=12):
    """`count` kills."""
    kills = number = 0
    while kills < count:
        chain = Chain(suite, number)
        number += 1
        chain_kills = 0
        while True:
            alone = kills >= count or chain_kills >= max_kills_a_chain
            done = chain.out.newest() or 0
            moment = None if alone else plan_moment(suite, chain.grid, chain.reference, done)
            ended, killed, problems = chain.run(moment)
            with Injection(suite, "kill", f"{chain.name} run {chain.num_runs}", chain.path) as injection:
                injection.expect_over(ended)
                injection.expect_none(problems)
                if not killed:
                    injection.expect(ended.code == 0, f"exit {ended.code}: {ended.last_line()}")
                    if ended.code == 0:
                        expect_same_end(injection, chain.out, chain.reference.folder, STEPS)
            if injection.problems or not killed:
                break
            kills += 1
            chain_kills += 1
        if not injection.problems:
            shutil.rmtree(chain.path)
    return f"{kills} kills in {number} chains"
