//! What one source file declares, imports and names, read from its tokens: comments and strings are
//! ignored, and what is compiled for tests alone is left out.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::vec::IntoIter;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A path, in its written parts: `crate`, `super`, `self`, modules, and an item.
pub(super) type Path = Vec<String>;

/// One file, which is one module. What its inline modules hold counts as its own.
#[derive(Debug, Default)]
pub(super) struct ParsedFile {
    /// Modules that have a file of their own.
    pub(super) children: BTreeSet<String>,
    /// Items that are defined here.
    pub(super) items: BTreeSet<String>,
    pub(super) uses: Vec<Use>,
    /// Every path of at least two parts outside of `use`.
    pub(super) paths: Vec<Path>,
    /// Every identifier outside of `use`.
    pub(super) identifiers: BTreeSet<String>,
}

/// One name that a `use` brings in.
#[derive(Debug)]
pub(super) struct Use {
    pub(super) path: Path,
    /// The name that it has here. `*` for all of a module, `_` for a trait whose name is not needed.
    pub(super) name: String,
    pub(super) is_public: bool,
}

type Tokens = Peekable<IntoIter<TokenTree>>;

impl ParsedFile {
    pub(super) fn read(text: &str) -> Self {
        let tokens: TokenStream = text.parse().expect("a file that compiles");
        let mut source = Self::default();
        source.items(tokens, 0);
        source
    }

    /// Reads items, statements and expressions alike. `depth` inline modules are around them.
    fn items(&mut self, tokens: TokenStream, depth: usize) {
        let mut tokens = tokens
            .into_iter()
            .collect::<Vec<_>>()
            .into_iter()
            .peekable();
        let mut is_public = false;
        while let Some(token) = tokens.next() {
            match &token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    if self.attribute(&mut tokens, depth) {
                        skip_item(&mut tokens);
                    }
                }
                TokenTree::Ident(ident) => {
                    let word = ident.to_string();
                    match word.as_str() {
                        "pub" => {
                            is_public = true;
                            // `pub(super)`
                            if is_group(tokens.peek(), Delimiter::Parenthesis) {
                                tokens.next();
                            }
                            continue;
                        }
                        "use" => self.r#use(&mut tokens, is_public, depth),
                        "mod" => self.module(&mut tokens, depth),
                        _ => self.word(word, &mut tokens, depth),
                    }
                }
                TokenTree::Group(group) => self.items(group.stream(), depth),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
            is_public = false;
        }
    }

    /// Behind `#`. Whether what follows is compiled for tests alone.
    fn attribute(&mut self, tokens: &mut Tokens, depth: usize) -> bool {
        if is_punct(tokens.peek(), '!') {
            tokens.next();
        }
        let Some(TokenTree::Group(group)) = tokens.next() else {
            return false;
        };
        let mut inner = group.stream().into_iter();
        let name = inner.next().map(|token| token.to_string());
        if name.as_deref() == Some("cfg") {
            let condition = inner.next().map(|token| token.to_string());
            return condition.is_some_and(|condition| condition.replace(' ', "") == "(test)");
        }
        self.items(group.stream(), depth);
        false
    }

    /// Behind `mod`: with a file of its own, or inline.
    fn module(&mut self, tokens: &mut Tokens, depth: usize) {
        let name = tokens.next().expect("a name").to_string();
        match tokens.next() {
            Some(TokenTree::Group(group)) => {
                self.items.insert(name);
                self.items(group.stream(), depth + 1);
            }
            _ => drop(self.children.insert(name)),
        }
    }

    /// An identifier, with the path that it begins. A keyword of an item defines the name behind it.
    fn word(&mut self, word: String, tokens: &mut Tokens, depth: usize) {
        const DEFINING: [&str; 8] = [
            "struct", "enum", "trait", "type", "fn", "const", "static", "union",
        ];
        if DEFINING.contains(&word.as_str()) {
            if let Some(TokenTree::Ident(name)) = tokens.peek() {
                self.items.insert(name.to_string());
            }
            return;
        }
        let mut path = vec![word];
        while let Some(next) = path_continues(tokens) {
            path.push(next);
        }
        self.identifiers.insert(path[0].clone());
        if path.len() > 1 {
            self.paths.push(from_file(path, depth));
        }
    }

    /// Behind `use`.
    fn r#use(&mut self, tokens: &mut Tokens, is_public: bool, depth: usize) {
        let tree: Vec<_> = tokens
            .take_while(|token| !is_punct(Some(token), ';'))
            .collect();
        let mut leaves = Vec::new();
        let mut tree = tree.into_iter().peekable();
        use_tree(&mut tree, &Vec::new(), &mut leaves);
        self.uses.extend(leaves.into_iter().map(|(path, name)| Use {
            path: from_file(path, depth),
            name,
            is_public,
        }));
    }
}

/// Up to the end of a tree of a `use`: its leaves, each with the name that it has here.
fn use_tree(tokens: &mut Tokens, before: &Path, leaves: &mut Vec<(Path, String)>) {
    let mut path = before.clone();
    loop {
        match tokens.next() {
            Some(TokenTree::Ident(ident)) if ident == "as" => {
                let name = tokens.next().expect("a name behind `as`").to_string();
                leaves.push((whole(path), name));
                return drop(tokens.next_if(|token| is_punct(Some(token), ',')));
            }
            Some(TokenTree::Ident(ident)) => path.push(ident.to_string()),
            Some(TokenTree::Group(group)) => {
                let inner: Vec<_> = group.stream().into_iter().collect();
                let mut inner = inner.into_iter().peekable();
                while inner.peek().is_some() {
                    use_tree(&mut inner, &path, leaves);
                }
                return drop(tokens.next_if(|token| is_punct(Some(token), ',')));
            }
            Some(TokenTree::Punct(punct)) if punct.as_char() == '*' => {
                leaves.push((path, "*".to_owned()));
                return drop(tokens.next_if(|token| is_punct(Some(token), ',')));
            }
            Some(TokenTree::Punct(punct)) if punct.as_char() == ':' => {}
            _ => {
                let path = whole(path);
                let name = path.last().cloned().unwrap_or_default();
                return leaves.push((path, name));
            }
        }
    }
}

/// `a::self` is `a`.
fn whole(mut path: Path) -> Path {
    if path.len() > 1 {
        let _ = path.pop_if(|last| last == "self");
    }
    path
}

/// A path as it would stand in the file, outside of its inline modules.
fn from_file(mut path: Path, depth: usize) -> Path {
    for _ in 0..depth {
        if path.first().is_some_and(|first| first == "super") {
            path[0] = "self".to_owned();
            if path.get(1).is_some_and(|second| second == "super") {
                path.remove(0);
            }
        }
    }
    path
}

/// The next part of a path, if `::` and a name come next.
fn path_continues(tokens: &mut Tokens) -> Option<String> {
    let mut ahead = tokens.clone();
    let two = is_punct(ahead.next().as_ref(), ':') && is_punct(ahead.next().as_ref(), ':');
    match ahead.next() {
        Some(TokenTree::Ident(ident)) if two => {
            *tokens = ahead;
            Some(ident.to_string())
        }
        _ => None,
    }
}

/// Behind an attribute: up to the end of what it belongs to.
fn skip_item(tokens: &mut Tokens) {
    while let Some(token) = tokens.next() {
        if is_punct(Some(&token), '#') {
            // Another attribute, whose group is not a body.
            tokens.next();
        } else if is_punct(Some(&token), ';') || is_group(Some(&token), Delimiter::Brace) {
            return;
        }
    }
}

fn is_punct(token: Option<&TokenTree>, expected: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == expected)
}

fn is_group(token: Option<&TokenTree>, delimiter: Delimiter) -> bool {
    matches!(token, Some(TokenTree::Group(group)) if group.delimiter() == delimiter)
}
