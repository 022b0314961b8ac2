//! The two transfers of an installation by themselves, for `make bench`.
//!
//! `transfer push BUNDLE PUBLIC-KEY ENDPOINT PROJECT CA JOBS` fills a registry from a bundle and prints what was asked of it;
//! `transfer stage INVENTORY FILE TARGET JOBS` puts a file on every host of an inventory.

use std::io;

use airgap_archive::{OpenOptions, VerifiedArchive};
use airgap_installer::{
    Inventory, Put, SecretSource, Secrets, connection, for_each_host,
    push::{self, PushPlan},
};
use airgap_registry::{ProjectName, RetryPolicy, SiteConfig, SiteRegistry};
use airgap_signing::{PublicKey, TrustRoot};
use camino::{Utf8Path, Utf8PathBuf};
use secrecy::SecretString;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Nobody to ask, and nothing in the environment.
struct Nothing;

impl SecretSource for Nothing {
    fn env(&self, _: &str) -> Option<SecretString> {
        None
    }

    fn prompt(&self, _: &str) -> io::Result<Option<SecretString>> {
        Ok(None)
    }

    fn home(&self) -> Option<Utf8PathBuf> {
        None
    }

    fn ssh_agent(&self) -> Option<Utf8PathBuf> {
        None
    }
}

#[tokio::main]
async fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["push", bundle, key, endpoint, project, ca, jobs] => {
            let trust = TrustRoot::new(vec![PublicKey::read(Utf8Path::new(key))?]);
            let archive =
                VerifiedArchive::open(Utf8Path::new(bundle), &trust, &OpenOptions::default())?;
            let registry = SiteRegistry::connect(SiteConfig {
                endpoint: endpoint.to_owned(),
                project: ProjectName::parse(project)?,
                addresses: Vec::new(),
                ca_pem: Some(fs_err::read_to_string(ca)?),
                login: None,
                retry: RetryPolicy::default(),
            })
            .await?;
            let jobs = jobs.parse()?;
            let plan: PushPlan = push::plan(&registry, &archive, jobs, &|_| {}).await?;
            plan.run(&registry, &archive, jobs, &|_| {}).await?;
            let stats = registry.stats();
            say(&format!(
                "{{\"heads\": {}, \"writes\": {}, \"bytesSent\": {}}}",
                stats.heads, stats.writes, stats.bytes_sent
            ))
        }
        ["stage", inventory, file, target, jobs] => {
            let (inventory, file, target) = (
                inventory.to_owned(),
                file.to_owned(),
                Utf8PathBuf::from(target),
            );
            let jobs = jobs.parse()?;
            let staged =
                tokio::task::spawn_blocking(move || stage(&inventory, &file, &target, jobs));
            staged.await?.map_err(Into::into)
        }
        _ => Err(
            "push BUNDLE PUBLIC-KEY ENDPOINT PROJECT CA JOBS, or stage INVENTORY FILE TARGET JOBS"
                .into(),
        ),
    }
}

/// Puts the file on every host, as `stage` does: from memory, hashed on the host.
fn stage(inventory: &str, file: &str, target: &Utf8Path, jobs: usize) -> Result<(), String> {
    let text = fs_err::read_to_string(inventory).map_err(|error| error.to_string())?;
    let inventory = Inventory::from_yaml(&text, Utf8Path::new(inventory))
        .map_err(|problems| format!("{problems:?}"))?;
    let secrets = Secrets::new(&Nothing, inventory.folder());
    let content = fs_err::read(file).map_err(|error| error.to_string())?;
    let put = Put::of(target, 0o644, &content);
    let mut hosts = inventory.hosts.clone();
    let results = for_each_host(jobs, &mut hosts, |host| {
        let put = Put {
            path: put.path.join(&host.name).join("staged"),
            ..put.clone()
        };
        connection::open(host, &secrets)
            .and_then(|mut connection| connection.put(&put, &mut content.as_slice()))
            .map_err(|error| format!("{}: {error}", host.name))
    });
    results.into_iter().try_for_each(|result| result.map(drop))
}

fn say(line: &str) -> Outcome {
    use io::Write as _;
    writeln!(io::stdout(), "{line}")?;
    Ok(())
}
