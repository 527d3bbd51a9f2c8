#!/usr/bin/env python3
"""Whether META.json keeps to version 1.0.0 of PGXN's specification, and speaks of what is there.

Usage: pgxn_meta.py META.json   prints what is wrong, a line each; exit status 1 if anything is
       pgxn_meta.py --self-test  breaks a good one in every way that is looked for, and sees each found
"""

import copy
import json
import re
import sys
from pathlib import Path

VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-?[A-Za-z][0-9A-Za-z-]*)?")
RANGE = re.compile(r"(?:(?:==|!=|[<>]=?)\s*)?(.*)")
LICENSES = set(
    "agpl_3 apache_1_1 apache_2_0 artistic_1 artistic_2 bsd freebsd gfdl_1_2 gfdl_1_3 gpl_1 gpl_2 gpl_3 lgpl_2_1 lgpl_3_0 mit"
    " mozilla_1_0 mozilla_1_1 openssl perl_5 postgresql qpl_1_0 ssleay sun zlib open_source restricted unrestricted unknown".split()
)
PHASES = {"configure", "build", "test", "runtime", "develop"}
RELATIONS = {"requires", "recommends", "suggests", "conflicts"}


def text(value):
    return isinstance(value, str) and value != ""


def term(value):
    return text(value) and len(value) > 1 and not re.search(r"[\s/\\\x00-\x1f\x7f]", value)


def tag(value):
    return text(value) and len(value) < 256 and not re.search(r"[/\\\x00-\x1f\x7f]", value)


def url(value):
    return text(value) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#\s]+", value) is not None


def email(value):
    return text(value) and "@" in value


def version(value):
    return isinstance(value, str) and VERSION.fullmatch(value) is not None


def version_range(value):
    if value in (0, "0"):
        return True
    return text(value) and all(part == "0" or version(RANGE.fullmatch(part)[1]) for part in re.split(r",\s*", value))


def some(one):
    return lambda value: one(value) if isinstance(value, str) else isinstance(value, list) and value != [] and all(map(one, value))


def license_(value):
    if isinstance(value, dict):
        return value != {} and all(map(url, value.values()))
    return some(lambda name: name in LICENSES)(value)


# What a map holds: its keys with their values, and which of them it must have. A key that begins with x_ is anybody's own.
def keys(required, optional):
    return {"required": required, "known": required | optional}


PROVIDED = keys({"file": text, "version": version}, {"abstract": text, "docfile": text})
RULES = keys(
    {
        "name": term,
        "version": version,
        "abstract": text,
        "maintainer": some(text),
        "license": license_,
        "provides": lambda value, where, wrong: each(value, term, PROVIDED, where, wrong),
        "meta-spec": keys({"version": lambda value: value == "1.0.0"}, {"url": url}),
    },
    {
        "description": text,
        "generated_by": text,
        "release_status": lambda value: value in ("stable", "testing", "unstable"),
        "tags": some(tag),
        "no_index": keys({}, {"file": some(text), "directory": some(text)}),
        "prereqs": lambda value, where, wrong: prerequisites(value, where, wrong),
        "resources": keys(
            {},
            {
                "license": some(url),
                "homepage": url,
                "bugtracker": keys({}, {"web": url, "mailto": email}),
                "repository": keys({}, {"web": url, "url": url, "type": lambda value: text(value) and value == value.lower()}),
            },
        ),
    },
)


def judge(value, rule, where, wrong):
    if isinstance(rule, dict):
        judge_map(value, rule, where, wrong)
    elif rule.__code__.co_argcount == 3:
        rule(value, where, wrong)
    elif not rule(value):
        wrong.append(f"{where}: {json.dumps(value)} is not valid there")


def judge_map(value, rule, where, wrong):
    if not isinstance(value, dict):
        wrong.append(f"{where or '/'}: it should be a map")
        return
    wrong.extend(f"{where}/{name}: is missing" for name in rule["required"] if name not in value)
    for name, part in value.items():
        if name in rule["known"]:
            judge(part, rule["known"][name], f"{where}/{name}", wrong)
        elif not name.lower().startswith("x_"):
            wrong.append(f"{where}/{name}: no such key")


def each(value, name_rule, rule, where, wrong):
    if not isinstance(value, dict) or not value:
        wrong.append(f"{where}: it should be a map with something in it")
        return
    for name, part in value.items():
        if not name_rule(name):
            wrong.append(f"{where}/{name}: no such key")
        judge(part, rule, f"{where}/{name}", wrong)


def prerequisites(value, where, wrong):
    def relations(value, where, wrong):
        each(value, RELATIONS.__contains__, lambda value, where, wrong: each(value, term, version_range, where, wrong), where, wrong)

    each(value, PHASES.__contains__, relations, where, wrong)


def problems(meta, folder=None):
    wrong = []
    judge_map(meta, RULES, "", wrong)
    for name, part in meta.get("provides", {}).items() if folder and not wrong else ():
        for key in ("file", "docfile"):
            if key in part and not (folder / part[key]).is_file():
                wrong.append(f"/provides/{name}/{key}: there is no such file")
        if part["version"] != meta["version"]:
            wrong.append(f"/provides/{name}/version: differs from that of the whole")
    return wrong


GONE = object()
BROKEN = [
    (["name"], GONE), (["name"], "a b"), (["name"], "x"), (["version"], "0.2"), (["version"], "1.02.0"), (["abstract"], ""),
    (["maintainer"], []), (["license"], "postgres"), (["license"], {"PostgreSQL": "here"}), (["provides"], {}), (["provides"], GONE),
    (["provides", "billing_rpc", "file"], GONE), (["provides", "billing_rpc", "file"], "no/such"),
    (["provides", "billing_rpc", "version"], "9.9.9"), (["provides", "billing_rpc", "docfiles"], "README.md"),
    (["release_status"], "done"), (["tags"], ["a/b"]), (["tags"], []), (["prereqs", "runtimes"], {"requires": {"PostgreSQL": "15.0.0"}}),
    (["prereqs", "runtime", "require"], {"PostgreSQL": "15.0.0"}), (["prereqs", "runtime", "requires", "PostgreSQL"], "15"),
    (["prereqs", "runtime", "requires", "PostgreSQL"], "~> 15.0.0"), (["resources"], {"homepage": "nowhere"}),
    (["resources"], {"repository": {"type": "Git"}}), (["meta-spec", "version"], "2.0.0"), (["meta-spec"], GONE), (["colour"], "blue"),
]


def self_test(path):
    good = json.loads(path.read_text())
    assert not problems(good, path.parent), problems(good, path.parent)
    for way, value in BROKEN:
        meta = copy.deepcopy(good)
        place = meta
        for step in way[:-1]:
            place = place[step]
        if value is GONE:
            del place[way[-1]]
        else:
            place[way[-1]] = value
        assert problems(meta, path.parent), f"not seen: {'/'.join(way)} = {value}"
    print(f"pgxn_meta: {len(BROKEN)} mistakes, all seen")


def main(arguments):
    if arguments == ["--self-test"]:
        return self_test(Path(__file__).resolve().parent.parent / "META.json")
    path = Path(arguments[0])
    wrong = problems(json.loads(path.read_text()), path.resolve().parent)
    for line in wrong:
        print(f"{path.name}{line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
