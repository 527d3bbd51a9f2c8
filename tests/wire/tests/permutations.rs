//! Whatever is told of one purchase, in every order: the end is the same, and it is the one that the contract
//! calls for.
//!
//! A set is up to five messages about one purchase; each of its orders is played for a customer of its own, all in
//! one database. Long runs play every order of every set, others a sample that the seed decides.

use std::collections::{BTreeMap, HashMap};

use billing_wire::cluster::{Cluster, Database};
use billing_wire::ends::Payment;
use billing_wire::session::{Call, Provider};
use billing_wire::{Tested, books, figure, long, paystack, random, run, stripe};
use rand::seq::{IndexedRandom, SliceRandom};
use serde_json::{Value, json};

pub fn add(add: &mut impl FnMut(&str, fn() -> Tested)) {
    add("permutations::one_end", || run(one_end()));
}

/// Something that is told of the purchase, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    /// checkout.session.completed, and a second event of the same session.
    Completed,
    Again,
    /// The application credits it too: by the session, by the payment intent.
    CallBySession,
    CallByIntent,
    /// 30 % and 70 % of the amount are refunded by then.
    Refunded30,
    Refunded70,
    /// The second refund came to nothing, later.
    RefundFailed,
    Withdrawn,
    Reinstated,
    /// Paystack: the transaction, and a second event of it.
    Charged,
    ChargedAgain,
    /// The application credits the reference, telling the amount or not.
    CallByReference,
    CallWithoutAmount,
    /// Refunds of 30 %, 40 % (the amount as text) and the rest.
    Refund30,
    Refund40,
    RefundRest,
}
use Told::*;

/// What was before anything of the set is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Before {
    Nothing,
    /// Nothing; the session sells a pack whose credits expire one day.
    Pack,
    /// Bought by call, by the payment intent, and a part is spent.
    Spent,
    /// Bought so, and a part is reversed by the application.
    Reversed,
}

/// Not a round number: shares are rounded down.
const CREDITS: i64 = 97;
const AMOUNT: i64 = CREDITS * 10;
const SPENT: i64 = 60;
const REVERSED: i64 = 35;
const T0: i64 = 1_772_000_000;

type Set = (Before, Vec<Told>);

/// All sets of up to five of the pool that hold one of these.
fn subsets(before: Before, pool: &[Told], one_of: &[Told]) -> Vec<Set> {
    let chosen = |bits: u32| {
        pool.iter().enumerate().filter(move |(place, _)| bits >> place & 1 == 1).map(|(_, told)| *told)
    };
    (1..1_u32 << pool.len())
        .filter(|bits| bits.count_ones() <= 5)
        .map(|bits| chosen(bits).collect::<Vec<_>>())
        .filter(|set| one_of.is_empty() || set.iter().any(|told| one_of.contains(told)))
        .map(|set| (before, set))
        .collect()
}

fn sets() -> Vec<Set> {
    let stripe = [Completed, Again, Refunded30, Refunded70, RefundFailed, Withdrawn, Reinstated];
    let with = |call| stripe.iter().copied().chain([call]).collect::<Vec<_>>();
    let events = [Completed, Again];
    let mut sets = subsets(Before::Nothing, &stripe, &events);
    for call in [CallBySession, CallByIntent] {
        sets.extend(subsets(Before::Nothing, &with(call), &[call]));
    }
    sets.extend(subsets(Before::Pack, &stripe, &events));
    sets.extend(subsets(Before::Spent, &stripe, &[]));
    sets.extend(subsets(Before::Reversed, &stripe, &[]));
    let paystack = [Charged, ChargedAgain, CallByReference, Refund30, Refund40, RefundRest];
    sets.extend(subsets(Before::Nothing, &paystack, &[Charged, ChargedAgain, CallByReference]));
    // Who says nothing of the amount leaves that to the event.
    let paystack = [Charged, CallWithoutAmount, Refund30, Refund40, RefundRest];
    let quiet = subsets(Before::Nothing, &paystack, &[CallWithoutAmount]);
    sets.extend(quiet.into_iter().filter(|(_, set)| set.contains(&Charged)));
    sets
}

fn orders(set: &[Told]) -> Vec<Vec<Told>> {
    if set.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (place, first) in set.iter().enumerate() {
        let mut rest = set.to_vec();
        rest.remove(place);
        for mut order in orders(&rest) {
            order.insert(0, *first);
            all.push(order);
        }
    }
    all
}

/// What all of a set comes to.
fn payment((before, set): &Set) -> Payment {
    let told = |what: Told| set.contains(&what);
    let mut payment = Payment { gave: CREDITS, amount: AMOUNT, ..Payment::default() };
    match before {
        Before::Spent => payment.spent = SPENT,
        Before::Reversed => payment.reversed = REVERSED,
        Before::Nothing | Before::Pack => {}
    }
    // The application named a session, and nobody has told which payment it belongs to.
    if told(CallBySession) && !told(Completed) && !told(Again) {
        return payment;
    }
    payment.refunded.extend(told(Refunded30).then_some((T0 + 10, AMOUNT * 3 / 10)));
    payment.refunded.extend(told(Refunded70).then_some((T0 + 20, AMOUNT * 7 / 10)));
    payment.failed.extend(told(RefundFailed).then_some(("re".to_owned(), (T0 + 30, AMOUNT * 4 / 10))));
    payment.withdrawn.extend(told(Withdrawn).then_some("du".to_owned()));
    payment.reinstated.extend(told(Reinstated).then_some("du".to_owned()));
    for (refund, share) in [(Refund30, 3), (Refund40, 4), (RefundRest, 3)] {
        payment.paid_out.extend(told(refund).then_some((format!("{refund:?}"), AMOUNT * share / 10)));
    }
    payment
}

/// A message about the purchase of that customer.
fn message(told: Told, before: Before, number: usize) -> Call {
    let user = number.to_string();
    // As long in every message, so that ends can be compared with it taken out.
    let tag = tag(number);
    let (session_id, intent, reference) = (format!("cs_{tag}"), format!("pi_{tag}"), format!("ref{tag}"));
    let stripe = |event: Value| {
        let body = event.to_string();
        Provider::Stripe.process(&body, &Provider::Stripe.sign(&body))
    };
    let paystack = |event_type: &str, data: Value| {
        let body = paystack::event(event_type, data).to_string();
        Provider::Paystack.process(&body, &Provider::Paystack.sign(&body))
    };
    let session = || {
        let mut metadata = json!({ "user_id": user });
        if before == Before::Pack {
            metadata["pack"] = "expiring".into();
        }
        stripe::session(&session_id, CREDITS, json!({"metadata": metadata, "payment_intent": intent}))
    };
    let charge = |id| paystack::charge(id, &reference, CREDITS, json!({"metadata": {"user_id": user}}));
    let event = |name: &str| format!("evt_{name}_{tag}");
    let purchase = Call::purchase(&user, CREDITS, &format!("call {tag}"));
    let number = u64::try_from(number).expect("a number");
    match told {
        Completed => stripe(stripe::event(&event("completed"), "checkout.session.completed", session())),
        Again => {
            stripe(stripe::event(&event("again"), "checkout.session.async_payment_succeeded", session()))
        }
        CallBySession => purchase.session(&session_id),
        CallByIntent => purchase.source(&format!("stripe:{intent}")),
        Refunded30 => stripe(stripe::refunded(&event("r30"), &intent, AMOUNT, AMOUNT * 3 / 10, T0 + 10)),
        Refunded70 => stripe(stripe::refunded(&event("r70"), &intent, AMOUNT, AMOUNT * 7 / 10, T0 + 20)),
        RefundFailed => {
            let refund_id = format!("re_{tag}");
            stripe(stripe::refund_failed(&event("f"), &refund_id, &intent, AMOUNT * 4 / 10, T0 + 30))
        }
        Withdrawn => stripe(stripe::dispute(&event("w"), "funds_withdrawn", &format!("du_{tag}"), &intent)),
        Reinstated => stripe(stripe::dispute(&event("i"), "funds_reinstated", &format!("du_{tag}"), &intent)),
        Charged => paystack("charge.success", charge(number * 2)),
        ChargedAgain => paystack("charge.success", charge(number * 2 + 1)),
        CallByReference => purchase
            .source(&format!("paystack:{reference}"))
            .with("amount_minor", "bigint", Some(AMOUNT.to_string()))
            .with("currency", "text", Some("ngn".to_owned())),
        CallWithoutAmount => purchase.source(&format!("paystack:{reference}")),
        Refund30 => refund(&paystack, &reference, "30", json!(AMOUNT * 3 / 10)),
        Refund40 => refund(&paystack, &reference, "40", json!((AMOUNT * 4 / 10).to_string())),
        RefundRest => refund(&paystack, &reference, "rest", json!(AMOUNT * 3 / 10)),
    }
}

fn refund(paystack: &impl Fn(&str, Value) -> Call, reference: &str, which: &str, amount: Value) -> Call {
    paystack("refund.processed", paystack::refund(&format!("{which}{reference}"), reference, amount))
}

fn tag(number: usize) -> String {
    format!("t{number:08}")
}

/// One order of a set, for the customer of that number.
#[derive(Clone)]
struct Play {
    set: usize,
    before: Before,
    order: Vec<Told>,
    number: usize,
}

fn plays(sets: &[Set]) -> Vec<Play> {
    let mut random = random(810);
    let mut plays = Vec::new();
    let sample: Vec<usize> = if long() {
        (0..sets.len()).collect()
    } else {
        let large: Vec<usize> = (0..sets.len()).filter(|set| sets[*set].1.len() >= 4).collect();
        large.choose_multiple(&mut random, 40).copied().collect()
    };
    for set in sample {
        let (before, told) = &sets[set];
        let mut orders = orders(told);
        orders.shuffle(&mut random);
        orders.truncate(if long() { usize::MAX } else { 6 });
        for order in orders {
            plays.push(Play { set, before: *before, order, number: plays.len() + 1 });
        }
    }
    plays
}

async fn play(client: &mut billing_wire::session::Session, play: &Play) {
    let Play { before, number, .. } = *play;
    let user = number.to_string();
    if matches!(before, Before::Spent | Before::Reversed) {
        let bought = client.call(&message(CallByIntent, before, number)).await;
        assert_eq!(bought.why(), "applied");
        let then = match before {
            Before::Spent => Call::spend(&user, SPENT, &format!("spend {number}")),
            _ => Call::reverse(bought.int("entry_id"), &format!("reverse {number}"), Some(REVERSED)),
        };
        assert_eq!(client.call(&then).await.why(), "applied");
    }
    for told in &play.order {
        let answer = client.call(&message(*told, before, number)).await;
        let fine = ["applied", "duplicate", "ignored"].contains(&answer.reason());
        assert!(fine, "{told:?} of {:?}: {answer:?}", play.order);
    }
}

/// Balance, sum of credits, sum of shortfall, and the charge's row, by number.
async fn ends(database: &Database) -> HashMap<usize, String> {
    let admin = database.admin().await;
    let accounts = admin
        .texts(
            "SELECT concat_ws(' ', c.legacy_id, b.balance, sum(l.credits), coalesce(sum(l.shortfall), 0))
             FROM billing.customers c JOIN billing.balances b USING (customer_id)
                 JOIN billing.ledger l USING (customer_id)
             GROUP BY c.legacy_id, b.balance",
        )
        .await;
    let charges =
        admin.texts("SELECT payment_ref || ' ' || (to_jsonb(c) - 'created_at') FROM billing.charges c").await;
    let mut ends = HashMap::new();
    for row in accounts.iter().flatten() {
        let (number, end) = row.split_once(' ').expect("a number");
        ends.insert(number.parse().expect("a number"), end.to_owned());
    }
    for row in charges.iter().flatten() {
        let (payment, charge) = row.split_once(' ').expect("a reference");
        let number = &payment[payment.len() - 8..];
        let charge = charge.replace(&tag(number.parse().expect("a number")), "*");
        ends.entry(number.parse().expect("a number")).or_default().push_str(&format!(" {charge}"));
    }
    ends
}

async fn one_end() {
    let database = Cluster::shared().database().await;
    let admin = database.admin().await;
    admin
        .run(&format!(
            "SELECT billing.define_pack('expiring', {CREDITS}, {AMOUNT}, 'usd', expires_after => '1 year')"
        ))
        .await;
    let sets = sets();
    let plays = plays(&sets);
    let begun = std::time::Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    const CLIENTS: usize = 4;
    for client in 0..CLIENTS {
        let share: Vec<Play> = plays.iter().skip(client).step_by(CLIENTS).cloned().collect();
        let mut client = database.application();
        tasks.spawn(async move {
            for one in &share {
                play(&mut client, one).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("a client");
    }
    let messages: usize = plays.iter().map(|play| play.order.len()).sum();
    figure(|| {
        let orders = plays.len();
        format!("{orders} orders of {} sets, {messages} messages in {:.1?}", sets.len(), begun.elapsed())
    });

    let ends = ends(&database).await;
    let mut of_sets: BTreeMap<usize, (&Play, &String)> = BTreeMap::new();
    for play in &plays {
        let end = &ends[&play.number];
        let payment = payment(&sets[play.set]);
        let numbers = format!("{} {0} {}", payment.left(), payment.shortfall());
        assert!(
            end.split(' ').take(3).eq(numbers.split(' ')),
            "{:?} {:?} ends as {end}, not as {numbers}: {payment:?}",
            play.before,
            play.order
        );
        let (first, other) = of_sets.entry(play.set).or_insert((play, end));
        assert_eq!(*other, end, "{:?}: {:?} and {:?}", play.before, first.order, play.order);
    }
    books::check_tables(&admin).await;
    let problems = admin.texts("SELECT to_jsonb(r)::text FROM billing.reconcile() r").await;
    assert!(problems.is_empty(), "{problems:?}");
}
