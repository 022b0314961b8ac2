//! `airgap bundle`: one signed file with everything an edition needs.

use std::sync::Arc;

use airgap_archive::{Base, OpenOptions, VerifiedArchive};
use airgap_bundler::{
    BundlePlan, BundlePlatform, BundleRequest, Bundled, InstallerBinary, bundle, default_file_name,
    delta_file_name, plan,
};
use airgap_manifests::Component;
use airgap_signing::{PublicKey, SigningKey, TrustRoot};
use camino::Utf8PathBuf;

use crate::cli::SourceArgs;
use crate::error::CommandError;
use crate::keys::{DEFAULT_PRIVATE_KEY, PassphraseArgs};
use crate::progress::{BundlerEvents, Progress};
use crate::render;
use crate::sources::Sources;
use crate::ui::{Style, Ui};

/// Make the one signed file that carries an edition
///
/// Fetches what images.lock names, checks every byte of it against its digest, and writes
/// `airgap-<edition>-<version>-<arch>.tar.zst`, with the installer binary and its signature beside
/// it. The same lock, manifests, options and key give the same bytes, every time.
///
/// Interrupted? Type the same command again: what was fetched is kept and not fetched twice.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Edition to bundle: community, standard or enterprise
    #[arg(long, value_name = "NAME", default_value = "standard")]
    edition: String,
    /// Add an optional component (can be repeated)
    #[arg(long, value_name = "COMPONENT")]
    with: Vec<String>,
    /// Accept the licence that a component demands to have accepted (can be repeated)
    ///
    /// `airgap catalog licences` tells which do, and why.
    #[arg(long, value_name = "ID")]
    accept_licence: Vec<String>,
    /// Sign with this private key (can be repeated) [default: airgap.key, where `airgap keygen` leaves it]
    ///
    /// The first one signs the bundle; each further one countersigns it, for when keys rotate.
    #[arg(long, value_name = "PRIVATE-KEY")]
    key: Vec<Utf8PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Folder to write the bundle to
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    output: Utf8PathBuf,
    /// Platform of the nodes: linux/amd64, linux/arm64, or all
    #[arg(long, value_name = "PLATFORM", default_value_t = BundlePlatform::LinuxAmd64)]
    platform: BundlePlatform,
    /// Break the bundle into volumes of at most this size, such as 4GiB or 25GB
    ///
    /// For FAT32 media use 4095MiB. Volumes are read where they lie, even from several media.
    #[arg(long, value_name = "SIZE", value_parser = crate::render::parse_size)]
    volume_size: Option<u64>,
    /// Leave out the image layers of this bundle, which the site has installed
    ///
    /// The delta is installed like any bundle, once the site's registry has proven to hold every layer that is left out.
    #[arg(long, value_name = "OLD")]
    base: Option<Utf8PathBuf>,
    /// Trust this public key for `--base` [default: the keys that sign]
    #[arg(long, value_name = "PUBLIC-KEY", requires = "base")]
    base_key: Vec<Utf8PathBuf>,
    /// Replace a bundle that is there already
    #[arg(long)]
    overwrite: bool,
    /// The installer to hand over beside the bundle [default: this very program]
    #[arg(long, value_name = "BINARY")]
    installer: Option<Utf8PathBuf>,
    /// Show what would be fetched and written, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Transfers at a time, at most: fewer where a registry complains or slows down
    #[arg(long, value_name = "N", default_value_t = 8)]
    jobs: usize,
    /// Seconds since 1970 that every time in the bundle says [default: when the lock was made]
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH")]
    source_date_epoch: Option<i64>,
    /// Refuse to be installed anew this many days after the bundle's date
    #[arg(long, value_name = "DAYS")]
    expires: Option<u32>,
    /// Read the bundle back from disk when it is written
    #[arg(long)]
    verify_written: bool,
    /// Use nothing but what is already in the cache
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    source: SourceArgs,
}

impl Args {
    /// Runs the command.
    pub(crate) async fn run(mut self, ui: Arc<Ui>) -> Result<(), CommandError> {
        if self.key.is_empty() && !self.dry_run {
            let usual = Utf8PathBuf::from(DEFAULT_PRIVATE_KEY);
            if !usual.is_file() {
                return Err(CommandError::usage("no key to sign with")
                    .hint("pass the publisher's private key: `--key airgap.key`")
                    .hint("if there is none yet, make it once: `airgap keygen`"));
            }
            ui.status(format!("signing with {usual}"));
            self.key.push(usual);
        }
        let sources = self.source.load(&ui)?;
        let lock = sources.lock.as_ref().ok_or_else(|| {
            CommandError::failed(format!("there is no {}", sources.lock_path))
                .hint("resolve what there is to bundle first: `airgap lock`")
        })?;
        let source_date = self
            .source_date_epoch
            .map(jiff::Timestamp::from_second)
            .transpose()
            .map_err(|source| CommandError::failed_with("failed to use the source date", source))?;
        let keys = if self.dry_run && self.key.is_empty() {
            [].into()
        } else {
            self.keys()?
        };
        let base = self.base(&keys)?;
        let name = match &base {
            None => default_file_name(&self.edition, &lock.version, self.platform),
            Some(base) => delta_file_name(
                &self.edition,
                &lock.version,
                &base.id.version,
                self.platform,
            ),
        };
        let output = self.output.join(name);
        let installer = self.installer()?;
        let request = BundleRequest {
            catalog: &sources.catalog,
            lock,
            edition: &self.edition,
            with: &self.with,
            accepted: &self.accept_licence,
            platform: self.platform,
            output: &output,
            source_date,
            expires_days: self.expires,
            volume_size: self.volume_size,
            jobs: self.jobs.max(1),
            base: base.as_ref(),
            overwrite: self.overwrite,
            verify_written: self.verify_written,
            installer: Some(InstallerBinary {
                path: &installer,
                version: env!("CARGO_PKG_VERSION"),
                arch: arch(),
            }),
        };
        let cache = self.source.open_cache()?;
        if self.dry_run {
            show_plan(&ui, &plan(&request, &cache)?)?;
            self.licences(&ui, &sources);
            return Ok(());
        }
        fs_err::create_dir_all(&self.output).map_err(|source| {
            CommandError::failed_with("failed to make the output folder", source)
        })?;
        let puller = if self.offline {
            None
        } else {
            Some(self.source.puller()?)
        };
        let progress = Progress::new(&ui);
        let events = BundlerEvents::new(&progress);
        let bundled = bundle(&request, keys, Arc::new(cache), puller.as_ref(), &|event| {
            events.show(event);
        })
        .await?;
        events.finish();
        progress.clear();
        show(&ui, &bundled)?;
        self.licences(&ui, &sources);
        Ok(())
    }

    /// Tells what goes with the bundle to whoever gets it.
    fn licences(&self, ui: &Ui, sources: &Sources) {
        let chosen = sources.catalog.chosen(&self.edition, &self.with, None);
        let lines: Vec<String> = chosen
            .unwrap_or_default()
            .into_iter()
            .flat_map(licence_notes)
            .collect();
        if !lines.is_empty() {
            ui.status("\nLicences that the customer must be told of:");
            for line in lines {
                ui.status(format!("  {line}"));
            }
        }
    }

    fn keys(&self) -> Result<Arc<[SigningKey]>, CommandError> {
        self.key
            .iter()
            .map(|path| self.passphrase.open(path))
            .collect()
    }

    /// Opens the bundle to build on, which must be signed by those who sign now or by those named for it.
    fn base(&self, signers: &[SigningKey]) -> Result<Option<Base>, CommandError> {
        let Some(path) = &self.base else {
            return Ok(None);
        };
        let mut keys: Vec<PublicKey> = signers.iter().map(SigningKey::public_key).collect();
        if !self.base_key.is_empty() {
            keys = self
                .base_key
                .iter()
                .map(|path| PublicKey::read(path))
                .collect::<Result<_, _>>()?;
        }
        if keys.is_empty() {
            return Err(CommandError::usage("no key to check the base with")
                .hint("name the publisher's public key: `--base-key airgap.pub`"));
        }
        let archive = VerifiedArchive::open(path, &TrustRoot::new(keys), &OpenOptions::default())?;
        Ok(Some(Base::of(&archive)))
    }

    fn installer(&self) -> Result<Utf8PathBuf, CommandError> {
        if let Some(path) = &self.installer {
            return Ok(path.clone());
        }
        let path = std::env::current_exe().map_err(|source| {
            CommandError::failed_with("failed to find this program's file", source)
        })?;
        Utf8PathBuf::from_path_buf(path).map_err(|path| {
            CommandError::failed(format!(
                "this program's path is not text: {}",
                path.display()
            ))
            .hint("name the program with `--installer`")
        })
    }
}

/// What must be said of a component's licence, a line each.
fn licence_notes(component: &Component) -> Vec<String> {
    let title = &component.title;
    let notice = component
        .notice
        .iter()
        .map(|notice| format!("{title}: {notice}"));
    let resold = component.redistribution.iter();
    let resold = resold.map(|what| format!("{title}: not to be resold: {what}"));
    notice.chain(resold).collect()
}

/// The architecture as Go and Debian call it.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn show_plan(ui: &Ui, plan: &BundlePlan) -> Result<(), CommandError> {
    ui.document(plan)?;
    let rows: Vec<[String; 4]> = plan
        .items
        .iter()
        .map(|item| {
            let size = item.bytes.map_or_else(|| "?".to_owned(), render::bytes);
            let cached = item.bytes.is_some_and(|bytes| bytes == item.cached_bytes);
            let kind = match item.kind {
                airgap_bundler::ItemKind::Rke2 => "rke2",
                airgap_bundler::ItemKind::Chart => "chart",
                airgap_bundler::ItemKind::Image => "image",
            };
            let state = if cached { "in the cache" } else { "" };
            [kind.to_owned(), item.name.clone(), size, state.to_owned()]
        })
        .collect();
    ui.line(render::table(&rows).trim_end())?;
    let unknown = match plan.unknown_sizes {
        0 => String::new(),
        some => format!(", and {some} of a size not known yet"),
    };
    ui.line(format!(
        "would write {}: {} {}, release {}, {}; {}{unknown}, {} of it in the cache",
        plan.output,
        plan.edition,
        plan.version,
        plan.release,
        plan.platform,
        render::bytes(plan.total_bytes),
        render::bytes(plan.cached_bytes)
    ))
}

fn show(ui: &Ui, bundled: &Bundled) -> Result<(), CommandError> {
    ui.document(bundled)?;
    let plan = &bundled.plan;
    let mut rows = vec![[
        "edition".to_owned(),
        format!(
            "{} {}, release {}, {}",
            plan.edition, plan.version, plan.release, plan.platform
        ),
    ]];
    for path in &bundled.paths {
        rows.push(["bundle".to_owned(), path.to_string()]);
    }
    rows.push(["size".to_owned(), render::bytes(bundled.bytes)]);
    let carried = format!(
        "{} and {}",
        render::count(bundled.images, "image"),
        render::count(bundled.charts, "chart")
    );
    rows.push(["carries".to_owned(), carried]);
    if let Some(left_out) = &bundled.left_out {
        let what = format!(
            "{} of version {} (release {}), {}",
            render::count(left_out.layers, "layer"),
            left_out.base.version,
            left_out.base.release,
            render::bytes(left_out.bytes)
        );
        rows.push(["leaves out".to_owned(), what]);
    }
    rows.push(["index".to_owned(), bundled.index_digest.to_string()]);
    for key in &bundled.signed_by {
        rows.push(["signed by".to_owned(), key.clone()]);
    }
    for path in &bundled.sidecars {
        rows.push(["countersigned".to_owned(), path.to_string()]);
    }
    if let Some(handover) = &bundled.handover {
        rows.push(["installer".to_owned(), handover.path.to_string()]);
        rows.push([String::new(), handover.signature.to_string()]);
    }
    ui.line(render::table(&rows).trim_end())?;
    if let Some(handover) = &bundled.handover {
        ui.status(
            "\nFor the delivery note, which goes with the public key and never on the medium:",
        );
        ui.status(format!("  {}", handover.delivery_note));
        ui.status("The site's first steps, before anything from the medium runs:");
        for step in &handover.first_steps {
            ui.status(format!("  {}", ui.paint_err(Style::Good, step)));
        }
    }
    Ok(())
}
