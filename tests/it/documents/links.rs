//! A link leads to a file that exists, and to a heading in it.

use super::{Document, root};

#[test]
fn every_link_leads_somewhere() {
    let documents = Document::all();
    let mut checked = 0;
    for document in &documents {
        let place = document.path.display();
        let prose = document.prose();
        for link in prose.split("](").skip(1) {
            let link = link.split(')').next().unwrap_or_default();
            if link.contains("://") {
                continue;
            }
            checked += 1;
            let (path, heading) = link
                .split_once('#')
                .map_or((link, None), |(p, h)| (p, Some(h)));
            let directory = root().join(&document.path);
            let directory = directory.parent().unwrap();
            assert!(
                directory.join(path).exists(),
                "{place}: {link}: no such file"
            );
            let Some(heading) = heading else { continue };
            let target = match path {
                "" => document,
                path => {
                    let whole = directory.join(path).canonicalize().unwrap();
                    let found = documents
                        .iter()
                        .find(|other| root().join(&other.path).canonicalize().unwrap() == whole);
                    found.unwrap_or_else(|| panic!("{place}: {link}: not a document"))
                }
            };
            let anchors = anchors(target);
            let is_there = anchors.iter().any(|anchor| anchor == heading);
            assert!(is_there, "{place}: {link}: no such heading: {anchors:?}");
        }
    }
    assert!(checked > 50, "{checked} links");
}

/// The headings, as links name them.
fn anchors(document: &Document) -> Vec<String> {
    let prose = document.prose();
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}
