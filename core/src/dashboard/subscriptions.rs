//! The section of subscriptions, by status.

use super::chart::share;
use super::figures::{counted, number, percent, shortened};
use super::html::Html;
use super::page::{hint, scroll, section, section_lead};
use super::{Dashboard, StatusOfSubscriptions};

/// The statuses in the order of a subscription's life.
const ORDER: [&str; 8] =
    ["active", "trialing", "past_due", "unpaid", "paused", "incomplete", "incomplete_expired", "canceled"];

/// Writes the section.
pub fn write(html: &mut Html, data: &Dashboard) {
    section(html, "subscriptions", "Subscriptions", |html| {
        let mut rows: Vec<&StatusOfSubscriptions> = data.subscriptions.statuses.iter().collect();
        rows.sort_by_key(|row| ORDER.iter().position(|status| *status == row.status).unwrap_or(ORDER.len()));
        let all: i128 = rows.iter().map(|row| i128::from(row.subscriptions)).sum();
        if all == 0 {
            hint(
                html,
                "No subscriptions yet: they appear with the provider's first customer.subscription or subscription.create event.",
            );
            return;
        }
        if data.subscriptions.more {
            let counted = counted(all, "subscription", "subscriptions");
            section_lead(html, &format!("The first {counted} by id are counted here; there may be more."));
        }
        write_table(html, &rows, all);
        if data.refetches.counted > 0 {
            let least = if data.refetches.more { "At least " } else { "" };
            let count = counted(data.refetches.counted.into(), "subscription", "subscriptions");
            section_lead(
                html,
                &format!(
                    "{least}{count} to be fetched from the provider again: pending_refetches() lists them for a worker."
                ),
            );
        }
    });
}

fn write_table(html: &mut Html, rows: &[&StatusOfSubscriptions], all: i128) {
    scroll(html, "Subscriptions by status", |html| {
        html.element("table", &[], |html| {
            html.words("caption", &[], "By status");
            html.element("thead", &[], |html| {
                html.element("tr", &[], |html| {
                    html.words("th", &[("scope", "col")], "Status");
                    html.words("th", &[("scope", "col"), ("class", "n")], "Subscriptions");
                    html.words("th", &[("scope", "col")], "Share");
                    html.words("th", &[("scope", "col"), ("class", "n")], "Ending with their period");
                    html.words("th", &[("scope", "col"), ("class", "n")], "Of nobody known here");
                });
            });
            html.element("tbody", &[], |html| {
                for row in rows {
                    write_row(html, row, all);
                }
            });
        });
    });
}

fn write_row(html: &mut Html, row: &StatusOfSubscriptions, all: i128) {
    html.element("tr", &[], |html| {
        html.element("th", &[("scope", "row")], |html| {
            html.words("code", &[], &shortened(&row.status, 80));
        });
        html.words("td", &[("class", "n")], &number(row.subscriptions.into()));
        html.element("td", &[("class", "with-share")], |html| {
            share(html, row.subscriptions.into(), all);
            html.text(&percent(row.subscriptions.into(), all));
        });
        html.words("td", &[("class", "n")], &number(row.ending.into()));
        html.words("td", &[("class", "n")], &number(row.unlinked.into()));
    });
}
