//! The lock's text: YAML of one layout, two spaces, sorted, without comments.

use std::fmt::Write;

use super::{Attached, ImageLock, LockedImage};

pub(super) fn write(lock: &ImageLock) -> String {
    let mut lock = lock.clone();
    lock.sort();
    let mut out = Out(String::new());
    out.pair("", "version", &lock.version);
    out.pair("", "release", &Plain(lock.release.to_string()));
    out.pair("", "lockedAt", &Plain(format!("\"{}\"", lock.locked_at)));
    out.pair("", "manifestsDigest", lock.manifests_digest.as_ref());
    out.list("images", lock.images.is_empty());
    for image in &lock.images {
        write_image(&mut out, image);
    }
    out.list("charts", lock.charts.is_empty());
    for chart in &lock.charts {
        out.pair("  - ", "name", &chart.name);
        out.pair("    ", "version", &chart.version);
        out.pair("    ", "url", &chart.url);
        out.maybe("    ", "sha256", chart.sha256.as_ref().map(AsRef::as_ref));
        out.number("    ", "size", chart.size);
        out.maybe("    ", "source", chart.source.as_deref());
    }
    out.list("files", lock.files.is_empty());
    for file in &lock.files {
        out.pair("  - ", "url", &file.url);
        out.maybe("    ", "sha256", file.sha256.as_ref().map(AsRef::as_ref));
        out.number("    ", "size", file.size);
        out.maybe("    ", "source", file.source.as_deref());
    }
    out.0
}

fn write_image(out: &mut Out, image: &LockedImage) {
    out.pair("  - ", "name", &image.name.to_string());
    out.maybe("    ", "index", image.index.as_ref().map(AsRef::as_ref));
    if !image.platforms.is_empty() {
        out.line("    platforms:");
    }
    for (platform, manifest) in &image.platforms {
        out.line(&format!("      {}:", scalar(platform)));
        out.pair("        ", "digest", manifest.digest.as_ref());
        out.number("        ", "size", manifest.size);
    }
    if !image.attached.is_empty() {
        out.line("    attached:");
    }
    for Attached {
        subject,
        digest,
        tag,
        artifact_type,
    } in &image.attached
    {
        out.pair("      - ", "subject", subject.as_ref());
        out.pair("        ", "digest", digest.as_ref());
        out.maybe("        ", "tag", tag.as_deref());
        out.maybe("        ", "artifactType", artifact_type.as_deref());
    }
    out.maybe("    ", "source", image.source.as_deref());
}

struct Out(String);

/// A value that is written as it is.
struct Plain(String);

trait Scalar {
    fn written(&self) -> String;
}

impl Scalar for Plain {
    fn written(&self) -> String {
        self.0.clone()
    }
}

impl Scalar for str {
    fn written(&self) -> String {
        scalar(self)
    }
}

impl Scalar for String {
    fn written(&self) -> String {
        scalar(self)
    }
}

impl Out {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn list(&mut self, key: &str, empty: bool) {
        self.line(&format!("{key}:{}", if empty { " []" } else { "" }));
    }

    fn pair(&mut self, indent: &str, key: &str, value: &(impl Scalar + ?Sized)) {
        self.line(&format!("{indent}{key}: {}", value.written()));
    }

    fn maybe(&mut self, indent: &str, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.pair(indent, key, value);
        }
    }

    fn number(&mut self, indent: &str, key: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.pair(indent, key, &Plain(value.to_string()));
        }
    }
}

/// Returns a text as a YAML scalar: bare where nobody could take it for anything else, else in double quotes.
fn scalar(text: &str) -> String {
    let bare = text.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&text.to_ascii_lowercase().as_str())
        && text
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "._/+%:-@".contains(letter))
        && !text.ends_with(':');
    if bare { text.to_owned() } else { quoted(text) }
}

/// Returns a text in double quotes, with every character that YAML does not print escaped.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            ' '..='~' => quoted.push(letter),
            _ if letter.is_alphanumeric() => quoted.push(letter),
            _ => {
                let code = u32::from(letter);
                // writing to a String cannot fail
                let _ = if code <= 0xFFFF {
                    write!(quoted, "\\u{code:04X}")
                } else {
                    write!(quoted, "\\U{code:08X}")
                };
            }
        }
    }
    quoted.push('"');
    quoted
}
