"""No example without a README that says which tests run it, and a place in the two lists."""

import pathlib
import re
import unittest

from support import EXAMPLES, ROOT

FOLDERS = sorted(folder.name for folder in EXAMPLES.iterdir()
                 if folder.is_dir() and folder.name not in ("js", "node_modules", "venv", "__pycache__"))


class Complete(unittest.TestCase):
    def test_every_example_is_listed_and_tested(self):
        self.assertGreater(len(FOLDERS), 8)
        for folder in FOLDERS:
            with self.subTest(folder):
                layers = re.findall(r"`make test-([a-z]+)`", (EXAMPLES / folder / "README.md").read_text())
                self.assertTrue(layers, "the README names its tests")
                for page in (EXAMPLES / "README.md", ROOT / "docs" / "clients.md"):
                    self.assertIn(f"{folder}/README.md)", page.read_text(), page.name)
                if layers[0] == "examples":
                    self.assertTrue((pathlib.Path(__file__).parent / f"test_{folder}.py").exists(), "tests")
                else:
                    tests = [*ROOT.glob(f"tests/{layers[0]}/*.*"), *ROOT.glob(f"scripts/test_{layers[0]}.sh")]
                    self.assertTrue(any(f"examples/{folder}" in test.read_text() for test in tests), "tests")

    def test_links_lead_somewhere(self):
        for page in [*EXAMPLES.rglob("*.md"), ROOT / "docs" / "clients.md"]:
            if "node_modules" in page.parts or "venv" in page.parts:
                continue
            for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
                if not link.startswith("https://"):
                    self.assertTrue((page.parent / link).exists(), f"{page.relative_to(ROOT)}: {link}")


if __name__ == "__main__":
    unittest.main()
