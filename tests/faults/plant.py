"""Plants the faults of faults.toml into a copy of this project. scripts/faults.sh calls it:

    plant.py list [NAME...]          one line each: name, kind, test. Kinds: sql (the scripts alone are
                                     changed), rust (the extension is built anew), core (a test of billing_core)
    plant.py sync TREE               makes TREE hold this project's files, and no fault
    plant.py plant NAME TREE         changes TREE's files
    plant.py scripts NAME IN FOLDER  puts changed copies of the install script IN into FOLDER, for a test of upgrades
                                     also of the upgrade scripts to the same version that lie beside it
    plant.py shows NAME LOG          whether the test said what it is to say of this fault

A change names the text that it replaces. That text stands exactly once in its file, or the fault is refused: the
code has moved on, and the fault must follow it.
"""

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
KEYS = {"name", "what", "test", "shows", "edit"}
TESTS = {"regress", "isolation", "pgtap", "core", "upgrade", "wire"}
LEFT_OUT = {".git", "target", "__pycache__", "node_modules"}


class Refused(Exception):
    """The table of faults is wrong, or the code is not what it says."""


def faults():
    with open(HERE / "faults.toml", "rb") as file:
        table = tomllib.load(file)["fault"]
    known = {}
    for fault in table:
        if set(fault) != KEYS:
            raise Refused(f"{fault.get('name')}: has {sorted(fault)}, wants {sorted(KEYS)}")
        if fault["name"] in known:
            raise Refused(f"{fault['name']}: is there twice")
        if fault["test"].split()[0] not in TESTS or len(fault["test"].split()) != 2:
            raise Refused(f"{fault['name']}: test is one of {sorted(TESTS)} and a name")
        if not fault["shows"]:
            raise Refused(f"{fault['name']}: shows nothing")
        known[fault["name"]] = fault
    return known


def named(name):
    known = faults()
    if name not in known:
        raise Refused(f"there is no fault {name}")
    return known[name]


def kind(fault):
    if fault["test"].startswith("core "):
        return "core"
    return "sql" if all(edit["file"].startswith("sql/") for edit in fault["edit"]) else "rust"


def replace(fault, edit, text, where):
    count = text.count(edit["find"])
    if count != 1:
        raise Refused(f"{fault['name']}: its text stands {count} times in {where}:\n{edit['find']}")
    changed = text.replace(edit["find"], edit["plant"])
    if changed == text:
        raise Refused(f"{fault['name']}: changes nothing in {where}")
    return changed


def plant(fault, tree):
    for edit in fault["edit"]:
        path = tree / edit["file"]
        path.write_text(replace(fault, edit, path.read_text(), edit["file"]))


def scripts(fault, install, folder):
    """Where the text is unique in its own file, it must be so in each script made of several."""
    check(fault)
    extension, version = install.stem.split("--")
    # What an upgrade makes, an install makes by the same words: there they stay.
    found = [] if any(edit["file"].startswith("sql/upgrade/") for edit in fault["edit"]) else [install]
    if fault["test"].startswith("upgrade "):
        found += sorted(install.parent.glob(f"{extension}--*--{version}.sql"))
    for path in found:
        text = path.read_text()
        if all(edit["find"] in text for edit in fault["edit"]):
            for edit in fault["edit"]:
                text = replace(fault, edit, text, path.name)
            (folder / path.name).write_text(text)
    if not any(folder.iterdir()):
        raise Refused(f"{fault['name']}: no script holds its text")


def files(folder):
    return {
        path.relative_to(folder): path
        for path in folder.rglob("*")
        if path.is_file() and not LEFT_OUT & set(path.relative_to(folder).parts)
    }


def sync(tree):
    """Times are those of writing, so that cargo sees what was planted, and that it is gone."""
    tree.mkdir(parents=True, exist_ok=True)
    ours, theirs = files(ROOT), files(tree)
    for name in theirs.keys() - ours.keys():
        theirs[name].unlink()
    for name, path in ours.items():
        content = path.read_bytes()
        if name in theirs and theirs[name].read_bytes() == content:
            continue
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
        (tree / name).chmod(path.stat().st_mode)


def check(fault):
    for edit in fault["edit"]:
        replace(fault, edit, (ROOT / edit["file"]).read_text(), edit["file"])


def main(command, *arguments):
    if command == "list":
        known = faults()
        for fault in [named(name) for name in arguments] or known.values():
            check(fault)
            print(fault["name"], kind(fault), fault["test"], sep="\t")
    elif command == "sync":
        sync(Path(arguments[0]))
    elif command == "plant":
        plant(named(arguments[0]), Path(arguments[1]))
    elif command == "scripts":
        scripts(named(arguments[0]), Path(arguments[1]), Path(arguments[2]))
    elif command == "shows":
        return named(arguments[0])["shows"] not in Path(arguments[1]).read_text(errors="replace")
    else:
        raise Refused(__doc__)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except Refused as refused:
        print(f"error: {refused}", file=sys.stderr)
        sys.exit(2)
