//! Renders charts that lie in a folder and rewrites manifests/rendered/, without asking any registry.
//!
//! Run it from the repository's root: `cargo run -p airgap-bundler --example rerender -- HELM FOLDER`, where HELM is the
//! program's path and FOLDER holds publishers' tgz files. A chart counts if its digest is the locked one. This is the
//! rendering half of `airgap lock`, for a machine that has the charts but no network.

use std::io::Write as _;
use std::process::ExitCode;

use airgap_bundler::{Cache, Error, Helm, render_charts, unrendered};
use airgap_manifests::{Catalog, ChartRecord, ImageLock, Problem};
use camino::Utf8Path;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match &arguments[..] {
        [helm, folder] => rerender(Utf8Path::new(helm), Utf8Path::new(folder)),
        _ => Err("name helm and the folder with the charts".to_owned()),
    };
    let (text, code) = match result {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(text) => (text, ExitCode::FAILURE),
    };
    // nothing is left to do if the terminal is gone
    let _ = writeln!(std::io::stderr().lock(), "{text}");
    code
}

fn rerender(helm: &Utf8Path, folder: &Utf8Path) -> Result<String, String> {
    let catalog = Catalog::load("manifests".into()).map_err(|found| lines(&found))?;
    let lock = ImageLock::load("images.lock".into()).map_err(|found| lines(&found))?;
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let scratch = Utf8Path::from_path(scratch.path()).ok_or("the temporary folder has no name")?;
    let cache = Cache::open(scratch).map_err(|error| error.to_string())?;
    for entry in folder.read_dir_utf8().map_err(|error| error.to_string())? {
        let path = entry.map_err(|error| error.to_string())?.into_path();
        if path.extension() == Some("tgz") {
            let archive = fs_err::read(&path).map_err(|error| error.to_string())?;
            cache.insert(&archive).map_err(|error| error.to_string())?;
        }
    }
    let all = |error: Error| match error {
        Error::Several(several) => {
            let lines: Vec<String> = several.iter().map(ToString::to_string).collect();
            lines.join("\n")
        }
        other => other.to_string(),
    };
    let helm = Helm::at(helm).map_err(all)?;
    let rendered = render_charts(&catalog, &lock, &cache, &helm, &|_| ()).map_err(all)?;
    let records = catalog.fresh_records(&lock, &rendered);
    ChartRecord::write_all(&records, "manifests".into()).map_err(|found| lines(&found))?;
    let open: usize = unrendered(&records).values().sum();
    let wrong = catalog.with_records(records).check_records(&lock);
    Ok(format!(
        "{}\n{} sets of values rendered with helm {}, {open} not",
        lines(&wrong),
        rendered.len(),
        helm.version()
    ))
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
