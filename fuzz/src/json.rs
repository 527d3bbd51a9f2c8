//! JSON that is read only as far as it is asked for, beside a reader of the whole.

use billing_core::json::{Object, Value, elements, is_json};
use serde_json::Value as Whole;

use super::text;

/// The target.
pub fn json(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let object = Object::parse(text);
    let array = elements(text);
    assert!(is_json(text) || (object.is_none() && array.is_none()));
    if let Some(object) = &object {
        for key in object.keys() {
            assert!(object.has(&key) || key.contains(char::REPLACEMENT_CHARACTER));
            let _ = (object.get(&key), object.id(&key));
        }
    }
    // The other reader gives up where numbers are huge, nesting is deep or surrogates are alone.
    match serde_json::from_str(text) {
        Ok(Whole::Object(whole)) => {
            let object = object.unwrap_or_default();
            let mut keys: Vec<_> = object.keys().map(|key| key.into_owned()).collect();
            keys.sort();
            keys.dedup();
            assert!(whole.len() == keys.len() && keys.iter().all(|key| whole.contains_key(key)));
            for (key, value) in &whole {
                agree_on(object.get(key), value);
            }
        }
        Ok(Whole::Array(whole)) => {
            let array = array.unwrap_or_default();
            assert_eq!(array.len(), whole.len());
            for (value, whole) in array.into_iter().zip(&whole) {
                if !whole.is_null() {
                    agree_on(Some(value), whole);
                }
            }
        }
        Ok(_) => assert!(object.is_none() && array.is_none()),
        Err(_) => {}
    }
}

fn agree_on(value: Option<Value>, whole: &Whole) {
    let Some(value) = value else { return assert!(whole.is_null()) };
    let text = whole.as_str().filter(|text| !text.contains('\0'));
    assert_eq!(value.text().as_deref(), text);
    assert_eq!(value.boolean(), whole.as_bool());
    // Only the other reader takes a zero with a sign for a float.
    if value.raw() != "-0" {
        assert_eq!(value.integer(), whole.as_i64());
    }
    assert_eq!(value.object().is_some(), whole.is_object());
    let elements = whole.as_array().map(|all| all.iter().filter(|one| !one.is_null()).count());
    assert_eq!(value.array().map(|all| all.len()), elements);
}
