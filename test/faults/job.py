"""Jobs of the program: starting, finding, signalling and burying their processes."""
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

HANG_SECONDS = 30  # no job may live longer than this after what ends it
START_SECONDS = 120  # a job's ranks have started by then
# With it mpirun does not end the other ranks when the first one leaves with an error, so that each
# rank's own exit code is seen; but then its own exit code says nothing.
ALONE = ("--mca", "orte_abort_on_non_zero_status", "0")


@dataclass
class Grid:
    """DP x TP x PP."""
    dp: int
    tp: int
    pp: int

    @staticmethod
    def of(text):
        return Grid(*(int(part) for part in text.split("x")))

    def __str__(self):
        return f"{self.dp}x{self.tp}x{self.pp}"

    @property
    def ranks(self):
        return self.dp * self.tp * self.pp

    def options(self):
        return ["--tensor-parallel-size", str(self.tp), "--pipeline-parallel-size", str(self.pp)]


@dataclass
class Fault:
    """What the shim does (README.md): the fields are its environment variables."""
    path: str
    kind: str = ""
    call: str = "any"
    nth: int = 1
    count: int = 1
    rank: int = -1

    def environment(self):
        names = ["path", "kind", "call", "nth", "count", "rank"]
        return {f"FAULT_{name.upper()}": str(getattr(self, name)) for name in names}

    def __str__(self):
        return f"{self.kind} at {self.call} {self.nth} of rank {self.rank}"


@dataclass
class Ended:
    """How a job ended."""
    code: int
    seconds: float
    hung: bool
    alone: bool  # every rank should have an exit code of its own
    orphans: list
    out: str
    err: str
    left: list = field(default_factory=list)  # files in what stands for /dev/shm and /tmp
    exits: dict = field(default_factory=dict)  # exit code by rank; ranks that were killed have none

    def last_line(self):
        lines = [line for line in self.err.splitlines() if "error" in line] or self.err.splitlines()
        return lines[0] if lines else "(no standard error)"


def processes(marker):
    """{pid: rank} of a job's living processes; rank None: mpirun, or a run without it."""
    found = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            environment = Path(entry.path, "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it is gone, or another user's
        if f"CUBOID_FAULT_JOB={marker}".encode() not in environment:
            continue
        values = [item for item in environment if item.startswith(b"OMPI_COMM_WORLD_RANK=")]
        found[int(entry.name)] = int(values[0].split(b"=")[1]) if values else None
    return found


class Job:
    """One run of the program; alone where the grid has one rank, else under mpirun."""

    def __init__(self, suite, arguments, ranks=1, *, logs, name="run", fault=None, mpirun=(),
                 before=()):
        self.marker = uuid.uuid4().hex
        self.ranks = ranks
        self.alone = ranks > 1 and tuple(mpirun) == ALONE
        self.logs = logs
        self.name = name
        logs.mkdir(parents=True, exist_ok=True)
        self.calls = logs / f"{name}.calls"
        self.exits = logs / f"{name}.exits"
        # Killed ranks leave their shared memory, and a killed mpirun its session, behind.
        shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.shared = tempfile.mkdtemp(prefix="cuboid-faults-", dir=shared)
        os.chmod(self.shared, 0o777)
        command = self._command(suite, list(arguments), fault, list(mpirun), list(before))
        (logs / f"{name}.command").write_text(shlex.join(command) + "\n")
        self.begin = time.monotonic()
        with open(logs / f"{name}.out", "wb") as out, open(logs / f"{name}.err", "wb") as err:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=suite.top,
                env=self._environment(suite), start_new_session=True)

    def _command(self, suite, arguments, fault, mpirun, before):
        variables = {"LD_PRELOAD": suite.shim, "FAULT_EXITS": self.exits}
        if fault:
            variables |= fault.environment() | {"FAULT_LOG": self.calls}
        program = [str(suite.program), *arguments]
        if self.ranks == 1:
            return [*before, "env", *(f"{key}={value}" for key, value in variables.items()), *program]
        passed = [part for key, value in variables.items() for part in ("-x", f"{key}={value}")]
        return [*before, "mpirun", "-np", str(self.ranks), *passed, *mpirun, *program]

    def _environment(self, suite):
        return suite.environment | {
            "CUBOID_FAULT_JOB": self.marker,
            "OMPI_MCA_btl_vader_backing_directory": self.shared,
            "OMPI_MCA_osc_sm_backing_directory": self.shared,
            "OMPI_MCA_orte_tmpdir_base": self.shared,
        }

    def output(self):
        return (self.logs / f"{self.name}.out").read_text(errors="replace")

    def seconds(self):
        return time.monotonic() - self.begin

    def is_running(self):
        return self.process.poll() is None

    def pids(self):
        """{rank: pid}; "mpirun" is one of the keys where there is one."""
        # A run without mpirun starts a daemon, which is no rank.
        without_rank = "mpirun" if self.ranks > 1 else 0
        return {without_rank if rank is None else rank: pid
                for pid, rank in processes(self.marker).items()
                if rank is not None or pid == self.process.pid}

    def signal(self, number, targets):
        """Signals these keys of pids(); true where all of them were there."""
        pids = self.pids()
        sent = True
        for target in targets:
            try:
                os.kill(pids[target], number)
            except (KeyError, ProcessLookupError):
                sent = False
        return sent

    def wait_for(self, text, limit=60):
        """Waits until standard output holds the text; false where the job ended without."""
        while text not in self.output():
            if not self.is_running() or self.seconds() > limit:
                return text in self.output()
            time.sleep(0.005)
        return True

    def has_ended_after(self, seconds):
        """Waits so long from the job's start; true where the job ended meanwhile."""
        try:
            self.process.wait(max(0, seconds - self.seconds()))
            return True
        except subprocess.TimeoutExpired:
            return False

    def wait(self, limit=120):
        """Waits for the end of the job and of all its processes, at most `limit` seconds from now or
        from the ranks' start, if that is later; what is left then is killed and reported."""
        hung = False
        # A busy machine's mpirun may take its time. The shim makes this file as a rank starts.
        while not self.exits.exists() and self.is_running() and self.seconds() < START_SECONDS:
            time.sleep(0.02)
        try:
            self.process.wait(limit)
        except subprocess.TimeoutExpired:
            hung = True
        orphans = []
        if not hung:
            orphans = self._wait_for_orphans()
        for pid in processes(self.marker):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        left = sorted(str(path) for path in Path(self.shared).rglob("*") if not path.is_dir())
        shutil.rmtree(self.shared, ignore_errors=True)
        exits = self._exit_codes()
        code = self.process.returncode
        if self.alone and code == 0:
            code = max(exits.values(), default=0)
        return Ended(code=code, seconds=self.seconds(), hung=hung, alone=self.alone,
                     orphans=orphans, out=self.output(), left=left, exits=exits,
                     err=(self.logs / f"{self.name}.err").read_text(errors="replace"))

    def _wait_for_orphans(self):
        end = time.monotonic() + HANG_SECONDS
        while left := processes(self.marker):
            if time.monotonic() > end:
                return sorted(left)
            time.sleep(0.05)
        return []

    def last_exit(self):
        """When the last rank exited, by time.monotonic()."""
        return max((int(line.split()[3]) for line in self.exits.read_text().splitlines()),
                   default=0) * 1e-9

    def _exit_codes(self):
        codes = {}
        if self.exits.exists():
            for line in self.exits.read_text().splitlines():
                # Without mpirun, MPI starts a daemon of its own, which inherits the shim.
                name, rank, code, _ = line.split()
                if name != "orted":
                    codes[int(rank)] = int(code)
        return codes
