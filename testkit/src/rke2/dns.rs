//! The cluster's DNS: CoreDNS's `hosts` entries, then the servers of the pods' resolv.conf. /etc/hosts of the node is not seen.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde_json::Value;
use tokio::net::UdpSocket;

use super::fail::{Context as _, Fail, Result};
use super::yaml;

/// Where RKE2 leaves the pods' resolv.conf.
const RESOLV_CONF: &str = "/var/lib/rancher/rke2/agent/etc/resolv.conf";

/// Resolves a name as a pod sees it; `coredns` is the spec of the HelmChartConfig `rke2-coredns`, or null.
pub(crate) async fn cluster(name: &str, coredns: &Value) -> Result<IpAddr> {
    if let Ok(address) = name.parse() {
        return Ok(address);
    }
    if let Some(address) = hosts_plugin(name, coredns)? {
        return Ok(address);
    }
    let text = fs_err::read_to_string(RESOLV_CONF).context(RESOLV_CONF)?;
    let mut last = Fail::new("no nameserver");
    for server in text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
    {
        let Ok(server) = server.trim().parse::<IpAddr>() else {
            continue;
        };
        match query(name, server).await {
            Ok(address) => return Ok(address),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Looks into the `hosts` plugin of a CoreDNS configuration, and checks that the rest of it still works.
fn hosts_plugin(name: &str, coredns: &Value) -> Result<Option<IpAddr>> {
    let mut values = coredns["values"].clone();
    if let Some(content) = coredns["valuesContent"].as_str() {
        values = yaml::one(content)?;
    }
    let Some(servers) = values["servers"].as_array() else {
        return Ok(None);
    };
    let plugins: Vec<&Value> = servers
        .iter()
        .flat_map(|server| server["plugins"].as_array().into_iter().flatten())
        .collect();
    for needed in ["kubernetes", "forward"] {
        if !plugins.iter().any(|plugin| plugin["name"] == needed) {
            return Err(Fail::new(format!(
                "CoreDNS has no {needed} plugin: `servers` replaces the chart's whole list"
            )));
        }
    }
    for block in plugins
        .iter()
        .filter(|plugin| plugin["name"] == "hosts")
        .filter_map(|plugin| plugin["configBlock"].as_str())
    {
        for line in block.lines() {
            let mut words = line.split_whitespace();
            let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else {
                continue;
            };
            if words.any(|word| word.eq_ignore_ascii_case(name)) {
                return Ok(Some(address));
            }
        }
    }
    Ok(None)
}

async fn query(name: &str, server: IpAddr) -> Result<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect((server, 53)).await?;
    let mut packet = vec![0x41, 0x47, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.trim_end_matches('.').split('.') {
        packet.push(
            u8::try_from(label.len())
                .map_err(|_| Fail::new(format!("label too long in {name}")))?,
        );
        packet.extend(label.as_bytes());
    }
    packet.extend([0, 0, 1, 0, 1]);
    let question = packet.len();
    socket.send(&packet).await?;
    let mut answer = [0_u8; 512];
    let received = tokio::time::timeout(Duration::from_secs(3), socket.recv(&mut answer)).await;
    let length =
        received.map_err(|_| Fail::new(format!("read udp {server}:53: i/o timeout")))??;
    parse(&answer[..length], question).context(format!("no such host (asked {server})"))
}

/// The first A record after the question.
fn parse(answer: &[u8], mut at: usize) -> Option<IpAddr> {
    let count = u16::from_be_bytes([*answer.get(6)?, *answer.get(7)?]);
    for _ in 0..count {
        while *answer.get(at)? != 0 && *answer.get(at)? & 0xc0 != 0xc0 {
            at += usize::from(*answer.get(at)?) + 1;
        }
        at += if *answer.get(at)? == 0 { 1 } else { 2 };
        let kind = u16::from_be_bytes([*answer.get(at)?, *answer.get(at + 1)?]);
        let length = usize::from(u16::from_be_bytes([
            *answer.get(at + 8)?,
            *answer.get(at + 9)?,
        ]));
        at += 10;
        if kind == 1 && length == 4 {
            let octets: [u8; 4] = answer.get(at..at + 4)?.try_into().ok()?;
            return Some(IpAddr::from(octets));
        }
        at += length;
    }
    None
}
