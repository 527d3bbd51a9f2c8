//! SQL statements on webhook secrets.

use crate::error::Result;
use crate::pg::{self, Client, Time, statements};

statements! {
    VALID(TEXTOID, TIMESTAMPTZOID) =
        "SELECT secret FROM billing.webhook_secrets
         WHERE provider = $1 AND (valid_until IS NULL OR valid_until > $2)
         ORDER BY secret_id DESC";
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
    let statement = if pg::has_relation(c"vault_secrets") { &VALID_WITH_VAULT } else { &VALID };
    let rows = statement.with(|s| s.run(client, &[provider.into(), now.timestamp().into()]))?;
    rows.all(|row| row.get(1).map(Secret))
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
