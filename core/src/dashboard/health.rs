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
                html.words("caption", &[], "What billing.health() checked; what is not ok first");
                html.element("thead", &[], |html| {
                    html.element("tr", &[], |html| {
                        for name in ["Check", "What to do"] {
                            html.words("th", &[("scope", "col")], name);
                        }
                    });
                });
                html.element("tbody", &[], |html| {
                    for check in data.health.iter().filter(|check| !check.ok) {
                        html.element("tr", &[], |html| {
                            html.element("th", &[("scope", "row")], |html| {
                                html.words("code", &[], &shortened(&check.name, 80));
                                html.words("span", &[("class", "badge bad")], "not ok");
                            });
                            html.words("td", &[("class", "advice")], &shortened(&check.advice, 500));
                        });
                    }
                    let well: Vec<_> = data.health.iter().filter(|check| check.ok).collect();
                    if !well.is_empty() {
                        html.element("tr", &[], |html| {
                            html.element("th", &[("scope", "row")], |html| {
                                html.words("span", &[("class", "badge good")], "ok");
                            });
                            html.element("td", &[("class", "advice")], |html| {
                                for check in well {
                                    html.words("code", &[], &shortened(&check.name, 80));
                                    html.text(" ");
                                }
                            });
                        });
                    }
                });
            });
        });
    });
}
