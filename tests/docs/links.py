"""Follows every link of the documents that stays within the project: the file is there, and so is the heading.

Usage: links.py FILE...        (paths as seen from the working folder; docs/SUMMARY.md is judged as the book's contents too)
"""

import os
import re
import sys

from blocks import Mistake, fences

LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
SOURCE = re.compile(r"(?:src|srcset|href)=\"([^\"]+)\"")
HEADING = re.compile(r"^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$")
OUTSIDE = re.compile(r"^[a-z][a-z0-9+.-]*:", re.I)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read().split("\n")


def prose(path, lines):
    """The lines outside of fences; the others are empty."""
    lines = list(lines)
    for fence in fences(path, lines):
        lines[fence.first:fence.last + 1] = [""] * (fence.last + 1 - fence.first)
    return lines


def anchors(path):
    """The names of a document's headings, as GitHub and mdBook make them, and what is named by hand."""
    names, seen = set(), {}
    for line in prose(path, read(path)):
        names.update(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", line))
        heading = HEADING.match(line)
        if not heading:
            continue
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[2]).replace("`", "")
        name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        count = seen.get(name, 0)
        seen[name] = count + 1
        names.add(f"{name}-{count}" if count else name)
    return names


def links(path):
    for number, line in enumerate(prose(path, read(path)), start=1):
        line = re.sub(r"`[^`]*`", "", line)
        for target in LINK.findall(line) + SOURCE.findall(line):
            if not OUTSIDE.match(target):
                yield number, target.split(" ")[0]


def check(path, known):
    problems, total = [], 0
    for number, target in links(path):
        total += 1
        name, _, anchor = target.partition("#")
        file = os.path.normpath(os.path.join(os.path.dirname(path), name)) if name else path
        if not os.path.exists(file):
            problems.append(f"{path}:{number}: there is no {file}")
        elif anchor and file.endswith(".md"):
            if file not in known:
                known[file] = anchors(file)
            if anchor not in known[file]:
                problems.append(f"{path}:{number}: {file} has no heading #{anchor}")
    return total, problems


def left_out(summary):
    """Pages that the book's contents do not name: nobody would find them."""
    folder = os.path.dirname(summary)
    named = {os.path.normpath(os.path.join(folder, target.split("#")[0])) for _, target in links(summary)}
    for place, _, files in os.walk(folder):
        for file in sorted(files):
            path = os.path.join(place, file)
            if file.endswith(".md") and path != summary and path not in named:
                yield f"{summary}: {path} is in no chapter of the book"


def main(paths):
    total, problems, known = 0, [], {}
    for path in paths:
        try:
            count, found = check(path, known)
            total += count
            problems += found
            if os.path.basename(path) == "SUMMARY.md":
                problems += left_out(path)
        except Mistake as mistake:
            problems.append(str(mistake))
    for problem in problems:
        print(f"FAILED {problem}")
    print(f"{'FAILED' if problems else 'ok    '} {total} links in {len(paths)} documents")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
