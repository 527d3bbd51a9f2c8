//! The whole page, as a browser's parser reads it.

use std::sync::LazyLock;

use html5ever::tendril::TendrilSink;
use markup5ever_rcdom::{Handle, NodeData, RcDom};
use proptest::prelude::*;

use super::*;

/// An element as it was parsed.
pub struct Element {
    pub name: String,
    pub attributes: Vec<(String, String)>,
    pub text: String,
    pub parent: String,
}

impl Element {
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// All elements in their order, the document's whole text, and what the parser complained of.
pub struct Parsed {
    pub elements: Vec<Element>,
    pub errors: Vec<String>,
    pub comments: usize,
}

pub fn parse(html: &str) -> Parsed {
    let dom = html5ever::parse_document(RcDom::default(), Default::default()).one(html);
    let mut parsed = Parsed {
        elements: Vec::new(),
        errors: dom.errors.borrow().iter().map(ToString::to_string).collect(),
        comments: 0,
    };
    walk(&dom.document, "", &mut parsed);
    parsed
}

fn walk(node: &Handle, parent: &str, parsed: &mut Parsed) {
    let mut name = parent.to_owned();
    match &node.data {
        NodeData::Element { name: tag, attrs, .. } => {
            name = tag.local.to_string();
            parsed.elements.push(Element {
                name: name.clone(),
                attributes: attrs
                    .borrow()
                    .iter()
                    .map(|a| (a.name.local.to_string(), a.value.to_string()))
                    .collect(),
                text: text_of(node),
                parent: parent.to_owned(),
            });
        }
        NodeData::Comment { .. } => parsed.comments += 1,
        _ => {}
    }
    for child in node.children.borrow().iter() {
        walk(child, &name, parsed);
    }
}

fn text_of(node: &Handle) -> String {
    match &node.data {
        NodeData::Text { contents } => contents.borrow().to_string(),
        _ => node.children.borrow().iter().map(text_of).collect(),
    }
}

/// 2026-11-21 18:15:26 UTC.
const NOW: Micros = 848_600_126_000_000;

fn empty() -> Dashboard {
    Dashboard { now: NOW, ..Dashboard::default() }
}

/// A page on which every text is the given one.
fn full(text: &str) -> Dashboard {
    let text = || text.to_owned();
    let trouble = |detail: Option<String>, next_attempt_at| Trouble {
        provider: text(),
        event_id: text(),
        event_type: text(),
        received_at: NOW - HOUR,
        next_attempt_at,
        attempts: 3,
        detail,
        message: text(),
        payload_kept: true,
    };
    let stuck = || Stuck { provider: text(), event_id: text(), event_type: text(), since: NOW - HOUR };
    Dashboard {
        now: NOW,
        events: Events {
            hours: vec![HourOfEvents { hour: NOW - HOUR, status: Status::Completed, events: 5 }],
            types: vec![TypeOfEvents { event_type: text(), status: Status::Failed, events: 5 }],
            since: Some(NOW - 2 * HOUR),
            more_types: true,
        },
        failed: Bounded { rows: vec![trouble(Some("unknown_user".into()), Some(NOW))], more: false },
        dead: Bounded { rows: vec![trouble(Some(text()), None), trouble(None, None)], more: true },
        ran_out: Bounded { rows: vec![stuck()], more: false },
        overdue: Bounded { rows: vec![stuck()], more: true },
        recorded: Count { counted: 2, more: true },
        claimed: Count { counted: 2, more: false },
        refetches: Count { counted: 1, more: false },
        credits: Credits {
            days: vec![DayOfCredits { credit_type: text(), day: NOW, added: 7, taken: 3 }],
            since: Some(NOW - DAY),
        },
        subscriptions: Subscriptions {
            statuses: vec![StatusOfSubscriptions {
                status: text(),
                subscriptions: 2,
                ending: 1,
                unlinked: 1,
            }],
            more: true,
        },
        entries: vec![Entry {
            entry_id: 1,
            created_at: NOW - SECOND,
            customer_id: text(),
            kind: text(),
            credits: 7,
            balance_after: 7,
            credit_type: text(),
            source_ref: Some(text()),
        }],
        health: vec![
            Check { name: text(), ok: true, advice: text() },
            Check { name: text(), ok: false, advice: text() },
        ],
    }
}

/// The shape of a page: its elements, and which attributes they have, whatever their values. A page that a parser
/// complains of has none.
fn shape(html: &str) -> Vec<String> {
    let names =
        |element: &Element| element.attributes.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let parsed = parse(html);
    assert_eq!((parsed.errors, parsed.comments), (Vec::new(), 0));
    let shape =
        |element: &Element| format!("{}>{} {}", element.parent, element.name, names(element).join(" "));
    parsed.elements.iter().map(shape).collect()
}

#[test]
fn a_parser_has_nothing_to_complain_of() {
    for data in [empty(), full("plain")] {
        let parsed = parse(&page(&data));
        assert_eq!(parsed.errors, Vec::<String>::new());
        assert_eq!(parsed.comments, 0);
    }
}

#[test]
fn nothing_runs_and_nothing_is_fetched() {
    for data in [empty(), full("plain")] {
        for element in parse(&page(&data)).elements {
            assert!(
                !["script", "img", "iframe", "object", "embed", "form", "base", "image", "use"]
                    .contains(&&*element.name),
                "{}",
                element.name
            );
            for (name, value) in &element.attributes {
                assert!(!name.starts_with("on") && name != "style" && name != "src", "{name}");
                let is_local = value.starts_with('#') || (element.name == "link" && value == "data:,");
                assert!(name != "href" || is_local, "{value}");
            }
            assert!(
                element.name != "style"
                    || !element.text.contains("url(") && !element.text.contains("@import")
            );
        }
    }
}

#[test]
fn headings_and_labels_are_in_order() {
    for data in [empty(), full("plain")] {
        let elements = parse(&page(&data)).elements;
        let ids: Vec<_> = elements.iter().filter_map(|element| element.attribute("id")).collect();
        for (place, id) in ids.iter().enumerate() {
            assert!(!ids[..place].contains(id), "{id} twice");
        }
        let mut level = 0;
        for element in &elements {
            for name in ["aria-labelledby", "aria-describedby"] {
                assert!(
                    element.attribute(name).is_none_or(|id| ids.contains(&id)),
                    "{name} of {}",
                    element.name
                );
            }
            if let Some(target) = element.attribute("href").and_then(|href| href.strip_prefix('#')) {
                assert!(ids.contains(&target), "{target}");
            }
            if let Some(heading) = element.name.strip_prefix('h').and_then(|rest| rest.parse::<usize>().ok())
            {
                assert!(heading <= level + 1, "a heading is left out before {}", element.text);
                level = heading;
            }
            assert!(element.name != "th" || element.attribute("scope").is_some());
        }
        let count = |name: &str| elements.iter().filter(|element| element.name == name).count();
        assert_eq!(count("table"), count("caption"));
        assert_eq!([count("h1"), count("main"), count("header"), count("footer"), count("nav")], [1; 5]);
    }
}

#[test]
fn the_policy_of_the_page_and_of_its_headers() {
    let policy =
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";
    let elements = parse(&page(&empty())).elements;
    let told: Vec<_> = elements.iter().filter(|element| element.attribute("http-equiv").is_some()).collect();
    assert_eq!(told.iter().map(|meta| meta.attribute("content")).collect::<Vec<_>>(), [Some(policy)]);
    let read = |before: Option<&str>| {
        serde_json::from_str::<serde_json::Value>(&response_headers(before)).expect("JSON")
    };
    let ours = read(None);
    assert_eq!(ours[0]["Cache-Control"], "no-store");
    assert_eq!(ours[1]["Content-Security-Policy"], format!("{policy}; frame-ancestors 'none'"));
    assert_eq!(ours.as_array().map(Vec::len), Some(4));
    // What another function has set stays; what is no list of headers does not.
    assert_eq!(read(Some(r#"[{"X-A": "1"}]"#))[0]["X-A"], "1");
    assert_eq!(read(Some(r#"[{"X-A": "1"}]"#)).as_array().map(Vec::len), Some(5));
    let again = response_headers(None);
    assert_eq!(read(Some(&again)), ours, "asked for twice in one transaction");
    assert_eq!(read(Some(r#"[{"cache-control": "public"}]"#)), ours);
    for before in ["", "[", "{}", "null", "[}"] {
        assert_eq!(read(Some(before)), ours, "{before}");
    }
}

#[test]
fn the_hours_and_days_shown_end_with_the_present_ones() {
    let at = |text: &str| crate::time::parse(text).expect("a time");
    let now = at("2026-11-21T18:15:26Z");
    assert_eq!(first_hour(now), at("2026-11-19T19:00Z"));
    assert_eq!(first_day(now), at("2026-10-23"));
    assert_eq!(first_hour(at("2026-11-21T18:00Z")), at("2026-11-19T19:00Z"));
    assert_eq!(first_day(at("1999-01-31T00:00Z")), at("1999-01-02"));
}

#[test]
fn bounds_are_told() {
    assert_eq!(Bounded::of(vec![1, 2, 3], 2).rows, [1, 2]);
    assert_eq!(Bounded::of(vec![1, 2, 3], 2).count(), Count { counted: 2, more: true });
    assert_eq!(Bounded::of(vec![1, 2], 2).count(), Count { counted: 2, more: false });
}

/// The text of the elements of that name that have such an attribute.
fn texts(html: &str, name: &str) -> Vec<String> {
    parse(html)
        .elements
        .iter()
        .filter(|element| element.name == name)
        .map(|element| element.text.clone())
        .collect()
}

#[test]
fn an_empty_page_says_what_comes_next() {
    let page = page(&empty());
    assert_eq!(texts(&page, "title"), ["Billing"]);
    assert_eq!(
        texts(&page, "h2"),
        [
            "Ready: no events yet",
            "At a glance",
            "Failures",
            "Stuck",
            "Events received",
            "Credits in and out",
            "Subscriptions",
            "Last entries of the ledger"
        ]
    );
    assert!(texts(&page, "ol")[0].contains("billing.add_webhook_secret"));
    assert!(texts(&page, "svg").is_empty() && texts(&page, "table").is_empty());
}

#[test]
fn what_wants_attention_comes_first() {
    let checks = vec![Check { ok: true, ..Check::default() }, Check::default()];
    let data =
        Dashboard { failed: Bounded::default(), ran_out: Bounded::default(), health: checks, ..full("x") };
    let html = page(&data);
    assert_eq!(texts(&html, "title")[0], "(3) Billing");
    assert_eq!(texts(&html, "h2")[0], "Needs attention");
    let items = texts(&html, "li");
    assert!(items.contains(&"at least 2 events are dead".to_owned()), "{items:?}");
    assert!(items.contains(&"at least 1 event is overdue".to_owned()), "{items:?}");

    assert!(items.contains(&"1 check is not ok".to_owned()), "{items:?}");

    let calm =
        Dashboard { dead: Bounded::default(), overdue: Bounded::default(), health: Vec::new(), ..data };
    assert_eq!(texts(&page(&calm), "h2")[0], "All is well");
}

#[test]
fn bars_stand_in_their_hour_and_day() {
    let hours = [NOW - 47 * HOUR, NOW, NOW + 5 * HOUR, NOW - 48 * HOUR];
    let hours = hours.map(|hour| HourOfEvents { hour, status: Status::Dead, events: 1 });
    let data = Dashboard { events: Events { hours: hours.to_vec(), ..Events::default() }, ..empty() };
    let heights: Vec<usize> = parse(&page(&data))
        .elements
        .iter()
        .filter(|element| element.name == "rect" && element.attribute("class") == Some("up"))
        .map(|bar| bar.attribute("x").and_then(|x| x.parse().ok()).expect("a number"))
        .collect();
    assert_eq!(heights, [1, 471], "the first and the last; what is older is left out");

    let sums = [(NOW, 5, 0), (NOW - 29 * DAY, 0, 9), (NOW - 30 * DAY, 7, 7)];
    let days =
        sums.map(|(day, added, taken)| DayOfCredits { credit_type: "credits".into(), day, added, taken });
    let data = Dashboard { credits: Credits { days: days.to_vec(), ..Credits::default() }, ..empty() };
    let html = page(&data);
    assert_eq!(texts(&html, "tr")[1..], ["2026-11-21+50+5", "2026-10-230−9−9"]);
}

#[test]
fn no_number_is_too_large() {
    let mut data = full("x");
    for sum in &mut data.credits.days {
        (sum.added, sum.taken) = (i128::MAX, i128::MAX);
    }
    for hour in &mut data.events.hours {
        hour.events = i64::MAX;
    }
    data.entries[0].credits = i64::MIN;
    for now in [Micros::MIN / 2, 0, Micros::MAX / 2] {
        assert_eq!(parse(&page(&Dashboard { now, ..data.clone() })).errors, Vec::<String>::new());
    }
}

#[test]
fn nothing_planted_becomes_markup() {
    let plain = shape(&page(&full("plain")));
    for planted in [
        "<script>alert(1)</script>\"'&",
        "</title></style></script><img src=x onerror=alert(1)>",
        "--><svg onload=alert(1)>",
        "\" onmouseover=\"alert(1)",
        "' onfocus='alert(1)",
        "]]><!--",
        "</textarea></code></table></main>",
        "&lt;script&gt;&#60;&amp;",
        "javascript:alert(1)",
    ] {
        let html = page(&full(planted));
        assert_eq!(shape(&html), plain, "{planted}");
        assert!(
            parse(&html).elements.iter().any(|element| element.name == "code" && element.text == planted)
        );
    }
}

proptest! {
    // A page takes as long as dozens of smaller cases.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 8, ..ProptestConfig::default() })]

    /// Any text, in every place at once: the elements and their attributes stay the same, and no parser complains.
    #[test]
    fn any_text_stays_text(text in "[\\PC\\pC<>&\"'/=`-]{1,60}") {
        let html = page(&full(&text));
        static PLAIN: LazyLock<Vec<String>> = LazyLock::new(|| shape(&page(&full("plain"))));
        prop_assert_eq!(&shape(&html), &*PLAIN);
    }
}
