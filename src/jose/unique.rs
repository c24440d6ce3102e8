//! JSON in which no object names a member twice: two readers of such an object may take another one of the two.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// An object whose members, and those of all objects in it, have names of their own (RFC 7519 section 4).
#[derive(Debug, Clone, PartialEq)]
pub struct UniqueMembers(pub Map<String, Value>);

impl UniqueMembers {
    /// `None` if it is no such object, or nested too deep.
    pub fn parse(json: &[u8]) -> Option<Self> {
        let UniqueValue(value) = serde_json::from_slice(json).ok()?;
        match value {
            Value::Object(members) => Some(Self(members)),
            _ => None,
        }
    }
}

struct UniqueValue(Value);

struct AnyValue;

impl<'de> Deserialize<'de> for UniqueValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Self)
    }
}

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(UniqueValue(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, UniqueValue(value))) = members.next_entry::<String, _>()? {
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a member is named twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_a_member_twice_is_nothing() {
        for json in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":[{"b":1,"b":2}]}"#,
            r#"{"a":1,"A":2}x"#,
            "[]",
            "null",
            "1",
            "{",
            "",
            r#"{"a":1e999}"#,
        ] {
            assert_eq!(UniqueMembers::parse(json.as_bytes()), None, "{json}");
        }
        assert_eq!(UniqueMembers::parse(b"{\"a\":\"\xFF\"}"), None);
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(UniqueMembers::parse(deep.as_bytes()), None);
    }

    #[test]
    fn anything_else_is_as_serde_json_reads_it() {
        let json = r#"{"a":null,"b":[true,-1,2,0.5,"x\n"],"c":{"a":{"a":1}},"A":1}"#;
        let UniqueMembers(members) = UniqueMembers::parse(json.as_bytes()).unwrap();
        let expected: Value = serde_json::from_str(json).unwrap();
        assert_eq!(Value::Object(members), expected);
    }
}
