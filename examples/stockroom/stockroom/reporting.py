"""What to reorder, and which names are used twice."""


def duplicate_names(items):
    """Return the names that more than one item has, in order of first appearance."""
    duplicates = []
    for first in items:
        for second in items:
            if first is not second and first.name.lower() == second.name.lower():
                if first.name.lower() not in duplicates:
                    duplicates.append(first.name.lower())
    return duplicates


def low_stock(items):
    """Return the items at or below their minimum, fewest left first."""
    return sorted((item for item in items if item.quantity <= item.minimum), key=lambda item: item.quantity)


def stock_value(items):
    """Return what all items are worth, without discounts."""
    return round(sum(item.price * item.quantity for item in items), 2)
