//! The connected side on loopback: everything a catalog names, small, under its real names.
//!
//! Registries, download sites and publishers' charts are served by a few servers that ask for logins as the real ones do:
//! `docker.io` gives tokens to everybody, `quay.io` to an account, `ghcr.io` wants a password, the rest nothing.
//! Invariant: the same catalog, charts and stand-in binary give the same digests on every machine; only ports, passwords' owners
//! and the authority are new. Left out: anything that a catalog does not name.

mod charts;
mod images;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use airgap_manifests::{Catalog, Component, Delivery, ImageLock};
use base64::Engine as _;
use camino::{Utf8Path, Utf8PathBuf};

use crate::image::Image;
use crate::release::{Release, ReleaseSpec};
use crate::tls::TestCa;
use crate::upstream::{UpstreamAuth, UpstreamBuilder, UpstreamRegistry};

/// What cannot be made of a catalog.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The catalog has no RKE2 release.
    #[error("no component of the catalog has an RKE2 release")]
    NoRelease,
    /// The catalog names a file that the stand-in release does not have.
    #[error("the stand-in release has no file {name} ({url})")]
    NoFile {
        /// Its name.
        name: String,
        /// Where the catalog has it from.
        url: String,
    },
    /// The stand-in release cannot be made.
    #[error("failed to make the stand-in release: {0}")]
    Release(String),
    /// A publisher's chart cannot be read.
    #[error("failed to read the chart {path}")]
    Chart {
        /// The file.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// How a server lets clients in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Door {
    /// Tokens for everybody.
    Anonymous,
    /// Tokens for an account that docker's configuration holds.
    Token,
    /// A password that the upstreams file holds.
    Password,
    /// Nothing is asked.
    Open,
    /// Plain files, nothing is asked.
    Downloads,
}

impl Door {
    fn of(registry: &str) -> Self {
        match registry {
            "docker.io" => Self::Anonymous,
            "quay.io" => Self::Token,
            "ghcr.io" => Self::Password,
            _ => Self::Open,
        }
    }
}

/// The account of the registries that want one.
pub const ACCOUNT: &str = "release-engineer";
/// Its password at `quay.io`, a word that must never show.
pub const TOKEN_PASSWORD: &str = "canary-Quay-81d4";
/// Its password at `ghcr.io`, a word that must never show.
pub const BASIC_PASSWORD: &str = "canary-Ghcr-c07a";

/// What a client needs to find its way.
#[derive(Debug, Clone)]
pub struct Access {
    /// The `--upstreams` file.
    pub upstreams: Utf8PathBuf,
    /// The folder for `DOCKER_CONFIG`.
    pub docker_config: Utf8PathBuf,
}

/// The running connected side.
#[derive(Debug)]
pub struct World {
    servers: BTreeMap<Door, UpstreamRegistry>,
    registries: BTreeSet<String>,
    file_hosts: BTreeSet<String>,
    images: BTreeMap<String, Image>,
    release: Release,
    ca: TestCa,
}

impl World {
    /// Serves everything `catalog` names.
    ///
    /// `standin` is the stand-in RKE2 (see [`crate::release::standin_binary`]); publishers' own charts are taken from the folder
    /// `charts` where it has them.
    ///
    /// # Errors
    /// Says what of the catalog cannot be stood in for.
    ///
    /// # Panics
    /// Panics when no port of loopback can be had.
    pub fn start(
        catalog: &Catalog,
        standin: &[u8],
        charts: Option<&Utf8Path>,
    ) -> Result<Self, Error> {
        let wanted = catalog.wanted();
        let charts = charts::collect(catalog, &wanted, charts)?;
        let release = release(catalog, standin, charts.images)?;
        let mut images: BTreeMap<String, Image> = wanted
            .images
            .keys()
            .map(|name| (name.to_string(), images::stand_in(name)))
            .collect();
        images.insert(
            release.runtime_name.clone(),
            images::multi_platform(&release.runtime),
        );

        let ca = TestCa::new("connected side CA");
        let mut builders: BTreeMap<Door, UpstreamBuilder> = BTreeMap::new();
        let mut registries = BTreeSet::new();
        for name in wanted.images.keys() {
            registries.insert(name.registry().to_owned());
            let image = &images[&name.to_string()];
            let beside = images::beside(name, image);
            let door = Door::of(name.registry());
            let builder = builders.remove(&door).unwrap_or_else(|| door_of(door, &ca));
            let builder = builder.image(&name.to_string(), image);
            let builder = beside
                .iter()
                .fold(builder, |builder, (name, image)| builder.image(name, image));
            builders.insert(door, builder);
        }
        let mut downloads = UpstreamRegistry::builder();
        let mut file_hosts = BTreeSet::new();
        let mut serve = |builder: UpstreamBuilder, url: &str, bytes: Vec<u8>| {
            let location = url.trim_start_matches("https://");
            let host = location.split('/').next().unwrap_or_default();
            file_hosts.insert(host.to_owned());
            builder.file(location, bytes)
        };
        for (url, bytes) in charts.files {
            downloads = serve(downloads, &url, bytes);
        }
        for (url, file) in &wanted.files {
            let Some(bytes) = release.files.get(&file.name) else {
                return Err(Error::NoFile {
                    name: file.name.clone(),
                    url: url.clone(),
                });
            };
            downloads = serve(downloads, url, bytes.clone());
        }
        builders.insert(Door::Downloads, downloads);
        let servers = builders
            .into_iter()
            .map(|(door, builder)| (door, builder.start()))
            .collect();
        Ok(Self {
            servers,
            registries,
            file_hosts,
            images,
            release,
            ca,
        })
    }

    /// The server that stands in for a registry.
    ///
    /// # Panics
    /// Panics where the catalog names nothing there: a defect of the test.
    #[must_use]
    pub fn registry(&self, host: &str) -> &UpstreamRegistry {
        assert!(
            self.registries.contains(host),
            "nothing is served for {host}"
        );
        &self.servers[&Door::of(host)]
    }

    /// The server that stands in for every download site.
    #[must_use]
    pub fn downloads(&self) -> &UpstreamRegistry {
        &self.servers[&Door::Downloads]
    }

    /// Every server.
    pub fn servers(&self) -> impl Iterator<Item = &UpstreamRegistry> {
        self.servers.values()
    }

    /// An image as it is served at the start.
    ///
    /// # Panics
    /// Panics where the catalog does not name it: a defect of the test.
    #[must_use]
    pub fn image(&self, name: &str) -> &Image {
        self.images
            .get(name)
            .unwrap_or_else(|| panic!("the catalog names no {name}"))
    }

    /// Every image by its full name, as served at the start.
    #[must_use]
    pub fn images(&self) -> &BTreeMap<String, Image> {
        &self.images
    }

    /// The stand-in RKE2 release.
    #[must_use]
    pub fn release(&self) -> &Release {
        &self.release
    }

    /// Writes `upstreams.yaml`, the authority it names and docker's `config.json` below `folder`.
    ///
    /// # Errors
    /// Fails where a file cannot be written.
    pub fn write_access(&self, folder: &Utf8Path) -> std::io::Result<Access> {
        let access = Access {
            upstreams: folder.join("upstreams.yaml"),
            docker_config: folder.join("docker"),
        };
        fs_err::create_dir_all(&access.docker_config)?;
        fs_err::write(folder.join("upstream-ca.pem"), self.ca.pem())?;
        fs_err::write(&access.upstreams, self.upstreams_yaml(BASIC_PASSWORD))?;
        fs_err::write(
            access.docker_config.join("config.json"),
            self.docker_config(TOKEN_PASSWORD),
        )?;
        Ok(access)
    }

    /// The `--upstreams` file, with this password for `ghcr.io`. It names `upstream-ca.pem` beside itself.
    #[must_use]
    pub fn upstreams_yaml(&self, password: &str) -> String {
        let mut yaml = String::from(
            "# Leads every name that the catalog uses to its stand-in on this machine.\nmirrors:\n",
        );
        for host in &self.registries {
            let url = self.registry(host).url();
            let _ = write!(
                yaml,
                "  {host}:\n    endpoint: [\"{url}\"]\n    rewrite: {{\"^(.*)$\": \"{host}/$1\"}}\n"
            );
        }
        yaml.push_str("urls:\n");
        let url = self.downloads().url();
        for host in &self.file_hosts {
            let _ = writeln!(
                yaml,
                "  - {{prefix: \"https://{host}/\", replace: \"{url}/{host}/\"}}"
            );
        }
        yaml.push_str("configs:\n");
        for (door, server) in &self.servers {
            if *door == Door::Downloads {
                continue;
            }
            let _ = writeln!(
                yaml,
                "  \"{}\":\n    tls: {{ca_file: upstream-ca.pem}}",
                server.address()
            );
            if *door == Door::Password {
                let _ = writeln!(
                    yaml,
                    "    auth: {{username: {ACCOUNT}, password: \"{password}\"}}"
                );
            }
        }
        yaml
    }

    /// Docker's `config.json`, with this password for `quay.io`.
    #[must_use]
    pub fn docker_config(&self, password: &str) -> String {
        let auth =
            base64::engine::general_purpose::STANDARD.encode(format!("{ACCOUNT}:{password}"));
        let auths: serde_json::Map<String, serde_json::Value> = self
            .servers
            .iter()
            .filter(|(door, _)| **door == Door::Token)
            .map(|(_, server)| {
                (
                    server.address().to_string(),
                    serde_json::json!({"auth": auth}),
                )
            })
            .collect();
        format!("{:#}\n", serde_json::json!({"auths": auths}))
    }
}

/// Takes out of a lock what stand-ins cannot have, the digests of publishers' charts: one that was published must never change, so
/// `lock` would refuse them.
pub fn forget_charts(lock: &mut ImageLock) {
    for chart in &mut lock.charts {
        (chart.sha256, chart.size, chart.source) = (None, None, None);
    }
}

/// A server's beginnings.
fn door_of(door: Door, ca: &TestCa) -> UpstreamBuilder {
    let lifetime = std::time::Duration::from_mins(5);
    let account = |password: &str| (ACCOUNT.to_owned(), password.to_owned());
    let builder = UpstreamRegistry::builder().tls(ca.server(&["127.0.0.1", "localhost"]));
    match door {
        Door::Anonymous => builder.auth(UpstreamAuth::Bearer {
            account: None,
            identity_token: None,
            lifetime,
        }),
        Door::Token => builder.auth(UpstreamAuth::Bearer {
            account: Some(account(TOKEN_PASSWORD)),
            identity_token: None,
            lifetime,
        }),
        Door::Password => {
            let (username, password) = account(BASIC_PASSWORD);
            builder
                .auth(UpstreamAuth::Basic { username, password })
                .referrers_api()
        }
        Door::Open => builder.referrers_api(),
        Door::Downloads => UpstreamRegistry::builder(),
    }
}

/// The stand-in of the release that the catalog is written for, around the images that RKE2 itself starts.
fn release(
    catalog: &Catalog,
    standin: &[u8],
    chart_images: BTreeMap<String, Vec<String>>,
) -> Result<Release, Error> {
    let version = catalog
        .components()
        .find_map(|component| component.release.as_ref())
        .ok_or(Error::NoRelease)?
        .version
        .clone();
    let images: BTreeSet<String> = catalog
        .components()
        .filter(|component| matches!(component.delivery, Delivery::Rke2))
        .flat_map(image_names)
        .collect();
    let spec = ReleaseSpec {
        version,
        images: images.into_iter().collect(),
        chart_images,
    };
    spec.make(standin, "amd64").map_err(Error::Release)
}

/// The full names of a component's images, without digests.
fn image_names(component: &Component) -> Vec<String> {
    component
        .image_texts()
        .filter_map(|(_, _, text)| text.parse::<airgap_manifests::ImageReference>().ok())
        .map(|reference| reference.name.to_string())
        .collect()
}

#[cfg(test)]
mod tests;
