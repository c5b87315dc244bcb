import unittest

from stockroom import reporting
from stockroom.store import Item


class Reports(unittest.TestCase):
    def test_names_used_twice_are_found_whatever_their_case(self):
        items = [Item("a", "Bolt", 1, 1), Item("b", "Nut", 1, 1), Item("c", "BOLT", 1, 1)]
        self.assertEqual(reporting.duplicate_names(items), ["bolt"])

    def test_names_used_once_are_not(self):
        self.assertEqual(reporting.duplicate_names([Item("a", "Bolt", 1, 1)]), [])

    def test_low_stock_lists_the_fewest_first(self):
        items = [Item("a", "A", 1, 3, 5), Item("b", "B", 1, 1, 5), Item("c", "C", 1, 9, 5)]
        self.assertEqual([item.sku for item in reporting.low_stock(items)], ["b", "a"])

    def test_value_is_price_times_quantity(self):
        self.assertEqual(reporting.stock_value([Item("a", "A", 1.5, 4)]), 6.0)


if __name__ == "__main__":
    unittest.main()
