"""Writes the reference of docs/reference from the catalogue of a database that has the extension: what there is, and the
comments on it.

Usage: reference.py DATABASE FOLDER        (by scripts/test_docs.sh, which sets PSQL)
"""

import json
import os
import re
import sys

from blocks import psql

# The extension is in schema public there.
CATALOGUE = r"""
LOAD 'billing_rpc';
\pset tuples_only on
\pset format unaligned
SET search_path = public, pg_catalog;
WITH members AS (
    SELECT d.classid, d.objid FROM pg_depend d
    WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
        AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'billing_rpc')
), columns AS (
    SELECT a.attrelid, jsonb_agg(jsonb_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
        'says', col_description(a.attrelid, a.attnum)) ORDER BY a.attnum) AS list
    FROM pg_attribute a WHERE a.attnum > 0 AND NOT a.attisdropped GROUP BY a.attrelid
)
SELECT jsonb_build_object(
    'functions', (SELECT jsonb_agg(jsonb_build_object(
            'name', p.oid::regproc::text, 'volatility', p.provolatile, 'answer', pg_get_function_result(p.oid),
            'says', obj_description(p.oid, 'pg_proc'),
            'columns', (SELECT jsonb_agg(jsonb_build_object('name', p.proargnames[n], 'type', format_type(p.proallargtypes[n], NULL)) ORDER BY n)
                FROM generate_subscripts(p.proargmodes, 1) n WHERE p.proargmodes[n] <> 'i'),
            'arguments', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', p.proargnames[n], 'type', format_type(p.proargtypes[n - 1], NULL),
                'default', pg_get_function_arg_default(p.oid, n)) ORDER BY n), '[]') FROM generate_series(1, p.pronargs) n),
            'roles', (SELECT coalesce(jsonb_agg(r.rolname ORDER BY r.rolname), '[]') FROM pg_roles r
                WHERE r.rolname IN ('billing_service', 'billing_webhook', 'billing_user', 'billing_monitor') AND has_function_privilege(r.oid, p.oid, 'EXECUTE')))
        ORDER BY p.oid::regproc::text)
        FROM pg_proc p JOIN members m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
        WHERE p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)),
    'types', (SELECT jsonb_agg(jsonb_build_object('name', t.typname, 'says', obj_description(t.oid, 'pg_type'), 'columns', c.list,
            'values', (SELECT jsonb_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid)) ORDER BY t.typname)
        FROM pg_type t JOIN members m ON m.classid = 'pg_type'::regclass AND m.objid = t.oid
        LEFT JOIN pg_class r ON r.oid = t.typrelid LEFT JOIN columns c ON c.attrelid = t.typrelid
        WHERE t.typcategory <> 'A' AND (r.relkind IS NULL OR r.relkind = 'c')),
    'relations', (SELECT jsonb_agg(jsonb_build_object('name', c.oid::regclass::text, 'kind', c.relkind, 'says', obj_description(c.oid, 'pg_class'),
            'columns', l.list, 'unique', (SELECT jsonb_agg(pg_get_indexdef(i.indexrelid) ORDER BY NOT i.indisprimary, i.indexrelid::regclass::text)
                FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique)) ORDER BY c.oid::regclass::text)
        FROM pg_class c JOIN members m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid JOIN columns l ON l.attrelid = c.oid
        WHERE c.relkind IN ('r', 'v', 'm')),
    'settings', (SELECT jsonb_agg(jsonb_build_object('name', name, 'default', boot_val, 'unit', unit, 'type', vartype, 'min', min_val, 'max', max_val,
            'values', enumvals, 'context', context, 'says', short_desc, 'more', extra_desc) ORDER BY name)
        FROM pg_settings WHERE name LIKE 'billing\_rpc.%'),
    'roles', (SELECT jsonb_agg(jsonb_build_object('name', rolname, 'says', shobj_description(oid, 'pg_authid')) ORDER BY rolname)
        FROM pg_roles WHERE rolname IN ('billing_owner', 'billing_service', 'billing_webhook', 'billing_user', 'billing_monitor')));
"""

MADE = "<!-- Made of the catalogue's comments: make accept KIND=reference -->"
# Names in running text: with an underscore, qualified, or with parentheses.
NAME = re.compile(r"(?<![\w`<])((?:[\w]+[.:])*\w*[a-zA-Z0-9]_[\w.:<>]*\w(?:\(\))?|\w+_\.\.\.|(?:stripe|paystack):<[^>]*>(?:#<\w+>)?|<[^>]*>)")
SHORT = {"timestamp with time zone": "timestamptz", "double precision": "float8"}


def short(name):
    for long, brief in SHORT.items():
        name = name.replace(long, brief)
    return name


def prose(text):
    """A comment as Markdown: names as code, the rest as it is."""
    parts = []
    end = 0
    for match in NAME.finditer(text):
        parts += [plain(text[end:match.start()]), f"`{match[0]}`"]
        end = match.end()
    return "".join(parts + [plain(text[end:])])


def plain(text):
    return re.sub(r"([*<>])", r"\\\1", text)


def cell(text):
    return prose(text or "").replace("|", "\\|").replace("\n", " ")


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def anchor(name):
    return re.sub(r"[^\w-]", "", name.lower())


def answer(entry, types):
    """What is returned, linked where it is one of the extension's types."""
    name = short(entry["answer"])
    bare = name.removeprefix("SETOF ")
    many = bare != name or bare.startswith("TABLE")
    rows = "any number of rows" if many else "one row"
    if entry["columns"]:
        return f"{rows} of " + ", ".join(f"`{column['name']} {short(column['type'])}`" for column in entry["columns"])
    if bare in types:
        return f"{rows} of [{bare}](types.md#{anchor(bare)})"
    return "nothing" if bare == "void" else f"`{bare}`"


def parameter(one):
    name = f"`{one['name']}`" if one["name"] else "(unnamed)"
    default = re.sub(r"::[a-z ]+(\[\])?", "", one["default"] or "")
    return name, f"`{short(one['type'])}`", f"`{default}`" if default else ""


def function(entry, types):
    paragraphs = entry["says"].split("\n\n")
    example = next(p for p in paragraphs if p.startswith("Example: ")).removeprefix("Example: ")
    body = [p for p in paragraphs if not p.startswith(("Example: ", "For: "))]
    lines = [f"### {entry['name']}", "", prose(body[0]), ""]
    if entry["arguments"]:
        lines += [*table(["parameter", "type", "default"], [parameter(one) for one in entry["arguments"]]), ""]
    kind = {"v": "Writes", "s": "Only reads", "i": "Computes only"}[entry["volatility"]]
    roles = ", ".join(f"`{role}`" for role in entry["roles"]) or "operators"
    lines += [f"Returns {answer(entry, types)}. {kind}. For {roles}.", ""]
    for paragraph in body[1:]:
        text = prose(paragraph)
        if paragraph.startswith("Answers: "):
            text = re.sub(r"(?<![`\w])(applied|replay|duplicate|invalid|ignored|failed)(?![`\w])", r"`\1`", text)
        lines += [text, ""]
    return lines + ["```sql", example.rstrip(";") + ";", "```", ""]


def functions(catalogue):
    """Two pages: what clients call, and what operators do."""
    types = {entry["name"] for entry in catalogue["types"]}

    def section(title, says, chosen):
        lines = [f"## {title}", "", says, ""]
        lines += table(["function", "what"], [(f"[{e['name']}](#{anchor(e['name'])})", cell(e["says"].split("\n")[0])) for e in chosen]) + [""]
        for entry in chosen:
            lines += function(entry, types)
        return lines

    clients = [e for e in catalogue["functions"] if not e["name"].startswith("billing.")]
    inner = [e for e in catalogue["functions"] if e["name"].startswith("billing.")]
    endpoints = [e for e in clients if "billing_webhook" in e["roles"]]
    users = [e for e in clients if "billing_user" in e["roles"]]
    service = [e for e in clients if e["roles"] == ["billing_service"]]
    others = [e for e in clients if e not in endpoints + users + service]
    page = ["# Functions for clients", "", MADE, "",
            "Every function that an application calls, with its parameters, its answer and an example. They are in the schema of the install; every parameter",
            "has a default. What `reason` and `detail` may be is in [reasons](../reasons.md).", ""]
    page += section("For backends", "For members of `billing_service`. They act for whomever they are told to.", service)
    page += section("For webhooks", "For members of `billing_webhook` and `billing_service`, and for whom the endpoint is opened to.", endpoints)
    page += section("For end users", "For members of `billing_user`, about themselves. Who they are comes from the token of the request.", users)
    if others:
        page += section("For whoever looks on", "For members of `billing_monitor`.", others)
    yield "functions.md", page

    page = ["# Functions for operators", "", MADE, "",
            "Every function of schema `billing`: what superusers do with it, and what `billing_monitor` may ask. Bad input is refused with SQLSTATE 22023.", ""]
    granted = [e for e in inner if e["roles"]]
    page += section("Granted to group roles", "Which one is said with each.", granted)
    page += section("For superusers", "Granted to nobody.", [e for e in inner if not e["roles"]])
    yield "operators.md", page


def columns(entry):
    return table(["column", "type", "meaning"], [(f"`{c['name']}`", f"`{short(c['type'])}`", cell(c["says"])) for c in entry["columns"]])


def types(catalogue):
    page = ["# Types", "", MADE, "", "What functions answer with: one row of a composite type, or several. Through PostgREST each is a JSON object.", ""]
    for entry in catalogue["types"]:
        page += [f"## {entry['name']}", "", prose(entry["says"]), ""]
        if entry["values"]:
            page += ["In this order: " + ", ".join(f"`{value}`" for value in entry["values"]) + ".", ""]
        if entry["columns"]:
            page += columns(entry) + [""]
    yield "types.md", page


def relations(catalogue):
    page = ["# Tables", "", MADE, "", "The books, in schema `billing`. Read them as you like; write by the functions only, which keep them right.", ""]
    for entry in catalogue["relations"]:
        if entry["kind"] == "r":
            page += [f"## {entry['name']}", "", prose(entry["says"]), "", *columns(entry), ""]
            keys = [re.sub(r"^.* USING \w+ ", "", definition) for definition in entry["unique"] or []]
            if keys:
                page += ["Unique: " + "; ".join(f"`{key}`" for key in keys) + ".", ""]
    yield "tables.md", page

    page = ["# Views", "", MADE, "", "How things are, in schema `billing`, for members of `billing_monitor`. None shows a secret or the body of a webhook.", ""]
    for entry in catalogue["relations"]:
        if entry["kind"] != "r":
            page += [f"## {entry['name']}", "", prose(entry["says"]), "", *columns(entry), ""]
    yield "views.md", page


def settings(catalogue):
    page = ["# Settings", "", MADE, "",
            "What a database says about how billing_rpc works in it. Superusers set them, or whom they `GRANT SET`: for a database by",
            "`ALTER DATABASE app SET billing_rpc.max_attempts = 12;`, which counts for new connections, for the server in `postgresql.conf`.", ""]
    for entry in catalogue["settings"]:
        if entry["values"]:
            range_ = "one of " + ", ".join(f"`{value}`" for value in entry["values"])
        elif entry["type"] == "bool":
            range_ = "`on` or `off`"
        else:
            range_ = f"{entry['min']} to {entry['max']}" + (f", in {UNITS.get(entry['unit'], entry['unit'])}" if entry["unit"] else "")
        page += [f"## {entry['name']}", "", prose(entry["says"]), ""]
        if entry["more"]:
            page += [prose(entry["more"]), ""]
        page += [f"Default `{entry['default']}`; {range_}.", ""]
    yield "settings.md", page


UNITS = {"s": "seconds", "B": "bytes"}


def roles(catalogue):
    page = ["# Roles", "", MADE, "",
            "Whom the extension grants what. Nobody can log in as one of these: make your own roles members of them.", ""]
    for role in catalogue["roles"]:
        page += [f"## {role['name']}", "", prose(role["says"]), ""]
        may = [e for e in catalogue["functions"] if role["name"] in e["roles"]]
        if len(may) > 12:
            page += ["May call all [functions for clients](functions.md).", ""]
        elif may:
            link = lambda e: f"[{e['name']}]({'operators' if e['name'].startswith('billing.') else 'functions'}.md#{anchor(e['name'])})"
            page += ["May call " + ", ".join(link(e) for e in may) + ".", ""]
        if role["name"] == "billing_monitor":
            page += ["May read the [views](views.md).", ""]
    yield "roles.md", page


def main(database, folder):
    done = psql(database, "-f", "-", input=CATALOGUE)
    if done.returncode != 0:
        print(f"FAILED the catalogue could not be read:\n{done.stdout}")
        return 1
    catalogue = json.loads(done.stdout)
    os.makedirs(folder, exist_ok=True)
    for pages in (functions, types, relations, settings, roles):
        for name, lines in pages(catalogue):
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write("\n".join(lines).rstrip("\n") + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
