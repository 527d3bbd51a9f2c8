//! People mended by hand: an identifier that moves, two customers that become one.

use super::{Customer, Identifier, ProviderCode, Registration, Uuid};
use crate::outcome::Detail;

/// What moving an identifier calls for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MovePlan {
    /// It is the customer's already.
    Replay,
    /// Refused; nothing is written.
    Refuse(Detail),
    /// What both have afterwards.
    Write {
        /// Who had it, if anybody.
        holder: Option<Box<Customer>>,
        /// Who gets it.
        target: Box<Customer>,
    },
}

/// Decides where an identifier goes; both customers come with all of their aliases, the oldest first.
///
/// A second user id, legacy id or external id is refused: it would make two people one. An e-mail replaces
/// the one before, as it does when the customer is registered by an id of their own.
pub fn plan_move(identifier: &Identifier, holder: Option<&Customer>, target: &Customer) -> MovePlan {
    if has(target, identifier) {
        return MovePlan::Replay;
    }
    let mut target = target.clone();
    if let Identifier::Email(_) = identifier {
        target.known.email = None;
    }
    if let Err(detail) = give(&mut target, identifier) {
        return MovePlan::Refuse(detail);
    }
    let holder = holder.cloned().map(|mut holder| {
        take(&mut holder, identifier);
        Box::new(holder)
    });
    MovePlan::Write { holder, target: Box::new(target) }
}

/// What `into` has after `from` has become the same customer.
///
/// Two user ids, legacy ids or external ids are two people to the application. Of two e-mails the
/// customer who stays keeps theirs.
pub fn plan_merge(from: &Customer, into: &Customer) -> Result<Customer, Detail> {
    let mut merged = into.clone();
    let known = &from.known;
    let email = known.email.as_ref().filter(|_| into.known.email.is_none());
    let ids = [
        known.user_id.map(Identifier::UserId),
        known.legacy_id.map(Identifier::LegacyId),
        known.external_id.as_deref().map(Identifier::External),
        email.cloned().map(Identifier::Email),
    ];
    for identifier in ids.into_iter().flatten().chain(codes(from).map(ProviderCode::identifier)) {
        give(&mut merged, &identifier)?;
    }
    Ok(merged)
}

/// A customer's provider codes: the first ones, then the aliases.
pub fn codes(customer: &Customer) -> impl Iterator<Item = ProviderCode<'_>> {
    let known = &customer.known;
    let first = [&known.stripe_customer_id, &known.paystack_customer_code].into_iter().flatten();
    first.chain(&customer.aliases).filter_map(|code| ProviderCode::parse(code))
}

/// What tells that a text that somebody else wrote is about a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Provider codes.
    pub codes: Vec<String>,
    /// The same as a JSON body has them, also inside a string of it: with the quotes.
    pub codes_in_bodies: Vec<String>,
    /// Identifiers other than codes, in lower case, as they may be written in another.
    pub names: Vec<String>,
    /// The same as a JSON body has them.
    pub names_in_bodies: Vec<String>,
    /// A regular expression for a legacy id where a body names its user; a number anywhere else may be anything.
    pub legacy_id: Option<String>,
}

impl Traces {
    /// The traces of a customer with all aliases.
    pub fn of(customer: &Customer) -> Traces {
        let known = &customer.known;
        let codes: Vec<String> = codes(customer).map(|code| code.as_str().to_owned()).collect();
        let user_id = known.user_id.as_ref().map(uuid_text);
        let others = [user_id, known.email.clone(), known.external_id.clone()];
        let names: Vec<String> = others.into_iter().flatten().map(|text| text.to_lowercase()).collect();
        let named = |id| format!(r#""(user_id|client_reference_id)\\?"\s*:\s*(\\?")?{id}(\\?")?\s*[,}}]"#);
        Traces {
            codes_in_bodies: codes.iter().flat_map(|code| in_json(code)).collect(),
            names_in_bodies: names.iter().flat_map(|name| in_json(name)).collect(),
            legacy_id: known.legacy_id.map(named),
            names,
            codes,
        }
    }
}

/// The text as a JSON string, and as one inside another.
fn in_json(text: &str) -> [String; 2] {
    let quoted = serde_json::Value::from(text).to_string();
    let inside = format!("{}\\\"", &quoted[..quoted.len() - 1]);
    [quoted, inside]
}

fn uuid_text(id: &Uuid) -> String {
    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

fn column<'a>(known: &'a mut Registration, code: ProviderCode) -> &'a mut Option<String> {
    match code {
        ProviderCode::Stripe(_) => &mut known.stripe_customer_id,
        ProviderCode::Paystack(_) => &mut known.paystack_customer_code,
    }
}

fn code_of<'a>(identifier: &Identifier<'a>) -> Option<ProviderCode<'a>> {
    match identifier {
        Identifier::StripeCustomer(code) => Some(ProviderCode::Stripe(code)),
        Identifier::PaystackCustomer(code) => Some(ProviderCode::Paystack(code)),
        Identifier::UserId(_) | Identifier::LegacyId(_) | Identifier::Email(_) | Identifier::External(_) => {
            None
        }
    }
}

fn has(customer: &Customer, identifier: &Identifier) -> bool {
    let known = &customer.known;
    match identifier {
        Identifier::UserId(id) => known.user_id == Some(*id),
        Identifier::LegacyId(id) => known.legacy_id == Some(*id),
        Identifier::Email(email) => known.email.as_ref() == Some(email),
        Identifier::External(id) => known.external_id.as_deref() == Some(id),
        Identifier::StripeCustomer(code) | Identifier::PaystackCustomer(code) => {
            codes(customer).any(|own| own.as_str() == *code)
        }
    }
}

/// Adds an identifier that the customer does not have; a further provider code is an alias.
fn give(customer: &mut Customer, identifier: &Identifier) -> Result<(), Detail> {
    let known = &mut customer.known;
    match identifier {
        Identifier::UserId(id) => set(&mut known.user_id, *id),
        Identifier::LegacyId(id) => set(&mut known.legacy_id, *id),
        Identifier::External(id) => set(&mut known.external_id, (*id).to_owned()),
        Identifier::Email(email) => set(&mut known.email, email.clone()),
        Identifier::StripeCustomer(code) => {
            place(&mut known.stripe_customer_id, &mut customer.aliases, code);
            Ok(())
        }
        Identifier::PaystackCustomer(code) => {
            place(&mut known.paystack_customer_code, &mut customer.aliases, code);
            Ok(())
        }
    }
}

fn set<T>(column: &mut Option<T>, value: T) -> Result<(), Detail> {
    match column {
        Some(_) => Err(Detail::IdentityConflict),
        None => {
            *column = Some(value);
            Ok(())
        }
    }
}

fn place(column: &mut Option<String>, aliases: &mut Vec<String>, code: &str) {
    match column {
        Some(_) => aliases.push(code.to_owned()),
        None => *column = Some(code.to_owned()),
    }
}

/// Takes an identifier away; the oldest alias of the same provider fills the place of a first code.
fn take(customer: &mut Customer, identifier: &Identifier) {
    let known = &mut customer.known;
    match identifier {
        Identifier::UserId(_) => known.user_id = None,
        Identifier::LegacyId(_) => known.legacy_id = None,
        Identifier::Email(_) => known.email = None,
        Identifier::External(_) => known.external_id = None,
        Identifier::StripeCustomer(_) | Identifier::PaystackCustomer(_) => {
            if let Some(code) = code_of(identifier) {
                take_code(customer, code);
            }
        }
    }
}

fn take_code(customer: &mut Customer, code: ProviderCode) {
    customer.aliases.retain(|alias| alias != code.as_str());
    let same_provider = |alias: &String| {
        ProviderCode::parse(alias)
            .is_some_and(|alias| std::mem::discriminant(&alias) == std::mem::discriminant(&code))
    };
    let first = column(&mut customer.known, code);
    if first.as_deref() == Some(code.as_str()) {
        let next = customer.aliases.iter().position(same_provider);
        *first = next.map(|place| customer.aliases.remove(place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn customer(number: u8, user_id: Option<u8>, email: Option<&str>, codes: &[&str]) -> Customer {
        let mut customer = Customer { customer_id: [number; 16], ..Customer::default() };
        customer.known.user_id = user_id.map(|id| [id; 16]);
        customer.known.email = email.map(str::to_owned);
        for code in codes {
            let code = ProviderCode::parse(code).expect("a code").identifier();
            give(&mut customer, &code).expect("codes never conflict");
        }
        customer
    }

    fn write(identifier: &Identifier, holder: &Customer, target: &Customer) -> (Customer, Customer) {
        match plan_move(identifier, Some(holder), target) {
            MovePlan::Write { holder: Some(holder), target } => (*holder, *target),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_oldest_alias_of_the_provider_takes_the_place_of_a_first_code() {
        let holder = customer(1, None, None, &["CUS_a", "cus_a", "CUS_b", "cus_b", "cus_c"]);
        let target = customer(2, Some(2), None, &["cus_x"]);
        let (holder, target) = write(&Identifier::StripeCustomer("cus_a"), &holder, &target);
        assert_eq!(holder.known.stripe_customer_id.as_deref(), Some("cus_b"));
        assert_eq!(holder.known.paystack_customer_code.as_deref(), Some("CUS_a"));
        assert_eq!(holder.aliases, ["CUS_b", "cus_c"]);
        assert_eq!(target.known.stripe_customer_id.as_deref(), Some("cus_x"));
        assert_eq!(target.aliases, ["cus_a"]);
        let (holder, target) = write(&Identifier::PaystackCustomer("CUS_b"), &holder, &target);
        assert_eq!(holder.known.paystack_customer_code.as_deref(), Some("CUS_a"));
        assert_eq!(holder.aliases, ["cus_c"]);
        assert_eq!(target.known.paystack_customer_code.as_deref(), Some("CUS_b"));
    }

    #[test]
    fn a_second_id_is_refused_a_second_email_replaces() {
        let holder = customer(1, Some(1), Some("a@b.de"), &[]);
        let target = customer(2, Some(2), Some("c@d.de"), &[]);
        assert_eq!(
            plan_move(&Identifier::UserId([1; 16]), Some(&holder), &target),
            MovePlan::Refuse(Detail::IdentityConflict)
        );
        let (holder, target) = write(&Identifier::Email("a@b.de".to_owned()), &holder, &target);
        assert_eq!((holder.known.email, target.known.email.as_deref()), (None, Some("a@b.de")));
        assert_eq!(plan_move(&Identifier::UserId([2; 16]), Some(&target), &target), MovePlan::Replay);
        for id in [Identifier::LegacyId(7), Identifier::External("x")] {
            let MovePlan::Write { holder: None, target } = plan_move(&id, None, &target) else {
                panic!("nobody's identifier is given")
            };
            assert_eq!(plan_move(&id, None, &target), MovePlan::Replay);
        }
        let other = |id| {
            plan_move(&id, None, &{
                let mut target = target.clone();
                target.known.legacy_id = Some(1);
                target.known.external_id = Some("y".to_owned());
                target
            })
        };
        assert_eq!(other(Identifier::LegacyId(7)), MovePlan::Refuse(Detail::IdentityConflict));
        assert_eq!(other(Identifier::External("x")), MovePlan::Refuse(Detail::IdentityConflict));
    }

    #[test]
    fn merging_fills_what_is_empty_and_keeps_the_email_of_who_stays() {
        let mut from = customer(1, None, Some("a@b.de"), &["cus_a", "cus_b"]);
        from.known.legacy_id = Some(7);
        let into = customer(2, Some(2), Some("c@d.de"), &["CUS_x"]);
        let merged = plan_merge(&from, &into).expect("no conflict");
        assert_eq!(merged.customer_id, into.customer_id);
        assert_eq!(merged.known.user_id, Some([2; 16]));
        assert_eq!(merged.known.legacy_id, Some(7));
        assert_eq!(merged.known.email.as_deref(), Some("c@d.de"));
        assert_eq!(merged.known.stripe_customer_id.as_deref(), Some("cus_a"));
        assert_eq!(merged.aliases, ["cus_b"]);
        let nameless = customer(3, None, None, &[]);
        assert_eq!(plan_merge(&from, &nameless).expect("no conflict").known, from.known);
        let conflict = plan_merge(&customer(3, Some(3), None, &[]), &into);
        assert_eq!(conflict, Err(Detail::IdentityConflict));
    }

    #[test]
    fn traces_of_a_person() {
        let mut ada = customer(1, Some(0xa0), Some("ada@x.de"), &["cus_A", "cus_b"]);
        ada.known.legacy_id = Some(7);
        ada.known.external_id = Some("q\"X".to_owned());
        let traces = Traces::of(&ada);
        assert_eq!(traces.codes, ["cus_A", "cus_b"]);
        let id = "a0a0a0a0-a0a0-a0a0-a0a0-a0a0a0a0a0a0";
        assert_eq!(traces.names, [id, "ada@x.de", "q\"x"]);
        // Codes are compared as they are written: `cus_a` is somebody else.
        assert_eq!(traces.codes_in_bodies, [r#""cus_A""#, r#""cus_A\""#, r#""cus_b""#, r#""cus_b\""#]);
        for needle in
            [format!("\"{id}\""), r#""ada@x.de""#.into(), r#""ada@x.de\""#.into(), r#""q\"x""#.into()]
        {
            assert!(traces.names_in_bodies.contains(&needle), "{needle}");
        }
        let pattern = traces.legacy_id.expect("a legacy id");
        assert_eq!(pattern, r#""(user_id|client_reference_id)\\?"\s*:\s*(\\?")?7(\\?")?\s*[,}]"#);
        assert_eq!(Traces::of(&Customer::default()), Traces::default());
    }

    fn any_customer(number: u8) -> impl Strategy<Value = Customer> {
        let codes = prop::collection::vec(("cus_|CUS_", "[a-d]"), 0..5);
        (any::<bool>(), any::<bool>(), codes).prop_map(move |(id, email, codes)| {
            let mut codes: Vec<String> =
                codes.into_iter().map(|(kind, rest)| format!("{kind}{rest}{number}")).collect();
            codes.sort();
            codes.dedup();
            let codes: Vec<&str> = codes.iter().map(String::as_str).collect();
            let email = email.then(|| format!("{number}@x.de"));
            customer(number, id.then_some(number), email.as_deref(), &codes)
        })
    }

    fn sorted_codes<'a>(of: impl IntoIterator<Item = &'a Customer>) -> Vec<String> {
        let mut all: Vec<String> =
            of.into_iter().flat_map(codes).map(|code| code.as_str().to_owned()).collect();
        all.sort();
        all
    }

    proptest! {
        #[test]
        fn no_code_is_lost_or_doubled(holder in any_customer(1), target in any_customer(2), pick in any::<prop::sample::Index>()) {
            let own = sorted_codes([&holder]);
            prop_assume!(!own.is_empty());
            let code = ProviderCode::parse(&own[pick.index(own.len())]).expect("a code");
            let (left, got) = write(&code.identifier(), &holder, &target);
            prop_assert_eq!(sorted_codes([&left, &got]), sorted_codes([&holder, &target]));
            prop_assert!(has(&got, &code.identifier()) && !has(&left, &code.identifier()));
            prop_assert!(left.known.stripe_customer_id.is_some() || !codes(&left).any(|c| matches!(c, ProviderCode::Stripe(_))));
        }

        #[test]
        fn merging_keeps_every_code_once(from in any_customer(1), into in any_customer(2)) {
            match plan_merge(&from, &into) {
                Ok(merged) => prop_assert_eq!(sorted_codes([&merged]), sorted_codes([&from, &into])),
                Err(_) => prop_assert!(from.known.user_id.is_some() && into.known.user_id.is_some()),
            }
        }
    }
}
