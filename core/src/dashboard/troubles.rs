//! The sections of what went wrong: failures by reason with what to do, and events that nobody takes care of.

use super::figures::{counted, number, shortened, time};
use super::html::Html;
use super::page::{command, details, hint, scroll, section, section_lead};
use super::{Bounded, Dashboard, Stuck, Trouble, advice};
use crate::outcome::Detail;

/// How many events of one reason are shown at once.
const EXAMPLES: usize = 5;
/// How much of a message is shown.
const MESSAGE: usize = 300;
/// How much of an id is shown.
const ID: usize = 80;

/// What failed for one reason.
struct Reason<'a> {
    detail: Option<&'a str>,
    dead: Vec<&'a Trouble>,
    failed: Vec<&'a Trouble>,
}

/// By reason: most dead first, then most failed.
fn reasons(data: &Dashboard) -> Vec<Reason<'_>> {
    let mut reasons: Vec<Reason> = Vec::new();
    let dead = data.dead.rows.iter().map(|trouble| (trouble, true));
    for (trouble, is_dead) in dead.chain(data.failed.rows.iter().map(|trouble| (trouble, false))) {
        let detail = trouble.detail.as_deref();
        let place = reasons.iter().position(|reason| reason.detail == detail).unwrap_or_else(|| {
            reasons.push(Reason { detail, dead: Vec::new(), failed: Vec::new() });
            reasons.len() - 1
        });
        if let Some(reason) = reasons.get_mut(place) {
            if is_dead { &mut reason.dead } else { &mut reason.failed }.push(trouble);
        }
    }
    reasons.sort_by_key(|reason| std::cmp::Reverse((reason.dead.len(), reason.failed.len())));
    reasons
}

/// Writes the section of failures.
pub fn write_failures(html: &mut Html, data: &Dashboard) {
    section(html, "failures", "Failures", |html| {
        if data.dead.rows.is_empty() && data.failed.rows.is_empty() {
            hint(html, "None: no event has failed and waits for another attempt, and none is dead.");
            return;
        }
        section_lead(
            html,
            "Failed events are tried again by themselves, with longer and longer pauses; dead ones failed too often and wait for you.",
        );
        for (more, what) in [(data.dead.more, "dead"), (data.failed.more, "failed")] {
            if more {
                section_lead(
                    html,
                    &format!(
                        "There are more {what} events than this page reads; billing.failed_events lists them all."
                    ),
                );
            }
        }
        for reason in reasons(data) {
            html.element("article", &[("class", "reason")], |html| write_reason(html, data, &reason));
        }
        details(html, "Trying a dead event again, or giving it up", |html| {
            html.words("p", &[], "Once the cause is mended, the first makes a dead event due at once; the second completes a failed or dead one without any effect. Both are for the owner of the database, not for this page's role.");
            command(
                html,
                "SELECT * FROM billing.revive_event('stripe', 'evt_...');\nSELECT * FROM billing.dismiss_event('stripe', 'evt_...');",
            );
        });
    });
}

fn write_reason(html: &mut Html, data: &Dashboard, reason: &Reason) {
    let known = reason.detail.and_then(Detail::parse);
    html.element("h3", &[], |html| {
        match reason.detail {
            Some(detail) => html.words("code", &[], &shortened(detail, ID)),
            None => html.text("Reported by your application"),
        };
        for (events, more, class, one) in [
            (reason.dead.len(), data.dead.more, "badge bad", "dead"),
            (reason.failed.len(), data.failed.more, "badge warn", "failed"),
        ] {
            if events > 0 {
                html.text(" ");
                let least = if more { "at least " } else { "" };
                let count = number(i128::try_from(events).unwrap_or(0));
                html.words("span", &[("class", class)], &format!("{least}{count} {one}"));
            }
        }
    });
    if let Some(detail) = known {
        html.words("p", &[], detail.meaning());
    }
    html.element("p", &[("class", "todo")], |html| {
        html.words("strong", &[], "What to do");
        html.text(" ");
        html.text(advice::of(if reason.detail.is_none() { None } else { known.or(Some(Detail::Dead)) }));
    });
    write_examples(html, data, reason, known);
}

fn write_examples(html: &mut Html, data: &Dashboard, reason: &Reason, known: Option<Detail>) {
    let name = reason.detail.unwrap_or("reported by your application");
    let label = format!("Events: {}", shortened(name, ID));
    let all = reason
        .dead
        .iter()
        .map(|event| (event, "dead"))
        .chain(reason.failed.iter().map(|event| (event, "failed")));
    let count = reason.dead.len() + reason.failed.len();
    let caption = match count > EXAMPLES {
        true => format!("{EXAMPLES} of {}", counted(i128::try_from(count).unwrap_or(0), "event", "events")),
        false => counted(i128::try_from(count).unwrap_or(0), "event", "events"),
    };
    scroll(html, &label, |html| {
        html.element("table", &[], |html| {
            html.words("caption", &[], &caption);
            html.element("thead", &[], |html| {
                html.element("tr", &[], |html| {
                    for name in ["Event", "Status", "Received", "Next attempt"] {
                        html.words("th", &[("scope", "col")], name);
                    }
                    html.words("th", &[("scope", "col"), ("class", "n")], "Attempts");
                });
            });
            html.element("tbody", &[], |html| {
                for (event, status) in all.take(EXAMPLES) {
                    write_example(html, data, event, status, known);
                }
            });
        });
    });
}

fn write_example(html: &mut Html, data: &Dashboard, event: &Trouble, status: &str, known: Option<Detail>) {
    html.element("tr", &[], |html| {
        html.element("th", &[("scope", "row"), ("class", "name")], |html| {
            write_name(html, &event.provider, &event.event_id, &event.event_type);
            // A code's own sentence stands above the table.
            if known.is_none_or(|detail| detail.meaning() != event.message) && !event.message.is_empty() {
                html.words("q", &[], &shortened(&event.message, MESSAGE));
            }
        });
        html.words("td", &[], status);
        html.element("td", &[], |html| time(html, event.received_at, data.now));
        html.element("td", &[], |html| match event.next_attempt_at {
            Some(_) if !event.payload_kept => {
                html.text("when the provider or your application comes again: its body is not kept");
            }
            Some(at) => time(html, at, data.now),
            None => {
                html.text("none, until it is revived");
            }
        });
        html.words("td", &[("class", "n")], &number(event.attempts.into()));
    });
}

fn write_name(html: &mut Html, provider: &str, event_id: &str, event_type: &str) {
    html.words("code", &[], &shortened(event_id, ID));
    let kind = format!("{}, {}", shortened(provider, ID), shortened(event_type, ID));
    html.words("span", &[("class", "soft line")], &kind);
}

/// Writes the section of events that nobody takes care of.
pub fn write_stuck(html: &mut Html, data: &Dashboard) {
    section(html, "stuck", "Stuck", |html| {
        if data.ran_out.rows.is_empty() && data.overdue.rows.is_empty() {
            hint(html, "None: whatever is due is being processed, and every claim lives.");
            return;
        }
        if !data.overdue.rows.is_empty() {
            html.element("article", &[("class", "reason")], |html| {
                html.words("h3", &[], "Due for more than ten minutes");
                html.element("p", &[("class", "todo")], |html| {
                    html.words("strong", &[], "What to do");
                    html.text(" No worker runs, or it cannot keep up. Have retry_webhook_events called every minute, for instance by pg_cron, as a role that has billing_service:");
                });
                command(html, "SELECT cron.schedule('retry webhook events', '* * * * *', 'SELECT count(*) FROM retry_webhook_events()');");
                write_stuck_events(html, data, &data.overdue, "Due since");
            });
        }
        if !data.ran_out.rows.is_empty() {
            html.element("article", &[("class", "reason")], |html| {
                html.words("h3", &[], "Claims that ran out");
                html.element("p", &[("class", "todo")], |html| {
                    html.words("strong", &[], "What to do");
                    html.text(" Somebody claimed these and never came back: look for a worker that crashes. Whoever claims such an event next gets it; retry_webhook_events takes those whose body is kept.");
                });
                write_stuck_events(html, data, &data.ran_out, "Ran out");
            });
        }
    });
}

fn write_stuck_events(html: &mut Html, data: &Dashboard, stuck: &Bounded<Stuck>, since: &str) {
    let count = i128::from(stuck.count().counted);
    let least = if stuck.more { "At least " } else { "" };
    let shown = if stuck.rows.len() > EXAMPLES { ", the longest since first" } else { "" };
    scroll(html, &format!("Stuck events: {since}"), |html| {
        html.element("table", &[], |html| {
            html.words("caption", &[], &format!("{least}{}{shown}", counted(count, "event", "events")));
            html.element("thead", &[], |html| {
                html.element("tr", &[], |html| {
                    html.words("th", &[("scope", "col")], "Event");
                    html.words("th", &[("scope", "col")], since);
                });
            });
            html.element("tbody", &[], |html| {
                for event in stuck.rows.iter().take(EXAMPLES) {
                    html.element("tr", &[], |html| {
                        html.element("th", &[("scope", "row"), ("class", "name")], |html| {
                            write_name(html, &event.provider, &event.event_id, &event.event_type);
                        });
                        html.element("td", &[], |html| time(html, event.since, data.now));
                    });
                }
            });
        });
    });
}
