"""Pairs of writing functions, two sessions at a time: generates the permutations from operations.txt, has
isolationtester run them, and judges what came out. README.md says how to read the results.

    pairs.py all|sample [--accept] [NAME...]     NAME: only pairs whose first operation is called so

Needs a server (PGHOST, PGPORT, PGUSER) with the databases of PAIRS_DATABASES, copies of one made by world.sql and state.sql, the
programs ISOLATIONTESTER and PSQL, and an empty folder OUT for the specs and their output.
"""

import concurrent.futures
import itertools
import json
import os
import pathlib
import queue
import random
import re
import subprocess
import sys
from collections import namedtuple

HERE = pathlib.Path(__file__).resolve().parent
EXPECTED = HERE / "expected"
PEOPLE = {":A": "'11111111-1111-1111-1111-111111111111'", ":B": "'22222222-2222-2222-2222-222222222222'", ":C": "'cus_C'"}
DATABASES = os.environ.get("PAIRS_DATABASES", "").split()
SEED = int(os.environ.get("PAIRS_SEED", "15"))
SAMPLE_PAIRS = 12  # of make test: pairs at READ COMMITTED, so many at each higher level, and gates
SAMPLE_GATES = 16
LEVEL_PAIRS = {"all": 250, "sample": 4}
LEVELS = {"rc": "READ COMMITTED", "rr": "REPEATABLE READ", "ser": "SERIALIZABLE"}

# a is the first operation's session, b the second's. An upper-case letter is the call itself.
ORDERS = {
    "alone": "begin_a A commit_a",
    "serial": "begin_a A commit_a begin_b B commit_b",
    "commit": "begin_a begin_b A B commit_a commit_b",
    "rollback": "begin_a begin_b A B rollback_a commit_b",
    "stale": "begin_a begin_b A commit_a B commit_b",
}
# Both stop where they first lock or write in that table, and go on together once it is free: each may hold by then what
# the other wants next.
GATES = ("webhook_events", "charges", "subscriptions", "customers", "balances", "lots", "holds", "ledger", "payments", "code_meetings")
ORDERS |= {f"gate {table}": f"gate_{table} A B open" for table in GATES}
# One after the other, and the first waits in vain for that table: it leaves what needs it to a next round.
ORDERS |= {f"left {table}": f"gate_{table} A linger open B" for table in GATES}
# The same, and a worker's next round after them.
ORDERS |= {name + "+round": steps + " round" for name, steps in ORDERS.items()}

Operation = namedtuple("Operation", "name function kind touches call")
Permutation = namedtuple("Permutation", "first second order level")
# What a permutation came to: each session's answer (an error's text, if it ended in one), the rows that are left, whether
# the second waited, whether it began before the first was done, what reconcile() found.
Outcome = namedtuple("Outcome", "first second state waited met problems")


def fail(text):
    sys.exit(f"error: {text}")


# The tables -------------------------------------------------------------------------------------------------------


def lines_of(name):
    for line in (HERE / name).read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            yield line


def read_operations(*names):
    kinds, operations, function, kind = {}, {}, None, None
    for line in itertools.chain.from_iterable(lines_of(name) for name in names):
        if line.startswith("found "):
            continue
        if line.startswith("answer "):
            name, columns = line.removeprefix("answer ").split(":", 1)
            kinds[name] = columns.strip()
        elif line.startswith("["):
            function, kind = re.fullmatch(r"\[(\S+)\] (\w+)", line).groups()
        else:
            name, touches, call = line.split(None, 2)
            if name in operations:
                fail(f"there are two operations {name}")
            for person, value in PEOPLE.items():
                call = call.replace(person, value)
            # isolationtester ends a block of SQL at the first closing brace.
            call = re.sub(r"'[^']*}[^']*'", lambda literal: "E" + literal[0].replace("}", r"\175"), call)
            operations[name] = Operation(name, function, kinds[kind], frozenset(touches.split(",")), call)
    return operations


Exceptions = namedtuple("Exceptions", "function busy unsteady refused")


def read_exceptions(operations):
    """Reasons by function, and by pair of operations."""
    found = Exceptions({}, {}, {}, {})
    for line in lines_of("exceptions.txt"):
        word, rest = line.split(None, 1)
        if word not in found._fields:
            fail(f"exceptions.txt: what is {word}?")
        if word == "function":
            name, reason = rest.split(None, 1)
            found.function[name] = reason
            continue
        firsts, seconds, reason = rest.split(None, 2)
        firsts, seconds = (list(operations) if names == "*" else names.split(",") for names in (firsts, seconds))
        for name in set(firsts + seconds) - operations.keys():
            fail(f"exceptions.txt names {name}, which is no operation")
        getattr(found, word).update({(first, second): reason for first in firsts for second in seconds})
    return found


# What to run ------------------------------------------------------------------------------------------------------


def meet(first, second):
    return bool(first.touches & second.touches)


def plan(operations, mode, names):
    """The permutations to run, but those with a gate."""
    pairs = [(f, s) for f in operations for s in operations if not names or f in names]
    meeting = [(f, s) for f, s in pairs if meet(operations[f], operations[s])]
    rng = random.Random(SEED)
    if mode == "sample":
        pairs = rng.sample(meeting, min(SAMPLE_PAIRS, len(meeting)))
    wanted = {}
    for first, second in pairs:
        wanted[Permutation(first, second, "commit", "rc")] = None
        if meet(operations[first], operations[second]):
            wanted[Permutation(first, second, "rollback", "rc")] = None
    for level in ("rr", "ser"):
        for first, second in rng.sample(meeting, min(LEVEL_PAIRS[mode], len(meeting))):
            for order in ("commit", "stale"):
                wanted[Permutation(first, second, order, level)] = None
    return list(wanted) + measures(wanted)


def measures(permutations):
    """What the permutations are measured by."""
    wanted = {}
    for one in permutations:
        for first, second in ((one.first, one.second), (one.second, one.first)):
            wanted[Permutation(first, second, "serial", "rc")] = None
            wanted[Permutation(first, None, "alone", "rc")] = None
    return list(wanted)


def gates(operations, outcomes, before, mode):
    """The permutations with a gate: for two operations that meet, every table in which one of them writes."""
    wrote = {one.first: {key.split()[0] for key in before.keys() | outcome.state.keys() if before.get(key) != outcome.state.get(key)}
             for one, outcome in outcomes.items() if one.order == "alone"}
    wanted = [
        Permutation(first, second, f"gate {table}", "rc")
        for first, second in itertools.combinations_with_replacement(operations, 2)
        if (first, second, "serial", "rc") in outcomes and (second, first, "serial", "rc") in outcomes
        and meet(operations[first], operations[second])
        for table in GATES if table in wrote[first] | wrote[second]
    ]
    return random.Random(SEED).sample(wanted, min(SAMPLE_GATES, len(wanted))) if mode == "sample" else wanted


def spec(operations, level, permutations):
    """The text of one spec: permutations of one level, all with the same first operation."""
    begin = f"BEGIN ISOLATION LEVEL {LEVELS[level]};"
    if level != "rc":
        begin += " DO $$ BEGIN PERFORM FROM tokens; END $$;"  # from here on the snapshot is what it is

    def call(step, name):
        operation = operations[name]
        columns = ", ".join(f"coalesce(({c})::text, '-')" for c in split_columns(operation.kind))
        return (f"step {step} {{ SELECT 'answer: ' || coalesce(string_agg(concat_ws(' ', {columns}), '; '), 'none')"
                f" AS answer FROM {operation.call} AS o; }}")

    seconds = sorted({p.second for p in permutations if p.second})
    parts = [
        "setup { DO $$ BEGIN PERFORM world.restore(); END $$; }",
        "teardown { SELECT world.state() AS state; }",
        "session a",
        "setup { SET client_min_messages = error; }",
        f"step begin_a {{ {begin} }}",
        call("A", permutations[0].first),
        "step commit_a { COMMIT; }",
        "step rollback_a { ROLLBACK; }",
        "session b",
        "setup { SET client_min_messages = error; }",
        f"step begin_b {{ {begin} }}",
        *[call(f"B_{name}", name) for name in seconds],
        "step commit_b { COMMIT; }",
        "session c",
        *[f"step gate_{table} {{ BEGIN; LOCK TABLE billing.{table} IN EXCLUSIVE MODE; }}" for table in GATES],
        "step linger { DO $$ BEGIN PERFORM pg_sleep(1); END $$; }",
        "step open { COMMIT; }",
        "step round { SELECT world.round(); }",
    ]
    for one in permutations:
        steps = re.sub(r"\bB\b", f"B_{one.second}", ORDERS[one.order])
        parts.append("permutation " + steps)
    return "\n".join(parts) + "\n"


def split_columns(text):
    """Splits at the commas that stand in no parentheses."""
    depth, parts = 0, [""]
    for char in text:
        depth += {"(": 1, ")": -1}.get(char, 0)
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts]


# Running ----------------------------------------------------------------------------------------------------------


def read_row(line, state):
    word, text = line.split(": ", 1)
    row = json.loads(text)
    key = row["table"] + " " + row["key"]
    if word == "state":
        state[key] = row["row"]
    elif state.pop(key, None) is None:
        fail(f"a row is gone that never was: {key}")


def world():
    """Every row that is there before a permutation."""
    query("SELECT world.restore()")
    state = {}
    for line in query("SELECT world.state(true)"):
        if not line.startswith("end"):
            read_row(line, state)
    return state


def run(operations, permutations, before):
    """Runs them, one spec for each level and first operation, on each database at once; their outcomes."""
    groups = {}
    for one in permutations:
        groups.setdefault((one.level, one.first), []).append(one)
    databases = queue.SimpleQueue()
    for database in DATABASES:
        databases.put(database)

    def run_group(group):
        database = databases.get()
        try:
            return run_spec(operations, group, before, database)
        finally:
            databases.put(database)

    outcomes = {}
    with concurrent.futures.ThreadPoolExecutor(len(DATABASES)) as pool:
        for found in pool.map(run_group, groups.values()):
            outcomes |= found
    return outcomes


def run_spec(operations, group, before, database):
    query("VACUUM", database)
    text = spec(operations, group[0].level, group)
    path = pathlib.Path(os.environ["OUT"], f"{group[0].first}-{group[0].level}.spec")
    if path.exists():
        path = path.with_stem(f"{path.stem}-{len(list(path.parent.glob(path.stem + '*.spec')))}")
    path.write_text(text)
    done = subprocess.run([os.environ["ISOLATIONTESTER"], "dbname=" + database], input=text, capture_output=True, text=True)
    path.with_suffix(".out").write_text(done.stdout + done.stderr)
    if done.returncode != 0:
        fail(f"isolationtester gave up on {path}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    texts = re.split(r"^starting permutation: .*$", done.stdout, flags=re.M)[1:]
    if len(texts) != len(group):
        fail(f"{path}: {len(group)} permutations, {len(texts)} results")
    return {one: read_outcome(one, result, before) for one, result in zip(group, texts)}


def read_outcome(one, text, before):
    answers, waiting, waited, met, step = {}, set(), False, False, None
    state, problems, ended = dict(before), [], False
    rows = []
    for line in text.splitlines():
        if found := re.match(r"step (\w+): ", line):
            step = found[1]
            met |= step.startswith("B_") and "A" in waiting
            if line.endswith("<waiting ...>"):
                waiting.add(step)
                waited |= step.startswith("B_")
            elif line.endswith("completed>"):
                waiting.discard(step)
        line = line.strip()
        if line.startswith("answer: "):
            answers[step[0]] = line.removeprefix("answer: ")
        elif line.startswith("ERROR: "):
            # An error in a COMMIT is that session's answer.
            answers[step[-1].upper() if step.startswith("commit") else step[0]] = line
        elif line.startswith(("was: ", "state: ")):
            rows.append(line)
        elif line == "end of state":
            ended = True
        elif line.startswith("problem: "):
            problems.append(line)
        elif "canceling" in line or "unexpected" in line or line.startswith("isolationtester:"):
            problems.append(line)
    for line in sorted(rows, reverse=True):  # what was comes first, for the changed row has the same key
        read_row(line, state)
    if "A" not in answers or ("B" not in answers and one.second) or not ended:
        fail(f"cannot read what became of {name_of(one)}:\n{text}")
    return Outcome(answers["A"], answers.get("B"), state, waited, met, problems)


def name_of(one):
    level = "" if one.level == "rc" else f" at {LEVELS[one.level]}"
    return f"{one.first}, {one.second}: {one.order}{level}"


# Judging ----------------------------------------------------------------------------------------------------------


def serializes_as(outcomes, one):
    """In which orders, one after the other, the same is answered and the same is left."""
    mine = outcomes[one]
    there = outcomes[Permutation(one.first, one.second, "serial", "rc")]
    back = outcomes[Permutation(one.second, one.first, "serial", "rc")]
    orders = []
    if (mine.first, mine.second, mine.state) == (there.first, there.second, there.state):
        orders.append("first")
    if (mine.first, mine.second, mine.state) == (back.second, back.first, back.state):
        orders.append("second")
    return orders


def retryable(answer):
    return answer is not None and answer.startswith("ERROR:  could not serialize access")


def judge(outcomes, one, operations, exceptions):
    """What is wrong with a permutation; none if nothing is."""
    mine = outcomes[one]
    if mine.problems:
        return "; ".join(mine.problems)
    if one.order in ("alone", "serial"):
        return judge_serial(mine, one, operations)
    if one.order == "rollback":
        return as_alone(outcomes, mine, one.second, mine.second)
    if one.level != "rc" and retryable(mine.second):
        return as_alone(outcomes, mine, one.first, mine.first)
    if one.level != "rc" and retryable(mine.first):
        return as_alone(outcomes, mine, one.second, mine.second)
    if serializes_as(outcomes, one):
        return None
    if (one.first, one.second) in exceptions.refused and mine.second.startswith("ERROR"):
        return as_alone(outcomes, mine, one.first, mine.first)
    there = outcomes[Permutation(one.first, one.second, "serial", "rc")]
    return "as in neither order; compared with first, second:\n" + explain(mine, (there.first, there.second, there.state))


def judge_serial(mine, one, operations):
    for name, answer in ((one.first, mine.first), (one.second, mine.second)):
        if answer and answer.startswith("ERROR") and not operations[name].function.startswith("billing."):
            return f"{name} ended in an error: {answer}"
    return None


def as_alone(outcomes, mine, name, answer):
    """Whether it is as if the other one had never been called."""
    alone = outcomes[Permutation(name, None, "alone", "rc")]
    if (answer, mine.state) == (alone.first, alone.state):
        return None
    return f"not as {name} alone, which answers: {alone.first}\n" + explain(mine, (None, None, alone.state)) + f"\n    it answers: {answer}"


def may_leave_work(one, exceptions):
    left = exceptions.busy | exceptions.unsteady
    # At a gate the first waits as well as the second.
    pairs = [(one.first, one.second)] + ([(one.second, one.first)] if one.order.startswith("gate") else [])
    return one.order not in ("alone", "serial") and any(pair in left for pair in pairs)


def rounds(one):
    """What shows that a permutation left only busy work: itself and its serial orders, each with a next round after it."""
    wanted = [one._replace(order=one.order + "+round")]
    if one.order == "rollback":
        return wanted + [Permutation(one.second, None, "alone+round", "rc")]
    return wanted + [Permutation(*pair, "serial+round", "rc") for pair in ((one.first, one.second), (one.second, one.first))]


def lefts(one):
    """What shows that at a gate the first left what it found busy, and the second ended that: each after the other."""
    word, _, table = one.order.partition(" ")
    pairs = ((one.first, one.second), (one.second, one.first)) if word == "gate" else ()
    return [Permutation(*pair, f"left {table}+round", "rc") for pair in pairs]


def judge_round(outcomes, one):
    """The same of a permutation that left work to a next round."""
    mine, *others = (outcomes[other] for other in rounds(one) + lefts(one) if other in outcomes)
    others = [other for other in others if not other.met]
    if mine.problems:
        return "; ".join(mine.problems)
    if any(without_attempts(mine.state) == without_attempts(other.state) for other in others):
        return None
    return "not mended by the next round:\n" + "\n".join("    " + line for line in difference(others[0].state, mine.state))


def without_attempts(state):
    return {key: {column: value for column, value in row.items() if column != "attempts"} for key, row in state.items()}


def explain(mine, other):
    lines = []
    for what, here, there in (("first", mine.first, other[0]), ("second", mine.second, other[1])):
        if there is not None and here != there:
            lines.append(f"    {what} answers: {here}\n    instead of: {there}")
    return "\n".join(lines + ["    " + line for line in difference(other[2], mine.state)])


def planted(before, exceptions):
    """The faults of planted.txt that the judge does not find."""
    operations = read_operations("operations.txt", "planted.txt")
    wanted = [Permutation(first, second, order, "rc") for word, first, second, order in
              (line.split(None, 3) for line in lines_of("planted.txt") if line.startswith("found "))]
    outcomes = run(operations, wanted + measures(wanted), before)
    return [f"{name_of(one)}: a planted fault that is not found" for one in wanted if not judge(outcomes, one, operations, exceptions)]


# The expected files -----------------------------------------------------------------------------------------------

# Columns that say nothing a reader wants to know of a new row; its customer does where it is another than usual.
DULL = {"created_at", "received_at", "payload_summary", "occurred_at", "entry_id", "livemode", "unsigned", "idempotency_key",
        "event_id", "provider", "credit_type", "claim_token", "last_entry_at", "lot_id", "object_type", "is_truth", "metadata", "hold_id"}


def plain(value):
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def difference(before, after):
    """The rows in which two states differ, and how."""
    lines = []
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if old is None:
            shown = {c: v for c, v in sorted(new.items())
                     if c not in DULL and v is not False and (c, v) != ("customer_id", "A")}
            lines.append(f"+ {key}: " + ", ".join(f"{c} {plain(v)}" for c, v in shown.items()))
        elif new is None:
            lines.append(f"- {key}")
        else:
            changed = [c for c in sorted(old.keys() | new.keys()) if old.get(c) != new.get(c)]
            lines.append(f"~ {key}: " + ", ".join(f"{c} {plain(old.get(c))} > {plain(new.get(c))}" for c in changed))
    return lines


def block(outcomes, before, first, second, exceptions):
    """What the expected file of the first operation says of the second."""
    alone_first = outcomes[Permutation(first, None, "alone", "rc")]
    alone_second = outcomes[Permutation(second, None, "alone", "rc")]
    serial = outcomes[Permutation(first, second, "serial", "rc")]
    concurrent = outcomes[Permutation(first, second, "commit", "rc")]
    said = []
    if (first, second) not in exceptions.unsteady:
        orders = serializes_as(outcomes, Permutation(first, second, "commit", "rc"))
        said.append("waits" if concurrent.waited else "at once")
        words = {"first": "in order", "second": "in the other order", "first second": "in any order"}
        refused = concurrent.second.startswith("ERROR") and concurrent.second != serial.second
        said.append("refused" if refused else words.get(" ".join(orders), "leaves what is busy"))
        undone = outcomes.get(Permutation(first, second, "rollback", "rc"))
        if undone and undone.waited != concurrent.waited:
            said.append("waits for a rollback" if undone.waited else "does not wait for a rollback")
    else:
        said.append("unsteady")
    added = difference(alone_first.state, serial.state)
    if serial.second == alone_second.first and added == difference(before, alone_second.state):
        return [f"{second}: {', '.join(said)}; as alone"]
    return [f"{second}: {', '.join(said)}; {serial.second}"] + ["  " + line for line in added]


def expected_text(outcomes, before, operations, first, exceptions):
    alone = outcomes[Permutation(first, None, "alone", "rc")]
    lines = [f"alone: {alone.first}"] + ["  " + line for line in difference(before, alone.state)]
    for second in operations:
        if Permutation(first, second, "commit", "rc") in outcomes:
            lines += block(outcomes, before, first, second, exceptions)
    return "\n".join(lines) + "\n"


def blocks(text):
    found = {}
    for line in text.splitlines():
        if not line.startswith(" "):
            name = line.split(":", 1)[0]
        found.setdefault(name, []).append(line)
    return found


def orphans(operations):
    """What is expected of operations that are no more."""
    names = {"alone"} | operations.keys()
    return [f"{path.name} expects something of {name}, which is no operation: accept all anew, or remove it"
            for path in sorted(EXPECTED.glob("*"))
            for name in [path.name.removesuffix(".txt"), *blocks(path.read_text())] if name not in names]


def compare(outcomes, before, operations, exceptions, accept):
    """Compares what ran with the expected files, or makes it the expected; the differences."""
    differences = []
    for first in operations:
        if not any(p.first == first and p.order == "commit" and p.level == "rc" for p in outcomes):
            continue
        path = EXPECTED / f"{first}.txt"
        found = blocks(expected_text(outcomes, before, operations, first, exceptions))
        wanted = blocks(path.read_text()) if path.exists() else {}
        for second, lines in found.items():
            if wanted.get(second) != lines:
                differences.append("\n".join([f"{first}, {second}: differs from expected/{path.name}",
                                              *("    -" + line for line in wanted.get(second, [])),
                                              *("    +" + line for line in lines)]))
        if accept:
            EXPECTED.mkdir(exist_ok=True)
            path.write_text("".join("\n".join((wanted | found)[name]) + "\n" for name in ["alone", *operations] if name in wanted | found))
    return differences


# Commands ---------------------------------------------------------------------------------------------------------


def query(text, database=DATABASES[0] if DATABASES else None):
    done = subprocess.run([os.environ["PSQL"], "-qAtX", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", text], capture_output=True, text=True)
    if done.returncode != 0:
        fail(done.stderr)
    return done.stdout.splitlines()


def covers(operations, exceptions):
    """Every VOLATILE function of the extension has an operation, or a reason why not; nothing else is named."""
    there = set(query(
        "SELECT CASE n.nspname WHEN 'billing' THEN 'billing.' ELSE '' END || p.proname FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid"
        " JOIN pg_proc p ON p.oid = d.objid JOIN pg_namespace n ON n.oid = p.pronamespace"
        " WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e' AND e.extname = 'billing_rpc' AND p.provolatile = 'v'"))
    tested = {operation.function for operation in operations.values()}
    wrong = [f"{name} is VOLATILE and has neither an operation in operations.txt nor a reason in exceptions.txt"
             for name in sorted(there - tested - exceptions.function.keys())]
    wrong += [f"{name} is no VOLATILE function of the extension" for name in sorted((tested | exceptions.function.keys()) - there)]
    wrong += [f"{name} has operations, and a reason why not" for name in sorted(tested & exceptions.function.keys())]
    return wrong


def main(arguments):
    mode, accept = arguments[0], "--accept" in arguments
    names = [a for a in arguments[1:] if not a.startswith("--")]
    operations = read_operations("operations.txt")
    exceptions = read_exceptions(operations)
    for name in names:
        if name not in operations:
            fail(f"no operation is called {name}")
    wrong = covers(operations, exceptions)
    permutations = plan(operations, mode, names)
    before = world()
    wrong += planted(before, exceptions)
    outcomes = run(operations, permutations, before)
    gated = gates(operations, outcomes, before, mode)
    outcomes |= run(operations, gated, before)
    permutations += gated
    verdicts = {one: verdict for one in permutations if (verdict := judge(outcomes, one, operations, exceptions))}
    busy = [one for one in verdicts if may_leave_work(one, exceptions) and not outcomes[one].problems
            and not any((answer or "").startswith("ERROR") for answer in outcomes[one][:2])]
    if busy:
        outcomes |= run(operations, list({other: None for one in busy for other in rounds(one)}), before)
    for one in busy:
        verdicts[one] = judge_round(outcomes, one)
    outcomes |= run(operations, list({other: None for one in busy if verdicts[one] for other in lefts(one)}), before)
    for one in busy:
        verdicts[one] = judge_round(outcomes, one)
    unexplained = {one: verdict for one, verdict in verdicts.items() if verdict}
    wrong += [f"{name_of(one)}: {verdict}" for one, verdict in unexplained.items()]
    differences = compare(outcomes, before, operations, exceptions, accept)
    print("\n".join(wrong + differences))
    if not accept:
        wrong += differences + orphans(operations)
    simultaneous = sum(one.order not in ("alone", "serial") for one in permutations)
    refused = sum(retryable(outcomes[one].first) or retryable(outcomes[one].second) for one in permutations)
    print(f"pairs: {len(permutations)} permutations, {simultaneous} of two sessions at once: {len(unexplained)} not as in a serial order,"
          f" {len(busy)} left busy work to a next round, {refused} ended in 40001")
    pathlib.Path(os.environ["OUT"], "counts").write_text(f"{len(permutations) - len(unexplained)} {len(wrong)}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
