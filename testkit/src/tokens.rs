//! Short-lived tokens, shaped as JSON web tokens but known to this server only.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// The tokens given out.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    given: Mutex<HashMap<String, (Instant, String)>>,
    next: AtomicU64,
}

impl Tokens {
    /// Gives out a token for `grant`, which [`Tokens::grant`] gives back while it is good.
    pub(crate) fn give(&self, lifetime: Duration, grant: String) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let claims = serde_json::json!({"exp": (now + lifetime).as_secs(), "iat": now.as_secs(), "jti": number});
        let token = format!(
            "{}.{}.{}",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
            URL_SAFE_NO_PAD.encode(claims.to_string()),
            URL_SAFE_NO_PAD.encode(number.to_string()),
        );
        let until = Instant::now() + lifetime;
        self.lock().insert(token.clone(), (until, grant));
        token
    }

    /// Returns what a token was given for, while it is good.
    pub(crate) fn grant(&self, token: &str) -> Option<String> {
        let given = self.lock();
        let (until, grant) = given.get(token)?;
        (*until > Instant::now()).then(|| grant.clone())
    }

    /// Forgets every token.
    pub(crate) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Instant, String)>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
