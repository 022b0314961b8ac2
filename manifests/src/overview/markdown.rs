//! The catalog as a document: editions, components, order, licences, images. Generated, never edited.

use std::fmt::Write as _;

use crate::{Catalog, Component, ComponentRow, Delivery, FACTS, ImageLock, SiteKind};

const INTRODUCTION: &str = "\
<!-- written by `make docs` and by the example `relock`, from manifests/ and images.lock; never edited -->
# The catalog

What each edition carries. `airgap catalog list`, `show`, `images` and `licences` say the same of the catalog at hand.
";

/// Returns the document.
#[must_use]
pub fn catalog_markdown(catalog: &Catalog, lock: &ImageLock) -> String {
    let mut text = INTRODUCTION.to_owned();
    let rows: Vec<ComponentRow> = catalog
        .components()
        .map(|component| catalog.row(Some(lock), component))
        .collect();
    editions(&mut text, catalog, lock);
    components(&mut text, &rows);
    order(&mut text, catalog, lock);
    licences(&mut text, &rows);
    secrets(&mut text, catalog);
    rendered(&mut text, catalog);
    images(&mut text, catalog, lock);
    text
}

fn line(text: &mut String, cells: &[&str]) {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

fn head(text: &mut String, title: &str, names: &[&str]) {
    let _ = write!(text, "\n## {title}\n\n");
    line(text, names);
    line(text, &vec!["---"; names.len()]);
}

fn editions(text: &mut String, catalog: &Catalog, lock: &ImageLock) {
    let names = [
        "edition",
        "site",
        "hosts",
        "components",
        "images",
        "requested",
    ];
    head(text, "Editions", &names);
    for row in catalog.edition_rows(Some(lock)) {
        line(
            text,
            &[
                &row.edition,
                row.site.name(),
                &format!("{} or more", row.min_nodes),
                &row.components.to_string(),
                &row.images.to_string(),
                &format!(
                    "{} cpu, {} memory",
                    String::from(row.requests.cpu),
                    String::from(row.requests.memory)
                ),
            ],
        );
    }
    text.push_str(
        "\nWhat is requested is the sum over the components that state it, for all their pods together. An edition holds what\nthe one before it holds; from community to standard the pod network changes, so that step is a new cluster.\n",
    );
}

fn components(text: &mut String, rows: &[ComponentRow]) {
    let names = ["component", "version", "in", "sites", "images", "for"];
    head(text, "Components", &names);
    for row in rows {
        let mut held = row.editions.clone();
        held.extend(
            row.add_on_of
                .iter()
                .map(|edition| format!("{edition} `--with`")),
        );
        let sites: Vec<&str> = row.sites.iter().map(|site| site.name()).collect();
        line(
            text,
            &[
                &format!("{} (`{}`)", row.title, row.name),
                &row.version,
                &held.join(", "),
                &sites.join(", "),
                &row.images.to_string(),
                &row.about,
            ],
        );
    }
}

fn order(text: &mut String, catalog: &Catalog, lock: &ImageLock) {
    text.push_str("\n## Order\n\nStatic manifests and Argo CD come first; then wave by wave, each when the one before is healthy.\n\n");
    for row in catalog.edition_rows(Some(lock)) {
        let waves: Vec<String> = row
            .waves
            .iter()
            .enumerate()
            .map(|(index, wave)| format!("{}. {}", index + 1, wave.join(", ")))
            .collect();
        let _ = writeln!(
            text,
            "**{} on {}**: {}\n",
            row.edition,
            row.site,
            waves.join("; ")
        );
    }
}

fn licences(text: &mut String, rows: &[ComponentRow]) {
    head(text, "Licences", &["component", "licence", "what to know"]);
    for row in rows {
        let mut known: Vec<String> = row.notice.iter().cloned().collect();
        known.extend(
            row.redistribution
                .iter()
                .map(|what| format!("**Not to be resold:** {what}")),
        );
        known.extend(
            row.accept
                .iter()
                .map(|id| format!("Bundled only with `--accept-licence {id}`.")),
        );
        line(text, &[&row.title, &row.licence, &known.join(" ")]);
    }
}

fn secrets(text: &mut String, catalog: &Catalog) {
    head(
        text,
        "Secrets made on site",
        &["component", "secret", "keys", "shared with"],
    );
    for component in catalog.components() {
        for secret in &component.secrets {
            let keys: Vec<&str> = secret.keys.keys().map(String::as_str).collect();
            line(
                text,
                &[
                    &component.title,
                    &format!("`{}/{}`", component.namespace, secret.name),
                    &keys.join(", "),
                    &secret.shared_with.join(", "),
                ],
            );
        }
    }
}

fn rendered(text: &mut String, catalog: &Catalog) {
    head(
        text,
        "How the images are known",
        &["chart", "sets of values", "rendered by"],
    );
    for record in catalog.records() {
        let mut sources: Vec<&str> = record
            .renderings
            .iter()
            .map(|of| of.source.as_str())
            .collect();
        sources.sort_unstable();
        sources.dedup();
        let sources: Vec<&str> = sources
            .into_iter()
            .map(|source| {
                if source == FACTS {
                    "not yet; the component's own list"
                } else {
                    source
                }
            })
            .collect();
        let name = format!("{} {}", record.chart, record.version);
        line(
            text,
            &[
                &name,
                &record.renderings.len().to_string(),
                &sources.join("; "),
            ],
        );
    }
    let of_rke2: Vec<&str> = catalog
        .components()
        .filter(|component| component.delivery == Delivery::Rke2)
        .map(|component| component.title.as_str())
        .collect();
    let _ = writeln!(
        text,
        "\nRKE2 carries the charts of {}; `airgap lock` compares their images with the lists that RKE2 publishes.",
        of_rke2.join(", ")
    );
}

fn images(text: &mut String, catalog: &Catalog, lock: &ImageLock) {
    let names = ["image", "components", "sites", "locked"];
    head(text, "Images", &names);
    let Ok(rows) = catalog.image_rows(Some(lock), None, &[], None) else {
        return;
    };
    for row in rows {
        let of = |site: SiteKind| {
            let here = |component: &Component| {
                component.image_texts().any(|(of, _, image)| {
                    image == row.image && component.on(site) && of.is_none_or(|of| of == site)
                })
            };
            row.components
                .iter()
                .filter_map(|name| catalog.component(name))
                .any(here)
        };
        let sites: Vec<&str> = SiteKind::ALL
            .into_iter()
            .filter(|site| of(*site))
            .map(SiteKind::name)
            .collect();
        let locked = if row.digest.is_some() { "yes" } else { "no" };
        let image = format!("`{}`", row.image);
        line(
            text,
            &[
                &image,
                &row.components.join(", "),
                &sites.join(", "),
                locked,
            ],
        );
    }
}
