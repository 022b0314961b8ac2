//! A release engineer's folder, with the connected side around it.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};

use airgap_manifests::{Catalog, ImageLock};
use airgap_testkit::image::noise;
use airgap_testkit::world::{World, forget_charts};
use camino::{Utf8Path, Utf8PathBuf};

use super::run::{Outcome, binary};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The folder with publishers' charts; in CI it has to be there.
pub(crate) fn charts() -> Option<Utf8PathBuf> {
    let folder = std::env::var("AIRGAP_TEST_CHARTS").map_or_else(
        |_| Utf8Path::new(ROOT).join("../shared/charts"),
        Utf8PathBuf::from,
    );
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "CI skips nothing, and {folder} has no charts"
    );
    None
}

/// A folder like a checkout (`manifests/`, `images.lock`), beside it `upstreams.yaml`, docker's logins and a key pair.
pub(crate) struct Connected {
    pub(crate) world: World,
    folder: tempfile::TempDir,
}

impl Connected {
    /// Around a stand-in RKE2 that is only noise, good for everything but installing.
    pub(crate) fn start() -> Self {
        Self::start_with(&noise(3 << 20, 36))
    }

    /// Around the given stand-in RKE2.
    pub(crate) fn start_with(standin: &[u8]) -> Self {
        let catalog = Catalog::load(&Utf8Path::new(ROOT).join("manifests")).unwrap();
        let world = World::start(&catalog, standin, charts().as_deref()).unwrap();
        let connected = Self {
            world,
            folder: tempfile::tempdir().unwrap(),
        };
        connected.world.write_access(&connected.path("")).unwrap();
        for part in ["components", "editions", "sites", "static"] {
            copy_folder(
                &Utf8Path::new(ROOT).join("manifests").join(part),
                &connected.path("manifests").join(part),
            );
        }
        let registries = "manifests/registries.yaml";
        fs_err::copy(
            Utf8Path::new(ROOT).join(registries),
            connected.path(registries),
        )
        .unwrap();
        let mut lock = ImageLock::load(&Utf8Path::new(ROOT).join("images.lock")).unwrap();
        forget_charts(&mut lock);
        fs_err::write(connected.path("images.lock"), lock.to_yaml()).unwrap();
        let _ = connected.airgap("keygen").ok();
        connected
    }

    /// With a lock of what upstream has.
    pub(crate) fn locked() -> Self {
        let connected = Self::start();
        let _ = connected.airgap("lock --upstreams upstreams.yaml").ok();
        connected
    }

    pub(crate) fn path(&self, name: &str) -> Utf8PathBuf {
        Utf8Path::from_path(self.folder.path()).unwrap().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs_err::read(self.path(name)).unwrap()
    }

    /// The names in a folder.
    pub(crate) fn list(&self, folder: &str) -> BTreeSet<String> {
        let Ok(entries) = fs_err::read_dir(self.path(folder)) else {
            return BTreeSet::new();
        };
        entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect()
    }

    /// The one bundle below a folder.
    pub(crate) fn bundle_in(&self, folder: &str) -> Utf8PathBuf {
        let names: Vec<String> = self
            .list(folder)
            .into_iter()
            .filter(|name| name.contains(".tar.zst"))
            .collect();
        assert_eq!(names.len(), 1, "{names:?}");
        self.path(folder).join(&names[0])
    }

    /// Runs `airgap` with arguments as they would be typed, without quoting.
    pub(crate) fn airgap(&self, arguments: &str) -> Outcome {
        let output = self
            .command(binary().as_str())
            .args(arguments.split_whitespace())
            .output()
            .unwrap();
        Outcome::of(&format!("airgap {arguments}"), &output)
    }

    /// Starts `airgap` and returns while it runs.
    pub(crate) fn begin(&self, arguments: &str) -> Child {
        let mut command = self.command(binary().as_str());
        command
            .args(arguments.split_whitespace())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Runs a line of shell in the folder.
    pub(crate) fn shell(&self, line: &str) -> Outcome {
        let output = self
            .command("bash")
            .args(["-euo", "pipefail", "-c", line])
            .output()
            .unwrap();
        Outcome::of(line, &output)
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("DOCKER_CONFIG", self.path("docker"))
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }
}

fn copy_folder(from: &Utf8Path, to: &Utf8Path) {
    fs_err::create_dir_all(to).unwrap();
    for entry in fs_err::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs_err::copy(entry.path(), to.as_std_path().join(entry.file_name())).unwrap();
    }
}
