//! The site's inventory, and the secrets it refers to.

use std::io;

use airgap_installer::connection::{self, Connection, ConnectionError};
use airgap_installer::{Host, InstallOptions, Inventory, SecretSource, Secrets};
use camino::{Utf8Path, Utf8PathBuf};
use secrecy::SecretString;

use crate::error::CommandError;
use crate::prompt;
use crate::redact;
use crate::sources::problems;

/// An inventory that was read and found right.
pub(crate) struct Site {
    /// What it says.
    pub(crate) inventory: Inventory,
}

impl Site {
    /// Reads and checks an inventory.
    pub(crate) fn load(path: &Utf8Path) -> Result<Self, CommandError> {
        let text = fs_err::read_to_string(path).map_err(|source| {
            CommandError::failed_with("failed to read the inventory", source)
                .hint("begin with `airgap inventory example > hosts.yaml`")
        })?;
        let inventory = Inventory::from_yaml(&text, path)
            .map_err(|found| problems(&format!("inventory {path}"), &found))?;
        Ok(Self { inventory })
    }

    /// Returns where this process looks up secrets that the inventory only names.
    #[expect(
        clippy::unused_self,
        reason = "a site's secrets are asked of its operator"
    )]
    pub(crate) fn secret_source(&self) -> Operator {
        Operator
    }

    /// Returns the inventory's secrets, each resolved once and when it is needed.
    pub(crate) fn secrets<'a>(&'a self, source: &'a Operator) -> Secrets<'a> {
        Secrets::new(source, self.inventory.folder())
    }

    /// Returns how hosts are reached.
    #[expect(
        clippy::unused_self,
        reason = "a site's hosts are reached the site's way"
    )]
    pub(crate) fn connector<'a>(
        &self,
        secrets: &'a Secrets<'a>,
    ) -> impl Fn(&Host) -> Result<Box<dyn Connection>, ConnectionError> + Sync + 'a {
        move |host| connection::open(host, secrets)
    }

    /// Returns the options that are the same for every command: who is asking.
    #[expect(clippy::unused_self, reason = "a site's options begin here")]
    pub(crate) fn install_options(&self) -> InstallOptions {
        InstallOptions {
            operator: operator(),
            ..InstallOptions::default()
        }
    }
}

/// Who installs, for the cluster's lock: `user@machine`.
fn operator() -> String {
    let user = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER"));
    let system = rustix::system::uname();
    let machine = system.nodename().to_string_lossy();
    format!(
        "{}@{machine}",
        user.unwrap_or_else(|_| "unknown".to_owned())
    )
}

/// The person at the terminal, with their environment and files.
#[derive(Debug)]
pub(crate) struct Operator;

impl SecretSource for Operator {
    fn env(&self, name: &str) -> Option<SecretString> {
        std::env::var(name).ok().map(SecretString::from)
    }

    fn prompt(&self, what: &str) -> io::Result<Option<SecretString>> {
        prompt::try_ask(what)
    }

    fn home(&self) -> Option<Utf8PathBuf> {
        std::env::var("HOME").ok().map(Utf8PathBuf::from)
    }

    fn ssh_agent(&self) -> Option<Utf8PathBuf> {
        std::env::var("SSH_AUTH_SOCK")
            .ok()
            .filter(|path| !path.is_empty())
            .map(Utf8PathBuf::from)
    }

    fn resolved(&self, secret: &SecretString) {
        redact::register(secret);
    }
}

#[cfg(test)]
mod tests {
    use airgap_installer::SecretRef;

    use super::*;

    #[test]
    fn a_secret_of_a_file_never_shows_once_it_was_read() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        fs_err::write(folder.join("push"), "0pen-sesame\n").unwrap();
        let private = std::fs::Permissions::from_mode(0o600);
        fs_err::set_permissions(folder.join("push"), private).unwrap();
        let secrets = Secrets::new(&Operator, folder);
        let file = SecretRef::File("push".into());
        let _ = secrets.resolve(&file, "registry.push.password").unwrap();
        assert_eq!(
            redact::text("password 0pen-sesame was refused"),
            "password *** was refused"
        );
    }
}
