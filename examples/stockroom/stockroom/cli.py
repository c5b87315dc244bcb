"""The command line."""

import argparse
import sys

from stockroom import movements, pricing, reporting, store


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="stockroom")
    parser.add_argument("--file", default="stock.json")
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("add")
    add.add_argument("sku")
    add.add_argument("--name", required=True)
    add.add_argument("--price", type=float, required=True)
    add.add_argument("--quantity", type=int, default=0)
    add.add_argument("--minimum", type=int, default=0)
    move = commands.add_parser("move")
    move.add_argument("movement", help="such as '2026-03-01 out bolt-m8 20'")
    quote = commands.add_parser("quote")
    quote.add_argument("sku")
    quote.add_argument("quantity", type=int)
    commands.add_parser("report")
    options = parser.parse_args(arguments)
    items = store.load(options.file)
    if options.command == "add":
        if options.sku in items:
            print(f"{options.sku} is there already", file=sys.stderr)
            return 1
        else:
            if options.price < 0:
                print("a price cannot be negative", file=sys.stderr)
                return 1
            else:
                if options.quantity < 0:
                    print("a quantity cannot be negative", file=sys.stderr)
                    return 1
                items[options.sku] = store.Item(
                    options.sku, options.name, options.price, options.quantity, options.minimum
                )
                store.save(options.file, items)
                print(f"added {options.sku}")
                return 0
    elif options.command == "move":
        try:
            movement = movements.parse_movement(options.movement)
        except ValueError as error:
            print(error, file=sys.stderr)
            return 1
        if movement.sku not in items:
            print(f"no item {movement.sku}", file=sys.stderr)
            return 1
        try:
            item = movements.apply_movement(items, movement)
        except ValueError as error:
            print(error, file=sys.stderr)
            return 1
        store.save(options.file, items)
        print(f"{item.sku}: {item.quantity}")
        return 0
    elif options.command == "quote":
        if options.sku not in items:
            print(f"no item {options.sku}", file=sys.stderr)
            return 1
        print(f"{pricing.line_total(items[options.sku].price, options.quantity):.2f}")
        return 0
    elif options.command == "report":
        for item in items.values():
            print(f"{item.sku:12} {item.name:24} {item.quantity:6} {item.price:8.2f}")
        for item in reporting.low_stock(items.values()):
            print(f"reorder {item.sku}: {item.quantity} left")
        for name in reporting.duplicate_names(list(items.values())):
            print(f"used twice: {name}")
        print(f"value {reporting.stock_value(items.values()):.2f}")
        return 0
    return 2
