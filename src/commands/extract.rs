//! `airgap extract`: takes one thing out of a bundle.

use airgap_archive::extract::{self, File};
use airgap_archive::{Entry, OpenOptions, Role, VerifiedArchive};
use camino::Utf8PathBuf;
use clap::ValueEnum;

use crate::cli::{BundleOption, TrustArgs};
use crate::error::CommandError;
use crate::render;
use crate::ui::Ui;

/// Take one image, chart or file out of a bundle
///
/// Names are those that `airgap inspect` lists. An image becomes a folder or an archive that other
/// tools read; of a chart, the RKE2 release or the edition, all files are written, or the one named
/// with `--file`. Every byte is checked against the signed index before it counts.
///
///   airgap extract quay.io/argoproj/argocd:v3.4.4 --format docker-archive -o argocd.tar
///   airgap extract rke2:v1.36.4+rke2r1 --file install.sh
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// What to take out, as `airgap inspect` names it
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    bundle: BundleOption,
    /// What an image becomes
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Oci)]
    format: Format,
    /// Of an image for several platforms, take this one, such as linux/arm64
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Only this file of a chart, the RKE2 release or the edition
    #[arg(long, value_name = "NAME")]
    file: Option<String>,
    /// Where to write it [default: named after it, here]
    #[arg(short, long, value_name = "PATH")]
    output: Option<Utf8PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
}

/// What an image becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// An OCI image layout, a folder.
    Oci,
    /// A folder as skopeo's `dir:` reads it.
    Dir,
    /// A tar file as `docker load` reads it.
    DockerArchive,
}

impl Format {
    fn of_library(self) -> airgap_archive::extract::Format {
        match self {
            Self::Oci => airgap_archive::extract::Format::Oci,
            Self::Dir => airgap_archive::extract::Format::Dir,
            Self::DockerArchive => airgap_archive::extract::Format::DockerArchive,
        }
    }
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(self, ui: &Ui) -> Result<(), CommandError> {
        let path = self.bundle.find()?;
        let archive =
            VerifiedArchive::open(&path, &self.trust.resolve()?, &OpenOptions::default())?;
        let entry = archive.entry(&self.name)?;
        if entry.role == Role::Image {
            self.image(ui, &archive)
        } else {
            self.files(ui, &archive, entry)
        }
    }

    fn image(&self, ui: &Ui, archive: &VerifiedArchive) -> Result<(), CommandError> {
        if self.file.is_some() {
            return Err(CommandError::usage(format!(
                "{} is an image: it has no named files",
                self.name
            ))
            .hint("leave `--file` out"));
        }
        let target = self
            .output
            .clone()
            .unwrap_or_else(|| default_target(&self.name, self.format));
        let format = self.format.of_library();
        let extracted = extract::image(
            archive,
            &self.name,
            self.platform.as_deref(),
            format,
            &target,
        )?;
        ui.document(&serde_json::json!({"name": self.name, "image": extracted}))?;
        ui.line(format!("{}: {}", self.name, extracted.path))?;
        if extracted.converted {
            ui.warn(format!(
                "{} is a Docker-typed image: as an OCI layout its digest became {}",
                self.name, extracted.digest
            ));
            ui.status("To keep the digest use `--format dir`.");
        } else {
            ui.status(format!("digest {}", extracted.digest));
        }
        Ok(())
    }

    fn files(&self, ui: &Ui, archive: &VerifiedArchive, entry: &Entry) -> Result<(), CommandError> {
        let files = extract::files(archive, entry)?;
        let wanted: Vec<&File> = match &self.file {
            None => files.iter().collect(),
            Some(name) => files.iter().filter(|file| file.name == *name).collect(),
        };
        if wanted.is_empty() {
            let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
            let error = CommandError::failed(format!(
                "{} has no file {}",
                self.name,
                self.file.as_deref().unwrap_or_default()
            ));
            return Err(error.hint(format!("it has: {}", names.join(", "))));
        }
        let folder = self
            .output
            .clone()
            .unwrap_or_else(|| Utf8PathBuf::from("."));
        // a single named file may be given its own new name
        let single = self.file.is_some() && !folder.is_dir();
        let mut written = Vec::new();
        for file in wanted {
            let target = if single {
                folder.clone()
            } else {
                folder.join(&file.name)
            };
            if let Some(parent) = target.parent().filter(|parent| !parent.as_str().is_empty()) {
                fs_err::create_dir_all(parent)
                    .map_err(|source| CommandError::failed_with("failed to extract", source))?;
            }
            extract::file(archive, &file.digest, &target)?;
            ui.line(format!("{target}  {}", render::bytes(file.size)))?;
            written.push(serde_json::json!({
                "path": target, "digest": file.digest, "size": file.size,
            }));
        }
        ui.document(&serde_json::json!({"name": self.name, "files": written}))
    }
}

/// Returns the last part of an image's name as a file name.
fn default_target(name: &str, format: Format) -> Utf8PathBuf {
    let last = name
        .rsplit('/')
        .next()
        .unwrap_or(name)
        .replace([':', '@'], "-");
    match format {
        Format::Oci | Format::Dir => Utf8PathBuf::from(last),
        Format::DockerArchive => Utf8PathBuf::from(format!("{last}.tar")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_named_after_the_image() {
        let name = "quay.io/argoproj/argocd:v3.4.4";
        assert_eq!(default_target(name, Format::Dir), "argocd-v3.4.4");
        assert_eq!(
            default_target(name, Format::DockerArchive),
            "argocd-v3.4.4.tar"
        );
    }
}
