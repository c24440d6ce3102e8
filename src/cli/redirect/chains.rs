//! Whether others change where connections of this machine lead.

use std::fs;
use std::process::Command;

use serde::Deserialize;

/// What `nft -j list chains` says.
#[derive(Deserialize)]
struct Listing {
    nftables: Vec<ListedObject>,
}

/// One of many things, as far as it is a chain.
#[derive(Deserialize)]
struct ListedObject {
    chain: Option<ListedChain>,
}

#[derive(Deserialize)]
struct ListedChain {
    family: String,
    table: String,
    name: String,
    r#type: Option<String>,
    hook: Option<String>,
}

/// The tables of the older iptables, which `nft` does not see, and who reads them.
const LEGACY: [(&str, &str); 2] = [
    ("/proc/net/ip_tables_names", "iptables"),
    ("/proc/net/ip6_tables_names", "ip6tables"),
];

/// The chains in this network namespace, but for ours, that change where connections of this machine lead.
///
/// # Errors
/// Why that is not known.
pub(super) fn others() -> Result<Vec<String>, String> {
    let output = Command::new("nft").args(["-j", "list", "chains"]).output();
    let output = output.map_err(|error| format!("nft cannot be run: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or("it says nothing");
        return Err(format!("nft cannot list them: {}", said.trim()));
    }
    let mut others = in_listing(&output.stdout)?;
    others.extend(LEGACY.into_iter().filter_map(|(path, who)| {
        let tables = fs::read_to_string(path).ok()?;
        let has_nat = tables.lines().any(|table| table == "nat");
        has_nat.then(|| format!("the table nat of {who} (legacy)"))
    }));
    Ok(others)
}

/// Those that a listing shows.
fn in_listing(listing: &[u8]) -> Result<Vec<String>, String> {
    let listing: Listing = serde_json::from_slice(listing)
        .map_err(|error| format!("what nft lists cannot be read: {error}"))?;
    let chains = listing.nftables.into_iter().filter_map(|it| it.chain);
    let others = chains.filter(|chain| {
        let is = |said: &Option<String>, what| said.as_deref() == Some(what);
        let is_ours = (&*chain.family, &*chain.table) == ("inet", "sidebearer");
        is(&chain.r#type, "nat") && is(&chain.hook, "output") && !is_ours
    });
    let named = others.map(|chain| {
        format!(
            "chain {} of table {} {}",
            chain.name, chain.family, chain.table
        )
    });
    Ok(named.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_chains_of_type_nat_at_the_output_hook_are_found_and_no_others() {
        let listing = r#"{"nftables": [
            {"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
            {"table": {"family": "ip", "name": "nat", "handle": 1}},
            {"chain": {"family": "ip", "table": "nat", "name": "OUTPUT", "handle": 1, "type": "nat", "hook": "output", "prio": -100, "policy": "accept"}},
            {"chain": {"family": "ip", "table": "nat", "name": "PREROUTING", "handle": 2, "type": "nat", "hook": "prerouting", "prio": -100}},
            {"chain": {"family": "ip", "table": "filter", "name": "OUTPUT", "handle": 2, "type": "filter", "hook": "output", "prio": 0}},
            {"chain": {"family": "ip", "table": "nat", "name": "DOCKER", "handle": 3}},
            {"chain": {"family": "inet", "table": "sidebearer", "name": "redirect_tcp", "handle": 1, "type": "nat", "hook": "output", "prio": -100}},
            {"chain": {"family": "ip6", "table": "sidebearer", "name": "out", "handle": 1, "type": "nat", "hook": "output", "prio": -100}}
        ]}"#;
        assert_eq!(
            in_listing(listing.as_bytes()).unwrap(),
            [
                "chain OUTPUT of table ip nat",
                "chain out of table ip6 sidebearer"
            ]
        );
        assert_eq!(in_listing(br#"{"nftables": []}"#).unwrap(), [""; 0]);
        assert!(in_listing(b"").is_err());
    }
}
