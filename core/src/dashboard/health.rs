//! The section of what `billing.health()` checked.

use super::Dashboard;
use super::figures::shortened;
use super::html::Html;
use super::page::{scroll, section};

/// Writes the section, where anything was checked.
pub fn write(html: &mut Html, data: &Dashboard) {
    if data.health.is_empty() {
        return;
    }
    section(html, "health", "Health", |html| {
        scroll(html, "Checks", |html| {
            html.element("table", &[], |html| {
                html.words("caption", &[], "What billing.health() checked; what is not well first");
                html.element("thead", &[], |html| {
                    html.element("tr", &[], |html| {
                        for name in ["Check", "Result", "What to do"] {
                            html.words("th", &[("scope", "col")], name);
                        }
                    });
                });
                html.element("tbody", &[], |html| {
                    let mut checks: Vec<_> = data.health.iter().collect();
                    checks.sort_by_key(|check| check.ok);
                    for check in checks {
                        html.element("tr", &[], |html| {
                            html.element("th", &[("scope", "row")], |html| {
                                html.words("code", &[], &shortened(&check.name, 80));
                            });
                            html.element("td", &[], |html| {
                                let (class, word) =
                                    if check.ok { ("badge good", "well") } else { ("badge bad", "not well") };
                                html.words("span", &[("class", class)], word);
                            });
                            html.words("td", &[], &shortened(&check.advice, 500));
                        });
                    }
                });
            });
        });
    });
}
