import unittest

from stockroom import pricing


class Discounts(unittest.TestCase):
    def test_small_quantities_get_none(self):
        self.assertEqual(pricing.volume_discount(10), 0.0)

    def test_large_quantities_get_the_highest_step(self):
        self.assertEqual(pricing.volume_discount(5000), 0.15)


class Totals(unittest.TestCase):
    def test_a_line_is_price_times_quantity(self):
        self.assertEqual(pricing.line_total(0.5, 10), 5.0)

    def test_a_line_without_a_price_is_refused(self):
        with self.assertRaises(ValueError):
            pricing.line_total(None, 1)

    def test_an_order_adds_its_lines_and_fees(self):
        self.assertEqual(pricing.order_total([(1.0, 2), (3.0, 1)], [4.5]), 9.5)


if __name__ == "__main__":
    unittest.main()
