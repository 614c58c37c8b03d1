"""Disks that fill up and calls that fail: what was saved stays, the error says what happened, and
the next run goes on."""
import errno
import os
import re
import shutil
import subprocess

from folder import resumed_step
from job import ALONE, HANG_SECONDS, Fault, Grid, Job

FULL = "No space left on device"


def expect_rank_codes(injection, ended, ranks):
    """Every rank has the job's exit code, but for those that were killed."""
    # What failed on one rank only, outside of a save, is the end of the others by a signal.
    may_be_killed = not ended.alone and ranks > 1 or "ending all ranks" in ended.err
    codes = [ended.exits.get(rank) for rank in range(ranks)]
    legal = {ended.code, None} if may_be_killed else {ended.code}
    injection.expect(set(codes) <= legal and set(codes) != {None},
                     f"exit codes of the ranks: {codes}")


def expect_clean_failure(injection, out, ended, ranks, reason="", legal=(1,)):
    """The run failed as one: every rank with the same exit code, a message that names folder and
    cause."""
    injection.expect(ended.code in legal, f"exit {ended.code}, wanted {legal}: {ended.last_line()}")
    expect_rank_codes(injection, ended, ranks)
    injection.expect(str(out.path) in ended.err, f"the error names no file: {ended.last_line()}")
    injection.expect(reason in ended.err, f"the error does not say '{reason}': {ended.last_line()}")


def expect_to_go_on(suite, injection, out, steps):
    """A run without faults resumes from the newest checkpoint and finishes."""
    newest = out.newest()
    job = Job(suite, suite.training(out.path, Grid(1, 1, 1), steps, steps, "--resume", "auto"),
              logs=injection.path, name="after")
    ended = job.wait()
    injection.expect(ended.code == 0, f"the next run: exit {ended.code}: {ended.last_line()}")
    step = resumed_step(ended.out)
    injection.expect(step == newest, f"the next run resumed from {step}, not from {newest}")
    injection.expect_none(out.verify())
    injection.expect(not out.leftovers(), f"the next run left {out.leftovers()}")


# ---- A file system of limited size --------------------------------------------------------------
def checkpoint_bytes(suite, grid):
    folder = suite.reference(grid, 4, 2).folder
    return max(path.stat().st_size for path in folder.checkpoints().values())


def run_tmpfs(suite, count):
    """`count` sizes, from none to enough for two checkpoints. Needs a mount namespace of its own."""
    grids = [Grid(1, 1, 1), Grid(2, 1, 1), Grid(1, 2, 1), Grid(1, 1, 2)]
    for i in range(count):
        grid = grids[i % len(grids)]
        enough = 2 * checkpoint_bytes(suite, grid) + (128 << 10)
        size = max(4096, round(enough * (i + suite.random.random()) / count) // 4096 * 4096)
        with suite.injection("tmpfs", f"{i}-{grid}-{size}") as injection:
            fill_tmpfs(suite, injection, grid, size)
    return f"{count} sizes"


def fill_tmpfs(suite, injection, grid, size):
    out = suite.folder(injection.path / "out")
    out.path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", out.path], check=True)
    try:
        job = Job(suite, suite.training(out.path, grid, 4, 2), grid.ranks, logs=injection.path,
                  mpirun=suite.random.choice([(), ALONE]))
        ended = job.wait(HANG_SECONDS)
        injection.expect_over(ended)
        if ended.code != 0:
            expect_failure_on_full_disk(injection, out, ended, grid.ranks)
        else:
            injection.expect(sorted(out.checkpoints()) == [2, 4], "it succeeded without saving")
        injection.expect_none(out.verify())
        injection.expect(not out.leftovers(), f"left over: {out.leftovers()}")
        keep = out.snapshot()
        subprocess.run(["mount", "-o", "remount,size=64m", out.path], check=True)
        expect_to_go_on(suite, injection, out, 5)
        injection.expect_none(out.compare(keep))
    finally:
        if injection.problems:
            shutil.copytree(out.path, injection.path / "content")
        subprocess.run(["umount", out.path], check=True)


def expect_failure_on_full_disk(injection, out, ended, ranks):
    # Where not even the first file fits, the run says so before it begins.
    if ended.code == 2 and "Step 1 " not in ended.out:
        injection.expect(str(out.path) in ended.err and FULL in ended.err, ended.last_line())
    else:
        expect_clean_failure(injection, out, ended, ranks, FULL)


# ---- A limit on file sizes ----------------------------------------------------------------------
def run_filesize(suite, count):
    """`count` limits on one rank or on all, from nothing to the size of a checkpoint."""
    grids = [Grid(1, 1, 1), Grid(2, 1, 1), Grid(1, 2, 2)]
    for i in range(count):
        grid = grids[i % len(grids)]
        limit = suite.random.randrange(checkpoint_bytes(suite, grid))
        rank = suite.random.choice([-1, 0, grid.ranks - 1])
        with suite.injection("filesize", f"{i}-{grid}-{limit}-rank{rank}") as injection:
            out = prepare(suite, injection)
            before = out.snapshot()
            # Set as the rank first touches an unfinished checkpoint: MPI's own files are larger.
            fault = Fault(path=".partial", kind=f"filesize:{limit}", rank=rank)
            ended = train_on(suite, injection, out, grid, fault)
            injection.expect_over(ended)
            # A rank that writes less than the limit does not notice it.
            if ended.code != 0 or rank < 1:
                expect_clean_failure(injection, out, ended, grid.ranks, "File too large")
            injection.expect_none(out.compare(before, keep_last=2))
            injection.expect(not out.leftovers(), f"left over: {out.leftovers()}")
            expect_to_go_on(suite, injection, out, 7)
    return f"{count} limits"


# ---- Every k-th call fails ----------------------------------------------------------------------
ERRORS = {"open": ["EIO", "ENOSPC", "EMFILE"], "write": ["EIO", "ENOSPC", "short", "EINTR"],
          "pwrite": ["EIO", "ENOSPC", "short", "EINTR"], "fsync": ["EIO", "EINTR"],
          "fdatasync": ["EIO", "EINTR"], "ftruncate": ["EIO", "ENOSPC", "EINTR"],
          "fallocate": ["ENOSPC", "EIO", "EINTR", "EOPNOTSUPP"], "rename": ["EIO", "ENOSPC"],
          "unlink": ["EIO"], "close": ["EIO", "ENOSPC", "EINTR"], "link": ["EIO"],
          "mkdir": ["EIO", "ENOSPC"]}
# A call that is cut short or interrupted, or a file system that cannot reserve, is no failure.
HARMLESS = {"short", "EINTR", "EOPNOTSUPP"}


def prepare(suite, injection):
    """An output folder with the checkpoints of steps 2 and 4."""
    out = suite.folder(injection.path / "out")
    reference = suite.reference(Grid(1, 1, 1), 4, 2).folder
    shutil.copytree(reference.path, out.path)
    out.valid |= set(out.snapshot().values())
    return out


def train_on(suite, injection, out, grid, fault):
    """Resumes at step 4, saves at step 6, which sends step 2 away."""
    arguments = suite.training(out.path, grid, 6, 2, "--resume", "auto", "--keep-last", "2")
    job = Job(suite, arguments, grid.ranks, logs=injection.path, fault=fault,
              mpirun=suite.random.choice([(), ALONE]))
    return job.wait(HANG_SECONDS)


def logged_calls(path):
    """[(rank, name, number, mode, path)] of a shim's log."""
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    return [(int(line[2]), line[4], int(line[5]), line[6], line[13]) for line in lines]


def run_calls(suite, count):
    """Fails each call in turn on rank 0 and on another, with each error that it knows; `count` of
    them, drawn at random, or 0 for all."""
    cases = []
    for grid in (Grid(1, 1, 1), Grid(1, 2, 2)):
        with suite.injection("calls", f"undisturbed-{grid}") as injection:
            out = prepare(suite, injection)
            ended = train_on(suite, injection, out, grid, Fault(path=str(out.path)))
            injection.expect(ended.code == 0, ended.last_line())
            for rank in sorted({0, grid.ranks - 1}):
                calls = [call[1:] for call in logged_calls(injection.path / "run.calls")
                         if call[0] == rank]
                cases += [(grid, rank, *call, kind) for call in calls for kind in ERRORS[call[0]]]
    chosen = suite.random.sample(cases, min(count, len(cases))) if count else cases
    for grid, rank, name, number, mode, path, kind in chosen:
        with suite.injection("calls", f"{grid}-rank{rank}-{name}-{number}-{kind}") as injection:
            fail_call(suite, injection, grid, Fault(path="", kind=kind, call=name, nth=number,
                                                    rank=rank), os.path.basename(path), mode)
    return f"{len(chosen)} of {len(cases)} calls and errors"


def fail_call(suite, injection, grid, fault, file_name, mode):
    out = prepare(suite, injection)
    fault.path = str(out.path)
    before = out.snapshot()
    ended = train_on(suite, injection, out, grid, fault)
    injection.expect_over(ended)
    log = injection.path / "run.calls"
    if not injection.expect("\thit\t" in log.read_text(), "the run did not come to that call"):
        return
    injection.expect_none(out.compare(before, keep_last=2))
    changes = mode == "w" or fault.call in ("rename", "fsync", "mkdir")
    if ended.code == 0:
        injection.expect(out.newest() == 6, "it succeeded without saving")
        # All has been synced before it is closed; and MPI-IO has files of its own, for tests.
        optional = fault.call == "close" or "locktest" in file_name
        injection.expect(fault.kind in HARMLESS or not changes or optional,
                         f"it succeeded although {fault} failed, on {file_name}")
    elif fault.kind in HARMLESS:
        # MPI-IO gives up then, and does not say why.
        injection.expect(fault.call == "pwrite", "a harmless interruption ended the run")
        expect_clean_failure(injection, out, ended, grid.ranks)
    else:
        reason = os.strerror(getattr(errno, fault.kind))
        # Before the first step, it is the folder that cannot be used: a mistake of usage.
        legal = (1,) if re.search(r"^Step \d", ended.out, re.MULTILINE) else (1, 2)
        expect_clean_failure(injection, out, ended, grid.ranks, reason, legal)
    if fault.call != "unlink":
        injection.expect(not out.leftovers(), f"left over: {out.leftovers()}")
    expect_to_go_on(suite, injection, out, 7)

