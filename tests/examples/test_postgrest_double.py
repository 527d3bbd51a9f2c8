"""The double itself, against what is known of PostgREST (see the top of postgrest_double.py)."""

import http.client
import json
import unittest
import urllib.parse

from support import ExampleCase, checkout


class Double(ExampleCase):
    shared_database = True

    def setUp(self):
        super().setUp()
        self.api = self.postgrest()
        self.service = {"Authorization": "Bearer " + self.api.token("service_role")}

    def request(self, method, path, body=None, headers=None):
        """Status, headers and the text of the answer."""
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.api.url).netloc, timeout=30)
        self.addCleanup(connection.close)
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()

    def post(self, name, body, headers=None):
        status, _, text = self.request("POST", f"/rpc/{name}", body, {"Content-Type": "application/json", **(headers or {})})
        return status, json.loads(text) if text else None

    def test_a_composite_is_an_object_and_a_set_is_an_array(self):
        status, answer = self.post("grant_credits", {"user_id": "7", "credits": 5, "idempotency_key": "k"}, self.service)
        self.assertEqual((status, answer["reason"], answer["balance"]), (200, "applied", 5))
        status, answer = self.post("credit_history", {"user_id": "7"}, self.service)
        self.assertEqual((status, [entry["credits"] for entry in answer]), (200, [5]))
        self.assertEqual(self.post("credit_history", {"user_id": "8"}, self.service), (200, []))
        self.assertEqual(self.post("can_transition_subscription", {}, self.service), (200, False))
        status, answer = self.post("credit_history", {"user_id": "7"},
                                   {**self.service, "Accept": "application/vnd.pgrst.object+json"})
        self.assertEqual((status, answer["credits"]), (200, 5))

    def test_reading_by_get(self):
        self.db.execute("SELECT grant_credits('17', 5, 'by get')")
        status, _, text = self.request("GET", "/rpc/credit_balance?user_id=17", headers=self.service)
        self.assertEqual((status, json.loads(text)["balance"]), (200, 5))
        self.assertEqual(self.request("HEAD", "/rpc/credit_balance?user_id=17", headers=self.service)[2], "")
        status, _, text = self.request("GET", "/rpc/credit_history?user_id=7&max_rows=x", headers=self.service)
        self.assertEqual((status, json.loads(text)["code"]), (400, "22P02"))

    def test_arguments_as_a_form(self):
        status, _, text = self.request("POST", "/rpc/grant_credits", "user_id=ada%40example.com&credits=5&idempotency_key=a+b",
                                       {**self.service, "Content-Type": "application/x-www-form-urlencoded"})
        self.assertEqual((status, json.loads(text)["reason"]), (200, "applied"))
        self.assertEqual(self.balance("ada@example.com"), 5)

    def test_writing_by_get_or_in_a_reading_function_is_405(self):
        status, _, text = self.request("GET", "/rpc/grant_credits?user_id=7&credits=5&idempotency_key=never",
                                       headers=self.service)
        self.assertEqual((status, json.loads(text)["code"]), (405, "25006"))
        self.db.execute("CREATE SEQUENCE visits; GRANT USAGE ON SEQUENCE visits TO anon;"
                        " CREATE FUNCTION sly() RETURNS bigint LANGUAGE sql STABLE AS $$SELECT nextval('visits')$$;"
                        " CREATE FUNCTION frank() RETURNS bigint LANGUAGE sql AS $$SELECT nextval('visits')$$")
        status, answer = self.post("sly", {})
        self.assertEqual((status, answer["code"]), (405, "25006"))
        self.assertEqual(self.post("frank", {}), (200, 1))

    def test_what_no_function_takes_is_404(self):
        for name, arguments in (("grant_credit", {}), ("grant_credits", {"credit": 1})):
            status, answer = self.post(name, arguments, self.service)
            self.assertEqual((status, answer["code"]), (404, "PGRST202"), name)
        self.assertEqual(self.request("GET", "/customers")[0], 404)

    def test_who_may_not_is_401_or_403(self):
        self.assertEqual(self.post("grant_credits", {})[0], 401)
        status, answer = self.post("grant_credits", {}, {"Authorization": "Bearer " + self.api.token("authenticated")})
        self.assertEqual((status, answer["code"]), (403, "42501"))
        other = "Bearer " + self.postgrest(secret="another secret").token("service_role")
        self.assertEqual(self.post("grant_credits", {}, {"Authorization": other})[0], 401)
        late = "Bearer " + self.api.token("service_role", exp=1)
        self.assertEqual(self.post("grant_credits", {}, {"Authorization": late})[1]["code"], "PGRST303")

    def test_claims_and_headers_reach_the_function(self):
        self.db.execute("CREATE FUNCTION seen() RETURNS json LANGUAGE sql STABLE AS $$SELECT json_build_object("
                        "'role', current_user, 'claims', current_setting('request.jwt.claims')::json,"
                        "'headers', current_setting('request.headers')::json)$$")
        status, seen = self.post("seen", {}, {"X-Mixed-Case": "Yes",
                                              "Authorization": "Bearer " + self.api.token("authenticated", sub="7")})
        self.assertEqual((status, seen["role"], seen["claims"]["sub"]), (200, "authenticated", "7"))
        self.assertEqual(seen["headers"]["x-mixed-case"], "Yes")

    def test_a_raw_body_arrives_byte_for_byte(self):
        body = ' {"id":"evt_raw",  "type" : "x.y", "a":1,"a":2, "data":{"object":{"\\u00e9":"é"}}}\r\n'
        status, answer = self.post("stripe_webhook", body.encode(), {"Stripe-Signature": self.sign(body)})
        self.assertEqual((status, answer["reason"], answer["detail"]), (200, "ignored", "event_type_not_handled"))

    def test_the_function_sets_the_status_and_its_row_is_the_body(self):
        status, answer = self.post("stripe_webhook", checkout())
        self.assertEqual((status, answer["reason"], answer["detail"]), (400, "invalid", "signature_missing"), answer)

    def test_headers_from_the_function(self):
        self.db.execute("CREATE FUNCTION teapot() RETURNS void LANGUAGE sql AS $$"
                        """SELECT set_config('response.headers', '[{"X-Kind": "tea"}]', true),"""
                        " set_config('response.status', '418', true)$$")
        status, headers, text = self.request("POST", "/rpc/teapot")
        self.assertEqual((status, headers["X-Kind"], text), (418, "tea", ""))

    def test_bodies_that_are_not_json(self):
        for body in ("{", '{"a": NaN}', '{"a": "\\ud800"}', '[{"a": 1}, {"b": 1}]', b"\xff"):
            with self.subTest(body=body):
                status, answer = self.post("stripe_webhook", body)
                self.assertEqual((status, answer["code"]), (400, "PGRST102"))

    def test_a_bare_value_arrives_as_an_empty_array(self):
        self.db.execute("CREATE FUNCTION echo(json) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1::text'")
        for body in ("null", "true", "1", '"x"'):
            self.assertEqual(self.post("echo", body), (200, "[]"))
        self.assertEqual(self.post("echo", "[1, 2]"), (200, "[1, 2]"))

    def test_of_an_array_of_arguments_the_first_counts(self):
        self.assertEqual(self.post("grant_credits", [{"user_id": "27", "credits": n, "idempotency_key": f"k{n}"}
                                                     for n in (5, 6)], self.service)[1]["balance"], 5)
        self.assertEqual(self.balance("27"), 5)

    def test_a_query_beside_a_body_is_a_filter(self):
        status, _, text = self.request("POST", "/rpc/stripe_webhook?apikey=k", {}, {"Content-Type": "application/json"})
        self.assertEqual((status, json.loads(text)["code"]), (400, "PGRST100"))

    def test_a_media_type_is_served_as_itself(self):
        self.db.execute("""CREATE DOMAIN "text/html" AS text;
                           CREATE FUNCTION page() RETURNS "text/html" LANGUAGE sql STABLE AS $$SELECT '<p>hello</p>'$$""")
        status, headers, text = self.request("GET", "/rpc/page", headers={"Accept": "text/html,*/*;q=0.8"})
        self.assertEqual((status, headers["Content-Type"], text), (200, "text/html; charset=utf-8", "<p>hello</p>"))
        self.assertEqual(self.request("GET", "/rpc/page", headers={"Accept": "application/json"})[0], 406)

    def test_the_status_of_sql_errors(self):
        self.db.execute("CREATE FUNCTION fails(code text) RETURNS void LANGUAGE plpgsql AS"
                        " $$BEGIN RAISE EXCEPTION USING ERRCODE = code, MESSAGE = 'it failed', HINT = 'a hint'; END$$")
        for code, expected in (("40001", 500), ("40P01", 500), ("55P03", 500), ("57014", 500), ("53300", 503),
                               ("57P01", 503), ("23505", 409), ("22023", 400), ("P0001", 400), ("XX001", 500),
                               ("PT418", 418)):
            with self.subTest(code=code):
                status, answer = self.post("fails", {"code": code})
                self.assertEqual((status, answer["code"], answer["message"], answer["hint"]),
                                 (expected, code, "it failed", "a hint"))

    def test_a_gateway_wants_its_key(self):
        self.api = self.postgrest(gateway=True)
        key = self.api.token("anon")
        path, body = "/rest/v1/rpc/stripe_webhook", json.dumps(checkout(metadata={"pack": "starter", "user_id": "37"}))
        headers = {"Content-Type": "application/json", "Stripe-Signature": self.sign(body)}
        self.assertEqual(self.request("POST", path, body, headers)[0], 401)
        self.assertEqual(self.request("POST", path, body, {**headers, "apikey": "key"})[0], 401)
        self.assertEqual(self.request("POST", path, body, {**headers, "apikey": key, "Authorization": f"Bearer {key}"})[0], 200)


if __name__ == "__main__":
    unittest.main()
