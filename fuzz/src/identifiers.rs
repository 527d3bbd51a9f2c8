//! A text that is to name a person, and the same text wherever else a caller may give an id.

use billing_core::credits::{GATES, Money, Source, gate};
use billing_core::customers::{
    Customer, Identifier, ProviderCode, RawRegistration, Registration, RegistrationPlan, Unusable,
    jwt_subject, parse_email, parse_uuid, plan_registration,
};
use billing_core::signatures::encode_hex;

use super::{is_reference, is_reference_or_none, stripe, text};

/// The target.
pub fn identifiers(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let strict = Identifier::classify(Some(text), false);
    let external = Identifier::classify(Some(text), true);
    match (&strict, &external) {
        (Err(Unusable::Malformed), Ok(found)) => assert!(matches!(found, Identifier::External(_))),
        _ => assert_eq!(strict, external),
    }
    if let Ok(identifier) = &external {
        is_sound(identifier);
        names_the_same(identifier);
    }
    register(text, external.as_ref().ok());
    sources(text);
    subjects(text);
}

/// What is kept of a person fits its column, and is found again by what is kept.
pub fn is_sound(identifier: &Identifier) {
    let again = match identifier {
        Identifier::StripeCustomer(code) | Identifier::PaystackCustomer(code) => {
            assert!(is_reference(code));
            ProviderCode::parse(code).map(ProviderCode::identifier)
        }
        Identifier::UserId(id) => parse_uuid(&encode_hex(id)).map(Identifier::UserId),
        Identifier::LegacyId(id) => {
            assert!(*id > 0);
            return assert_eq!(Identifier::classify(Some(&id.to_string()), false).as_ref(), Ok(identifier));
        }
        Identifier::Email(email) => {
            assert!(is_reference(email) && email.len() <= 254);
            parse_email(email).map(Identifier::Email)
        }
        Identifier::External(id) => {
            assert!(is_reference(id));
            Identifier::classify(Some(id), true).ok()
        }
    };
    assert_eq!(again.as_ref(), Some(identifier));
}

/// Whoever is made by an identifier is who it finds afterwards.
fn names_the_same(identifier: &Identifier) {
    let given = Registration::of(identifier);
    let is_code = matches!(identifier, Identifier::StripeCustomer(_) | Identifier::PaystackCustomer(_));
    assert_ne!(given.names_a_person(), is_code);
    assert_eq!(plan_registration(&given, &[]) == RegistrationPlan::Create, !is_code);
    let owner = Customer { customer_id: [1; 16], known: given.clone(), aliases: Vec::new() };
    assert_eq!(plan_registration(&given, &[owner]), RegistrationPlan::Replay);
}

/// The same text as each argument of `register_billing_user`.
fn register(text: &str, kind: Option<&Identifier>) {
    let given = Some(text);
    let raws = [
        RawRegistration { email: given, ..RawRegistration::default() },
        RawRegistration { stripe_customer_id: given, ..RawRegistration::default() },
        RawRegistration { paystack_customer_code: given, ..RawRegistration::default() },
        RawRegistration { external_id: given, ..RawRegistration::default() },
    ];
    for raw in raws {
        let Ok(read) = Registration::parse(raw, true) else { continue };
        let columns =
            [&read.email, &read.stripe_customer_id, &read.paystack_customer_code, &read.external_id];
        assert_eq!(columns.iter().filter(|column| column.is_some()).count(), 1);
        assert!(columns.iter().all(|column| is_reference_or_none(column.as_deref())));
        // An address may begin as a provider's code does; all else is of the kind that it looks like.
        assert!(read.email.is_some() || kind.map(Registration::of) == Some(read));
    }
}

fn sources(text: &str) {
    let of_session = Source::parse(Some(text), None);
    for source in [&of_session, &Source::parse(None, Some(text))].into_iter().flatten().flatten() {
        assert!(is_reference(&source.source_ref) && is_reference_or_none(source.payment_ref.as_deref()));
        assert!(gate(&source.source_ref) < GATES);
        assert_eq!(Source::parse(None, Some(&source.source_ref)), Ok(Some(source.clone())));
        if let Some(payment) = source.payment_source() {
            assert_eq!(payment, source.source_ref);
        }
    }
    if let Ok(Some(money)) = Money::parse(Some(1), Some(text)) {
        stripe::money(&money);
    }
}

/// The text as the claims of a request, and as its single claim: an end user is an id, never a claimed address.
fn subjects(text: &str) {
    let single = jwt_subject(None, Some(text));
    assert_eq!(single.as_deref(), Some(text).filter(|text| !text.chars().all(char::is_whitespace)));
    for sub in [jwt_subject(Some(text), None), single].into_iter().flatten() {
        if let Some(user) = Identifier::of_subject(&sub, true) {
            is_sound(&user);
            assert!(matches!(
                user,
                Identifier::UserId(_) | Identifier::LegacyId(_) | Identifier::External(_)
            ));
        }
    }
}
