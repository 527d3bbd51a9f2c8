//! Who is meant: kinds of identifiers, and what registering them does.

use crate::json::Object;
use crate::outcome::{Detail, Refusal, invalid};
use crate::text::{MAX_REFERENCE_BYTES, is_blank, is_solid};

pub mod mend;

/// The 16 bytes of a uuid.
pub type Uuid = [u8; 16];

/// The most bytes of an e-mail address (RFC 5321's path limit less its brackets).
pub const MAX_EMAIL_BYTES: usize = 254;

/// A text that can name a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identifier<'a> {
    /// `cus_...`
    StripeCustomer(&'a str),
    /// `CUS_...`
    PaystackCustomer(&'a str),
    /// Any form of a uuid that Postgres reads.
    UserId(Uuid),
    /// 1 to 2^63-1.
    LegacyId(i64),
    /// Lower-cased.
    Email(String),
    /// An id of somebody else's user base.
    External(&'a str),
}

/// Why a text names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// Null, empty or only white space.
    Blank,
    /// An unfilled template.
    Placeholder,
    /// None of the kinds.
    Malformed,
}

impl Unusable {
    /// The kind's name, as in `user_resolution.kind`.
    pub const fn kind(self) -> &'static str {
        match self {
            Unusable::Blank => "blank",
            Unusable::Placeholder => "placeholder",
            Unusable::Malformed => "malformed",
        }
    }

    /// The code for an argument of that kind.
    pub const fn detail(self) -> Detail {
        match self {
            Unusable::Blank => Detail::UserIdBlank,
            Unusable::Placeholder => Detail::UserIdPlaceholder,
            Unusable::Malformed => Detail::UserIdMalformed,
        }
    }
}

impl<'a> Identifier<'a> {
    /// Tells the kind of a text. `external_ids`: whether texts of no other kind are ids too.
    pub fn classify(text: Option<&'a str>, external_ids: bool) -> Result<Identifier<'a>, Unusable> {
        let text = text.unwrap_or_default();
        if is_blank(text) {
            return Err(Unusable::Blank);
        }
        if is_placeholder(text) {
            return Err(Unusable::Placeholder);
        }
        if let Some(code) = ProviderCode::parse(text) {
            return Ok(code.identifier());
        }
        if let Some(uuid) = parse_uuid(text) {
            return Ok(Identifier::UserId(uuid));
        }
        if let Some(number) = parse_legacy_id(text) {
            return Ok(Identifier::LegacyId(number));
        }
        if let Some(email) = parse_email(text) {
            return Ok(Identifier::Email(email));
        }
        if external_ids && is_solid(text) && text.len() <= MAX_REFERENCE_BYTES {
            return Ok(Identifier::External(text));
        }
        Err(Unusable::Malformed)
    }

    /// The end user of a JWT's `sub`. Only an id of the application's own names one: an e-mail or a
    /// provider code in a token is a claim that nobody has checked.
    pub fn of_subject(sub: &'a str, external_ids: bool) -> Option<Identifier<'a>> {
        match Identifier::classify(Some(sub), external_ids).ok()? {
            id @ (Identifier::UserId(_) | Identifier::LegacyId(_) | Identifier::External(_)) => Some(id),
            Identifier::Email(_) | Identifier::StripeCustomer(_) | Identifier::PaystackCustomer(_) => None,
        }
    }

    /// The kind's name, as in `user_resolution.kind`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Identifier::StripeCustomer(_) => "stripe_customer",
            Identifier::PaystackCustomer(_) => "paystack_customer",
            Identifier::UserId(_) => "uuid",
            Identifier::LegacyId(_) => "integer",
            Identifier::Email(_) => "email",
            Identifier::External(_) => "external",
        }
    }
}

/// The `sub` of a request: of the JSON object of all claims, else, where there is none, the single claim
/// as older versions of PostgREST set it.
pub fn jwt_subject(claims: Option<&str>, sub: Option<&str>) -> Option<String> {
    match claims.filter(|claims| !is_blank(claims)) {
        Some(claims) => Object::parse(claims)?.text("sub").map(|sub| sub.into_owned()),
        None => sub.filter(|sub| !is_blank(sub)).map(str::to_owned),
    }
}

/// A customer's id at a payment provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderCode<'a> {
    /// `cus_...`
    Stripe(&'a str),
    /// `CUS_...`
    Paystack(&'a str),
}

impl<'a> ProviderCode<'a> {
    /// Tells a provider code from other text.
    pub fn parse(text: &'a str) -> Option<ProviderCode<'a>> {
        if !is_solid(text) || text.len() > MAX_REFERENCE_BYTES || text.len() <= "cus_".len() {
            return None;
        }
        if text.starts_with("cus_") {
            return Some(ProviderCode::Stripe(text));
        }
        text.starts_with("CUS_").then_some(ProviderCode::Paystack(text))
    }

    /// The code as the provider writes it.
    pub const fn as_str(self) -> &'a str {
        match self {
            ProviderCode::Stripe(code) | ProviderCode::Paystack(code) => code,
        }
    }

    /// The identifier that the code is.
    pub const fn identifier(self) -> Identifier<'a> {
        match self {
            ProviderCode::Stripe(code) => Identifier::StripeCustomer(code),
            ProviderCode::Paystack(code) => Identifier::PaystackCustomer(code),
        }
    }
}

fn is_placeholder(text: &str) -> bool {
    const WORDS: [&str; 4] = ["null", "undefined", "none", "nan"];
    let wrapped = |open: &str, close: &str| {
        text.len() >= open.len() + close.len() && text.starts_with(open) && text.ends_with(close)
    };
    WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
        || wrapped("<", ">")
        || wrapped("{{", "}}")
        || wrapped("${", "}")
}

/// A uuid in any form that Postgres reads: 32 hex digits of either case, a hyphen allowed after
/// every fourth, braces around all of it allowed.
pub fn parse_uuid(text: &str) -> Option<Uuid> {
    let inner = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}')?,
        None => text,
    };
    let mut bytes = [0; 16];
    let mut rest = inner.as_bytes();
    for (index, byte) in bytes.iter_mut().enumerate() {
        let (pair, after) = rest.split_at_checked(2)?;
        *byte = hex_value(pair[0])? << 4 | hex_value(pair[1])?;
        rest = after;
        if index % 2 == 1 && index < 15 && rest.first() == Some(&b'-') {
            rest = &rest[1..];
        }
    }
    rest.is_empty().then_some(bytes)
}

fn hex_value(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn parse_legacy_id(text: &str) -> Option<i64> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|number| *number > 0)
}

/// A well-formed e-mail address, lower-cased. What is kept is what is judged: some letters are longer in
/// lower case, or become two characters.
pub fn parse_email(text: &str) -> Option<String> {
    if text.len() > MAX_EMAIL_BYTES || !is_solid(text) || !text.contains('@') {
        return None;
    }
    let email = text.to_lowercase();
    let (local, domain) = email.split_once('@')?;
    let well_formed = email.len() <= MAX_EMAIL_BYTES && is_email_local(local) && is_email_domain(domain);
    well_formed.then_some(email)
}

fn is_email_local(local: &str) -> bool {
    const FORBIDDEN: &str = "()<>[]:;,\\\"@";
    !local.is_empty()
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..")
        && !local.chars().any(|c| FORBIDDEN.contains(c))
}

fn is_email_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    domain.contains('.') && domain.split('.').all(is_label)
}

/// The identifiers of one person, as given to `register_billing_user` or found in an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registration {
    /// The application's user id.
    pub user_id: Option<Uuid>,
    /// Lower-cased.
    pub email: Option<String>,
    /// An integer id of an older user base.
    pub legacy_id: Option<i64>,
    /// `cus_...`
    pub stripe_customer_id: Option<String>,
    /// `CUS_...`
    pub paystack_customer_code: Option<String>,
    /// An id of another kind.
    pub external_id: Option<String>,
}

/// The raw arguments of `register_billing_user`.
#[derive(Clone, Copy, Debug, Default)]
pub struct RawRegistration<'a> {
    /// Already read by Postgres.
    pub user_id: Option<Uuid>,
    /// Any text.
    pub email: Option<&'a str>,
    /// Any number.
    pub legacy_id: Option<i64>,
    /// Any text.
    pub stripe_customer_id: Option<&'a str>,
    /// Any text.
    pub paystack_customer_code: Option<&'a str>,
    /// Any text.
    pub external_id: Option<&'a str>,
}

impl Registration {
    /// Validates the form of each identifier given.
    pub fn parse(raw: RawRegistration, external_ids: bool) -> Result<Registration, Refusal> {
        let registration = Registration {
            user_id: raw.user_id,
            email: given(raw.email, parse_email, Detail::EmailMalformed)?,
            legacy_id: given(raw.legacy_id, |id| (id > 0).then_some(id), Detail::LegacyIdInvalid)?,
            stripe_customer_id: given(
                raw.stripe_customer_id,
                |text| matches!(ProviderCode::parse(text)?, ProviderCode::Stripe(_)).then(|| text.to_owned()),
                Detail::StripeCustomerIdMalformed,
            )?,
            paystack_customer_code: given(
                raw.paystack_customer_code,
                |text| {
                    matches!(ProviderCode::parse(text)?, ProviderCode::Paystack(_)).then(|| text.to_owned())
                },
                Detail::PaystackCustomerCodeMalformed,
            )?,
            external_id: given(
                raw.external_id,
                |text| match Identifier::classify(Some(text), true) {
                    Ok(Identifier::External(id)) => Some(id.to_owned()),
                    _ => None,
                },
                Detail::ExternalIdMalformed,
            )?,
        };
        if registration == Registration::default() {
            return Err(invalid(Detail::IdentifierMissing));
        }
        if registration.external_id.is_some() && !external_ids {
            return Err(invalid(Detail::ExternalIdsOff));
        }
        Ok(registration)
    }

    /// The registration that one identifier stands for.
    pub fn of(identifier: &Identifier) -> Registration {
        let mut registration = Registration::default();
        match identifier {
            Identifier::StripeCustomer(code) => registration.stripe_customer_id = Some((*code).to_owned()),
            Identifier::PaystackCustomer(code) => {
                registration.paystack_customer_code = Some((*code).to_owned());
            }
            Identifier::UserId(id) => registration.user_id = Some(*id),
            Identifier::LegacyId(id) => registration.legacy_id = Some(*id),
            Identifier::Email(email) => registration.email = Some(email.clone()),
            Identifier::External(id) => registration.external_id = Some((*id).to_owned()),
        }
        registration
    }

    /// The same registration with a provider code more.
    pub fn with_code(mut self, code: ProviderCode) -> Registration {
        match code {
            ProviderCode::Stripe(code) => self.stripe_customer_id = Some(code.to_owned()),
            ProviderCode::Paystack(code) => self.paystack_customer_code = Some(code.to_owned()),
        }
        self
    }

    /// Whether it names a person, not only a provider's customer.
    pub const fn names_a_person(&self) -> bool {
        self.user_id.is_some()
            || self.email.is_some()
            || self.legacy_id.is_some()
            || self.external_id.is_some()
    }
}

fn given<T, U>(
    value: Option<T>,
    parse: impl Fn(T) -> Option<U>,
    detail: Detail,
) -> Result<Option<U>, Refusal> {
    match value {
        None => Ok(None),
        Some(value) => parse(value).map(Some).ok_or(invalid(detail)),
    }
}

/// One row of `billing.customers` with its aliases: those among a registration's codes, or all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Customer {
    /// Primary key.
    pub customer_id: Uuid,
    /// What is known of the person.
    pub known: Registration,
    /// As far as they were looked up.
    pub aliases: Vec<String>,
}

/// What registering calls for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistrationPlan {
    /// Nobody is known by any of the identifiers: a new customer gets them all.
    Create,
    /// All of them are the customer's already.
    Replay,
    /// The customer gets what is new.
    Amend(Amendment),
    /// Refused; nothing is written.
    Refuse(Detail),
}

/// What is new to a customer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amendment {
    /// Identifiers for empty columns, and an e-mail that replaces the old one.
    pub columns: Registration,
    /// Further provider codes.
    pub aliases: Vec<String>,
}

impl Amendment {
    /// Every identifier that must not belong to anybody else, in the form of a registration: what
    /// fills columns, and the aliases in the columns of their provider.
    pub fn claims(&self) -> Registration {
        self.aliases.iter().fold(self.columns.clone(), |claims, alias| match ProviderCode::parse(alias) {
            Some(code) => claims.with_code(code),
            None => claims,
        })
    }

    /// The provider codes that become the customer's.
    pub fn codes(&self) -> Vec<String> {
        let columns = [&self.columns.stripe_customer_id, &self.columns.paystack_customer_code];
        columns.into_iter().flatten().chain(&self.aliases).cloned().collect()
    }
}

/// Decides a registration against the customers that hold any of its identifiers.
pub fn plan_registration(given: &Registration, owners: &[Customer]) -> RegistrationPlan {
    let owner = match owners {
        [] if given.names_a_person() => return RegistrationPlan::Create,
        [] => return RegistrationPlan::Refuse(Detail::UnknownUser),
        [owner] => owner,
        _ => return RegistrationPlan::Refuse(Detail::IdentityConflict),
    };
    let known = &owner.known;
    if differs(&given.user_id, &known.user_id)
        || differs(&given.legacy_id, &known.legacy_id)
        || differs(&given.external_id, &known.external_id)
        || (differs(&given.email, &known.email) && !names_by_own_id(given, known))
    {
        return RegistrationPlan::Refuse(Detail::IdentityConflict);
    }
    let mut amendment = Amendment::default();
    amendment.columns.user_id = news(&given.user_id, &known.user_id);
    amendment.columns.legacy_id = news(&given.legacy_id, &known.legacy_id);
    amendment.columns.external_id = news(&given.external_id, &known.external_id);
    amendment.columns.email = news(&given.email, &known.email);
    amendment.columns.stripe_customer_id =
        place_code(&given.stripe_customer_id, &known.stripe_customer_id, owner, &mut amendment.aliases);
    amendment.columns.paystack_customer_code = place_code(
        &given.paystack_customer_code,
        &known.paystack_customer_code,
        owner,
        &mut amendment.aliases,
    );
    if amendment == Amendment::default() {
        return RegistrationPlan::Replay;
    }
    RegistrationPlan::Amend(amendment)
}

/// An e-mail may be replaced by who names the customer by an id that is the customer's already.
fn names_by_own_id(given: &Registration, known: &Registration) -> bool {
    (given.user_id.is_some() && given.user_id == known.user_id)
        || (given.legacy_id.is_some() && given.legacy_id == known.legacy_id)
        || (given.external_id.is_some() && given.external_id == known.external_id)
}

fn differs<T: PartialEq>(given: &Option<T>, known: &Option<T>) -> bool {
    matches!((given, known), (Some(given), Some(known)) if given != known)
}

fn news<T: PartialEq + Clone>(given: &Option<T>, known: &Option<T>) -> Option<T> {
    given.clone().filter(|given| known.as_ref() != Some(given))
}

/// A code goes into the empty column, else becomes an alias, unless it is the customer's already.
fn place_code(
    given: &Option<String>,
    known: &Option<String>,
    owner: &Customer,
    aliases: &mut Vec<String>,
) -> Option<String> {
    let code = news(given, known).filter(|code| !owner.aliases.contains(code))?;
    if known.is_none() {
        return Some(code);
    }
    aliases.push(code);
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kind(text: &str) -> &'static str {
        match Identifier::classify(Some(text), false) {
            Ok(identifier) => identifier.kind(),
            Err(unusable) => unusable.kind(),
        }
    }

    #[test]
    fn a_code_is_given_as_the_provider_writes_it() {
        for text in ["cus_1", "CUS_1"] {
            assert_eq!(ProviderCode::parse(text).map(ProviderCode::as_str), Some(text));
        }
        let longest = format!("cus_{}", "x".repeat(MAX_REFERENCE_BYTES - "cus_".len()));
        assert!(ProviderCode::parse(&longest).is_some());
        for text in [&*format!("{longest}x"), &format!("{longest}xx"), "cus_", "CUS_", "Cus_1", "cus_ 1"] {
            assert_eq!(ProviderCode::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_uuid_ends_with_its_last_digit() {
        let text = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        assert!(parse_uuid(text).is_some());
        for odd in [format!("{text}-"), format!("-{text}"), format!("{text}0"), format!("{{{text}")] {
            assert_eq!(parse_uuid(&odd), None, "{odd}");
        }
    }

    #[test]
    fn an_identifier_is_registered_as_what_it_is() {
        let of = |identifier: Identifier| Registration::of(&identifier);
        let none = Registration::default;
        assert_eq!(of(Identifier::UserId([1; 16])), Registration { user_id: Some([1; 16]), ..none() });
        assert_eq!(of(Identifier::LegacyId(7)), Registration { legacy_id: Some(7), ..none() });
        let text = || Some("x".to_owned());
        assert_eq!(of(Identifier::Email("x".to_owned())), Registration { email: text(), ..none() });
        assert_eq!(of(Identifier::External("x")), Registration { external_id: text(), ..none() });
        let stripe = Registration { stripe_customer_id: text(), ..none() };
        let paystack = Registration { paystack_customer_code: text(), ..none() };
        assert_eq!(of(Identifier::StripeCustomer("x")), stripe);
        assert_eq!(of(Identifier::PaystackCustomer("x")), paystack);
        assert_eq!(none().with_code(ProviderCode::Stripe("x")), stripe);
        assert_eq!(none().with_code(ProviderCode::Paystack("x")), paystack);
        for code in [stripe, paystack, none()] {
            assert!(!code.names_a_person());
        }
        for person in [
            Identifier::UserId([0; 16]),
            Identifier::LegacyId(0),
            Identifier::Email(String::new()),
            Identifier::External(""),
        ] {
            assert!(of(person).names_a_person());
        }
    }

    #[test]
    fn empty_brackets_are_a_placeholder_too() {
        for text in ["<>", "{{}}", "${}"] {
            assert_eq!(kind(text), "placeholder", "{text}");
        }
    }

    #[test]
    fn who_a_token_is_about() {
        let of = |claims, sub| jwt_subject(claims, sub);
        assert_eq!(of(Some(r#"{"sub": "7", "role": "x"}"#), Some("8")).as_deref(), Some("7"));
        assert_eq!(of(Some("{}"), Some("8")), None, "claims without a sub are about nobody");
        assert_eq!(of(Some(r#"{"sub": 7}"#), None), None);
        assert_eq!(of(Some("no json"), Some("8")), None);
        assert_eq!(of(Some(""), Some("8")).as_deref(), Some("8"));
        assert_eq!(of(None, Some("8")).as_deref(), Some("8"));
        assert_eq!(of(None, Some("")), None);
        assert_eq!(of(None, None), None);
    }

    #[test]
    fn only_own_ids_are_end_users() {
        assert_eq!(Identifier::of_subject("7", false), Some(Identifier::LegacyId(7)));
        assert!(matches!(
            Identifier::of_subject("11111111-1111-1111-1111-111111111111", false),
            Some(Identifier::UserId(_))
        ));
        assert_eq!(Identifier::of_subject("user_2x", true), Some(Identifier::External("user_2x")));
        for sub in ["user_2x", "a@b.de", "cus_1", "CUS_1", "", "null", " 7"] {
            assert_eq!(Identifier::of_subject(sub, false), None, "{sub}");
        }
        for sub in ["a@b.de", "cus_1", "CUS_1", "a b"] {
            assert_eq!(Identifier::of_subject(sub, true), None, "{sub}");
        }
    }

    #[test]
    fn kinds_in_their_order() {
        for (text, expected) in [
            ("", "blank"),
            ("\u{2003}\t", "blank"),
            ("NULL", "placeholder"),
            ("undefined", "placeholder"),
            ("None", "placeholder"),
            ("NaN", "placeholder"),
            ("<user_id>", "placeholder"),
            ("{{user.id}}", "placeholder"),
            ("${userId}", "placeholder"),
            ("cus_123", "stripe_customer"),
            ("CUS_xyz", "paystack_customer"),
            ("cus_", "malformed"),
            ("Cus_123", "malformed"),
            ("cus_1 2", "malformed"),
            ("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "uuid"),
            ("{a0eebc999c0b4ef8bb6d6bb9bd380a11}", "uuid"),
            ("a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11", "uuid"),
            ("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1", "malformed"),
            ("{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "malformed"),
            (" a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "malformed"),
            ("1", "integer"),
            ("9223372036854775807", "integer"),
            ("9223372036854775808", "malformed"),
            ("0", "malformed"),
            ("-1", "malformed"),
            ("+1", "malformed"),
            ("1.0", "malformed"),
            ("\u{661}", "malformed"),
            ("test@example.com", "email"),
            ("Test.User+tag@Mail.Example.COM", "email"),
            ("a@b", "malformed"),
            ("a@b@c.de", "malformed"),
            ("@b.de", "malformed"),
            ("a@.de", "malformed"),
            ("a@b..de", "malformed"),
            ("a b@c.de", "malformed"),
            (" a@c.de", "malformed"),
            ("a@-c.de", "malformed"),
            ("user_2abc", "malformed"),
        ] {
            assert_eq!(kind(text), expected, "{text:?}");
        }
        assert_eq!(Identifier::classify(None, true), Err(Unusable::Blank));
    }

    #[test]
    fn external_ids_come_last_and_have_no_spaces() {
        let external =
            |text: &str| matches!(Identifier::classify(Some(text), true), Ok(Identifier::External(_)));
        assert!(external("user_2abc"));
        assert!(external("auth0|5f7c8ec7c33c6c004bbafe82"));
        assert!(external("0"));
        assert!(!external("user 2"));
        assert!(!external(" user_2"));
        assert!(!external("a\u{1}b"));
        assert!(!external(&"x".repeat(256)));
        assert!(!external("7"));
    }

    #[test]
    fn emails_are_lower_cased_and_limited() {
        assert_eq!(parse_email("A@B.Com").as_deref(), Some("a@b.com"));
        let long = format!("{}@example.com", "a".repeat(242));
        assert!(parse_email(&long).is_some());
        assert!(parse_email(&format!("a{long}")).is_none());
        // Three bytes in lower case, two in upper; a letter and a mark of its own, in a domain none.
        let longer = format!("{}@example.com", "\u{130}".repeat(121));
        assert!(longer.len() == 254 && parse_email(&longer).is_none());
        assert!(parse_email("\u{130}@example.com").is_some());
        assert_eq!(parse_email("a@\u{130}.com"), None);
    }

    fn registration(user: Option<u8>, email: Option<&str>, stripe: Option<&str>) -> Registration {
        Registration {
            user_id: user.map(|byte| [byte; 16]),
            email: email.map(str::to_owned),
            stripe_customer_id: stripe.map(str::to_owned),
            ..Registration::default()
        }
    }

    fn customer(known: Registration, aliases: &[&str]) -> Customer {
        Customer {
            customer_id: [9; 16],
            known,
            aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
        }
    }

    #[test]
    fn nobody_known_is_created_but_not_by_a_code_alone() {
        let plan = |given| plan_registration(&given, &[]);
        assert_eq!(plan(registration(Some(1), None, Some("cus_1"))), RegistrationPlan::Create);
        assert_eq!(
            plan(registration(None, None, Some("cus_1"))),
            RegistrationPlan::Refuse(Detail::UnknownUser)
        );
    }

    #[test]
    fn all_known_is_a_replay_and_news_are_added() {
        let owner = customer(registration(Some(1), None, Some("cus_1")), &["cus_2"]);
        let plan = |given| plan_registration(&given, std::slice::from_ref(&owner));
        assert_eq!(plan(registration(Some(1), None, Some("cus_1"))), RegistrationPlan::Replay);
        assert_eq!(plan(registration(Some(1), None, Some("cus_2"))), RegistrationPlan::Replay);
        let RegistrationPlan::Amend(amendment) = plan(registration(Some(1), Some("a@b.de"), Some("cus_3")))
        else {
            panic!("news are added");
        };
        assert_eq!(amendment.columns, registration(None, Some("a@b.de"), None));
        assert_eq!(amendment.aliases, ["cus_3"]);
        assert_eq!(amendment.codes(), ["cus_3"]);
        assert_eq!(amendment.claims(), registration(None, Some("a@b.de"), Some("cus_3")));
    }

    #[test]
    fn nobody_is_moved() {
        let first = customer(registration(Some(1), Some("a@b.de"), None), &[]);
        let second = customer(registration(Some(2), None, Some("cus_2")), &[]);
        let conflict = RegistrationPlan::Refuse(Detail::IdentityConflict);
        let both = [first.clone(), second];
        assert_eq!(plan_registration(&registration(Some(1), None, Some("cus_2")), &both), conflict);
        let by_email = registration(Some(3), Some("a@b.de"), None);
        assert_eq!(plan_registration(&by_email, std::slice::from_ref(&first)), conflict);
    }

    #[test]
    fn each_identifier_given_well_is_registered() {
        let raw = RawRegistration {
            user_id: Some([1; 16]),
            email: Some("A@b.de"),
            legacy_id: Some(1),
            stripe_customer_id: Some("cus_1"),
            paystack_customer_code: Some("CUS_1"),
            external_id: Some("user_1"),
        };
        let registration = Registration {
            user_id: Some([1; 16]),
            email: Some("a@b.de".to_owned()),
            legacy_id: Some(1),
            stripe_customer_id: Some("cus_1".to_owned()),
            paystack_customer_code: Some("CUS_1".to_owned()),
            external_id: Some("user_1".to_owned()),
        };
        assert_eq!(Registration::parse(raw, true), Ok(registration));
    }

    #[test]
    fn each_kind_of_id_that_differs_is_a_conflict() {
        let id = |number: u8| {
            [
                Registration { user_id: Some([number; 16]), ..Registration::default() },
                Registration { legacy_id: Some(number.into()), ..Registration::default() },
                Registration { external_id: Some(number.to_string()), ..Registration::default() },
                Registration { email: Some(format!("{number}@b.de")), ..Registration::default() },
            ]
        };
        for (known, given) in id(1).into_iter().zip(id(2)) {
            let owner = Registration { stripe_customer_id: Some("cus_1".to_owned()), ..known };
            let given = Registration { stripe_customer_id: Some("cus_1".to_owned()), ..given };
            let plan = plan_registration(&given, &[customer(owner, &[])]);
            assert_eq!(plan, RegistrationPlan::Refuse(Detail::IdentityConflict), "{given:?}");
        }
    }

    #[test]
    fn each_kind_of_own_id_replaces_an_email_and_a_new_one_does_not() {
        let email = |email: &str| registration(None, Some(email), Some("cus_1"));
        for named in [
            Registration { user_id: Some([1; 16]), ..email("new@b.de") },
            Registration { legacy_id: Some(7), ..email("new@b.de") },
            Registration { external_id: Some("x".to_owned()), ..email("new@b.de") },
        ] {
            let known = Registration { email: Some("old@b.de".to_owned()), ..named.clone() };
            let own = customer(known, &[]);
            let RegistrationPlan::Amend(amendment) = plan_registration(&named, &[own]) else {
                panic!("the own id replaces the e-mail");
            };
            assert_eq!(amendment.columns, registration(None, Some("new@b.de"), None));
            let without = customer(email("old@b.de"), &[]);
            let conflict = RegistrationPlan::Refuse(Detail::IdentityConflict);
            assert_eq!(plan_registration(&named, &[without]), conflict);
        }
    }

    #[test]
    fn an_email_is_replaced_only_by_who_names_the_own_id() {
        let owner = customer(registration(Some(1), Some("old@b.de"), Some("cus_1")), &[]);
        let plan = |given| plan_registration(&given, std::slice::from_ref(&owner));
        let RegistrationPlan::Amend(amendment) = plan(registration(Some(1), Some("new@b.de"), None)) else {
            panic!("the own id replaces the e-mail");
        };
        assert_eq!(amendment.columns.email.as_deref(), Some("new@b.de"));
        assert_eq!(
            plan(registration(None, Some("new@b.de"), Some("cus_1"))),
            RegistrationPlan::Refuse(Detail::IdentityConflict)
        );
    }

    #[test]
    fn forms_are_validated() {
        let parse = |raw| Registration::parse(raw, true).map_err(|refusal| refusal.detail);
        let raw = RawRegistration::default();
        assert_eq!(parse(raw), Err(Detail::IdentifierMissing));
        assert_eq!(parse(RawRegistration { email: Some(" "), ..raw }), Err(Detail::EmailMalformed));
        assert_eq!(parse(RawRegistration { legacy_id: Some(0), ..raw }), Err(Detail::LegacyIdInvalid));
        assert_eq!(
            parse(RawRegistration { stripe_customer_id: Some("CUS_1"), ..raw }),
            Err(Detail::StripeCustomerIdMalformed)
        );
        assert_eq!(
            parse(RawRegistration { paystack_customer_code: Some(""), ..raw }),
            Err(Detail::PaystackCustomerCodeMalformed)
        );
        assert_eq!(
            parse(RawRegistration { external_id: Some("a@b.de"), ..raw }),
            Err(Detail::ExternalIdMalformed)
        );
        let external = RawRegistration { external_id: Some("user_1"), ..raw };
        assert!(parse(external).is_ok());
        assert_eq!(
            Registration::parse(external, false).map_err(|refusal| refusal.detail),
            Err(Detail::ExternalIdsOff)
        );
    }

    proptest! {
        #[test]
        fn any_text_has_a_kind(text: String, external_ids: bool) {
            let _ = Identifier::classify(Some(&text), external_ids);
        }

        #[test]
        fn uuids_are_read_in_any_form(bytes: [u8; 16], upper: bool, braces: bool, hyphens: u8) {
            let mut text = String::new();
            for (index, byte) in bytes.iter().enumerate() {
                text += &if upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
                if index % 2 == 1 && index < 15 && hyphens >> (index / 2) & 1 == 1 {
                    text.push('-');
                }
            }
            if braces { text = format!("{{{text}}}"); }
            prop_assert_eq!(parse_uuid(&text), Some(bytes));
        }

        #[test]
        fn surrounding_spaces_are_malformed(id in "[a-z]{1,9}@[a-z]{1,9}\\.de|[1-9][0-9]{0,8}|cus_[a-z]{3}") {
            let spaced = format!(" {id}");
            prop_assert_eq!(Identifier::classify(Some(&spaced), true), Err(Unusable::Malformed));
            prop_assert!(Identifier::classify(Some(&id), false).is_ok());
        }
    }
}
