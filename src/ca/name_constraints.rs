//! The names that the certificates of a chain let its issuer sign for (RFC 5280 section 4.2.1.10).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, GeneralSubtree};

use super::name::CertifiedName;

/// What all certificates of a chain say of names.
#[derive(Debug, Default)]
pub(super) struct ChainConstraints(Vec<NameLimits>);

/// What one certificate says of names.
#[derive(Debug)]
struct NameLimits {
    permitted: Vec<NameTree>,
    excluded: Vec<NameTree>,
}

/// A name and what is below it, or a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NameTree {
    /// In lower case; empty for every name.
    Dns(String),
    /// Address and mask, of 4 or 16 bytes each.
    Network(Vec<u8>, Vec<u8>),
}

impl ChainConstraints {
    /// Those of certificates, of which some may say nothing.
    pub(super) fn of<'a>(chain: impl Iterator<Item = &'a X509Certificate<'a>>) -> Self {
        let limits = chain.filter_map(|certificate| {
            let found = certificate.name_constraints().ok().flatten()?.value;
            let trees = |list: &Option<Vec<GeneralSubtree<'_>>>| {
                let list = list.iter().flatten();
                list.filter_map(|tree| NameTree::of(&tree.base)).collect()
            };
            Some(NameLimits {
                permitted: trees(&found.permitted_subtrees),
                excluded: trees(&found.excluded_subtrees),
            })
        });
        Self(limits.collect())
    }

    /// Whether nothing is said.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What of a tree the issuer may not sign for, of all that counts: the tree, or a part of it that is excluded.
    pub(super) fn lacking<'a>(
        &'a self,
        tree: &'a NameTree,
        counts: impl Fn(&NameTree) -> bool,
    ) -> Option<&'a NameTree> {
        if !self.permit(tree) {
            return Some(tree);
        }
        let mut excluded = self.0.iter().flat_map(|limits| &limits.excluded);
        excluded.find(|part| tree.covers(part) && counts(part))
    }

    /// What the issuer of these constraints may sign for and the next one may not.
    pub(super) fn lost_with(&self, next: &Self) -> Option<NameTree> {
        let names = self.names();
        let mut lost = names
            .iter()
            .filter_map(|name| next.lacking(name, |part| self.permit(part)));
        lost.next().cloned()
    }

    /// Whether the issuer may sign for the whole tree, as far as it is not excluded in part.
    pub(super) fn permit(&self, tree: &NameTree) -> bool {
        self.0.iter().all(|limits| {
            let mut of_kind = limits.permitted.iter().filter(|other| other.is_like(tree));
            let is_listed = of_kind.clone().next().is_none() || of_kind.any(|it| it.covers(tree));
            is_listed && !limits.excluded.iter().any(|other| other.covers(tree))
        })
    }

    /// All that the issuer may sign for, as far as it is not excluded in part.
    fn names(&self) -> Vec<NameTree> {
        let permitted = self.0.iter().flat_map(|limits| &limits.permitted);
        let mut names: Vec<_> = permitted.cloned().collect();
        for everything in NameTree::everything() {
            if !names.iter().any(|name| name.is_like(&everything)) {
                names.push(everything);
            }
        }
        names.retain(|name| self.permit(name));
        names
    }
}

impl NameTree {
    /// That of one name.
    pub(super) fn of_name(name: &CertifiedName) -> Self {
        match name {
            CertifiedName::Dns(name) => Self::Dns(name.as_ref().to_owned()),
            CertifiedName::Ip(IpAddr::V4(ip)) => Self::Network(ip.octets().into(), vec![0xFF; 4]),
            CertifiedName::Ip(IpAddr::V6(ip)) => Self::Network(ip.octets().into(), vec![0xFF; 16]),
        }
    }

    fn of(name: &GeneralName<'_>) -> Option<Self> {
        match name {
            GeneralName::DNSName(name) => Some(Self::Dns(name.to_ascii_lowercase())),
            GeneralName::IPAddress(bytes) if matches!(bytes.len(), 8 | 32) => {
                let (address, mask) = bytes.split_at(bytes.len() / 2);
                Some(Self::Network(address.into(), mask.into()))
            }
            _ => None,
        }
    }

    /// Whether `sidebearer ca create` can make a CA for it.
    pub(super) fn can_be_asked_for(&self) -> bool {
        match self {
            Self::Dns(name) => !name.is_empty(),
            Self::Network(_, mask) => mask.iter().all(|byte| *byte == 0xFF),
        }
    }

    /// Every name, and every address of either kind.
    fn everything() -> [Self; 3] {
        [
            Self::Dns(String::new()),
            Self::Network(vec![0; 4], vec![0; 4]),
            Self::Network(vec![0; 16], vec![0; 16]),
        ]
    }

    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Dns(_), Self::Dns(_)) => true,
            (Self::Network(own, _), Self::Network(other, _)) => own.len() == other.len(),
            _ => false,
        }
    }

    /// Whether all of `inner` is in it.
    fn covers(&self, inner: &Self) -> bool {
        match (self, inner) {
            (Self::Dns(outer), Self::Dns(inner)) => {
                // With a leading dot, as some write it, what is below alone. Of such an inner one nothing but the dot is left
                // below the same name without it.
                let below = inner.strip_suffix(outer.trim_start_matches('.'));
                outer.is_empty()
                    || outer == inner
                    || below.is_some_and(|below| below.ends_with('.'))
            }
            (Self::Network(outer, outer_mask), Self::Network(inner, inner_mask)) => {
                let bytes = outer
                    .iter()
                    .zip(outer_mask)
                    .zip(inner.iter().zip(inner_mask));
                self.is_like(&Self::Network(inner.clone(), inner_mask.clone()))
                    && bytes
                        .into_iter()
                        .all(|((outer, mask), (inner, inner_mask))| {
                            mask & inner_mask == *mask && outer & mask == inner & mask
                        })
            }
            _ => false,
        }
    }
}

impl fmt::Display for NameTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) if name.is_empty() => f.write_str("every host name"),
            Self::Dns(name) => write!(f, "\"{name}\""),
            Self::Network(address, mask) => {
                let length: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
                let address = match <[u8; 4]>::try_from(&address[..]) {
                    Ok(bytes) => IpAddr::from(Ipv4Addr::from(bytes)),
                    Err(_) => {
                        let bytes = <[u8; 16]>::try_from(&address[..]).unwrap_or_default();
                        IpAddr::from(Ipv6Addr::from(bytes))
                    }
                };
                if length as usize == mask.len() * 8 {
                    write!(f, "\"{address}\"")
                } else {
                    write!(f, "\"{address}/{length}\"")
                }
            }
        }
    }
}
