//! Webhook signatures of Stripe and Paystack: total over bytes, any input gives a verdict.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha512};

use crate::outcome::Detail;
use crate::text::is_blank;

/// Seconds that a Stripe signature may be away from now when nothing else is said (Stripe's own
/// libraries use the same).
pub const DEFAULT_TOLERANCE_SECONDS: i32 = 300;

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Null when the signature is valid.
    pub detail: Option<Detail>,
    /// The signed Unix time, known only once a signature matched.
    pub signed_at: Option<i64>,
}

impl Verdict {
    const fn refused(detail: Detail) -> Verdict {
        Verdict { detail: Some(detail), signed_at: None }
    }

    /// Whether the body is authentic.
    pub const fn valid(&self) -> bool {
        self.detail.is_none()
    }
}

/// Checks `Stripe-Signature` over a raw body.
///
/// `tolerance_seconds` counts both ways from `now` (Unix seconds); zero means zero seconds.
pub fn verify_stripe<S: AsRef<str>>(
    payload: &[u8],
    header: Option<&[u8]>,
    secrets: &[S],
    tolerance_seconds: i32,
    now: i64,
) -> Verdict {
    if usable(secrets).next().is_none() {
        return Verdict::refused(Detail::SecretMissing);
    }
    if tolerance_seconds < 0 {
        return Verdict::refused(Detail::ToleranceInvalid);
    }
    let header = match header {
        None | Some([]) => return Verdict::refused(Detail::SignatureMissing),
        Some(header) => header,
    };
    let Some(timestamp) = stripe_timestamp(header) else {
        return Verdict::refused(Detail::SignatureMalformed);
    };
    if !usable(secrets).any(|secret| stripe_matches(secret, timestamp.0, payload, header)) {
        return Verdict::refused(Detail::SignatureMismatch);
    }
    let away = (i128::from(now) - i128::from(timestamp.1)).abs();
    let expired = away > i128::from(tolerance_seconds);
    Verdict { detail: expired.then_some(Detail::SignatureExpired), signed_at: Some(timestamp.1) }
}

/// Checks `x-paystack-signature` over a raw body. It carries no time.
pub fn verify_paystack<S: AsRef<str>>(payload: &[u8], signature: Option<&[u8]>, secrets: &[S]) -> Verdict {
    if usable(secrets).next().is_none() {
        return Verdict::refused(Detail::SecretMissing);
    }
    let signature = match signature {
        None | Some([]) => return Verdict::refused(Detail::SignatureMissing),
        Some(signature) => signature,
    };
    let matches = decode_hex::<64>(signature).is_some_and(|expected| {
        usable(secrets).any(|secret| {
            paystack_mac(secret, payload).is_some_and(|mac| mac.verify_slice(&expected).is_ok())
        })
    });
    Verdict { detail: (!matches).then_some(Detail::SignatureMismatch), signed_at: None }
}

/// The `Stripe-Signature` header that Stripe would send at `at` (Unix seconds); none for a blank
/// secret.
pub fn sign_stripe(payload: &[u8], secret: &str, at: i64) -> Option<String> {
    let timestamp = at.to_string();
    let mac = stripe_mac(secret, timestamp.as_bytes(), payload)?;
    Some(format!("t={timestamp},v1={}", encode_hex(&mac.finalize().into_bytes())))
}

/// The `x-paystack-signature` header of a body; none for a blank secret.
pub fn sign_paystack(payload: &[u8], secret: &str) -> Option<String> {
    Some(encode_hex(&paystack_mac(secret, payload)?.finalize().into_bytes()))
}

/// The first 32 hex digits of the SHA-256 of a body: the identity of events without an id.
pub fn body_digest(payload: &[u8]) -> String {
    use sha2::Digest;
    encode_hex(&Sha256::digest(payload)[..16])
}

/// Lower-case hex.
pub fn encode_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

fn usable<S: AsRef<str>>(secrets: &[S]) -> impl Iterator<Item = &str> {
    secrets.iter().map(AsRef::as_ref).filter(|secret| !is_blank(secret))
}

fn stripe_mac(secret: &str, timestamp: &[u8], payload: &[u8]) -> Option<Hmac<Sha256>> {
    if is_blank(secret) {
        return None;
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(timestamp);
    mac.update(b".");
    mac.update(payload);
    Some(mac)
}

fn paystack_mac(secret: &str, payload: &[u8]) -> Option<Hmac<Sha512>> {
    if is_blank(secret) {
        return None;
    }
    let mut mac = Hmac::<Sha512>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(payload);
    Some(mac)
}

/// The items `name=value` of the header; an item without `=` is unknown.
fn items(header: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    header.split(|byte| *byte == b',').filter_map(|item| {
        let at = item.iter().position(|byte| *byte == b'=')?;
        Some((&item[..at], &item[at + 1..]))
    })
}

/// The one `t` of the header, as it stands (it is signed as text) and as a number.
fn stripe_timestamp(header: &[u8]) -> Option<(&[u8], i64)> {
    let mut stamps = items(header).filter(|(name, _)| *name == b"t").map(|(_, value)| value);
    let stamp = stamps.next()?;
    if stamps.next().is_some() || !stamp.iter().all(u8::is_ascii_digit) {
        return None;
    }
    if stamp.len() > 1 && stamp.first() == Some(&b'0') {
        return None;
    }
    let number = std::str::from_utf8(stamp).ok()?.parse().ok()?;
    Some((stamp, number))
}

fn stripe_matches(secret: &str, timestamp: &[u8], payload: &[u8], header: &[u8]) -> bool {
    let Some(mac) = stripe_mac(secret, timestamp, payload) else { return false };
    items(header)
        .filter(|(name, _)| *name == b"v1")
        .filter_map(|(_, value)| decode_hex::<32>(value))
        .any(|expected| mac.clone().verify_slice(&expected).is_ok())
}

/// Exactly `N` bytes written as lower-case hex digits.
fn decode_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
    }
    Some(bytes)
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: &str = "whsec_test";
    const NOW: i64 = 1_700_000_000;

    fn check(payload: &[u8], header: &str) -> Verdict {
        verify_stripe(payload, Some(header.as_bytes()), &[SECRET], 300, NOW)
    }

    fn detail(payload: &[u8], header: &str) -> Option<Detail> {
        check(payload, header).detail
    }

    fn v1(payload: &[u8], at: i64) -> String {
        let header = sign_stripe(payload, SECRET, at).unwrap();
        header.split_once("v1=").unwrap().1.to_owned()
    }

    #[test]
    fn the_epoch_itself_is_a_time() {
        let header = sign_stripe(b"{}", SECRET, 0).unwrap();
        let verdict = verify_stripe(b"{}", Some(header.as_bytes()), &[SECRET], 300, 300);
        assert_eq!(verdict, Verdict { detail: None, signed_at: Some(0) });
    }

    #[test]
    fn known_vectors() {
        // RFC 4231, test case 2, and the same construction with SHA-512.
        let mut mac = Hmac::<Sha256>::new_from_slice(b"Jefe").unwrap();
        mac.update(b"what do ya want for nothing?");
        assert_eq!(
            encode_hex(&mac.finalize().into_bytes()),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            sign_paystack(b"what do ya want for nothing?", "Jefe").unwrap(),
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
        );
        assert_eq!(body_digest(b"abc"), "ba7816bf8f01cfea414140de5dae2223");
    }

    #[test]
    fn order_of_judgement() {
        let none: [&str; 0] = [];
        let verdict = |secrets: &[&str], tolerance, header: Option<&[u8]>| {
            verify_stripe(b"{}", header, secrets, tolerance, NOW).detail
        };
        assert_eq!(verdict(&none, -1, None), Some(Detail::SecretMissing));
        assert_eq!(verdict(&["", " \u{a0}"], 300, None), Some(Detail::SecretMissing));
        assert_eq!(verdict(&[SECRET], -1, None), Some(Detail::ToleranceInvalid));
        assert_eq!(verdict(&[SECRET], 0, None), Some(Detail::SignatureMissing));
        assert_eq!(verdict(&[SECRET], 0, Some(b"")), Some(Detail::SignatureMissing));
        assert_eq!(verdict(&[SECRET], 0, Some(b"v1=00")), Some(Detail::SignatureMalformed));
        assert_eq!(verdict(&[SECRET], 0, Some(b"t=1")), Some(Detail::SignatureMismatch));
        let old = sign_stripe(b"{}", SECRET, 1).unwrap();
        assert_eq!(verdict(&[SECRET], 0, Some(old.as_bytes())), Some(Detail::SignatureExpired));
    }

    #[test]
    fn the_header_is_read_as_stripe_writes_it() {
        let body = b"{\"id\": 1}";
        let good = v1(body, NOW);
        assert_eq!(detail(body, &format!("t={NOW},v1={good}")), None);
        assert_eq!(detail(body, &format!("v0=zz,,v1={good},t={NOW},x,=,v9=1")), None);
        let other = "0".repeat(64);
        assert_eq!(detail(body, &format!("t={NOW},v1={other},v1={good}")), None);
        for header in [
            format!("t={NOW},t={NOW},v1={good}"),
            format!("t=0{NOW},v1={good}"),
            format!("t=+{NOW},v1={good}"),
            format!("t= {NOW},v1={good}"),
            format!("t=,v1={good}"),
            format!(" t={NOW},v1={good}"),
            format!("t=9223372036854775808,v1={good}"),
            format!("t=\u{661}\u{662},v1={good}"),
            "t".to_owned(),
        ] {
            assert_eq!(detail(body, &header), Some(Detail::SignatureMalformed), "{header}");
        }
        for header in [
            format!("t={NOW}"),
            format!("t={NOW},v0={good}"),
            format!("t={NOW}, v1={good}"),
            format!("t={NOW},v1={good} "),
            format!("t={NOW},v1={}", good.to_uppercase()),
            format!("t={NOW},v1={}", &good[..63]),
            format!("t={NOW},v1={good}0"),
            format!("t={NOW},v1="),
        ] {
            assert_eq!(detail(body, &header), Some(Detail::SignatureMismatch), "{header}");
        }
    }

    #[test]
    fn tolerance_counts_whole_seconds_both_ways() {
        let at = |at: i64, tolerance: i32| {
            let header = sign_stripe(b"x", SECRET, at).unwrap();
            verify_stripe(b"x", Some(header.as_bytes()), &[SECRET], tolerance, NOW)
        };
        assert!(at(NOW - 300, 300).valid());
        assert!(at(NOW + 300, 300).valid());
        assert_eq!(at(NOW - 301, 300).detail, Some(Detail::SignatureExpired));
        assert_eq!(at(NOW + 301, 300).detail, Some(Detail::SignatureExpired));
        assert!(at(NOW, 0).valid());
        assert_eq!(at(NOW + 1, 0).detail, Some(Detail::SignatureExpired));
        assert_eq!(at(NOW - 301, 300).signed_at, Some(NOW - 301));
        assert_eq!(at(i64::MAX, i32::MAX).detail, Some(Detail::SignatureExpired));
        assert_eq!(
            verify_stripe(
                b"x",
                Some(sign_stripe(b"x", SECRET, i64::MAX).unwrap().as_bytes()),
                &[SECRET],
                0,
                i64::MIN
            )
            .detail,
            Some(Detail::SignatureExpired)
        );
    }

    #[test]
    fn any_valid_secret_will_do() {
        let header = sign_stripe(b"x", "whsec_new", NOW).unwrap();
        let check =
            |secrets: &[&str]| verify_stripe(b"x", Some(header.as_bytes()), secrets, 300, NOW).valid();
        assert!(check(&["whsec_old", "whsec_new"]));
        assert!(!check(&["whsec_old", ""]));
    }

    #[test]
    fn paystack_takes_only_its_own_form() {
        let good = sign_paystack(b"body", "sk_test").unwrap();
        let check =
            |signature: Option<&[u8]>, secrets: &[&str]| verify_paystack(b"body", signature, secrets).detail;
        assert_eq!(check(Some(good.as_bytes()), &["sk_other", "sk_test"]), None);
        assert_eq!(check(None, &["sk_test"]), Some(Detail::SignatureMissing));
        assert_eq!(check(Some(b""), &["sk_test"]), Some(Detail::SignatureMissing));
        assert_eq!(check(Some(good.as_bytes()), &[" "]), Some(Detail::SecretMissing));
        for bad in [good.to_uppercase(), format!(" {good}"), good[..127].to_owned()] {
            assert_eq!(check(Some(bad.as_bytes()), &["sk_test"]), Some(Detail::SignatureMismatch));
        }
    }

    #[test]
    fn nobody_signs_with_a_blank_secret() {
        assert_eq!(sign_stripe(b"x", "", NOW), None);
        assert_eq!(sign_paystack(b"x", " "), None);
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_verdict(body: Vec<u8>, header: Option<Vec<u8>>, secret: String,
                                    tolerance: i32, now: i64) {
            let verdict = verify_stripe(&body, header.as_deref(), &[&secret], tolerance, now);
            prop_assert!(!verdict.valid());
            prop_assert!(!verify_paystack(&body, header.as_deref(), &[&secret]).valid());
        }

        #[test]
        fn almost_headers_give_a_verdict(header in "(t=[0-9]{0,20}|v1=[0-9a-f]{0,66}|,|=|v0=x){0,6}") {
            prop_assert!(!check(b"body", &header).valid());
        }

        #[test]
        fn what_we_sign_verifies(body: Vec<u8>, secret in "[a-zA-Z0-9_]{1,80}", now in 0i64..=i64::MAX) {
            let header = sign_stripe(&body, &secret, now).unwrap();
            prop_assert!(verify_stripe(&body, Some(header.as_bytes()), &[&secret], 0, now).valid());
            let header = sign_paystack(&body, &secret).unwrap();
            prop_assert!(verify_paystack(&body, Some(header.as_bytes()), &[&secret]).valid());
        }

        #[test]
        fn one_changed_byte_does_not_verify(body in proptest::collection::vec(any::<u8>(), 1..200),
                                            at: prop::sample::Index, flip in 1u8..=255) {
            let header = sign_stripe(&body, SECRET, NOW).unwrap();
            let paystack = sign_paystack(&body, SECRET).unwrap();
            let mut changed = body.clone();
            let at = at.index(changed.len());
            changed[at] ^= flip;
            prop_assert_eq!(detail(&changed, &header), Some(Detail::SignatureMismatch));
            prop_assert!(!verify_paystack(&changed, Some(paystack.as_bytes()), &[SECRET]).valid());
        }

        #[test]
        fn one_changed_digit_of_the_signature_does_not_verify(at in 0usize..64, digit in "[0-9a-f]") {
            let good = v1(b"body", NOW);
            let mut changed = good.clone();
            changed.replace_range(at..=at, &digit);
            prop_assume!(changed != good);
            prop_assert_eq!(detail(b"body", &format!("t={NOW},v1={changed}")), Some(Detail::SignatureMismatch));
        }
    }
}
