import contextlib
import io
import tempfile
import unittest
from pathlib import Path

from stockroom import cli


class Commands(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = str(Path(folder.name) / "stock.json")

    def run_cli(self, *arguments):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.main(["--file", self.path, *arguments])
        return code, out.getvalue(), err.getvalue()

    def add(self, sku="bolt", price="0.10", quantity="500"):
        return self.run_cli("add", sku, "--name", "Bolt", "--price", price, "--quantity", quantity)

    def test_an_item_is_added_once(self):
        self.assertEqual(self.add(), (0, "added bolt\n", ""))
        self.assertEqual(self.add()[0], 1)

    def test_a_negative_price_is_refused(self):
        self.assertEqual(self.add(price="-1")[0], 1)

    def test_a_movement_changes_the_quantity(self):
        self.add()
        self.assertEqual(self.run_cli("move", "2026-03-01 out bolt 20")[:2], (0, "bolt: 480\n"))

    def test_a_movement_of_an_unknown_item_is_refused(self):
        self.assertEqual(self.run_cli("move", "2026-03-01 out nut 20")[0], 1)

    def test_a_quote_has_the_discount(self):
        self.add()
        self.assertEqual(self.run_cli("quote", "bolt", "200")[:2], (0, "19.00\n"))

    def test_the_report_names_the_value(self):
        self.add()
        self.assertIn("value 50.00", self.run_cli("report")[1])


if __name__ == "__main__":
    unittest.main()
