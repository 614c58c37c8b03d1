"""Requests to stop: SIGUSR1, SIGTERM and --time-limit. One checkpoint at one agreed step, exit code
75, and the next run goes on as if nothing had happened."""
import signal

from disk import expect_rank_codes
from job import ALONE, HANG_SECONDS, Fault, Grid, Job
from kill import expect_same_end

STEPS = 60
SAVE_INTERVAL = 10
EVALUATION = ("--eval-steps", "2", "--eval-interval", "4")
GRIDS = [Grid(1, 1, 1), Grid(2, 1, 1), Grid(1, 2, 1), Grid(1, 1, 2), Grid(2, 2, 2)]
SAVED = 75


class Stop:
    """A run that is asked to stop."""

    def __init__(self, suite, injection, grid, fault=None, mpirun=(), save_async=False):
        self.suite = suite
        self.injection = injection
        self.grid = grid
        self.out = suite.folder(injection.path / "out")
        self.options = ["--save-async", "true"] if save_async else []
        self.reference = suite.reference(grid, STEPS, SAVE_INTERVAL, *EVALUATION)
        self.job = Job(suite, self.arguments(), grid.ranks, logs=injection.path, fault=fault,
                       mpirun=mpirun)

    def arguments(self):
        return self.suite.training(self.out.path, self.grid, STEPS, SAVE_INTERVAL, *EVALUATION,
                                   "--resume", "auto", *self.options)

    def wait_for_random_moment(self):
        """Any moment from the first line that the run prints to its end."""
        self.job.wait_for("\n")
        begin = self.job.seconds()
        end = max(begin, self.reference.seconds)
        self.job.has_ended_after(self.suite.random.uniform(begin, end))

    def expect_one_checkpoint(self):
        """Beside those of the interval there is the one of the step at which the run stopped."""
        steps = sorted(self.out.checkpoints())
        last = steps[-1] if steps else 0
        wanted = sorted({*range(SAVE_INTERVAL, last + 1, SAVE_INTERVAL), last})
        self.injection.expect(steps and steps == wanted, f"checkpoints {steps}, wanted {wanted}")
        self.injection.expect_none(self.out.verify())
        self.injection.expect(not self.out.leftovers(), f"left over: {self.out.leftovers()}")

    def expect_saved(self, ended):
        """Exit code 75 on all ranks; or 0, where the request came after the last step."""
        codes = (SAVED, 0) if self.out.newest() == STEPS else (SAVED,)
        self.injection.expect(ended.code in codes, f"exit {ended.code}: {ended.last_line()}")
        expect_rank_codes(self.injection, ended, self.grid.ranks)
        self.expect_one_checkpoint()

    def expect_same_end(self):
        """The next run ends like the one that was left alone."""
        job = Job(self.suite, self.arguments(), self.grid.ranks, logs=self.injection.path,
                  name="after")
        ended = job.wait()
        self.injection.expect_over(ended)
        self.injection.expect(ended.code == 0, f"the next run: {ended.code}: {ended.last_line()}")
        if ended.code == 0:
            expect_same_end(self.injection, self.out, self.reference.folder, STEPS)


def run_usr1(suite, count):
    """SIGUSR1 to mpirun or to one rank, at a random time or at a call of a save."""
    for i in range(count):
        grid = GRIDS[i % len(GRIDS)]
        with suite.injection("usr1", f"{i}-{grid}") as injection:
            mpirun = suite.random.choice([(), ALONE]) if grid.ranks > 1 else ()
            rank = suite.random.randrange(grid.ranks)
            target = suite.random.choice(["mpirun", rank]) if grid.ranks > 1 else 0
            at_call = suite.random.random() < 0.3
            fault = None
            if at_call:
                kind = "usr1-parent" if target == "mpirun" else "usr1"
                fault = Fault(path=str(injection.path / "out"), kind=kind, rank=rank)
                calls = suite.reference(grid, STEPS, SAVE_INTERVAL, *EVALUATION).calls
                fault.nth = suite.random.randint(1, max(2, calls[rank]))
            stop = Stop(suite, injection, grid, fault, mpirun, save_async=i % 3 == 2)
            if not at_call:
                stop.wait_for_random_moment()
                stop.job.signal(signal.SIGUSR1, [target])
            ended = stop.job.wait()
            injection.expect_over(ended)
            stop.expect_saved(ended)
            stop.expect_same_end()
    return f"{count} signals"


def run_term(suite, count):
    """SIGTERM to mpirun, which kills after one second, or after 30 where it was told so."""
    saved = patient = 0
    for i in range(count):
        grid = GRIDS[1 + i % (len(GRIDS) - 1)]
        with suite.injection("term", f"{i}-{grid}") as injection:
            is_patient = i % 2 == 1
            mpirun = ("--mca", "odls_base_sigkill_timeout", "30") if is_patient else ()
            stop = Stop(suite, injection, grid, mpirun=mpirun, save_async=i % 3 == 2)
            stop.wait_for_random_moment()
            before = stop.out.snapshot()
            stop.job.signal(signal.SIGTERM, ["mpirun"])
            ended = stop.job.wait(60)
            injection.expect_over(ended)
            injection.expect_none(stop.out.compare(before))
            codes = [ended.exits.get(rank) for rank in range(grid.ranks)]
            all_saved = codes == [SAVED] * grid.ranks
            done = stop.out.newest() == STEPS
            if is_patient:
                injection.expect(all_saved or done, f"exit codes of the ranks: {codes}")
            if all_saved:
                stop.expect_one_checkpoint()
            saved += all_saved or done
            patient += is_patient
            stop.expect_same_end()
    return f"{count} signals ({patient} with 30 s), {saved} saved"


def run_second(suite, count):
    """A second SIGUSR1, more than a second after the first: the end, at once."""
    for i in range(count):
        grid = GRIDS[i % len(GRIDS)]
        with suite.injection("second", f"{i}-{grid}") as injection:
            target = "mpirun" if grid.ranks > 1 else 0
            # The save that the first signal asks for takes longer than the second signal.
            fault = Fault(path=".partial", kind="sleep:20000", call="pwrite,write",
                          nth=suite.random.randint(1, 20))
            stop = Stop(suite, injection, grid, fault, save_async=i % 2 == 1)
            stop.job.wait_for("Step 3 ")
            before = stop.out.snapshot()
            stop.job.signal(signal.SIGUSR1, [target])
            stop.job.has_ended_after(stop.job.seconds() + 1.5 + suite.random.random())
            stop.job.signal(signal.SIGUSR1, [target])
            ended = stop.job.wait(15)
            injection.expect_over(ended)
            injection.expect(ended.code in (-signal.SIGUSR1, 128 + signal.SIGUSR1),
                             f"exit {ended.code}, wanted the end by SIGUSR1: {ended.last_line()}")
            injection.expect_none(stop.out.compare(before))
            stop.expect_same_end()
    return f"{count} times"


def run_limit(suite, count):
    """--time-limit: the run saves and ends by itself."""
    for i in range(count):
        grid = GRIDS[i % len(GRIDS)]
        with suite.injection("limit", f"{i}-{grid}") as injection:
            out = suite.folder(injection.path / "out")
            seconds = suite.random.randint(8, 15)
            arguments = suite.training(out.path, grid, 1000000, 0, "--time-limit", f"0:{seconds:02}")
            arguments[arguments.index("--log-interval") + 1] = "1000"
            ended = Job(suite, arguments, grid.ranks, logs=injection.path).wait(HANG_SECONDS)
            injection.expect_over(ended)
            injection.expect(ended.code == SAVED, f"exit {ended.code}: {ended.last_line()}")
            expect_rank_codes(injection, ended, grid.ranks)
            injection.expect_none(out.verify())
            last = max(out.metrics(), default=0)
            injection.expect(sorted(out.checkpoints()) == [last],
                             f"checkpoints {sorted(out.checkpoints())}, wanted {[last]}")
    return f"{count} limits"
