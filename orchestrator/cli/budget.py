"""`orchestrator budget`: what is spent, held and left; what a mix would cost; how much may be spent at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from orchestrator.adapters.journal import Store
    from orchestrator.adapters.records import Records
    from orchestrator.core.domain import ModelAlias
    from orchestrator.core.ledger import Status
    from orchestrator.core.money import Usd
    from orchestrator.wiring import Home

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_CONFIG = Annotated[Path | None, typer.Option(help="Another configuration file.")]


@app.callback(invoke_without_command=True)
def budget(context: typer.Context) -> None:
    """What is spent, held and left. Without a subcommand: `status`."""
    if context.invoked_subcommand is None:
        status()


@app.command()
def status(config: _CONFIG = None, as_json: _JSON = False) -> None:
    """Show what is spent, held and left, with alerts and open holds."""
    from orchestrator.wiring import open_home

    found = _status(open_home(config))
    if as_json:
        from orchestrator.core.serial import encode

        typer.echo(json.dumps(encode(found), indent=2))
        return
    from orchestrator.cli.budget_text import status_lines

    for line in status_lines(found):
        typer.echo(line)


@app.command()
def history(
    run: Annotated[str | None, typer.Option(metavar="RUN", help="Only the calls of this run.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="Only calls from this day or moment on, in UTC.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="The latest so many; files get all of them.")] = 40,
    calibration: Annotated[
        bool, typer.Option("--calibration", help="Forecast against actual, per model and rule.")
    ] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV, with every column.")] = False,
    config: _CONFIG = None,
    as_json: _JSON = False,
) -> None:
    """List the calls that were held and what they were charged."""
    from orchestrator.cli import budget_text as text
    from orchestrator.core.serial import encode
    from orchestrator.wiring import open_home

    if csv and as_json:
        raise typer.BadParameter("choose one of --csv and --json")
    moment = _moment(since)
    home = open_home(config)
    records = _records(home)
    run = None if run is None else _run_named(records, run)
    if calibration:
        _print_rows(_calibration_rows(home, records, run), csv=csv, as_json=as_json)
        return
    entries = records.entries(run=run, since=moment) if records is not None else ()
    if as_json:
        typer.echo(json.dumps([encode(entry) for entry in entries], indent=2))
    elif csv:
        for line in text.csv_lines(text.ENTRY_COLUMNS, (text.entry_cells(entry) for entry in entries)):
            typer.echo(line)
    elif entries:
        for line in text.history_lines(entries[-limit:], of=len(entries)):
            typer.echo(line)
    else:
        typer.echo("no calls yet" if run is None and since is None else "no such calls")


@app.command()
def reconcile(
    hold: Annotated[
        int | None, typer.Argument(help="The hold; left out: list what can be reconciled.")
    ] = None,
    bill: Annotated[
        str | None,
        typer.Option(metavar="USD", help="What the provider charged; 0 when it never got the call."),
    ] = None,
    accept: Annotated[bool, typer.Option("--accept", help="Take the whole hold as the bill.")] = False,
    every: Annotated[bool, typer.Option("--all", help="With --accept: every ambiguous hold.")] = False,
    allow: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Call a model again that a too high bill stopped.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Kept with the entry.")] = "by hand",
    config: _CONFIG = None,
    as_json: _JSON = False,
) -> None:
    """Settle the hold of a call that a crash cut off.

    The provider's own bill is what counts; the reason stays in the ledger for good.
    """
    from orchestrator.cli.budget_text import hold_line
    from orchestrator.core.ledger import HoldState
    from orchestrator.core.serial import encode
    from orchestrator.wiring import open_home

    amount = _bill(bill)
    if accept and amount is not None:
        raise typer.BadParameter("--accept takes the whole hold: leave --bill out")
    home = open_home(config)
    store = _store(home)
    ambiguous = [
        entry
        for entry in (store.open_holds() if store else ())
        if entry.state is HoldState.AMBIGUOUS and not entry.scripted
    ]
    settled: list[dict[str, Any]] = []
    if allow is not None:
        if store is None or not store.allow(allow, reason=reason):
            raise typer.BadParameter(f"{allow!r} is not stopped: `orchestrator budget status` lists what is")
        settled.append({"allowed": allow})
    elif hold is None and not every:
        if as_json:
            typer.echo(json.dumps([encode(entry) for entry in ambiguous], indent=2))
            return
        for entry in ambiguous:
            typer.echo(hold_line(entry))
        typer.echo(
            "settle one with `orchestrator budget reconcile HOLD --bill USD`, or --accept"
            if ambiguous
            else "nothing to reconcile"
        )
        return
    elif not accept and amount is None:
        raise typer.BadParameter(
            "say what the provider charged with --bill USD, or take the hold with --accept"
        )
    elif every and not accept:
        raise typer.BadParameter("--all goes with --accept: bills are given hold by hold")
    else:
        for number in [entry.hold for entry in ambiguous] if every else [hold]:
            settled.append(_reconciled(store, number, amount, reason))
    if as_json:
        typer.echo(json.dumps(settled, indent=2))
        return
    for line in settled:
        typer.echo(
            f"{line['allowed']} may be called again"
            if "allowed" in line
            else f"hold {line['hold']} is charged ${line['charged']}"
        )


@app.command()
def scenario(
    name: Annotated[
        str | None,
        typer.Argument(help="full-day, high-intensity, all-smart, split or mix; left out: all but mix."),
    ] = None,
    requests: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many requests.")] = 10,
    tokens: Annotated[str, typer.Option(metavar="IN/OUT", help="Tokens of one request.")] = "3000/1000",
    decomposition: Annotated[
        str, typer.Option(metavar="IN/OUT", help="Tokens of the request that splits the goal.")
    ] = "4000/1500",
    cheap_share: Annotated[
        str, typer.Option(metavar="PERCENT", help="Share of the requests that go to cheap in `split`.")
    ] = "100%",
    mix: Annotated[
        str | None, typer.Option(metavar="ALIAS=N,...", help="A mix of your own: cheap=8,smart=2.")
    ] = None,
    price: Annotated[
        list[str] | None,
        typer.Option(metavar="ALIAS=IN[/OUT]", help="Dollars per million tokens, instead of the configured."),
    ] = None,
    config: _CONFIG = None,
    as_json: _JSON = False,
) -> None:
    """Price a goal all-smart against a smart plan carried out cheaply.

    Calls nothing; prices come from the configuration unless --price gives them.
    """
    from orchestrator.cli import budget_scenario as scenarios
    from orchestrator.wiring import open_home

    home = open_home(config)
    wanted = scenarios.Wanted(
        name=name,
        requests=requests,
        tokens=scenarios.size(tokens, "--tokens"),
        decomposition=scenarios.size(decomposition, "--decomposition"),
        cheap_share=scenarios.share(cheap_share),
        mix=scenarios.counts(mix),
    )
    found = scenarios.priced(wanted, home.settings.table, scenarios.prices(price or []))
    if as_json:
        typer.echo(json.dumps(scenarios.as_json(found), indent=2))
        return
    for line in scenarios.lines(found):
        typer.echo(line)


@app.command()
def presets(config: _CONFIG = None, as_json: _JSON = False) -> None:
    """List the presets, with their alerts and bands."""
    from orchestrator.adapters.budget_file import PRESETS, scaled
    from orchestrator.core.serial import encode
    from orchestrator.wiring import open_home

    settings = open_home(config).settings
    old = settings.budget.max_budget
    found: list[dict[str, Any]] = [
        {
            "preset": name,
            "max_budget": encode(cap),
            "in_force": cap == old,
            "alerts": [encode(scaled(alert.threshold, old=old, new=cap)) for alert in settings.budget.alerts],
            "bands": [
                f"{band.comparison} {encode(scaled(band.threshold, old=old, new=cap))}"
                for band in settings.table.bands
            ],
        }
        for name, cap in PRESETS.items()
        if old.nano > 0
    ]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    for row in found:
        mark = "  (in force)" if row["in_force"] else ""
        typer.echo(f"{row['preset']:<13} {PRESETS[row['preset']]!s:>7} per {settings.budget.duration}{mark}")
        for key in ("alerts", "bands"):
            typer.echo(f"              {key} {', '.join(map(str, row[key])) or 'none'}")
    typer.echo(
        "choose one with `orchestrator budget set PRESET`, or any amount: `orchestrator budget set 7.50`"
    )


@app.command("set")
def set_to(
    amount: Annotated[str, typer.Argument(metavar="PRESET|USD", help="A preset, or dollars.")],
    config: _CONFIG = None,
    as_json: _JSON = False,
) -> None:
    """Set the budget in your own configuration.

    Alerts and bands in dollars scale along; comments stay; the file as it was is kept beside it.
    """
    from orchestrator.adapters.budget_file import PRESETS, editable_file, set_budget
    from orchestrator.cli.amounts import dollars
    from orchestrator.core.serial import encode
    from orchestrator.core.text import did_you_mean
    from orchestrator.wiring import open_home

    home = open_home(config)
    cap = PRESETS.get(amount)
    if cap is None:
        if amount.isalpha():
            raise typer.BadParameter(
                f"no preset {amount!r}{did_you_mean(amount, PRESETS) or ': see `presets`'}"
            )
        cap = dollars(amount, "PRESET|USD")
    assert cap is not None
    path = editable_file(home.config, home.repository, home.environ)
    edited = set_budget(path, cap)
    now = open_home(config).settings.budget.max_budget
    if as_json:
        backup = str(edited.backup) if edited.backup else None
        edits = [
            {"line": edit.line, "key": edit.key, "from": edit.before, "to": edit.after}
            for edit in edited.edits
        ]
        typer.echo(
            json.dumps(
                {"file": str(path), "backup": backup, "edits": edits, "max_budget": encode(now)}, indent=2
            )
        )
        return
    for edit in edited.edits:
        if edit.before != edit.after:
            typer.echo(f"{path}:{edit.line}: {edit.key}: {edit.before} -> {edit.after}")
    if edited.backup is not None:
        typer.echo(f"the file as it was: {edited.backup}")
    typer.echo(f"the budget is {cap} per {home.settings.budget.duration}")
    if now != cap:
        over = open_home(config).settings.sources[-1]
        typer.echo(
            f"but here it stays {now}: {over} says so; change max_budget there, then run `orchestrator trust`",
            err=True,
        )


# --- what the commands share ----------------------------------------------------------------------


def _store(home: Home) -> Store | None:
    """The store; None while nothing was ever called, because looking must not make one."""
    from orchestrator.adapters.state import database

    return home.store if database(home.state).exists() else None


def _records(home: Home) -> Records | None:
    """For looking only, which loads half of what writing needs; None while nothing was ever called."""
    from orchestrator.adapters.state import database

    path = database(home.state)
    if not path.exists():
        return None
    from orchestrator.adapters.holder import is_alive
    from orchestrator.adapters.records import Records

    records = Records(path)
    if not all(map(is_alive, records.holders())):
        # Opening the store makes the holds of dead processes ambiguous, which is what is to be seen.
        records.close()
        home.store.close()
        records = Records(path)
    return records


def _run_named(records: Records | None, wanted: str) -> str:
    """The whole name of a run that was journalled or paid for: the planning of one that never began counts too.

    Raises NoSuchRun.
    """
    from orchestrator.adapters.runs import KnownRun, Standing, choose_run
    from orchestrator.core.domain import RunId

    names = [span.run for span in records.runs()] if records is not None else []
    names += [RunId(entry.run) for entry in (records.entries() if records is not None else ()) if entry.run]
    # What is chosen by is the name alone.
    nothing = KnownRun(
        run=RunId(""),
        repository="",
        goal="",
        branch="",
        subtasks=0,
        standing=Standing.STOPPED,
        reason="",
        started_at="",
        last_at="",
        scripted="",
    )
    return choose_run([replace(nothing, run=name) for name in dict.fromkeys(names)], wanted).run


def _status(home: Home) -> Status:
    from orchestrator.adapters.calendar import unused_budget

    records, rules, now = _records(home), home.settings.budget, home.clock.epoch_seconds()
    return unused_budget(rules, now) if records is None else records.status(rules, now)


def _calibration_rows(home: Home, records: Records | None, run: str | None) -> list[tuple[str, ...]]:
    from orchestrator.core.calibration import calibrate, calibration_rows, observations
    from orchestrator.core.money import Usage, bill
    from orchestrator.core.routing import as_if_keyed

    pools = as_if_keyed(home.settings.table).catalogue.pools

    def dollars(model: ModelAlias, input_tokens: int, output_tokens: int) -> Usd | None:
        pool = pools.get(model)
        if not pool:
            return None
        return bill(pool[0].price, Usage(input_tokens=input_tokens, output_tokens=output_tokens))

    seen = [
        observation
        for span in (records.runs() if records is not None else ())
        if run is None or span.run == run
        for observation in observations(records.events(span.run))  # type: ignore[union-attr]  # no runs without it
    ]
    return calibration_rows(calibrate(seen), dollars)


def _print_rows(rows: list[tuple[str, ...]], *, csv: bool, as_json: bool) -> None:
    from orchestrator.cli.budget_text import csv_lines, table_lines

    heading, *cells = rows
    if as_json:
        typer.echo(json.dumps({"columns": heading, "rows": cells}, indent=2))
        return
    # Beside what was predicted one word is enough.
    short = [name.rpartition(" ")[2] if name.endswith(" actual") else name for name in heading]
    for line in csv_lines(heading, cells) if csv else table_lines([short, *cells]):
        typer.echo(line)
    if not cells and not (csv or as_json):
        typer.echo("no judged attempts of real models yet")


def _reconciled(store: Store | None, hold: int | None, amount: Usd | None, reason: str) -> dict[str, Any]:
    from orchestrator.core.ledger import HoldResolved
    from orchestrator.core.serial import encode

    if store is None or hold is None:
        raise HoldResolved(hold or 0, None)
    return {"hold": hold, "charged": encode(store.reconcile(hold, amount, reason=reason)), "reason": reason}


def _bill(text: str | None) -> Usd | None:
    from orchestrator.core.money import ZERO, Usd
    from orchestrator.core.text import one_line

    if text is None:
        return None
    try:
        amount = Usd.of(text)
    except ValueError:
        amount = Usd(-1)
    if amount < ZERO:
        raise typer.BadParameter(
            f"{one_line(text, 40)!r} is no amount of dollars such as 0.12", param_hint="--bill"
        )
    return amount


def _moment(text: str | None) -> float | None:
    from orchestrator.adapters.calendar import seconds_of
    from orchestrator.core.text import one_line

    if text is None:
        return None
    try:
        return seconds_of(text)
    except ValueError:
        raise typer.BadParameter(
            f"{one_line(text, 40)!r} is no day such as 2026-11-23", param_hint="--since"
        ) from None
