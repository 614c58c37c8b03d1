"""Tests of order_rules.py on logs made by hand: each wrong order is noticed. Run by order.py."""
import unittest

from order_rules import SEAL, Call, judge

PARTIAL = "/out/checkpoint-2.h5.partial"
FINAL = "/out/checkpoint-2.h5"
# (rank, call, head, path, new path), one after another.
GOOD = [
    (0, "pwrite", "00", PARTIAL, "-"),
    (1, "pwrite", "00", PARTIAL, "-"),
    (0, "fsync", "-", PARTIAL, "-"),
    (1, "fsync", "-", PARTIAL, "-"),
    (0, "pwrite", SEAL, PARTIAL, "-"),
    (0, "fsync", "-", PARTIAL, "-"),
    (0, "rename", "-", PARTIAL, FINAL),
    (0, "fsync", "-", "/out", "-"),
    (0, "unlink", "-", "/out/checkpoint-1.h5", "-"),
]


def log(rows):
    return [Call(begin=10 * i, end=10 * i + 5, rank=rank, name=name, result=0, head=head, path=path,
                 new_path=new_path) for i, (rank, name, head, path, new_path) in enumerate(rows)]


def moved(source, target):
    rows = list(GOOD)
    rows.insert(target, rows.pop(source))
    return rows


class Order(unittest.TestCase):
    def expect(self, rows, text):
        problems, _ = judge(log(rows))
        self.assertTrue(any(text in problem for problem in problems), problems)

    def test_good(self):
        self.assertEqual(judge(log(GOOD)), ([], 1))

    def test_a_report_is_no_save(self):
        report = "/out/step_times.json"
        rows = GOOD + [(0, "write", "7b", report + ".partial", "-"),
                       (0, "rename", "-", report + ".partial", report)]
        self.assertEqual(judge(log(rows)), ([], 1))

    def test_data_after_the_fsync(self):
        self.expect(moved(1, 3), "rank 1 has no fsync between its data and the seal")

    def test_a_rank_without_fsync(self):
        self.expect(GOOD[:3] + GOOD[4:], "rank 1 has no fsync")

    def test_seal_before_the_fsync_of_data(self):
        self.expect(moved(4, 3), "rank 1 has no fsync between its data and the seal")

    def test_seal_without_fsync(self):
        self.expect(GOOD[:5] + GOOD[6:], "no fsync between the seal and the rename")

    def test_rename_before_the_fsync_of_the_seal(self):
        self.expect(moved(6, 5), "no fsync between the seal and the rename")

    def test_no_seal(self):
        self.expect(GOOD[:4] + GOOD[5:], "0 seals")

    def test_no_fsync_of_the_folder(self):
        self.expect(GOOD[:7] + GOOD[8:], "no fsync of the folder")

    def test_removal_before_the_fsync_of_the_folder(self):
        self.expect(moved(8, 7), "checkpoint-1.h5 was removed while 0 newer")

    def test_removal_before_the_rename(self):
        self.expect(moved(8, 6), "checkpoint-1.h5 was removed while 0 newer")

    def test_data_after_the_seal(self):
        self.expect(moved(0, 5), "rank 0 has no fsync between its data and the seal")

    def test_writing_to_the_finished_file(self):
        self.expect(GOOD + [(1, "pwrite", "00", FINAL, "-")], "not to its unfinished file")

    def test_two_saves(self):
        second = [(rank, name, head, path.replace("-2", "-3"), new.replace("-2", "-3"))
                  for rank, name, head, path, new in GOOD]
        second[-1] = (0, "unlink", "-", FINAL, "-")
        self.assertEqual(judge(log(GOOD + second)), ([], 2))
        self.expect(GOOD + second[:3] + second[4:], "checkpoint-3.h5: rank 1 has no fsync")
        problems, _ = judge(log(GOOD + second), keep_last=2)
        self.assertEqual(len(problems), 2, problems)


if __name__ == "__main__":
    unittest.main()
