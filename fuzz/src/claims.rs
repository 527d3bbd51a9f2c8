//! The arguments of a claim: provider, event id and type in a line each, the summary in the rest.

use billing_core::json::Object;
use billing_core::outcome::Detail;
use billing_core::webhooks::{
    ClaimRequest, FIRST_BACKOFF_SECONDS, MAX_ASKED_SECONDS, MAX_BACKOFF_SECONDS, Summary, backoff_seconds,
    check_max_events, check_retry_in,
};
use serde_json::Value;

use super::{is_reference, is_reference_or_none, text};

/// The target.
pub fn claims(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let mut lines = text.splitn(4, '\n');
    let (provider, event_id, event_type) = (lines.next(), lines.next(), lines.next());
    let summary = lines.next();
    let claim = |seconds| ClaimRequest::parse(provider, event_id, event_type, summary, seconds);
    if let Ok(request) = claim(None) {
        assert!(is_reference(request.provider) && request.provider.len() <= 63);
        keeps_four_things(&request, summary);
        assert_eq!(claim(Some(MAX_ASKED_SECONDS)).map(|asked| asked.event_id), Ok(request.event_id));
        for seconds in [i32::MIN, 0, MAX_ASKED_SECONDS + 1] {
            assert_eq!(
                claim(Some(seconds)).map_err(|refusal| refusal.detail),
                Err(Detail::LeaseSecondsInvalid)
            );
        }
    }
    if let Some(number) = provider.and_then(|line| line.parse().ok()) {
        numbers(number);
    }
}

/// Whatever else a summary holds is left out.
fn keeps_four_things(request: &ClaimRequest, given: Option<&str>) {
    let summary = Summary::of_claim(request, given);
    assert_eq!((summary.id.as_str(), summary.event_type.as_str()), (request.event_id, request.event_type));
    assert!(is_reference(&summary.id) && is_reference(&summary.event_type));
    assert!(is_reference_or_none(summary.object_id.as_deref()));
    assert!(is_reference_or_none(summary.object_type.as_deref()));
    let stored: Value = serde_json::from_str(&summary.to_json()).unwrap_or_default();
    let keys: Vec<&str> =
        stored.as_object().into_iter().flat_map(|map| map.keys()).map(String::as_str).collect();
    assert_eq!(keys, ["id", "object_id", "object_type", "type"]);
    // What was kept says the same when it is claimed with.
    let again = Summary::of_claim(request, Some(&summary.to_json()));
    assert_eq!(again, summary);
    assert!(Object::parse(&summary.to_json()).is_some());
}

fn numbers(number: i32) {
    let delay = backoff_seconds(number, number.to_le_bytes()[0]);
    assert!((FIRST_BACKOFF_SECONDS * 9 / 10..=MAX_BACKOFF_SECONDS).contains(&delay));
    assert_eq!(check_retry_in(Some(number)).is_ok(), (0..=MAX_ASKED_SECONDS).contains(&number));
    assert_eq!(check_max_events(Some(number)).is_ok(), number > 0);
}
