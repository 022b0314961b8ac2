//! The stand-in for the internet's registries and file servers, as a program.
//!
//! It reads a YAML file, prints one line `ready URL` and ends with SIGTERM or when stdin closes.
//! It listens on loopback unless told another address.

#![expect(
    clippy::print_stdout,
    reason = "its one line of output is its interface"
)]

use std::{io::Write as _, net::SocketAddr, time::Duration};

use airgap_testkit::{
    faults::Fault,
    image::Image,
    program,
    tls::ServerCert,
    upstream::{UpstreamAuth, UpstreamRegistry},
};
use camino::Utf8PathBuf;
use clap::Parser;
use serde::Deserialize;

/// Serve stand-ins under upstream's real names
#[derive(Debug, Parser)]
struct Arguments {
    /// What to serve
    #[arg(long)]
    config: Utf8PathBuf,
    /// Write the `--upstreams` file that leads here
    #[arg(long)]
    write_upstreams: Option<Utf8PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Config {
    #[serde(default = "loopback")]
    listen: SocketAddr,
    tls: Option<Tls>,
    /// An account that every request must show.
    login: Option<Login>,
    /// Whether the account gets tokens in place of being shown each time.
    #[serde(default)]
    tokens: bool,
    #[serde(default)]
    images: Vec<ImageConfig>,
    #[serde(default)]
    files: Vec<FileConfig>,
    /// What goes wrong, in this order.
    #[serde(default)]
    faults: Vec<Fault>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the words of the file")]
struct Tls {
    cert_file: Utf8PathBuf,
    key_file: Utf8PathBuf,
    ca_file: Utf8PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Login {
    username: String,
    password_file: Utf8PathBuf,
}

/// A stand-in image: one layer of noise with its name in a file, as an index of these platforms.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ImageConfig {
    name: String,
    #[serde(default)]
    docker: bool,
    #[serde(default = "amd64")]
    platforms: Vec<String>,
    #[serde(default = "small")]
    size: usize,
    /// Files that go into the image in place of noise: path in the image to path here.
    #[serde(default)]
    files: std::collections::BTreeMap<String, Utf8PathBuf>,
}

/// A file under its URL, from disk.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileConfig {
    url: String,
    path: Utf8PathBuf,
}

fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn amd64() -> Vec<String> {
    vec!["linux/amd64".to_owned()]
}

fn small() -> usize {
    4096
}

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let config: Config = program::read_yaml(&arguments.config)?;
    program::check_listen(config.listen)?;
    let mut builder = UpstreamRegistry::builder().listen(config.listen);
    let mut ca_file = None;
    if let Some(tls) = &config.tls {
        let chain = fs_err::read_to_string(&tls.cert_file)?;
        builder = builder.tls(ServerCert::from_pem(
            chain,
            fs_err::read_to_string(&tls.key_file)?,
        ));
        ca_file = Some(tls.ca_file.as_str());
    }
    let login = match &config.login {
        None => None,
        Some(login) => {
            let password = program::read_secret(&login.password_file)?;
            Some((login.username.clone(), password))
        }
    };
    if let Some((username, password)) = login.clone() {
        builder = builder.auth(if config.tokens {
            let lifetime = Duration::from_mins(5);
            UpstreamAuth::Bearer {
                account: Some((username, password)),
                identity_token: None,
                lifetime,
            }
        } else {
            UpstreamAuth::Basic { username, password }
        });
    }
    for image in &config.images {
        builder = builder.image(&image.name, &stand_in(image)?);
    }
    for file in &config.files {
        builder = builder.file_from(&file.url, file.path.clone());
    }
    let server = builder.start();
    for fault in config.faults {
        server.fault(fault);
    }
    if let Some(path) = &arguments.write_upstreams {
        let login = login
            .as_ref()
            .map(|(user, password)| (user.as_str(), password.as_str()));
        fs_err::write(path, server.upstreams_yaml_with_login(ca_file, login))?;
    }
    println!("ready {}", server.url());
    std::io::stdout().flush()?;
    program::wait_for_end();
    Ok(())
}

/// Makes a stand-in image, the same every time for the same configuration.
fn stand_in(config: &ImageConfig) -> std::io::Result<Image> {
    let mut images = Vec::new();
    for platform in &config.platforms {
        let builder = if config.docker {
            Image::docker()
        } else {
            Image::oci()
        };
        let name = format!("{} {platform}\n", config.name);
        let seed = name.bytes().fold(7_u64, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(byte.into())
        });
        let noise = airgap_testkit::image::noise(config.size, seed);
        let mut files = vec![("etc/stand-in".to_owned(), name.clone().into_bytes())];
        if config.files.is_empty() {
            files.push(("usr/share/noise".to_owned(), noise.to_vec()));
        }
        for (inside, outside) in &config.files {
            files.push((inside.clone(), fs_err::read(outside)?));
        }
        let borrowed: Vec<(&str, &[u8])> = files
            .iter()
            .map(|(path, content)| (path.as_str(), content.as_slice()))
            .collect();
        images.push((
            platform.as_str(),
            builder.platform(platform).layer(&borrowed).build(),
        ));
    }
    Ok(if config.docker {
        Image::docker_list(images)
    } else {
        Image::index(images)
    })
}
