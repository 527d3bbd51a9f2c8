//! The section of events: how many, by status and hour, and by type.

use super::chart::{Bar, Chart};
use super::figures::{Civil, counted, number, percent, shortened};
use super::html::Html;
use super::page::{details, hint, hour_label, scroll, section, section_lead, since_note};
use super::{Dashboard, Events, HOUR, HOURS, first_hour};
use crate::webhooks::Status;

/// How many types of events are listed.
const TYPES: usize = 10;

/// A strip of the chart: what stands together, because it asks for the same.
struct Strip {
    name: &'static str,
    class: &'static str,
    id: &'static str,
    holds: fn(Status) -> bool,
}

const STRIPS: [Strip; 4] = [
    Strip {
        name: "Completed",
        class: "chart tall good",
        id: "events-done",
        holds: |s| s == Status::Completed,
    },
    Strip {
        name: "Waiting or being processed",
        class: "chart calm",
        id: "events-waiting",
        holds: |s| matches!(s, Status::Recorded | Status::Processing),
    },
    Strip {
        name: "Failed, tried again",
        class: "chart warn",
        id: "events-failed",
        holds: |s| s == Status::Failed,
    },
    Strip { name: "Dead", class: "chart bad", id: "events-dead", holds: |s| s == Status::Dead },
];

const STATUSES: [Status; 5] =
    [Status::Completed, Status::Recorded, Status::Processing, Status::Failed, Status::Dead];

impl Events {
    /// How many events have such a status.
    pub fn total(&self, holds: impl Fn(Status) -> bool) -> i128 {
        self.hours.iter().filter(|hour| holds(hour.status)).map(|hour| i128::from(hour.events)).sum()
    }

    /// The same by hour, the first hour first.
    fn by_hour(&self, now: i64, holds: impl Fn(Status) -> bool) -> Vec<i128> {
        let mut sums = vec![0; usize::try_from(HOURS).unwrap_or(0)];
        for hour in self.hours.iter().filter(|hour| holds(hour.status)) {
            let place = usize::try_from((hour.hour - first_hour(now)).div_euclid(HOUR)).ok();
            // What a clock that was set back has dated into the future counts as of the last hour.
            let place = place.map(|place| place.min(sums.len() - 1));
            if let Some(sum) = place.and_then(|place| sums.get_mut(place)) {
                *sum += i128::from(hour.events);
            }
        }
        sums
    }
}

/// Writes the section.
pub fn write(html: &mut Html, data: &Dashboard) {
    section(html, "events", "Events received", |html| {
        let events = &data.events;
        if events.hours.is_empty() {
            hint(
                html,
                "No events in the last 48 hours. If some were expected, look at the provider's list of webhook deliveries: it shows what was sent, and what was answered.",
            );
            return;
        }
        section_lead(html, "By hour of the last 48, each strip on a scale of its own.");
        since_note(html, "event", events.since, data.now);
        for strip in &STRIPS {
            write_strip(html, data, strip);
        }
        write_axis(html, data.now);
        details(html, "Events by hour, as a table", |html| write_hours(html, data));
        write_types(html, events);
    });
}

fn write_strip(html: &mut Html, data: &Dashboard, strip: &Strip) {
    let sums = data.events.by_hour(data.now, strip.holds);
    let total: i128 = sums.iter().sum();
    let most = sums.iter().max().copied().unwrap_or(0);
    html.element("div", &[("class", "strip")], |html| {
        html.element("p", &[("class", "strip-head")], |html| {
            html.words("span", &[("class", strip.class)], strip.name);
            html.words("strong", &[], &number(total));
            if total > 0 {
                html.words("span", &[("class", "soft")], &format!("at most {} in an hour", number(most)));
            }
        });
        if total == 0 {
            return;
        }
        let bars: Vec<Bar> = (first_hour(data.now)..)
            .step_by(usize::try_from(HOUR).unwrap_or(1))
            .zip(&sums)
            .map(|(hour, sum)| Bar {
                label: format!("{}: {}", hour_label(hour), counted(*sum, "event", "events")),
                up: *sum,
                down: 0,
            })
            .collect();
        let title = format!("{}: events by hour", strip.name);
        let description = format!(
            "{} in 48 hours, at most {} in an hour. The table below has the numbers.",
            counted(total, "event", "events"),
            number(most)
        );
        Chart { id: strip.id, class: strip.class, title: &title, description: &description, bars: &bars }
            .write(html);
    });
}

fn write_axis(html: &mut Html, now: i64) {
    html.element("p", &[("class", "axis"), ("aria-hidden", "true")], |html| {
        for hours in [0, HOURS / 2] {
            html.words("span", &[], &hour_label(first_hour(now) + hours * HOUR));
        }
        html.words("span", &[], "now");
    });
}

fn write_hours(html: &mut Html, data: &Dashboard) {
    let sums = STATUSES.map(|status| data.events.by_hour(data.now, |s| s == status));
    scroll(html, "Events by hour and status", |html| {
        html.element("table", &[], |html| {
            html.words("caption", &[], "Events by hour and status; hours without any are left out");
            html.element("thead", &[], |html| {
                html.element("tr", &[], |html| {
                    html.words("th", &[("scope", "col")], "Hour (UTC)");
                    for status in STATUSES {
                        html.words("th", &[("scope", "col"), ("class", "n")], status.as_str());
                    }
                });
            });
            html.element("tbody", &[], |html| {
                for place in (0..sums[0].len()).rev() {
                    let row = sums.each_ref().map(|sums| sums.get(place).copied().unwrap_or(0));
                    let hour = first_hour(data.now) + i64::try_from(place).unwrap_or(0) * HOUR;
                    if row.iter().any(|events| *events > 0) {
                        write_hour(html, hour, &row);
                    }
                }
            });
        });
    });
}

fn write_hour(html: &mut Html, hour: i64, row: &[i128]) {
    html.element("tr", &[], |html| {
        html.element("th", &[("scope", "row")], |html| {
            if let Some(civil) = Civil::of(hour) {
                let text = format!("{} {}", civil.date(), civil.clock());
                html.words("time", &[("datetime", &civil.machine())], &text);
            }
        });
        for events in row {
            html.words("td", &[("class", "n")], &number(*events));
        }
    });
}

/// One type of events with its numbers: all, completed, failed or dead.
struct Row<'a> {
    event_type: &'a str,
    all: i128,
    completed: i128,
    failing: i128,
}

fn rows(events: &Events) -> Vec<Row<'_>> {
    let mut rows: Vec<Row> = Vec::new();
    for given in &events.types {
        let place = rows.iter().position(|row| row.event_type == given.event_type).unwrap_or_else(|| {
            rows.push(Row { event_type: &given.event_type, all: 0, completed: 0, failing: 0 });
            rows.len() - 1
        });
        if let Some(row) = rows.get_mut(place) {
            let count = i128::from(given.events);
            row.all += count;
            row.completed += if given.status == Status::Completed { count } else { 0 };
            row.failing += if matches!(given.status, Status::Failed | Status::Dead) { count } else { 0 };
        }
    }
    rows.sort_by(|a, b| b.all.cmp(&a.all).then_with(|| a.event_type.cmp(b.event_type)));
    rows
}

fn write_types(html: &mut Html, events: &Events) {
    let rows = rows(events);
    scroll(html, "Events by type", |html| {
        html.element("table", &[], |html| {
            html.words("caption", &[], "By type of event, the most frequent first");
            html.element("thead", &[], |html| {
                html.element("tr", &[], |html| {
                    html.words("th", &[("scope", "col")], "Type");
                    for name in ["Events", "Completed", "Failed or dead"] {
                        html.words("th", &[("scope", "col"), ("class", "n")], name);
                    }
                });
            });
            html.element("tbody", &[], |html| {
                for row in rows.iter().take(TYPES) {
                    html.element("tr", &[], |html| {
                        html.element("th", &[("scope", "row"), ("class", "name")], |html| {
                            html.words("code", &[], &shortened(row.event_type, 80));
                        });
                        html.words("td", &[("class", "n")], &number(row.all));
                        html.words("td", &[("class", "n")], &percent(row.completed, row.all));
                        html.words("td", &[("class", "n")], &number(row.failing));
                    });
                }
            });
        });
    });
    if rows.len() > TYPES {
        let left = i128::try_from(rows.len() - TYPES).unwrap_or(0);
        section_lead(html, &format!("And {}.", counted(left, "type more", "types more")));
    }
    if events.more_types {
        section_lead(
            html,
            "There are more types of events than this page looks at; those later in the alphabet are in none of these numbers.",
        );
    }
}
