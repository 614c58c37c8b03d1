"""Injects faults into runs of the program and checks that nothing that was saved is ever lost.
README.md describes the classes of faults; `make test-faults` runs all of them."""
import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import damage
import disk
import hang
import kill
import order
import places
import signals
from suite import Suite

# Name: (what is counted, full count (0: all there are), quick count (None: make test has a test of
# its own), function of suite and count)
CLASSES = {
    "order": ("runs whose system calls are judged", 24, 2, order.run),
    "kill": ("kills of ranks and mpirun", 500, 6, kill.run),
    "usr1": ("SIGUSR1 at random times", 100, 2, signals.run_usr1),
    "term": ("SIGTERM to mpirun", 40, 1, signals.run_term),
    "second": ("second signals", 20, 1, signals.run_second),
    "limit": ("runs with --time-limit", 10, 1, signals.run_limit),
    "lock": ("pairs of jobs in one folder", 12, 1, places.run_lock),
    "race": ("pairs of jobs that begin together", 20, 1, places.run_race),
    "folders": ("output folders that cannot be used", len(places.CASES), 3, places.run_folders),
    "hang": ("ranks that never come to an operation", len(hang.CASES), 2, hang.run_hang),
    "calls": ("failing calls, of about 1,000", 0, 6, disk.run_calls),
    "filesize": ("limits on file sizes", 100, 1, disk.run_filesize),
    "flips": ("flipped bits; a tenth as many truncations", 2000, None, damage.run_flips),
    "mutants": ("damaged files under sanitizers", 10000, None, damage.run_mutants),
    "tmpfs": ("sizes of a full file system", 100, 2, disk.run_tmpfs),
}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--build", default="build/release", help="folder of the build")
    parser.add_argument("--work", help="folder for the runs; default: a new one in TMPDIR")
    parser.add_argument("--only", help="classes to run, with commas: " + ",".join(CLASSES))
    parser.add_argument("--quick", action="store_true", help="a small share of each class")
    parser.add_argument("--seed", type=int, help="of what is drawn; default: another each time")
    for name, (what, full, quick, _) in CLASSES.items():
        parser.add_argument(f"--{name}", type=int, metavar="N",
                            help=f"{what} [{full or 'all'}; quick {quick or 'none'}]")
    return parser.parse_args()


def can_mount():
    """Words before a command that may mount, in a namespace that ends with it; none where that is
    not allowed."""
    words = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    with tempfile.TemporaryDirectory() as folder:
        probe = subprocess.run([*words, "mount", "-t", "tmpfs", "none", folder],
                               capture_output=True, check=False)
    return words if probe.returncode == 0 else None


def enter_mount_namespace():
    """Starts this program anew where it may mount. Returns false where that cannot be."""
    if os.environ.get("CUBOID_FAULTS_MOUNT"):
        return True
    words = can_mount()
    if words is None:
        return False
    os.environ["CUBOID_FAULTS_MOUNT"] = "1"
    os.execvp(words[0], [*words, sys.executable, *sys.argv])


def count_for(options, name):
    given = getattr(options, name)
    return given if given is not None else CLASSES[name][2 if options.quick else 1]


def main():
    options = parse()
    chosen = options.only.split(",") if options.only else list(CLASSES)
    if unknown := set(chosen) - set(CLASSES):
        sys.exit(f"--only: no class {', '.join(unknown)}; there are {', '.join(CLASSES)}")
    chosen = [name for name in chosen if count_for(options, name) is not None]
    mounts = "tmpfs" not in chosen or enter_mount_namespace()
    seed = options.seed if options.seed is not None else random.randrange(10**6)
    if not Path(options.build, "test/faults/libfaultshim.so").exists():
        sys.exit(f"the shim is not built in {options.build}: make test-faults builds it")
    work = Path(options.work or tempfile.mkdtemp(prefix="cuboid-faults-"))
    work.mkdir(parents=True, exist_ok=True)
    os.chmod(work, 0o755)
    suite = Suite(options.build, work, seed)
    suite.line(f"faults: seed {seed}, in {work}")
    for name in chosen:
        if name == "tmpfs" and not mounts:
            suite.skip("tmpfs", "mounting is not allowed here")
            continue
        begin, passed, failed = time.monotonic(), suite.passed, suite.failed
        what = CLASSES[name][3](suite, count_for(options, name))
        suite.line(f"{name:9} {what}: {suite.passed - passed} passed, {suite.failed - failed} failed, "
                   f"{time.monotonic() - begin:.0f} s")
    if suite.failed == 0:
        shutil.rmtree(work, ignore_errors=True)
    else:
        suite.line(f"The evidence is in {work}")
    suite.line(f"{suite.passed} passed, {suite.failed} failed")
    sys.exit(0 if suite.failed == 0 else 1)


main()
