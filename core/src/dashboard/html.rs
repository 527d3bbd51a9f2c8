//! HTML that cannot come out unescaped: names are constants, and every value goes through [`Html::text`] or an
//! attribute, both of which escape.

use std::fmt::Write;

/// A piece of HTML that is being written.
#[derive(Debug, Default)]
pub struct Html {
    out: String,
}

/// Attributes of an element: constant names, any values.
pub type Attributes<'a> = &'a [(&'static str, &'a str)];

/// Elements that a line ends with, for people who read the source.
const LINES: [&str; 19] = [
    "head", "title", "style", "header", "nav", "main", "section", "article", "footer", "ul", "ol", "li", "p",
    "table", "tr", "svg", "dl", "h2", "h3",
];

impl Html {
    /// A document of one head and one body.
    pub fn document(lang: &str, head: impl FnOnce(&mut Html), body: impl FnOnce(&mut Html)) -> String {
        let mut html = Html::default();
        html.constant("<!doctype html>\n");
        html.element("html", &[("lang", lang)], |html| {
            html.element("head", &[], head);
            html.element("body", &[], body);
        });
        html.out
    }

    /// An element with whatever the closure writes into it.
    pub fn element(
        &mut self,
        tag: &'static str,
        attributes: Attributes,
        content: impl FnOnce(&mut Html),
    ) -> &mut Html {
        self.begin(tag, attributes);
        content(self);
        self.constant("</");
        self.constant(tag);
        self.constant(if LINES.contains(&tag) { ">\n" } else { ">" });
        self
    }

    /// An element with a text and nothing else in it.
    pub fn words(&mut self, tag: &'static str, attributes: Attributes, text: &str) -> &mut Html {
        self.element(tag, attributes, |html| {
            html.text(text);
        })
    }

    /// An element that has neither content nor an end, such as `meta`.
    pub fn void(&mut self, tag: &'static str, attributes: Attributes) -> &mut Html {
        self.begin(tag, attributes);
        self.constant("\n")
    }

    /// The style sheet; a constant, as every rule of a style sheet is trusted.
    pub fn style(&mut self, sheet: &'static str) -> &mut Html {
        self.element("style", &[], |html| {
            html.constant(sheet);
        })
    }

    /// Text, escaped. What a reader could not see, or what would turn round the text beside it, is shown by
    /// its code.
    pub fn text(&mut self, text: &str) -> &mut Html {
        for c in text.chars() {
            match c {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '"' => self.out.push_str("&quot;"),
                '\'' => self.out.push_str("&#39;"),
                c if is_invisible(c) => {
                    // Writing to a String cannot fail.
                    let _ = write!(self.out, "{}", c.escape_unicode());
                }
                c => self.out.push(c),
            }
        }
        self
    }

    fn begin(&mut self, tag: &'static str, attributes: Attributes) {
        self.constant("<");
        self.constant(tag);
        for (name, value) in attributes {
            self.constant(" ");
            self.constant(name);
            self.constant("=\"");
            self.text(value);
            self.constant("\"");
        }
        self.constant(">");
    }

    /// The one way past escaping, for what the source itself says.
    fn constant(&mut self, text: &'static str) -> &mut Html {
        self.out.push_str(text);
        self
    }
}

/// Control characters but tab and line feed, marks of direction, and others that leave no trace on a screen.
fn is_invisible(c: char) -> bool {
    match c {
        '\t' | '\n' => false,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' => true,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        '\u{fdd0}'..='\u{fdef}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}' => true,
        c => c.is_control() || u32::from(c) & 0xfffe == 0xfffe,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::parse;
    use super::*;
    use proptest::prelude::*;

    /// What a reader sees of a text.
    fn visible(text: &str) -> String {
        text.chars()
            .map(|c| if is_invisible(c) { c.escape_unicode().to_string() } else { c.to_string() })
            .collect()
    }

    fn page(text: &str, value: &str) -> String {
        Html::document(
            "en",
            |head| {
                head.words("title", &[], text);
            },
            |body| {
                body.words("p", &[("title", value), ("id", value)], text);
            },
        )
    }

    #[test]
    fn markup_is_text() {
        let planted = r#"</title><script>alert("1")</script>'&amp;"#;
        let escaped = "&lt;/title&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&#39;&amp;amp;";
        assert_eq!(
            page(planted, planted),
            format!(
                "<!doctype html>\n<html lang=\"en\"><head><title>{escaped}</title>\n</head>\n\
                 <body><p title=\"{escaped}\" id=\"{escaped}\">{escaped}</p>\n</body></html>"
            )
        );
    }

    #[test]
    fn what_cannot_be_seen_is_shown_by_its_code() {
        for (text, shown) in [
            ("a\u{0}b", "a\\u{0}b"),
            ("a\rb", "a\\u{d}b"),
            ("a\tb\nc", "a\tb\nc"),
            ("evt_\u{202e}1", "evt_\\u{202e}1"),
            ("a\u{200b}b\u{feff}", "a\\u{200b}b\\u{feff}"),
            ("\u{7f}\u{9f}\u{a0}", "\\u{7f}\\u{9f}\u{a0}"),
            ("\u{fffe}\u{1ffff}", "\\u{fffe}\\u{1ffff}"),
            ("عربي 日本", "عربي 日本"),
        ] {
            assert_eq!(visible(text), shown);
            assert!(page(text, "").contains(shown), "{text:?}");
        }
    }

    proptest! {
        /// A browser's own parser finds the elements that were written, no others, and the very text.
        #[test]
        fn a_parser_reads_back_what_was_written(text: String, value in "[\\PC\"'<>&=/` \r\n]{0,40}") {
            let parsed = parse(&page(&text, &value));
            let names: Vec<_> = parsed.elements.iter().map(|element| element.name.as_str()).collect();
            prop_assert_eq!(names, ["html", "head", "title", "body", "p"]);
            prop_assert_eq!((parsed.errors.len(), parsed.comments), (0, 0), "{:?}", parsed.errors);
            let (title, p) = (&parsed.elements[2], &parsed.elements[4]);
            let (text, value) = (visible(&text), visible(&value));
            prop_assert_eq!(&p.attributes, &[("title".to_owned(), value.clone()), ("id".to_owned(), value)]);
            prop_assert_eq!(&title.text, &text);
            prop_assert_eq!(&p.text, &text);
        }
    }
}
