//! What operators are given to watch: the dashboard, the rules and the runbook fit each other and the product.
//! `tests/interop/monitoring/run` tries them against a real Prometheus.

use std::collections::BTreeSet;

use yaml_rust2::{Yaml, YamlLoader};

use super::lists::table;
use super::{Document, root};

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn yaml(path: &str) -> Yaml {
    YamlLoader::load_from_str(&read(path)).unwrap().remove(0)
}

fn list(yaml: &Yaml) -> &[Yaml] {
    yaml.as_vec().map_or(&[], |list| list.as_slice())
}

/// The rules that are alerts, with their names.
fn alerts(rules: &Yaml) -> Vec<(&str, &Yaml)> {
    let groups = list(&rules["groups"]).iter();
    let rules = groups.flat_map(|group| list(&group["rules"]));
    let alerts: Vec<_> = rules
        .filter_map(|rule| Some((rule["alert"].as_str()?, rule)))
        .collect();
    assert!(alerts.len() > 20, "{} alerts", alerts.len());
    alerts
}

#[test]
fn every_alert_has_an_entry_in_the_runbook() {
    let rules = yaml("deploy/prometheus/alerts.yaml");
    let alerts = alerts(&rules);
    let names: Vec<_> = alerts.iter().map(|(name, _)| *name).collect();
    let runbook = Document::read("docs/runbook.md");
    let entries: Vec<_> = runbook.text.split("\n### ").skip(1).collect();
    let entries = entries.iter().map(|entry| entry.split_once('\n').unwrap());
    let documented: Vec<_> = entries.clone().map(|(name, _)| name).collect();
    assert_eq!(documented, names);
    for (name, text) in entries {
        for part in ["Means", "Users notice", "Look at", "Do"] {
            assert!(text.contains(&format!("**{part}**")), "{name}: {part}");
        }
    }
    for (name, alert) in alerts {
        let annotations = &alert["annotations"];
        let expected = format!("docs/runbook.md#{}", name.to_lowercase());
        assert_eq!(
            annotations["runbook_url"].as_str(),
            Some(&*expected),
            "{name}"
        );
        for text in ["summary", "description"] {
            assert!(annotations[text].as_str().is_some(), "{name}: {text}");
        }
        let severity = alert["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning"].contains(&severity), "{name}");
    }
}

#[test]
fn every_alert_is_tried() {
    let rules = yaml("deploy/prometheus/alerts.yaml");
    let tests = yaml("deploy/prometheus/alerts_test.yaml");
    let tries = list(&tests["tests"])
        .iter()
        .flat_map(|test| list(&test["alert_rule_test"]));
    let fires = tries.filter(|one| !list(&one["exp_alerts"]).is_empty());
    let fired: BTreeSet<_> = fires.filter_map(|one| one["alertname"].as_str()).collect();
    for (name, _) in alerts(&rules) {
        assert!(fired.contains(name), "no test lets {name} fire");
    }
}

#[test]
fn the_dashboard_and_the_rules_ask_for_metrics_that_exist() {
    let operations = Document::read("docs/operations.md");
    let rows = table(&operations.text, "| metric | labels | |");
    let known: BTreeSet<_> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    for path in [
        "deploy/grafana/sidebearer.json",
        "deploy/prometheus/alerts.yaml",
    ] {
        let text = read(path);
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "_:".contains(c)));
        let names = words.filter(|w| w.starts_with("sidebearer_") || w.starts_with("process_"));
        let names: BTreeSet<_> = names
            .map(|name| {
                let name = name.strip_suffix("_bucket").unwrap_or(name);
                name.strip_suffix("_count").unwrap_or(name)
            })
            .collect();
        assert!(names.len() > 20, "{path}: {names:?}");
        for name in names {
            assert!(known.contains(name), "{path}: {name}");
        }
    }
}
