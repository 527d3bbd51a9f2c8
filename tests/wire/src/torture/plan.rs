//! What each client does: a sequence that the seed decides, whatever the server answers.
//!
//! A step that needs what an earlier one was answered (a hold to end, an entry to reverse) names that step; where
//! it was refused, the later one is left out.

use std::collections::BTreeMap;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use crate::ends::Payment;
use crate::session::{Call, Provider};
use crate::{iso, paystack, stripe};

/// Customers that all clients share, by legacy id.
pub const CUSTOMERS: i64 = 48;
/// What a period of the plan `pro` grants.
pub const PERIOD_CREDITS: i64 = 30;
/// Minor units of the plan `branches`, for each branch.
const BRANCH_PRICE: i64 = 500;

/// What a step makes that a later one needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Made {
    Hold,
    Entry,
}

/// A step whose answer a later one needs: what it makes, whose it is, and how many such that client made before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Earlier {
    pub made: Made,
    pub client: usize,
    pub place: usize,
}

/// One thing to do until it is answered.
#[derive(Clone, Debug)]
pub struct Step {
    /// The key, or the event's id, or a name for the record.
    pub name: String,
    pub what: What,
    /// Where its answer is remembered for later steps.
    pub makes: Option<Earlier>,
}

/// What to do.
#[derive(Clone, Debug)]
pub enum What {
    /// A call whose arguments stand.
    Call(Call),
    /// The end of a hold: captured (whole, or a part), or released.
    Capture(Earlier, Option<i64>),
    Release(Earlier),
    /// A reversal of an entry, whole or in part.
    Reverse(Earlier, Option<i64>),
    /// A signed event, to the endpoint as PostgREST calls it, or to the function for other callers.
    Event {
        provider: Provider,
        body: String,
        endpoint: bool,
    },
    /// An event that the application processes itself: claimed, then completed or failed.
    Claim {
        completes: bool,
    },
    /// `retry_webhook_events`
    Retry,
    /// `billing.expire_credits`
    Expire,
}

/// What a purchase, grant or spend must have written, by key: the signed credits, and the customer's legacy id.
pub type Asked = BTreeMap<String, (i64, i64)>;

/// What the whole plan comes to, as far as it was carried out.
#[derive(Debug, Default)]
pub struct Facts {
    pub asked: Asked,
    /// By source: what must be told of the payment in the end.
    pub payments: BTreeMap<String, Payment>,
    /// By source: sold once, to whichever call or event came first; credits and customer.
    pub sales: BTreeMap<String, (i64, i64)>,
    /// By source of an invoice: the customer, once its code is linked.
    pub invoices: BTreeMap<String, i64>,
    /// By subscription: status last told.
    pub subscriptions: BTreeMap<String, &'static str>,
    /// By reference: customer of a subscription payment that succeeded.
    pub started: BTreeMap<String, i64>,
    /// Provider codes, and whose they are to become.
    pub codes: BTreeMap<String, i64>,
}

/// A client's plan: what comes next, and what it has come to so far.
#[derive(Debug)]
pub struct Plan {
    client: usize,
    clients: usize,
    random: StdRng,
    number: usize,
    holds: usize,
    entries: usize,
    /// Steps that follow from one already made.
    queue: Vec<Step>,
    pub facts: Facts,
    now: i64,
    /// Nothing that names an id which the server made: that does not outlive what a standby had not heard of.
    by_key_only: bool,
}

impl Plan {
    /// The plan of one of so many clients.
    pub fn new(client: usize, clients: usize, now: i64, by_key_only: bool) -> Plan {
        Plan {
            client,
            clients,
            random: crate::random(9_000 + client as u64),
            number: 0,
            holds: 0,
            entries: 0,
            queue: Vec::new(),
            facts: Facts::default(),
            now,
            by_key_only,
        }
    }

    /// The next step.
    pub fn next(&mut self) -> Step {
        // What follows comes soon, but not always at once: other things lie between.
        if !self.queue.is_empty() && self.random.random_bool(0.5) {
            return self.queue.remove(0);
        }
        self.number += 1;
        let name = format!("{}_{}", self.client, self.number);
        let user = self.random.random_range(1..=CUSTOMERS);
        let credits = self.random.random_range(1..50);
        let kind = self.random.random_range(0..40);
        match kind {
            14..22 | 35..37 if self.by_key_only => self.grant(name, user, credits),
            0..4 => self.grant(name, user, credits),
            4..8 => self.purchase(name, user, credits),
            8..14 => self.spend(name, user, credits),
            14..17 => self.hold(name, user, credits),
            17..20 => self.end(name, credits),
            20..22 => self.reverse(name, credits),
            22..25 => self.batch(name),
            25..29 => self.checkout(name, user, credits),
            29..31 => self.paystack_sale(name, user, credits),
            31..33 => self.subscriber(name, user),
            33..35 => self.payment(name, user),
            35..37 => {
                let completes = self.random.random_bool(0.7);
                self.step(name, What::Claim { completes })
            }
            37..39 => self.step(name, What::Retry),
            _ => self.step(name, What::Expire),
        }
    }

    /// What is left to follow, once no more is begun.
    pub fn rest(&mut self) -> Vec<Step> {
        std::mem::take(&mut self.queue)
    }

    fn step(&self, name: String, what: What) -> Step {
        Step { name, what, makes: None }
    }

    fn keyed(&mut self, name: String, call: Call) -> Step {
        let makes = Some(Earlier { made: Made::Entry, client: self.client, place: self.entries });
        self.entries += 1;
        Step { name, what: What::Call(call), makes }
    }

    fn grant(&mut self, name: String, user: i64, credits: i64) -> Step {
        let call = Call::grant(&user.to_string(), credits, &name);
        // Those without a lot come more often: what others spend.
        let call = match self.random.random_range(0..6) {
            0 => call.with("priority", "int", Some(self.random.random_range(-2..3).to_string())),
            1 => {
                // Some run out while the test goes on.
                let at = self.now + self.random.random_range(5..600);
                call.with("expires_at", "timestamptz", Some(iso(at)))
            }
            _ => call,
        };
        self.facts.asked.insert(name.clone(), (credits, user));
        self.keyed(name, call)
    }

    fn purchase(&mut self, name: String, user: i64, credits: i64) -> Step {
        let call = Call::purchase(&user.to_string(), credits, &name);
        if self.random.random_bool(0.3) {
            // What several clients tell of, under keys of their own, and most at about the same time: they work at
            // the same pace.
            let shared = self.number / 4;
            let (user, credits) = (shared as i64 % CUSTOMERS + 1, shared as i64 % 40 + 1);
            let source = ["stripe:cs_shared_", "stripe:pi_shared_", "paystack:shared_"][shared % 3];
            let source = format!("{source}{shared}");
            self.facts.sales.insert(source.clone(), (credits, user));
            self.facts.asked.insert(name.clone(), (credits, user));
            let call = Call::purchase(&user.to_string(), credits, &name).source(&source);
            return self.step(name, What::Call(call));
        }
        let source = match self.random.random_range(0..3) {
            0 => format!("stripe:pi_{name}"),
            1 => format!("stripe:cs_{name}"),
            _ => format!("paystack:{name}"),
        };
        self.facts.sales.insert(source.clone(), (credits, user));
        self.facts.asked.insert(name.clone(), (credits, user));
        self.keyed(name, call.source(&source))
    }

    fn spend(&mut self, name: String, user: i64, credits: i64) -> Step {
        self.facts.asked.insert(name.clone(), (-credits, user));
        let call = Call::spend(&user.to_string(), credits, &name);
        self.keyed(name, call)
    }

    fn hold(&mut self, name: String, user: i64, credits: i64) -> Step {
        let seconds = *[2, 60, 900].choose(&mut self.random).expect("one");
        let call = Call::hold(&user.to_string(), credits, &name).with(
            "ttl_seconds",
            "int",
            Some(seconds.to_string()),
        );
        let makes = Some(Earlier { made: Made::Hold, client: self.client, place: self.holds });
        self.holds += 1;
        Step { name, what: What::Call(call), makes }
    }

    /// Ends a recent hold: an own one, or another client's, who may end it at the same moment.
    fn end(&mut self, name: String, credits: i64) -> Step {
        let client = if self.random.random_bool(0.5) {
            self.client
        } else {
            self.random.random_range(0..self.clients)
        };
        let back = self.random.random_range(1..4);
        let hold = Earlier { made: Made::Hold, client, place: self.holds.saturating_sub(back) };
        match self.random.random_range(0..3) {
            0 => self.step(name, What::Release(hold)),
            1 => self.step(name, What::Capture(hold, Some(credits / 3 + 1))),
            _ => self.step(name, What::Capture(hold, None)),
        }
    }

    fn reverse(&mut self, name: String, credits: i64) -> Step {
        let back = self.random.random_range(1..6);
        let place = self.entries.saturating_sub(back);
        let entry = Earlier { made: Made::Entry, client: self.client, place };
        let part = self.random.random_bool(0.5).then_some(credits / 4 + 1);
        self.step(name, What::Reverse(entry, part))
    }

    fn batch(&mut self, name: String) -> Step {
        let operations: Vec<Value> = (0..self.random.random_range(2..12))
            .map(|place| {
                let user = self.random.random_range(1..=CUSTOMERS);
                let credits = self.random.random_range(1..20);
                let key = format!("{name}_{place}");
                let user_id = user.to_string();
                let (operation, signed) = match self.random.random_range(0..4) {
                    0 => {
                        let source_ref = format!("paystack:{key}");
                        self.facts.sales.insert(source_ref.clone(), (credits, user));
                        let operation = json!({"op": "purchase", "user_id": user_id, "credits": credits,
                            "idempotency_key": key, "source_ref": source_ref});
                        (operation, credits)
                    }
                    1 => {
                        let operation = json!({"op": "grant", "user_id": user_id, "credits": credits,
                            "idempotency_key": key, "priority": self.random.random_range(-1..2)});
                        (operation, credits)
                    }
                    _ => {
                        let operation = json!({"op": "spend", "user_id": user_id, "credits": credits,
                            "idempotency_key": key});
                        (operation, -credits)
                    }
                };
                self.facts.asked.insert(key, (signed, user));
                operation
            })
            .collect();
        self.step(name, What::Call(Call::batch(&json!(operations).to_string())))
    }

    fn event(&mut self, event_id: &str, provider: Provider, event: &Value) -> Step {
        let endpoint = self.random.random();
        self.step(event_id.to_owned(), What::Event { provider, body: event.to_string(), endpoint })
    }

    /// A paid session, told once or twice; its refunds and disputes come after it, or before.
    fn checkout(&mut self, name: String, user: i64, credits: i64) -> Step {
        let (intent, amount) = (format!("pi_of_{name}"), credits * 10);
        let source = format!("stripe:cs_{name}");
        self.facts.sales.insert(source.clone(), (credits, user));
        // Every third buyer is known by a code that nobody has linked yet.
        let waits = self.random.random_ratio(1, 3);
        let code = format!("cus_{name}");
        let whose = if waits {
            json!({"customer": code})
        } else {
            json!({"metadata": {"user_id": user.to_string()}})
        };
        let mut session = stripe::session(&format!("cs_{name}"), credits, whose);
        session["payment_intent"] = intent.clone().into();
        session["created"] = self.now.into();
        let mut steps = Vec::new();
        for copy in 0..self.random.random_range(1..3) {
            let event_type = ["checkout.session.completed", "checkout.session.async_payment_succeeded"][copy];
            let id = format!("evt_{name}_{copy}");
            steps.push(self.event(&id, Provider::Stripe, &stripe::event(&id, event_type, session.clone())));
        }
        let mut payment = Payment { gave: credits, amount, ..Payment::default() };
        if self.random.random_bool(0.6) {
            self.contest(&mut steps, &mut payment, &name, &intent);
        }
        self.facts.payments.insert(source, payment);
        if waits {
            self.facts.codes.insert(code.clone(), user);
            let link = self.link(&name, user, &code);
            let place = self.random.random_range(0..=steps.len());
            steps.insert(place, link);
        }
        // A refund may overtake what it refunds.
        if steps.len() > 1 && self.random.random_bool(0.3) {
            let last = steps.len() - 1;
            steps.swap(0, last);
        }
        self.follow(steps)
    }

    fn contest(&mut self, steps: &mut Vec<Step>, payment: &mut Payment, name: &str, intent: &str) {
        let mut told = 0;
        for round in 0..self.random.random_range(0..3) {
            told = self.random.random_range(told..=payment.amount);
            let at = self.now + i64::from(round) * 10;
            let id = format!("evt_r{round}_{name}");
            payment.refunded.push((at, told));
            steps.push(self.event(
                &id,
                Provider::Stripe,
                &stripe::refunded(&id, intent, payment.amount, told, at),
            ));
        }
        let id = format!("du_{name}");
        if self.random.random_bool(0.4) {
            payment.withdrawn.insert(id.clone());
            let event = stripe::dispute(&format!("evt_w_{name}"), "funds_withdrawn", &id, intent);
            steps.push(self.event(&format!("evt_w_{name}"), Provider::Stripe, &event));
            if self.random.random() {
                payment.reinstated.insert(id.clone());
                let event = stripe::dispute(&format!("evt_i_{name}"), "funds_reinstated", &id, intent);
                steps.push(self.event(&format!("evt_i_{name}"), Provider::Stripe, &event));
            }
        }
    }

    fn link(&self, name: &str, user: i64, code: &str) -> Step {
        let call = Call::of("register_billing_user")
            .with("legacy_id", "bigint", Some(user.to_string()))
            .customer(code);
        self.step(format!("link_{name}"), What::Call(call))
    }

    fn paystack_sale(&mut self, name: String, user: i64, credits: i64) -> Step {
        let id = ((self.client as u64) << 32) | self.number as u64;
        let source = format!("paystack:{name}");
        self.facts.sales.insert(source.clone(), (credits, user));
        let charge = paystack::charge(id, &name, credits, json!({"metadata": {"user_id": user.to_string()}}));
        let event = paystack::event("charge.success", charge);
        let mut steps = vec![self.event(&format!("charge.success:{id}"), Provider::Paystack, &event)];
        let mut payment = Payment { gave: credits, amount: credits * 10, ..Payment::default() };
        let mut left = payment.amount;
        for round in 0..self.random.random_range(0..3) {
            let refunded = self.random.random_range(1..=left);
            left -= refunded;
            let id = format!("{round}{name}");
            let event = paystack::event("refund.processed", paystack::refund(&id, &name, json!(refunded)));
            steps.push(self.event(&format!("refund.processed:{name}:{id}"), Provider::Paystack, &event));
            payment.paid_out.insert(id, refunded);
            if left == 0 {
                break;
            }
        }
        self.facts.payments.insert(source, payment);
        self.follow(steps)
    }

    /// A subscription from its creation to some later status, its first invoice, and the link of its code.
    fn subscriber(&mut self, name: String, user: i64) -> Step {
        let (code, subscription) = (format!("cus_sub_{name}"), format!("sub_{name}"));
        let object = |status: &str| {
            json!({
                "id": subscription, "object": "subscription", "customer": code, "status": status,
                "items": { "data": [{
                    "price": { "id": "price_pro" }, "quantity": 1,
                    "current_period_start": 4_102_444_800_i64, "current_period_end": 4_105_123_200_i64,
                }] },
                "metadata": {},
            })
        };
        let told = ["trialing", "active", "past_due", "unpaid", "canceled"];
        let length = self.random.random_range(1..=told.len());
        let mut steps = Vec::new();
        for (place, status) in told[..length].iter().enumerate() {
            let event_type = match (place, *status) {
                (0, _) => "customer.subscription.created",
                (_, "canceled") => "customer.subscription.deleted",
                _ => "customer.subscription.updated",
            };
            let id = format!("evt_s{place}_{name}");
            let event = stripe::event(&id, event_type, object(status));
            let event = stripe::at(self.now + place as i64 * 10, event);
            steps.push(self.event(&id, Provider::Stripe, &event));
        }
        self.facts.subscriptions.insert(subscription.clone(), told[length - 1]);
        let id = format!("evt_in_{name}");
        // Created before any status was told: it grants, and moves no status.
        let invoice = stripe::at(
            self.now - 3_600,
            stripe::event(
                &id,
                "invoice.paid",
                json!({
                    "id": format!("in_{name}"), "object": "invoice", "customer": code,
                    "billing_reason": "subscription_create", "status": "paid",
                    "parent": { "type": "subscription_details", "subscription_details": {
                        "subscription": subscription, "metadata": {},
                    } },
                    "lines": { "data": [{
                        "amount": 900, "quantity": 1, "period": { "start": 4_102_444_800_i64, "end": 4_105_123_200_i64 },
                        "pricing": { "price_details": { "price": "price_pro", "product": "prod_pro" } },
                        "parent": { "subscription_item_details": { "proration": false } },
                    }] },
                }),
            ),
        );
        let place = self.random.random_range(1..=steps.len());
        let invoice = self.event(&id, Provider::Stripe, &invoice);
        steps.insert(place, invoice);
        self.facts.invoices.insert(format!("stripe:in_{name}#pro"), user);
        self.facts.codes.insert(code.clone(), user);
        let link = self.link(&format!("sub_{name}"), user, &code);
        let place = self.random.random_range(0..=steps.len());
        steps.insert(place, link);
        self.follow(steps)
    }

    /// A subscription payment: started, then verified by a call and by the provider's event.
    fn payment(&mut self, name: String, user: i64) -> Step {
        let reference = format!("ref_{name}");
        let branches = self.random.random_range(1..4);
        let amount = BRANCH_PRICE * branches;
        let ids: Vec<String> = (0..branches).map(|branch| format!("b{branch}_{name}")).collect();
        let start = Call::start_payment(&reference, &user.to_string(), "branches", amount)
            .branches(&format!("{{{}}}", ids.join(",")));
        let id = 1 << 62 | ((self.client as u64) << 32) | self.number as u64;
        let charge = paystack::charge(id, &reference, 1, json!({"amount": amount, "metadata": null}));
        let event = paystack::event("charge.success", charge);
        let mut told = vec![
            self.step(format!("verify_{name}"), What::Call(Call::verify_payment(&reference, amount))),
            self.event(&format!("charge.success:{id}"), Provider::Paystack, &event),
        ];
        if self.random.random() {
            told.swap(0, 1);
        }
        self.facts.started.insert(reference, user);
        let mut steps = vec![self.step(format!("start_{name}"), What::Call(start))];
        steps.extend(told);
        self.follow(steps)
    }

    /// The first now, the others later and in that order.
    fn follow(&mut self, mut steps: Vec<Step>) -> Step {
        let first = steps.remove(0);
        self.queue.extend(steps);
        first
    }
}
