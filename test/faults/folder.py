"""What an output folder holds, and the rules that hold for it whatever happens."""
import hashlib
import json
import re
import subprocess

KEYS = ("loss", "grad_norm", "learning_rate", "tokens", "sample_digest", "validation_loss")


def digest_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class OutputFolder:
    """The output folder of a run. `program` verifies its checkpoints."""

    def __init__(self, path, program):
        self.path = path
        self.program = program
        self.valid = set()  # digests of checkpoints that were found valid

    def checkpoints(self):
        """{step: path} of all files that are named as checkpoints."""
        found = {}
        for path in self.path.glob("checkpoint-*.h5"):
            if match := re.fullmatch(r"checkpoint-(\d+)\.h5", path.name):
                found[int(match[1])] = path
        return found

    def snapshot(self):
        """{step: digest of the file}"""
        return {step: digest_of(path) for step, path in self.checkpoints().items()}

    def leftovers(self):
        """Unfinished files."""
        return sorted(path.name for path in self.path.glob("*") if ".partial" in path.name)

    def newest(self):
        return max(self.checkpoints(), default=None)

    def metrics(self):
        """{step: the values that must not depend on what happened to the run}"""
        path = self.path / "metrics.jsonl"
        values = {}
        for line in path.read_text().splitlines() if path.exists() else []:
            # A validation that was cut short is made up for in a line of its own.
            entry = json.loads(line)
            values.setdefault(entry["step"], {}).update(
                {key: entry[key] for key in KEYS if key in entry})
        return values

    def verify(self):
        """A sentence for each checkpoint that the program finds damaged."""
        snapshot = self.snapshot()
        paths = self.checkpoints()
        problems = []
        for step, digest in snapshot.items():
            if digest in self.valid:
                continue
            done = subprocess.run([self.program, "checkpoint", "verify", paths[step]],
                                  capture_output=True, text=True, check=False)
            if done.returncode == 0:
                self.valid.add(digest)
            else:
                problems.append(f"checkpoint-{step}.h5 is not valid: {done.stdout}{done.stderr}")
        return problems

    def compare(self, before, keep_last=0, keep_every=0):
        """Problems of the folder as it is now, against the snapshot before: every checkpoint is
        valid, and every earlier one is unchanged, gone by the rules of retention, or set aside
        because it could not be read."""
        problems = self.verify()
        now = self.snapshot()
        aside = {digest_of(path) for path in self.path.glob("run-*/checkpoint-*.h5")}
        for step, digest in before.items():
            if digest in aside:
                continue
            num_newer = sum(1 for other in now if other > step)
            is_kept = keep_last == 0 or num_newer < keep_last
            is_kept |= keep_every > 0 and step % keep_every == 0
            if step not in now and is_kept:
                problems.append(f"checkpoint-{step}.h5 was lost; there are {sorted(now)}")
            if step in now and now[step] != digest:
                problems.append(f"checkpoint-{step}.h5 was changed")
        return problems


def resumed_step(output):
    """The step that a run says it resumed from; none where it says nothing of the kind."""
    match = re.search(r"^Resumed from .*checkpoint-(\d+)\.h5 at step \1", output, re.MULTILINE)
    return int(match[1]) if match else None


def differences(metrics, reference):
    """Steps whose values are not bit for bit those of the undisturbed run."""
    steps = sorted(metrics.keys() | reference.keys())
    wrong = [step for step in steps if metrics.get(step) != reference.get(step)]
    if not wrong:
        return []
    step = wrong[0]
    return [f"{len(wrong)} steps differ from the undisturbed run, first step {step}: "
            f"{metrics.get(step)}, wanted {reference.get(step)}"]
