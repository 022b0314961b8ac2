//! `airgap inspect`: what a bundle carries.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use airgap_archive::{BundleInfo, Entry, OpenOptions, Role, UntrustedListing, VerifiedArchive};
use airgap_signing::PublicKey;
use camino::Utf8Path;
use serde::Serialize;

use crate::cli::{BundleArgs, TrustArgs};
use crate::error::{CommandError, Kind};
use crate::render;
use crate::ui::{Style, Ui};

/// What stands before every line about a bundle that nothing vouches for.
const UNVERIFIED: &str = "UNVERIFIED";

/// Show what a bundle carries, who signed it, and how big everything is
///
/// Answers in milliseconds whatever the bundle's size: only its signed index is read. To check
/// every byte use `airgap verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    bundle: BundleArgs,
    #[command(flatten)]
    trust: TrustArgs,
    /// List a bundle that nothing vouches for; every line says UNVERIFIED
    #[arg(long, conflicts_with_all = ["keys", "threshold"])]
    insecure_untrusted: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    bundle: &'a Utf8Path,
    verified: bool,
    info: &'a BundleInfo,
    index_digest: String,
    signed_by: Vec<String>,
    shown_key: ShownKey,
    entries: Vec<Line>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownKey {
    key_id: String,
    fingerprint: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    role: Role,
    name: Option<String>,
    subject: Option<String>,
    digest: String,
    media_type: String,
    /// Bytes of everything the entry refers to, each blob once; known only of a verified bundle.
    size: Option<u64>,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(self, ui: &Ui) -> Result<(), CommandError> {
        let path = self.bundle.find()?;
        if self.insecure_untrusted {
            let listing = UntrustedListing::open(&path, &[])?;
            let document = Document {
                bundle: &path,
                verified: false,
                info: &listing.info,
                index_digest: listing.index_digest.to_string(),
                signed_by: Vec::new(),
                shown_key: ShownKey::of(&listing.shown_key),
                entries: listing
                    .entries
                    .iter()
                    .map(|entry| Line::of(entry, None))
                    .collect(),
            };
            return document.show(ui);
        }
        let trust = self.trust.resolve().map_err(|error| {
            if error.kind() == Kind::Usage {
                error.hint("to look at a bundle that nothing vouches for: `--insecure-untrusted`")
            } else {
                error
            }
        })?;
        let archive = VerifiedArchive::open(&path, &trust, &OpenOptions::default())?;
        let sizes: BTreeMap<String, u64> = archive
            .blobs()
            .iter()
            .map(|(digest, size)| (digest.to_string(), *size))
            .collect();
        let entries = archive.entries().iter();
        let document = Document {
            bundle: &path,
            verified: true,
            info: archive.info(),
            index_digest: archive.index_digest().to_string(),
            signed_by: archive
                .signed_by()
                .iter()
                .map(ToString::to_string)
                .collect(),
            shown_key: ShownKey::of(archive.shown_key()),
            entries: entries
                .map(|entry| Line::of(entry, Some(total(&archive, entry, &sizes))))
                .collect(),
        };
        document.show(ui)?;
        let bytes = sizes.values().sum();
        ui.line(format!(
            "{} in {}",
            render::bytes(bytes),
            render::count(sizes.len(), "blob")
        ))
    }
}

impl Document<'_> {
    fn show(&self, ui: &Ui) -> Result<(), CommandError> {
        ui.document(self)?;
        let mut text = String::new();
        // writing to a string cannot fail
        let mut field = |name: &str, value: &str| {
            let _ = writeln!(text, "{name:12}{value}");
        };
        let info = self.info;
        field("bundle", self.bundle.as_str());
        field("edition", &format!("{} {}", info.edition, info.version));
        field("release", &info.release.to_string());
        field("platform", &info.platform);
        field("created", &info.created.to_string());
        if let Some(expires) = info.expires {
            field("expires", &expires.to_string());
        }
        if let Some(base) = &info.delta {
            let on = format!(
                "version {} (release {}), whose layers it leaves out",
                base.version, base.release
            );
            field("delta on", &on);
        }
        field("index", &self.index_digest);
        for key in &self.signed_by {
            field("signed by", &format!("{key}, which you trust"));
        }
        field(
            "shows key",
            &format!("{} (proves nothing)", self.shown_key.fingerprint),
        );
        text.push('\n');
        let rows: Vec<[String; 4]> = self
            .entries
            .iter()
            .map(|line| {
                let name = match (&line.name, &line.subject) {
                    (Some(name), _) => name.clone(),
                    (None, Some(subject)) => format!("of {}", render::short_digest(subject)),
                    (None, None) => String::new(),
                };
                let size = line.size.map(render::bytes).unwrap_or_default();
                [
                    line.role.to_string(),
                    name,
                    render::short_digest(&line.digest),
                    size,
                ]
            })
            .collect();
        text.push_str(&render::table(&rows));
        for line in text.lines() {
            if self.verified {
                ui.line(line)?;
            } else {
                ui.line(format!("{}  {line}", ui.paint(Style::Bad, UNVERIFIED)).trim_end())?;
            }
        }
        Ok(())
    }
}

impl ShownKey {
    fn of(key: &PublicKey) -> Self {
        Self {
            key_id: key.key_id().to_string(),
            fingerprint: key.fingerprint(),
        }
    }
}

impl Line {
    fn of(entry: &Entry, size: Option<u64>) -> Self {
        Self {
            role: entry.role,
            name: entry.name.clone(),
            subject: entry.subject.as_ref().map(ToString::to_string),
            digest: entry.descriptor.digest().to_string(),
            media_type: entry.descriptor.media_type().to_string(),
            size,
        }
    }
}

/// Adds up an entry's manifest and all it refers to, each blob once.
fn total(archive: &VerifiedArchive, entry: &Entry, sizes: &BTreeMap<String, u64>) -> u64 {
    let mut counted = BTreeMap::new();
    let mut open = vec![entry.descriptor.digest().clone()];
    while let Some(digest) = open.pop() {
        let size = sizes.get(&digest.to_string()).copied().unwrap_or_default();
        if counted.insert(digest.to_string(), size).is_none() {
            // only manifests refer to anything
            let references = archive.references(&digest).unwrap_or_default();
            open.extend(
                references
                    .iter()
                    .map(|reference| reference.digest().clone()),
            );
        }
    }
    counted.values().sum()
}
