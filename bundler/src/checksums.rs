//! The `sha256sum-<arch>.txt` of an RKE2 release.
//!
//! Invariant: a name appears once. Names that a tool would not write (paths, empty) are refused, not normalised.

use std::collections::BTreeMap;

use oci_spec::image::Digest;

use crate::digest::from_hex;

/// Digests by file name, as a release publishes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksums(BTreeMap<String, Digest>);

/// Says which line of a checksum file is wrong, and how.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the checksum file {what}")]
pub struct ChecksumsError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

impl Checksums {
    /// Parses the output of `sha256sum`: `<64 hex digits>`, two spaces or a space and `*`, a file name.
    ///
    /// ```
    /// use airgap_bundler::Checksums;
    ///
    /// let text = format!("{}  rke2.linux-amd64.tar.gz\n", "0f".repeat(32));
    /// let sums = Checksums::parse(&text)?;
    /// assert!(sums.get("rke2.linux-amd64.tar.gz").is_some());
    ///
    /// let twice = text.repeat(2);
    /// let error = Checksums::parse(&twice).unwrap_err();
    /// assert_eq!(error.to_string(), "line 2 of the checksum file repeats a file name");
    /// # Ok::<(), airgap_bundler::ChecksumsError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, ChecksumsError> {
        let mut sums = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let error = |what| ChecksumsError {
                line: number + 1,
                what,
            };
            if line.trim().is_empty() {
                continue;
            }
            let (hex, rest) = line
                .split_once(' ')
                .ok_or_else(|| error("holds no file name"))?;
            let name = rest
                .strip_prefix([' ', '*'])
                .ok_or_else(|| error("is not of the form that sha256sum writes"))?;
            let digest = from_hex(hex).ok_or_else(|| error("does not begin with a sha256"))?;
            if name.is_empty() || name.contains('/') || name.trim() != name {
                return Err(error("holds something that is not a plain file name"));
            }
            if sums.insert(name.to_owned(), digest).is_some() {
                return Err(error("repeats a file name"));
            }
        }
        Ok(Self(sums))
    }

    /// Returns the digest of a file, if the release lists it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Digest> {
        self.0.get(name)
    }

    /// Lists the files with their digests, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Digest)> {
        self.0.iter().map(|(name, digest)| (name.as_str(), digest))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_spellings_of_sha256sum_are_read() {
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        let sums = Checksums::parse(&format!(
            "{a}  rke2.linux-amd64.tar.gz\n{b} *rke2.linux-amd64\n"
        ))
        .unwrap();
        assert_eq!(sums.get("rke2.linux-amd64.tar.gz"), from_hex(&a).as_ref());
        assert_eq!(sums.get("rke2.linux-amd64"), from_hex(&b).as_ref());
        assert_eq!(sums.get("install.sh"), None);
    }

    #[test]
    fn the_wrong_line_is_named() {
        let a = "a".repeat(64);
        for (text, line, word) in [
            ("<!DOCTYPE html>".to_owned(), 1, "form"),
            (format!("{a}  x\nabc  y"), 2, "sha256"),
            (format!("{a}  x\n\n{a}  x"), 3, "repeats"),
            (format!("{a}  ../x"), 1, "plain file name"),
            (a.clone(), 1, "no file name"),
        ] {
            let error = Checksums::parse(&text).unwrap_err();
            assert_eq!(error.line, line, "{text}");
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[0-9a-f *x/\n]{0,200}") {
            let _ = Checksums::parse(&text);
        }

        #[test]
        fn what_sha256sum_writes_is_read_back(names in proptest::collection::btree_map("[a-z][a-z0-9.-]{0,20}", "[0-9a-f]{64}", 0..8)) {
            let lines: Vec<String> = names.iter().map(|(name, hex)| format!("{hex}  {name}")).collect();
            let text = lines.join("\n");
            let sums = Checksums::parse(&text).unwrap();
            prop_assert_eq!(sums.iter().count(), names.len());
            for (name, hex) in &names {
                prop_assert_eq!(sums.get(name).map(Digest::digest), Some(hex.as_str()));
            }
        }
    }
}
