//! The raw `json` way of PostgREST: every byte counts, and each answer has its HTTP status.

use billing_wire::cluster::{Cluster, Database};
use billing_wire::session::{Call, Provider, Session};
use billing_wire::stripe::{self, SECRET};
use billing_wire::{Tested, paystack, random, run, sized, uuid};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::json;

pub fn add(add: &mut impl FnMut(&str, fn() -> Tested)) {
    add("raw_bodies::byte_for_byte", || run(byte_for_byte()));
    add("raw_bodies::http_statuses", || run(http_statuses()));
    add("raw_bodies::paystack_statuses", || run(paystack_statuses()));
    add("raw_bodies::headers", || run(headers()));
}

/// Bodies that a parser would not write back as they came.
fn odd_bodies(provider: Provider, tag: &str, user: &str) -> Vec<(&'static str, String)> {
    let with = |event_more: &str, object_more: &str| match provider {
        Provider::Paystack => format!(
            r#"{{"event":"charge.success"{event_more},"data":{{"id":{tag},"domain":"test","status":"success","reference":"raw{tag}","amount":1050,"currency":"usd","metadata":{{"credits":"10","user_id":"{user}"}}{object_more}}}}}"#
        ),
        Provider::Stripe => format!(
            r#"{{"id":"evt_raw{tag}","type":"checkout.session.completed"{event_more},"livemode":false,"created":1700000000,"data":{{"object":{{"id":"cs_raw{tag}","object":"checkout.session","mode":"payment","payment_status":"paid","amount_total":1050,"currency":"usd","metadata":{{"credits":"10","user_id":"{user}"}}{object_more}}}}}}}"#
        ),
    };
    let another = match provider {
        Provider::Stripe => r#"{"id":"evt_another","type":"price.created","data":{"object":{}},"#,
        Provider::Paystack => r#"{"event":"transfer.success","data":{"id":1},"#,
    };
    let plain = with("", "");
    let deep = format!("{}1{}", "[".repeat(2_000), "]".repeat(2_000));
    let deep_objects = format!("{}1{}", r#"{"a":"#.repeat(1_000), "}".repeat(1_000));
    let escaped_user: String = user.chars().map(|c| format!("\\u{:04X}", c as u32)).collect();
    let big = "x".repeat(sized(100_000, 900_000));
    vec![
        ("plain", plain.clone()),
        ("a newline at the end", format!("{plain}\n")),
        ("white space around", format!(" \t\r\n{plain} \r\n\t ")),
        ("white space within", plain.replace(':', " :\t").replace(',', "\r\n ,  ")),
        ("another order of keys", {
            let (head, data) = plain.split_at(plain.find(r#""data""#).expect("data"));
            format!("{{{},{}}}", &data[..data.len() - 1], &head[1..head.len() - 1])
        }),
        ("keys twice, the last counts", plain.replacen('{', another, 1)),
        (
            "credits twice",
            with("", r#","metadata":{"credits":"999999"},"metadata":{"credits":10,"user_id":"USER"}"#)
                .replace("USER", user),
        ),
        ("escapes", with(r#","note":"\u00e9\ud83d\ude00\/\b\f\"\\""#, "").replace(user, &escaped_user)),
        ("escaped keys", plain.replace(r#""metadata""#, r#""m\u0065t\u0061data""#)),
        ("raw unicode", with(",\"note\":\"é😀\u{2028}\u{200b}\u{feff}\"", "")),
        (
            "numbers",
            with(
                r#","n":[1e400,10.50,-0,0.1e-400,1E+2,123456789012345678901234567890,-0.0]"#,
                r#","amount_subtotal":1e400"#,
            ),
        ),
        ("a lone surrogate", with(r#","note":"\ud800","other":"\udc00\ud800""#, "")),
        ("an escaped nul", with(r#","note":"a\u0000b""#, r#","client_reference_id":"\u0000""#)),
        ("deep arrays", with(&format!(r#","deep":{deep}"#), &format!(r#","deep":{deep}"#))),
        ("deep objects", with(&format!(r#","deep":{deep_objects}"#), "")),
        ("a long text", with(&format!(r#","note":"{big}""#), "")),
        ("empty keys", with(r#","":{"":[]},"":null"#, r#","":"""#)),
    ]
}

/// The same JSON in other bytes: what a proxy that parses and writes again might make of it.
fn rewritten(body: &str) -> Vec<String> {
    let mut bodies = vec![format!("{body}\n"), format!(" {body}"), body.replacen(':', ": ", 1)];
    bodies.push(body.replacen("\"payment\"", "\"p\\u0061yment\"", 1));
    bodies.push(body.replacen("\"usd\"", "\"USD\"", 1));
    bodies.push(body.replacen("1050", "1051", 1));
    bodies.push(body.replacen("false", "true", 1));
    if let Some(trimmed) = body.strip_suffix('\n') {
        bodies.push(trimmed.to_owned());
    }
    bodies.retain(|changed| changed != body);
    bodies
}

async fn byte_for_byte() {
    let database = Cluster::shared().database().await;
    let admin = database.admin().await;
    let mut random = random(50);
    let (mut client, mut gateway) = (database.application(), database.gateway());
    let bodies = odd_bodies(Provider::Stripe, "", "").len();
    let both = [Provider::Stripe, Provider::Paystack];
    for (provider, number) in both.iter().flat_map(|provider| (0..bodies).map(|number| (*provider, number))) {
        let user = uuid(&mut random);
        let (what, body) = odd_bodies(provider, &format!("{number}"), &user).swap_remove(number);
        let header = provider.sign(&body);
        let rows = admin.rows().await;
        for changed in rewritten(&body) {
            let delivered = gateway.deliver_signed_to(provider, &changed, &header).await;
            let told = (delivered.status, delivered.answer.why());
            assert_eq!(told, (400, "invalid / signature_mismatch".to_owned()), "{what}");
        }
        flipped(&mut client, &mut random, provider, &body, &header).await;
        assert_eq!(admin.rows().await, rows, "{what}: a refused delivery writes nothing");

        let delivered = gateway.deliver_signed_to(provider, &body, &header).await;
        assert_eq!((delivered.status, delivered.answer.why().as_str()), (200, "applied"), "{what}");
        let id = match provider {
            Provider::Stripe => format!("evt_raw{number}"),
            Provider::Paystack => format!("charge.success:{number}"),
        };
        assert_eq!(delivered.answer.str("event_id"), id, "{what}");
        let balance = client.call(&Call::balance(&user)).await;
        assert_eq!(balance.get("balance").as_i64(), Some(10), "{what}");
        // The other way in, with the same bytes as text.
        let again = client.call(&provider.process(&body, &header)).await;
        assert_eq!((again.why().as_str(), again.get("result")), ("replay", delivered.answer.get("result")));
    }
}

/// Any other byte anywhere, JSON or not: through the text function, which takes every text.
async fn flipped(client: &mut Session, random: &mut StdRng, provider: Provider, body: &str, header: &str) {
    for _ in 0..sized(10, 200) {
        let mut bytes = body.as_bytes().to_vec();
        let place = random.random_range(0..bytes.len());
        match random.random_range(0..3) {
            0 => bytes[place] ^= 1 << random.random_range(0..7),
            1 => drop(bytes.remove(place)),
            _ => bytes.insert(place, b' '),
        }
        // Only what a text can hold can be passed; a NUL cannot.
        let Ok(changed) = String::from_utf8(bytes) else { continue };
        if changed == body || changed.contains('\0') {
            continue;
        }
        let answer = client.call(&provider.process(&changed, header)).await;
        assert_eq!(answer.why(), "invalid / signature_mismatch", "at {place}");
    }
}

fn completed(tag: &str, more: serde_json::Value) -> String {
    stripe::completed(&format!("evt_{tag}"), stripe::session(&format!("cs_{tag}"), 10, more))
}

async fn expect(gateway: &mut Session, body: &str, header: &str, status: u16, why: &str) {
    let delivered = gateway.deliver_signed(body, header).await;
    assert_eq!((delivered.status, delivered.answer.why().as_str()), (status, why), "{delivered:?}");
}

async fn http_statuses() {
    let database = Cluster::shared().database().await;
    let (mut client, mut gateway) = (database.application(), database.gateway());
    let user = json!({"metadata": {"user_id": "77"}});
    let body = completed("status", user.clone());
    let header = stripe::header(&body);
    let gateway = &mut gateway;

    // 400: the signature.
    expect(gateway, &body, "", 400, "invalid / signature_missing").await;
    for malformed in
        ["x", "t=,v1=", "t=1,t=2,v1=00", "t=01,v1=00", "t=-1,v1=00", "v1=00", "t=9999999999999999999999"]
    {
        expect(gateway, &body, malformed, 400, "invalid / signature_malformed").await;
    }
    let now = stripe::now();
    let good = stripe::v1(&body, SECRET, now);
    for mismatch in [
        stripe::header_at(&body, "whsec_another", now),
        stripe::header_at(&body, &SECRET["whsec_".len()..], now),
        format!("t={now}"),
        format!("t={now},v0={good}"),
        format!("t={now},v1={}", good.to_uppercase()),
        format!("t={now},v1= {good}"),
        format!("t={now},v1={good}0"),
        format!("t={},v1={good}", now - 1),
    ] {
        expect(gateway, &body, &mismatch, 400, "invalid / signature_mismatch").await;
    }
    for at in [now - 310, now + 310, 0, i64::MAX] {
        expect(gateway, &body, &stripe::header_at(&body, SECRET, at), 400, "invalid / signature_expired")
            .await;
    }
    // 400: the form.
    for no_event in ["{}", "[]", "null", "7", r#""x""#, r#"{"id":"evt_1","type":"x"}"#] {
        expect(gateway, no_event, &stripe::header(no_event), 400, "invalid / not_an_event").await;
    }
    let large = completed("large", json!({"note": "x".repeat(1_048_576)}));
    expect(gateway, &large, &stripe::header(&large), 400, "invalid / payload_too_large").await;

    // 409: an application holds the claim; 200 once it is done.
    let claim = client.call(&Call::claim("evt_status")).await;
    assert_eq!(claim.why(), "applied");
    expect(gateway, &body, &header, 409, "duplicate / in_progress").await;
    client.call(&Call::fail("evt_status", claim.str("claim_token"), "not today")).await;

    // 200: all that is durably known. Several v1 and unknown items in the header.
    let several = format!("t={now},v1={},v0=zz,,v2=1,v1={good}", "0".repeat(64));
    expect(gateway, &body, &several, 200, "applied").await;
    expect(gateway, &body, &header, 200, "replay").await;
    let other = body.replace("evt_status", "evt_status_2");
    expect(gateway, &other, &stripe::header(&other), 200, "duplicate / already_credited").await;
    expect(gateway, &other, &stripe::header(&other), 200, "replay").await;
    let unhandled = stripe::event("evt_status_3", "price.created", json!({"id": "price_1"})).to_string();
    expect(gateway, &unhandled, &stripe::header(&unhandled), 200, "ignored / event_type_not_handled").await;
    expect(gateway, &unhandled, &stripe::header(&unhandled), 200, "replay").await;
    let unpaid = completed("status_4", json!({"payment_status": "unpaid"}));
    expect(gateway, &unpaid, &stripe::header(&unpaid), 200, "ignored / payment_pending").await;
    let thin =
        json!({"id": "evt_status_5", "object": "v2.core.event", "type": "v1.billing.meter.x"}).to_string();
    expect(gateway, &thin, &stripe::header(&thin), 200, "ignored / thin_event").await;
    settings(&database, &mut client).await;
}

/// Statuses that settings and missing secrets bring about.
async fn settings(database: &Database, client: &mut Session) {
    let nobody = |tag: &str| completed(tag, json!({"customer": format!("cus_{tag}")}));
    let mut gateway = database.gateway();
    // Failed, and kept to be tried again: 200. Dead, and kept: 200.
    let body = nobody("dying");
    expect(&mut gateway, &body, &stripe::header(&body), 200, "failed / unknown_user").await;
    database.set("billing_rpc.max_attempts", "2").await;
    let mut gateway = database.gateway();
    expect(&mut gateway, &body, &stripe::header(&body), 200, "failed / unknown_user").await;
    expect(&mut gateway, &body, &stripe::header(&body), 200, "duplicate / dead").await;

    // Failed or dead, and nothing kept: the provider has to send it again.
    database.set("billing_rpc.payload_retention", "none").await;
    let mut gateway = database.gateway();
    let body = nobody("forgotten");
    expect(&mut gateway, &body, &stripe::header(&body), 500, "failed / unknown_user").await;
    expect(&mut gateway, &body, &stripe::header(&body), 500, "failed / unknown_user").await;
    expect(&mut gateway, &body, &stripe::header(&body), 500, "duplicate / dead").await;
    let kept = database
        .admin()
        .await
        .number("SELECT count(*) FROM billing.webhook_events WHERE payload IS NOT NULL")
        .await;
    assert_eq!(kept, 1, "only the one that died while bodies were kept");

    // The smallest tolerance means zero seconds, not "no check".
    database.set("billing_rpc.signature_tolerance_seconds", "0").await;
    let mut gateway = database.gateway();
    let old = stripe::header_at(&body, SECRET, stripe::now() - 2);
    expect(&mut gateway, &body, &old, 400, "invalid / signature_expired").await;
    database.set("billing_rpc.signature_tolerance_seconds", "300").await;

    // Rotation: two secrets at once, then only the new one, then none.
    let admin = database.admin().await;
    admin.run("SELECT billing.add_webhook_secret('stripe', 'whsec_new')").await;
    let mut gateway = database.gateway();
    let body = completed("rotated", json!({"metadata": {"user_id": "78"}}));
    let new = stripe::header_at(&body, "whsec_new", stripe::now());
    expect(&mut gateway, &body, &new, 200, "applied").await;
    expect(&mut gateway, &body, &stripe::header(&body), 200, "replay").await;
    let retire = "FROM billing.webhook_secret_list WHERE provider = 'stripe'";
    admin.run(&format!("SELECT billing.retire_webhook_secret(min(secret_id)) {retire}")).await;
    expect(&mut gateway, &body, &stripe::header(&body), 400, "invalid / signature_mismatch").await;
    expect(&mut gateway, &body, &new, 200, "replay").await;
    admin.run(&format!("SELECT billing.retire_webhook_secret(max(secret_id)) {retire}")).await;
    expect(&mut gateway, &body, &new, 500, "invalid / secret_missing").await;
    expect(&mut gateway, "{}", "", 500, "invalid / secret_missing").await;

    // The switch, where this version has it.
    client.call(&Call::balance("1")).await;
    let has_modes = "SELECT 1::text FROM pg_settings WHERE name = 'billing_rpc.webhook_mode'";
    let has_modes = client.client().await.query(has_modes, &[]).await.expect("settings");
    if !has_modes.is_empty() {
        database.set("billing_rpc.webhook_mode", "off").await;
        expect(&mut database.gateway(), &body, &new, 503, "invalid / webhooks_off").await;
    }
}

/// The same of Paystack's endpoint.
async fn paystack_statuses() {
    let database = Cluster::shared().database().await;
    let mut gateway = database.gateway();
    let charge = |id, credits: i64, more| {
        let data = paystack::charge(id, &format!("ref{id}"), credits, more);
        paystack::event("charge.success", data).to_string()
    };
    let body = charge(1, 10, json!({"metadata": {"user_id": "7"}}));
    let good = Provider::Paystack.sign(&body);
    let by_key = |key| paystack::signature(&body, key);
    let mut expect = async |body: &str, signature: &str, status: u16, why: &str| {
        let delivered = gateway.deliver_signed_to(Provider::Paystack, body, signature).await;
        assert_eq!((delivered.status, delivered.answer.why().as_str()), (status, why), "{delivered:?}");
    };
    expect(&body, "", 400, "invalid / signature_missing").await;
    for mismatch in [
        by_key("sk_test_another"),
        good.to_uppercase(),
        format!(" {good}"),
        format!("{good}\n"),
        format!("sha512={good}"),
        good[..64].to_owned(),
        format!("{good}00"),
        stripe::header(&body),
        "é".repeat(64),
        "\u{1}".to_owned(),
    ] {
        expect(&body, &mismatch, 400, "invalid / signature_mismatch").await;
    }
    for no_event in
        ["{}", "[]", "null", r#""x""#, r#"{"event":"charge.success"}"#, r#"{"event":1,"data":{}}"#]
    {
        expect(no_event, &Provider::Paystack.sign(no_event), 400, "invalid / not_an_event").await;
    }
    // 200: all that is durably known.
    expect(&body, &good, 200, "applied").await;
    // Nothing in the signature runs out: the event's identity is what makes a later delivery safe.
    expect(&body, &good, 200, "replay").await;
    let other = body.replace("\"id\":1,", "\"id\":2,");
    expect(&other, &Provider::Paystack.sign(&other), 200, "duplicate / already_credited").await;
    for (body, why) in [
        (charge(3, 10, json!({"status": "failed"})), "ignored / payment_failed"),
        (charge(4, 10, json!({"metadata": {"credits": null}})), "ignored / not_a_credit_purchase"),
        (charge(5, 10, json!({})), "failed / unknown_user"),
        (charge(6, 10, json!({"amount": "1.5", "metadata": {"user_id": "7"}})), "failed / object_malformed"),
        (
            paystack::event("transfer.success", json!({"id": 1})).to_string(),
            "ignored / event_type_not_handled",
        ),
        (
            paystack::event("subscription.expiring_cards", json!([])).to_string(),
            "ignored / event_type_not_handled",
        ),
    ] {
        expect(&body, &Provider::Paystack.sign(&body), 200, why).await;
    }
    let admin = database.admin().await;
    admin
        .run("SELECT billing.retire_webhook_secret(secret_id) FROM billing.webhook_secret_list WHERE provider = 'paystack'")
        .await;
    expect(&body, &good, 500, "invalid / secret_missing").await;
}

/// Whatever stands in `request.headers`, an answer comes.
async fn headers() {
    let database = Cluster::shared().database().await;
    let rows = database.admin().await.rows().await;
    let mut gateway = database.gateway();
    let body = completed("headers", json!({"metadata": {"user_id": "1"}}));
    let good = stripe::header(&body);
    for headers in [
        None,
        Some(String::new()),
        Some("not json".to_owned()),
        Some("[]".to_owned()),
        Some("{}".to_owned()),
        Some(r#"{"stripe-signature":null}"#.to_owned()),
        Some(r#"{"stripe-signature":{"t":1}}"#.to_owned()),
        Some(r#"{"stripe-signature":7}"#.to_owned()),
        Some(r#"{"stripe-signature":"\u0000"}"#.to_owned()),
        Some(r#"{"stripe-signature":"\ud800"}"#.to_owned()),
        Some(format!(r#"{{"Stripe-Signature":"{good}"}}"#)),
    ] {
        let delivered = gateway.try_deliver(&body, headers.as_deref()).await.expect("an answer");
        assert_eq!(delivered.status, 400, "{headers:?}");
        assert_eq!(delivered.answer.why(), "invalid / signature_missing", "{headers:?}");
        // The other provider's endpoint reads a header of its own only.
        let headers = headers.map(|headers| headers.replace("stripe-signature", "x-paystack-signature"));
        for headers in [headers, Some(json!({"stripe-signature": good}).to_string())] {
            let delivered = gateway
                .try_deliver_to(Provider::Paystack, &body, headers.as_deref())
                .await
                .expect("an answer");
            let told = (delivered.status, delivered.answer.why());
            assert_eq!(told, (400, "invalid / signature_missing".to_owned()), "{headers:?}");
        }
    }
    let long = format!(r#"{{"stripe-signature":"{}"}}"#, "v1=0,".repeat(10_000));
    let delivered = gateway.try_deliver(&body, Some(&long)).await.expect("an answer");
    assert_eq!((delivered.status, delivered.answer.why().as_str()), (400, "invalid / signature_malformed"));
    assert_eq!(database.admin().await.rows().await, rows);
}
