//! What is recorded.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use super::{SpanId, TraceContext};

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
}

impl Span {
    /// It has failed for this reason.
    pub fn fail(&mut self, reason: &'static str) {
        self.attributes.push(("error.type", reason.into()));
        self.failed = true;
    }
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
