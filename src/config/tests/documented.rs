//! The tables of `docs/configuration.md` are those of the declarations.
//!
//! `UPDATE_DOCS=1 cargo test --lib documented` writes them anew.

use std::path::PathBuf;

use crate::config::{ReferenceTable, reference};

const END: &str = "<!-- end of table -->";

fn page() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")
}

/// The page with what stands between the marks of each table replaced by what is declared.
fn with_tables(mut page: String) -> String {
    for ReferenceTable { name, markdown } in reference() {
        let mark = format!("<!-- table: {name} -->\n");
        let start = page
            .find(&mark)
            .unwrap_or_else(|| panic!("{mark} is missing"))
            + mark.len();
        let end = start
            + page[start..]
                .find(END)
                .unwrap_or_else(|| panic!("{name} has no end"));
        page.replace_range(start..end, &markdown);
    }
    page
}

#[test]
fn every_key_is_documented_as_it_is_declared() {
    let written = std::fs::read_to_string(page()).unwrap();
    let generated = with_tables(written.clone());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(page(), &generated).unwrap();
    } else {
        let differ = |(written, generated): &(&str, &str)| written != generated;
        if let Some((written, generated)) = written.lines().zip(generated.lines()).find(differ) {
            panic!(
                "docs/configuration.md is not what is declared, which \
                 `UPDATE_DOCS=1 cargo test --lib documented` mends:\n- {written}\n+ {generated}"
            );
        }
        assert_eq!(written.len(), generated.len());
    }
    let marks = generated.matches("<!-- table: ").count();
    assert_eq!(
        marks,
        reference().len(),
        "a table of the page is no table of keys"
    );
    assert_eq!(marks, generated.matches(END).count());
}
