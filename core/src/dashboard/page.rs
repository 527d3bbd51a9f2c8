//! The page itself: head, verdict, sections; and what they are made of.

use super::figures::{Civil, counted, number, percent, time};
use super::html::Html;
use super::{Count, Dashboard, credits, events, health, subscriptions, troubles};
use crate::credits::account::Micros;
use crate::json;
use crate::webhooks::Status;

/// Nothing runs on the page and nothing is fetched by it: the icon is empty, so that no browser asks for one.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

/// The HTTP headers to send the page with, as PostgREST reads them, behind others that it was told before.
pub fn response_headers(before: Option<&str>) -> String {
    let policy = format!("{POLICY}; frame-ancestors 'none'");
    let ours = [
        ("Cache-Control", "no-store"),
        // Its last words count in a header only.
        ("Content-Security-Policy", &policy),
        ("Referrer-Policy", "no-referrer"),
        ("X-Content-Type-Options", "nosniff"),
    ];
    let before = before.and_then(json::elements).unwrap_or_default();
    let is_ours = |name: &str| ours.iter().any(|(ours, _)| ours.eq_ignore_ascii_case(name));
    let others = before
        .iter()
        .filter(|header| !header.object().is_some_and(|header| header.keys().any(|name| is_ours(&name))));
    let written = ours.map(|(name, value)| format!("{{\"{name}\": \"{value}\"}}"));
    let all: Vec<&str> =
        others.map(|header| header.raw()).chain(written.iter().map(String::as_str)).collect();
    format!("[{}]", all.join(", "))
}

/// The page as HTML.
pub fn page(data: &Dashboard) -> String {
    Html::document("en", |head| write_head(head, data), |body| write_body(body, data))
}

fn write_head(html: &mut Html, data: &Dashboard) {
    html.void("meta", &[("charset", "utf-8")]);
    html.void("meta", &[("name", "viewport"), ("content", "width=device-width, initial-scale=1")]);
    html.void("meta", &[("name", "color-scheme"), ("content", "light dark")]);
    html.void("meta", &[("name", "referrer"), ("content", "no-referrer")]);
    html.void("meta", &[("name", "robots"), ("content", "noindex, nofollow")]);
    html.void("meta", &[("http-equiv", "Content-Security-Policy"), ("content", POLICY)]);
    html.void("link", &[("rel", "icon"), ("href", "data:,")]);
    // First what a tab has room for.
    let title = match problems(data).len() {
        0 => "Billing".to_owned(),
        problems => format!("({problems}) Billing"),
    };
    html.words("title", &[], &title);
    html.style(include_str!("page.css"));
}

const SECTIONS: [(&str, &str); 7] = [
    ("#failures", "Failures"),
    ("#stuck", "Stuck"),
    ("#events", "Events"),
    ("#credits", "Credits"),
    ("#subscriptions", "Subscriptions"),
    ("#ledger", "Ledger"),
    ("#health", "Health"),
];

fn write_body(html: &mut Html, data: &Dashboard) {
    html.words("a", &[("class", "skip"), ("href", "#main")], "Skip to the content");
    html.element("header", &[], |html| {
        html.words("h1", &[], "Billing");
        html.element("p", &[("class", "soft")], |html| {
            html.text("As of ");
            if let Some(now) = Civil::of(data.now) {
                html.words("time", &[("datetime", &now.machine())], &now.full());
            }
            html.text("; reload to look again.");
        });
        html.element("nav", &[("aria-label", "Sections")], |html| {
            html.element("ul", &[], |html| {
                let shown =
                    SECTIONS.iter().filter(|(target, _)| *target != "#health" || !data.health.is_empty());
                for (target, name) in shown {
                    html.element("li", &[], |html| {
                        html.words("a", &[("href", target)], name);
                    });
                }
            });
        });
    });
    html.element("main", &[("id", "main")], |html| {
        write_verdict(html, data);
        write_figures(html, data);
        troubles::write_failures(html, data);
        troubles::write_stuck(html, data);
        events::write(html, data);
        credits::write(html, data);
        subscriptions::write(html, data);
        credits::write_entries(html, data);
        health::write(html, data);
    });
    html.element("footer", &[], |html| {
        html.words("p", &[], "Made by billing_rpc from the newest rows; times are UTC. The views of schema billing count everything.");
    });
}

/// What wants somebody's attention: where on the page, and in words.
fn problems(data: &Dashboard) -> Vec<(&'static str, String)> {
    let told = |count: Count, one: &str, several: &str| {
        let least = if count.more { "at least " } else { "" };
        format!("{least}{}", counted(count.counted.into(), one, several))
    };
    let mut problems = Vec::new();
    for (count, target, one, several) in [
        (data.dead.count(), "#failures", "event is dead", "events are dead"),
        (data.overdue.count(), "#stuck", "event is overdue", "events are overdue"),
        (data.ran_out.count(), "#stuck", "claim ran out", "claims ran out"),
        (data.failed.count(), "#failures", "failed event is tried again", "failed events are tried again"),
    ] {
        if count.counted > 0 {
            problems.push((target, told(count, one, several)));
        }
    }
    let failed = data.health.iter().filter(|check| !check.ok).count();
    if failed > 0 {
        let failed = i128::try_from(failed).unwrap_or(0);
        problems.push(("#health", counted(failed, "check is not ok", "checks are not ok")));
    }
    problems
}

fn write_verdict(html: &mut Html, data: &Dashboard) {
    let problems = problems(data);
    let is_new = data.events.hours.is_empty() && data.entries.is_empty();
    let class = if problems.is_empty() { "verdict good" } else { "verdict warn" };
    html.element("section", &[("class", class), ("aria-labelledby", "verdict")], |html| {
        if !problems.is_empty() {
            html.words("h2", &[("id", "verdict")], "Needs attention");
            html.element("ul", &[], |html| {
                for (target, words) in &problems {
                    html.element("li", &[], |html| {
                        html.words("a", &[("href", target)], words);
                    });
                }
            });
        } else if is_new {
            html.words("h2", &[("id", "verdict")], "Ready: no events yet");
            write_first_steps(html);
        } else {
            html.words("h2", &[("id", "verdict")], "All is well");
            html.words("p", &[], "No event failed, none is stuck.");
        }
    });
}

fn write_first_steps(html: &mut Html) {
    html.words("p", &[], "What comes next:");
    html.element("ol", &[], |html| {
        for (words, sql) in [
            (
                "Store the signing secret that the provider shows for your endpoint:",
                "SELECT billing.add_webhook_secret('stripe', 'whsec_...');",
            ),
            (
                "Let the provider post to it without a token of yours:",
                "GRANT EXECUTE ON FUNCTION stripe_webhook(json) TO anon;",
            ),
            ("Say what is sold:", "SELECT billing.define_pack('starter', 100, 900, 'eur');"),
        ] {
            html.element("li", &[], |html| {
                html.text(words);
                command(html, sql);
            });
        }
        html.words(
            "li",
            &[],
            "Send a test event from the provider's dashboard to /rpc/stripe_webhook, and reload this page.",
        );
    });
}

fn write_figures(html: &mut Html, data: &Dashboard) {
    let events = &data.events;
    let all = events.total(|_| true);
    let active: i128 = data
        .subscriptions
        .statuses
        .iter()
        .filter(|row| matches!(row.status.as_str(), "active" | "trialing"))
        .map(|row| i128::from(row.subscriptions))
        .sum();
    let (overdue, ran_out) = (data.overdue.count(), data.ran_out.count());
    let stuck = Count { counted: overdue.counted + ran_out.counted, more: overdue.more || ran_out.more };
    let since = if events.since.is_some() { "newest only" } else { "last 48 hours" };
    let completed = percent(events.total(|status| status == Status::Completed), all);
    section(html, "figures", "At a glance", |html| {
        html.element("dl", &[("class", "figures")], |html| {
            figure(html, "Events", &number(all), since);
            figure(html, "Completed", if all > 0 { &completed } else { "–" }, "of those");
            figure(html, "Failed", &at_least(data.failed.count()), "tried again");
            figure(html, "Dead", &at_least(data.dead.count()), "wait for you");
            figure(html, "Recorded", &at_least(data.recorded), "wait for a worker");
            figure(html, "In work", &at_least(data.claimed), "claimed now");
            figure(html, "Stuck", &at_least(stuck), "left alone");
            let more = if data.subscriptions.more { "+" } else { "" };
            figure(html, "Subscribers", &format!("{}{more}", number(active)), "active or trialing");
        });
    });
}

fn at_least(count: Count) -> String {
    format!("{}{}", number(count.counted.into()), if count.more { "+" } else { "" })
}

fn figure(html: &mut Html, name: &str, value: &str, what: &str) {
    html.element("div", &[], |html| {
        html.words("dt", &[], name);
        html.words("dd", &[], value);
        html.words("dd", &[("class", "soft")], what);
    });
}

/// A section with its heading.
pub fn section(html: &mut Html, id: &'static str, heading: &str, content: impl FnOnce(&mut Html)) {
    let heading_id = format!("{id}-heading");
    html.element("section", &[("id", id), ("class", "card"), ("aria-labelledby", &heading_id)], |html| {
        html.words("h2", &[("id", &heading_id)], heading);
        content(html);
    });
}

/// A sentence about what follows.
pub fn section_lead(html: &mut Html, text: &str) {
    html.words("p", &[("class", "soft")], text);
}

/// What stands where there is nothing to show.
pub fn hint(html: &mut Html, text: &str) {
    html.words("p", &[("class", "hint")], text);
}

/// Says from when on everything is counted, where that is not the whole time that the section shows.
pub fn since_note(html: &mut Html, what: &str, since: Option<Micros>, now: Micros) {
    let Some(since) = since else { return };
    html.element("p", &[("class", "note")], |html| {
        html.text(match what {
            "event" => "There are more events than this page reads. Counted are the newest, since ",
            _ => "There are more entries than this page reads. Summed are the newest, since ",
        });
        time(html, since, now);
        html.text(".");
    });
}

/// A box that scrolls sideways by itself, so that the page does not; it can be reached by the keyboard.
pub fn scroll(html: &mut Html, label: &str, content: impl FnOnce(&mut Html)) {
    let attributes = [("class", "scroll"), ("role", "group"), ("aria-label", label), ("tabindex", "0")];
    html.element("div", &attributes, content);
}

/// A box that is folded at first.
pub fn details(html: &mut Html, summary: &str, content: impl FnOnce(&mut Html)) {
    html.element("details", &[], |html| {
        html.words("summary", &[], summary);
        content(html);
    });
}

/// Something to type into psql.
pub fn command(html: &mut Html, sql: &'static str) {
    html.element("pre", &[], |html| {
        html.words("code", &[], sql);
    });
}

/// An hour as a label has it: `20 Nov, 18:00`.
pub fn hour_label(hour: Micros) -> String {
    Civil::of(hour).map(|civil| format!("{}, {}", civil.short_date(), civil.clock())).unwrap_or_default()
}
