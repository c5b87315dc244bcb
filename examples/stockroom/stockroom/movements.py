"""Movements in and out, as lines of text: `2026-03-01 in bolt-m8 200`."""

import datetime


class Movement:
    def __init__(self, day, direction, sku, quantity):
        self.day = day
        self.direction = direction
        self.sku = sku
        self.quantity = quantity


def parse_movement(line):
    """Return the movement a line stands for. Raises ValueError for anything else."""
    parts = line.split()
    if len(parts) != 4:
        raise ValueError(f"a movement has four words, not {len(parts)}: {line!r}")
    day = datetime.date.fromisoformat(parts[0])
    if parts[1] not in ("in", "out"):
        raise ValueError(f"a movement goes in or out, not {parts[1]!r}")
    quantity = int(parts[3])
    if quantity <= 0:
        raise ValueError(f"a movement moves at least one piece, not {quantity}")
    return Movement(day, parts[1], parts[2], quantity)


def apply_movement(items, movement):
    """Change the quantity of the item that moved. Raises KeyError for an unknown item."""
    item = items[movement.sku]
    if movement.direction == "in":
        item.quantity += movement.quantity
    else:
        if movement.quantity > item.quantity:
            raise ValueError(f"only {item.quantity} of {item.sku} left")
        item.quantity -= movement.quantity
    return item
