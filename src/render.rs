//! Numbers, times and tables as people read them.
//!
//! Invariant: sizes are decimal (1 MB is 1 000 000 bytes), as media and networks are sold;
//! binary units are understood on input only where they are written out (`GiB`).

use std::fmt::Write as _;
use std::time::Duration;

const UNITS: [(&str, u64); 4] = [
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
];

/// Hexadecimal digits of a digest that is only shown to tell it apart.
const SHORT_HEX: usize = 12;

/// Returns a size with its unit: `1.3 GB`.
pub(crate) fn bytes(size: u64) -> String {
    for (unit, factor) in UNITS {
        if size >= factor {
            let tenths = u128::from(size) * 10 / u128::from(factor);
            return if tenths < 1000 {
                format!("{}.{} {unit}", tenths / 10, tenths % 10)
            } else {
                format!("{} {unit}", tenths / 10)
            };
        }
    }
    format!("{size} B")
}

/// Returns a duration in at most two units: `1 h 5 min`, `42 s`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Returns "1 image", "2 images".
pub(crate) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Returns a digest's algorithm and first 12 digits: enough to tell apart, not to trust.
pub(crate) fn short_digest(digest: &impl ToString) -> String {
    let mut text = digest.to_string();
    text.truncate("sha256:".len() + SHORT_HEX);
    text
}

/// Shortens every digest in a text, as [`short_digest`] does.
pub(crate) fn short_digests(text: &str) -> String {
    let mut parts = text.split("sha256:");
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let hex = part.len()
            - part
                .trim_start_matches(|c: char| c.is_ascii_hexdigit())
                .len();
        result.push_str("sha256:");
        result.push_str(&part[..hex.min(SHORT_HEX)]);
        result.push_str(&part[hex..]);
    }
    result
}

/// Parses a size such as `4GiB`, `25 GB` or a plain number of bytes.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" | "k" | "K" => 1000,
        "MB" | "M" => 1_000_000,
        "GB" | "G" => 1_000_000_000,
        "TB" | "T" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1_u64 << 40,
        other => {
            return Err(format!(
                "unknown unit `{other}`: use kB, MB, GB, KiB, MiB or GiB"
            ));
        }
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "expected a number, such as 4GiB".to_owned())?;
    number
        .checked_mul(factor)
        .ok_or_else(|| "the size is too large".to_owned())
}

/// Returns rows as aligned columns, two spaces apart, without trailing spaces.
pub(crate) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            // writing to a string cannot fail
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Quotes an argument for a shell, for commands that are shown to be typed.
pub(crate) fn shell_quote(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@+,%".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1000), "1.0 kB");
        assert_eq!(bytes(1_340_000_000), "1.3 GB");
        assert_eq!(bytes(999_999_999), "999 MB");
        assert_eq!(bytes(u64::MAX), "18446744 TB");
    }

    #[test]
    fn sizes_are_parsed() {
        assert_eq!(parse_size("4GiB"), Ok(4 << 30));
        assert_eq!(parse_size("25 GB"), Ok(25_000_000_000));
        assert_eq!(parse_size("4096"), Ok(4096));
        assert!(parse_size("GiB").is_err());
        assert!(parse_size("1 parsec").is_err());
        assert!(parse_size("99999999999999TB").is_err());
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(duration(Duration::from_secs(42)), "42 s");
        assert_eq!(duration(Duration::from_secs(125)), "2 min 5 s");
        assert_eq!(duration(Duration::from_mins(65)), "1 h 5 min");
    }

    #[test]
    fn digests_are_shortened_wherever_they_stand() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let text = format!("{digest} -> {digest}, 2 attached");
        assert_eq!(
            short_digests(&text),
            "sha256:abababababab -> sha256:abababababab, 2 attached"
        );
    }

    #[test]
    fn columns_line_up() {
        let rows = [["a".into(), "1".into()], ["bbb".into(), "22".into()]];
        assert_eq!(table(&rows), "a    1\nbbb  22\n");
    }

    #[test]
    fn commands_can_be_pasted() {
        assert_eq!(shell_quote("hosts.yaml"), "hosts.yaml");
        assert_eq!(shell_quote("my hosts"), "'my hosts'");
        assert_eq!(shell_quote("it's"), r"'it'\''s'");
    }
}
