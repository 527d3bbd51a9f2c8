"""What the checks of documents see, and what they leave alone."""

import os
import tempfile
import unittest

import links
from blocks import Mistake, blocks, judge, presentable, printed, with_results


def document(*lines):
    return "\n".join(lines).split("\n")


class Results(unittest.TestCase):
    def shown(self, text, sql="", hidden=()):
        return presentable(text.split("\n"), sql, set(hidden))

    def test_footers_go_but_that_of_nothing(self):
        self.assertEqual(self.shown(" a \n---\n 1\n(1 row)\n\n b \n---\n(0 rows)\n"), [" a", "---", " 1", "", " b", "---", "(0 rows)"])

    def test_what_varies_is_masked_and_its_column_drawn_anew(self):
        table = ("                  id                  | n \n--------------------------------------+---\n"
                 " 0c6e9b6e-6d3f-4c1b-9d0e-3f3a6f9f0a11 | 1\n(1 row)\n")
        self.assertEqual(self.shown(table), ["   id   | n", "--------+---", " <uuid> | 1"])
        self.assertIn("0c6e9b6e", self.shown(table, "SELECT '0c6e9b6e-6d3f-4c1b-9d0e-3f3a6f9f0a11'")[2])

    def test_times_without_fractions_stay(self):
        self.assertEqual(self.shown("at 2026-01-31 10:00:00+00"), ["at 2026-01-31 10:00:00+00"])
        self.assertEqual(self.shown("at 2026-01-31 10:00:00.123+00 in 00:00:01.5"), ["at <time> in <interval>"])

    def test_a_named_column_is_masked(self):
        self.assertEqual(self.shown(" pid | n \n-----+---\n 123 | 1\n(1 row)", hidden=["pid"]), [" pid | n", "-----+---", " …   | 1"])

    def test_records(self):
        record = "-[ RECORD 1 ]-------------------------\nat | 2026-01-31 10:00:00.123+00\nn  | 1"
        self.assertEqual(self.shown(record), ["-[ RECORD 1 ]", "at | <time>", "n  | 1"])


class Blocks(unittest.TestCase):
    def of(self, *lines):
        return blocks("page.md", document(*lines))

    def test_the_result_adjoins(self):
        found = self.of("```sql", "SELECT 1;", "```", "", "```text", " 1", "```")
        self.assertEqual(found[0].result.text(), [" 1"])
        found = self.of("```sql", "SELECT 1;", "```", "Then:", "```text", " 1", "```")
        self.assertIsNone(found[0].result)

    def test_a_fence_within_a_fence_is_text(self):
        self.assertEqual(self.of("````md", "```sql", "SELECT 1;", "```", "````"), [])

    def test_mistakes_are_told(self):
        for lines in (["```sql", "SELECT 1;"], ["```sql mask", "```"], ["```sql colour=red", "```"]):
            with self.assertRaises(Mistake):
                self.of(*lines)
        self.assertFalse(self.of("```sql", "SELECT 1", "```")[0].complete())
        self.assertTrue(self.of("```sql", "SELECT 1 \\gset", "-- the end", "```")[0].complete())

    def test_judgement(self):
        block = self.of("```sql", "SELECT 1;", "```", "```text", " 1", "```")[0]
        self.assertIsNone(judge(block, [" 1"], None, False))
        self.assertIn("+ 2", judge(block, [" 2"], None, False))
        self.assertIn("no ```text", judge(self.of("```sql", "SELECT 1;", "```")[0], [" 1"], None, False))
        self.assertIsNone(judge(self.of("```sql hide=long", "SELECT 1;", "```")[0], [" 1"], None, False))
        failing = self.of("```sql error=22023", "SELECT 1;", "```")[0]
        self.assertIn("ended in 00000", judge(failing, [], "00000", False))
        self.assertIn("ended in 42501", judge(failing, [], "42501", True))

    def test_what_did_not_end_is_missing(self):
        found = self.of("```sql", "SELECT 1;", "```", "```sql", "SELECT 2;", "```")
        answers, unfinished = printed("::block 0\n 1\n::end 0\n::block 1\nERROR:  no", found)
        self.assertEqual((list(answers), unfinished), ([0], ["ERROR:  no"]))

    def test_accepting_writes_between_the_fences(self):
        lines = document("- text", "  ```sql", "  SELECT 1;", "  ```", "", "  ```text", "  old", "  ```", "end")
        self.assertEqual(with_results(lines, blocks("page.md", lines), {0: ([" 1"], None)})[5:8], ["  ```text", "   1", "  ```"])


class Links(unittest.TestCase):
    def problems(self, text):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "page.md")
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            return [problem.partition(": ")[2] for problem in links.check(path, {})[1]]

    def test_files_and_headings_are_looked_for(self):
        self.assertEqual(len(self.problems("[a](nowhere.md) ![b](picture.png) <img src=\"other.png\">")), 3)
        self.assertEqual(len(self.problems("# A `b` c\n[a](#a-b-c) [b](#d)")), 1)
        self.assertEqual(self.problems("[a](https://example.com/x.md) `[b](c.md)`\n```md\n[d](e.md)\n```"), [])


if __name__ == "__main__":
    unittest.main()
