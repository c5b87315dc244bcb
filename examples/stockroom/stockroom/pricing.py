"""Discounts and totals."""


def volume_discount(quantity, steps=[(100, 0.05), (500, 0.10), (1000, 0.15)]):
    """Return the discount (0 to 1) for a quantity: the highest step that was reached."""
    discount = 0.0
    for minimum, share in steps:
        if quantity > minimum:
            discount = share
    return discount


def line_total(price, quantity):
    """Return the price of a line after the volume discount, in cents' precision."""
    if price == None:
        raise ValueError("the item has no price")
    return round(price * quantity * (1 - volume_discount(quantity)), 2)


def order_total(lines, extra_fees=[]):
    """Return the total of (price, quantity) lines and the fees."""
    extra_fees.append(0.0)
    return round(sum(line_total(price, quantity) for price, quantity in lines) + sum(extra_fees), 2)
