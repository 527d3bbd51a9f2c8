//! The check of a signature, beside OpenSSL's HMAC over as many bytes.

use std::process::Command;

use billing_core::signatures::{DEFAULT_TOLERANCE_SECONDS, sign_stripe, verify_stripe};
use tokio_postgres::Client;

use crate::Failure;
use crate::measure::{Measured, Meter, Sample, Slice, order, process};
use crate::options::Options;
use crate::random::Random;
use crate::report::{Report, Requirement, Setting, Wanted};
use crate::webhook::checkout;
use crate::world::{WEBHOOK_SECRET, World};

/// Bodies that one statement checks.
const BODIES: usize = 2_000;
/// Statements of one measurement in the database.
const STATEMENTS: usize = 10;
/// When all of them were signed.
const SIGNED_AT: i64 = 1_700_000_000;
/// Bodies that the library checks in turn.
const AT_HAND: usize = 16;
/// The library is measured for so many times the seconds of other measurements: as long as OpenSSL, if not told otherwise.
const LONGER: f64 = 4.0;

type Signed = (String, String);

/// Processor time on both sides: nothing here waits for anything. Judged is the check as the library makes it,
/// header and comparison included, for it is what differs from OpenSSL's work. Within a statement the row
/// that is answered and the reading of the body come on top, which differ from caller to caller; what the check
/// adds there is shown as well, as the difference between the same statement with and without a secret to try.
pub async fn measure(
    client: &Client,
    world: &World,
    options: &Options,
    report: &mut Report,
) -> Result<(), Failure> {
    let bodies = signed(world)?;
    let bytes = bodies[0].0.len() + format!("{SIGNED_AT}.").len();
    let version = openssl(&["version"])?;
    store(client, &bodies).await?;
    let backend = process(client).await?;
    check(client, true).await?;

    let names =
        ["library's check", "OpenSSL's HMAC", "check within a statement", "library's check once more"];
    let mut measured: Vec<Measured> = names.map(|name| (name, Vec::new())).into();
    // The first round warms up.
    for round in 0..=options.rounds {
        for place in order(names.len(), round) {
            let sample = match place {
                1 => of_openssl(bytes)?,
                2 => within(client, backend).await?,
                _ => of_library(&bodies, options.seconds * LONGER)?,
            };
            if round > 0 {
                measured[place].1.push(sample);
            }
        }
    }
    client.batch_execute("DROP TABLE pg_temp.signed").await?;
    let wanted = [
        Wanted { name: "library / OpenSSL", of: 0, to: 1, requirement: Some(Requirement::AtLeast(0.70)) },
        Wanted { name: "in statement / OpenSSL", of: 2, to: 1, requirement: None },
        Wanted { name: "control", of: 3, to: 0, requirement: Some(Requirement::Same(0.05)) },
    ];
    let version = version.split(" (").next().unwrap_or_default().trim();
    let title = format!("check of a signature over {bytes} bytes, by processor time, beside {version}");
    let setting = Setting { unit: "checks", ..Setting::calls(&title, 1, false) };
    report.comparison(setting, &measured, &wanted);
    Ok(())
}

/// Checkout bodies, all of one length.
fn signed(world: &World) -> Result<Vec<Signed>, Failure> {
    let mut random = Random::new(8);
    let sign = |body: String| {
        let header =
            sign_stripe(body.as_bytes(), WEBHOOK_SECRET, SIGNED_AT).ok_or("a secret is not blank")?;
        Ok((body, header))
    };
    (0..BODIES).map(|_| sign(checkout(world, &mut random))).collect()
}

/// As they stand in a table of this session, neither compressed nor elsewhere: reading them costs next to nothing.
async fn store(client: &Client, bodies: &[Signed]) -> Result<(), Failure> {
    client
        .batch_execute(
            "CREATE TEMPORARY TABLE signed (body bytea NOT NULL, header text NOT NULL);
             ALTER TABLE signed ALTER body SET STORAGE PLAIN",
        )
        .await?;
    let (texts, headers): (Vec<&[u8]>, Vec<&str>) =
        bodies.iter().map(|(body, header)| (body.as_bytes(), header.as_str())).unzip();
    let insert = "INSERT INTO pg_temp.signed SELECT * FROM unnest($1::bytea[], $2::text[])";
    client.execute(insert, &[&texts, &headers]).await?;
    Ok(client.batch_execute("VACUUM ANALYZE pg_temp.signed").await?)
}

/// All of them by one statement; without a secret to try, everything is done but the check.
async fn check(client: &Client, with_secret: bool) -> Result<(), Failure> {
    let count = "SELECT count(*) FROM pg_temp.signed s
        WHERE (billing.verify_stripe_signature_with(s.body, s.header, $1, 300, to_timestamp($2))).valid = $3";
    let secrets: &[&str] = if with_secret { &[WEBHOOK_SECRET] } else { &[] };
    let answered: i64 = client.query_one(count, &[&secrets, &(SIGNED_AT as f64), &with_secret]).await?.get(0);
    if answered == BODIES as i64 { Ok(()) } else { Err("a signature was judged wrongly".into()) }
}

/// What the check adds to a statement.
async fn within(client: &Client, backend: i32) -> Result<Sample, Failure> {
    let mut slices = [Vec::new(), Vec::new()];
    for turn in 0..STATEMENTS {
        for place in order(2, turn) {
            let meter = Meter::start(backend);
            check(client, place == 0).await?;
            slices[place].push(meter.stop(BODIES));
        }
    }
    let [with, without] = slices.map(|slices| Slice::whole(&slices).cpu_micros_per_call);
    let micros = with.zip(without).map(|(with, without)| with - without);
    of_processor(micros.ok_or("the server's processes are not to be seen from here")?)
}

fn of_library(bodies: &[Signed], seconds: f64) -> Result<Sample, Failure> {
    let secrets = [WEBHOOK_SECRET];
    let mut calls = 0;
    // The kernel writes down what a process has used when it gives way.
    std::thread::yield_now();
    let meter = Meter::start(i32::try_from(std::process::id())?);
    let start = std::time::Instant::now();
    while start.elapsed().as_secs_f64() < seconds {
        for (body, header) in &bodies[..AT_HAND] {
            let header = Some(header.as_bytes());
            let verdict =
                verify_stripe(body.as_bytes(), header, &secrets, DEFAULT_TOLERANCE_SECONDS, SIGNED_AT);
            if !std::hint::black_box(verdict).valid() {
                return Err("a good signature was refused".into());
            }
            calls += 1;
        }
    }
    std::thread::yield_now();
    let micros = Slice::whole(&[meter.stop(calls)]).cpu_micros_per_call;
    of_processor(micros.ok_or("this process is not to be seen in /proc")?)
}

/// OpenSSL's own measurement, which counts the user's processor time, too; it sets the key up once and not for each
/// call, as a check has to. A second is the shortest there is.
fn of_openssl(bytes: usize) -> Result<Sample, Failure> {
    let size = bytes.to_string();
    let speed = openssl(&["speed", "-mr", "-seconds", "1", "-bytes", &size, "-hmac", "sha256"])?;
    let line = speed.lines().find(|line| line.starts_with("+F:"));
    let rate: Option<f64> = line.and_then(|line| line.rsplit(':').next()?.trim().parse().ok());
    let rate = rate.ok_or("'openssl speed' says nothing that can be read")?;
    of_processor(1_000_000.0 * bytes as f64 / rate)
}

fn openssl(arguments: &[&str]) -> Result<String, Failure> {
    let output = Command::new("openssl").args(arguments).output()?;
    if output.status.success() {
        Ok(String::from_utf8(output.stdout)?)
    } else {
        Err(format!("openssl {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr))
            .into())
    }
}

/// As many per second as one processor can do.
fn of_processor(micros: f64) -> Result<Sample, Failure> {
    if micros <= 0.0 {
        return Err("too little was measured to tell".into());
    }
    Ok(Sample { calls_per_second: 1_000_000.0 / micros, cpu_micros_per_call: Some(micros) })
}
