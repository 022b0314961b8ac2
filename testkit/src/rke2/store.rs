//! The cluster's state: a stand-in for etcd's data, one document per server.
//!
//! Invariant: a revision is only ever reached by one leader's commit or by taking another member's whole document.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fail::{Context as _, Result};
use super::tls;

/// What the founding server fixes for the cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Cluster {
    pub(crate) ca_name: String,
    pub(crate) ca_cert: String,
    pub(crate) ca_key: String,
    pub(crate) server_password: String,
    pub(crate) agent_password: String,
    pub(crate) critical: BTreeMap<String, String>,
    pub(crate) cni: Vec<String>,
    pub(crate) ingress: Vec<String>,
    pub(crate) disable: Vec<String>,
}

/// One etcd member.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: u64,
    /// `<node>-<8 hex>`, as RKE2 names its members.
    pub(crate) name: String,
    pub(crate) node: String,
    pub(crate) address: String,
    pub(crate) learner: bool,
}

/// Everything.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) revision: u64,
    pub(crate) cluster: Cluster,
    pub(crate) members: Vec<Member>,
    /// By `group/plural/namespace/name`.
    pub(crate) objects: BTreeMap<String, Value>,
}

impl State {
    pub(crate) fn voters(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| !member.learner)
    }

    pub(crate) fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects
            .range(prefix.to_owned()..)
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(_, value)| value)
    }
}

/// What one commit changed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Delta {
    pub(crate) before: u64,
    pub(crate) revision: u64,
    pub(crate) puts: BTreeMap<String, Value>,
    pub(crate) deletes: Vec<String>,
    pub(crate) members: Vec<Member>,
}

impl Delta {
    pub(crate) fn between(old: &State, new: &State) -> Self {
        let puts = new
            .objects
            .iter()
            .filter(|(key, value)| old.objects.get(*key) != Some(*value));
        let deletes = old
            .objects
            .keys()
            .filter(|key| !new.objects.contains_key(*key));
        Self {
            before: old.revision,
            revision: new.revision,
            puts: puts
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            deletes: deletes.cloned().collect(),
            members: new.members.clone(),
        }
    }

    pub(crate) fn apply(self, state: &mut State) {
        state.objects.extend(self.puts);
        for key in self.deletes {
            state.objects.remove(&key);
        }
        state.members = self.members;
        state.revision = self.revision;
    }
}

/// Where the document lies on disk.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    dir: PathBuf,
}

impl Disk {
    pub(crate) fn new(data: &Path) -> Self {
        Self {
            dir: data.join("server/db/etcd"),
        }
    }

    /// This member's name and the state, where this server was a member before.
    pub(crate) fn load(&self) -> Result<Option<(String, State)>> {
        let name = self.dir.join("name");
        if !name.exists() {
            return Ok(None);
        }
        let path = self.dir.join("member/snap/db");
        let text = fs_err::read(&path).context(path.display())?;
        let state = serde_json::from_slice(&text).context(path.display())?;
        Ok(Some((
            fs_err::read_to_string(name)?.trim().to_owned(),
            state,
        )))
    }

    pub(crate) fn save(&self, name: &str, state: &State) -> Result<()> {
        tls::write_secret(
            &self.dir.join("member/snap/db"),
            &serde_json::to_vec(state)?,
        )?;
        if !self.dir.join("name").exists() {
            tls::write_secret(&self.dir.join("name"), name.as_bytes())?;
        }
        Ok(())
    }
}

/// A state for unit tests.
#[cfg(test)]
pub(crate) mod fake {
    use super::{BTreeMap, Cluster, State};

    /// A cluster that holds nothing.
    pub(crate) fn empty() -> State {
        State {
            revision: 0,
            cluster: Cluster {
                ca_name: String::new(),
                ca_cert: String::new(),
                ca_key: String::new(),
                server_password: String::new(),
                agent_password: String::new(),
                critical: BTreeMap::new(),
                cni: Vec::new(),
                ingress: Vec::new(),
                disable: Vec::new(),
            },
            members: Vec::new(),
            objects: BTreeMap::new(),
        }
    }
}
