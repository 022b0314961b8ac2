//! Lists the catalog's data files, so that they are built into the binary.
//!
//! Writes one array of (path, text) in path order. The same folders are read at run time by `Catalog::load`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, io};

use fs_err as fs;

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or(io::ErrorKind::NotFound)?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    let mut files = vec![PathBuf::from("registries.yaml")];
    for folder in ["components", "editions", "rendered", "sites", "static"] {
        println!("cargo::rerun-if-changed={folder}");
        for entry in fs::read_dir(root.join(folder))? {
            files.push(Path::new(folder).join(entry?.file_name()));
        }
    }
    files.sort();
    let mut text = String::from(
        "/// Every data file of the catalog: path and text, in path order.\npub(crate) const FILES: &[(&str, &str)] = &[\n",
    );
    for file in &files {
        println!("cargo::rerun-if-changed={}", file.display());
        let _ = writeln!(
            text,
            "    ({:?}, {}),",
            file.display().to_string(),
            include(file)
        );
    }
    text.push_str("];\n");
    println!("cargo::rerun-if-changed=../images.lock");
    let _ = writeln!(
        text,
        "/// The lock file that belongs to them.\npub(crate) const LOCK: &str = {};",
        include(Path::new("../images.lock"))
    );
    fs::write(out.join("builtin.rs"), text)
}

/// Returns the expression that includes a file. The folder is left to the compiler: a target directory may outlive a checkout, or be
/// shared by several, and what is written here would lead to the one that wrote it.
fn include(file: &Path) -> String {
    let path = format!("/{}", file.display());
    format!("include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), {path:?}))")
}
