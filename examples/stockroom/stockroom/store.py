"""Items on disk: one JSON file."""

import json
import os
import re


class Item:
    def __init__(self, sku, name, price, quantity, minimum=0):
        self.sku = sku
        self.name = name
        self.price = price
        self.quantity = quantity
        self.minimum = minimum

    def as_dict(self):
        return {
            "sku": self.sku,
            "name": self.name,
            "price": self.price,
            "quantity": self.quantity,
            "minimum": self.minimum,
        }


def load(path):
    """Return the items in the file, by SKU."""
    try:
        with open(path) as handle:
            rows = json.load(handle)
        return {row["sku"]: Item(**row) for row in rows}
    except Exception:
        return {}


def save(path, items):
    """Write all items to the file."""
    with open(path, "w") as handle:
        json.dump([item.as_dict() for item in items.values()], handle, indent=2)
