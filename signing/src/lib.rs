//! Ed25519 keys, signatures and the site's trust.
