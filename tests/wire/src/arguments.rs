//! Arguments for every function of the extension: the functions as the catalogue lists them, so that a new one
//! is covered by itself, and values of their parameters' types, from sensible to as odd as Postgres can read.

use std::collections::BTreeMap;
use std::path::Path;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use crate::session::{Admin, Provider};

/// A function of the extension.
#[derive(Clone, Debug)]
pub struct Function {
    /// With its schema.
    pub name: String,
    pub parameters: Vec<Parameter>,
    /// Whether clients call it; else operators do.
    pub is_for_clients: bool,
    /// A role that may execute it; none: the superuser calls it.
    pub role: Option<String>,
}

/// A parameter: an empty name is none.
#[derive(Clone, Debug)]
pub struct Parameter {
    pub name: String,
    pub sql_type: String,
}

impl Function {
    /// The call, each argument a bound text that is cast.
    pub fn sql(&self) -> String {
        format!("SELECT to_jsonb(x)::text FROM {}({}) x", self.name, self.casts())
    }

    /// The casts alone.
    pub fn casts(&self) -> String {
        let casts = self.parameters.iter().enumerate();
        let casts: Vec<String> =
            casts.map(|(place, given)| format!("${}::text::{}", place + 1, given.sql_type)).collect();
        casts.join(", ")
    }
}

/// The functions that can be called; those of triggers cannot.
pub async fn functions(admin: &Admin) -> Vec<Function> {
    let rows = admin
        .texts(
            "SELECT jsonb_build_object(
                 'name', p.pronamespace::regnamespace::text || '.' || p.proname,
                 'names', coalesce(to_jsonb(p.proargnames[1:p.pronargs]), '[]'),
                 'types', (SELECT coalesce(jsonb_agg(format_type(a.type, NULL) ORDER BY a.place), '[]')
                           FROM unnest(p.proargtypes) WITH ORDINALITY a (type, place)),
                 'clients', p.pronamespace <> 'billing'::regnamespace,
                 'role', (SELECT r.rolname FROM unnest(ARRAY['wire_application', 'billing_user', 'billing_webhook'])
                              WITH ORDINALITY r (rolname, place)
                          WHERE p.pronamespace <> 'billing'::regnamespace
                              AND has_function_privilege(r.rolname, p.oid, 'EXECUTE') ORDER BY r.place LIMIT 1))::text
             FROM pg_proc p
             JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
             JOIN pg_extension e ON d.refobjid = e.oid AND e.extname = 'billing_rpc'
             WHERE p.prorettype <> 'trigger'::regtype AND p.prorettype <> 'event_trigger'::regtype
             ORDER BY p.oid::regprocedure::text",
        )
        .await;
    rows.iter().flatten().map(|row| function(&serde_json::from_str(row).expect("JSON"))).collect()
}

fn function(row: &Value) -> Function {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let types = row["types"].as_array().expect("types").iter();
    let parameters = types
        .enumerate()
        .map(|(place, sql_type)| Parameter { name: text(&row["names"][place]), sql_type: text(sql_type) })
        .collect();
    Function {
        name: text(&row["name"]),
        parameters,
        is_for_clients: row["clients"] == true,
        role: row["role"].as_str().map(str::to_owned),
    }
}

/// Values that mean something here: those of the stage, and what calls answered.
pub struct Pool {
    by_name: BTreeMap<String, Vec<String>>,
    uuids: Vec<String>,
    numbers: Vec<String>,
    /// Events of the providers, to be changed in places and signed.
    events: Vec<Value>,
}

const KEPT: usize = 50;

impl Pool {
    /// With the bodies of a folder.
    pub fn new(folder: &Path) -> Pool {
        let entries =
            std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        let read = |path| {
            let text = std::fs::read_to_string(path).expect("a readable file");
            serde_json::from_str(&text).expect("JSON")
        };
        let events = paths.iter().map(read).collect();
        let mut pool = Pool { by_name: BTreeMap::new(), uuids: Vec::new(), numbers: Vec::new(), events };
        for (name, values) in SENSIBLE {
            for value in *values {
                pool.learn(name, value);
            }
        }
        pool
    }

    /// Keeps a value under the name of a parameter or of an answer's column.
    pub fn learn(&mut self, name: &str, value: &str) {
        // Old ones go: what calls answer last is what later calls can still do something with.
        let keep = |values: &mut Vec<String>| {
            if !values.iter().any(|known| known == value) {
                values.push(value.to_owned());
            }
            if values.len() > KEPT {
                values.remove(KEPT / 2);
            }
        };
        if value.len() > 300 {
            return;
        }
        keep(self.by_name.entry(name.to_owned()).or_default());
        if value.len() == 36 && value.matches('-').count() == 4 {
            keep(&mut self.uuids);
        } else if value.parse::<i64>().is_ok() {
            keep(&mut self.numbers);
        }
    }

    /// Keeps what a row says.
    pub fn learn_row(&mut self, row: &Value) {
        for (column, value) in row.as_object().into_iter().flatten() {
            match value {
                Value::String(text) => self.learn(column, text),
                Value::Number(number) => self.learn(column, &number.to_string()),
                _ => {}
            }
        }
    }

    fn known(&self, random: &mut StdRng, parameter: &Parameter) -> Option<String> {
        let name = match parameter.name.as_str() {
            "identifier" => "user_id",
            "before_entry_id" => "entry_id",
            name => name,
        };
        let named = self.by_name.get(name).map_or(&[][..], Vec::as_slice);
        let typed = match parameter.sql_type.as_str() {
            "uuid" => &self.uuids,
            "bigint" => &self.numbers,
            _ => &Vec::new(),
        };
        named.choose(random).or_else(|| typed.choose(random)).cloned()
    }

    /// A value for the parameter: one that means something, or with that chance any at all.
    pub fn value(&self, random: &mut StdRng, parameter: &Parameter, odd: f64) -> Option<String> {
        let sql_type = parameter.sql_type.as_str();
        if !random.random_bool(odd) {
            let known = self.known(random, parameter);
            // A text's value may name what the type cannot hold.
            if known.as_ref().is_none_or(|known| fits(sql_type, known)) {
                return known;
            }
        }
        if sql_type == "text"
            && random.random_bool(0.3)
            && let Some(known) = self.known(random, parameter)
        {
            return Some(mutated(random, &known));
        }
        any_value(random, sql_type)
    }

    /// An event with some places changed, and who sends it.
    pub fn event(&self, random: &mut StdRng) -> (Provider, String) {
        let mut event = self.events.choose(random).expect("an event").clone();
        let provider = if event.get("event").is_some() { Provider::Paystack } else { Provider::Stripe };
        if random.random_bool(0.9) {
            // Else one of the folder's own: a replay.
            event["id"] = json!(format!("evt_any_{:x}", random.random::<u64>()));
        }
        let mut odd = Vec::new();
        for _ in 0..random.random_range(0..4) {
            let mark = format!("\u{1}{}\u{1}", odd.len());
            replace_somewhere(random, &mut event, json!(mark));
            odd.push((json!(mark).to_string(), json_text(random)));
        }
        let mut body = event.to_string();
        for (mark, text) in odd {
            body = body.replace(&mark, &text);
        }
        (provider, body)
    }
}

/// What makes calls go deep, by the name of a parameter.
const SENSIBLE: &[(&str, &[&str])] = &[
    (
        "user_id",
        &["7", "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee", "any@wire.example", "cus_any", "CUS_any", "8"],
    ),
    ("email", &["any@wire.example", "other@wire.example"]),
    ("legacy_id", &["7", "8", "9"]),
    ("stripe_customer_id", &["cus_any", "cus_other"]),
    ("paystack_customer_code", &["CUS_any", "CUS_other"]),
    ("credits", &["1", "5", "20", "1000"]),
    ("credit_type", &["credits", "credits", "tokens"]),
    ("amount_minor", &["5000", "100"]),
    ("currency", &["ngn", "usd"]),
    ("metadata", &["{}", r#"{"note":"any"}"#]),
    ("expires_at", &["2100-01-01", "2020-01-01"]),
    ("priority", &["0", "1"]),
    ("ttl_seconds", &["1", "900"]),
    ("plan", &["any_plan"]),
    ("pack", &["any_pack", "starter"]),
    ("provider", &["stripe", "paystack", "other"]),
    ("event_type", &["wire.test", "invoice.paid"]),
    ("gateway_status", &["success", "failed", "pending"]),
    ("interval_unit", &["day", "week", "month", "year"]),
    ("interval_count", &["1", "12"]),
    ("max_rows", &["1", "1000"]),
    ("max_events", &["1", "100"]),
    ("status", &["active", "canceled"]),
    ("from_status", &["active", "canceled", "incomplete"]),
    ("to_status", &["active", "canceled", "incomplete"]),
    ("branch_ids", &["{}", "{a,b}"]),
    ("main_branch_id", &["a"]),
    ("relation", &["billing.customers", "public.any_users"]),
    ("id_column", &["user_id", "id"]),
    ("email_column", &["email"]),
    ("secrets", &["{whsec_any}"]),
    (
        "operations",
        &[
            r#"[{"op":"grant","user_id":"7","credits":5,"idempotency_key":"any batch"},{"op":"spend","user_id":"7","credits":1,"idempotency_key":"any spend"}]"#,
        ],
    ),
    ("subscription", &[r#"{"id":"sub_any","customer":"cus_any","status":"active"}"#]),
];

fn fits(sql_type: &str, value: &str) -> bool {
    match sql_type {
        "uuid" => value.len() == 36,
        "integer" => value.parse::<i32>().is_ok(),
        "bigint" => value.parse::<i64>().is_ok(),
        "jsonb" | "json" => value.starts_with(['{', '[']),
        "text[]" => value.starts_with('{'),
        "text" => true,
        "timestamp with time zone" => value.starts_with("20") && value.len() < 40,
        _ => false,
    }
}

/// Unicode's white space.
pub const WHITE_SPACE: [char; 25] = [
    '\u{9}', '\u{a}', '\u{b}', '\u{c}', '\u{d}', ' ', '\u{85}', '\u{a0}', '\u{1680}', '\u{2000}', '\u{2001}',
    '\u{2002}', '\u{2003}', '\u{2004}', '\u{2005}', '\u{2006}', '\u{2007}', '\u{2008}', '\u{2009}',
    '\u{200a}', '\u{2028}', '\u{2029}', '\u{202f}', '\u{205f}', '\u{3000}',
];

/// Any value of the type that Postgres can read; null sometimes.
pub fn any_value(random: &mut StdRng, sql_type: &str) -> Option<String> {
    if random.random_bool(0.06) {
        return None;
    }
    Some(match sql_type {
        "text" => any_text(random),
        "integer" => whole(random, i32::MIN.into(), i32::MAX.into()),
        "bigint" => whole(random, i64::MIN, i64::MAX),
        "boolean" => random.random_bool(0.5).to_string(),
        "uuid" => any_uuid(random),
        "jsonb" | "json" => json_text(random),
        "timestamp with time zone" => time(random),
        "interval" => interval(random),
        "bytea" => bytes(random),
        "text[]" => texts(random),
        "bigint[]" => list_of(random, |random| whole(random, i64::MIN, i64::MAX)),
        "timestamp with time zone[]" => list_of(random, |random| format!("\"{}\"", time(random))),
        "regclass" => pick(
            random,
            &["billing.customers", "pg_catalog.pg_class", "pg_catalog.pg_views", "0", "4294967295"],
        ),
        // So that a new type is not passed over in silence.
        other => panic!("no values are made of type {other} yet"),
    })
}

/// Of such elements, and nulls.
fn list_of(random: &mut StdRng, element: fn(&mut StdRng) -> String) -> String {
    let length = random.random_range(0..4);
    let elements: Vec<String> = (0..length)
        .map(|_| if random.random_bool(0.2) { "NULL".to_owned() } else { element(random) })
        .collect();
    format!("{{{}}}", elements.join(","))
}

fn pick(random: &mut StdRng, values: &[&str]) -> String {
    (*values.choose(random).expect("a value")).to_owned()
}

fn whole(random: &mut StdRng, least: i64, most: i64) -> String {
    let near = [0, 1, 2, 100, 255, 256, 1_000, 100_000, 31_622_400, 2_592_000, least, most];
    let value = near.choose(random).expect("one").saturating_add(random.random_range(-2..=2));
    let wild = least.saturating_add(random.random_range(0..=most));
    let value = if random.random_bool(0.2) { wild } else { value };
    let value = if random.random_bool(0.2) { value.saturating_neg() } else { value };
    value.clamp(least, most).to_string()
}

fn any_uuid(random: &mut StdRng) -> String {
    match random.random_range(0..3) {
        0 => "00000000-0000-0000-0000-000000000000".to_owned(),
        1 => "{FFFFFFFF-ffff-ffff-ffff-ffffffffffff}".to_owned(),
        _ => crate::uuid(random),
    }
}

fn any_char(random: &mut StdRng) -> char {
    match random.random_range(0..8) {
        0 => *WHITE_SPACE.choose(random).expect("one"),
        1 => char::from(random.random_range(1..32_u8)),
        2 => *[
            '\u{7f}',
            '\u{80}',
            '\u{9f}',
            '\u{ad}',
            '\u{200b}',
            '\u{200d}',
            '\u{202e}',
            '\u{2066}',
            '\u{feff}',
            '\u{fffd}',
            '\u{fffe}',
            '\u{ffff}',
            '\u{10ffff}',
            '\u{e000}',
            '\u{d7ff}',
        ]
        .choose(random)
        .expect("one"),
        3 => char::from_u32(random.random_range(0x300..0x370)).unwrap_or('x'),
        4 => *['ß', 'İ', 'ı', 'ſ', 'K', 'Å', 'ﬁ', '٤', '𝟜', 'ǅ', 'Σ', 'ς'].choose(random).expect("one"),
        5 => char::from_u32(random.random_range(1..0x11_0000)).unwrap_or('😀'),
        _ => char::from(random.random_range(33..127_u8)),
    }
}

/// A text that is some bytes long, of characters that straddle the end.
fn of_bytes(random: &mut StdRng, bytes: usize) -> String {
    let filler = *['x', 'é', '漢', '😀', '\u{301}'].choose(random).expect("one");
    let mut text: String = std::iter::repeat_n(filler, bytes / filler.len_utf8()).collect();
    while text.len() < bytes {
        text.insert(0, 'x');
    }
    text
}

/// Texts that some code would trip over.
const ODD_TEXTS: &[&str] = &[
    "",
    " ",
    "null",
    "undefined",
    "NaN",
    "<id>",
    "{{user_id}}",
    "${user}",
    "0",
    "-1",
    "+1",
    "01",
    "1.0",
    "1e3",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "99999999999999999999999999",
    " 42",
    "42 ",
    "٤٢",
    "a@b",
    "a@@b.de",
    "a b@c.de",
    "A@B.DE",
    "a@ß.de",
    "İ@x.de",
    "cus_",
    "CUS_",
    "cus_ x",
    "cus_any",
    "pi_any",
    "cs_any",
    "stripe:cs_any",
    "stripe:pi_any",
    "paystack:any",
    "stripe:",
    ":",
    "in_1#plan",
    "billing_rpc:mine",
    "usd",
    "USD",
    "uſd",
    "t=1,v1=00",
    "t=1",
    ",,,",
    "t=99999999999999999999,v1=0",
    "t=-1,v1=0",
    "t=1,t=2,v1=a",
    "'; DROP TABLE billing.ledger; --",
    "\" OR 1=1 --",
    "%s%n%x",
    "\\",
    "$1",
    "$$",
    "{}",
    "[]",
    "{\"a\":1}",
    "billing.ledger",
    "billing.customers",
    "pg_catalog.pg_class",
    "information_schema.tables",
    "pg_toast.x",
    "a.b.c.d",
    "\"",
    "\"a",
    "a.\"b",
    ".",
    "..",
    "a..b",
    "billing.",
    "pg_temp.x",
    "wire_none.billing.ledger",
    "1",
    "-",
    "*",
    "ctid",
    "tableoid",
    "xmin",
    "user_id",
    "customer_id",
    "day",
    "DAY",
    "stripe",
    "Stripe",
    "paystack",
    "active",
    "infinity",
    "now",
    "epoch",
    "true",
    "{a,b}",
    "{",
    "}",
    "\u{1}",
    "\u{feff}",
    "\u{ffff}",
    "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee",
    "{AAAAAAAA-BBBB-4CCC-8DDD-EEEEEEEEEEEE}",
    "aaaaaaaabbbb4ccc8dddeeeeeeeeeeee",
];

/// Any text but for NUL, which no text of Postgres can hold.
pub fn any_text(random: &mut StdRng) -> String {
    match random.random_range(0..100) {
        0 => of_bytes(random, 1_000_000),
        1..8 => {
            let length = random.random_range(1..4);
            (0..length).map(|_| *WHITE_SPACE.choose(random).expect("one")).collect()
        }
        8..30 => {
            let limit = *[63, 247, 254, 255, 16_384].choose(random).expect("one");
            let bytes = limit + random.random_range(0..3) - 1;
            of_bytes(random, bytes)
        }
        30..60 => {
            let length = random.random_range(1..40);
            (0..length).map(|_| any_char(random)).collect()
        }
        60..65 => whole(random, i64::MIN, i64::MAX),
        _ => pick(random, ODD_TEXTS),
    }
}

/// One that means something, with a small change.
fn mutated(random: &mut StdRng, known: &str) -> String {
    let mut chars: Vec<char> = known.chars().collect();
    let place = random.random_range(0..=chars.len());
    match random.random_range(0..5) {
        0 => chars.insert(place, any_char(random)),
        1 => chars.truncate(place),
        2 => chars.extend(known.chars()),
        3 => return known.to_uppercase(),
        _ => {
            let white = *WHITE_SPACE.choose(random).expect("one");
            if random.random_bool(0.5) { chars.push(white) } else { chars.insert(0, white) }
        }
    }
    chars.into_iter().collect()
}

fn time(random: &mut StdRng) -> String {
    if random.random_bool(0.2) {
        return format!(
            "{}-06-15 12:00:00.{:06}",
            random.random_range(1_u32..9_999),
            random.random_range(0..1_000_000)
        );
    }
    pick(
        random,
        &[
            "infinity",
            "-infinity",
            "294276-12-31 23:59:59.999999+00",
            "4714-11-24 00:00:00+00 BC",
            "epoch",
            "now",
            "2000-01-01",
            "1999-12-31 23:59:59.999999",
            "0001-01-01",
            "0001-12-31 BC",
            "2100-02-28 24:00:00",
            "2026-06-15 12:00:60",
            "2026-06-15 12:00+15:59",
        ],
    )
}

fn interval(random: &mut StdRng) -> String {
    if random.random_bool(0.3) {
        let months = whole(random, i32::MIN.into(), i32::MAX.into());
        let days = whole(random, i32::MIN.into(), i32::MAX.into());
        let hours = random.random_range(-2_562_047_788_i64..2_562_047_788);
        return format!("{months} months {days} days {hours} hours");
    }
    pick(
        random,
        &[
            "0",
            "1 microsecond",
            "-1 microsecond",
            "1 day",
            "-1 day",
            "1 month -30 days",
            "178956970 years 7 months",
            "-178956970 years -8 months",
            "2147483647 days",
            "-2147483648 days",
            "2562047788:00:54.775807",
            "-2562047788:00:54.775808",
            "2147483647 months 2147483647 days 2562047788:00:54.775807",
            "1 day -24 hours",
            "366 days",
            "100 years",
            "1000000 years",
        ],
    )
}

fn bytes(random: &mut StdRng) -> String {
    let length = *[0, 1, 16, 64, 1_000].choose(random).expect("one");
    let length = if random.random_bool(0.02) { 1_000_000 } else { length };
    let hex: String = (0..length).map(|_| format!("{:02x}", random.random::<u8>())).collect();
    format!("\\x{hex}")
}

fn texts(random: &mut StdRng) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    match random.random_range(0..20) {
        0 => format!("{{{}}}", vec!["x"; 100_000].join(",")),
        1 => format!("{{{}}}", vec!["NULL"; 100_000].join(",")),
        2 => "{{a,b},{c,d}}".to_owned(),
        3 => "{{a,NULL},{NULL,\"\"}}".to_owned(),
        4 => "[5:6]={a,b}".to_owned(),
        5 => "[-2147483648:-2147483647]={a,b}".to_owned(),
        6 => "{{{{{{x}}}}}}".to_owned(),
        _ => {
            let length = random.random_range(0..6);
            let element = |_| match random.random_range(0..4) {
                0 => "NULL".to_owned(),
                1 => pick(random, &["a", "a", "b", "price_any"]),
                _ => quoted(&any_text(random)),
            };
            format!("{{{}}}", (0..length).map(element).collect::<Vec<_>>().join(","))
        }
    }
}

/// A JSON document as text: small ones mostly, sometimes 10^4 deep or 10^5 keys wide.
pub fn json_text(random: &mut StdRng) -> String {
    match random.random_range(0..200) {
        0 => deep(random, 10_000),
        1 => wide(100_000),
        2 => format!("[{}]", vec!["0"; 100_001].join(",")),
        3 => json!({ "a": "x".repeat(1_000_000) }).to_string(),
        4..12 => {
            let levels = random.random_range(1..300);
            deep(random, levels)
        }
        _ => small_json(random, 4),
    }
}

fn deep(random: &mut StdRng, levels: usize) -> String {
    let (open, close) = *[("[", "]"), (r#"{"a":"#, "}"), (r#"[{"":"#, "}]")].choose(random).expect("one");
    format!("{}1{}", open.repeat(levels), close.repeat(levels))
}

/// An object of so many keys.
pub fn wide(keys: usize) -> String {
    let members: Vec<String> = (0..keys).map(|key| format!("\"k{key}\":{key}")).collect();
    format!("{{{}}}", members.join(","))
}

/// Keys that are looked for somewhere, and odd ones.
const KEYS: &[&str] = &[
    "id",
    "type",
    "op",
    "user_id",
    "credits",
    "idempotency_key",
    "metadata",
    "pack",
    "customer",
    "status",
    "items",
    "data",
    "object",
    "amount",
    "currency",
    "created",
    "sub",
    "role",
    "stripe-signature",
    "x-paystack-signature",
    "object_id",
    "object_type",
    "email",
    "plan",
    "current_period_end",
    "",
    " ",
    "a.b",
    "\u{1}",
    "é",
    "__proto__",
];

fn small_json(random: &mut StdRng, depth: usize) -> String {
    let kinds = if depth == 0 { 4 } else { 8 };
    match random.random_range(0..kinds) {
        0 => pick(random, &["null", "true", "false"]),
        1 => pick(
            random,
            &[
                "0",
                "-0",
                "1",
                "-1",
                "5",
                "5000",
                "1.5",
                "1e3",
                "1e-3",
                "9223372036854775807",
                "9223372036854775808",
                "-9223372036854775809",
                "1e400",
                "-1e400",
                "1e131071",
                "123456789012345678901234567890",
                "0.10",
                "1752000000",
                "253402300800",
            ],
        ),
        2 | 3 => {
            let text = if random.random_bool(0.5) { pick(random, ODD_TEXTS) } else { any_text(random) };
            json!(text).to_string()
        }
        4 | 5 => {
            let length = random.random_range(0..4);
            let elements: Vec<String> = (0..length).map(|_| small_json(random, depth - 1)).collect();
            format!("[{}]", elements.join(","))
        }
        _ => {
            let length = random.random_range(0..6);
            let mut members = Vec::new();
            for _ in 0..length {
                let key = json!(pick(random, KEYS)).to_string();
                members.push(format!("{key}:{}", small_json(random, depth - 1)));
            }
            format!("{{{}}}", members.join(","))
        }
    }
}

/// Puts the value at a place anywhere in the document.
fn replace_somewhere(random: &mut StdRng, document: &mut Value, value: Value) {
    let mut here = document;
    loop {
        let stop = random.random_bool(0.25);
        let count = match &*here {
            Value::Object(members) => members.len(),
            Value::Array(elements) => elements.len(),
            _ => 0,
        };
        if count == 0 || stop {
            *here = value;
            return;
        }
        let place = random.random_range(0..count);
        here = match here {
            Value::Object(members) => members.values_mut().nth(place).expect("a member"),
            Value::Array(elements) => &mut elements[place],
            other => other,
        };
    }
}
