//! Files to and from a host, by two fixed scripts that need nothing but coreutils, and are faster with openssl.
//!
//! A file appears under its name only after its digest was right on the host and its bytes were flushed; on any failure, a lost
//! connection included, the temporary file goes and the old content stays.

use std::io::{self, Read};

use camino::Utf8Path;

use super::{ConnectionError, Put, PutOutcome, error::tail};
use crate::{Command, Output};

/// The longest file that [`super::Connection::read`] returns.
const READ_LIMIT: usize = 16 << 20;

/// Statuses by which the scripts say what went wrong; none is used by the programs they call.
const DISK_FULL: i32 = 81;
const DIFFERS: i32 = 82;
const ABSENT: i32 = 83;

/// What the script says when it wants the content.
pub(super) const SEND: &str = "send";

/// `$1` path, `$2` mode, `$3` owner, `$4` size, `$5` sha256; the content comes in only after `send` has gone out.
const PUT: &str = r#"# write a file
set -u
path=$1 mode=$2 owner=$3 size=$4 sum=$5
folder=${path%/*}
part=$folder/.${path##*/}.airgap-part
# openssl hashes with the processor's own instructions, which many a sha256sum does not
digest() {
    if found=$(openssl dgst -sha256 -r <"$1" 2>/dev/null); then printf '%s\n' "${found%% *}"; else sha256sum <"$1" | cut -d ' ' -f 1; fi
}
free() { df -Pk "$folder" | awk 'NR == 2 { printf "%.0f\n", $4 * 1024 }'; }
if [ -f "$path" ] && [ ! -L "$path" ] && [ "$(digest "$path")" = "$sum" ]; then
    [ "$(stat -c '%a %U:%G' "$path")" = "$mode $owner" ] && { echo same; exit 0; }
    chown "$owner" "$path" && chmod "$mode" "$path" && echo mended
    exit
fi
[ -d "$path" ] && { echo "$path is a directory" >&2; exit 1; }
[ -n "$folder" ] || folder=/
umask 022
mkdir -p "$folder" || exit
rm -f "$part" || exit
trap 'rm -f "$part"' EXIT
trap 'exit 1' HUP INT TERM PIPE
if [ "$(free)" -lt "$size" ]; then free; exit 81; fi
echo send
umask 077
if ! cat >"$part"; then
    rm -f "$part"
    [ "$(free)" -lt "$size" ] && { free; exit 81; }
    exit 1
fi
actual=$(digest "$part")
[ "$actual" = "$sum" ] || { echo "$actual"; exit 82; }
chown "$owner" "$part" && chmod "$mode" "$part" && sync "$part" && mv -f "$part" "$path" && sync "$folder" && echo written
"#;

/// `$1` path, `$2` the most bytes wanted.
const READ: &str = r#"# read a file
[ -e "$1" ] || exit 83
head -c "$2" <"$1"
"#;

/// Returns the command that makes a file what it should be.
pub(super) fn put_command(file: &Put) -> Command {
    // a slow line still gets through: 100 kB/s, and ten minutes at the least
    let limit = std::time::Duration::from_secs(600 + file.size / 100_000);
    Command::script(PUT)
        .args([
            file.path.as_str(),
            &format!("{:o}", file.mode),
            &file.owner,
            &file.size.to_string(),
            &file.sha256,
        ])
        .as_root()
        .timeout(limit)
}

/// Reads the script's verdict.
pub(super) fn put_outcome(
    host: &str,
    file: &Put,
    output: &Output,
) -> Result<PutOutcome, ConnectionError> {
    let text = output.text();
    let last = text.lines().last().unwrap_or_default();
    match (output.status, last) {
        (0, "same") => Ok(PutOutcome::Unchanged),
        (0, "mended") => Ok(PutOutcome::Mended),
        (0, "written") => Ok(PutOutcome::Written),
        (DISK_FULL, free) => Err(ConnectionError::DiskFull {
            host: host.to_owned(),
            path: file.path.clone(),
            needed: file.size,
            available: free.parse().unwrap_or(0),
        }),
        (DIFFERS, actual) => Err(ConnectionError::ContentDiffers {
            host: host.to_owned(),
            path: file.path.clone(),
            expected: file.sha256.clone(),
            actual: actual.to_owned(),
        }),
        (status, _) => Err(failed(host, &put_command(file), status, output)),
    }
}

/// Returns the command that reads a file.
pub(super) fn read_command(path: &Utf8Path) -> Command {
    Command::script(READ)
        .arg(path)
        .arg((READ_LIMIT + 1).to_string())
        .as_root()
}

/// Reads the script's verdict.
pub(super) fn read_outcome(
    host: &str,
    path: &Utf8Path,
    output: Output,
) -> Result<Option<Vec<u8>>, ConnectionError> {
    match output.status {
        0 if output.stdout.len() > READ_LIMIT => {
            let source = io::Error::new(io::ErrorKind::FileTooLarge, "longer than 16 MiB");
            Err(ConnectionError::Content {
                host: host.to_owned(),
                path: path.to_owned(),
                source,
            })
        }
        0 => Ok(Some(output.stdout)),
        ABSENT => Ok(None),
        status => Err(failed(host, &read_command(path), status, &output)),
    }
}

fn failed(host: &str, command: &Command, status: i32, output: &Output) -> ConnectionError {
    ConnectionError::CommandFailed {
        host: host.to_owned(),
        command: command.to_string(),
        status,
        stderr: tail(&output.stderr),
    }
}

/// Counts a source's bytes and stops at the announced size, so that a source that never ends cannot fill a disk.
pub(super) struct Exactly<'a> {
    source: &'a mut dyn Read,
    left: u64,
}

impl<'a> Exactly<'a> {
    pub(super) fn new(source: &'a mut dyn Read, size: u64) -> Self {
        Self { source, left: size }
    }
}

impl Read for Exactly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if room == 0 {
            return Ok(0);
        }
        let count = self.source.read(&mut buffer[..room])?;
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{} bytes fewer than announced", self.left),
            ));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// Says of a failed source which file it was for: the command alone does not know.
pub(super) fn name_source(
    file: &Put,
    result: Result<Output, ConnectionError>,
) -> Result<Output, ConnectionError> {
    result.map_err(|error| match error {
        ConnectionError::Content { host, source, .. } => ConnectionError::Content {
            host,
            path: file.path.clone(),
            source,
        },
        other => other,
    })
}
