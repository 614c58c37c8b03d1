"""Damaged checkpoints: runs the tests of test/checkpoint with full counts."""
import os
import subprocess


def run_tool(suite, kind, name, command, **variables):
    """A program that judges by itself: passes where it exits 0."""
    with suite.injection(kind, name) as injection:
        log = injection.path / "log"
        with open(log, "wb") as out:
            done = subprocess.run(command, stdout=out, stderr=out, cwd=suite.top, check=False,
                                  env=suite.environment | variables)
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-4:])
        injection.expect(done.returncode == 0, f"exit {done.returncode}: {tail}")


def run_flips(suite, count):
    """`count` flipped bits and a tenth as many truncations, loaded on one rank and on two."""
    program = suite.build / "test/checkpoint/damage_test"
    for test, trials in (("NoFlippedBitAnywhereIsLoaded", count),
                         ("NoTruncatedFileIsLoaded", count // 10)):
        for ranks in (1, 2):
            command = ["mpirun", "-np", str(ranks), program, f"--gtest_filter=Damage.{test}"]
            run_tool(suite, "flips", f"{test}-{ranks}", command, CUBOID_TRIALS=str(trials))
    return f"{count} flipped bits and {count // 10} truncations, on 1 and on 2 ranks"


def run_mutants(suite, count):
    """`count` damaged files under sanitizers."""
    script = suite.top / "test/checkpoint/mutants.sh"
    mode = os.path.basename(suite.build)
    run_tool(suite, "mutants", str(count), [script, str(count)], MODE=mode)
    return f"{count} mutants"
