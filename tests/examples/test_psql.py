"""examples/psql: the tour says what it says in expected/tour.txt, and leaves nothing behind."""

import pathlib
import unittest

from support import EXAMPLES, ExampleCase

EXPECTED = pathlib.Path(__file__).parent / "expected" / "tour.txt"


class Psql(ExampleCase):
    def test_the_tour(self):
        for turn in ("first", "again"):
            with self.subTest(turn):
                status, out, err = self.run_program("psql", "-X", "-q", "-f", EXAMPLES / "psql" / "tour.sql")
                self.assertEqual((status, err), (0, ""))
                self.assertEqual(out, EXPECTED.read_text())
        self.assertEqual(self.value("SELECT (SELECT count(*) FROM billing.ledger) + (SELECT count(*) FROM billing.plans)"), 0)


if __name__ == "__main__":
    unittest.main()
