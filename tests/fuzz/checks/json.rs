//! JSON in which nothing is said twice: of two values of one key, a parser looks at one.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// No object of the text, however deep, has a key twice.
pub fn says_nothing_twice(text: &[u8]) {
    serde_json::from_slice::<Once>(text).expect("text that was taken");
}

struct Once;

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;
        impl<'de> Visitor<'de> for Walk {
            type Value = Once;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Once, A::Error> {
                let mut keys = BTreeSet::new();
                while let Some((key, Once)) = map.next_entry::<String, Once>()? {
                    if !keys.insert(key.clone()) {
                        return Err(A::Error::custom(format!("{key:?} is there twice")));
                    }
                }
                Ok(Once)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Once, A::Error> {
                while items.next_element::<Once>()?.is_some() {}
                Ok(Once)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Once, E> {
                Ok(Once)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Once, E> {
                Ok(Once)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Once, E> {
                Ok(Once)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Once, E> {
                Ok(Once)
            }

            fn visit_str<E>(self, _: &str) -> Result<Once, E> {
                Ok(Once)
            }

            fn visit_unit<E>(self) -> Result<Once, E> {
                Ok(Once)
            }
        }
        deserializer.deserialize_any(Walk)
    }
}
