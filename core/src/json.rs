//! A view of JSON text that reads only what it is asked for.
//!
//! Bodies come from outside: whatever is not read may be as deep, as large or as odd as it likes
//! (huge numbers, unpaired surrogates, duplicate keys) without making the rest unreadable. Of
//! duplicate keys the last counts, as in jsonb.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A JSON object, its members still unread.
#[derive(Debug, Default)]
pub struct Object<'a>(Vec<(Cow<'a, [u8]>, &'a RawValue)>);

/// A JSON value, still unread.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a>(&'a RawValue);

impl<'a> Object<'a> {
    /// Reads an object; none for other JSON and for what is no JSON.
    pub fn parse(text: &'a str) -> Option<Object<'a>> {
        serde_json::from_str(text).ok()
    }

    /// The member of that name; a null counts as absent.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        let (_, raw) = self.0.iter().rev().find(|(name, _)| name.as_ref() == key.as_bytes())?;
        (raw.get() != "null").then_some(Value(raw))
    }

    /// The names of the members.
    pub fn keys(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.0.iter().map(|(name, _)| String::from_utf8_lossy(name))
    }

    /// Whether there is a member of that name, null or not.
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(name, _)| name.as_ref() == key.as_bytes())
    }

    /// The member as text.
    pub fn text(&self, key: &str) -> Option<Cow<'a, str>> {
        self.get(key)?.text()
    }

    /// The member as an object.
    pub fn object(&self, key: &str) -> Option<Object<'a>> {
        self.get(key)?.object()
    }

    /// The member as an id: text, or an expanded object that has a text `id`.
    pub fn id(&self, key: &str) -> Option<Cow<'a, str>> {
        let value = self.get(key)?;
        value.text().or_else(|| value.object()?.text("id"))
    }
}

impl<'a> Value<'a> {
    /// A string, if it can be stored as text: no escaped NUL, no unpaired surrogate.
    pub fn text(self) -> Option<Cow<'a, str>> {
        let Bytes(bytes) = serde_json::from_str(self.0.get()).ok()?;
        let text = match bytes {
            Cow::Borrowed(bytes) => Cow::Borrowed(std::str::from_utf8(bytes).ok()?),
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8(bytes).ok()?),
        };
        (!text.contains('\0')).then_some(text)
    }

    /// An object.
    pub fn object(self) -> Option<Object<'a>> {
        Object::parse(self.0.get())
    }

    /// The elements of an array; nulls are left out.
    pub fn array(self) -> Option<Vec<Value<'a>>> {
        let Array(values) = serde_json::from_str(self.0.get()).ok()?;
        Some(values)
    }

    /// `true` or `false`.
    pub fn boolean(self) -> Option<bool> {
        self.0.get().parse().ok()
    }

    /// A number written as an integer, within 64 bits.
    pub fn integer(self) -> Option<i64> {
        self.0.get().parse().ok().filter(|_| !self.0.get().starts_with('+'))
    }

    /// The JSON text.
    pub fn raw(self) -> &'a str {
        self.0.get()
    }
}

/// A JSON string as bytes: unpaired surrogates are let through here and sorted out by the reader.
struct Bytes<'a>(Cow<'a, [u8]>);

impl<'de> Deserialize<'de> for Bytes<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BytesVisitor;
        impl<'de> Visitor<'de> for BytesVisitor {
            type Value = Bytes<'de>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Bytes<'de>, E> {
                Ok(Bytes(Cow::Borrowed(bytes)))
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes<'de>, E> {
                Ok(Bytes(Cow::Owned(bytes.to_vec())))
            }
        }
        deserializer.deserialize_bytes(BytesVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;
        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Vec<(Cow<'de, [u8]>, &'de RawValue)>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(key) = map.next_key::<&RawValue>()? {
                    members.push((name(key).map_err(A::Error::custom)?, map.next_value()?));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(ObjectVisitor).map(Object)
    }
}

/// An object, with the object at `data.object` read in the same pass: what webhooks are about lies there, and is
/// nearly all of a body.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// Its members, without `data`.
    pub members: Object<'a>,
    /// The members of `data.object`.
    pub object: Object<'a>,
}

impl<'a> Envelope<'a> {
    /// Reads it; none for what has another form, or a duplicate of one of the two keys: to be read step by step then.
    pub fn parse(text: &'a str) -> Option<Envelope<'a>> {
        serde_json::from_str(text).ok()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Envelope<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EnvelopeVisitor;
        impl<'de> Visitor<'de> for EnvelopeVisitor {
            type Value = Envelope<'de>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object with an object in data")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (members, object) = split(&mut map, "data", |Data(object)| object)?;
                Ok(Envelope { members, object })
            }
        }
        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

struct Data<'a>(Object<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Data<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DataVisitor;
        impl<'de> Visitor<'de> for DataVisitor {
            type Value = Object<'de>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object with an object in it")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                split(&mut map, "object", |object| object).map(|(_, object)| object)
            }
        }
        deserializer.deserialize_map(DataVisitor).map(Data)
    }
}

/// The members of a map but one, and that one, which must be there once.
fn split<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    map: &mut A,
    key: &str,
    read: impl Fn(T) -> Object<'de>,
) -> Result<(Object<'de>, Object<'de>), A::Error> {
    let (mut members, mut found) = (Vec::new(), None);
    while let Some(raw) = map.next_key::<&RawValue>()? {
        let name = name(raw).map_err(A::Error::custom)?;
        if name.as_ref() != key.as_bytes() {
            members.push((name, map.next_value()?));
        } else if found.replace(read(map.next_value()?)).is_some() {
            return Err(A::Error::custom("a duplicate key"));
        }
    }
    Ok((Object(members), found.ok_or_else(|| A::Error::custom("a missing key"))?))
}

/// A member's name. It is checked as raw JSON before: read as bytes alone, a bare control character would
/// pass, which no JSON has.
fn name(raw: &RawValue) -> serde_json::Result<Cow<'_, [u8]>> {
    let quoted = raw.get().as_bytes();
    match quoted.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) {
        Some(plain) if !plain.contains(&b'\\') => Ok(Cow::Borrowed(plain)),
        _ => serde_json::from_str(raw.get()).map(|Bytes(bytes)| bytes),
    }
}

struct Array<'a>(Vec<Value<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Array<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ArrayVisitor;
        impl<'de> Visitor<'de> for ArrayVisitor {
            type Value = Vec<Value<'de>>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut values = Vec::new();
                while let Some(raw) = seq.next_element::<&RawValue>()? {
                    if raw.get() != "null" {
                        values.push(Value(raw));
                    }
                }
                Ok(values)
            }
        }
        deserializer.deserialize_seq(ArrayVisitor).map(Array)
    }
}

/// The elements of a JSON array, nulls included; none for other JSON and for what is no JSON.
pub fn elements(text: &str) -> Option<Vec<Value<'_>>> {
    let raw: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    Some(raw.into_iter().map(Value).collect())
}

/// Whether the text is JSON at all.
pub fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn object(text: &str) -> Object<'_> {
        Object::parse(text).unwrap()
    }

    #[test]
    fn a_member_is_there_also_when_it_is_null() {
        let body = object(r#"{"a": 1, "b": null}"#);
        assert!(body.has("a") && body.has("b") && !body.has("c"));
        assert_eq!(body.keys().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn the_last_of_duplicate_keys_counts() {
        let body = object(r#"{"a": 1, "b": "x", "\u0061": 2}"#);
        assert_eq!(body.get("a").unwrap().integer(), Some(2));
        assert_eq!(body.text("b").as_deref(), Some("x"));
        assert!(object(r#"{"a": 1, "a": null}"#).get("a").is_none());
    }

    #[test]
    fn bare_control_characters_are_no_json() {
        for text in ["{\"a\tb\":1}", "{\"a\":\"b\nc\"}", "[{\"a\u{1f}\":1}]", "{\"o\":{\"a\u{1}\":1}}"] {
            assert!(Object::parse(text).is_none() && elements(text).is_none() && !is_json(text), "{text:?}");
        }
        let escaped = object(r#"{"a\tb": 1, "\"\\": 2, "": 3}"#);
        assert_eq!(escaped.keys().collect::<Vec<_>>(), ["a\tb", "\"\\", ""]);
        assert_eq!(escaped.get("\"\\").unwrap().integer(), Some(2));
    }

    #[test]
    fn what_is_not_read_does_not_matter() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let text = format!(
            r#"{{"deep": {deep}, "huge": 1e131071, "lone": "\ud800", "\udc00": 1, "nul": "\u0000", "id": "x"}}"#
        );
        let body = object(&text);
        assert_eq!(body.text("id").as_deref(), Some("x"));
        assert_eq!(body.text("lone"), None);
        assert_eq!(body.text("nul"), None);
        assert_eq!(body.get("huge").unwrap().integer(), None);
        assert!(is_json(&text));
    }

    #[test]
    fn values_are_what_they_are() {
        let body = object(
            r#"{"n": null, "i": -5, "f": 1.0, "e": 1e2, "t": "7", "b": true, "o": {"id": "in_1"}, "a": [1, null, "x"], "big": 9223372036854775808}"#,
        );
        assert!(body.has("n") && body.get("n").is_none());
        assert_eq!(body.get("i").unwrap().integer(), Some(-5));
        for key in ["f", "e", "t", "b", "big"] {
            assert_eq!(body.get(key).unwrap().integer(), None, "{key}");
        }
        assert_eq!(body.get("b").unwrap().boolean(), Some(true));
        assert_eq!(body.get("t").unwrap().boolean(), None);
        assert_eq!(body.id("o").as_deref(), Some("in_1"));
        assert_eq!(body.id("t").as_deref(), Some("7"));
        assert_eq!(body.id("a"), None);
        assert_eq!(body.get("a").unwrap().array().unwrap().len(), 2);
        assert_eq!(body.get("t").unwrap().raw(), "\"7\"");
    }

    fn shown(object: &Object) -> Vec<(Vec<u8>, String)> {
        object.0.iter().map(|(name, raw)| (name.to_vec(), raw.get().to_owned())).collect()
    }

    /// What is read in one pass is what is read step by step.
    fn agrees(text: &str) -> bool {
        let Some(envelope) = Envelope::parse(text) else { return false };
        let mut members = object(text);
        let inner = members.object("data").unwrap().object("object").unwrap();
        members.0.retain(|(name, _)| name.as_ref() != b"data");
        assert_eq!(
            (shown(&envelope.members), shown(&envelope.object)),
            (shown(&members), shown(&inner)),
            "{text}"
        );
        true
    }

    #[test]
    fn an_envelope_is_read_in_one_pass_or_not_at_all() {
        for text in [
            r#"{"data": {"object": {}}}"#,
            r#"{"id": "x", "d\u0061ta": {"previous": [1e131071], "object": {"a": {"object": {}}, "a": "\ud800"}}, "n": null}"#,
        ] {
            assert!(agrees(text), "{text}");
        }
        for text in [
            "",
            "[]",
            "{}",
            r#"{"data": {}}"#,
            r#"{"data": null}"#,
            r#"{"data": [{"object": {}}]}"#,
            r#"{"data": {"object": "cs_1"}}"#,
            r#"{"data": {"object": {}}, "data": {"object": {}}}"#,
            r#"{"data": {"object": {}, "object": {}}}"#,
            r#"{"data": {"object": {}}} x"#,
            r#"{"data": {"object": {"a": tru}}}"#,
            "{\"data\": {\"object\": {\"a\tb\": 1}}}",
        ] {
            assert!(Envelope::parse(text).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_envelope_is_what_it_is_step_by_step(
            before in "[a-z]{0,4}", value in "(1e400|-5|\"[a-z\\\\]{0,3}\"|null|\\[\\]|\\{\"object\":1\\})", inner in "[a-c]{1,2}",
        ) {
            let text = format!(r#"{{"{before}": {value}, "data": {{"{inner}": {value}, "object": {{"{inner}": {value}, "{before}": 1}}}}}}"#);
            if Object::parse(&text).is_some() && before != "data" {
                prop_assert!(agrees(&text));
            } else {
                prop_assert!(before == "data" || Envelope::parse(&text).is_none());
            }
        }

        #[test]
        fn any_text_is_answered(text: String) {
            if let Some(object) = Object::parse(&text) {
                let _ = object.get("id").map(|value| (value.text(), value.integer(), value.array()));
            }
        }

        #[test]
        fn strings_come_back(text in "[^\0]*") {
            let json = serde_json::json!({ "id": text }).to_string();
            let read = Object::parse(&json).unwrap().text("id").map(Cow::into_owned);
            prop_assert_eq!(read, Some(text));
        }
    }
}
