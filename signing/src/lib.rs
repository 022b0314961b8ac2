//! Ed25519 keys, signatures and the site's trust: bytes and keys, nothing of bundles.
//!
//! A [`SigningKey`] signs exact bytes; a [`TrustRoot`] says which [`PublicKey`]s a site believes, how many of them
//! must agree and which are revoked. Every file is one that openssl reads and writes as well: PKCS#8 v1 and SPKI in
//! PEM, and signatures that are pure Ed25519 (RFC 8032, no prehash) over the message itself.
//!
//! The one invariant: [`TrustRoot::verify`] is the only way to learn who signed, and it counts distinct trusted
//! keys only. What this crate leaves out: where keys are kept, when a signature was made, and what was signed.
//!
//! ```
//! use airgap_signing::{SigningKey, TrustRoot};
//!
//! let (ours, theirs) = (SigningKey::generate()?, SigningKey::generate()?);
//! let message = b"the exact bytes";
//! let signature = ours.sign(message);
//!
//! let site = TrustRoot::new(vec![ours.public_key(), theirs.public_key()]);
//! assert_eq!(site.verify(message, &[signature])?, [ours.public_key().key_id()]);
//!
//! // a site that wants both signatures is not content with one of them twice
//! let strict = site.tighten(2);
//! assert!(strict.verify(message, &[signature, signature]).is_err());
//! assert!(strict.verify(message, &[signature, theirs.sign(message)]).is_ok());
//! # Ok::<(), airgap_signing::Error>(())
//! ```

mod error;
mod files;
mod key_id;
mod public_key;
mod signature;
mod signing_key;
mod trust;

pub use error::{Error, KeyProblem, Result};
pub use key_id::KeyId;
pub use public_key::PublicKey;
pub use signature::Signature;
pub use signing_key::SigningKey;
pub use trust::TrustRoot;
