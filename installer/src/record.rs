//! Which release a cluster has, and whether another may follow it.
//!
//! Every server and a Secret in `kube-system` keep the same record; the highest of all copies counts, so a server that was re-imaged or
//! was away cannot make the site forget. `target` is written before the first byte is pushed, `installed` after success. A bundle older
//! than either is refused, and so is one that has expired: the clock is the latest of the system's, the record's and the bundle's own.
//! Root on the servers can reset the record; it defends against old media, not against the site's own administrators.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where the record is on a server.
pub const RECORD_PATH: &str = "/var/lib/airgap/record.json";
/// The Secret that holds the same record; in `kube-system`, under the key `record`.
pub const RECORD_SECRET: &str = "airgap-release";

/// One release, by everything that tells it from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// The number that only grows, from images.lock.
    pub release: u64,
    /// The version people use.
    pub version: String,
    /// The edition.
    pub edition: String,
    /// The bundle's platform.
    pub platform: String,
    /// The digest of the bundle's signed index; of a delta, that of the whole bundle it stands for, so that the two are one release.
    pub index_digest: String,
}

/// What a site remembers of its releases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The cluster's name in the inventory.
    pub cluster: String,
    /// The release that was installed to the end.
    pub installed: Option<Release>,
    /// The release that an installation has begun with.
    pub target: Option<Release>,
    /// The latest time any installation has seen.
    pub last_seen: Timestamp,
}

impl Record {
    /// Reads a record; `None` for what is none (an interrupted write cannot happen: records are renamed into place).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Writes the record as one line of JSON.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }

    /// Merges the copies of one cluster: the highest releases, the latest time. `None` when there is no copy.
    pub fn merge(copies: impl IntoIterator<Item = Self>) -> Option<Self> {
        fn higher(a: Option<Release>, b: Option<Release>) -> Option<Release> {
            match (a, b) {
                (Some(a), Some(b)) => Some(if b.release > a.release { b } else { a }),
                (a, b) => a.or(b),
            }
        }
        copies.into_iter().reduce(|a, b| Self {
            installed: higher(a.installed, b.installed),
            target: higher(a.target, b.target),
            last_seen: a.last_seen.max(b.last_seen),
            cluster: a.cluster,
        })
    }
}

/// What a bundle says of itself, as far as the record cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The release.
    pub release: Release,
    /// When it was made.
    pub created: Timestamp,
    /// When it stops being installable.
    pub expires: Option<Timestamp>,
}

/// Why a bundle may not follow what the site has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The site has seen a later release.
    #[error(
        "release {offered} of the bundle is older than release {known} ({version}), which this site {has}"
    )]
    Older {
        /// The bundle's release.
        offered: u64,
        /// The site's.
        known: u64,
        /// The site's version.
        version: String,
        /// `has installed` or `has begun to install`, without the first word.
        has: &'static str,
    },
    /// The same release number, but other contents.
    #[error(
        "release {release} of the bundle has index {offered}, but this site knows it with index {known}: one of them is not what the publisher released"
    )]
    Other {
        /// The release number of both.
        release: u64,
        /// The bundle's index digest.
        offered: String,
        /// The recorded one.
        known: String,
    },
    /// Its time is over.
    #[error("the bundle expired on {expires} (now counts as {now})")]
    Expired {
        /// When.
        expires: Timestamp,
        /// The latest of the system's clock, the record and the bundle's creation.
        now: Timestamp,
    },
}

/// Decides whether `offer` may be installed where `record` is what the site remembers.
///
/// `allow_downgrade` accepts an older release and other contents, never an expired bundle; a bundle that is installed already is exempt
/// from expiry, so a node can be replaced at any time.
pub fn check(
    record: Option<&Record>,
    offer: &Offer,
    system_clock: Timestamp,
    allow_downgrade: bool,
) -> Result<(), Refusal> {
    let installed = record.and_then(|record| record.installed.as_ref());
    let target = record.and_then(|record| record.target.as_ref());
    if !allow_downgrade {
        for (known, has) in [
            (installed, "has installed"),
            (target, "has begun to install"),
        ] {
            let Some(known) = known else { continue };
            if offer.release.release < known.release {
                return Err(Refusal::Older {
                    offered: offer.release.release,
                    known: known.release,
                    version: known.version.clone(),
                    has,
                });
            }
            let same_line = known.release == offer.release.release
                && known.edition == offer.release.edition
                && known.platform == offer.release.platform;
            if same_line && known.index_digest != offer.release.index_digest {
                return Err(Refusal::Other {
                    release: known.release,
                    offered: offer.release.index_digest.clone(),
                    known: known.index_digest.clone(),
                });
            }
        }
    }
    let now = clock(record, offer, system_clock);
    match offer.expires {
        Some(expires) if now > expires && installed != Some(&offer.release) => {
            Err(Refusal::Expired { expires, now })
        }
        _ => Ok(()),
    }
}

/// The latest time known: a clock that was set back does not revive an expired bundle.
#[must_use]
pub fn clock(record: Option<&Record>, offer: &Offer, system_clock: Timestamp) -> Timestamp {
    record
        .map_or(system_clock, |record| record.last_seen.max(system_clock))
        .max(offer.created)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::ToSpan;

    fn release(number: u64, digest: &str) -> Release {
        Release {
            release: number,
            version: format!("1.{number}.0"),
            edition: "standard".into(),
            platform: "linux/amd64".into(),
            index_digest: format!("sha256:{digest}"),
        }
    }

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a timestamp")
    }

    fn offer(number: u64, digest: &str) -> Offer {
        Offer {
            release: release(number, digest),
            created: time("2026-11-01T00:00:00Z"),
            expires: None,
        }
    }

    fn record(installed: Option<Release>, target: Option<Release>) -> Record {
        Record {
            cluster: "prod".into(),
            installed,
            target,
            last_seen: time("2026-11-10T00:00:00Z"),
        }
    }

    const NOW: &str = "2026-11-21T00:00:00Z";

    #[test]
    fn a_first_installation_and_the_same_bundle_again_are_fine() {
        assert_eq!(check(None, &offer(3, "a"), time(NOW), false), Ok(()));
        let known = record(Some(release(3, "a")), Some(release(3, "a")));
        assert_eq!(
            check(Some(&known), &offer(3, "a"), time(NOW), false),
            Ok(())
        );
        assert_eq!(
            check(Some(&known), &offer(4, "b"), time(NOW), false),
            Ok(())
        );
    }

    #[test]
    fn a_downgrade_is_refused_and_can_be_allowed() {
        let known = record(Some(release(5, "a")), Some(release(5, "a")));
        let refusal = check(Some(&known), &offer(4, "b"), time(NOW), false).expect_err("older");
        assert_eq!(
            refusal.to_string(),
            "release 4 of the bundle is older than release 5 (1.5.0), which this site has installed"
        );
        assert_eq!(check(Some(&known), &offer(4, "b"), time(NOW), true), Ok(()));
    }

    #[test]
    fn a_begun_release_counts_as_well() {
        let known = record(Some(release(3, "a")), Some(release(5, "c")));
        let refusal = check(Some(&known), &offer(4, "b"), time(NOW), false)
            .expect_err("older than the target");
        assert!(
            refusal
                .to_string()
                .ends_with("which this site has begun to install"),
            "{refusal}"
        );
    }

    #[test]
    fn other_contents_under_the_same_number_are_refused_unless_of_another_edition() {
        let known = record(Some(release(3, "a")), None);
        assert!(matches!(
            check(Some(&known), &offer(3, "b"), time(NOW), false),
            Err(Refusal::Other { .. })
        ));
        let mut enterprise = offer(3, "b");
        enterprise.release.edition = "enterprise".into();
        assert_eq!(check(Some(&known), &enterprise, time(NOW), false), Ok(()));
    }

    #[test]
    fn an_expired_bundle_is_refused_even_when_the_clock_was_set_back() {
        let mut bundle = offer(4, "b");
        bundle.expires = Some(time("2026-11-05T00:00:00Z"));
        assert!(matches!(
            check(None, &bundle, time(NOW), true),
            Err(Refusal::Expired { .. })
        ));
        let known = record(Some(release(3, "a")), None);
        assert!(matches!(
            check(Some(&known), &bundle, time("2020-01-01T00:00:00Z"), false),
            Err(Refusal::Expired { .. })
        ));
    }

    #[test]
    fn an_installed_release_does_not_expire() {
        let mut bundle = offer(4, "b");
        bundle.expires = Some(bundle.created + 24.hours());
        assert_eq!(
            check(
                Some(&record(Some(release(4, "b")), None)),
                &bundle,
                time(NOW),
                false
            ),
            Ok(())
        );
    }

    #[test]
    fn copies_merge_to_the_highest() {
        let old = record(Some(release(3, "a")), None);
        let new = Record {
            last_seen: time("2026-11-12T00:00:00Z"),
            ..record(None, Some(release(4, "b")))
        };
        let merged = Record::merge([old, new]).expect("copies");
        assert_eq!(
            (
                merged.installed.expect("installed").release,
                merged.target.expect("target").release
            ),
            (3, 4)
        );
        assert_eq!(merged.last_seen, time("2026-11-12T00:00:00Z"));
        assert_eq!(Record::merge([]), None);
    }

    #[test]
    fn a_record_is_read_back_as_written() {
        let known = record(Some(release(3, "a")), Some(release(4, "b")));
        assert_eq!(Record::parse(&known.to_line()), Some(known));
        assert_eq!(Record::parse("garbage"), None);
    }
}
