//! Which keys a site believes, and how many of them must agree.
//!
//! Keys come from the site, never from what they are to verify. Distinct keys are counted, so one key signing twice
//! counts once; a revoked key never counts. Options may only make trust stricter.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};

use crate::{Error, KeyId, PublicKey, Result, Signature, files};

/// The public keys a site trusts, the number of them needed, and those it trusts no more.
#[derive(Debug, Clone)]
pub struct TrustRoot {
    keys: Vec<PublicKey>,
    threshold: usize,
    revoked: BTreeSet<KeyId>,
}

const POLICY: &str = "policy.yaml";

/// What stands in `policy.yaml`.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    #[serde(default = "one")]
    threshold: usize,
    #[serde(default)]
    revoked: Vec<KeyId>,
}

fn one() -> usize {
    1
}

impl TrustRoot {
    /// Trusts each of `keys` alone (threshold 1); the same key twice counts once.
    #[must_use]
    pub fn new(keys: Vec<PublicKey>) -> Self {
        let mut distinct: Vec<PublicKey> = Vec::with_capacity(keys.len());
        for key in keys {
            if !distinct.contains(&key) {
                distinct.push(key);
            }
        }
        Self {
            keys: distinct,
            threshold: 1,
            revoked: BTreeSet::new(),
        }
    }

    /// Reads every `*.pub` in `folder`, and `policy.yaml` if it is there (`{threshold: 1, revoked: [<key id>…]}`).
    ///
    /// An unreadable folder or key, an unknown field or a threshold that its keys can never reach is an error: trust that
    /// silently shrinks or widens is none. A folder that is not there holds no key.
    pub fn load_dir(folder: &Utf8Path) -> Result<Self> {
        let files = list(folder)?;
        let keys = files
            .iter()
            .filter(|path| path.extension() == Some("pub"))
            .map(|path| PublicKey::read(path))
            .collect::<Result<Vec<_>>>()?;
        if keys.is_empty() {
            return Err(Error::NoKeys {
                place: folder.to_string(),
            });
        }
        let root = Self::new(keys).governed(&files)?;
        let usable = root.usable().count();
        if usable < root.threshold {
            return Err(Error::Policy {
                path: folder.join(POLICY),
                reason: format!(
                    "threshold {} is more than the {usable} usable keys beside it",
                    root.threshold
                ),
            });
        }
        Ok(root)
    }

    /// Trusts `keys`, and none of `folder`'s, under the policy of `folder`; whether keys lie beside the policy does not matter.
    ///
    /// Only a folder that is not there has no policy: one that cannot be read is an error. Fewer keys than the policy's threshold
    /// are none; nothing they sign is trusted.
    pub fn under_policy_of(folder: &Utf8Path, keys: Vec<PublicKey>) -> Result<Self> {
        Self::new(keys).governed(&list(folder)?)
    }

    /// Takes the policy among `files` for its own.
    fn governed(mut self, files: &[Utf8PathBuf]) -> Result<Self> {
        let Some(path) = files.iter().find(|path| path.file_name() == Some(POLICY)) else {
            return Ok(self);
        };
        let invalid = |reason: String| Error::Policy {
            path: path.clone(),
            reason,
        };
        let text = files::read("trust policy", path)?;
        let policy: Policy = serde_saphyr::from_str(&text).map_err(|e| invalid(e.to_string()))?;
        if policy.threshold == 0 {
            return Err(invalid("threshold must be at least 1".to_owned()));
        }
        self.threshold = policy.threshold;
        self.revoked.extend(policy.revoked);
        Ok(self)
    }

    /// Demands at least `threshold` distinct keys; a smaller number than already demanded changes nothing.
    #[must_use]
    pub fn tighten(mut self, threshold: usize) -> Self {
        self.threshold = self.threshold.max(threshold);
        self
    }

    /// Trusts these keys no more.
    #[must_use]
    pub fn revoke(mut self, keys: impl IntoIterator<Item = KeyId>) -> Self {
        self.revoked.extend(keys);
        self
    }

    /// Returns the keys, revoked ones included.
    #[must_use]
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// Iterates over the keys without the revoked ones.
    pub fn usable(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys
            .iter()
            .filter(|key| !self.revoked.contains(&key.key_id()))
    }

    /// Returns the ids of the keys that are trusted no more.
    #[must_use]
    pub fn revoked(&self) -> &BTreeSet<KeyId> {
        &self.revoked
    }

    /// Returns how many distinct keys must have signed.
    #[must_use]
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// Returns the ids of the trusted keys that signed exactly `message`, sorted; fails when they are too few.
    ///
    /// Each signature is tried against each key, because a signature does not say whose it is.
    pub fn verify(&self, message: &[u8], signatures: &[Signature]) -> Result<Vec<KeyId>> {
        let mut trusted = Vec::new();
        let mut revoked = Vec::new();
        for key in &self.keys {
            if signatures
                .iter()
                .any(|signature| key.made(message, signature))
            {
                let id = key.key_id();
                let list = if self.revoked.contains(&id) {
                    &mut revoked
                } else {
                    &mut trusted
                };
                list.push(id);
            }
        }
        trusted.sort_unstable();
        // an empty root must never say yes, whatever its threshold
        if trusted.is_empty() || trusted.len() < self.threshold {
            return Err(Error::Untrusted {
                needed: self.threshold,
                trusted,
                revoked,
            });
        }
        Ok(trusted)
    }
}

/// Lists a trust folder, sorted; one that is not there is empty.
fn list(folder: &Utf8Path) -> Result<Vec<Utf8PathBuf>> {
    let failed = |source| Error::File {
        operation: "read",
        what: format!("trust folder {folder}"),
        source,
    };
    let entries = match folder.read_dir_utf8() {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut paths = entries
        .map(|entry| Ok(entry.map_err(failed)?.into_path()))
        .collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SigningKey;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32])
    }

    fn folder(keys: &[&SigningKey], policy: Option<&str>) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (number, key) in keys.iter().enumerate() {
            fs_err::write(
                folder.path().join(format!("{number}.pub")),
                key.public_key().to_pem(),
            )
            .unwrap();
        }
        if let Some(policy) = policy {
            fs_err::write(folder.path().join("policy.yaml"), policy).unwrap();
        }
        folder
    }

    fn load(folder: &tempfile::TempDir) -> Result<TrustRoot> {
        TrustRoot::load_dir(Utf8Path::from_path(folder.path()).unwrap())
    }

    #[test]
    fn one_trusted_key_is_enough_by_default() {
        let (a, b) = (key(1), key(2));
        let root = TrustRoot::new(vec![a.public_key(), b.public_key()]);
        assert_eq!(
            root.verify(b"m", &[b.sign(b"m")]).unwrap(),
            [b.public_key().key_id()]
        );
        assert!(root.verify(b"other", &[b.sign(b"m")]).is_err());
        assert!(root.verify(b"m", &[key(3).sign(b"m")]).is_err());
        assert!(root.verify(b"m", &[]).is_err());
    }

    #[test]
    fn a_threshold_counts_distinct_keys() {
        let (a, b) = (key(1), key(2));
        let root = TrustRoot::new(vec![a.public_key(), a.public_key(), b.public_key()]).tighten(2);
        let error = root
            .verify(b"m", &[a.sign(b"m"), a.sign(b"m")])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "signed by 1 of the 2 trusted keys needed"
        );
        assert!(error.is_trust_failure());
        assert_eq!(
            root.verify(b"m", &[a.sign(b"m"), b.sign(b"m")])
                .unwrap()
                .len(),
            2
        );
    }

    #[test]
    fn tightening_never_loosens() {
        let root = TrustRoot::new(vec![key(1).public_key()])
            .tighten(2)
            .tighten(1);
        assert_eq!(root.threshold(), 2);
    }

    #[test]
    fn a_revoked_key_never_counts_and_is_named() {
        let (a, b) = (key(1), key(2));
        let id = a.public_key().key_id();
        let root = TrustRoot::new(vec![a.public_key(), b.public_key()]).revoke([id]);
        let error = root.verify(b"m", &[a.sign(b"m")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("signed by 0 of the 1 trusted keys needed (revoked keys do not count: {id})")
        );
    }

    #[test]
    fn no_keys_trust_nobody() {
        assert!(
            TrustRoot::new(Vec::new())
                .verify(b"m", &[key(1).sign(b"m")])
                .is_err()
        );
    }

    #[test]
    fn a_folder_gives_keys_and_policy() {
        let (a, b, c) = (key(1), key(2), key(3));
        let policy = format!("threshold: 2\nrevoked: [\"{}\"]\n", c.public_key().key_id());
        let root = load(&folder(&[&a, &b, &c], Some(&policy))).unwrap();
        assert_eq!(root.threshold(), 2);
        assert!(root.verify(b"m", &[a.sign(b"m"), c.sign(b"m")]).is_err());
        assert_eq!(
            root.verify(b"m", &[a.sign(b"m"), b.sign(b"m")])
                .unwrap()
                .len(),
            2
        );
    }

    #[test]
    fn a_folder_that_cannot_be_meant_is_refused() {
        let a = key(1);
        assert!(matches!(
            load(&folder(&[], None)),
            Err(Error::NoKeys { .. })
        ));
        for policy in [
            "threshold: 0",
            "threshold: 2",
            "treshold: 1",
            "revoked: [xyz]",
            "threshold: one",
        ] {
            assert!(
                matches!(
                    load(&folder(&[&a], Some(policy))),
                    Err(Error::Policy { .. })
                ),
                "{policy}"
            );
        }
        let broken = folder(&[&a], None);
        fs_err::write(broken.path().join("broken.pub"), "nonsense").unwrap();
        let error = load(&broken).unwrap_err().to_string();
        assert!(error.contains("broken.pub"), "{error}");
    }

    #[test]
    fn a_policy_holds_without_keys_beside_it() {
        let (a, b, lost) = (key(1), key(2), key(3));
        let policy = format!(
            "threshold: 2\nrevoked: [\"{}\"]\n",
            lost.public_key().key_id()
        );
        let folder = folder(&[], Some(&policy));
        let path = Utf8Path::from_path(folder.path()).unwrap();
        let keys = [&a, &b, &lost].map(SigningKey::public_key).to_vec();
        let root = TrustRoot::under_policy_of(path, keys).unwrap();
        assert!(root.verify(b"m", &[a.sign(b"m"), lost.sign(b"m")]).is_err());
        assert!(root.verify(b"m", &[a.sign(b"m"), b.sign(b"m")]).is_ok());
    }

    #[test]
    fn only_a_folder_that_is_not_there_has_no_policy() {
        let keys = || vec![key(1).public_key()];
        let there = folder(&[], None);
        let path = Utf8Path::from_path(there.path()).unwrap();
        let root = TrustRoot::under_policy_of(&path.join("none"), keys()).unwrap();
        assert_eq!(root.threshold(), 1);
        // a file in the folder's place cannot be listed, not even by root
        fs_err::write(path.join("file"), "").unwrap();
        let error = TrustRoot::under_policy_of(&path.join("file"), keys()).unwrap_err();
        assert!(
            error.to_string().starts_with("failed to read trust folder"),
            "{error}"
        );
        // nor does a policy count as absent because its link leads nowhere
        std::os::unix::fs::symlink("nowhere", path.join("policy.yaml")).unwrap();
        assert!(matches!(
            TrustRoot::under_policy_of(path, keys()),
            Err(Error::File { .. })
        ));
    }
}
