import tempfile
import unittest
from pathlib import Path

from stockroom import store


class Files(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = str(Path(folder.name) / "stock.json")

    def test_what_was_saved_is_loaded(self):
        store.save(self.path, {"bolt": store.Item("bolt", "Bolt", 0.1, 5)})
        self.assertEqual(store.load(self.path)["bolt"].quantity, 5)

    def test_a_missing_file_is_an_empty_stock(self):
        self.assertEqual(store.load(self.path), {})


if __name__ == "__main__":
    unittest.main()
