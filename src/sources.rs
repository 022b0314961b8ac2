//! What `lock` and `bundle` work from: catalog, lock file, cache and upstream access.
//!
//! Invariant: nothing is taken silently. Files in the working folder go before the built-in copies,
//! and it is said which were used. This is where the environment's proxy and docker logins are read.

use airgap_bundler::Cache;
use airgap_manifests::{Catalog, ImageLock, Problem};
use airgap_registry::{DockerConfig, Proxy, PullOptions, Puller, Upstreams};
use camino::{Utf8Path, Utf8PathBuf};

use crate::cli::SourceArgs;
use crate::error::CommandError;
use crate::ui::Ui;

/// The lock file's usual place.
const LOCK_FILE: &str = "images.lock";
/// The catalog's usual place.
const MANIFESTS: &str = "manifests";

/// Catalog and lock as the options name them.
pub(crate) struct Sources {
    /// What there is to bundle.
    pub(crate) catalog: Catalog,
    /// The lock file's path, whether or not it exists.
    pub(crate) lock_path: Utf8PathBuf,
    /// The lock, if there is one.
    pub(crate) lock: Option<ImageLock>,
}

impl SourceArgs {
    /// Reads catalog and lock.
    pub(crate) fn load(&self, ui: &Ui) -> Result<Sources, CommandError> {
        let folder = self.manifests.clone().or_else(|| {
            // the folder of a checkout, not one that happens to have that name
            let folder = Utf8PathBuf::from(MANIFESTS);
            folder.join("editions").is_dir().then_some(folder)
        });
        let (catalog, catalog_name) = match &folder {
            Some(folder) => (
                Catalog::load(folder).map_err(|p| problems(&format!("catalog {folder}"), &p))?,
                folder.as_str(),
            ),
            None => (
                Catalog::builtin().map_err(|p| problems("built-in catalog", &p))?,
                "built in",
            ),
        };
        let named = self.lock.clone().unwrap_or_else(|| LOCK_FILE.into());
        let (lock, lock_name) = if named.exists() {
            (
                Some(ImageLock::load(&named).map_err(|p| problems("lock", &p))?),
                named.as_str(),
            )
        } else if self.lock.is_none() && folder.is_none() {
            let lock = Catalog::builtin_lock().map_err(|p| problems("built-in lock", &p))?;
            (Some(lock), "built in")
        } else {
            (None, "none yet")
        };
        ui.status(format!("manifests: {catalog_name}; lock: {lock_name}"));
        Ok(Sources {
            catalog,
            lock_path: named,
            lock,
        })
    }

    /// Prepares access to registries and download sites.
    pub(crate) fn puller(&self) -> Result<Puller, CommandError> {
        let upstreams = match &self.upstreams {
            Some(path) => Upstreams::from_yaml(&read(path)?, path)?,
            None => Upstreams::default(),
        };
        let options = PullOptions {
            proxy: proxy()?,
            ..PullOptions::default()
        };
        Ok(Puller::new(upstreams, docker_config()?, options))
    }

    /// Opens the cache.
    pub(crate) fn open_cache(&self) -> Result<Cache, CommandError> {
        Ok(Cache::open(&cache_dir(self.cache.as_deref())?)?)
    }
}

/// Returns where fetched blobs are kept: the folder given, else `$XDG_CACHE_HOME/airgap`, else
/// `~/.cache/airgap`.
pub(crate) fn cache_dir(given: Option<&Utf8Path>) -> Result<Utf8PathBuf, CommandError> {
    if let Some(folder) = given {
        return Ok(folder.to_owned());
    }
    let from_env = |name| {
        std::env::var(name)
            .ok()
            .filter(|value| value.starts_with('/'))
    };
    from_env("XDG_CACHE_HOME")
        .map(Utf8PathBuf::from)
        .or_else(|| from_env("HOME").map(|home| Utf8PathBuf::from(home).join(".cache")))
        .map(|folder| folder.join("airgap"))
        .ok_or_else(|| {
            CommandError::usage("no place for the cache: neither XDG_CACHE_HOME nor HOME is set")
                .hint("name one with `--cache`")
        })
}

/// One error for everything wrong with an input file.
pub(crate) fn problems(what: &str, problems: &[Problem]) -> CommandError {
    let count = crate::render::count(problems.len(), "problem");
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| format!("\n  {problem}"))
        .collect();
    CommandError::usage(format!("{what}: {count}:{}", lines.concat()))
}

/// Docker's logins, from where docker keeps them.
fn docker_config() -> Result<DockerConfig, CommandError> {
    let folder = std::env::var("DOCKER_CONFIG")
        .map(Utf8PathBuf::from)
        .or_else(|_| std::env::var("HOME").map(|home| Utf8PathBuf::from(home).join(".docker")));
    let Ok(path) = folder.map(|folder| folder.join("config.json")) else {
        return Ok(DockerConfig::default());
    };
    if !path.exists() {
        return Ok(DockerConfig::default());
    }
    Ok(DockerConfig::from_json(&read(&path)?, &path)?)
}

/// The proxy of the environment, as other tools read it.
fn proxy() -> Result<Option<Proxy>, CommandError> {
    let either = |lower: &str, upper: &str| {
        let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        read(lower).or_else(|| read(upper))
    };
    let Some(text) = either("https_proxy", "HTTPS_PROXY") else {
        return Ok(None);
    };
    // a proxy's password may be part of its address: the text is not repeated
    let url = text
        .parse()
        .map_err(|source| CommandError::failed_with("failed to understand HTTPS_PROXY", source))?;
    Ok(Some(Proxy {
        url,
        exceptions: either("no_proxy", "NO_PROXY"),
    }))
}

fn read(path: &Utf8Path) -> Result<String, CommandError> {
    fs_err::read_to_string(path)
        .map_err(|source| CommandError::failed_with("failed to read a configuration file", source))
}
