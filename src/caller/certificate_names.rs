//! Callers that are known by a name in their certificate.

use std::collections::HashMap;

use super::spiffe_owners::SpiffeOwners;
use super::{CertificateIdentity, Claim, IdentificationMeans, Identified};
use crate::config::SpiffePattern;
use crate::policy::CallerIndex;

/// Whose each name is. A lookup takes as many steps for ten callers as for 10,000.
#[derive(Debug, Default)]
pub struct CertificateOwners {
    dns_names: HashMap<Box<str>, Claim<CallerIndex>>,
    spiffe_ids: SpiffeOwners,
}

impl CertificateOwners {
    /// A DNS name is a caller's.
    pub fn add_dns_name(&mut self, name: &str, caller: CallerIndex) {
        let owner = self.dns_names.entry(name.into());
        let owner = owner.or_insert(Claim::Nobody);
        *owner = owner.and(Claim::Of(caller));
    }

    /// SPIFFE IDs are a caller's.
    pub fn add_spiffe_ids(&mut self, pattern: &SpiffePattern, caller: CallerIndex) {
        self.spiffe_ids.add(pattern, caller);
    }

    /// Whose a certificate is.
    pub fn owner(&self, certificate: &CertificateIdentity) -> Claim<Identified> {
        let mut claim = Claim::Nobody;
        if let Some(id) = &certificate.spiffe_id {
            claim = claim.and(self.spiffe_ids.owner(id).by(IdentificationMeans::SpiffeId));
        }
        if !self.dns_names.is_empty() {
            let owners = certificate.dns_names.iter();
            let owners = owners.filter_map(|name| self.dns_names.get(name));
            let by_name = |claim: Claim<_>, owner: &Claim<_>| {
                claim.and(owner.by(IdentificationMeans::CertificateName))
            };
            claim = owners.fold(claim, by_name);
        }
        claim
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::load;

    /// The owners that the tables of a configuration name, by the order of their names.
    fn owners(callers: &[(&str, &str)]) -> CertificateOwners {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sidebearer.toml");
        let mut owners = CertificateOwners::default();
        // Each by itself: together some of them would be refused.
        for ((key, value), at) in callers.iter().zip(0..) {
            let listener = "[[listeners]]\naddress = \"127.0.0.1:0\"\ncallers = [\"c\"]\n";
            let text = format!("{listener}[callers.c]\n{key} = \"{value}\"\n");
            std::fs::write(&path, text).unwrap();
            let caller = &load(&path).unwrap().config.callers["c"];
            if let Some(pattern) = &caller.spiffe_id {
                owners.add_spiffe_ids(pattern, at);
            }
            if let Some(name) = &caller.certificate_name {
                owners.add_dns_name(name, at);
            }
        }
        owners
    }

    fn certificate(spiffe_id: Option<&str>, dns_names: &[&str]) -> CertificateIdentity {
        CertificateIdentity {
            spiffe_id: spiffe_id.map(Into::into),
            dns_names: dns_names.iter().map(|name| (*name).into()).collect(),
            not_before: Duration::ZERO,
            not_after: Duration::MAX,
        }
    }

    fn of(caller: CallerIndex, means: IdentificationMeans) -> Claim<Identified> {
        Claim::Of(Identified { caller, means })
    }

    #[test]
    fn an_id_is_its_owners_by_its_name_or_by_a_pattern() {
        let owners = owners(&[
            ("spiffe_id", "spiffe://corp.example/ns/billing/sa/*"),
            ("spiffe_id", "spiffe://corp.example/ns/*/sa/search"),
            ("spiffe_id", "spiffe://corp.example/plain"),
        ]);
        let owner = |id: &str| {
            let id = format!("spiffe://corp.example{id}");
            owners.owner(&certificate(Some(&id), &[]))
        };
        assert_eq!(
            owner("/ns/billing/sa/app"),
            of(0, IdentificationMeans::SpiffeId)
        );
        assert_eq!(
            owner("/ns/shop/sa/search"),
            of(1, IdentificationMeans::SpiffeId)
        );
        assert_eq!(owner("/plain"), of(2, IdentificationMeans::SpiffeId));
        assert_eq!(owner("/ns/billing/sa/search"), Claim::Several);
        for id in [
            "",
            "/",
            "/ns/billing/sa",
            "/ns/billing/sa/app/x",
            "/ns/shop/sa/app",
        ] {
            assert_eq!(owner(id), Claim::Nobody, "{id}");
        }
        let elsewhere = certificate(Some("spiffe://other.example/plain"), &[]);
        assert_eq!(owners.owner(&elsewhere), Claim::Nobody);
    }

    #[test]
    fn a_certificate_with_the_names_of_two_callers_is_nobodys() {
        let owners = owners(&[
            ("certificate_name", "billing.internal"),
            ("certificate_name", "search.internal"),
            ("spiffe_id", "spiffe://corp.example/billing"),
        ]);
        let owner = |id, names: &[&str]| owners.owner(&certificate(id, names));
        assert_eq!(
            owner(None, &["x", "billing.internal"]),
            of(0, IdentificationMeans::CertificateName)
        );
        assert_eq!(
            owner(None, &["billing.internal", "search.internal"]),
            Claim::Several
        );
        let id = Some("spiffe://corp.example/billing");
        assert_eq!(owner(id, &["x"]), of(2, IdentificationMeans::SpiffeId));
        assert_eq!(owner(id, &["billing.internal"]), Claim::Several);
        assert_eq!(owner(None, &[]), Claim::Nobody);
    }
}
