//! What a registry asks for: the header `WWW-Authenticate`, as far as registries use it.

/// A challenge that we can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// The login itself.
    Basic,
    /// A token of this service.
    Bearer {
        /// The token service.
        realm: String,
        /// Its name for the registry.
        service: Option<String>,
        /// What the token has to allow.
        scope: Option<String>,
    },
}

impl Challenge {
    /// Reads one header value; Bearer is preferred where both are offered.
    pub(super) fn parse(value: &str) -> Option<Self> {
        let mut basic = false;
        let mut bearer = None;
        let mut rest = value.trim();
        while let Some((scheme, parameters)) = split_scheme(rest) {
            let (found, after) = read_parameters(parameters);
            let get = |name: &str| {
                found
                    .iter()
                    .find(|(key, _)| key.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.clone())
            };
            if scheme.eq_ignore_ascii_case("basic") {
                basic = true;
            } else if scheme.eq_ignore_ascii_case("bearer")
                && let Some(realm) = get("realm")
            {
                bearer = Some(Self::Bearer {
                    realm,
                    service: get("service"),
                    scope: get("scope"),
                });
            }
            rest = after;
        }
        bearer.or(basic.then_some(Self::Basic))
    }
}

/// Splits `Bearer realm=…` after the scheme.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches([' ', ',']);
    if text.is_empty() {
        return None;
    }
    let end = text.find([' ', ',']).unwrap_or(text.len());
    Some((&text[..end], &text[end..]))
}

/// Reads `key="value"` pairs until the next scheme begins, and returns what is left.
fn read_parameters(mut text: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    loop {
        let trimmed = text.trim_start_matches([' ', ',']);
        let Some(equals) = trimmed.find('=') else {
            return (found, trimmed);
        };
        let key = &trimmed[..equals];
        if key.contains([' ', ',']) {
            return (found, trimmed);
        }
        let after = &trimmed[equals + 1..];
        let (value, rest) = if let Some(quoted) = after.strip_prefix('"') {
            read_quoted(quoted)
        } else {
            let end = after.find([',', ' ']).unwrap_or(after.len());
            (after[..end].to_owned(), &after[end..])
        };
        found.push((key.to_owned(), value));
        text = rest;
    }
}

fn read_quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((place, character)) = characters.next() {
        match character {
            '"' => return (value, &text[place + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_registries_send() {
        let bearer = Challenge::parse(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
        );
        let expected = Challenge::Bearer {
            realm: "https://auth.docker.io/token".into(),
            service: Some("registry.docker.io".into()),
            scope: Some("repository:a/b:pull,push".into()),
        };
        assert_eq!(bearer, Some(expected));
        assert_eq!(
            Challenge::parse(r#"Basic realm="harbor""#),
            Some(Challenge::Basic)
        );
        let both = Challenge::parse(r#"Basic realm="x", bearer realm=https://t, service="s""#);
        assert!(matches!(both, Some(Challenge::Bearer { realm, .. }) if realm == "https://t"));
        for nothing in ["", "Negotiate", "Bearer service=\"s\"", "Bearer"] {
            assert_eq!(Challenge::parse(nothing), None, "{nothing}");
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_the_parser_panic_or_hang(value in ".{0,80}") {
            drop(Challenge::parse(&value));
        }
    }
}
