"""Runs the ```sql blocks of documents and compares what psql prints with the ```text block right after each.

Usage: blocks.py [--accept] FILE...        (by scripts/test_docs.sh, which starts the server and sets PSQL, OUT, EXTENSION)

The blocks of one file run in order, in one session of a fresh database. How a block is fenced says more:
    sql                  what it prints stands in the ```text block after it (but "(1 row)" and the empty answers of
                         functions that answer nothing); a block that prints nothing has none
    sql mask=a,b         columns a and b differ from run to run, and are printed as ...
    sql hide=reason      what it prints is of no use to a reader
    sql error=22023      ends in that SQLSTATE, and the session goes on
    sql skip=reason      does not run
A ```console block fenced as console recording=SCRIPT holds a command (its first line) and what SCRIPT prints.
--accept writes the results into the files.
"""

import difflib
import os
import re
import subprocess
import sys
import time

FENCE = re.compile(r"^(\s*)(`{3,}|~{3,})\s*(.*?)\s*$")
RULE = re.compile(r"^-+(\+-+)*$")
RECORD = re.compile(r"^-\[ RECORD \d+ \](-*\+)?-*$")
FOOTER = re.compile(r"^\((\d+) rows?\)$")
OPTIONS = {"mask", "hide", "error", "skip"}
# What no two runs have in common, in the order in which it is looked for.
VARYING = [
    ("<uuid>", re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")),
    ("<time>", re.compile(r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d\.\d+([+-]\d\d(:\d\d)?)?")),
    ("<interval>", re.compile(r"(-?\d+ days? )?-?\b\d\d:\d\d:\d\d\.\d+")),
]
# And no two recordings.
RECORDED = [
    ("<time>,v1=<signature>", re.compile(r"(?<=t=)\d+,v1=[0-9a-f]+")),
    ("PostgreSQL)", re.compile(r"PostgreSQL\) [0-9.]+( \([^)]*\))?")),
    ("in <a folder>", re.compile(r"\bin /\S+")),
    ("version: <version>", re.compile(r"\bversion: [0-9.]+")),
]


class Mistake(Exception):
    """Something wrong with a document."""


class Fence:
    """A fenced block: where it stands (line numbers from 0, of the fences themselves), its info words, its lines."""

    def __init__(self, path, first, last, indent, info, lines):
        self.path, self.first, self.last, self.indent, self.lines = path, first, last, indent, lines
        self.words = info.split()

    def language(self):
        return self.words[0] if self.words else ""

    def text(self):
        return [line[len(self.indent):] if line.startswith(self.indent) else line.lstrip() for line in self.lines]

    def options(self):
        options = {}
        for word in self.words[1:]:
            name, equals, value = word.partition("=")
            if name not in OPTIONS or not equals or not value:
                raise Mistake(f"{self.path}:{self.first + 1}: ```sql takes {', '.join(sorted(OPTIONS))} with a value, not {word}")
            options[name] = value
        return options


def fences(path, lines):
    found, opened = [], None
    for number, line in enumerate(lines):
        match = FENCE.match(line)
        if opened is None:
            if match:
                opened = (number, match)
        elif match and match[2].startswith(opened[1][2]) and not match[3]:
            start, first = opened
            found.append(Fence(path, start, number, first[1], first[3], lines[start + 1:number]))
            opened = None
    if opened is not None:
        raise Mistake(f"{path}:{opened[0] + 1}: the fence is not closed")
    return found


class Block:
    """An ```sql fence and, where there is one, the fence of its result."""

    def __init__(self, fence, result):
        self.fence, self.result, self.options = fence, result, fence.options()
        self.sql = fence.text()
        self.where = f"{fence.path}:{fence.first + 1}"

    def complete(self):
        """Whether it ends with a statement's end, so that the next block begins with one of its own."""
        code = [re.sub(r"--.*", "", line).strip() for line in self.sql]
        code = [line for line in code if line]
        return bool(code) and (code[-1].endswith(";") or re.search(r"\\[a-z]", code[-1]) is not None)


def blocks(path, lines):
    all_fences = fences(path, lines)
    found = []
    for index, fence in enumerate(all_fences):
        if fence.language() != "sql":
            continue
        after = all_fences[index + 1] if index + 1 < len(all_fences) else None
        adjoins = after is not None and after.language() == "text" and not any(
            line.strip() for line in lines[fence.last + 1:after.first])
        found.append(Block(fence, after if adjoins else None))
    return found


def script(found):
    """The whole of a file for psql; marks tell afterwards what printed what."""
    lines = ["\\set SHOW_CONTEXT never"]
    for number, block in enumerate(found):
        if "skip" in block.options:
            continue
        lines.append(f"\\echo ::block {number}")
        lines.append("\\pset format aligned\n\\pset expanded off\n\\pset tuples_only off")
        if "error" in block.options:
            lines.append("\\set ON_ERROR_STOP 0\n\\set LAST_ERROR_SQLSTATE 00000")
        lines.extend(block.sql)
        if "error" in block.options:
            lines.append("\\echo ::state :LAST_ERROR_SQLSTATE\n\\set ON_ERROR_STOP 1")
        lines.append(f"\\echo ::end {number}")
    return "\n".join(lines) + "\n"


def masked(text, known):
    for name, pattern in VARYING:
        text = pattern.sub(lambda match: match[0] if match[0] in known else name, text)
    return text


def table(header, rule, rows, known, hidden):
    """One table of psql, with what varies replaced and the columns it stands in drawn anew."""
    places, start = [], 0
    for dashes in rule.split("+"):
        places.append((start, start + len(dashes)))
        start += len(dashes) + 1
    columns = []
    for begin, end in places:
        name = header[begin:end].strip()
        cells = [row[begin:end] for row in rows]
        if name in hidden:
            new = ["…" if cell.strip() else "" for cell in cells]
        else:
            new = [masked(cell.strip(), known) for cell in cells]
        if new == [cell.strip() for cell in cells]:
            columns.append((header[begin:end].ljust(end - begin), [cell.ljust(end - begin) for cell in cells]))
            continue
        width = max(map(len, [name, *new]))
        columns.append((" " + name.center(width) + " ", [" " + cell.ljust(width) + " " for cell in new]))
    drawn = ["|".join(column[0] for column in columns), "+".join("-" * len(column[0]) for column in columns)]
    return drawn + ["|".join(column[1][row] for column in columns) for row in range(len(rows))]


def record(lines, known, hidden):
    """Records of psql's expanded display."""
    new = []
    for line in lines:
        name, bar, value = line.partition(" | ")
        if bar and name.strip() in hidden and value.strip():
            value = "…"
        new.append(line if RECORD.match(line) else name + bar + masked(value, known))
    width = max(len(line) for line in new if not RECORD.match(line))
    return [line.rstrip("-").ljust(width, "-") if RECORD.match(line) else line for line in new]


def presentable(lines, known, hidden):
    """What psql printed, as a document shows it."""
    shown, index = [], 0
    while index < len(lines):
        line, end = lines[index], index + 1
        if end < len(lines) and RULE.match(lines[end]) and line.strip():
            while end + 1 < len(lines) and lines[end + 1] and not FOOTER.match(lines[end + 1]):
                end += 1
            rows = lines[index + 2:end + 1]
            # The answer of a function that answers nothing (void) is not worth its four lines.
            if [row.strip() for row in rows] != [""]:
                shown += table(line, lines[index + 1], rows, known, hidden)
            index = end + 1
        elif RECORD.match(line):
            while end < len(lines) and lines[end]:
                end += 1
            shown += record(lines[index:end], known, hidden)
            index = end
        else:
            footer = FOOTER.match(line)
            if not footer or footer[1] == "0":
                shown.append(masked(line, known))
            index = end
    shown = [line.rstrip() for line in shown]
    while shown and not shown[-1]:
        shown.pop()
    return [line for number, line in enumerate(shown) if line or (number and shown[number - 1])]


def printed(log, found):
    """By block: what it printed, and the SQLSTATE that it was said to end in. A block that did not end is absent."""
    answers, lines, state = {}, None, None
    for line in log.split("\n"):
        if line.startswith("::block "):
            lines, state = [], None
        elif line.startswith("::state "):
            state = line.split()[1]
        elif line.startswith("::end "):
            number = int(line.split()[1])
            known = "\n".join("\n".join(block.sql) for block in found)
            hidden = set(found[number].options.get("mask", "").split(",")) - {""}
            answers[number] = (presentable(lines, known, hidden), state)
            lines = None
        elif lines is not None:
            lines.append(line)
    return answers, lines


def judge(block, shown, state, accept):
    """What is wrong with a block that ran, or None."""
    if "error" in block.options and state != block.options["error"]:
        return f"should end in SQLSTATE {block.options['error']}, ended in {state}"
    if "hide" in block.options:
        return "hides what it prints, and shows it" if block.result else None
    if accept:
        return None
    expected = block.result.text() if block.result else []
    if shown == expected:
        return "should print what the ```text block after it says, which is empty" if block.result and not shown else None
    if not block.result:
        return "prints this, and no ```text block after it shows it:\n" + "\n".join(shown)
    return "prints something else than it shows:\n" + "\n".join(
        difflib.unified_diff(expected, shown, "shown", "printed", lineterm=""))


def with_results(lines, found, answers):
    """The document with the results that were printed."""
    for number in sorted(answers, reverse=True):
        block, (shown, _) = found[number], answers[number]
        if "hide" in block.options:
            continue
        new = [block.fence.indent + line if line else "" for line in shown]
        indent = block.fence.indent
        if block.result:
            begin, end = block.result.first, block.result.last + 1
            lines[begin:end] = [lines[begin], *new, lines[end - 1]] if new else []
        elif new:
            at = block.fence.last + 1
            lines[at:at] = ["", indent + "```text", *new, indent + "```"]
    return lines


def psql(database, *arguments, **more):
    environment = {key: value for key, value in os.environ.items()
                   if key not in {"PGTZ", "PGDATESTYLE", "PGOPTIONS", "PGCLIENTENCODING", "PAGER", "PSQLRC"}}
    command = [os.environ["PSQL"], "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, *arguments]
    return subprocess.run(command, env={**environment, "LC_ALL": "C.UTF-8"}, text=True, encoding="utf-8",
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **more)


def prepare(path, database, text):
    """Makes the database of a document: with the extension, unless a block of its own creates it, and with what a page
    of that name finds there (tests/docs/setup)."""
    extension = os.environ["EXTENSION"]
    creates = re.search(rf"^\s*create extension (if not exists )?{extension}", text, re.I | re.M)
    steps = [("postgres", "-c", f"create database {database} template {'template0' if creates else 'docs_template'}")]
    setup = os.path.join("tests/docs/setup", os.path.splitext(os.path.basename(path))[0] + ".sql")
    if os.path.exists(setup):
        steps.append((database, "-f", setup))
    for step in steps:
        done = psql(*step)
        if done.returncode != 0:
            raise Mistake(f"{path}: its database could not be made:\n{done.stdout}")


def clean_up(database):
    """Takes away the database of a document, and the roles that it made: all databases share them."""
    psql("postgres", "-c", f"drop database {database}")
    made = "select format('drop role %I', rolname) from pg_roles where oid >= 16384 and rolname !~ '^billing_(owner|service|webhook|user|monitor)$' and rolname <> current_user"
    psql("postgres", "-c", f"do $$ declare statement text; begin for statement in {made} loop execute statement; end loop; end $$")


def write(path, lines):
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines))


def recordings(path, lines, accept):
    """Compares what scripts print with what the document shows; answers how many did, and what is wrong."""
    passed, broken = 0, []
    for fence in reversed(fences(path, lines)):
        script_ = next((word.removeprefix("recording=") for word in fence.words[1:] if word.startswith("recording=")), None)
        if script_ is None:
            continue
        done = subprocess.run([script_], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode != 0:
            broken.append(f"FAILED {path}:{fence.first + 1} {script_} fails:\n{done.stdout}")
            continue
        shown = done.stdout.rstrip("\n")
        for name, pattern in RECORDED:
            shown = pattern.sub(name, shown)
        shown = [line.rstrip() for line in shown.split("\n")]
        if accept:
            lines[fence.first + 2:fence.last] = shown
        elif fence.lines[1:] != shown:
            broken.append(f"FAILED {path}:{fence.first + 1} {script_} prints something else than it shows:\n" + "\n".join(
                difflib.unified_diff(fence.lines[1:], shown, "shown", "printed", lineterm="")))
            continue
        passed += 1
    return passed, broken


def run(path, number, accept):
    """Runs one file; answers how many blocks passed, failed, were skipped and were hidden."""
    started = time.monotonic()
    with open(path, encoding="utf-8") as file:
        lines = file.read().split("\n")
    recorded, broken = recordings(path, lines, accept)
    if accept and recorded:
        write(path, lines)
    found = blocks(path, lines)
    runs = [block for block in found if "skip" not in block.options]
    counts = [recorded, len(broken), len(found) - len(runs), sum("hide" in block.options for block in runs)]
    if not runs:
        return counts
    for block in runs:
        if not block.complete():
            raise Mistake(f"{block.where}: the block does not end with a semicolon")
    text = script(found)
    database = f"docs_{number}"
    prepare(path, database, text)

    log = psql(database, input=text, cwd=os.environ["OUT"]).stdout
    clean_up(database)
    answers, unfinished = printed(log, found)
    if accept:
        write(path, with_results(lines, found, answers))
    for index, block in enumerate(found):
        if "skip" in block.options:
            continue
        if index in answers:
            problem = judge(block, *answers[index], accept)
        elif unfinished is not None:
            problem, unfinished = "ends in an error:\n" + "\n".join(unfinished), None
        else:
            problem = "was not reached"
        counts[1 if problem else 0] += 1
        if problem:
            broken.append(f"FAILED {block.where} {problem}")
    print(f"{'FAILED' if broken else 'ok    '} {path:40} {len(runs):3} blocks {(time.monotonic() - started) * 1000:6.0f} ms")
    # What follows the first failure often follows from it.
    for problem in broken[:3]:
        print(problem)
    return counts


def main(arguments):
    accept = arguments[:1] == ["--accept"]
    totals = [0, 0, 0, 0]
    for number, path in enumerate(arguments[1:] if accept else arguments):
        try:
            counts = run(path, number, accept)
        except Mistake as mistake:
            print(f"FAILED {mistake}")
            counts = [0, 1, 0, 0]
        totals = [total + count for total, count in zip(totals, counts)]
    with open(os.path.join(os.environ["OUT"], "counts"), "w", encoding="utf-8") as file:
        file.write(" ".join(map(str, totals)) + "\n")
    return 1 if totals[1] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
