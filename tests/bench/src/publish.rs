//! Puts a run into the documentation: the figures as docs/performance.json, and what is made of them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{Failure, chart, render};

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs");

/// The figures of this run become those of the documentation.
pub fn publish(results: &Value) -> Result<(), Failure> {
    std::fs::write(place("performance.json"), compact(results))?;
    make(results)
}

/// Makes the page's parts and the charts of a report file.
pub fn render(file: &Path) -> Result<(), Failure> {
    make(&serde_json::from_str(&std::fs::read_to_string(file)?)?)
}

fn make(results: &Value) -> Result<(), Failure> {
    for (name, content) in made(results)? {
        std::fs::write(place(&name), content)?;
    }
    Ok(())
}

fn place(name: &str) -> PathBuf {
    Path::new(DOCS).join(name)
}

/// Everything that is made, by its place in docs/.
fn made(results: &Value) -> Result<Vec<(String, String)>, Failure> {
    let page = std::fs::read_to_string(place("performance.md"))?;
    let mut made = vec![("performance.md".to_owned(), render::page(&page, results)?)];
    for (name, chart) in chart::charts(results) {
        made.push((format!("images/{name}"), chart));
    }
    Ok(made)
}

/// What was measured, one thing a line, without the printed table: short, and differences can be read.
fn compact(results: &Value) -> String {
    let mut lines = Vec::new();
    for (name, value) in results.as_object().into_iter().flatten() {
        if name == "table" {
            continue;
        }
        let mut line = format!("\"{name}\": ");
        match value {
            Value::Array(items) if !items.is_empty() => {
                let items: Vec<String> = items.iter().map(Value::to_string).collect();
                let _ = write!(line, "[\n{}\n]", items.join(",\n"));
            }
            _ => line.push_str(&value.to_string()),
        }
        lines.push(line);
    }
    format!("{{\n{}\n}}\n", lines.join(",\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The page and the charts are what docs/performance.json says: after a change of either, `make bench
    /// BENCH_ARGS='--render docs/performance.json'`.
    #[test]
    fn the_documentation_is_made_of_its_figures() -> Result<(), Failure> {
        let results = serde_json::from_str(&std::fs::read_to_string(place("performance.json"))?)?;
        for (name, content) in made(&results)? {
            let there = std::fs::read_to_string(place(&name))?;
            assert!(there == content, "docs/{name} is not what docs/performance.json says");
        }
        Ok(())
    }

    #[test]
    fn short_json_is_the_same_json() -> Result<(), Failure> {
        let results =
            json!({"rounds": 15, "measured": [{"a": 1}, {"b": [1, 2]}], "none": [], "table": ["x"]});
        let short: Value = serde_json::from_str(&compact(&results))?;
        assert_eq!(short, json!({"rounds": 15, "measured": [{"a": 1}, {"b": [1, 2]}], "none": []}));
        assert!(compact(&results).contains("{\"a\":1},\n{\"b\":[1,2]}\n]"));
        Ok(())
    }
}
