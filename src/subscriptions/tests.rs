//! Words on subscriptions that no SQL function hands in: events, and what invoices move.

#[pgrx::pg_schema]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use billing_core::json::Object;
    use billing_core::outcome::{Detail, Reason};
    use billing_core::subscriptions::Status;
    use pgrx::prelude::*;

    use crate::pg;
    use crate::subscriptions::{self, SubscriptionEffect};

    type Said = (Reason, Option<Detail>);

    fn said(effect: Result<SubscriptionEffect, Detail>) -> Said {
        let effect = effect.expect("a subscription");
        (effect.reason, effect.detail)
    }

    fn event(status: &str, created: Option<i64>) -> Result<SubscriptionEffect, Detail> {
        let text = format!(r#"{{"id": "sub_1", "customer": "cus_1", "status": "{status}"}}"#);
        let object = Object::parse(&text).unwrap();
        let updated = "customer.subscription.updated";
        pg::write(|client| subscriptions::apply_event(client, updated, &object, created, Some(false)))
            .unwrap()
    }

    fn paystack(event_type: &str, next_payment: &str) -> Said {
        let text = format!(
            r#"{{"subscription_code": "SUB_1", "customer": {{"customer_code": "CUS_1"}},
                "plan": {{"plan_code": "PLN_1"}}, "next_payment_date": {next_payment}}}"#
        );
        let data = Object::parse(&text).unwrap();
        said(pg::write(|client| subscriptions::apply_paystack(client, event_type, &data, None)).unwrap())
    }

    fn invoice(to: Status, at: i64) -> Option<Said> {
        let moved =
            pg::write(|client| subscriptions::move_by_invoice(client, "stripe", "sub_1", to, Some(at), None));
        moved.unwrap().map(|moved| (moved.reason, moved.detail))
    }

    /// The only value of a query; none where there is no row.
    fn one(query: &str) -> Option<String> {
        Spi::get_one(&format!("SELECT ({query})")).unwrap()
    }

    const APPLIED: Said = (Reason::Applied, Some(Detail::CustomerUnlinked));

    fn ignored(detail: Detail) -> Said {
        (Reason::Ignored, Some(detail))
    }

    #[pg_test]
    fn events_are_applied_in_their_order() {
        assert_eq!(said(event("active", Some(100))), APPLIED);
        assert_eq!(said(event("past_due", Some(99))), ignored(Detail::StaleEvent));
        assert_eq!(said(event("canceled", Some(101))), APPLIED);
        assert_eq!(said(event("active", Some(102))), ignored(Detail::TransitionNotAllowed));
        assert_eq!(one("SELECT object_id FROM billing.refetch_queue").as_deref(), Some("sub_1"));
        assert_eq!(event("no such status", Some(103)).err(), Some(Detail::ObjectMalformed));
        assert_eq!(event("active", Some(i64::MAX)).err(), Some(Detail::ObjectMalformed));
        let told = event("canceled", None).unwrap();
        assert_eq!((told.reason, told.previous_status), (Reason::Applied, Some(Status::Canceled)));
        let now = "SELECT (object_at > now() - interval '1 hour')::text FROM billing.subscriptions";
        assert_eq!(one(now).as_deref(), Some("true"), "an event without a time is as new as its processing");
    }

    #[pg_test]
    fn invoices_move_the_status_alone() {
        assert_eq!(invoice(Status::Active, 100), None, "not known yet");
        event("past_due", Some(100)).unwrap();
        assert_eq!(invoice(Status::Active, 99), Some(ignored(Detail::StaleEvent)));
        assert_eq!(invoice(Status::Active, 105), Some((Reason::Applied, None)));
        assert_eq!(invoice(Status::Active, 106), Some(ignored(Detail::NothingToDo)));
        let row =
            "SELECT concat_ws(' ', status, object_status, extract(epoch FROM status_at - object_at)::int)
                   FROM billing.subscriptions";
        assert_eq!(one(row).as_deref(), Some("active past_due 5"));
        assert_eq!(said(event("unpaid", Some(103))), APPLIED);
        assert_eq!(one("SELECT status FROM billing.subscriptions").as_deref(), Some("active"), "set since");
        assert_eq!(one("SELECT object_id FROM billing.refetch_queue"), None);
    }

    #[pg_test]
    fn the_truth_on_an_unknown_subscription_can_be_asked_for() {
        pg::write(|client| subscriptions::refetch(client, "sub_9", "an invoice")).unwrap();
        assert_eq!(one("SELECT requested_reason FROM billing.refetch_queue").as_deref(), Some("an invoice"));
        Spi::run(
            r#"CREATE TABLE public.truth (id text, attrs jsonb);
               INSERT INTO public.truth VALUES ('sub_9', '{"id": "sub_9", "customer": "cus_1", "status": "active"}');
               SELECT billing.set_refetch_source('public.truth')"#,
        )
        .unwrap();
        pg::write(|client| subscriptions::refetch(client, "sub_9", "an invoice")).unwrap();
        assert_eq!(one("SELECT status FROM billing.subscriptions").as_deref(), Some("active"));
        assert_eq!(one("SELECT object_id FROM billing.refetch_queue"), None);
    }

    #[pg_test]
    fn paystack_tells_no_times() {
        assert_eq!(paystack("subscription.create", r#""2099-05-19T07:00:00.000Z""#), APPLIED);
        assert_eq!(paystack("subscription.not_renew", "null"), APPLIED);
        let row = "SELECT concat_ws(' ', provider, status, cancel_at_period_end, extract(year FROM current_period_end),
                       price_ids, object_at) FROM billing.subscriptions";
        assert_eq!(one(row).as_deref(), Some("paystack active t 2099 {PLN_1}"));
        assert_eq!(paystack("subscription.disable", "null"), APPLIED);
        let again = paystack("subscription.create", r#""2099-05-19T07:00:00.000Z""#);
        assert_eq!(again, ignored(Detail::TransitionNotAllowed));
        assert_eq!(one("SELECT object_id FROM billing.refetch_queue"), None, "nothing is queued");
        Spi::run("SELECT register_billing_user(legacy_id => 7, paystack_customer_code => 'CUS_1')").unwrap();
        let status = one("SELECT concat_ws(' ', provider, status, active) FROM subscription_status('7')");
        assert_eq!(status.as_deref(), Some("paystack canceled f"));
    }
}
