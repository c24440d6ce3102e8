//! Reads `[egress]` and `[[egress.rules]]`.

use std::path::Path;

use ipnet::IpNet;

use super::super::draft::{Draft, DraftRule, EgressPlaces, NameUse};
use super::super::file_rules::{FileRules, FileUses};
use super::super::keys::{EGRESS, EGRESS_RULE, EGRESS_TABLE};
use super::super::kinds::List;
use super::super::read::{Key, Section};
use super::super::report::SourceSpan;
use super::super::settings::{
    Egress, EgressAddresses, EgressPorts, EgressRule, HostPattern, ProxyChoice, RedirectedEgress,
};
use super::super::value::Value;
use super::callers;

/// The ports of http and https.
const USUAL_PORTS: [u16; 2] = [80, 443];

impl Default for Egress {
    fn default() -> Self {
        Section::unwritten(&EGRESS_TABLE, |section| {
            let nothing = FileRules {
                base: Path::new(""),
                max_bytes: 0,
                uses: &FileUses::default(),
            };
            Self::read(section, &nothing, &mut Draft::default())
        })
    }
}

impl Egress {
    /// Reads it, and adds its rules to the draft as well, with their places.
    pub(super) fn read(section: Section<'_>, files: &FileRules<'_>, draft: &mut Draft) -> Self {
        let (allow, deny) = (section.read(&EGRESS.allow), section.read(&EGRESS.deny));
        let allowed = (allow.iter().copied()).zip(section.places_within(&EGRESS.allow));
        let allowed = allowed.filter_map(|(prefix, place)| Some((prefix?, place)));
        draft.egress_places = places(&section, allowed.collect());
        let (allow, deny): (Vec<_>, Vec<_>) = (
            allow.into_iter().flatten().collect(),
            deny.into_iter().flatten().collect(),
        );
        refuse_ties(&section, &allow, &deny);
        let (addresses, ports) = (section.read(&EGRESS.addresses), section.read(&EGRESS.ports));
        let rules = section.read(&EGRESS.rules);
        let written = rules.len();
        let rules = rules.into_iter().flatten();
        let rules: Vec<_> = rules.filter_map(|rule| read_rule(&rule, draft)).collect();
        draft.egress_places.has_bad_rules = rules.len() < written;
        Self {
            addresses: addresses.unwrap_or(EgressAddresses::Public),
            allow,
            deny,
            ports: EgressPorts::Only(ports.clone().unwrap_or_else(|| USUAL_PORTS.to_vec())),
            redirected: RedirectedEgress {
                addresses: addresses.unwrap_or(EgressAddresses::Any),
                ports: ports.map_or(EgressPorts::Any, EgressPorts::Only),
            },
            tunnel_idle_timeout: section.read(&EGRESS.tunnel_idle_timeout),
            proxy: ProxyChoice::of_egress(&section, files),
            rules,
        }
    }
}

/// Where its keys are written.
fn places(section: &Section<'_>, allowed: Vec<(IpNet, SourceSpan)>) -> EgressPlaces {
    let place = |written: Option<Value<'_>>| written.map(|value| value.place);
    let place_of_list = |key: &'static Key<List<IpNet>>| {
        let says = !section.places_within(key).is_empty();
        place(section.written(key)).filter(|_| says)
    };
    let addresses = place(section.written(&EGRESS.addresses));
    let deny = place_of_list(&EGRESS.deny);
    let of_passing = [
        (EGRESS.addresses.name, addresses.clone()),
        (EGRESS.allow.name, place_of_list(&EGRESS.allow)),
        (EGRESS.deny.name, deny.clone()),
        (EGRESS.ports.name, place(section.written(&EGRESS.ports))),
    ];
    let of_passing = of_passing.into_iter();
    EgressPlaces {
        has_bad_rules: false,
        allowed,
        of_passing: of_passing
            .filter_map(|(name, place)| Some((name, place?)))
            .collect(),
        addresses,
        deny,
        tunnel_idle_timeout: place(section.written(&EGRESS.tunnel_idle_timeout)),
        proxy: place(section.written(&EGRESS.proxy)),
    }
}

/// A prefix that is allowed and denied is denied: the other mention of it has no effect.
fn refuse_ties(section: &Section<'_>, allow: &[IpNet], deny: &[IpNet]) {
    if let Some(tie) = allow.iter().find(|prefix| deny.contains(prefix))
        && let Some(value) = section.written(&EGRESS.allow)
    {
        let message = format!("names {tie}, which `deny` names too");
        value.error(&message, "it is denied: leave it out of one of them");
    }
}

/// One rule; `None` after a mistake in it.
fn read_rule(section: &Section<'_>, draft: &mut Draft) -> Option<EgressRule> {
    let hosts = section.read(&EGRESS_RULE.hosts);
    let listeners = section.read(&EGRESS_RULE.listeners);
    let action = section.read(&EGRESS_RULE.action);
    let callers = callers::read_list(section, &EGRESS_RULE.callers, draft);
    let host_places = section.places_within(&EGRESS_RULE.hosts);
    let listener_places = section.places_within(&EGRESS_RULE.listeners);
    let named = listeners.iter().flatten().zip(&listener_places);
    draft
        .references
        .listeners
        .extend(named.map(|(name, place)| NameUse {
            name: name.clone(),
            place: place.clone(),
        }));
    let hosts: Option<Vec<HostPattern>> = hosts.into_iter().collect();
    let listeners: Option<Vec<String>> = listeners.into_iter().collect();
    let rule = EgressRule {
        hosts: hosts.filter(|hosts| !hosts.is_empty())?,
        listeners: listeners?,
        callers: callers?,
        action,
    };
    let written = section.written(&EGRESS_RULE.callers);
    let empty_callers = written.filter(|_| rule.callers.is_unsaid());
    draft.egress_rules.push(DraftRule {
        rule: rule.clone(),
        place: section.place.clone(),
        hosts: host_places,
        listeners: listener_places,
        empty_callers: empty_callers.map(|value| value.place),
    });
    Some(rule)
}
