//! `airgap catalog`: what there is to bundle, with images, sizes and licences.

use airgap_manifests::{Component, ComponentRow, Problem, SiteKind};
use camino::Utf8PathBuf;
use clap::Subcommand;
use serde_json::json;

use crate::cli::SourceArgs;
use crate::error::CommandError;
use crate::render;
use crate::sources::{Sources, problems};
use crate::ui::{Style, Ui};

/// Show what there is to bundle: components, images, licences
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: CatalogCommand,
}

#[derive(Debug, Subcommand)]
enum CatalogCommand {
    /// List the components, with the editions that hold them
    List {
        #[command(flatten)]
        choice: Choice,
        #[command(flatten)]
        source: CatalogSource,
    },
    /// Show everything about one component
    Show {
        /// The component
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        source: CatalogSource,
    },
    /// List every image, with the components that ask for it
    Images {
        #[command(flatten)]
        choice: Choice,
        #[command(flatten)]
        source: CatalogSource,
    },
    /// List the licences, and what may not be resold
    Licences {
        #[command(flatten)]
        choice: Choice,
        #[command(flatten)]
        source: CatalogSource,
    },
}

/// What of the catalog is meant.
#[derive(Debug, clap::Args)]
struct Choice {
    /// Only what this edition carries [default: every edition]
    #[arg(long, value_name = "NAME")]
    edition: Option<String>,
    /// With this add-on of the edition (can be repeated)
    #[arg(long, value_name = "COMPONENT", requires = "edition")]
    with: Vec<String>,
    /// Only what this kind of site has: onprem or aws
    #[arg(long, value_name = "KIND")]
    site: Option<SiteKind>,
}

/// Which catalog is meant.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sources")]
struct CatalogSource {
    /// Folder with editions, components and sites [default: ./manifests, else the built-in ones]
    #[arg(long, value_name = "DIR")]
    manifests: Option<Utf8PathBuf>,
    /// Lock file [default: ./images.lock, else the built-in one]
    #[arg(long, value_name = "FILE")]
    lock: Option<Utf8PathBuf>,
}

impl CatalogSource {
    fn load(self, ui: &Ui) -> Result<Sources, CommandError> {
        let source = SourceArgs {
            manifests: self.manifests,
            lock: self.lock,
            upstreams: None,
            cache: None,
        };
        source.load(ui)
    }
}

impl Choice {
    fn components<'a>(&self, sources: &'a Sources) -> Result<Vec<&'a Component>, CommandError> {
        let Some(edition) = &self.edition else {
            let here = |of: &&Component| self.site.is_none_or(|site| of.on(site));
            return Ok(sources.catalog.components().filter(here).collect());
        };
        sources
            .catalog
            .chosen(edition, &self.with, self.site)
            .map_err(|found| wrong(&found))
    }

    fn rows(&self, sources: &Sources) -> Result<Vec<ComponentRow>, CommandError> {
        let lock = sources.lock.as_ref();
        let components = self.components(sources)?.into_iter();
        Ok(components.map(|of| sources.catalog.row(lock, of)).collect())
    }
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(self, ui: &Ui) -> Result<(), CommandError> {
        match self.command {
            CatalogCommand::List { choice, source } => list(ui, &choice, &source.load(ui)?),
            CatalogCommand::Show { name, source } => show(ui, &name, &source.load(ui)?),
            CatalogCommand::Images { choice, source } => images(ui, &choice, &source.load(ui)?),
            CatalogCommand::Licences { choice, source } => licences(ui, &choice, &source.load(ui)?),
        }
    }
}

fn wrong(found: &[Problem]) -> CommandError {
    problems("catalog", found)
}

fn list(ui: &Ui, choice: &Choice, sources: &Sources) -> Result<(), CommandError> {
    let rows = choice.rows(sources)?;
    let mut editions = sources.catalog.edition_rows(sources.lock.as_ref());
    editions.retain(|row| {
        choice
            .edition
            .as_ref()
            .is_none_or(|name| row.edition == *name)
            && choice.site.is_none_or(|site| row.site == site)
    });
    ui.document(&json!({"components": rows, "editions": editions}))?;
    let mut table = vec![
        [
            "COMPONENT",
            "VERSION",
            "IN",
            "SITES",
            "IMAGES",
            "SIZE",
            "FOR",
        ]
        .map(str::to_owned),
    ];
    for row in &rows {
        table.push([
            row.name.clone(),
            row.version.clone(),
            held(row),
            sites(row),
            row.images.to_string(),
            size(row.bytes, row.unknown_sizes, row.images),
            row.about.clone(),
        ]);
    }
    ui.line(render::table(&table).trim_end())?;
    ui.line("")?;
    let mut table = vec![
        [
            "EDITION",
            "SITE",
            "HOSTS",
            "COMPONENTS",
            "IMAGES",
            "SIZE",
            "MEMORY REQUESTED",
        ]
        .map(str::to_owned),
    ];
    for row in &editions {
        table.push([
            row.edition.clone(),
            row.site.to_string(),
            format!("{} or more", row.min_nodes),
            row.components.to_string(),
            row.images.to_string(),
            size(row.bytes, row.unknown_sizes, row.images),
            String::from(row.requests.memory),
        ]);
    }
    ui.line(render::table(&table).trim_end())
}

fn held(row: &ComponentRow) -> String {
    let with = row.add_on_of.iter().map(|edition| format!("({edition})"));
    let held: Vec<String> = row.editions.iter().cloned().chain(with).collect();
    held.join(" ")
}

fn sites(row: &ComponentRow) -> String {
    let names: Vec<&str> = row.sites.iter().map(|site| site.name()).collect();
    names.join(" ")
}

/// A size, as far as the lock knows it.
fn size(bytes: u64, unknown: usize, of: usize) -> String {
    match (of, unknown) {
        (0, _) => String::new(),
        (_, 0) => render::bytes(bytes),
        _ if unknown == of => "?".to_owned(),
        _ => format!("{} + {unknown} unknown", render::bytes(bytes)),
    }
}

fn show(ui: &Ui, name: &str, sources: &Sources) -> Result<(), CommandError> {
    let catalog = &sources.catalog;
    let component = catalog.component(name).ok_or_else(|| {
        let known = catalog.components().map(|of| of.name.as_str());
        let known: Vec<&str> = known.collect();
        CommandError::usage(format!("there is no component `{name}`"))
            .hint(airgap_manifests::suggest(name, known))
    })?;
    let row = catalog.row(sources.lock.as_ref(), component);
    let images: Vec<&str> = component.image_texts().map(|(_, _, text)| text).collect();
    ui.document(&json!({
        "component": row,
        "namespace": component.namespace,
        "needs": component.needs,
        "needsWith": component.needs_with,
        "provides": component.provides,
        "replaces": component.replaces,
        "conflicts": component.conflicts,
        "images": images,
        "secrets": component.secrets,
        "values": component.values,
        "url": component.url,
    }))?;
    let mut table = Vec::new();
    let mut add = |name: &str, value: String| {
        if !value.is_empty() {
            table.push([name.to_owned(), value]);
        }
    };
    add("component", format!("{} ({})", row.title, row.name));
    add("for", row.about.clone());
    add("version", row.version.clone());
    add("in", held(&row));
    add("sites", sites(&row));
    add("namespace", component.namespace.clone());
    add("chart", row.chart.clone().unwrap_or_default());
    add("needs", component.needs.join(", "));
    for (other, needs) in &component.needs_with {
        add("", format!("with {other}: {}", needs.join(", ")));
    }
    add("provides", component.provides.join(", "));
    add("replaces", component.replaces.join(", "));
    add("conflicts with", component.conflicts.join(", "));
    if let Some(requests) = &row.requests {
        let (cpu, memory) = (String::from(requests.cpu), String::from(requests.memory));
        add("requests", format!("{cpu} cpu, {memory} memory"));
    }
    for (index, (site, _, image)) in component.image_texts().enumerate() {
        let only = site.map(|site| format!(" ({site})")).unwrap_or_default();
        add(
            if index == 0 { "images" } else { "" },
            format!("{image}{only}"),
        );
    }
    for (index, secret) in component.secrets.iter().enumerate() {
        let keys: Vec<&str> = secret.keys.keys().map(String::as_str).collect();
        let text = format!("{} ({})", secret.name, keys.join(", "));
        add(if index == 0 { "secrets" } else { "" }, text);
    }
    add("url", component.url.clone().unwrap_or_default());
    add("licence", row.licence.clone());
    for note in notes(&row) {
        add("", note);
    }
    ui.line(render::table(&table).trim_end())
}

fn images(ui: &Ui, choice: &Choice, sources: &Sources) -> Result<(), CommandError> {
    let rows = sources
        .catalog
        .image_rows(
            sources.lock.as_ref(),
            choice.edition.as_deref(),
            &choice.with,
            choice.site,
        )
        .map_err(|found| wrong(&found))?;
    ui.document(&json!({"images": rows}))?;
    let mut table = vec![["IMAGE", "DIGEST", "SIZE", "COMPONENTS"].map(str::to_owned)];
    for row in &rows {
        let digest = row.digest.as_ref();
        table.push([
            row.image.clone(),
            digest.map_or_else(|| "not locked".to_owned(), render::short_digest),
            row.bytes.map_or_else(|| "?".to_owned(), render::bytes),
            row.components.join(" "),
        ]);
    }
    ui.line(render::table(&table).trim_end())?;
    ui.line(render::count(rows.len(), "image"))
}

fn licences(ui: &Ui, choice: &Choice, sources: &Sources) -> Result<(), CommandError> {
    let rows = choice.rows(sources)?;
    let document: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "component": row.name,
                "licence": row.licence,
                "notice": row.notice,
                "redistribution": row.redistribution,
                "accept": row.accept,
            })
        })
        .collect();
    ui.document(&json!({"licences": document}))?;
    let mut table = vec![["COMPONENT", "LICENCE", "WHAT TO KNOW"].map(str::to_owned)];
    for row in &rows {
        let mut notes = notes(row).into_iter();
        let first = notes.next().unwrap_or_default();
        table.push([row.title.clone(), row.licence.clone(), first]);
        for note in notes {
            table.push([String::new(), String::new(), note]);
        }
    }
    ui.line(render::table(&table).trim_end())?;
    let resold = rows.iter().filter(|row| row.redistribution.is_some());
    let resold: Vec<&str> = resold.map(|row| row.title.as_str()).collect();
    if resold.is_empty() {
        return Ok(());
    }
    let line = format!("not to be resold: {}", resold.join(", "));
    ui.line(ui.paint(Style::Warn, line))
}

/// What must be said of a component's licence.
fn notes(row: &ComponentRow) -> Vec<String> {
    let mut notes: Vec<String> = row.notice.iter().cloned().collect();
    let resold = row.redistribution.iter();
    notes.extend(resold.map(|what| format!("not to be resold: {what}")));
    let accept = row.accept.iter();
    notes.extend(accept.map(|id| format!("bundled only with --accept-licence {id}")));
    notes
}
