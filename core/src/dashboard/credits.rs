//! The sections of credits: in and out by day, and the last entries of the ledger.

use super::chart::{Bar, Chart};
use super::figures::{Civil, number, shortened, signed, time};
use super::html::Html;
use super::page::{details, hint, scroll, section, section_lead, since_note};
use super::{CREDIT_TYPES, Credits, DAY, DAYS, Dashboard, Entry, first_day};

/// How much of a name is shown.
const NAME: usize = 80;

/// Sums of one credit type, the first day first.
struct Type<'a> {
    name: &'a str,
    days: Vec<Day>,
}

#[derive(Clone, Copy, Default)]
struct Day {
    at: i64,
    added: i128,
    taken: i128,
}

impl Credits {
    fn by_type(&self, now: i64) -> Vec<Type<'_>> {
        let empty = || {
            let days = (0..DAYS).map(|day| Day { at: first_day(now) + day * DAY, ..Day::default() });
            days.collect::<Vec<_>>()
        };
        let mut types: Vec<Type> = Vec::new();
        for sum in &self.days {
            let place = types.iter().position(|found| found.name == sum.credit_type).unwrap_or_else(|| {
                types.push(Type { name: &sum.credit_type, days: empty() });
                types.len() - 1
            });
            let day = usize::try_from((sum.day - first_day(now)).div_euclid(DAY)).ok();
            // What a clock that was set back has dated into the future counts as of today.
            let last = usize::try_from(DAYS - 1).unwrap_or(0);
            let slot =
                types.get_mut(place).zip(day).and_then(|(found, day)| found.days.get_mut(day.min(last)));
            if let Some(slot) = slot {
                slot.added = slot.added.saturating_add(sum.added);
                slot.taken = slot.taken.saturating_add(sum.taken);
            }
        }
        types
    }
}

/// Writes the section of credits in and out.
pub fn write(html: &mut Html, data: &Dashboard) {
    section(html, "credits", "Credits in and out", |html| {
        let types = data.credits.by_type(data.now);
        if types.is_empty() {
            hint(
                html,
                "No entries in the last 30 days: a paid checkout, grant_credits or spend_credits writes one.",
            );
            return;
        }
        section_lead(
            html,
            "By day of the last 30 (UTC): above the line what was bought, granted or given back, below it what was spent, expired or undone.",
        );
        since_note(html, "entry", data.credits.since, data.now);
        for (place, credit_type) in types.iter().take(CREDIT_TYPES).enumerate() {
            html.element("article", &[], |html| write_type(html, credit_type, place, data.now));
        }
        if types.len() > CREDIT_TYPES {
            section_lead(
                html,
                "There are further credit types with fewer entries; billing.credit_totals lists all.",
            );
        }
    });
}

fn write_type(html: &mut Html, credit_type: &Type, place: usize, now: i64) {
    let sum = |value: fn(&Day) -> i128| credit_type.days.iter().map(value).fold(0, i128::saturating_add);
    let (added, taken) = (sum(|day| day.added), sum(|day| day.taken));
    html.element("h3", &[], |html| {
        html.words("code", &[], &shortened(credit_type.name, NAME));
    });
    html.element("p", &[("class", "strip-head")], |html| {
        html.words("span", &[("class", "chart good")], "In");
        html.words("strong", &[], &signed(added));
        html.words("span", &[("class", "chart out")], "Out");
        html.words("strong", &[], &signed(taken.saturating_neg()));
    });
    let bars: Vec<Bar> = credit_type.days.iter().map(bar).collect();
    let description = format!(
        "In 30 days {} credits came in and {} went out. The table below has the numbers.",
        number(added),
        number(taken)
    );
    Chart {
        id: &format!("credits-{place}"),
        class: "chart tall flow",
        title: &format!("Credits of type {} by day", shortened(credit_type.name, NAME)),
        description: &description,
        bars: &bars,
    }
    .write(html);
    html.element("p", &[("class", "axis"), ("aria-hidden", "true")], |html| {
        for day in [0, DAYS / 2] {
            html.words("span", &[], &day_label(first_day(now) + day * DAY));
        }
        html.words("span", &[], "today");
    });
    details(html, "Credits by day, as a table", |html| write_days(html, credit_type));
}

fn day_label(at: i64) -> String {
    Civil::of(at).map(Civil::short_date).unwrap_or_default()
}

fn bar(day: &Day) -> Bar {
    let label =
        format!("{}: {}, {}", day_label(day.at), signed(day.added), signed(day.taken.saturating_neg()));
    Bar { label, up: day.added, down: day.taken }
}

fn write_days(html: &mut Html, credit_type: &Type) {
    let name = shortened(credit_type.name, NAME);
    scroll(html, &format!("Credits by day: {name}"), |html| {
        html.element("table", &[], |html| {
            html.words("caption", &[], &format!("{name} by day; days without entries are left out"));
            html.element("thead", &[], |html| {
                html.element("tr", &[], |html| {
                    html.words("th", &[("scope", "col")], "Day (UTC)");
                    for name in ["In", "Out", "Together"] {
                        html.words("th", &[("scope", "col"), ("class", "n")], name);
                    }
                });
            });
            html.element("tbody", &[], |html| {
                for day in credit_type.days.iter().rev().filter(|day| day.added != 0 || day.taken != 0) {
                    html.element("tr", &[], |html| {
                        html.element("th", &[("scope", "row")], |html| {
                            if let Some(date) = Civil::of(day.at).map(Civil::date) {
                                html.words("time", &[("datetime", &date)], &date);
                            }
                        });
                        for sum in
                            [day.added, day.taken.saturating_neg(), day.added.saturating_sub(day.taken)]
                        {
                            html.words("td", &[("class", "n")], &signed(sum));
                        }
                    });
                }
            });
        });
    });
}

/// Writes the section of the last entries.
pub fn write_entries(html: &mut Html, data: &Dashboard) {
    section(html, "ledger", "Last entries of the ledger", |html| {
        if data.entries.is_empty() {
            hint(
                html,
                "No entries yet: each purchase, grant, spend and reversal will be one here, for ever.",
            );
            return;
        }
        scroll(html, "Last entries of the ledger", |html| {
            html.element("table", &[], |html| {
                html.words(
                    "caption",
                    &[],
                    "The latest first; a customer is shown by the first eight digits of the id",
                );
                html.element("thead", &[], |html| {
                    html.element("tr", &[], |html| {
                        for name in ["Entry", "When", "Customer", "Kind"] {
                            html.words("th", &[("scope", "col")], name);
                        }
                        for name in ["Credits", "Balance"] {
                            html.words("th", &[("scope", "col"), ("class", "n")], name);
                        }
                        for name in ["Type", "Source"] {
                            html.words("th", &[("scope", "col")], name);
                        }
                    });
                });
                html.element("tbody", &[], |html| {
                    for entry in &data.entries {
                        html.element("tr", &[], |html| write_entry(html, entry, data.now));
                    }
                });
            });
        });
    });
}

fn write_entry(html: &mut Html, entry: &Entry, now: i64) {
    html.words("th", &[("scope", "row")], &entry.entry_id.to_string());
    html.element("td", &[], |html| time(html, entry.created_at, now));
    html.element("td", &[], |html| {
        html.words("code", &[("title", &entry.customer_id)], &shortened(&entry.customer_id, 8));
    });
    html.element("td", &[], |html| {
        html.words("span", &[("class", "badge")], &shortened(&entry.kind, NAME));
    });
    html.words("td", &[("class", "n")], &signed(entry.credits.into()));
    html.words("td", &[("class", "n")], &number(entry.balance_after.into()));
    html.element("td", &[], |html| {
        html.words("code", &[], &shortened(&entry.credit_type, NAME));
    });
    html.element("td", &[], |html| {
        if let Some(source) = &entry.source_ref {
            html.words("code", &[], &shortened(source, NAME));
        }
    });
}
