//! SQL statements on webhook secrets.

use pgrx::datum::TimestampWithTimeZone;

use crate::error::Result;
use crate::pg::{self, Client, Time, statements};

statements! {
    OF_PROVIDER(TEXTOID) direct =
        "SELECT secret_id, secret, valid_until FROM billing.webhook_secrets WHERE provider = $1";
    // With the vault's, where the operator named any; one that the vault does not have is none.
    VALID_WITH_VAULT(TEXTOID, TIMESTAMPTZOID) =
        "SELECT s.secret FROM (
             SELECT w.secret_id, w.secret FROM billing.webhook_secrets w
             WHERE w.provider = $1 AND (w.valid_until IS NULL OR w.valid_until > $2) AND w.vault_name IS NULL
             UNION ALL
             SELECT w.secret_id, v.decrypted_secret FROM billing.webhook_secrets w
             JOIN billing.vault_secrets v ON v.name = w.vault_name
             WHERE w.provider = $1 AND (w.valid_until IS NULL OR w.valid_until > $2)
                 AND v.decrypted_secret IS NOT NULL) s
         ORDER BY s.secret_id DESC";
    ADD(TEXTOID, TEXTOID, TIMESTAMPTZOID) =
        "INSERT INTO billing.webhook_secrets (provider, secret, valid_until) VALUES ($1, $2, $3)
         RETURNING secret_id";
    RETIRE(INT8OID, TIMESTAMPTZOID) =
        "UPDATE billing.webhook_secrets SET valid_until = $2 WHERE secret_id = $1 RETURNING secret_id";
}

/// A secret that shows itself to nobody.
pub struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl AsRef<str> for Secret {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// The provider's secrets that are valid now, newest first.
pub fn valid_secrets(client: &Client, provider: &str, now: Time) -> Result<Vec<Secret>> {
    if pg::has_relation(c"vault_secrets") {
        let rows = VALID_WITH_VAULT.with(|s| s.run(client, &[provider.into(), now.timestamp().into()]))?;
        return rows.all(|row| row.get(1).map(Secret));
    }
    let mut secrets: Vec<(i64, Secret)> = Vec::new();
    let rows = OF_PROVIDER.with(|s| s.run(client, &[provider.into()]))?;
    for (secret_id, secret, until) in rows.all(|row| {
        Ok((row.get(1)?, row.get(2).map(Secret)?, row.maybe::<TimestampWithTimeZone>(3)?.map(Time::of)))
    })? {
        if until.is_none_or(|until| until > now) {
            secrets.push((secret_id, secret));
        }
    }
    secrets.sort_by_key(|(secret_id, _)| std::cmp::Reverse(*secret_id));
    Ok(secrets.into_iter().map(|(_, secret)| secret).collect())
}

/// Stores a secret; its number.
pub fn add(client: &Client, provider: &str, secret: &str, until: Option<Time>) -> Result<Option<i64>> {
    let until = until.and_then(Time::timestamp);
    ADD.with(|s| s.run(client, &[provider.into(), secret.into(), until.into()]))?.first(|row| row.get(1))
}

/// Ends a secret; whether there is one of that number.
pub fn retire(client: &Client, secret_id: i64, at: Time) -> Result<bool> {
    Ok(RETIRE.with(|s| s.run(client, &[secret_id.into(), at.timestamp().into()]))?.len() == 1)
}
