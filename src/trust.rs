//! Whom the site trusts: the keys and policy that [`TrustArgs`] and the site's folder name.
//!
//! Invariant: options only ever ask for more than the site's policy does. A key that the folder's
//! policy revokes stays revoked when it is given by `--key`, and the folder's threshold holds, whether
//! or not keys lie beside the policy. Only a folder that is not there says nothing.

use airgap_signing::{Error, PublicKey, TrustRoot};
use camino::Utf8Path;

use crate::cli::TrustArgs;
use crate::error::CommandError;

/// Where a site keeps the publishers' public keys.
pub(crate) const TRUSTED_DIR: &str = "/etc/airgap/trusted.d";

impl TrustArgs {
    /// Returns the keys to trust, and how many of them must have signed.
    pub(crate) fn resolve(&self) -> Result<TrustRoot, CommandError> {
        self.resolve_in(Utf8Path::new(TRUSTED_DIR))
    }

    fn resolve_in(&self, folder: &Utf8Path) -> Result<TrustRoot, CommandError> {
        let root = if self.keys.is_empty() {
            TrustRoot::load_dir(folder)
        } else {
            let keys = self
                .keys
                .iter()
                .map(|path| PublicKey::read(path))
                .collect::<Result<_, _>>()?;
            TrustRoot::under_policy_of(folder, keys)
        };
        let root = root
            .map_err(|error| unusable(error, folder))?
            .tighten(self.threshold.unwrap_or(1));
        if root.keys().len() < root.threshold() {
            return Err(CommandError::usage(format!(
                "{} signatures are required, but only {} trusted",
                root.threshold(),
                crate::render::count(root.keys().len(), "key") + " is",
            ))
            .hint("name every publisher's key with `--key`"));
        }
        Ok(root)
    }
}

/// An empty folder is a site that was not set up yet, not one that trusts nobody; one that cannot be read may hold a policy.
fn unusable(error: Error, folder: &Utf8Path) -> CommandError {
    match error {
        Error::NoKeys { .. } => no_keys(folder),
        Error::File { .. } => CommandError::from(error).hint(format!(
            "without the site's policy nothing can be trusted: run this as root, or let everyone read {folder}, which holds nothing secret: \
             `chmod -R a+rX {folder}`"
        )),
        _ => error.into(),
    }
}

fn no_keys(folder: &Utf8Path) -> CommandError {
    CommandError::usage(format!("no key to trust: {folder} holds none"))
        .hint("pass the publisher's public key, which came with the delivery note: `--key airgap.pub`")
        .hint(format!("or install it once for all: `install -D -m 0644 airgap.pub {folder}/airgap.pub`"))
}

#[cfg(test)]
mod tests {
    use airgap_signing::SigningKey;
    use camino::Utf8PathBuf;

    use super::*;
    use crate::error::Kind;

    struct Site {
        folder: tempfile::TempDir,
    }

    impl Site {
        fn new() -> Self {
            Self {
                folder: tempfile::tempdir().unwrap(),
            }
        }

        fn path(&self, name: &str) -> Utf8PathBuf {
            Utf8Path::from_path(self.folder.path()).unwrap().join(name)
        }

        fn key(&self, name: &str, seed: u8) -> Utf8PathBuf {
            let path = self.path(name);
            SigningKey::from_seed(&[seed; 32])
                .public_key()
                .write_new(&path)
                .unwrap();
            path
        }
    }

    fn args(keys: Vec<Utf8PathBuf>, threshold: Option<usize>) -> TrustArgs {
        TrustArgs { keys, threshold }
    }

    #[test]
    fn without_any_key_it_says_where_keys_belong() {
        let site = Site::new();
        let error = args(Vec::new(), None)
            .resolve_in(&site.path(""))
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.hints().iter().any(|hint| hint.contains("--key")));
    }

    #[test]
    fn an_option_cannot_loosen_the_sites_threshold() {
        let site = Site::new();
        fs_err::create_dir(site.path("trusted.d")).unwrap();
        let one = site.key("trusted.d/one.pub", 1);
        let two = site.key("trusted.d/two.pub", 2);
        fs_err::write(site.path("trusted.d/policy.yaml"), "threshold: 2\n").unwrap();
        let root = args(vec![one, two], Some(1))
            .resolve_in(&site.path("trusted.d"))
            .unwrap();
        assert_eq!(root.threshold(), 2);
    }

    #[test]
    fn a_policy_without_keys_beside_it_rules_the_keys_of_the_options() {
        let site = Site::new();
        fs_err::create_dir(site.path("trusted.d")).unwrap();
        let one = site.key("one.pub", 1);
        let two = site.key("two.pub", 2);
        let policy = site.path("trusted.d/policy.yaml");
        fs_err::write(&policy, "threshold: 2\n").unwrap();
        let resolve = |keys| args(keys, None).resolve_in(&site.path("trusted.d"));
        assert_eq!(resolve(vec![one.clone(), two]).unwrap().threshold(), 2);
        let error = resolve(vec![one.clone()]).unwrap_err();
        assert!(
            error.message().contains("2 signatures"),
            "{}",
            error.message()
        );
        let key = SigningKey::from_seed(&[1; 32]);
        let id = key.public_key().key_id();
        fs_err::write(&policy, format!("revoked: [\"{id}\"]\n")).unwrap();
        let root = resolve(vec![one]).unwrap();
        assert!(root.verify(b"index", &[key.sign(b"index")]).is_err());
    }

    #[test]
    fn a_folder_that_cannot_be_read_is_not_a_site_without_policy() {
        let site = Site::new();
        let one = site.key("one.pub", 1);
        // a file in the folder's place cannot be listed, not even by root
        fs_err::write(site.path("trusted.d"), "").unwrap();
        for keys in [vec![one], Vec::new()] {
            let error = args(keys, None)
                .resolve_in(&site.path("trusted.d"))
                .unwrap_err();
            assert_eq!(error.kind(), Kind::Failed);
            assert!(
                error.message().contains("trust folder"),
                "{}",
                error.message()
            );
            assert!(error.hints()[0].contains("a+rX"), "{:?}", error.hints());
        }
    }

    #[test]
    fn a_key_the_site_revoked_stays_revoked_when_given_as_an_option() {
        let site = Site::new();
        fs_err::create_dir(site.path("trusted.d")).unwrap();
        site.key("trusted.d/one.pub", 1);
        let lost = SigningKey::from_seed(&[2; 32]);
        let lost_id = lost.public_key().key_id();
        fs_err::write(
            site.path("trusted.d/policy.yaml"),
            format!("revoked: [\"{lost_id}\"]\n"),
        )
        .unwrap();
        let lost_path = site.path("lost.pub");
        lost.public_key().write_new(&lost_path).unwrap();
        let root = args(vec![lost_path], None)
            .resolve_in(&site.path("trusted.d"))
            .unwrap();
        assert!(root.verify(b"index", &[lost.sign(b"index")]).is_err());
    }

    #[test]
    fn more_signatures_than_keys_are_refused_at_once() {
        let site = Site::new();
        let one = site.key("one.pub", 1);
        let error = args(vec![one], Some(2))
            .resolve_in(&site.path("none"))
            .unwrap_err();
        assert!(
            error.message().contains("2 signatures"),
            "{}",
            error.message()
        );
    }
}
