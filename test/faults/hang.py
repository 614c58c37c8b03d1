"""Ranks that come late to an operation, or never: --comm-timeout ends the job with a report that names
them and the operation, and leaves alone what is only slow."""
import signal
import time
from dataclasses import dataclass

from disk import expect_to_go_on
from job import ALONE, Fault, Grid, Job

HUNG = 6
TIMEOUT = 3  # seconds
GRACE = 5  # beyond it, within which all ranks have ended
STEPS = 100000  # never reached
SAVE_INTERVAL = 5
LATE = 10 * 60 * 1000  # ms: longer than any test


@dataclass
class Case:
    grid: str
    rank: int
    channel: str  # as the report names it
    verb: str
    nth: int = 12
    kind: str = f"sleep:{LATE}"
    mpirun: tuple = ()

    def __str__(self):
        how = self.kind.split(":", maxsplit=1)[0]
        return f"{self.grid}-{self.channel.replace(' ', '-')}-{self.verb}-rank{self.rank}-{how}"

    def at(self):
        """Grid coordinate as the report has it."""
        grid = Grid.of(self.grid)
        return (f"dp {self.rank // grid.tp % grid.dp}, tp {self.rank % grid.tp}, "
                f"pp {self.rank // grid.tp // grid.dp}")


# The quick share are the first ones.
CASES = [
    Case("2x2x2", 6, "dp", "all_reduce"),
    Case("1x1x2", 0, "pp activations", "send", kind="stop"),
    Case("2x2x2", 3, "tp", "all_reduce", kind="stop"),
    Case("1x2x1", 1, "tp", "all_reduce"),
    Case("2x1x1", 0, "dp", "all_reduce", kind="stop"),
    Case("2x2x2", 5, "pp gradients", "send"),
    Case("2x2x2", 0, "pp activations", "send"),
    Case("1x1x2", 1, "pp gradients", "send", kind="stop"),
    Case("2x2x2", 7, "control", "all_reduce", kind="stop"),
    Case("2x2x2", 2, "model_parallel", "all_gather"),
    Case("1x2x2", 3, "ends", "all_reduce"),
    Case("2x2x2", 1, "tp", "set-up", nth=1),
    Case("2x2x2", 4, "world", "set-up", nth=1, kind="stop"),
    Case("4x1x1", 0, "dp", "all_reduce", mpirun=ALONE),
    Case("2x2x2", 7, "tp", "all_reduce", mpirun=ALONE),
    Case("8x1x1", 0, "control", "all_reduce", kind="stop"),
]


def arguments(suite, out, grid, steps, *more):
    return suite.training(out.path, grid, steps, SAVE_INTERVAL, "--keep-last", "2",
                          "--comm-timeout", str(TIMEOUT), *more)


def late_line(job):
    """When the shim made the rank late, and for which operation."""
    for line in job.calls.read_text().splitlines():
        fields = line.split("\t")
        if fields[12] == "late":
            return int(fields[0]) * 1e-9, int(fields[9])
    return None


def expect_report(injection, case, ended, number):
    """Once, the culprit first, with its place in the grid and what it has not come to."""
    reports = ended.err.count("no progress in communication")
    injection.expect(reports == 1, f"{reports} reports")
    lines = ended.err.splitlines()
    begin = next((i for i, line in enumerate(lines) if "no progress" in line), None)
    first = lines[begin + 1] if begin is not None and begin + 1 < len(lines) else ""
    injection.expect(first.startswith(f"rank {case.rank} ({case.at()}) on "), f"first: {first}")
    # A process that is stopped cannot say which operations it has come to.
    missing = "does not take part in" if case.kind == "stop" else "has not come to"
    legal = {f"{missing} {case.verb} #{number} of {case.channel},"}
    # Sums of gradients in the background, begun before in the same step, do not go on either.
    begun = missing if case.kind == "stop" else "has begun, but does not go on with"
    if case.channel == "dp":
        legal |= {f"{begun} {case.verb} #{number - i} of {case.channel}," for i in (1, 2, 3)}
    blamed = [line for line in lines
              if line.startswith("rank ") and any(part in line.replace(";", ",") for part in legal)]
    injection.expect(blamed, f"no line says one of {legal}; first: {first}")
    others = [line for line in lines
              if line.startswith("rank ") and not line.startswith(f"rank {case.rank} ")]
    injection.expect(not others, f"others are blamed: {others}")
    if case.kind == "stop":
        injection.expect("its process is stopped" in ended.err, "it does not say that it is stopped")


def hang(suite, case):
    grid = Grid.of(case.grid)
    with suite.injection("hang", str(case)) as injection:
        out = suite.folder(injection.path / "out")
        fault = Fault(path=f"communicator/{case.channel}", kind=case.kind, call=case.verb,
                      nth=case.nth, rank=case.rank)
        job = Job(suite, arguments(suite, out, grid, STEPS), grid.ranks, logs=injection.path,
                  fault=fault, mpirun=case.mpirun)
        ended = job.wait()
        injection.expect_over(ended)
        injection.expect(ended.code == HUNG, f"exit {ended.code}: {ended.last_line()}")
        late = late_line(job)
        if not injection.expect(late, f"no rank was made late: {ended.last_line()}"):
            return
        # mpirun kills the others some 40 ms after a rank has left with an error: that is enough for
        # most of them to leave by themselves. Where it leaves them alone, all do.
        codes = [ended.exits.get(rank) for rank in range(grid.ranks)]
        legal = {HUNG} if ended.alone else {HUNG, None}
        injection.expect(HUNG in codes and set(codes) <= legal, f"exit codes of the ranks: {codes}")
        took = job.last_exit() - late[0]
        injection.expect(took <= TIMEOUT + GRACE, f"the ranks ended after {took:.1f} s")
        injection.expect(not ended.left, f"left over: {ended.left}")
        expect_report(injection, case, ended, late[1])
        injection.expect_none(out.verify())
        if out.newest() and case.kind != "stop":
            expect_to_go_on(suite, injection, out, out.newest() + 2)


def slow(suite):
    """A rank that is late by less than the limit, again and again."""
    grid = Grid(2, 1, 1)
    with suite.injection("hang", "slow-rank") as injection:
        out = suite.folder(injection.path / "out")
        fault = Fault(path="communicator/dp", kind=f"sleep:{TIMEOUT * 400}", call="all_reduce",
                      nth=2, count=2, rank=1)
        ended = Job(suite, arguments(suite, out, grid, 8), grid.ranks, logs=injection.path,
                    fault=fault).wait()
        injection.expect_over(ended)
        injection.expect(ended.code == 0, f"exit {ended.code}: {ended.last_line()}")
        injection.expect(ended.seconds > TIMEOUT * 0.8, "the rank was not slow")


def suspended(suite):
    """All ranks are stopped, and go on: a lid that was closed, a job that a scheduler suspended."""
    grid = Grid(2, 1, 1)
    with suite.injection("hang", "suspended") as injection:
        out = suite.folder(injection.path / "out")
        job = Job(suite, arguments(suite, out, grid, STEPS), grid.ranks, logs=injection.path)
        job.wait_for("Step 5 ")
        ranks = range(grid.ranks)
        injection.expect(job.signal(signal.SIGSTOP, ranks), "the ranks are not there")
        time.sleep(TIMEOUT * 2)
        job.signal(signal.SIGCONT, ranks)
        time.sleep(TIMEOUT)
        injection.expect(job.is_running(), "the run has ended")
        job.signal(signal.SIGUSR1, ["mpirun"])
        ended = job.wait()
        injection.expect_over(ended)
        injection.expect(ended.code == 75, f"exit {ended.code}: {ended.last_line()}")


def run_hang(suite, count):
    """The first cases, then runs that are slow only."""
    for case in CASES[:count]:
        hang(suite, case)
    slow(suite)
    if count == len(CASES):
        suspended(suite)
    return f"{min(count, len(CASES))} ranks that never come, and runs that are only slow"
