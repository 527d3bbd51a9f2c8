//! A Postgres database as its own billing backend.
//!
//! A table of contents: each noun has its entry points in `<noun>/mod.rs` and its SQL statements in
//! `<noun>/store.rs`; what they decide is in the crate `billing_core`, what touches Postgres below
//! SPI in `pg/`.

mod adoption;
mod charges;
mod credits;
mod customers;
mod dashboard;
mod error;
mod monitoring;
mod packs;
mod payments;
mod pg;
mod plans;
mod settings;
mod signatures;
mod subscriptions;
mod webhooks;

#[cfg(any(test, feature = "pg_test"))]
mod tests;

pgrx::pg_module_magic!(name, version);

/// The schema of tables, views and operators' functions; made by sql/bootstrap.sql, named here for the
/// functions that go into it.
#[pgrx::pg_schema]
mod billing {}

pgrx::extension_sql_file!("../sql/bootstrap.sql", bootstrap);
pgrx::extension_sql_file!("../sql/customers.sql", name = "customers");
pgrx::extension_sql_file!("../sql/charges.sql", name = "charges");
pgrx::extension_sql_file!("../sql/credits.sql", name = "credits", requires = ["customers"]);
pgrx::extension_sql_file!("../sql/signatures.sql", name = "signatures");
pgrx::extension_sql_file!("../sql/webhooks.sql", name = "webhooks");
pgrx::extension_sql_file!("../sql/packs.sql", name = "packs");
pgrx::extension_sql_file!("../sql/plans.sql", name = "plans");
pgrx::extension_sql_file!("../sql/payments.sql", name = "payments", requires = ["customers"]);
pgrx::extension_sql_file!("../sql/subscriptions.sql", name = "subscriptions", requires = ["customers"]);
pgrx::extension_sql_file!("../sql/reconcile.sql", name = "reconcile", requires = ["credits", "webhooks"]);
pgrx::extension_sql_file!("../sql/monitoring.sql", name = "monitoring", requires = ["credits", "webhooks"]);
pgrx::extension_sql_file!("../sql/dashboard.sql", name = "dashboard");
pgrx::extension_sql_file!("../sql/adoption.sql", name = "adoption", requires = ["customers", "credits"]);
pgrx::extension_sql_file!("../sql/audit.sql", name = "audit");
pgrx::extension_sql_file!(
    "../sql/guard.sql",
    name = "guard",
    requires = [pg::drop_guard::watch_drops, "credits", "webhooks", "payments"]
);
pgrx::extension_sql_file!(
    "../sql/comments.sql",
    name = "comments",
    requires = [
        customers::resolve_billing_user,
        customers::register_billing_user,
        customers::end_users::current_customer_id,
        customers::mend::move_identifier,
        customers::mend::merge_customers,
        customers::mend::forget_customer,
        credits::apply_credit_purchase,
        credits::grant_credits,
        credits::spend_credits,
        credits::credit_balance,
        credits::credit_history,
        credits::credit_balance_at,
        credits::reversals::reverse_credit_entry,
        credits::holds::hold_credits,
        credits::holds::capture_hold,
        credits::holds::release_hold,
        credits::batch::apply_credit_batch,
        credits::expiry::expire_credits,
        credits::end_users::my_credits,
        credits::end_users::my_credit_history,
        credits::end_users::has_credits,
        signatures::verify_stripe_signature,
        signatures::verify_paystack_signature,
        signatures::verify_stripe_signature_with,
        signatures::verify_paystack_signature_with,
        signatures::sign_stripe_payload,
        signatures::sign_paystack_payload,
        signatures::add_webhook_secret,
        signatures::retire_webhook_secret,
        webhooks::claim_stripe_event,
        webhooks::complete_stripe_event,
        webhooks::fail_stripe_event,
        webhooks::claim_webhook_event,
        webhooks::complete_webhook_event,
        webhooks::fail_webhook_event,
        webhooks::process_stripe_webhook,
        webhooks::process_paystack_webhook,
        webhooks::stripe_webhook,
        webhooks::paystack_webhook,
        webhooks::retry_webhook_events,
        webhooks::revive_event,
        webhooks::dismiss_event,
        webhooks::purge_webhook_events,
        webhooks::allow_account,
        packs::define_pack,
        plans::define_plan,
        payments::start_subscription_payment,
        payments::verify_subscription_payment,
        payments::subscription_payment_status,
        subscriptions::apply_subscription_update,
        subscriptions::can_transition_subscription,
        subscriptions::subscription_status,
        subscriptions::my_subscription,
        subscriptions::has_active_subscription,
        subscriptions::pending_refetches,
        monitoring::health,
        monitoring::metrics,
        dashboard::billing_dashboard,
        adoption::adoption_target,
        adoption::adoption_source,
        adoption::adopt_balance_rows,
        adoption::adopt_event_rows,
        adoption::adopt_source_rows,
        "customers",
        "signatures",
        "charges",
        "credits",
        "subscriptions",
        "reconcile",
        "monitoring",
        "adoption",
        "audit",
        "guard",
    ]
);
pgrx::extension_sql_file!("../sql/access.sql", name = "access", finalize);

/// Runs once when a backend loads the library.
#[pgrx::pg_guard]
pub extern "C-unwind" fn _PG_init() {
    settings::register();
    pg::drop_guard::register();
    pg::watch_definitions();
}

#[cfg(test)]
#[doc(hidden)]
pub mod pg_test {
    pub fn setup(_options: Vec<&str>) {}

    pub fn postgresql_conf_options() -> Vec<&'static str> {
        vec![]
    }
}
