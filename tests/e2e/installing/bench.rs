//! The connected side, once for all scenarios: keys, lock, bundles.

use std::{
    collections::BTreeMap,
    process::Command,
    sync::{LazyLock, Mutex},
};

use airgap_testkit::release::standin_binary;
use camino::Utf8PathBuf;

use crate::support::Connected;

static BENCH: LazyLock<Bench> = LazyLock::new(Bench::new);

/// A lock, and the bundles made so far.
pub(crate) struct Bench {
    connected: Connected,
    bundles: Mutex<BTreeMap<(String, u64), Utf8PathBuf>>,
}

impl Bench {
    fn new() -> Self {
        if std::env::var("AIRGAP_STANDIN_BIN").is_err() && standin_binary().is_err() {
            let mut build = Command::new(env!("CARGO"));
            build.args(["build", "--quiet", "-p", "airgap-testkit", "--bins"]);
            assert!(
                build.status().unwrap().success(),
                "the stand-in RKE2 cannot be built"
            );
        }
        let connected = Connected::start_with(&standin_binary().unwrap());
        let _ = connected
            .airgap("lock --version 1.0.0 --upstreams upstreams.yaml")
            .ok();
        Self {
            connected,
            bundles: Mutex::default(),
        }
    }

    pub(crate) fn get() -> &'static Self {
        &BENCH
    }

    /// The publisher's public key.
    pub(crate) fn public_key(&self) -> Utf8PathBuf {
        self.connected.path("airgap.pub")
    }

    /// A bundle of the edition, made once; `later` asks for one whose lock has moved on that often.
    pub(crate) fn bundle(&self, edition: &str, later: u64) -> Utf8PathBuf {
        let mut bundles = self
            .bundles
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = (edition.to_owned(), later);
        if let Some(path) = bundles.get(&key) {
            return path.clone();
        }
        let lock = format!("images-{later}.lock");
        fs_err::copy(
            self.connected.path("images.lock"),
            self.connected.path(&lock),
        )
        .unwrap();
        for number in 1..=later {
            let words =
                format!("lock --version 1.{number}.0 --lock {lock} --upstreams upstreams.yaml");
            let _ = self.connected.airgap(&words).ok();
        }
        let output = format!("out-{edition}-{later}");
        fs_err::create_dir_all(self.connected.path(&output)).unwrap();
        // which program is handed over does not matter here, and one with debug information is too large
        fs_err::write(self.connected.path("handed-over"), "a program").unwrap();
        let words = format!(
            "bundle --installer handed-over --edition {edition} --lock {lock} --upstreams upstreams.yaml --key airgap.key --output {output}"
        );
        let _ = self.connected.airgap(&words).ok();
        let path = self.connected.bundle_in(&output);
        bundles.insert(key, path.clone());
        path
    }

    /// The delta from the first bundle of the edition to a later one.
    pub(crate) fn delta(&self, edition: &str, later: u64) -> Utf8PathBuf {
        let base = self.bundle(edition, 0);
        // its lock is there from then on
        let _ = self.bundle(edition, later);
        let output = format!("delta-{edition}-{later}");
        let words = format!(
            "bundle --installer handed-over --edition {edition} --lock images-{later}.lock --upstreams upstreams.yaml --key airgap.key --output {output} --overwrite --base {base}"
        );
        let _ = self.connected.airgap(&words).ok();
        self.connected.bundle_in(&output)
    }
}
