"""What the survey calls a fault, line by line, and what it does not."""

from __future__ import annotations

import textwrap

import pytest

from orchestrator.adapters.survey import brace_smells, python_smells
from orchestrator.adapters.survey.brace_source import ends_there, mask
from orchestrator.adapters.survey.python_source import describe, imports, parse
from orchestrator.adapters.survey.python_tree import Tree
from orchestrator.adapters.survey.worker import measure
from orchestrator.core.facts import Finding


def python(source: str) -> list[Finding]:
    text = textwrap.dedent(source).lstrip("\n")
    tree = parse(text)
    assert tree is not None
    return python_smells.smells("a.py", text, Tree(tree))


@pytest.mark.parametrize(
    ("rule", "line", "source"),
    [
        ("swallowed-error", 3, "try:\n    a()\nexcept:\n    pass\n"),
        ("swallowed-error", 3, "try:\n    a()\nexcept (ValueError, Exception):\n    x = None\n"),
        (
            "swallowed-error",
            4,
            "def f():\n    try:\n        a()\n    except BaseException:\n        return None\n",
        ),
        ("broad-except", 3, "try:\n    a()\nexcept Exception:\n    log.exception('no')\n"),
        ("broad-except", 3, "try:\n    a()\nexcept Exception as error:\n    print(error)\n"),
        ("unclosed-file", 2, "def f():\n    return open('a').read()\n"),
        ("unclosed-file", 2, "def f():\n    h = open('a')\n    return h.read()\n"),
        ("unclosed-file", 2, "def f():\n    h = open('a')\n    x = h.read()\n    h.close()\n    return x\n"),
        ("missing-self", 2, "class A:\n    def f():\n        return 1\n"),
        ("default-evaluated-once", 1, "def f(now=datetime.now()):\n    return now\n"),
        ("mutable-default", 1, "def f(a, b=[]):\n    b.append(a)\n    return b\n"),
        ("mutable-default", 1, "def f(*, b={}):\n    b['a'] = 1\n"),
        (
            "changed-while-iterated",
            4,
            "def f(xs):\n    for x in xs:\n        if x:\n            xs.remove(x)\n",
        ),
        (
            "list-membership",
            4,
            "def f(ys):\n    xs = []\n    for y in ys:\n        if y not in xs:\n            xs.append(y)\n",
        ),
        ("list-front", 4, "def f():\n    xs = list(g())\n    while xs:\n        xs.pop(0)\n"),
        ("list-search", 3, "def f(xs: list[int]):\n    for x in xs:\n        print(xs.count(x))\n"),
        ("nested-loops", 3, "def f(xs):\n    for a in xs:\n        for b in xs:\n            g(a, b)\n"),
        (
            "nested-loops",
            3,
            "def f(p, q):\n    for a in p:\n        for b in q:\n            if a.id == b.x:\n                g(b)\n",
        ),
        (
            "string-concatenation",
            4,
            "def f(xs):\n    s = ''\n    for x in xs:\n        s += x\n    return s\n",
        ),
        ("compile-in-loop", 3, "def f(xs):\n    for x in xs:\n        re.compile('a').match(x)\n"),
        (
            "open-in-loop",
            3,
            "def f(xs, path):\n    for x in xs:\n        with open(path) as h:\n            g(h)\n",
        ),
        ("sort-in-loop", 3, "def f(xs, ys):\n    for x in xs:\n        g(x, sorted(ys))\n"),
        ("call-per-item", 3, "def f(ids):\n    for i in ids:\n        cursor.execute('SELECT 1', i)\n"),
        ("call-per-item", 3, "def f(ids):\n    for i in ids:\n        User.objects.get(id=i)\n"),
        (
            "repeated-recursion",
            4,
            "def f(n):\n    if n < 2:\n        return n\n    return f(n - 1) + f(n - 2)\n",
        ),
    ],
)
def test_python_faults_are_found_at_their_line(rule: str, line: int, source: str):
    assert (rule, line) in {(finding.rule, finding.line) for finding in python(source)}


@pytest.mark.parametrize(
    "source",
    [
        "try:\n    a()\nexcept KeyError:\n    pass\n",
        "try:\n    a()\nexcept Exception:\n    raise\n",
        "try:\n    a()\nexcept Exception:  # noqa: BLE001\n    pass\n",
        "try:\n    a()\nexcept Exception as error:\n    raise Failed from error\n",
        "def f():\n    with open('a') as h:\n        return h.read()\n",
        "def f():\n    h = open('a')\n    return h\n",
        "def f():\n    h = open('a')\n    with h:\n        return h.read()\n",
        "def f():\n    h = open('a')\n    try:\n        return h.read()\n    finally:\n        h.close()\n",
        "class A(Protocol):\n    def f(): ...\n",
        "class A:\n    @staticmethod\n    def f():\n        return 1\n",
        "class A:\n    def f(*args):\n        return args\n",
        "def f(xs):\n    for x in xs:\n        if x:\n            xs.remove(x)\n            break\n",
        "def f(xs):\n    for x in list(xs):\n        xs.remove(x)\n",
        # `xs` could be a set, a dictionary, a string.
        "def f(xs, ys):\n    for y in ys:\n        if y in xs:\n            g(y)\n",
        "def f(ys):\n    xs = ['a', 'b']\n    for y in ys:\n        if y in xs:\n            g(y)\n",
        "def f(ys):\n    xs = []\n    xs = set(ys)\n    for y in ys:\n        if y in xs:\n            g(y)\n",
        "def f(rows):\n    for row in rows:\n        for cell in row:\n            g(cell)\n",
        "def f(xs):\n    n = 0\n    for x in xs:\n        n += x\n    return n\n",
        "def f(paths):\n    for path in paths:\n        with open(path) as h:\n            g(h)\n",
        "def f(xs):\n    for x in xs:\n        names = h(x)\n        g(sorted(names))\n",
        "def f(self):\n    for d in ('a', 'b'):\n        connection.execute(d)\n",
        "def f(ids):\n    for i in ids:\n        cursor.execute('CREATE TABLE t')\n",
        "def f(xs):\n    ys = []\n    for x in xs:\n        ys = list(x)\n        g(1 in ys)\n",
        "def f(xs):\n    s = ''\n    for x in xs:\n        s = ''\n        s += x\n",
        "def f(tree):\n    return f(tree.left) + f(tree.right)\n",
        "@cache\ndef f(n):\n    return f(n - 1) + f(n - 2)\n",
        "def f(now=None, steps=()):\n    return now\n",
        "def f(xs):\n    for x in xs:\n        d = dict(x)\n        d.get('a')\n",
    ],
)
def test_what_may_be_meant_is_no_fault(source: str):
    assert [finding for finding in python(source) if finding.weight > 1] == []


def test_a_default_weighs_what_the_function_does_to_it():
    weights = {
        source: python(source)[0].weight
        for source in (
            "def f(a=[]):\n    a.append(1)\n",
            "def f(a=[]):\n    return a\n",
            "def f(a=[]):\n    return len(a)\n",
            "def f(a=[]):\n    a = list(a)\n    a.append(1)\n    return a\n",
        )
    }
    assert list(weights.values()) == [9, 7, 2, 1]


def test_complexity_counts_branches_loops_handlers_and_operators():
    source = """
        def f(a, *, b=1, **rest):
            if a and b or rest:
                return [x for x in a if x]
            try:
                for x in a:
                    pass
            except ValueError:
                while b:
                    b -= 1

            def inner():
                if a:
                    return 1
            return 1 if a else 2


        class C:
            async def m(self):
                match self:
                    case 1:
                        pass
                    case _:
                        pass
    """
    text = textwrap.dedent(source).lstrip("\n")
    tree = parse(text)
    assert tree is not None
    described = describe("a.py", Tree(tree))
    found = {
        function.name: (function.complexity, function.line, function.parameters)
        for function in described.functions
    }
    assert found == {"f": (10, 1, 3), "f.inner": (2, 11, 0), "C.m": (3, 18, 1)}


@pytest.mark.parametrize(
    ("rule", "line", "language", "source"),
    [
        ("empty-catch", 1, "JavaScript", "try { a() } catch (e) {}\n"),
        ("empty-catch", 3, "TypeScript", "try {\n  a()\n} catch {\n  // nothing to do\n}\n"),
        ("empty-catch", 1, "JavaScript", "load().catch(() => {})\n"),
        ("empty-catch", 1, "Java", "try { a(); } catch (IOException e) { }\n"),
        ("broad-catch", 1, "Java", "try { a(); } catch (Exception e) { return null; }\n"),
        ("async-foreach", 2, "TypeScript", "\nitems.forEach(async (item) => { await save(item) })\n"),
        ("nan-comparison", 1, "JavaScript", "if (x === NaN) { y() }\n"),
        (
            "async-executor",
            1,
            "JavaScript",
            "return new Promise(async (resolve) => { resolve(await a()) })\n",
        ),
        ("index-as-condition", 1, "JavaScript", "if (names.indexOf(name)) { y() }\n"),
        ("assignment-as-condition", 1, "JavaScript", "if (state = 'done') { y() }\n"),
        ("await-in-loop", 2, "JavaScript", "for (const id of ids) {\n  out.push(await load(id))\n}\n"),
        ("copy-per-item", 1, "JavaScript", "xs.reduce((acc, x) => ({ ...acc, [x]: 1 }), {})\n"),
        ("ignored-error", 2, "Go", "func f() {\n\tb, _ := json.Marshal(v)\n}\n"),
        ("ignored-error", 2, "Go", "func f() {\n\tif err != nil {\n\t}\n}\n"),
        ("dropped-error", 2, "Go", "func f() {\n\tif err := g(); err != nil {\n\t\treturn nil\n\t}\n}\n"),
        ("defer-in-loop", 3, "Go", "func f() {\n\tfor _, n := range names {\n\t\tdefer close(n)\n\t}\n}\n"),
        ("compile-in-loop", 3, "Go", 'func f() {\n\tfor {\n\t\tre := regexp.MustCompile("a")\n\t}\n}\n'),
        ("broad-catch", 1, "PHP", "try { a(); } catch (\\Throwable $e) { return null; }\n"),
        ("panic", 1, "Rust", "fn f() { todo!() }\n"),
    ],
)
def test_faults_of_other_languages_are_found_at_their_line(rule: str, line: int, language: str, source: str):
    found = {
        (finding.rule, finding.line)
        for finding in brace_smells.smells("lib/a", source, language, mask(source, language))
    }
    assert (rule, line) in found


@pytest.mark.parametrize(
    ("language", "source"),
    [
        ("JavaScript", "try { a() } catch (e) { report(e) }\n"),
        ("JavaScript", "// try { a() } catch (e) {}\nconst s = 'catch (e) {}'\nconst t = `catch (e) {}`\n"),
        ("JavaScript", "if (names.indexOf(name) !== -1) { y() }\nif (a == b) {}\n"),
        ("JavaScript", "for (const x of xs) {\n  go(async () => { await y(x) })\n}\n"),
        ("JavaScript", "for (const url of urls) {\n  const r = await get(url)\n  if (r.ok) break\n}\n"),
        ("JavaScript", "for await (const x of xs) {\n  await y(x)\n}\n"),
        ("JavaScript", "while (await next()) { await y() }\n"),
        ("Go", "func f() error {\n\tif err != nil {\n\t\treturn err\n\t}\n}\n"),
        ("Go", 'var u, _ = url.Parse("https://example.org")\n'),
        ("Go", "func f() {\n\tfor {\n\t\tgo func() {\n\t\t\tdefer done()\n\t\t}()\n\t}\n}\n"),
        ("Rust", "#[cfg(test)]\nmod tests { fn f() { x.unwrap() } }\n"),
        ("Java", "try { a(); } catch (Exception e) { throw new Failed(e); }\n"),
        ("PHP", "try { a(); } catch (Throwable $e) { return handle($e); }\n"),
    ],
)
def test_what_other_languages_may_mean_is_no_fault(language: str, source: str):
    assert brace_smells.smells("lib/a", source, language, mask(source, language)) == []


def test_masking_keeps_every_line_and_column():
    source = 'a = 1 /* two\nlines */ + \'x // y\' // end\nb = `t\n${a}` + "z\\""\n'
    masked = mask(source, "JavaScript")
    assert len(masked.code) == len(source)
    assert [len(line) for line in masked.code.split("\n")] == [len(line) for line in source.split("\n")]
    assert "lines" not in masked.code and "//" not in masked.code and "${" not in masked.code
    assert [line for line, _ in masked.comments] == [1, 2]


def test_notes_are_read_from_comments_only():
    source = 'x = "TODO: no"\n"""\nTODO: no\n"""\n# FIXME: mind the gap\n# TODO\n'
    found = brace_smells.notes("a.py", mask(source, "Python").comments)
    assert [(note.rule, note.line, note.fact) for note in found] == [("fixme", 5, "FIXME: mind the gap")]


def test_imports_of_a_test_are_read_from_its_lines():
    source = (
        "import unittest\nimport a.b as c, d\nfrom . import e\nfrom ..f import (\n    g,  # why\n    h as i,\n)\n"
        "def test():\n    from shop.core import total, load  # here\n"
    )
    assert imports(source) == [
        ("unittest", 1), ("a.b", 2), ("d", 2), (".", 3), (".e", 3), ("..f", 4), ("..f.g", 4), ("..f.h", 4),
        ("shop.core", 9), ("shop.core.total", 9), ("shop.core.load", 9),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("language", "source", "last", "there"),
    [
        ("Ruby", "def a\n" + "  b\n" * 20 + "end\n\ndef c\nend\n", 22, True),
        ("Ruby", "def a\n" + "  b\n" * 20 + "end\n\ndef c\nend\n", 25, False),
        ("Go", "func a() {\n" + "\tb()\n" * 20 + "}\n\nfunc c() {\n}\n", 22, True),
        ("Go", "func a() {\n" + "\tb()\n" * 20 + "}\n\nfunc c() {\n}\n", 25, False),
        ("JavaScript", "function a({ x } = {}) {\n" + "  b('}')\n" * 20 + "}\n", 22, True),
        ("JavaScript", "const a = (x) =>\n" + "  b,\n" * 20, 20, False),
    ],
)
def test_a_long_function_is_believed_only_where_its_end_is_found(
    language: str, source: str, last: int, there: bool
):
    masked = mask(source, language)
    assert ends_there(1, last, language, masked.code.split("\n"), masked) is there


@pytest.mark.parametrize(
    ("source", "symbols"),
    [
        ("export function Page() {\n  useEffect(() => {\n    go()\n  }, [])\n}\n", ["Page"]),
        ("queueMicrotask(async function () {\n  go()\n})\n", []),
        ("class Shop {\n  @Transform(({ value }) => value.trim())\n  name\n}\n", []),
        ("class Shop {\n  load({ id }) {\n    return id\n  }\n}\n", ["load"]),
        ("class Shop {\n  load(id: number) {\n    return id\n  }\n}\n", ["load"]),
        ("export const load = async (id: number) => {\n  return id\n}\n", ["load"]),
    ],
)
def test_a_callback_has_not_the_name_of_what_it_is_handed_to(source: str, symbols: list[str]):
    found = measure("page.ts", source, "TypeScript", False)
    assert [name for name, _ in found["symbols"]] == symbols
    assert found["functions"]
