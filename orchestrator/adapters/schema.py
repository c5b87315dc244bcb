"""The tables of journal and ledger. Everything but `totals`, `pending` and `allowance` is append-only.

Money is whole nano-dollars, times are whole microseconds since 1970. `totals` and `pending` repeat what the
entries say, in the same transaction, so that a decision costs no sum over the past; `books.audit` compares.
"""

VERSION = 1

# `typeof` keeps floats out; SQLite would take 1.5, NaN and infinity for an INTEGER column.
_AMOUNT = "INTEGER NOT NULL CHECK (typeof({0}) = 'integer' AND {0} >= 0)"
_TOKENS = "INTEGER CHECK ({0} IS NULL OR (typeof({0}) = 'integer' AND {0} >= 0))"


def _amount(name: str) -> str:
    return f"{name} {_AMOUNT.format(name)}"


def _tokens(name: str) -> str:
    return f"{name} {_TOKENS.format(name)}"


_TABLES = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('schema', 'orchestrator-store'), ('version', {VERSION});

CREATE TABLE events (
  run TEXT NOT NULL, seq INTEGER NOT NULL, name TEXT NOT NULL, at TEXT NOT NULL, json TEXT NOT NULL,
  PRIMARY KEY (run, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE holders (
  id INTEGER PRIMARY KEY, pid INTEGER NOT NULL, started TEXT NOT NULL, boot TEXT NOT NULL, at INTEGER NOT NULL
) STRICT;

CREATE TABLE holds (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  bucket INTEGER NOT NULL,
  {_amount("amount")},
  holder INTEGER NOT NULL,
  model TEXT NOT NULL, deployment TEXT NOT NULL, purpose TEXT NOT NULL, what TEXT NOT NULL,
  run TEXT, attempt TEXT, repository TEXT, category TEXT,
  run_cap INTEGER, repository_cap INTEGER, attempt_cap INTEGER
) STRICT;
CREATE INDEX holds_by_bucket ON holds (bucket);
CREATE INDEX holds_by_attempt ON holds (run, attempt) WHERE run IS NOT NULL;

CREATE TABLE resolutions (
  hold INTEGER PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('settled', 'released')),
  at INTEGER NOT NULL,
  {_amount("charged")},
  {_tokens("billed")},
  {_tokens("input_tokens")}, {_tokens("output_tokens")}, {_tokens("cache_read_tokens")},
  {_tokens("cache_write_tokens")}, {_tokens("reasoning_tokens")},
  answered_by TEXT NOT NULL, flags TEXT NOT NULL, reason TEXT NOT NULL,
  reconciled INTEGER NOT NULL CHECK (reconciled IN (0, 1)),
  CHECK (kind = 'settled' OR charged = 0)
) STRICT;

CREATE TABLE overruns (hold INTEGER PRIMARY KEY, at INTEGER NOT NULL, {_amount("excess")}) STRICT;

CREATE TABLE alerts (
  id INTEGER PRIMARY KEY, at INTEGER NOT NULL, scope TEXT NOT NULL, key TEXT NOT NULL,
  {_amount("threshold")}, action TEXT NOT NULL, {_amount("committed")}
) STRICT;
CREATE INDEX alerts_by_window ON alerts (scope, key, at);

-- kind: ambiguous, stopped, lifted, closed, reconciled
CREATE TABLE audit (
  id INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, hold INTEGER, subject TEXT NOT NULL,
  reason TEXT NOT NULL
) STRICT;
CREATE INDEX audit_by_kind ON audit (kind, subject);

CREATE TABLE totals (
  scope TEXT NOT NULL, key TEXT NOT NULL, bucket INTEGER NOT NULL,
  {_amount("spent")}, {_amount("held")}, {_amount("ambiguous")},
  PRIMARY KEY (scope, key, bucket)
) STRICT, WITHOUT ROWID;

CREATE TABLE pending (
  hold INTEGER PRIMARY KEY, holder INTEGER NOT NULL, ambiguous INTEGER NOT NULL CHECK (ambiguous IN (0, 1))
) STRICT;

CREATE TABLE allowance (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  duration TEXT NOT NULL, timezone TEXT NOT NULL, start INTEGER NOT NULL, until INTEGER NOT NULL
) STRICT;
"""

_APPEND_ONLY = ("events", "holders", "holds", "resolutions", "overruns", "alerts", "audit")

SCHEMA = _TABLES + "".join(
    f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
    f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END;\n"
    for table in _APPEND_ONLY
    for verb in ("UPDATE", "DELETE")
)
