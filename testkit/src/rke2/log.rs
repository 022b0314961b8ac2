//! Log lines of the stand-in, in the form RKE2 logs, to standard error (the journal under systemd).

use std::io::Write as _;

fn line(level: &str, text: &str) {
    let now = jiff::Timestamp::now();
    // nowhere is left to report that standard error is gone
    let _ = writeln!(
        std::io::stderr().lock(),
        "time=\"{now:.0}\" level={level} msg={text:?}"
    );
}

pub(crate) fn info(text: impl AsRef<str>) {
    line("info", text.as_ref());
}

pub(crate) fn warn(text: impl AsRef<str>) {
    line("warning", text.as_ref());
}

pub(crate) fn error(text: impl AsRef<str>) {
    line("error", text.as_ref());
}

pub(crate) fn fatal(text: impl AsRef<str>) {
    line("fatal", text.as_ref());
}
