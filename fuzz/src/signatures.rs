//! A signature's header in the first line, the body in the rest; judged again by the letter of the rules.

use billing_core::outcome::Detail;
use billing_core::signatures::{sign_paystack, sign_stripe, verify_paystack, verify_stripe};

const SECRET: &str = "whsec_fuzz";
const NOW: i64 = 1_700_000_000;
const NONE: [&str; 0] = [];

/// The target.
pub fn signatures(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (header, body) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    stripe(header, body);
    paystack(header, body);
}

fn stripe(header: &[u8], body: &[u8]) {
    for tolerance in [0, 300, i32::MAX] {
        let verdict = verify_stripe(body, Some(header), &[SECRET], tolerance, NOW);
        assert_eq!(verdict.detail, expected(header, body, tolerance));
        let matched = matches!(verdict.detail, None | Some(Detail::SignatureExpired));
        assert_eq!(verdict.signed_at.is_some(), matched);
    }
    let among_others = verify_stripe(body, Some(header), &["", " ", "whsec_other", SECRET], 300, NOW);
    assert_eq!(among_others.detail, expected(header, body, 300));
    let detail =
        |secrets: &[&str], tolerance| verify_stripe(body, Some(header), secrets, tolerance, NOW).detail;
    assert_eq!(detail(&NONE, -1), Some(Detail::SecretMissing));
    assert_eq!(detail(&[SECRET], -1), Some(Detail::ToleranceInvalid));
    // Whatever stands beside it, a right signature counts, unless there is a second time.
    let good = sign_stripe(body, SECRET, NOW).unwrap_or_default();
    let both = [good.as_bytes(), b",", header].concat();
    let second = header.split(|byte| *byte == b',').any(|item| item.starts_with(b"t="));
    let detail = verify_stripe(body, Some(&both), &[SECRET], 0, NOW).detail;
    assert_eq!(detail, second.then_some(Detail::SignatureMalformed));
}

fn expected(header: &[u8], body: &[u8], tolerance: i32) -> Option<Detail> {
    if header.is_empty() {
        return Some(Detail::SignatureMissing);
    }
    let items: Vec<&[u8]> = header.split(|byte| *byte == b',').collect();
    let stamps: Vec<&[u8]> = items.iter().filter_map(|item| item.strip_prefix(b"t=")).collect();
    let [stamp] = stamps.as_slice() else { return Some(Detail::SignatureMalformed) };
    let number: Option<i64> = std::str::from_utf8(stamp).ok().and_then(|stamp| stamp.parse().ok());
    let Some(number) = number.filter(|number| *number >= 0 && number.to_string().as_bytes() == *stamp) else {
        return Some(Detail::SignatureMalformed);
    };
    let signed = sign_stripe(body, SECRET, number).unwrap_or_default();
    let wanted = signed.split(',').nth(1).unwrap_or_default();
    if !items.contains(&wanted.as_bytes()) {
        return Some(Detail::SignatureMismatch);
    }
    (NOW.abs_diff(number) > tolerance.unsigned_abs().into()).then_some(Detail::SignatureExpired)
}

fn paystack(header: &[u8], body: &[u8]) {
    let good = sign_paystack(body, SECRET).unwrap_or_default();
    let expected = match header {
        b"" => Some(Detail::SignatureMissing),
        header => (header != good.as_bytes()).then_some(Detail::SignatureMismatch),
    };
    assert_eq!(verify_paystack(body, Some(header), &[SECRET]).detail, expected);
    assert_eq!(verify_paystack(body, Some(header), &NONE).detail, Some(Detail::SecretMissing));
    assert_eq!(verify_paystack(body, Some(good.as_bytes()), &["sk_other", SECRET]).detail, None);
}
