//! The catalog: every component, edition, kind of site and static manifest, read and checked as a whole.
//!
//! Invariant: a [`Catalog`] that exists has passed every check of `check`; there is no other way to get one. Its digest
//! covers every byte it was read from, but for the records of rendered charts, which follow from the rest.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use oci_spec::image::Digest;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::strict::{self, Node};
use crate::{
    ChartRecord, Component, Edition, ImageLock, Problem, Registries, Site, SiteKind, check,
};

mod builtin {
    include!(concat!(env!("OUT_DIR"), "/builtin.rs"));
}

/// The folders that hold the catalog, beside `registries.yaml`.
const FOLDERS: [&str; 4] = ["components", "editions", "sites", "static"];

/// The folder of what is generated from the others: records of rendered charts. A catalog may do without.
const RECORDS: &str = "rendered";

/// Something read from a file, with the tree that knows its lines.
#[derive(Debug, Clone)]
pub struct Sourced<T> {
    /// The file, relative to the catalog's folder.
    pub file: Utf8PathBuf,
    /// What it says.
    pub value: T,
    pub(crate) node: Node,
}

impl<T> Sourced<T> {
    /// Returns a problem of this file at the line of a path within it.
    pub(crate) fn problem(&self, path: &[&str], message: impl Into<String>) -> Problem {
        Problem::new(&self.file, message).at(self.node.line_of(path.iter().copied()))
    }
}

/// A checked catalog.
#[derive(Debug, Clone)]
pub struct Catalog {
    pub(crate) components: BTreeMap<String, Sourced<Component>>,
    pub(crate) editions: BTreeMap<String, Sourced<Edition>>,
    pub(crate) sites: BTreeMap<SiteKind, Sourced<Site>>,
    pub(crate) statics: BTreeMap<String, Sourced<Vec<Value>>>,
    pub(crate) registries: Sourced<Registries>,
    /// What charts were rendered to, by file.
    pub(crate) records: BTreeMap<Utf8PathBuf, Sourced<ChartRecord>>,
    /// Names of files that could not be read; whoever refers to one of them is not at fault.
    pub(crate) unread: BTreeSet<String>,
    digest: Digest,
    origin: Option<Utf8PathBuf>,
}

impl Catalog {
    /// Reads the catalog from a folder and checks it.
    pub fn load(folder: &Utf8Path) -> Result<Self, Vec<Problem>> {
        let mut files = BTreeMap::new();
        let mut problems = Vec::new();
        let unreadable = |path: &Utf8Path, error: &std::io::Error| {
            Problem::new(path, format!("cannot be read: {}", error.kind()))
        };
        for name in FOLDERS.into_iter().chain([RECORDS]) {
            let path = folder.join(name);
            if name == RECORDS && !path.exists() {
                continue;
            }
            let entries = match path.read_dir_utf8() {
                Ok(entries) => entries,
                Err(error) => {
                    problems.push(
                        unreadable(&path, &error)
                            .remedy("name the catalog's folder with `--manifests`"),
                    );
                    continue;
                }
            };
            for entry in entries {
                match entry {
                    Ok(entry) => files.insert(
                        Utf8Path::new(name).join(entry.file_name()),
                        entry.path().to_owned(),
                    ),
                    Err(error) => {
                        problems.push(unreadable(&path, &error));
                        None
                    }
                };
            }
        }
        files.insert("registries.yaml".into(), folder.join("registries.yaml"));
        let mut texts = Vec::new();
        for (name, path) in files {
            match fs_err::read_to_string(&path) {
                Ok(text) => texts.push((name, text)),
                Err(error) => problems.push(unreadable(&path, &error)),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Self::read(
            texts
                .iter()
                .map(|(name, text)| (name.as_path(), text.as_str())),
            Some(folder.to_owned()),
        )
    }

    /// Returns the catalog that is built into the program.
    pub fn builtin() -> Result<Self, Vec<Problem>> {
        Self::read(
            builtin::FILES
                .iter()
                .map(|(name, text)| (Utf8Path::new(name), *text)),
            None,
        )
    }

    /// Returns the lock that is built into the program, which belongs to the built-in catalog.
    pub fn builtin_lock() -> Result<ImageLock, Vec<Problem>> {
        ImageLock::parse(builtin::LOCK, "images.lock".into())
    }

    /// Returns the catalog made of the given files: path within the catalog, and text.
    pub fn from_files<'a>(
        files: impl IntoIterator<Item = (&'a Utf8Path, &'a str)>,
    ) -> Result<Self, Vec<Problem>> {
        Self::read(files, None)
    }

    fn read<'a>(
        files: impl IntoIterator<Item = (&'a Utf8Path, &'a str)>,
        origin: Option<Utf8PathBuf>,
    ) -> Result<Self, Vec<Problem>> {
        let mut files: Vec<(&Utf8Path, &str)> = files.into_iter().collect();
        files.sort_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
        let mut loader = Loader::default();
        for (path, text) in &files {
            loader.file(path, text);
        }
        let Loader {
            components,
            editions,
            sites,
            statics,
            registries,
            records,
            unread,
            mut problems,
        } = loader;
        let Some(registries) = registries else {
            if !problems
                .iter()
                .any(|problem| problem.file == "registries.yaml")
            {
                problems.push(Problem::new("registries.yaml", "is missing"));
            }
            return Err(problems);
        };
        let catalog = Self {
            components,
            editions,
            sites,
            statics,
            registries,
            records,
            unread,
            digest: digest(&files),
            origin,
        };
        problems.extend(check::check(&catalog));
        if problems.is_empty() {
            return Ok(catalog);
        }
        problems.sort();
        problems.dedup();
        Err(problems)
    }

    /// Returns the digest over the catalog: the sha256 of what
    /// `LC_ALL=C sha256sum` prints for its files in the order of their paths.
    #[must_use]
    pub fn manifests_digest(&self) -> &Digest {
        &self.digest
    }

    /// Returns the folder it was read from; nothing for the one built in.
    #[must_use]
    pub fn origin(&self) -> Option<&Utf8Path> {
        self.origin.as_deref()
    }

    /// Iterates over the components by name.
    pub fn components(&self) -> impl Iterator<Item = &Component> {
        self.components.values().map(|component| &component.value)
    }

    /// Returns a component.
    #[must_use]
    pub fn component(&self, name: &str) -> Option<&Component> {
        self.components.get(name).map(|component| &component.value)
    }

    /// Iterates over the editions by name.
    pub fn editions(&self) -> impl Iterator<Item = &Edition> {
        self.editions.values().map(|edition| &edition.value)
    }

    /// Iterates over the kinds of site.
    pub fn sites(&self) -> impl Iterator<Item = &Site> {
        self.sites.values().map(|site| &site.value)
    }

    /// Returns every upstream host that sites mirror, sorted.
    #[must_use]
    pub fn mirror_hosts(&self) -> Vec<String> {
        let mut hosts = self.registries.value.mirror_hosts.clone();
        hosts.sort();
        hosts
    }
}

#[derive(Default)]
struct Loader {
    components: BTreeMap<String, Sourced<Component>>,
    editions: BTreeMap<String, Sourced<Edition>>,
    sites: BTreeMap<SiteKind, Sourced<Site>>,
    statics: BTreeMap<String, Sourced<Vec<Value>>>,
    registries: Option<Sourced<Registries>>,
    records: BTreeMap<Utf8PathBuf, Sourced<ChartRecord>>,
    unread: BTreeSet<String>,
    problems: Vec<Problem>,
}

impl Loader {
    fn file(&mut self, path: &Utf8Path, text: &str) {
        let stem = path.file_stem().unwrap_or_default();
        if path.extension() != Some("yaml") {
            self.problems.push(
                Problem::new(path, "is not a YAML file of the catalog")
                    .remedy("take it away, or end its name in `.yaml`"),
            );
            return;
        }
        match path.parent().map(Utf8Path::as_str) {
            Some("components") => {
                if let Some(component) = self.read::<Component>(path, text) {
                    self.named(&component, &component.value.name, stem);
                    self.components.insert(stem.to_owned(), component);
                }
            }
            Some("editions") => {
                if let Some(edition) = self.read::<Edition>(path, text) {
                    self.named(&edition, &edition.value.name, stem);
                    self.editions.insert(stem.to_owned(), edition);
                }
            }
            Some("sites") => {
                if let Some(site) = self.read::<Site>(path, text) {
                    self.named(&site, site.value.name.name(), stem);
                    self.sites.insert(site.value.name, site);
                }
            }
            Some("static") => self.static_file(path, stem, text),
            Some(RECORDS) => {
                if let Some(record) = self.read::<ChartRecord>(path, text) {
                    self.named(&record, &record.value.file_name(), &format!("{stem}.yaml"));
                    self.records.insert(path.to_owned(), record);
                }
            }
            _ if path == "registries.yaml" => self.registries = self.read(path, text),
            _ => self
                .problems
                .push(Problem::new(path, "is not part of a catalog")),
        }
    }

    fn read<T: DeserializeOwned>(&mut self, path: &Utf8Path, text: &str) -> Option<Sourced<T>> {
        let result = strict::parse_node(text, path).and_then(|node| {
            strict::from_node(node.clone(), path).map(|value| Sourced {
                file: path.to_owned(),
                value,
                node,
            })
        });
        result
            .map_err(|problems| {
                self.unread.extend(path.file_stem().map(str::to_owned));
                self.problems.extend(problems);
            })
            .ok()
    }

    fn static_file(&mut self, path: &Utf8Path, stem: &str, text: &str) {
        match strict::parse_nodes(text, path) {
            Ok(nodes) => {
                let value = nodes.iter().map(Node::to_value).collect();
                let lines = nodes.first().map_or(0, |node| node.line);
                let node = Node {
                    line: lines,
                    kind: strict::Kind::List(nodes),
                };
                self.statics.insert(
                    stem.to_owned(),
                    Sourced {
                        file: path.to_owned(),
                        value,
                        node,
                    },
                );
            }
            Err(problems) => self.problems.extend(problems),
        }
    }

    fn named<T>(&mut self, sourced: &Sourced<T>, name: &str, stem: &str) {
        if name != stem {
            let problem = sourced.problem(
                &["name"],
                format!("is named `{name}`, but the file `{stem}.yaml`"),
            );
            self.problems
                .push(problem.remedy("give both the same name"));
        }
    }
}

fn digest(files: &[(&Utf8Path, &str)]) -> Digest {
    let mut hasher = Sha256::new();
    for (path, text) in files.iter().filter(|(path, _)| !path.starts_with(RECORDS)) {
        hasher.update(format!("{}  {path}\n", hex::encode(Sha256::digest(text))));
    }
    sha256(&hasher.finalize())
}

/// Returns a finished sha256 as a digest.
pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    match format!("sha256:{}", hex::encode(bytes)).parse() {
        Ok(digest) => digest,
        Err(error) => unreachable!("a sha256 in hex is a digest: {error}"),
    }
}
