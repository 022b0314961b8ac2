//! `airgap lock`: resolves every tag, chart and file to a digest.

use std::fmt::Write as _;
use std::sync::Arc;

use airgap_bundler::{Cache, Helm, LockRequest, lock, lock_check, render_charts, unrendered};
use airgap_manifests::{ChartRecord, ImageLock, LockChange, RenderedImages};
use camino::{Utf8Path, Utf8PathBuf};

use crate::cli::SourceArgs;
use crate::error::CommandError;
use crate::progress::{BundlerEvents, Progress};
use crate::render;
use crate::sources::{Sources, problems};
use crate::ui::{Style, Ui};

/// Resolve every tag, chart and file to a digest, and rewrite images.lock
///
/// This is the only command that ever decides what a release consists of, and it never runs by
/// itself. It shows what changed; review that like any other change. `bundle` then uses exactly
/// these digests, and refuses what the lock does not name.
///
/// With `helm` on PATH it renders every chart with the values of every edition and kind of site, and records in
/// manifests/rendered/ which images each asks for; what no component file lists is an error.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Change nothing: tell whether upstream or the manifests moved on since the lock was made
    #[arg(long)]
    check: bool,
    /// The version of the platform that this lock describes [default: the one in the lock]
    #[arg(long, value_name = "VERSION", conflicts_with = "check")]
    version: Option<String>,
    /// Registry requests at a time
    #[arg(long, value_name = "N", default_value_t = 8)]
    jobs: usize,
    #[command(flatten)]
    source: SourceArgs,
}

impl Args {
    /// Runs the command.
    pub(crate) async fn run(self, ui: Arc<Ui>) -> Result<(), CommandError> {
        let sources = self.source.load(&ui)?;
        let cache = self.source.open_cache()?;
        let puller = self.source.puller()?;
        let request = LockRequest {
            catalog: &sources.catalog,
            previous: sources.lock.as_ref(),
            version: self.version.as_deref(),
            now: jiff::Timestamp::now(),
            jobs: self.jobs,
        };
        let progress = Progress::new(&ui);
        let events = BundlerEvents::new(&progress);
        if self.check {
            if sources.lock.is_none() {
                return Err(
                    CommandError::failed(format!("there is no {}", sources.lock_path))
                        .hint("make one with `airgap lock --version VERSION`"),
                );
            }
            let known = sources.lock.as_ref();
            let stale = known.map(|lock| sources.catalog.check_records(lock));
            let changes =
                lock_check(&request, &cache, &puller, &|event| events.show(event)).await?;
            progress.clear();
            ui.document(&serde_json::json!({"lock": sources.lock_path, "changes": changes}))?;
            show(&ui, &changes)?;
            let stale = stale.unwrap_or_default();
            if !changes.is_empty() {
                // another lock wants other records, so those of today are the lesser matter
                let records = match stale.len() {
                    0 => String::new(),
                    found => format!(
                        ", and {} of the records of rendered charts",
                        render::count(found, "problem")
                    ),
                };
                return Err(CommandError::failed(format!(
                    "{} is not up to date: {}{records}",
                    sources.lock_path,
                    render::count(changes.len(), "change")
                ))
                .hint("run `airgap lock`, and review what changed"));
            }
            if !stale.is_empty() {
                return Err(problems("records of rendered charts", &stale));
            }
            return ui.line(format!("{} is up to date", sources.lock_path));
        }
        let locked = lock(&request, &cache, &puller, &|event| events.show(event)).await?;
        progress.clear();
        let records = record(&ui, &sources, &locked.lock, &cache)?;
        let written = locked.write(&sources.lock_path)?;
        ui.document(&serde_json::json!({
            "lock": sources.lock_path,
            "written": written,
            "version": locked.lock.version,
            "release": locked.lock.release,
            "changes": locked.changes,
            "attachedUnverified": locked.attached_unverified,
            "records": records.as_ref().map(|records| records.changed),
        }))?;
        show(&ui, &locked.changes)?;
        let contents = format!(
            "{}, {}, {}",
            render::count(locked.lock.images.len(), "image"),
            render::count(locked.lock.charts.len(), "chart"),
            render::count(locked.lock.files.len(), "file")
        );
        ui.line(format!(
            "{} {}: version {}, release {}, {contents}",
            if written { "wrote" } else { "left unchanged" },
            sources.lock_path,
            locked.lock.version,
            locked.lock.release
        ))?;
        if let Some(records) = records {
            ui.line(records.said)?;
        }
        match locked.attached_unverified {
            0 => Ok(()),
            count => ui.line(format!(
                "recorded {} of upstream (signatures, attestations, SBOMs); their signers were not verified",
                render::count(count, "attachment")
            )),
        }
    }
}

/// What became of the records of rendered charts.
struct Recorded {
    /// Files that changed.
    changed: usize,
    /// For people.
    said: String,
}

/// Renders every chart, where there is a helm to do it, and writes what it asks for beside the catalog. The built-in
/// catalog has its records with it.
fn record(
    ui: &Ui,
    sources: &Sources,
    lock: &ImageLock,
    cache: &Cache,
) -> Result<Option<Recorded>, CommandError> {
    let Some(folder) = sources.catalog.origin() else {
        return Ok(None);
    };
    let helm = on_path("helm").map(|path| Helm::at(&path)).transpose()?;
    let rendered = match &helm {
        Some(helm) => {
            ui.status(format!(
                "rendering every chart with helm {}",
                helm.version()
            ));
            let progress = Progress::new(ui);
            let events = BundlerEvents::new(&progress);
            render_charts(&sources.catalog, lock, cache, helm, &|event| {
                events.show(event);
            })?
        }
        None => RenderedImages::new(),
    };
    let records = sources.catalog.fresh_records(lock, &rendered);
    // what helm found must be in the component files, or nothing is written
    let catalog = sources.catalog.clone().with_records(records.clone());
    let wrong = catalog.check_records(lock);
    if !wrong.is_empty() {
        return Err(problems("what the charts ask for", &wrong));
    }
    let changed = ChartRecord::write_all(&records, folder).map_err(|p| problems("records", &p))?;
    let open = unrendered(&records);
    let sets: usize = open.values().sum();
    let mut said = format!(
        "recorded the images of {}",
        render::count(records.len(), "chart")
    );
    if let Some(helm) = &helm {
        let count = render::count(rendered.len(), "set");
        let _ = write!(
            said,
            ", {count} of values rendered with helm {}",
            helm.version()
        );
    }
    if sets > 0 {
        let why = if helm.is_some() {
            ""
        } else {
            "helm is not on PATH: "
        };
        let count = render::count(sets, "set");
        let _ = write!(
            said,
            "; {why}for {count} of values the record is the component's own list"
        );
    }
    Ok(Some(Recorded { changed, said }))
}

/// Finds a program where a shell would.
fn on_path(name: &str) -> Option<Utf8PathBuf> {
    let path = std::env::var("PATH").ok()?;
    path.split(':')
        .filter(|folder| folder.starts_with('/'))
        .map(|folder| Utf8Path::new(folder).join(name))
        .find(|path| path.is_file())
}

fn show(ui: &Ui, changes: &[LockChange]) -> Result<(), CommandError> {
    for change in changes {
        let style = match (&change.old, &change.new) {
            (None, _) => Style::Good,
            (Some(_), None) => Style::Bad,
            (Some(_), Some(_)) => Style::Warn,
        };
        ui.line(ui.paint(style, render::short_digests(&change.to_string())))?;
    }
    Ok(())
}
