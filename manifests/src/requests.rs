//! What a component's pods request of the nodes: sums that sizes and preflight are told from.

use serde::{Deserialize, Serialize};

/// The sum of what a component's pods request, in Kubernetes' own notation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Requests {
    /// Processor time: `500m`, `2`.
    #[serde(default)]
    pub cpu: Cpu,
    /// Memory: `512Mi`, `1Gi`.
    #[serde(default)]
    pub memory: Memory,
}

/// Processor time in thousandths of a core.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Quantity", into = "String")]
pub struct Cpu(pub u64);

/// Memory in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Quantity", into = "String")]
pub struct Memory(pub u64);

/// A quantity as YAML has it: `2` is a number there.
#[derive(Deserialize)]
#[serde(untagged)]
enum Quantity {
    Number(u64),
    Text(String),
}

impl TryFrom<Quantity> for Cpu {
    type Error = String;

    fn try_from(quantity: Quantity) -> Result<Self, String> {
        let text = match quantity {
            Quantity::Number(cores) => cores.to_string(),
            Quantity::Text(text) => text,
        };
        let value = match text.strip_suffix('m') {
            Some(milli) => milli.parse().ok(),
            None => text
                .parse::<u64>()
                .ok()
                .and_then(|cores| cores.checked_mul(1000)),
        };
        value.map(Self).ok_or_else(|| {
            format!("`{text}` is not an amount of processor time; write `500m` or `2`")
        })
    }
}

impl From<Cpu> for String {
    fn from(Cpu(milli): Cpu) -> Self {
        if milli % 1000 == 0 {
            (milli / 1000).to_string()
        } else {
            format!("{milli}m")
        }
    }
}

const UNITS: [(&str, u32); 3] = [("Gi", 30), ("Mi", 20), ("Ki", 10)];

impl TryFrom<Quantity> for Memory {
    type Error = String;

    fn try_from(quantity: Quantity) -> Result<Self, String> {
        let text = match quantity {
            Quantity::Number(bytes) => return Ok(Self(bytes)),
            Quantity::Text(text) => text,
        };
        UNITS
            .iter()
            .find_map(|(unit, shift)| {
                let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
                number.checked_mul(1 << shift).map(Self)
            })
            .ok_or_else(|| format!("`{text}` is not an amount of memory; write `512Mi` or `1Gi`"))
    }
}

impl From<Memory> for String {
    fn from(Memory(bytes): Memory) -> Self {
        UNITS
            .iter()
            .find(|(_, shift)| bytes > 0 && bytes % (1 << shift) == 0)
            .map_or_else(
                || bytes.to_string(),
                |(unit, shift)| format!("{}{unit}", bytes >> shift),
            )
    }
}

impl std::iter::Sum for Cpu {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        Self(iter.map(|cpu| cpu.0).fold(0, u64::saturating_add))
    }
}

impl std::iter::Sum for Memory {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        Self(iter.map(|memory| memory.0).fold(0, u64::saturating_add))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities_read_and_write_as_kubernetes_has_them() {
        let read =
            |cpu, memory| serde_json::from_value::<Requests>(json!({"cpu": cpu, "memory": memory}));
        let requests = read(json!("1500m"), json!("1Gi")).unwrap();
        assert_eq!(
            (requests.cpu, requests.memory),
            (Cpu(1500), Memory(1 << 30))
        );
        assert_eq!(
            serde_json::to_value(&requests).unwrap(),
            json!({"cpu": "1500m", "memory": "1Gi"})
        );
        assert_eq!(read(json!(2), json!("768Mi")).unwrap().cpu, Cpu(2000));
        assert_eq!(String::from(Memory(768 << 20)), "768Mi");
        for (cpu, memory) in [
            ("x", "1Gi"),
            ("1", "1GB"),
            ("99999999999999999999", "1Gi"),
            ("1", "-1Gi"),
            ("1", "99999999999Gi"),
        ] {
            assert!(read(json!(cpu), json!(memory)).is_err(), "{cpu} {memory}");
        }
    }
}
