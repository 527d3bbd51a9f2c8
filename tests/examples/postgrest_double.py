"""A double of PostgREST for tests: it speaks to Postgres as PostgREST does, for functions only.

What it does as PostgREST 12 and later do:
  - POST, GET and HEAD of /rpc/<name>: named parameters from the JSON object, the form or the query; a single unnamed json,
    text or bytea parameter gets the body byte for byte
  - one transaction per request, as the role of the token (HS256) or as anon, with request.headers (lower-cased
    names), request.jwt.claims, request.method and request.path; read-only for GET and for functions that are not
    VOLATILE
  - a composite is answered as an object, SETOF as an array; response.status and response.headers are obeyed; a
    return type that is a domain named like a media type is answered as that type
  - errors: the status for each SQLSTATE, PGRST202 for what no function takes, PGRST102 for bodies that are not JSON

What it is not: tables and views, filters and embedding, schema cache, pool, OpenAPI, CORS; `Prefer` is ignored. It
looks functions up anew for each request, and takes a connection for each. Not for anything but tests.

With `gateway` it stands below /rest/v1 and wants a token in the header `apikey` as well, as hosted gateways do.
"""

import base64
import hashlib
import hmac
import http.server
import json
import threading
import time
import urllib.parse

import psycopg
from psycopg import sql

# By the longest prefix of the SQLSTATE; anything else is 400. 42501 depends on who asks.
STATUS_OF = {
    "08": 503, "09": 500, "0L": 403, "0P": 403, "23503": 409, "23505": 409, "25006": 405, "25": 500, "28": 403,
    "2D": 500, "38": 500, "39": 500, "3B": 500, "40": 500, "42883": 404, "42P01": 404, "42P17": 500, "53400": 500,
    "53": 503, "54": 500, "55": 500, "57P01": 503, "57": 500, "58": 500, "F0": 500, "HV": 500, "P0001": 400,
    "P0": 500, "XX": 500,
}
RAW_BODY_TYPES = {"application/json": "json", "text/plain": "text", "application/octet-stream": "bytea"}

FUNCTIONS = """
    SELECT p.proname, coalesce(p.proargnames, '{}'), p.pronargdefaults, p.provolatile, p.proretset,
           ARRAY(SELECT format_type(a.type, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY AS a (type, n) ORDER BY n),
           r.typname, r.typtype = 'c' OR r.oid = 'record'::regtype, r.typtype = 'd' AND r.typname LIKE '%%/%%'
    FROM pg_proc p JOIN pg_type r ON r.oid = p.prorettype
    WHERE p.pronamespace = %s::regnamespace AND p.proname = %s AND p.prokind = 'f'"""


class Refused(Exception):
    """An answer that is not the function's."""

    def __init__(self, status, code, message, details=None, hint=None):
        super().__init__(message)
        self.status = status
        self.body = {"code": code, "details": details, "hint": hint, "message": message}


class Function:
    def __init__(self, row):
        (self.name, names, defaults, self.volatile, self.is_set, types, self.returns, self.composite, self.media) = row
        self.types = types
        # Names of OUT parameters and of columns come after those of the input.
        self.parameters = dict(zip(names[:len(types)], types)) if names else {}
        self.required = set(names[:len(types) - defaults])
        self.raw = types[0] if len(types) == 1 and (not names or names[0] == "") else None

    def takes(self, given):
        return self.raw is None and self.required <= set(given) <= set(self.parameters)

    @property
    def read_only(self):
        return self.volatile != "v"


def token(secret, role=None, **claims):
    """A signed token, as a login service would give it."""
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    claims = claims if role is None else {"role": role, **claims}
    signed = part({"alg": "HS256", "typ": "JWT"}) + "." + part(claims)
    mac = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
    return signed + "." + base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def claims_of(secret, given):
    """What a token claims, if its signature and its time are right."""
    def decoded(part):
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))

    try:
        head, body, signature = given.split(".")
        expected = hmac.new(secret.encode(), f"{head}.{body}".encode(), hashlib.sha256).digest()
        right = json.loads(decoded(head)).get("alg") == "HS256" and hmac.compare_digest(decoded(signature), expected)
        claims = json.loads(decoded(body))
    except (ValueError, UnicodeDecodeError, AttributeError):
        right = False
    if not right:
        raise Refused(401, "PGRST301", "No suitable key or wrong key type")
    if claims.get("exp", time.time()) < time.time() - 30:
        raise Refused(401, "PGRST303", "JWT expired")
    return claims


def json_body(raw):
    """The body read as JSON by stricter rules than Python's: no NaN, no unpaired surrogate."""
    def not_json(_):
        raise ValueError("not a number of JSON")

    try:
        body = json.loads(raw.decode(), parse_constant=not_json)
        json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, UnicodeError, RecursionError):
        raise Refused(400, "PGRST102", "Empty or invalid json") from None
    if isinstance(body, list) and len({frozenset(row) if isinstance(row, dict) else None for row in body}) > 1:
        raise Refused(400, "PGRST102", "All object keys must match")
    return body


class Postgrest:
    def __init__(self, database, schema="public", secret="a-secret-of-at-least-32-characters", gateway=False):
        self.database, self.schema, self.secret, self.gateway = database, schema, secret, gateway
        self.prefix = "/rest/v1" if gateway else ""
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def token(self, role=None, **claims):
        return token(self.secret, role, **claims)

    def answer(self, method, target, headers, raw):
        """Status, headers and body of the answer to one request."""
        path, _, query = target.partition("?")
        claims = None
        try:
            name = self.routed(path, headers)
            claims = self.claims(headers)
            return self.call(method, path, name, query, headers, claims, raw)
        except Refused as refused:
            return refused.status, {}, json.dumps(refused.body).encode()
        except psycopg.Error as error:
            return self.sql_error(error, claims)

    def routed(self, path, headers):
        if self.gateway:
            if "apikey" not in headers:
                raise Refused(401, None, "No API key found in request")
            claims_of(self.secret, headers["apikey"])
        if not path.startswith(self.prefix + "/rpc/"):
            raise Refused(404, "PGRST125", "Invalid path specified in request URL")
        profile = headers.get("content-profile") or headers.get("accept-profile") or self.schema
        if profile != self.schema:
            raise Refused(406, "PGRST106", f"Invalid schema: {profile}")
        return urllib.parse.unquote(path.removeprefix(self.prefix + "/rpc/"))

    def claims(self, headers):
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return {}
        return claims_of(self.secret, given.strip())

    def call(self, method, path, name, query, headers, claims, raw):
        with psycopg.connect(dbname=self.database, user="authenticator", autocommit=True) as db:
            candidates = [Function(row) for row in db.execute(FUNCTIONS, [self.schema, name])]
            if method == "POST":
                function, statement, values = self.posted(name, candidates, query, headers, raw)
            elif method in ("GET", "HEAD"):
                function, statement, values = self.asked(name, candidates, query)
            else:
                raise Refused(405, "PGRST101", f"Cannot use the {method} method on RPC")
            media = self.media_type(function, headers.get("accept", "*/*"))
            read_only = function.read_only or method != "POST"
            db.execute("BEGIN READ ONLY" if read_only else "BEGIN READ WRITE")
            db.execute(
                "SELECT set_config('search_path', %s, true), set_config('role', %s, true),"
                " set_config('request.jwt.claims', %s, true), set_config('request.method', %s, true),"
                " set_config('request.path', %s, true), set_config('request.headers', %s, true)",
                [self.schema, claims.get("role", "anon"), json.dumps(claims), method, path, json.dumps(headers)])
            [(body, rows, status, more)] = db.execute(self.aggregated(function, media, statement), values).fetchall()
            if "pgrst.object" in media and function.is_set and rows != 1:
                raise Refused(406, "PGRST116", "Cannot coerce the result to a single JSON object",
                              f"The result contains {rows} rows")
            db.execute("COMMIT")
        return self.answered(function, media, body, status, more)

    def posted(self, name, candidates, query, headers, raw):
        for parameter, value in urllib.parse.parse_qsl(query, keep_blank_values=True):
            raise Refused(400, "PGRST100", f'"failed to parse filter ({value})" (line 1, column 1)',
                          f"the double knows no filters: {parameter}")
        content = headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if content == "application/x-www-form-urlencoded":
            return self.asked(name, candidates, raw.decode())
        body = json_body(raw) if content == "application/json" and raw else {}
        first = (body[0] if body else {}) if isinstance(body, list) else body
        given = first if isinstance(first, dict) else {}
        if content == "application/json":
            for function in candidates:
                if function.takes(given):
                    values = [json.dumps(given)] if given else []
                    return function, self.named(function, given), values
        for function in candidates:
            if function.raw is not None and function.raw == RAW_BODY_TYPES.get(content):
                if content == "application/json" and not isinstance(body, (dict, list)):
                    raw = b"[]"
                value = raw if function.raw == "bytea" else raw.decode()
                return function, self.applied(function, sql.SQL("%s::") + sql.SQL(function.raw)), [value]
        raise self.not_found(name, given)

    def named(self, function, given):
        """A call whose arguments come out of one JSON object, so that Postgres reads their types."""
        if not given:
            return self.applied(function, sql.SQL(""))
        columns = sql.SQL(", ").join(sql.Identifier(name) + sql.SQL(" " + function.parameters[name]) for name in given)
        arguments = sql.SQL(", ").join(
            sql.SQL("{0} := (SELECT {0} FROM body)").format(sql.Identifier(name)) for name in given)
        body = sql.SQL("WITH body AS MATERIALIZED (SELECT * FROM json_to_record(%s::json) AS _ ({})) ").format(columns)
        return body + self.applied(function, arguments)

    def asked(self, name, candidates, query):
        given = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        for function in candidates:
            if function.takes(given):
                arguments = sql.SQL(", ").join(
                    sql.SQL("{} := CAST(CAST(%s AS text) AS {})").format(
                        sql.Identifier(parameter), sql.SQL(function.parameters[parameter])) for parameter in given)
                return function, self.applied(function, arguments), list(given.values())
        raise self.not_found(name, given)

    def applied(self, function, arguments):
        call = sql.SQL("{}({})").format(sql.Identifier(self.schema, function.name), arguments)
        if function.composite:
            return sql.SQL("SELECT * FROM {}").format(call)
        return sql.SQL("SELECT {} AS scalar").format(call)

    def not_found(self, name, given):
        names = ", ".join(sorted(given))
        return Refused(404, "PGRST202", f"Could not find the function {self.schema}.{name}({names}) in the schema cache",
                       "Searched for the function, but no matches were found in the schema cache.")

    def media_type(self, function, accept):
        wanted = [item.partition(";")[0].strip() for item in accept.split(",")]
        offered = [function.returns] if function.media else [
            "application/json", "application/vnd.pgrst.object+json", "application/vnd.pgrst.object"]
        for media in wanted:
            if media in offered:
                return media
            if media in ("*/*", offered[0].partition("/")[0] + "/*"):
                return offered[0]
        raise Refused(406, "PGRST107", "None of these media types are available: " + ", ".join(wanted))

    def aggregated(self, function, media, statement):
        if function.media:
            body = "max(_answer.scalar::text)"
        elif function.composite:
            body = "coalesce(json_agg(_answer), '[]')" if function.is_set else "json_agg(_answer) -> 0"
        else:
            body = ("coalesce(json_agg(_answer.scalar), '[]')" if function.is_set else "json_agg(_answer.scalar) -> 0")
        if function.is_set and "pgrst.object" in media:
            body = f"({body})::json -> 0"
        text = body if function.media else f"({body})::text"
        return sql.SQL("SELECT {}, count(*), nullif(current_setting('response.status', true), ''),"
                       " nullif(current_setting('response.headers', true), '') FROM ({}) AS _answer").format(
            sql.SQL(text), statement)

    def answered(self, function, media, body, status, more):
        headers = {"Content-Type": f"{media}; charset=utf-8"}
        for header in json.loads(more or "[]"):
            headers.update(header)
        if function.returns == "void":
            return int(status or 204), headers, b""
        return int(status or 200), headers, (body if body is not None else "null").encode()

    def sql_error(self, error, claims):
        code = error.sqlstate or "08006"
        status = next((STATUS_OF[code[:n]] for n in (5, 4, 3, 2) if code[:n] in STATUS_OF), 400)
        headers = {}
        if code == "42501":
            status = 403 if (claims or {}).get("role", "anon") != "anon" else 401
            headers = {} if status == 403 else {"WWW-Authenticate": "Bearer"}
        if code.startswith("PT"):
            status = int(code[2:]) if code[2:].isdigit() else 500
        body = {"code": code, "details": error.diag.message_detail, "hint": error.diag.message_hint,
                "message": error.diag.message_primary}
        return status, headers, json.dumps(body).encode()

    def handler(double):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def respond(self):
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                # Of a header that comes twice the last one stays.
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, more, body = double.answer(self.command, self.path, headers, raw)
                self.send_response(status)
                for name, value in {"Content-Type": "application/json; charset=utf-8", **more}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = respond

            def log_message(self, *_):
                pass

        return Handler
