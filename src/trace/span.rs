//! What is recorded.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{SpanId, TraceContext};

/// Bytes of a text in a span. The rest is cut off: clients choose how long paths and names of hosts are, and as many
/// spans as may wait should not take more memory than can be told.
const MAX_TEXT_BYTES: usize = 1024;

/// Something that took time, once it has ended.
#[derive(Debug, Clone)]
pub struct Span {
    /// Its place in its trace.
    pub context: TraceContext,
    /// The span that it is a part of, and whether that is one of another process.
    pub parent: Option<(SpanId, bool)>,
    /// What it is called. Of few values.
    pub name: Cow<'static, str>,
    /// Whose work it is.
    pub kind: SpanKind,
    /// When it began.
    pub start: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// What is known of it, by the names of the semantic conventions.
    pub attributes: Vec<(&'static str, AttributeValue)>,
    /// A span of another trace that it has to do with.
    pub link: Option<TraceContext>,
    /// Whether it failed.
    pub failed: bool,
    /// The `tracestate` that its trace came with.
    pub state: Option<Arc<str>>,
}

impl Span {
    /// Cuts every text in it to as many bytes as one may have.
    pub(super) fn cut_texts(&mut self) {
        cut(&mut self.name);
        for (_, value) in &mut self.attributes {
            if let AttributeValue::Text(text) = value {
                cut(text);
            }
        }
    }

    /// It has failed for this reason.
    pub fn fail(&mut self, reason: &'static str) {
        self.attributes.push(("error.type", reason.into()));
        self.failed = true;
    }
}

/// Cuts a text at the end of a character, and gives back the memory of the rest.
fn cut(text: &mut Cow<'static, str>) {
    if text.len() <= MAX_TEXT_BYTES {
        return;
    }
    let end = (0..=MAX_TEXT_BYTES).rfind(|at| text.is_char_boundary(*at));
    *text = text[..end.unwrap_or_default()].to_owned().into();
}

/// Whose work a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Of this process alone.
    Internal,
    /// A request that was answered here.
    Server,
    /// A request to another server.
    Client,
}

/// What an attribute says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttributeValue {
    /// A text.
    Text(Cow<'static, str>),
    /// A whole number.
    Number(i64),
}

impl From<&'static str> for AttributeValue {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for AttributeValue {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<u16> for AttributeValue {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<u32> for AttributeValue {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_two_characters_and_a_short_one_stays() {
        let whole = "a".repeat(MAX_TEXT_BYTES);
        for (text, left) in [
            (whole.clone(), whole.clone()),
            (format!("{whole}b"), whole.clone()),
            (format!("{}€", &whole[1..]), whole[1..].to_owned()),
            ("é".repeat(5000), "é".repeat(MAX_TEXT_BYTES / 2)),
        ] {
            let mut span = Span {
                context: TraceContext::root(true),
                parent: None,
                name: text.clone().into(),
                kind: SpanKind::Server,
                start: SystemTime::now(),
                duration: Duration::ZERO,
                attributes: vec![("url.path", text.into()), ("server.port", 1u16.into())],
                link: None,
                failed: false,
                state: None,
            };
            span.cut_texts();
            assert_eq!(span.name, left);
            assert_eq!(span.attributes[0].1, left.into());
            let Cow::Owned(name) = span.name else {
                panic!("it is no constant");
            };
            assert!(name.capacity() <= MAX_TEXT_BYTES);
        }
    }
}
