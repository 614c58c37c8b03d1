"""Output folders that are not there, not writable, something else or in use: exit code 2 before the
first step, and nothing outside of the folder changes."""
import os
import signal
import socket
import subprocess

from job import Grid, Job

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


def tree(folder):
    """{path: content} of everything below a folder; links as what they say."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path)] = os.readlink(path)
        else:
            found[str(path)] = path.read_bytes() if path.is_file() else None
    return found


class Place:
    """A folder `place` with what a case needs, and runs whose output goes to place/out."""

    def __init__(self, suite, injection):
        self.suite = suite
        self.injection = injection
        self.path = injection.path / "place"
        self.path.mkdir()
        self.path.chmod(0o777)
        self.out = self.path / "out"
        self.elsewhere = self.path / "elsewhere"
        self.elsewhere.mkdir(mode=0o777)
        (self.elsewhere / "precious.h5").write_text("precious")

    def run(self, ranks=1, before=()):
        arguments = self.suite.training(self.out, Grid(ranks, 1, 1), 4, 2)
        logs = self.injection.path / "logs"
        logs.mkdir(exist_ok=True)
        logs.chmod(0o777)
        return Job(self.suite, arguments, ranks, logs=logs, before=before).wait(30)

    def expect_refusal(self, before=()):
        kept = tree(self.path)
        for ranks in (1, 2):
            ended = self.run(ranks, before)
            self.injection.expect_over(ended)
            self.injection.expect(ended.code == 2, f"exit {ended.code}: {ended.last_line()}")
            self.injection.expect(str(self.out) in ended.err, f"not named: {ended.last_line()}")
            self.injection.expect("Step 1 " not in ended.out, "it trained all the same")
        self.injection.expect(tree(self.path) == kept, "files were changed")

    def expect_use(self, folder):
        """The run works, and its files are in `folder`, the others unchanged."""
        kept = {path: content for path, content in tree(self.path).items()
                if not path.startswith(str(folder) + "/")}
        ended = self.run()
        self.injection.expect(ended.code == 0, f"exit {ended.code}: {ended.last_line()}")
        self.injection.expect((folder / "checkpoint-4.h5").is_file(), "no checkpoint")
        now = tree(self.path)
        self.injection.expect(all(now.get(path) == content for path, content in kept.items()),
                              "other files were changed")


def make_folder(place, mode=0o755):
    place.out.mkdir()
    place.out.chmod(mode)


def not_writable(place):
    make_folder(place)
    place.expect_refusal(NOBODY)


def not_searchable(place):
    make_folder(place, 0o600)
    place.expect_refusal(NOBODY)


def below_not_writable(place):
    place.path.chmod(0o755)
    place.expect_refusal(NOBODY)


def of_another_user(place):
    make_folder(place, 0o700)
    (place.out / "checkpoint-1.h5").write_text("another user's")
    place.expect_refusal(NOBODY)


def missing(place):
    place.expect_use(place.out)


def link_to_folder(place):
    place.out.symlink_to(place.elsewhere)
    place.expect_use(place.elsewhere)
    place.injection.expect((place.elsewhere / "precious.h5").read_text() == "precious", "changed")


def dangling_link(place):
    place.out.symlink_to(place.path / "nowhere")
    place.expect_refusal()


def link_in_circles(place):
    place.out.symlink_to(place.out)
    place.expect_refusal()


def a_file(place):
    place.out.write_text("a file")
    place.expect_refusal()


def below_a_file(place):
    (place.path / "file").write_text("a file")
    place.out = place.path / "file" / "out"
    place.expect_refusal()


def partial_is_a_link(place):
    """A save never writes through a link that has the name of its unfinished file."""
    make_folder(place)
    (place.out / "checkpoint-2.h5.partial").symlink_to(place.elsewhere / "precious.h5")
    place.expect_use(place.out)


def lock_is_a_link(place):
    make_folder(place)
    (place.out / "cuboid.lock").symlink_to(place.elsewhere / "precious.h5")
    place.run()
    place.injection.expect((place.elsewhere / "precious.h5").read_text() == "precious",
                           "the lock was written through a link")


def checkpoint_is_a_folder(place):
    """Where a folder has a checkpoint's name, the save fails and everything else stays."""
    make_folder(place)
    (place.out / "checkpoint-4.h5").mkdir()
    ended = place.run()
    place.injection.expect(ended.code in (1, 2), f"exit {ended.code}: {ended.last_line()}")
    place.injection.expect("checkpoint-4.h5" in ended.err, f"not named: {ended.last_line()}")


# True: needs to act as another user.
CASES = [(not_writable, True), (not_searchable, True), (below_not_writable, True),
         (of_another_user, True), (missing, False), (link_to_folder, False),
         (dangling_link, False), (link_in_circles, False), (a_file, False), (below_a_file, False),
         (partial_is_a_link, False), (lock_is_a_link, False), (checkpoint_is_a_folder, False)]


def run_folders(suite, count):
    """`count` of the cases; all where there are no more."""
    can = os.geteuid() == 0 and subprocess.run([*NOBODY, "true"], check=False).returncode == 0
    for case, as_another in suite.random.sample(CASES, min(count, len(CASES))):
        name = case.__name__.replace("_", "-")
        if as_another and not can:
            suite.skip(f"folders {name}", "only root can act as another user")
            continue
        with suite.injection("folders", name) as injection:
            case(Place(suite, injection))
    return f"{min(count, len(CASES))} folders"


def run_lock(suite, count):
    """Two jobs in one folder; and the lock that a killed job leaves behind."""
    for i in range(count):
        grid = [Grid(1, 1, 1), Grid(2, 1, 1), Grid(1, 2, 2)][i % 3]
        with suite.injection("lock", f"{i}-{grid}") as injection:
            out = suite.folder(injection.path / "out")
            first = Job(suite, suite.training(out.path, grid, 1000000, 0), grid.ranks,
                        logs=injection.path, name="first")
            first.wait_for("Step 1 ")
            pid = first.pids().get(0)
            # Ranks that never rest, a core each, would keep the second job from starting: its MPI
            # yields the processor while it waits.
            for process in first.pids().values():
                os.setpriority(os.PRIO_PROCESS, process, 19)
            second = Job(suite, suite.training(out.path, grid, 4, 2, "--resume", "auto"), grid.ranks,
                         logs=injection.path, name="second").wait(30)
            injection.expect(second.code == 2, f"the second: exit {second.code}")
            for text in (str(out.path), socket.gethostname(), str(pid)):
                injection.expect(text in second.err, f"no {text} in: {second.last_line()}")
            injection.expect("Step 1 " not in second.out, "the second trained all the same")
            injection.expect(first.is_running(), "the first ended, too")
            end_first(suite, injection, out, first, grid)
    return f"{count} pairs"


def end_first(suite, injection, out, first, grid):
    """Kills the first job; the next one takes the folder over."""
    first.signal(signal.SIGKILL, first.pids())
    injection.expect_over(first.wait(30))
    third = Job(suite, suite.training(out.path, grid, 4, 2, "--resume", "auto"), grid.ranks,
                logs=injection.path, name="third").wait(60)
    injection.expect(third.code == 0, f"after kill -9: exit {third.code}: {third.last_line()}")
    injection.expect_none(out.verify())
    injection.expect(4 in out.checkpoints(), "the next job saved nothing")


def run_race(suite, count):
    """Two jobs that begin at the same time: one works, the other says why it does not."""
    for i in range(count):
        with suite.injection("race", str(i)) as injection:
            out = suite.folder(injection.path / "out")
            arguments = suite.training(out.path, Grid(1, 1, 1), 4, 2, "--resume", "auto")
            jobs = [Job(suite, arguments, logs=injection.path, name=name) for name in "ab"]
            codes = sorted(job.wait(60).code for job in jobs)
            # One that comes when the other has finished finds everything done.
            injection.expect(codes in ([0, 2], [0, 0]), f"exit codes {codes}")
            injection.expect_none(out.verify())
            injection.expect(sorted(out.checkpoints()) == [2, 4], f"{sorted(out.checkpoints())}")
            injection.expect(not out.leftovers(), f"left over: {out.leftovers()}")
    return f"{count} pairs"
