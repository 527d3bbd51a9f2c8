//! The runner over bodies of files, and that it finds what it looks for.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use billing_wire::cluster::Cluster;
use billing_wire::corpus;
use billing_wire::{Tested, figure, run};

pub fn add(add: &mut impl FnMut(&str, fn() -> Tested)) {
    add("corpus::every_file", || run(every_file()));
    add("corpus::planted_faults_are_found", || run(planted()));
}

/// The server's log is read for each run alone.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn cluster() -> Arc<Cluster> {
    static CLUSTER: OnceLock<Arc<Cluster>> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start("wire-corpus", &["-c", "log_error_verbosity=verbose"])).clone()
}

fn own_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// The project's own bodies, and those of `BILLING_FIXTURES`.
async fn every_file() {
    let _alone = ALONE.lock().await;
    let given = std::env::var_os("BILLING_FIXTURES").map(PathBuf::from);
    for folder in std::iter::once(own_folder()).chain(given) {
        let database = cluster().database().await;
        let report = corpus::run(&database, &folder).await;
        assert!(report.problems.is_empty(), "{}: {:#?}", folder.display(), report.problems);
        billing_wire::books::check_tables(&database.admin().await).await;
        if folder == own_folder() {
            // So that the bodies go on showing what they are there for.
            for why in ["applied", "failed / unknown_user", "ignored / connected_account"] {
                assert!(report.tally.contains_key(why), "{:?}", report.tally);
            }
            assert!(report.personal > 20, "{}", report.personal);
        }
        figure(|| format!("{}: {:?}", folder.display(), report.tally));
    }
}

/// A trigger function of a superuser, and its trigger.
fn trigger(name: &str, event: &str, body: &str) -> String {
    format!(
        "CREATE FUNCTION billing.{name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
             $$ BEGIN {body} RETURN NEW; END $$;
         CREATE TRIGGER {name} {event} FOR EACH ROW EXECUTE FUNCTION billing.{name}();"
    )
}

/// Faults that do not hide each other, and what must be said of each.
fn faults() -> [Vec<(String, &'static str)>; 2] {
    let raised_to_the_caller = trigger(
        "raises",
        "BEFORE INSERT ON billing.webhook_events",
        "IF NEW.event_type = 'invoice.paid' THEN RAISE EXCEPTION 'planted'; END IF;",
    );
    let raised_within =
        trigger("raises_within", "BEFORE INSERT ON billing.ledger", "RAISE EXCEPTION 'planted';");
    let copied = trigger(
        "copies",
        "AFTER INSERT ON billing.customers",
        "INSERT INTO billing.copied VALUES (jsonb_build_object('a', ARRAY[upper(NEW.email)]));",
    );
    let logged = trigger("logs", "AFTER INSERT ON billing.customers", "RAISE WARNING 'who: %', NEW.email;");
    let answered = trigger(
        "answers",
        "BEFORE INSERT OR UPDATE ON billing.webhook_events",
        "IF NEW.result IS NOT NULL THEN NEW.result := jsonb_build_object('who', 'for Ada.'); END IF;",
    );
    let leaves_something = trigger(
        "leaves",
        "AFTER UPDATE ON billing.webhook_events",
        "IF NEW.attempts = 2 THEN INSERT INTO billing.left_over VALUES (2); END IF;",
    );
    let changes_its_row = trigger(
        "changes",
        "BEFORE UPDATE ON billing.webhook_events",
        "IF NEW.attempts = 2 THEN NEW.received_at := NEW.received_at + interval '1 s'; END IF;",
    );
    [
        vec![
            (raised_to_the_caller, "invoice_paid.json: raised"),
            (
                format!("CREATE TABLE billing.copied (note jsonb); {copied}"),
                "column copied.note: holds a text that stands under email",
            ),
            (logged, "the server's log: holds a text that stands under email"),
            (answered, "the answer to checkout_credits.json: holds a text that stands under name"),
            (
                format!("CREATE TABLE billing.left_over (attempt int); {leaves_something}"),
                "checkout_unknown_customer.json: the second delivery changed left_over",
            ),
        ],
        vec![
            (raised_within, "checkout_credits.json: met an SQL error within"),
            (changes_its_row, "checkout_unknown_customer.json: the second delivery changed webhook_events"),
        ],
    ]
}

async fn planted() {
    let _alone = ALONE.lock().await;
    for group in faults() {
        let database = cluster().database().await;
        let admin = database.admin().await;
        for (fault, _) in &group {
            admin.run(fault).await;
        }
        let report = corpus::run(&database, &own_folder()).await;
        for (_, complaint) in group {
            let found = report.problems.iter().any(|problem| problem.starts_with(complaint));
            assert!(found, "{complaint}: {:#?}", report.problems);
        }
    }
}
